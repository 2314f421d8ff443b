"""Ops that take some of the elements, or take them several times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import onnx_ir as ir

from converter.ops import refusals
from converter.ops.base import (
    Capture,
    Dims,
    Op,
    Perm,
    Refusal,
    TorchCapture,
    View,
    keras_layer,
    keras_operation,
    moved,
    operand,
    torch_operation,
)
from converter.ops.embedding import axis_of
from converter.ops.records import Call, Index, Method, Record
from converter.ops.shape import Concat, Reshape, Unsqueeze

END = 2**31 - 1
"""A bound beyond every length: up to the end."""
FRONT = -END
"""A bound in front of every first element: down to it, where the step is negative."""


class Expand(Op):
    """Broadcast to `to`, where 1 keeps the length of that axis."""

    to: tuple[int, ...] = operand(1)

    nonnegative: ClassVar[str] = "kept"
    keeps_ids: ClassVar[bool] = True

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        return (Expand(to=tuple(self.to[p] for p in perm)), perm) if len(self.to) == len(perm) else None

    def torch(self, n: View) -> Record:
        kept = (-1,) * (len(n.shape()) - len(self.to))
        return Method(n.x(), "expand", (*kept, *(-1 if d == 1 else d for d in self.to)))

    def keras(self, n: View) -> Record:
        shape = n.shape()
        if len(shape) > len(self.to) or any(d == 0 for d in self.to):
            raise LookupError(f"it expands {shape} to {self.to}")
        fresh = len(self.to) - len(shape)
        x: Record = Index(n.x(), (*(None,) * fresh, Ellipsis)) if fresh else n.x()
        times = tuple(d if have == 1 else 1 for d, have in zip(self.to, (*(1,) * fresh, *shape), strict=True))
        return Call("ops.tile", (x, times))

    @keras_layer("RepeatVector")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        return g.op(Expand(to=(1, int(layer.n), 1)), g.op(Unsqueeze(axes=(1,)), x))


class Squeeze(Op):
    """Without these axes, which are of length 1."""

    axes: tuple[int, ...] = operand(1)

    nonnegative: ClassVar[str] = "kept"
    keeps_ids: ClassVar[bool] = True

    @classmethod
    def complete(cls, found: dict[str, Any], shapes: Sequence[Dims]) -> dict[str, Any]:
        axes = found.get("axes", [i for i, d in enumerate(shapes[0]) if d == 1])
        if "axes" not in found and None in shapes[0]:
            raise LookupError("it squeezes every axis of length 1, and not all lengths are known before run time")
        return found | {"axes": tuple(sorted(a % len(shapes[0]) for a in axes))}

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        gone = tuple(sorted(moved(a, perm) for a in self.axes))
        kept = [i for i in range(len(perm)) if i not in self.axes]
        return Squeeze(axes=gone), tuple(kept.index(p) for p in perm if p not in self.axes)

    def torch(self, n: View) -> Record:
        return Method(n.x(), "squeeze", (self.axes[0] if len(self.axes) == 1 else self.axes,))

    def keras(self, n: View) -> Record:
        return Call("ops.squeeze", (n.x(), self.axes[0] if len(self.axes) == 1 else self.axes))

    @torch_operation("squeeze.default")
    @staticmethod
    def every(g: TorchCapture, x: ir.Value) -> ir.Value:
        return Squeeze.aten(g, x, None)

    @torch_operation("squeeze.dim", "squeeze.dims")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, dim: Any) -> ir.Value:
        """Refusal for an axis of any length: it goes where it is 1 at run time, and no graph has two ranks."""
        sizes = g.sizes(x)
        asked = range(len(sizes)) if dim is None else dim if isinstance(dim, tuple) else (dim,)
        open_ = sorted({a % len(sizes) for a in asked if not isinstance(sizes[a], int)}) if sizes else []
        if open_:
            raise Refusal(
                f"axis {open_[0]} may have any length, and squeeze takes it away where that is 1.",
                "Name the axes that are always 1: x.squeeze(-1). Or give that axis a fixed length: dynamic={}.",
            )
        return Reshape.aten(g, x)

    @keras_operation("Squeeze", vet=refusals.named_axes)
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        axes = operation.axis if isinstance(operation.axis, (tuple, list)) else (operation.axis,)
        rank = len(g.shape(x))
        return g.op(Squeeze(axes=tuple(sorted({int(a) % rank for a in axes}))), x)

    @keras_operation("ExpandDims")
    @staticmethod
    def expanded(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        axes = operation.axis if isinstance(operation.axis, (tuple, list)) else (operation.axis,)
        rank = len(g.shape(x)) + len(axes)
        return g.op(Unsqueeze(axes=tuple(sorted(int(a) % rank for a in axes))), x)


class Slice(Op):
    """Along each of `axes`: every step-th element from start up to, and without, end.

    A step of -1 is for whole axes, from the last element (start -1) to the first (end FRONT).
    """

    starts: tuple[int, ...] = operand(1)
    ends: tuple[int, ...] = operand(2)
    axes: tuple[int, ...] = operand(3)
    steps: tuple[int, ...] = operand(4)

    nonnegative: ClassVar[str] = "kept"
    keeps_ids: ClassVar[bool] = True

    @classmethod
    def complete(cls, found: dict[str, Any], shapes: Sequence[Dims]) -> dict[str, Any]:
        count = len(found["starts"])
        axes = tuple(a % len(shapes[0]) for a in found.get("axes", range(count)))
        return found | {"axes": axes, "steps": found.get("steps", (1,) * count)}

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        axes = tuple(moved(a, perm) for a in self.axes)
        return Slice(starts=self.starts, ends=self.ends, axes=axes, steps=self.steps), perm

    def subscribed(self, n: View) -> Index:
        """x[:, 1:3], which both targets say."""
        items: list[Any] = [slice(None)] * (max(self.axes) + 1)
        for start, end, axis, step in zip(self.starts, self.ends, self.axes, self.steps, strict=True):
            items[axis] = slice(start or None, None if end >= END else end, None if step == 1 else step)
        return Index(n.x(), tuple(items))

    def flips(self) -> bool:
        """Whether it turns whole axes around; LookupError for other negative steps, which no target's slices have."""
        if min(self.steps) > 0:
            return False
        whole = all(start == -1 and end <= FRONT for start, end in zip(self.starts, self.ends, strict=True))
        if set(self.steps) != {-1} or not whole:
            raise LookupError(f"it goes backwards by {self.steps} from {self.starts} to {self.ends}")
        return True

    def torch(self, n: View) -> Record:
        return Call("torch.flip", (n.x(), self.axes)) if self.flips() else self.subscribed(n)

    def keras(self, n: View) -> Record:
        if not self.flips():
            record = self.subscribed(n)  # Keras takes no single slice for a key
            return record if len(record.items) > 1 else Index(record.of, (*record.items, Ellipsis))
        return Call("ops.flip", (n.x(),), {"axis": self.axes if len(self.axes) > 1 else self.axes[0]})

    @torch_operation("slice.Tensor")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, dim: int, start: Any, end: Any, step: Any) -> ir.Value:
        axis = axis_of(g, x, dim)
        return cut(g, x, axis, 0 if start is None else start, END if end is None else end, step)

    @torch_operation("narrow.default")
    @staticmethod
    def narrow(g: TorchCapture, x: ir.Value, dim: int, start: Any, length: Any) -> ir.Value:
        if not isinstance(start, int) or not isinstance(length, int):
            return cut(g, x, axis_of(g, x, dim), start, length if start == 0 else None, 1)
        return cut(g, x, axis_of(g, x, dim), start, END if start + length == 0 else start + length, 1)

    @torch_operation("flip.default")
    @staticmethod
    def flip(g: TorchCapture, x: ir.Value, dims: tuple[int, ...]) -> ir.Value:
        axes = tuple(sorted(axis_of(g, x, d) for d in dims))
        last, before = (-1,) * len(axes), (FRONT,) * len(axes)
        return g.op(Slice(starts=last, ends=before, axes=axes, steps=last), x) if axes else x

    @torch_operation("slice_scatter.default")
    @staticmethod
    def scattered(
        g: TorchCapture, x: ir.Value, source: ir.Value, dim: int, start: Any, end: Any, step: Any
    ) -> ir.Value:
        axis = axis_of(g, x, dim)
        if step != 1:
            raise Refusal(f"it writes every {step}th element.", "Write a range without a step.")
        return written(g, x, source, axis, 0 if start is None else start, END if end is None else end)

    @torch_operation("select_scatter.default")
    @staticmethod
    def selected(g: TorchCapture, x: ir.Value, source: ir.Value, dim: int, index: Any) -> ir.Value:
        axis = axis_of(g, x, dim)
        end = END if index == -1 else index + 1 if isinstance(index, int) else None
        return written(g, x, g.op(Unsqueeze(axes=(axis,)), source), axis, index, end)

    @keras_operation("GetItem", vet=refusals.plain_subscription)
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value, key: Any) -> ir.Value:
        cuts, gone, fresh = _decoded(key, g.shape(x))
        if cuts:
            starts, ends, axes, steps = (tuple(c[i] for c in cuts) for i in range(4))
            x = g.op(Slice(starts=starts, ends=ends, axes=axes, steps=steps), x)
        if gone:
            x = g.op(Squeeze(axes=gone), x)
        return g.op(Unsqueeze(axes=fresh), x) if fresh else x


