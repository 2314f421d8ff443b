"""Activations along an axis: softmax, its kin, and the gated linear unit."""

from __future__ import annotations

from typing import Any, ClassVar

import onnx_ir as ir

from converter.ops.activations import Relu
from converter.ops.activations_smooth import Exp, Sigmoid
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
    keras_activation,
    keras_layer,
    moved,
    there,
    torch_operation,
)
from converter.ops.cast import Cast, Where, cast, computing
from converter.ops.compare import Greater, GreaterOrEqual
from converter.ops.elementwise import Add, Div, Mul, Sub
from converter.ops.indexing import Slice, Squeeze
from converter.ops.operands import floating
from converter.ops.records import Call, Infix, Layer, Module, Record
from converter.ops.reduce import ReduceMax, ReduceSum
from converter.ops.shape import Unsqueeze


class Softmax(Op):
    """exp(x) / sum(exp(x)) along `axis`."""

    axis: int = -1

    nonnegative: ClassVar[str] = "always"
    before_loss: ClassVar[str] = "softmax"

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        return Softmax(axis=moved(self.axis, perm)), perm

    def torch(self, n: View) -> Record:
        if n.own:
            return Module("nn.Softmax", kwargs={"dim": self.axis}, inputs=(n.x(),))
        return Call("F.softmax", (n.x(),), {"dim": self.axis})

    def keras(self, n: View) -> Record:
        last = self.axis in (-1, len(n.shape()) - 1)
        if last and not n.own:
            return Layer("Activation", {"activation": "softmax"}, inputs=(n.x(),))
        return Layer("Softmax", {} if last else {"axis": self.axis}, inputs=(n.x(),))

    @keras_activation("softmax")
    @staticmethod
    def activation(g: Capture, x: ir.Value) -> ir.Value:
        return g.op(Softmax(axis=-1), x)

    @keras_layer("Softmax")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value, *, mask: ir.Value | None = None) -> ir.Value:
        rank = len(g.shape(x))
        given = range(rank) if layer.axis is None else layer.axis
        axes = tuple(int(a) for a in given) if not isinstance(given, int) else (given,)
        op = Softmax(axis=axes[0]) if len(axes) == 1 else SoftmaxOver(axes=tuple(sorted(a % rank for a in axes)))
        if mask is None:
            return g.op(op, x)
        if not _spreads(g.shape(mask), g.shape(x)):
            why = f"its mask of shape {g.shape(mask)} does not spread over its input of shape {g.shape(x)}"
            raise Refusal(f"{why}, in Keras neither.", "Give a mask of the input's rank.")
        if mask.dtype != ir.DataType.BOOL:
            mask = g.op(Greater(), mask, g.constant(0.5, like=mask), role="mask")
        least = -3e4 if x.dtype == ir.DataType.FLOAT16 else -1e9
        kept = g.op(Where(), mask, x, g.constant(least, like=x), role="masked")
        return g.op(Where(), mask, g.op(op, kept), g.constant(0.0, like=x), role="kept")

    @torch_operation("softmax.int")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, dim: int, dtype: Any) -> ir.Value:
        return _along(g, Softmax, computing(g, x, dtype), dim)

    @torch_operation("_softmax.default")
    @staticmethod
    def whole(g: TorchCapture, x: ir.Value, dim: int, half_to_float: bool) -> ir.Value:
        return _along(g, Softmax, cast(g, x, ir.DataType.FLOAT) if half_to_float else x, dim)


def _spreads(mask: Dims, shape: Dims) -> bool:
    """Whether a mask broadcasts to a shape, as far as lengths are known."""
    ends = zip(reversed(mask), reversed(shape), strict=False)
    return len(mask) <= len(shape) and all(m in (1, n) or m is None or n is None for m, n in ends)


class LogSoftmax(Op):
    """x - log(sum(exp(x))) along `axis`."""

    axis: int = -1

    before_loss: ClassVar[str] = "log_softmax"

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        return LogSoftmax(axis=moved(self.axis, perm)), perm

    def torch(self, n: View) -> Record:
        if n.own:
            return Module("nn.LogSoftmax", kwargs={"dim": self.axis}, inputs=(n.x(),))
        return Call("F.log_softmax", (n.x(),), {"dim": self.axis})

    def keras(self, n: View) -> Record:
        if self.axis not in (-1, len(n.shape()) - 1):
            return Call("ops.log_softmax", (n.x(),), {"axis": self.axis})
        return Layer("Activation", {"activation": "log_softmax"}, inputs=(n.x(),))

    @keras_activation("log_softmax")
    @staticmethod
    def activation(g: Capture, x: ir.Value) -> ir.Value:
        return g.op(LogSoftmax(axis=-1), x)

    @torch_operation("log_softmax.int")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, dim: int, dtype: Any) -> ir.Value:
        return _along(g, LogSoftmax, computing(g, x, dtype), dim)

    @torch_operation("_log_softmax.default")
    @staticmethod
    def whole(g: TorchCapture, x: ir.Value, dim: int, half_to_float: bool) -> ir.Value:
        return _along(g, LogSoftmax, cast(g, x, ir.DataType.FLOAT) if half_to_float else x, dim)


