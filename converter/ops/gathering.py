"""Elements taken and written at places that a tensor of ids names: along one axis, or several ids at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from converter.ops.base import Dims, Op, Perm, Refusal, TorchCapture, View, moved, operand, torch_operation
from converter.ops.cast import Cast, Where
from converter.ops.compare import Less
from converter.ops.elementwise import Add, Mul, Sub
from converter.ops.embedding import INTEGERS, Gather, axis_of
from converter.ops.indexing import Expand, Slice
from converter.ops.lengths import Length
from converter.ops.records import Call, Method, Record
from converter.ops.shape import Concat, Reshape, Transpose, Unsqueeze, target

INT64 = int(ir.DataType.INT64)
REDUCTIONS = {"sum": "add", "prod": "mul", "amax": "max", "amin": "min"}
"""torch's reduction of scatter_reduce -> ONNX's."""


class GatherElements(Op):
    """y[i, j, k] = x[i, ids[i, j, k], k] for axis 1, and so along any axis: y has the shape of the ids."""

    axis: int = 0

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        return GatherElements(axis=moved(self.axis, perm)), perm

    def torch(self, n: View) -> Record:
        return Call("torch.gather", (n.x(0), self.axis, n.x(1)))

    def keras(self, n: View) -> Record:
        return Call("ops.take_along_axis", (n.x(0), n.x(1)), {"axis": self.axis})

    @torch_operation("gather.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, dim: int, ids: ir.Value, sparse: bool) -> ir.Value:
        axis = axis_of(g, x, dim)
        return g.op(GatherElements(axis=axis), cropped(g, x, ids, axis), ids)

    @torch_operation("take_along_dim.default")
    @staticmethod
    def along(g: TorchCapture, x: ir.Value, ids: ir.Value, dim: int | None) -> ir.Value:
        if dim is None:
            raise Refusal("it takes elements of the flattened tensor.", "Give it a dim.")
        axis = axis_of(g, x, dim)
        return g.op(GatherElements(axis=axis), widened(g, x, ids, axis), widened(g, ids, x, axis))


def cropped(g: TorchCapture, x: ir.Value, ids: ir.Value, axis: int) -> ir.Value:
    """`x` without what lies beyond the ids along the other axes, where torch.gather does not look."""
    for i, (have, want) in enumerate(zip(g.sizes(x), g.sizes(ids), strict=True)):
        if i == axis or str(have) == str(want) or not isinstance(want, int):
            continue
        x = g.op(Slice(starts=(0,), ends=(want,), axes=(i,), steps=(1,)), x)
    return x


def widened(g: TorchCapture, x: ir.Value, other: ir.Value, axis: int) -> ir.Value:
    """`x` broadcast to the lengths of the other tensor, along every axis but one."""
    to: list[int] = []
    for i, (have, want) in enumerate(zip(g.sizes(x), g.sizes(other), strict=True)):
        if i != axis and have == 1 and not isinstance(want, int):
            raise Refusal("it broadcasts to a length that is known at run time only.", "Export it with fixed sizes.")
        to.append((want or 1) if i != axis and have == 1 else 1)
    return g.op(Expand(to=tuple(to)), x) if set(to) != {1} else x


class ScatterElements(Op):
    """x with y[i, ids[i, j, k], k] = updates[i, j, k] for axis 1, and so along any axis; or both combined."""

    axis: int = 0
    reduction: str = "none"

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        return ScatterElements(axis=moved(self.axis, perm), reduction=self.reduction), perm

    def torch(self, n: View) -> Record:
        given = (self.axis, n.x(1), n.x(2))
        if self.reduction == "none":
            return Method(n.x(), "scatter", given)
        if self.reduction == "add":
            return Method(n.x(), "scatter_add", given)
        named = {onnx: torch for torch, onnx in REDUCTIONS.items()}
        return Method(n.x(), "scatter_reduce", (*given, named[self.reduction]))

    @torch_operation("scatter.src")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, dim: int, ids: ir.Value, source: ir.Value) -> ir.Value:
        return g.op(ScatterElements(axis=axis_of(g, x, dim)), x, ids, cropped(g, source, ids, -1))

    @torch_operation("scatter.value")
    @staticmethod
    def number(g: TorchCapture, x: ir.Value, dim: int, ids: ir.Value, value: Any) -> ir.Value:
        zeros = g.op(Cast(to=int(x.dtype or ir.DataType.FLOAT)), g.op(Sub(), ids, ids))
        source = g.op(Add(), zeros, g.constant(value, like=x)) if value else zeros
        return g.op(ScatterElements(axis=axis_of(g, x, dim)), x, ids, source)

    @torch_operation("scatter_add.default")
    @staticmethod
    def added(g: TorchCapture, x: ir.Value, dim: int, ids: ir.Value, source: ir.Value) -> ir.Value:
        op = ScatterElements(axis=axis_of(g, x, dim), reduction="add")
        return g.op(op, x, ids, cropped(g, source, ids, -1))

    @torch_operation("scatter_reduce.two")
    @staticmethod
    def reduced(
        g: TorchCapture, x: ir.Value, dim: int, ids: ir.Value, source: ir.Value, reduce: str, include_self: bool
    ) -> ir.Value:
        if reduce not in REDUCTIONS or not include_self:
            raise Refusal(f"reduce={reduce!r} with include_self={include_self} has no mapping.")
        op = ScatterElements(axis=axis_of(g, x, dim), reduction=REDUCTIONS[reduce])
        return g.op(op, x, ids, cropped(g, source, ids, -1))


class ScatterND(Op):
    """x with the elements, or the parts, that each row of ids names replaced by the updates (ids..., part...)."""

    reduction: str = "none"

    def torch(self, n: View) -> Record:
        added = (True,) if self.reduction == "add" else ()
        return Method(n.x(), "index_put", (Method(n.x(1), "unbind", (-1,)), n.x(2), *added))

    def keras(self, n: View) -> Record:
        if self.reduction != "none" or len(n.shape(1)) != 2:
            raise LookupError("Keras writes to a list of places, and adds to none")
        return Call("ops.scatter_update", (n.x(0), n.x(1), n.x(2)))

    @staticmethod
    def aten(
        g: TorchCapture, x: ir.Value, given: Sequence[ir.Value | None], values: ir.Value, accumulate: bool
    ) -> ir.Value:
        """torch's index_put by ids of the first axes."""
        ids = [v for v in given if v is not None]
        if len(ids) < len(given) or any(v.dtype not in INTEGERS or g.sizes(v) != g.sizes(ids[0]) for v in ids):
            why = "it overwrites elements by ids behind a whole axis, or of several shapes."
            raise Refusal(why, "Use scatter, or ids of one shape for the first axes.")
        to = (*g.shape(ids[0]), *g.shape(x)[len(ids) :])
        if g.shape(values) != to:
            if None in to:
                raise Refusal("it writes to lengths that are known at run time only.", "Export it with fixed sizes.")
            values = g.op(Expand(to=tuple(d or 0 for d in to)), values)
        rank = len(g.shape(ids[0]))
        wide = [v if v.dtype == ir.DataType.INT64 else g.op(Cast(to=INT64), v) for v in ids]
        places = [g.op(Unsqueeze(axes=(rank,)), v) for v in wide]
        place = g.op(Concat(axis=rank), *places) if len(places) > 1 else places[0]
        return g.op(ScatterND(reduction="add" if accumulate else "none"), x, place, values)