def cut(g: TorchCapture, x: ir.Value, axis: int, start: Any, end: Any, step: Any) -> ir.Value:
    """`x` from start up to, and without, end; `x` itself where that is everything."""
    if (start, step) == (0, 1) and not isinstance(end, int) and str(end) != str(g.sizes(x)[axis]):
        from converter.ops.lengths import first  # whose bodies take parts of lengths with this file's ops

        return first(g, x, axis, end)
    start, end = bounds(g, x, axis, start, end)
    if not isinstance(step, int):
        raise Refusal("its step is known at run time only.", "Use a fixed step.")
    if (start, end, step) == (0, END, 1):
        return x
    return g.op(Slice(starts=(start,), ends=(end,), axes=(axis,), steps=(step,)), x)


def bounds(g: TorchCapture, x: ir.Value, axis: int, start: Any, end: Any) -> tuple[int, int]:
    """Start and end as numbers: from the first element where the length is known, END for the end of the axis."""
    length = g.sizes(x)[axis]
    if not isinstance(end, int) and str(end) == str(length):
        end = END
    if not isinstance(start, int) or not isinstance(end, int):
        raise Refusal("it takes a range whose bounds are known at run time only.", "Export it with fixed sizes.")
    if not isinstance(length, int):
        return start, min(end, END)
    start, end, _ = slice(start, end).indices(length)
    return start, END if end == length else max(start, end)