def _along(g: TorchCapture, kind: type[Softmax | LogSoftmax], x: ir.Value, dim: int) -> ir.Value:
    """Over one axis of aten; a number without axes is an axis of one."""
    rank = len(g.shape(x))
    x = x if floating(x) else cast(g, x, ir.DataType.FLOAT)
    if not rank:
        return g.op(Squeeze(axes=(0,)), g.op(kind(axis=-1), g.op(Unsqueeze(axes=(0,)), x)))
    return g.op(kind(axis=-1 if dim % rank == rank - 1 else dim % rank), x)


class SoftmaxOver(Function):
    """exp(x) / sum(exp(x)) over several axes at once."""

    axes: tuple[int, ...]

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        return SoftmaxOver(axes=tuple(sorted(moved(a, perm) for a in self.axes))), perm

    def torch(self, n: View) -> Record:
        total = Call("torch.logsumexp", (n.x(),), {"dim": self.axes, "keepdim": True})
        return Call("torch.exp", (Infix("-", n.x(), total),))

    def keras(self, n: View) -> Record:
        return Layer("Softmax", {"axis": self.axes}, inputs=(n.x(),))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        x = inputs[0]
        raised = g.op(Exp(), g.op(Sub(), x, g.op(ReduceMax(axes=self.axes), x)))
        return g.op(Div(), raised, g.op(ReduceSum(axes=self.axes), raised))


class Sparsemax(Function):
    """max(x - t, 0) along `axis`, with Keras's t.

    In descending order x1, x2, ... the support is the first k elements, those with 1 + i xi > x1 + ... + xi. Keras has
    t = (the sum of all k partial sums - 1) / k, on every backend; the t of Martins and Astudillo (2016), with which the
    result sums to 1, has the last partial sum alone. The sum of the partial sums is that of (k + 1 - i) xi; without
    sorting, i is the mean of the places that equal elements share.
    """

    axis: int

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        return Sparsemax(axis=moved(self.axis, perm)), perm

    def torch(self, n: View) -> Record:
        return Call("sparsemax", (n.x(), self.axis))

    def keras(self, n: View) -> Record:
        if self.axis not in (-1, len(n.shape()) - 1):
            raise LookupError("Keras's named sparsemax takes the last axis")
        return Layer("Activation", {"activation": "sparsemax"}, inputs=(n.x(),))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        x, one = inputs[0], g.constant(1.0, like=inputs[0])
        axis = self.axis % len(g.shape(x))
        kind = Cast(to=int(x.dtype or ir.DataType.FLOAT))
        along, across = ReduceSum(axes=(axis,)), ReduceSum(axes=(axis + 1,), keepdims=0)
        each, other = g.op(Unsqueeze(axes=(axis + 1,)), x), g.op(Unsqueeze(axes=(axis,)), x)
        reached = g.op(kind, g.op(GreaterOrEqual(), other, each))
        upto = g.op(across, reached)
        before = g.op(across, g.op(kind, g.op(Greater(), other, each)))
        partial = g.op(across, g.op(Mul(), reached, other))
        inside = g.op(Greater(), g.op(Add(), one, g.op(Mul(), upto, x)), partial)
        count = g.op(along, g.op(kind, inside))
        place = g.op(Mul(), g.op(Add(), g.op(Add(), before, upto), one), g.constant(0.5, like=x))
        weight = g.op(Sub(), g.op(Add(), count, one), place)
        total = g.op(along, g.op(Where(), inside, g.op(Mul(), weight, x), g.constant(0.0, like=x)))
        cut = g.op(Div(), g.op(Sub(), total, one), count)
        return g.op(Relu(), g.op(Sub(), x, cut))

    @keras_activation("sparsemax")
    @staticmethod
    def activation(g: Capture, x: ir.Value) -> ir.Value:
        return g.op(Sparsemax(axis=len(g.shape(x)) - 1), x)


class Glu(Function):
    """a * sigmoid(b), where a and b are the halves of x along `axis`."""

    axis: int

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        (x,) = there(types)
        return (Type(tuple((d or 0) // 2 if i == self.axis else d for i, d in enumerate(x.shape)), x.dtype),)

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        return Glu(axis=moved(self.axis, perm)), perm

    def torch(self, n: View) -> Record:
        if n.own:
            return Module("nn.GLU", kwargs={"dim": self.axis}, inputs=(n.x(),))
        return Call("F.glu", (n.x(),), {"dim": self.axis})

    def keras(self, n: View) -> Record:
        if self.axis != len(n.shape()) - 1:
            return Call("ops.glu", (n.x(),), {"axis": self.axis})
        return Layer("Activation", {"activation": "glu"}, inputs=(n.x(),))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        width = g.shape(inputs[0])[self.axis] or 0
        halves = ((0, width // 2), (width // 2, width))
        a, b = (g.op(Slice(starts=(s,), ends=(e,), axes=(self.axis,), steps=(1,)), inputs[0]) for s, e in halves)
        return g.op(Mul(), a, g.op(Sigmoid(), b))

    @torch_operation("glu.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, dim: int) -> ir.Value:
        axis = dim % len(g.shape(x))
        if g.shape(x)[axis] is None:
            raise Refusal("glu halves an axis of unknown length.", "Export it with fixed sizes.")
        return g.op(Glu(axis=axis), x)

    @keras_activation("glu")
    @staticmethod
    def activation(g: Capture, x: ir.Value) -> ir.Value:
        axis = len(g.shape(x)) - 1
        if g.shape(x)[axis] is None:
            raise Refusal("glu halves an axis of unknown length.", "Give the last axis a fixed length.")
        return g.op(Glu(axis=axis), x)