class OneHot(Op):
    """Ids of any shape -> (ids..., depth): 1 at the place of the id, 0 elsewhere, as `values` have the two."""

    axis: int = -1
    depth: int = operand(1)
    values: tuple[int, ...] = operand(2)

    def torch(self, n: View) -> Record:
        return Call("F.one_hot", (n.x(), self.depth))

    def keras(self, n: View) -> Record:
        return Call("ops.one_hot", (n.x(), self.depth), {"dtype": "int64"})

    @torch_operation("one_hot.default")
    @staticmethod
    def aten(g: TorchCapture, ids: ir.Value, classes: int) -> ir.Value:
        if classes < 0:
            raise Refusal("how many classes it has is known at run time only.", "Give it num_classes.")
        return g.op(OneHot(depth=classes, values=(0, 1)), ids)


class _Indexed(Op, abstract=True):
    """x[ids, :, more]: no op of its own, but Gather on the indexed axes made one."""

    @torch_operation("index.Tensor")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, given: Sequence[ir.Value | None]) -> ir.Value:
        ids = {axis: v for axis, v in enumerate(given) if v is not None}
        for value in ids.values():
            if value.dtype not in INTEGERS:
                why = "it takes the elements where a mask is true: how many there are is known at run time only."
                raise Refusal(why, "Use torch.where, or multiply by the mask.")
        axes = list(ids)
        if len(axes) == 1:
            return g.op(Gather(axis=axes[0]), x, ids[axes[0]])
        x, first = gathered_axes(g, x, axes)
        place, lengths = joined(g, x, first, [ids[a] for a in axes])
        rest = g.shape(x)
        open_ = None in rest[first : first + len(axes)]
        merged = [*rest[:first], None if open_ else math.prod(lengths), *rest[first + len(axes) :]]
        kept = [0 if i < first else d for i, d in enumerate(merged)]
        if kept.count(None) > 1:
            why = "it indexes a tensor with lengths that are known at run time only."
            raise Refusal(why, "Export it with fixed sizes.")
        return g.op(Gather(axis=first), g.op(Reshape(target=target(kept)), x), place)


