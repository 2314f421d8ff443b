"""Ops that move elements and compute none: transpose, reshape, flatten, concatenate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from converter.ops import refusals
from converter.ops.base import (
    Capture,
    Dims,
    Op,
    Perm,
    Refusal,
    TorchCapture,
    Type,
    View,
    channels_last,
    keras_layer,
    keras_operation,
    moved,
    operand,
    torch_operation,
)
from converter.ops.records import Call, Index, Layer, Method, Module, Record, Size


class Transpose(Op):
    """y[i0, i1, ...] = x with its axes in the order `perm`."""

    perm: tuple[int, ...]

    nonnegative: ClassVar[str] = "kept"
    keeps_ids: ClassVar[bool] = True

    @classmethod
    def complete(cls, found: dict[str, Any], shapes: Sequence[Dims]) -> dict[str, Any]:
        return {"perm": tuple(reversed(range(len(shapes[0]))))} | found

    def torch(self, n: View) -> Record:
        swapped = [i for i, p in enumerate(self.perm) if i != p]
        if len(swapped) == 2:
            return Method(n.x(), "transpose", tuple(swapped))
        return Method(n.x(), "permute", self.perm)

    def keras(self, n: View) -> Record:
        if self.perm[0] != 0:
            return Call("ops.transpose", (n.x(), self.perm))
        return Layer("Permute", {"dims": self.perm[1:]}, inputs=(n.x(),))

    @keras_layer("Permute")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        return g.op(Transpose(perm=(0, *layer.dims)), x)

    @keras_operation("Transpose")
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        rank = len(g.shape(x))
        perm = tuple(int(a) % rank for a in operation.axes or range(rank - 1, -1, -1))
        return g.transposed(x, perm) if x.const_value is not None else g.op(Transpose(perm=perm), x)

    @torch_operation("permute.default", "transpose.int", "t.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, *given: Any) -> ir.Value:
        rank = len(g.shape(x))
        order = list(range(rank))
        if len(given) == 1:
            order = [d % rank for d in given[0]]
        elif rank > 1:
            a, b = given or (0, 1)
            order[a], order[b] = order[b], order[a]
        if x.const_value is not None:
            return g.transposed(x, tuple(order))
        return g.op(Transpose(perm=tuple(order)), x) if order != sorted(order) else x


class Reshape(Op):
    """The same elements in the same order; 0 keeps the length of that axis, one -1 takes what is left."""

    target: tuple[int, ...] = operand(1)

    refuses: ClassVar[Mapping[str, str]] = {"allowzero": "0 in its target keeps the length of that axis"}
    nonnegative: ClassVar[str] = "kept"
    keeps_ids: ClassVar[bool] = True

    def reached(self, before: Dims) -> Dims:
        """The shape of the result for an input of that shape."""
        (made,) = self.outputs(Type(before, ir.DataType.FLOAT))
        return made.shape

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        after = self.reached(shape)
        parts = groups(shape, after)
        if parts is None:
            return None
        place = {axis: i for i, axis in enumerate(perm)}
        keyed: list[tuple[float, list[int]]] = []
        last = -1.0
        for taken, made in parts:
            spots = [place[a] for a in taken]
            if spots != list(range(spots[0], spots[0] + len(spots))) if spots else False:
                return None
            last = float(spots[0]) if spots else last + 1e-3
            keyed.append((last, made))
        order = [axis for _, made in sorted(keyed, key=lambda pair: pair[0]) for axis in made]
        lengths = [after[axis] for axis in order]
        if order[0] != 0:
            return None
        return Reshape(target=(0, *target(lengths[1:]))), tuple(order)

    def hoisted(self, perm: Perm, before: Dims) -> Op | None:
        """The reshape whose output is this one's, transposed; None where elements would have to move."""
        after = self.reached(before)
        if perm[0] != 0 or any(d is None for d in after[1:]):
            return None
        solid = [p for p in perm if after[p] != 1]
        if solid != sorted(solid):
            return None
        return Reshape(target=(0, *target([after[p] for p in perm[1:]])))

    def torch(self, n: View) -> Record:
        before, after = n.shape(), n.out_shape()
        fresh = [d for d in self.target[1:] if d != 1]
        if len(after) > len(before) and list(before[1:]) == fresh:
            return self._unsqueezed(n)
        if len(self.target) == 2 and len(before) > 2 and self.target[0] == 0:
            return Module("nn.Flatten", inputs=(n.x(),)) if n.own else Method(n.x(), "flatten", (1,))
        if n.own and len(before) == 2 and self.target[:1] == (0,) and len(self.target) > 2 and 0 not in self.target[1:]:
            return Module("nn.Unflatten", (1, self.target[1:]), inputs=(n.x(),))
        return Method(n.x(), "reshape", tuple(Size(n.x(), i) if d == 0 else d for i, d in enumerate(self.target)))

    def _unsqueezed(self, n: View) -> Record:
        items: list[Any] = [slice(None)]
        items += [None if d == 1 else slice(None) for d in self.target[1:]]
        return Index(n.x(), tuple(items))

    def keras(self, n: View) -> Record:
        if self.target == (0, -1):
            return Layer("Flatten", inputs=(n.x(),))
        lengths = tuple(n.shape()[i] if d == 0 else d for i, d in enumerate(self.target))
        if self.target[:1] == (0,) and None not in lengths[1:]:
            return Layer("Reshape", {"target_shape": lengths[1:]}, inputs=(n.x(),))
        known = [made if d == -1 else d for d, made in zip(lengths, n.out_shape(), strict=True)]
        if self.target[:1] == (0,) and known[1:].count(None) == 1:  # the layer keeps the batch, whatever it is
            return Layer("Reshape", {"target_shape": target(known[1:])}, inputs=(n.x(),))
        if known.count(None) > 1:
            from converter.ops.reshape import KEPT  # which is written with this file's ops

            raise LookupError(KEPT)
        return Call("ops.reshape", (n.x(), target(known)))

    @keras_layer("Reshape", vet=refusals.one_unknown_length)
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        wanted = tuple(-1 if d is None else int(d) for d in layer.target_shape)
        known = g.shape(x)[1:]
        if -1 in wanted and None not in known and wanted != (-1,):
            rest = math.prod(d for d in wanted if d != -1)
            wanted = tuple(math.prod(d or 1 for d in known) // rest if d == -1 else d for d in wanted)
        return g.op(Reshape(target=(0, *wanted)), x)

    @keras_operation("Reshape")
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        wanted, known = tuple(-1 if d is None else int(d) for d in operation.newshape), g.shape(x)
        if x.const_value is not None:
            return g.reshaped(x, tuple(np.empty(tuple(d or 0 for d in known)).reshape(wanted).shape))
        rest, inner = math.prod(wanted[1:]), math.prod(d or 0 for d in known[1:])
        kept = wanted[:1] in ((-1,), known[:1]) and rest == inner > 0
        return g.op(Reshape(target=(0, *wanted[1:]) if kept else wanted), x)

    @torch_operation(
        "view.default",
        "reshape.default",
        "_unsafe_view.default",
        "flatten.using_ints",
        "unflatten.int",
        "unsqueeze.default",
    )
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, *given: Any) -> ir.Value:
        before, after = g.sizes(x), g.made()
        if len(before) == len(after) and all(alike(a, b) for a, b in zip(before, after, strict=True)):
            return x
        if x.const_value is not None:
            return g.reshaped(x, tuple(after))
        kept = bool(before and after) and alike(before[0], after[0])
        if kept and len(after) == 2 and len(before) > 2:
            return g.op(Flatten(), x)
        from converter.ops.reshape import reshaped  # which is written with this file's ops

        wanted = fixed(before, after)
        if wanted is None or sum(not isinstance(d, int) for d in after[1:]) > 1:
            return reshaped(g, x, before, after)
        return g.op(Reshape(target=wanted), x)