def written(g: TorchCapture, x: ir.Value, source: ir.Value, axis: int, start: Any, end: Any) -> ir.Value:
    """`x` with `source` in the place of the elements from start up to end."""
    start, end = bounds(g, x, axis, start, end)
    parts = [source]
    if start != 0:
        parts.insert(0, cut(g, x, axis, 0, start, 1))
    if end != END:
        parts.append(cut(g, x, axis, end, END, 1))
    return g.op(Concat(axis=axis), *parts) if len(parts) > 1 else source


def _length(length: int | None, start: int, end: int, step: int) -> int | None:
    return None if length is None else len(range(*slice(start, end, step).indices(length)))


Cut = tuple[int, int, int, int]


def _decoded(key: Any, shape: Dims) -> tuple[list[Cut], tuple[int, ...], tuple[int, ...]]:
    """A subscription as (start, end, axis, step) cuts, the axes that an integer takes away, and the new axes."""
    given = list(key) if isinstance(key, (tuple, list)) else [key]
    if Ellipsis not in given:
        given.append(Ellipsis)
    middle = given.index(Ellipsis)
    named = sum(k is not None and k is not Ellipsis for k in given)
    given[middle : middle + 1] = [slice(None)] * (len(shape) - named)
    cuts: list[Cut] = []
    gone: list[int] = []
    fresh: list[int] = []
    axis = place = 0
    for item in given:
        if item is None:
            fresh.append(place)
            place += 1
            continue
        if isinstance(item, slice):
            if item != slice(None):
                start, end = item.start or 0, END if item.stop is None else item.stop
                cuts.append((start, end, axis, item.step or 1))
            place += 1
        else:
            cuts.append((item, END if item == -1 else item + 1, axis, 1))
            gone.append(axis)
        axis += 1
    return cuts, tuple(gone), tuple(fresh)
