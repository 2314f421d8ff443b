"""Where elements stand in their order: the largest and the smallest, all of them sorted, the first few."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from converter.ops.base import (
    Builder,
    Capture,
    Dims,
    Function,
    Op,
    Perm,
    Refusal,
    TorchCapture,
    Type,
    View,
    keras_operation,
    moved,
    operand,
    torch_operation,
)
from converter.ops.cast import Cast, cast
from converter.ops.records import Call, Index, Method, Record
from converter.ops.reduce import ReduceMax, ReduceMin, ordered_over
from converter.ops.shape import Reshape, Unsqueeze
from converter.ops.sizes import Shape

INT64 = ir.DataType.INT64


class _Place(Op, abstract=True):
    """The index of an element along `axis`, of the first one among equals."""

    axis: int = 0
    keepdims: int = 1
    select_last_index: int = 0

    method: ClassVar[str]

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        axis = self.axis % len(perm)
        made = type(self)(axis=moved(axis, perm), keepdims=self.keepdims, select_last_index=self.select_last_index)
        if self.keepdims:
            return made, perm
        left = [a for a in range(len(perm)) if a != axis]
        return made, tuple(left.index(p) for p in perm if p != axis)

    def torch(self, n: View) -> Record:
        keep: dict[str, Any] = {"keepdim": True} if self.keepdims else {}
        return Method(n.x(), self.method, (), {"dim": self._axis(), **keep})

    def keras(self, n: View) -> Record:
        keep: dict[str, Any] = {"keepdims": True} if self.keepdims else {}
        return Call("ops.cast", (Call(f"ops.{self.method}", (n.x(),), {"axis": self._axis(), **keep}), "int64"))

    def _axis(self) -> int:
        if self.select_last_index:
            raise LookupError("of equal elements neither framework finds the last one")
        return self.axis


class ArgMax(_Place):
    """The index of the largest element along `axis`."""

    method: ClassVar[str] = "argmax"

    @keras_operation("Argmax")
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return _placed(g, ArgMax, operation, x)

    @torch_operation("argmax.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, dim: int | None, keepdim: bool) -> ir.Value:
        return _place(g, ArgMax, x, dim, keepdim)

    @torch_operation("max.dim")
    @staticmethod
    def both(g: TorchCapture, x: ir.Value, dim: int, keepdim: bool) -> tuple[ir.Value, ir.Value]:
        return ordered_over(g, ReduceMax, x, dim, keepdim), _place(g, ArgMax, x, dim, keepdim)


class ArgMin(_Place):
    """The index of the smallest element along `axis`."""

    method: ClassVar[str] = "argmin"

    @keras_operation("Argmin")
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return _placed(g, ArgMin, operation, x)

    @torch_operation("argmin.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, dim: int | None, keepdim: bool) -> ir.Value:
        return _place(g, ArgMin, x, dim, keepdim)

    @torch_operation("min.dim")
    @staticmethod
    def both(g: TorchCapture, x: ir.Value, dim: int, keepdim: bool) -> tuple[ir.Value, ir.Value]:
        return ordered_over(g, ReduceMin, x, dim, keepdim), _place(g, ArgMin, x, dim, keepdim)


def _placed(g: Capture, kind: type[_Place], operation: Any, x: ir.Value) -> ir.Value:
    rank = len(g.shape(x))
    if operation.axis is None or int(operation.axis) % rank == 0:
        raise Refusal(f"axis={operation.axis} looks through the batch.", "Name an axis behind it.")
    if x.dtype == ir.DataType.BOOL:
        raise Refusal("it looks for the largest of truth values.", "Cast them to integers before.")
    found = g.op(kind(axis=int(operation.axis) % rank, keepdims=int(bool(operation.keepdims))), x)
    return g.op(Cast(to=int(ir.DataType.INT32)), found)


def _place(g: TorchCapture, kind: type[_Place], x: ir.Value, dim: int | None, keepdim: bool) -> ir.Value:
    rank = len(g.shape(x))
    x = cast(g, x, ir.DataType.INT32) if x.dtype == ir.DataType.BOOL else x
    if dim is not None and rank:
        return g.op(kind(axis=dim % rank, keepdims=int(keepdim)), x)
    found = g.op(kind(axis=0, keepdims=0), g.op(Reshape(target=(-1,)), x))
    return g.op(Unsqueeze(axes=tuple(range(rank))), found) if keepdim and rank else found


class TopK(Op):
    """The k largest (or smallest) elements along `axis` in their order, and their indices; equals as they come."""

    axis: int = -1
    largest: int = 1
    sorted: int = 1
    k: tuple[int, ...] | None = operand(1, default=None)

    def torch(self, n: View) -> Record:
        k = self._count()
        given = {"largest": False} if not self.largest else {}
        rest = {"sorted": False} if not self.sorted else {}
        return Call("torch.topk", (n.x(), k), {"dim": self.axis, **given, **rest})

    def keras(self, n: View) -> Record:
        """Keras takes the largest along the last axis."""
        rank = len(n.shape())
        axis, last = self.axis % rank, rank - 1
        x: Record = n.x() if self.largest else Call("ops.negative", (n.x(),))
        x = x if axis == last else Call("ops.swapaxes", (x, axis, last))
        found = Call("ops.top_k", (x, self._count()))
        both: list[Record] = [Index(found, (0,)), Call("ops.cast", (Index(found, (1,)), "int64"))]
        if axis != last:
            both = [Call("ops.swapaxes", (part, axis, last)) for part in both]
        return (both[0] if self.largest else Call("ops.negative", (both[0],)), both[1])

    def _count(self) -> int:
        if self.k is None:
            raise LookupError("it takes a number of elements that is computed")
        return self.k[0]

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        axis = moved(self.axis, perm)
        return TopK(axis=axis, largest=self.largest, sorted=self.sorted, k=self.k), perm

    @torch_operation("topk.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, k: Any, dim: int, largest: bool, sorted: bool) -> Any:
        if not isinstance(k, int):
            raise Refusal("it takes a number of elements that is known at run time only.", "Export it with a fixed k.")
        op = TopK(axis=dim % len(g.shape(x)), largest=int(largest), sorted=int(sorted), k=(k,))
        values, places = g.several(op, _sortable(g, x))
        return cast(g, values, x.dtype), places

    @keras_operation("TopK")
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> Any:
        values, places = g.several(TopK(axis=len(g.shape(x)) - 1, k=(int(operation.k),)), _sortable(g, x))
        return cast(g, values, x.dtype), g.op(Cast(to=int(ir.DataType.INT32)), places)


class Sort(Function):
    """The elements along `axis` in ascending (or descending) order, and their indices; equal ones keep their order."""

    axis: int
    descending: int = 0

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        first = next(t for t in types if t is not None)
        return first, Type(first.shape, INT64)

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        return Sort(axis=moved(self.axis, perm), descending=self.descending), perm

    def torch(self, n: View) -> Record:
        down = {"descending": True} if self.descending else {}
        return Call("torch.sort", (n.x(),), {"dim": self.axis, **down, "stable": True})

    def keras(self, n: View) -> Record:
        if not self.descending:
            values, places = (Call(f"ops.{name}", (n.x(),), {"axis": self.axis}) for name in ("sort", "argsort"))
            return values, Call("ops.cast", (places, "int64"))
        if str(n.value(0).dtype).startswith(("UINT", "BOOL")):
            raise LookupError("Keras sorts upwards, and these numbers have no sign that could be turned")
        values = Call("ops.flip", (Call("ops.sort", (n.x(),), {"axis": self.axis}),), {"axis": self.axis})
        places = Call("ops.argsort", (Call("ops.negative", (n.x(),)),), {"axis": self.axis})
        return values, Call("ops.cast", (places, "int64"))

    def body(self, g: Builder, *inputs: ir.Value) -> tuple[ir.Value, ...]:
        length = g.op(Shape(start=self.axis, end=self.axis + 1), inputs[0])
        return g.several(TopK(axis=self.axis, largest=self.descending), inputs[0], length)

    @torch_operation("sort.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, dim: int, descending: bool) -> Any:
        return _sorted(g, x, dim, descending)

    @torch_operation("sort.stable")
    @staticmethod
    def stable(g: TorchCapture, x: ir.Value, stable: bool | None, dim: int, descending: bool) -> Any:
        return _sorted(g, x, dim, descending)

    @torch_operation("argsort.default")
    @staticmethod
    def places(g: TorchCapture, x: ir.Value, dim: int, descending: bool) -> ir.Value:
        found: ir.Value = _sorted(g, x, dim, descending)[1]
        return found

    @torch_operation("argsort.stable")
    @staticmethod
    def stable_places(g: TorchCapture, x: ir.Value, stable: bool, dim: int, descending: bool) -> ir.Value:
        found: ir.Value = _sorted(g, x, dim, descending)[1]
        return found

    @keras_operation("Sort")
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return g.several(Sort(axis=_behind(g, operation, x)), x)[0]

    @keras_operation("Argsort")
    @staticmethod
    def operation_places(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return g.op(Cast(to=int(ir.DataType.INT32)), g.several(Sort(axis=_behind(g, operation, x)), x)[1])


def _behind(g: Capture, operation: Any, x: ir.Value) -> int:
    rank = len(g.shape(x))
    if operation.axis is None or int(operation.axis) % rank == 0:
        raise Refusal(f"axis={operation.axis} sorts the batch.", "Name an axis behind it.")
    if x.dtype == ir.DataType.BOOL:
        raise Refusal("it sorts truth values.", "Cast them to integers before.")
    return int(operation.axis) % rank


def _sorted(g: TorchCapture, x: ir.Value, dim: int, descending: bool) -> tuple[ir.Value, ir.Value]:
    rank = len(g.shape(x))
    if not rank:
        return x, g.constant(np.zeros((), np.int64))
    values, places = g.several(Sort(axis=dim % rank, descending=int(descending)), _sortable(g, x))
    return cast(g, values, x.dtype), places


def _sortable(g: Builder, x: ir.Value) -> ir.Value:
    """The value in a dtype that ONNX sorts, and in the same order."""
    wider = {ir.DataType.BOOL: ir.DataType.INT32, ir.DataType.BFLOAT16: ir.DataType.FLOAT}
    return cast(g, x, wider.get(x.dtype, x.dtype)) if x.dtype is not None else x