class Unsqueeze(Op):
    """New axes of length 1, at these places of the result."""

    axes: tuple[int, ...] = operand(1)

    nonnegative: ClassVar[str] = "kept"
    keeps_ids: ClassVar[bool] = True

    @classmethod
    def complete(cls, found: dict[str, Any], shapes: Sequence[Dims]) -> dict[str, Any]:
        rank = len(shapes[0]) + len(found["axes"])
        return found | {"axes": tuple(sorted(a % rank for a in found["axes"]))}

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        rank = len(perm) + len(self.axes)
        kept = [i for i in range(rank) if i not in self.axes]
        rest = iter(kept[p] for p in perm)
        return self, tuple(i if i in self.axes else next(rest) for i in range(rank))

    def hoisted(self, perm: Perm, before: Dims) -> Op | None:
        """The op whose output is this one's, transposed; None where elements would have to move."""
        kept = [p for p in perm if p not in self.axes]
        return Unsqueeze(axes=tuple(i for i, p in enumerate(perm) if p in self.axes)) if kept == sorted(kept) else None

    def torch(self, n: View) -> Record:
        rank = max(self.axes) + 1
        return Index(n.x(), tuple(None if i in self.axes else slice(None) for i in range(rank)))

    def keras(self, n: View) -> Record:
        if any(d is None for d in n.out_shape()[1:]) or 0 in self.axes:
            return Call("ops.expand_dims", (n.x(), self.axes[0] if len(self.axes) == 1 else self.axes))
        return Layer("Reshape", {"target_shape": n.out_shape()[1:]}, inputs=(n.x(),))