def gathered_axes(g: TorchCapture, x: ir.Value, axes: list[int]) -> tuple[ir.Value, int]:
    """`x` with the indexed axes beside each other, in front where they are not, as torch has it; and their first."""
    if axes == list(range(axes[0], axes[0] + len(axes))):
        return x, axes[0]
    rest = [i for i in range(len(g.shape(x))) if i not in axes]
    return g.op(Transpose(perm=(*axes, *rest)), x), 0


def joined(g: TorchCapture, x: ir.Value, first: int, ids: list[ir.Value]) -> tuple[ir.Value, list[int]]:
    """The place in the merged axes that ids for each of them name, row by row, and the lengths of these axes."""
    lengths = list(g.shape(x)[first : first + len(ids)])
    known = [v.const_value.numpy().astype(np.int64) for v in ids if v.const_value is not None]
    if None not in lengths[1:] and len(known) == len(ids):
        place = known[0]
        for many, each in zip([d or 0 for d in lengths[1:]], known[1:], strict=True):
            place = place * many + np.where(each < 0, each + many, each)
        return g.constant(place), [d or 0 for d in lengths]
    wide = [v if v.dtype == ir.DataType.INT64 else g.op(Cast(to=INT64), v) for v in ids]
    made = wide[0]  # one that counts from the end does so in the merged axes too
    for axis, (length, value) in enumerate(zip(lengths[1:], wide[1:], strict=True), first + 1):
        whole = g.constant(np.asarray(length, np.int64)) if length is not None else g.op(Length(axis=axis), x)
        before = g.op(Mul(), made, whole)
        made = g.op(Add(), before, counted_from_front(g, value, whole))
    return made, [d or 0 for d in lengths]


def counted_from_front(g: TorchCapture, ids: ir.Value, length: ir.Value) -> ir.Value:
    """Ids of int64 into an axis of this length, those that count from the end counted from the front."""
    known = None if ids.const_value is None else ids.const_value.numpy()
    if known is not None and (known >= 0).all():
        return ids
    zero = g.constant(np.asarray(0, np.int64))
    return g.op(Where(), g.op(Less(), ids, zero), g.op(Add(), ids, length), ids)
