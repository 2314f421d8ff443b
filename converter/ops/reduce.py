"""Reductions over axes."""

from __future__ import annotations

import math
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
from converter.ops.cast import Cast
from converter.ops.records import Call, Infix, Layer, Method, Record


class _Reduce(Op, abstract=True):
    """Each axis in `axes` becomes one element (`keepdims` 1: an axis of length 1, 0: none at all)."""

    keepdims: int = 1
    noop_with_empty_axes: int = 0
    axes: tuple[int, ...] = operand(1)

    method: ClassVar[str]

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        gone = {a % len(perm) for a in self.axes}
        axes = tuple(sorted(moved(a, perm) for a in self.axes))
        op = type(self)(axes=axes, keepdims=self.keepdims)
        if self.keepdims:
            return op, perm
        left = [a for a in range(len(perm)) if a not in gone]
        return op, tuple(left.index(p) for p in perm if p not in gone)

    def torch(self, n: View) -> Record:
        keep: dict[str, Any] = {"keepdim": True} if self.keepdims else {}
        return Method(n.x(), self.method, (self.axes if len(self.axes) > 1 else self.axes[0],), keep)

    def keras(self, n: View) -> Record:
        return self.summary(n, n.x())

    def summary(self, n: View, x: Record) -> Record:
        """`ops.mean(x, axis=(1, 2))`."""
        keep: dict[str, Any] = {"keepdims": True} if self.keepdims else {}
        name = {"amax": "max", "amin": "min"}.get(self.method, self.method)
        return Call(f"ops.{name}", (x,), {"axis": self.axes if len(self.axes) > 1 else self.axes[0], **keep})


class ReduceMean(_Reduce):
    """The mean over the axes."""

    method: ClassVar[str] = "mean"

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

    @keras_operation("Mean", vet=refusals.behind_batch)
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return reduced(g, ReduceMean, operation, x)

    @torch_operation("mean.dim")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, dim: tuple[int, ...] | None, keepdim: bool, dtype: Any) -> ir.Value:
        if dtype is not None:
            raise Refusal(f"dtype={dtype} has no mapping.")
        rank = len(g.shape(x))
        axes = tuple(sorted(d % rank for d in dim or range(rank)))
        return g.op(ReduceMean(axes=axes, keepdims=int(keepdim)), x)

    @torch_operation("adaptive_avg_pool1d.default", "adaptive_avg_pool2d.default", "adaptive_avg_pool3d.default")
    @staticmethod
    def pool(g: TorchCapture, x: ir.Value, output_size: tuple[int, ...]) -> ir.Value:
        if len(g.shape(x)) != len(output_size) + 2:
            raise Refusal("its input is a single example, without a batch axis.", "Give the example inputs one.")
        if set(output_size) != {1}:
            raise Refusal(f"output_size={output_size}: only 1, the mean over everything, has a mapping.")
        return g.op(ReduceMean(axes=tuple(range(2, len(g.shape(x)))), keepdims=1), x)


class ReduceSum(_Reduce):
    """The sum over the axes."""

    method: ClassVar[str] = "sum"

    @keras_operation("Sum", vet=refusals.behind_batch)
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return reduced(g, ReduceSum, operation, x)


class ReduceMax(_Reduce):
    """The largest element over the axes."""

    method: ClassVar[str] = "amax"

    def keras(self, n: View) -> Record:
        return pooled(self, n, "Max")

    @keras_operation("Max", vet=refusals.behind_batch)
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return reduced(g, ReduceMax, operation, x)

    @torch_operation("amax.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, dim: tuple[int, ...], keepdim: bool) -> ir.Value:
        rank = len(g.shape(x))
        axes = tuple(sorted(d % rank for d in dim or range(rank)))
        return g.op(ReduceMax(axes=axes, keepdims=int(keepdim)), x)


class ReduceMin(_Reduce):
    """The smallest element over the axes."""

    method: ClassVar[str] = "amin"

    @keras_operation("Min", vet=refusals.behind_batch)
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return reduced(g, ReduceMin, operation, x)


class ReduceSumSquare(_Reduce):
    """The sum of the squares over the axes."""

    method: ClassVar[str] = "sum"

    def torch(self, n: View) -> Record:
        keep: dict[str, Any] = {"keepdim": True} if self.keepdims else {}
        return Method(Call("torch.square", (n.x(),)), "sum", (self.axes,), keep)

    def keras(self, n: View) -> Record:
        return self.summary(n, Call("ops.square", (n.x(),)))


class AnyTrue(Function):
    """Whether any of the truth values along `axis` is true, without the axis; Keras makes the mask of Masking of it."""

    axis: int

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        (x,) = there(types)
        return (Type(tuple(d for i, d in enumerate(x.shape) if i != self.axis), x.dtype),)

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        left = [a for a in range(len(perm)) if a != self.axis]
        return AnyTrue(axis=moved(self.axis, perm)), tuple(left.index(p) for p in perm if p != self.axis)

    def torch(self, n: View) -> Record:
        return Method(n.x(), "any", (self.axis,))

    def keras(self, n: View) -> Record:
        return Call("ops.any", (n.x(),), {"axis": self.axis})

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        numbers = g.op(Cast(to=int(ir.DataType.INT32)), inputs[0])
        return g.op(Cast(to=int(ir.DataType.BOOL)), g.op(ReduceMax(axes=(self.axis,), keepdims=0), numbers))

    @keras_operation("Any")
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        rank = len(g.shape(x))
        axis = operation.axis
        axes = axis if isinstance(axis, (tuple, list)) else (axis,)
        if len(axes) != 1 or axes[0] is None or int(axes[0]) % rank == 0 or operation.keepdims:
            raise Refusal(f"axis={axis} and keepdims={operation.keepdims} have no mapping.", "Reduce one axis.")
        if x.dtype != ir.DataType.BOOL:
            raise Refusal(f"it takes {x.dtype} for truth values.", "Compare them with 0 before.")
        return g.op(AnyTrue(axis=int(axes[0]) % rank), x)


def pooled(op: _Reduce, n: View, kind: str) -> Record:
    """A reduction over the axes between batch and channels: Keras's global pooling."""
    rank = len(n.shape())
    axes = {a % rank for a in op.axes}
    double = n.value(0).dtype == ir.DataType.DOUBLE and kind == "Average"
    if axes != set(range(1, rank - 1)) or rank not in (3, 4, 5) or double:
        return op.summary(n, n.x())
    keep: dict[str, Any] = {"keepdims": True} if op.keepdims else {}
    return Layer(f"Global{kind}Pooling{rank - 2}D", keep, inputs=(n.x(),))


def reduced(g: Capture, kind: type[_Reduce], operation: Any, x: ir.Value) -> ir.Value:
    """A reduction of keras.ops, over axes other than the first."""
    rank = len(g.shape(x))
    axis = operation.axis
    axes = tuple(sorted({int(a) % rank for a in (axis if isinstance(axis, (tuple, list)) else (axis or 0,))}))
    return g.op(kind(axes=axes, keepdims=int(bool(operation.keepdims))), x)