class Flatten(Op):
    """(N, ...) -> (N, product of the rest); in general those in front of `axis` into one, and the rest into another."""

    axis: int = 1

    nonnegative: ClassVar[str] = "kept"
    keeps_ids: ClassVar[bool] = True

    @classmethod
    def complete(cls, found: dict[str, Any], shapes: Sequence[Dims]) -> dict[str, Any]:
        axis = found.get("axis", 1)
        return {"axis": axis + len(shapes[0]) if axis < 0 else axis}

    def torch(self, n: View) -> Record:
        if self.axis == 0:
            return Method(n.x(), "reshape", (1, -1))
        if self.axis != 1:
            front = Method(n.x(), "flatten", (0, self.axis - 1))
            return Method(front, "flatten", (1,)) if self.axis < len(n.shape()) else Index(front, (slice(None), None))
        if n.own:
            return Module("nn.Flatten", inputs=(n.x(),))
        return Method(n.x(), "flatten", (1,))

    def keras(self, n: View) -> Record:
        if self.axis != 1:
            lengths = [-1 if d is None else d for d in n.out_shape()]
            if lengths.count(-1) > 1:
                raise LookupError("it makes two lengths that are known at run time only")
            return Call("ops.reshape", (n.x(), tuple(lengths)))
        return Layer("Flatten", inputs=(n.x(),))

    @keras_layer("Flatten")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        rank = len(g.shape(x))
        if rank == 1:
            return g.op(Unsqueeze(axes=(1,)), x)
        if rank == 2:
            return x
        if layer.data_format == "channels_first":
            x = g.op(Transpose(perm=channels_last(rank)), x, role="spatial")
        return g.op(Flatten(), x)


