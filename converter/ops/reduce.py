"""Reductions over axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import onnx_ir as ir

from converter.ops import refusals
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
    there,
    torch_operation,
)
from converter.ops.cast import Cast, cast, computing
from converter.ops.operands import floating
from converter.ops.records import Call, Infix, Layer, Literal, Method, Record


class Reduce(Op, abstract=True):
    """Each axis in `axes` becomes one element (`keepdims` 1: an axis of length 1, 0: none at all)."""

    keepdims: int = 1
    noop_with_empty_axes: int = 0
    axes: tuple[int, ...] = operand(1)

    method: ClassVar[str]

    @classmethod
    def complete(cls, found: dict[str, Any], shapes: Sequence[Dims]) -> dict[str, Any]:
        axes = found.get("axes") or tuple(range(len(shapes[0])))
        if not found.get("axes") and found.get("noop_with_empty_axes"):
            raise LookupError(f"{cls.__name__} over no axis at all has no mapping")
        return found | {"axes": axes}

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        gone = {a % len(perm) for a in self.axes}
        axes = tuple(sorted(moved(a, perm) for a in self.axes))
        op = type(self)(axes=axes, keepdims=self.keepdims)
        if self.keepdims:
            return op, perm
        left = [a for a in range(len(perm)) if a not in gone]
        return op, tuple(left.index(p) for p in perm if p not in gone)

    def torch(self, n: View) -> Record:
        if not self.keepdims and len(self.axes) == len(n.shape()):
            return Method(n.x(), self.method)
        keep: dict[str, Any] = {"keepdim": True} if self.keepdims else {}
        return Method(n.x(), self.method, (self.axes if len(self.axes) > 1 else self.axes[0],), keep)

    def keras(self, n: View) -> Record:
        return self.summary(n, n.x())

    def summary(self, n: View, x: Record) -> Record:
        """`ops.mean(x, axis=(1, 2))`."""
        keep: dict[str, Any] = {"keepdims": True} if self.keepdims else {}
        name = {"amax": "max", "amin": "min"}.get(self.method, self.method)
        return Call(f"ops.{name}", (x,), {"axis": self.axes if len(self.axes) != 1 else self.axes[0], **keep})


class ReduceMean(Reduce):
    """The mean over the axes."""

    method: ClassVar[str] = "mean"
    nonnegative: ClassVar[str] = "kept"

    def summary(self, n: View, x: Record) -> Record:
        if n.value(0).dtype != ir.DataType.DOUBLE:
            return super().summary(n, x)
        # Keras's mean of float64 is one in float32, on the backends of torch and JAX.
        total = ReduceSum(axes=self.axes, keepdims=self.keepdims)
        lengths = [n.shape()[a] for a in self.axes]
        count: Any = float(math.prod(d or 1 for d in lengths))
        if None in lengths:
            count = total.summary(n, Call("ops.ones_like", (x,)))
        return Infix("/", total.summary(n, x), count)

    def keras(self, n: View) -> Record:
        return pooled(self, n, "Average")

    @keras_operation("Mean", vet=refusals.reductions)
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return reduced(g, ReduceMean, operation, x)

    @torch_operation("mean.dim")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, dim: tuple[int, ...] | None, keepdim: bool, dtype: Any) -> ir.Value:
        return _over(g, ReduceMean, computing(g, x, dtype), dim, keepdim)

    @torch_operation("mean.default")
    @staticmethod
    def whole(g: TorchCapture, x: ir.Value, dtype: Any) -> ir.Value:
        return _over(g, ReduceMean, computing(g, x, dtype), None, False)


class ReduceSum(Reduce):
    """The sum over the axes."""

    method: ClassVar[str] = "sum"
    nonnegative: ClassVar[str] = "kept"

    def torch(self, n: View) -> Record:
        made = super().torch(n)
        if n.value(0).dtype != ir.DataType.INT32 or not isinstance(made, Method):
            return made
        return replace(made, kwargs={**made.kwargs, "dtype": Literal("torch.int32")})  # PyTorch's own is int64

    @keras_operation("Sum", vet=refusals.sums)
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return reduced(g, ReduceSum, operation, x)

    @torch_operation("sum.dim_IntList")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, dim: tuple[int, ...] | None, keepdim: bool, dtype: Any) -> ir.Value:
        return _over(g, ReduceSum, summable(g, x, dtype), dim, keepdim)

    @torch_operation("sum.default")
    @staticmethod
    def whole(g: TorchCapture, x: ir.Value, dtype: Any) -> ir.Value:
        return _over(g, ReduceSum, summable(g, x, dtype), None, False)


class ReduceMax(Reduce):
    """The largest element over the axes."""

    method: ClassVar[str] = "amax"
    nonnegative: ClassVar[str] = "kept"

    def keras(self, n: View) -> Record:
        return pooled(self, n, "Max")

    @keras_operation("Max", vet=refusals.reductions)
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return reduced(g, ReduceMax, operation, x)

    @torch_operation("amax.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, dim: tuple[int, ...], keepdim: bool) -> ir.Value:
        return ordered_over(g, ReduceMax, x, dim, keepdim)

    @torch_operation("max.default")
    @staticmethod
    def whole(g: TorchCapture, x: ir.Value) -> ir.Value:
        return ordered_over(g, ReduceMax, x, None, False)


class ReduceMin(Reduce):
    """The smallest element over the axes."""

    method: ClassVar[str] = "amin"

    @keras_operation("Min", vet=refusals.reductions)
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return reduced(g, ReduceMin, operation, x)

    @torch_operation("amin.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, dim: tuple[int, ...], keepdim: bool) -> ir.Value:
        return ordered_over(g, ReduceMin, x, dim, keepdim)

    @torch_operation("min.default")
    @staticmethod
    def whole(g: TorchCapture, x: ir.Value) -> ir.Value:
        return ordered_over(g, ReduceMin, x, None, False)


class ReduceProd(Reduce):
    """The product over the axes."""

    method: ClassVar[str] = "prod"

    def torch(self, n: View) -> Record:
        """PyTorch multiplies along one axis at a time."""
        if not self.keepdims and len(self.axes) == len(n.shape()):
            return Method(n.x(), "prod")
        made: Record = n.x()
        for axis in sorted((a % len(n.shape()) for a in self.axes), reverse=True):
            made = Method(made, "prod", (axis,), {"keepdim": True} if self.keepdims else {})
        return made

    @keras_operation("Prod", vet=refusals.reductions)
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        if operation.dtype is not None:
            raise Refusal(f"dtype={operation.dtype} has no mapping.", "Cast before.")
        return reduced(g, ReduceProd, operation, x)

    @torch_operation("prod.dim_int")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, dim: int, keepdim: bool, dtype: Any) -> ir.Value:
        return _over(g, ReduceProd, summable(g, x, dtype), dim, keepdim)

    @torch_operation("prod.default")
    @staticmethod
    def whole(g: TorchCapture, x: ir.Value, dtype: Any) -> ir.Value:
        return _over(g, ReduceProd, summable(g, x, dtype), None, False)


class ReduceSumSquare(Reduce):
    """The sum of the squares over the axes."""

    method: ClassVar[str] = "sum"

    def torch(self, n: View) -> Record:
        keep: dict[str, Any] = {"keepdim": True} if self.keepdims else {}
        return Method(Call("torch.square", (n.x(),)), "sum", (self.axes,), keep)

    def keras(self, n: View) -> Record:
        return self.summary(n, Call("ops.square", (n.x(),)))


class _Truths(Function, abstract=True):
    """One truth value out of those along the axes, which go, or stay with length 1 (`keepdims`)."""

    axes: tuple[int, ...]
    keepdims: int = 0

    method: ClassVar[str]
    number: ClassVar[type[Reduce]]
    """The same of 0 and 1."""

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        (x,) = there(types)
        return (Type(reduced_to(x.shape, self.axes, self.keepdims), x.dtype),)

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        axes = tuple(sorted(moved(a, perm) for a in self.axes))
        if self.keepdims:
            return type(self)(axes=axes, keepdims=1), perm
        left = [a for a in range(len(perm)) if a not in self.axes]
        return type(self)(axes=axes), tuple(left.index(p) for p in perm if p not in self.axes)

    def torch(self, n: View) -> Record:
        if not self.keepdims and len(self.axes) == len(n.shape()):
            return Method(n.x(), self.method)
        keep: dict[str, Any] = {"keepdim": True} if self.keepdims else {}
        return Method(n.x(), self.method, (self.axes if len(self.axes) > 1 else self.axes[0],), keep)

    def keras(self, n: View) -> Record:
        keep: dict[str, Any] = {"keepdims": True} if self.keepdims else {}
        axis = {"axis": self.axes if len(self.axes) > 1 else self.axes[0]}
        return Call(f"ops.{self.method}", (n.x(),), {**axis, **keep})

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        numbers = g.op(Cast(to=int(ir.DataType.INT32)), inputs[0])
        return g.op(Cast(to=int(ir.DataType.BOOL)), g.op(self.number(axes=self.axes, keepdims=self.keepdims), numbers))


class AnyTrue(_Truths):
    """Whether any of the truth values along the axes is true; Keras makes the mask of Masking of it."""

    method: ClassVar[str] = "any"
    number: ClassVar[type[Reduce]] = ReduceMax

    @keras_operation("Any")
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return _truths(g, AnyTrue, operation, x)

    @torch_operation("any.default")
    @staticmethod
    def whole(g: TorchCapture, x: ir.Value) -> ir.Value:
        return _truth(g, AnyTrue, x, None, False)

    @torch_operation("any.dim", "any.dims")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, dim: Any, keepdim: bool) -> ir.Value:
        return _truth(g, AnyTrue, x, dim, keepdim, none=())


class AllTrue(_Truths):
    """Whether all truth values along the axes are true."""

    method: ClassVar[str] = "all"
    number: ClassVar[type[Reduce]] = ReduceMin

    @keras_operation("All")
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return _truths(g, AllTrue, operation, x)

    @torch_operation("all.default")
    @staticmethod
    def whole(g: TorchCapture, x: ir.Value) -> ir.Value:
        return _truth(g, AllTrue, x, None, False)

    @torch_operation("all.dim", "all.dims")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, dim: Any, keepdim: bool) -> ir.Value:
        return _truth(g, AllTrue, x, dim, keepdim, none=())


def _truth(g: TorchCapture, kind: Any, x: ir.Value, dim: Any, keepdim: bool, none: Any = None) -> ir.Value:
    """Of aten, which takes any number for whether it is not 0, and answers in uint8 to uint8."""
    return cast(g, _over(g, kind, cast(g, x, ir.DataType.BOOL), dim, keepdim, none), g.made_dtype())


def _truths(g: Capture, kind: type[_Truths], operation: Any, x: ir.Value) -> ir.Value:
    """Of keras.ops, over one axis behind the batch axis."""
    rank = len(g.shape(x))
    axis = operation.axis
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    if any(a is None or int(a) % rank == 0 for a in axes):
        raise Refusal(f"axis={axis} reduces the batch axis.", "Reduce the axes behind it.")
    if x.dtype != ir.DataType.BOOL:
        raise Refusal(f"it takes {x.dtype} for truth values.", "Compare them with 0 before.")
    axes = tuple(sorted({int(a) % rank for a in axes}))
    return g.op(kind(axes=axes, keepdims=int(bool(operation.keepdims))), x)


def axes_of(g: TorchCapture, x: ir.Value, dim: Any, none: Any = None) -> tuple[int, ...]:
    """The axes that aten names by `dim`; all of them where it is None, or empty and `none` does not say otherwise."""
    rank = len(g.shape(x))
    if isinstance(dim, int):
        dim = (dim,)
    if dim is None or (not dim and none is None):
        return tuple(range(rank))
    return tuple(sorted({d % rank for d in dim} if rank else ()))


def _over(g: TorchCapture, kind: Any, x: ir.Value, dim: Any, keepdim: bool, none: Any = None) -> ir.Value:
    """A reduction of aten; of no axes it is the value itself."""
    axes = axes_of(g, x, dim, none)
    return g.op(kind(axes=axes, keepdims=int(keepdim)), x) if axes else x


def ordered_over(g: TorchCapture, kind: Any, x: ir.Value, dim: Any, keepdim: bool) -> ir.Value:
    """The largest or smallest; ONNX has none of int16, and of truth values one that few run: int32 has their order."""
    narrow = x.dtype in (ir.DataType.BOOL, ir.DataType.INT16)
    found = _over(g, kind, cast(g, x, ir.DataType.INT32) if narrow else x, dim, keepdim)
    return cast(g, found, x.dtype)


def summable(g: TorchCapture, x: ir.Value, dtype: Any) -> ir.Value:
    """In the dtype that sums and products are asked to be made in; integers and truth values else in int64."""
    if dtype is None and not floating(x):
        return cast(g, x, ir.DataType.INT64)
    return computing(g, x, dtype)


def reduced_to(shape: Dims, axes: tuple[int, ...], keepdims: int) -> Dims:
    """The lengths behind a reduction."""
    return tuple(1 if i in axes else d for i, d in enumerate(shape) if keepdims or i not in axes)


def pooled(op: Reduce, n: View, kind: str) -> Record:
    """A reduction over the axes between batch and channels: Keras's global pooling."""
    rank = len(n.shape())
    axes = {a % rank for a in op.axes}
    double = n.value(0).dtype == ir.DataType.DOUBLE and kind == "Average"
    if axes != set(range(1, rank - 1)) or rank not in (3, 4, 5) or double:
        return op.summary(n, n.x())
    keep: dict[str, Any] = {"keepdims": True} if op.keepdims else {}
    return Layer(f"Global{kind}Pooling{rank - 2}D", keep, inputs=(n.x(),))


def reduced(g: Capture, kind: type[Reduce], operation: Any, x: ir.Value) -> ir.Value:
    """A reduction of keras.ops."""
    rank = len(g.shape(x))
    axis = range(rank) if operation.axis is None else operation.axis
    axes = tuple(sorted({int(a) % rank for a in (axis if isinstance(axis, (tuple, list, range)) else (axis,))}))
    return g.op(kind(axes=axes, keepdims=int(bool(operation.keepdims))), x)