class Concat(Op):
    """The inputs one after another along `axis`; all other lengths are equal."""

    axis: int

    nonnegative: ClassVar[str] = "kept"
    keeps_ids: ClassVar[bool] = True

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        return Concat(axis=moved(self.axis, perm)), perm

    def unit_axes(self, index: int) -> dict[int, int] | None:
        return {}

    def torch(self, n: View) -> Record:
        return Call("torch.cat", (n.all(),), {"dim": self.axis})

    def keras(self, n: View) -> Record:
        last = self.axis in (-1, len(n.shape()) - 1)
        if self.axis % len(n.shape()) == 0 or any(n.array(i) is not None for i in range(len(n.all()))):
            return Call("ops.concatenate", (list(n.all()),), {"axis": self.axis})
        return Layer("Concatenate", {} if last else {"axis": self.axis}, inputs=n.all())

    @keras_layer("Concatenate", vet=refusals.one_dtype)
    @staticmethod
    def layer(g: Capture, layer: Any, *xs: ir.Value) -> ir.Value:
        return g.op(Concat(axis=layer.axis % len(g.shape(xs[0]))), *xs) if len(xs) > 1 else xs[0]

    @keras_operation("Concatenate")
    @staticmethod
    def operation(g: Capture, operation: Any, xs: Any) -> ir.Value:
        if any(not isinstance(x, ir.Value) for x in xs) or len({x.dtype for x in xs}) > 1:
            raise Refusal("it joins tensors of several dtypes, or constants.", "Cast them to one dtype before.")
        axis = operation.axis
        if axis is None:
            raise Refusal("axis=None flattens what it joins, the batch too.", "Give it an axis.")
        return g.op(Concat(axis=axis % len(g.shape(xs[0]))), *xs) if len(xs) > 1 else xs[0]

    @torch_operation("cat.default", "concat.default")
    @staticmethod
    def aten(g: TorchCapture, tensors: tuple[ir.Value, ...], dim: int) -> ir.Value:
        return g.op(Concat(axis=dim % len(g.shape(tensors[0]))), *tensors) if len(tensors) > 1 else tensors[0]


def fixed(before: tuple[Any, ...], after: tuple[Any, ...]) -> tuple[int, ...] | None:
    """The lengths as Reshape takes them: 0 for an axis that stays, one -1; None where more of them are symbols."""
    stays = [i < len(before) and alike(before[i], d) for i, d in enumerate(after)]
    made = [0 if stays[i] and (not i or not isinstance(d, int)) else d for i, d in enumerate(after)]
    open_ = [i for i, d in enumerate(made) if not isinstance(d, int)]
    if len(open_) > 1:
        return None
    if open_ or (made and made[0] == 0):
        return tuple(d if isinstance(d, int) else -1 for d in made)
    return (-1, *made[1:]) if made else ()


def alike(one: Any, other: Any) -> bool:
    """Whether two lengths are the same, be they numbers or torch's symbols."""
    return str(one) == str(other)


def groups(before: Dims, after: Dims) -> list[tuple[list[int], list[int]]] | None:
    """The runs of axes that a reshape turns into each other, in order; None where lengths are not known."""
    if any(d is None for d in before[1:]) or any(d is None for d in after[1:]):
        return None
    parts: list[tuple[list[int], list[int]]] = [([0], [0])]
    i = j = 1
    while i < len(before) or j < len(after):
        if i < len(before) and before[i] == 1 and not (j < len(after) and after[j] == 1):
            parts.append(([i], []))
            i += 1
            continue
        if j < len(after) and after[j] == 1 and not (i < len(before) and before[i] == 1):
            parts.append(([], [j]))
            j += 1
            continue
        if i >= len(before) or j >= len(after):
            return None
        taken, made = [i], [j]
        have, want = before[i] or 0, after[j] or 0
        i, j = i + 1, j + 1
        while have != want:
            if have < want and i < len(before):
                have *= before[i] or 0
                taken.append(i)
                i += 1
            elif have > want and j < len(after):
                want *= after[j] or 0
                made.append(j)
                j += 1
            else:
                return None
        parts.append((taken, made))
    return parts


def target(lengths: list[int | None]) -> tuple[int, ...]:
    """Lengths as Reshape takes them; -1 for an unknown one."""
    return tuple(-1 if d is None else d for d in lengths)
