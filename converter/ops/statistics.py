"""Reductions of several steps: variances, lengths of vectors, the logarithm of a sum of exponentials."""

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
    there,
    torch_operation,
)
from converter.ops.cast import Cast, cast, computing
from converter.ops.compare import NotEqual
from converter.ops.elementwise import Abs, Div, Mul, Pow, Sqrt, Sub
from converter.ops.operands import floating
from converter.ops.records import Call, Infix, Method, Record
from converter.ops.reduce import Reduce, ReduceMax, ReduceMean, ReduceMin, ReduceSum, axes_of, reduced, reduced_to
from converter.ops.sizes import integer, size, times


class _Spread(Function, abstract=True):
    """The mean of the squared distances from the mean over the axes, with n - correction in the place of n."""

    axes: tuple[int, ...]
    correction: float = 0.0
    keepdims: int = 0

    method: ClassVar[str]

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        (x,) = there(types)
        return (Type(reduced_to(x.shape, self.axes, self.keepdims), x.dtype),)

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        axes = tuple(sorted(moved(a, perm) for a in self.axes))
        made = type(self)(axes=axes, correction=self.correction, keepdims=self.keepdims)
        if self.keepdims:
            return made, perm
        left = [a for a in range(len(perm)) if a not in self.axes]
        return made, tuple(left.index(p) for p in perm if p not in self.axes)

    def torch(self, n: View) -> Record:
        keep: dict[str, Any] = {"keepdim": True} if self.keepdims else {}
        dim = self.axes if len(self.axes) > 1 else self.axes[0]
        correction = int(self.correction) if self.correction == int(self.correction) else self.correction
        return Method(n.x(), self.method, (), {"dim": dim, "correction": correction, **keep})

    def keras(self, n: View) -> Record:
        """Keras divides by n. So does `torch.var` with correction 0; else the answer grows by n / (n - correction)."""
        keep: dict[str, Any] = {"keepdims": True} if self.keepdims else {}
        axis: dict[str, Any] = {"axis": self.axes if len(self.axes) > 1 else self.axes[0]}
        if not self.correction:
            return Call(f"ops.{self.method}", (n.x(),), {**axis, **keep})
        lengths = [n.shape()[a] for a in self.axes]
        if all(d is not None for d in lengths):
            count = math.prod(d or 0 for d in lengths)
            if count <= self.correction:
                raise LookupError(f"the variance of {count} numbers with correction {self.correction} is no number")
            factor = count / (count - self.correction)
            factor = math.sqrt(factor) if self.method == "std" else factor
            return Infix("*", Call(f"ops.{self.method}", (n.x(),), {**axis, **keep}), factor)
        total = Call("ops.sum", (Call("ops.ones_like", (n.x(),)),), {**axis, **keep})
        factors = Infix("/", total, Infix("-", total, self.correction))
        variance = Infix("*", Call("ops.var", (n.x(),), {**axis, **keep}), factors)
        return Call("ops.sqrt", (variance,)) if self.method == "std" else variance

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        x = inputs[0]
        away = g.op(Sub(), x, g.op(ReduceMean(axes=self.axes, keepdims=1), x))
        total = g.op(ReduceSum(axes=self.axes, keepdims=self.keepdims), g.op(Mul(), away, away))
        count = integer(g, 1)
        for axis in self.axes:
            count = times(g, count, size(g, x, axis))
        number = g.op(Cast(to=int(x.dtype or ir.DataType.FLOAT)), count)
        if self.correction:
            number = g.op(Sub(), number, g.constant(self.correction, like=x))
        return g.op(Div(), total, number)


class Variance(_Spread):
    """The mean of the squared distances from the mean over the axes, with n - correction in the place of n."""

    method: ClassVar[str] = "var"

    @keras_operation("Var", vet=refusals.reductions)
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return g.op(Variance(**_axes(g, operation, x)), x)

    @torch_operation("var.correction")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, dim: Any, correction: Any, keepdim: bool) -> ir.Value:
        return _spread(g, Variance, x, dim, correction, keepdim)

    @torch_operation("var.dim")
    @staticmethod
    def unbiased(g: TorchCapture, x: ir.Value, dim: Any, unbiased: bool, keepdim: bool) -> ir.Value:
        return _spread(g, Variance, x, dim, int(unbiased), keepdim)

    @torch_operation("var.default")
    @staticmethod
    def whole(g: TorchCapture, x: ir.Value, unbiased: bool) -> ir.Value:
        return _spread(g, Variance, x, None, int(unbiased), False)

    @torch_operation("var_mean.correction")
    @staticmethod
    def both(g: TorchCapture, x: ir.Value, dim: Any, correction: Any, keepdim: bool) -> tuple[ir.Value, ir.Value]:
        return _spread(g, Variance, x, dim, correction, keepdim), _mean(g, x, dim, keepdim)

    @torch_operation("var_mean.dim")
    @staticmethod
    def both_unbiased(
        g: TorchCapture, x: ir.Value, dim: Any, unbiased: bool, keepdim: bool
    ) -> tuple[ir.Value, ir.Value]:
        return _spread(g, Variance, x, dim, int(unbiased), keepdim), _mean(g, x, dim, keepdim)


class Deviation(_Spread):
    """The square root of the variance over the axes, with n - correction in the place of n."""

    method: ClassVar[str] = "std"

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        return g.op(Sqrt(), super().body(g, *inputs))

    @keras_operation("Std", vet=refusals.reductions)
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return g.op(Deviation(**_axes(g, operation, x)), x)

    @torch_operation("std.correction")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, dim: Any, correction: Any, keepdim: bool) -> ir.Value:
        return _spread(g, Deviation, x, dim, correction, keepdim)

    @torch_operation("std.dim")
    @staticmethod
    def unbiased(g: TorchCapture, x: ir.Value, dim: Any, unbiased: bool, keepdim: bool) -> ir.Value:
        return _spread(g, Deviation, x, dim, int(unbiased), keepdim)

    @torch_operation("std.default")
    @staticmethod
    def whole(g: TorchCapture, x: ir.Value, unbiased: bool) -> ir.Value:
        return _spread(g, Deviation, x, None, int(unbiased), False)

    @torch_operation("std_mean.correction")
    @staticmethod
    def both(g: TorchCapture, x: ir.Value, dim: Any, correction: Any, keepdim: bool) -> tuple[ir.Value, ir.Value]:
        return _spread(g, Deviation, x, dim, correction, keepdim), _mean(g, x, dim, keepdim)


def _axes(g: Capture, operation: Any, x: ir.Value) -> dict[str, Any]:
    rank = len(g.shape(x))
    axis = range(rank) if operation.axis is None else operation.axis
    axes = axis if isinstance(axis, (tuple, list, range)) else (axis,)
    return {"axes": tuple(sorted({int(a) % rank for a in axes})), "keepdims": int(bool(operation.keepdims))}


def _spread(g: TorchCapture, kind: type[_Spread], x: ir.Value, dim: Any, correction: Any, keepdim: bool) -> ir.Value:
    axes = axes_of(g, x, dim)
    if not axes:
        raise Refusal("it is the variance of a single number.", "Give it an axis.")
    return g.op(kind(axes=axes, correction=1.0 if correction is None else float(correction), keepdims=int(keepdim)), x)


def _mean(g: TorchCapture, x: ir.Value, dim: Any, keepdim: bool) -> ir.Value:
    return g.op(ReduceMean(axes=axes_of(g, x, dim), keepdims=int(keepdim)), x)


class ReduceLogSumExp(Reduce):
    """log of the sum of e^x over the axes."""

    method: ClassVar[str] = "logsumexp"

    def torch(self, n: View) -> Record:
        keep: dict[str, Any] = {"keepdim": True} if self.keepdims else {}
        return Call("torch.logsumexp", (n.x(),), {"dim": self.axes if len(self.axes) > 1 else self.axes[0], **keep})

    @keras_operation("Logsumexp", vet=refusals.reductions)
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return reduced(g, ReduceLogSumExp, operation, x)

    @torch_operation("logsumexp.default", "special_logsumexp.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, dim: Any, keepdim: bool) -> ir.Value:
        x = x if floating(x) else cast(g, x, ir.DataType.FLOAT)
        return g.op(ReduceLogSumExp(axes=axes_of(g, x, dim), keepdims=int(keepdim)), x)


class ReduceL1(Reduce):
    """The sum of the absolute values over the axes."""

    method: ClassVar[str] = "norm"

    def torch(self, n: View) -> Record:
        return _vector_norm(self, n, 1)

    def keras(self, n: View) -> Record:
        return Call("ops.sum", (Call("ops.absolute", (n.x(),)),), _axis(self))


class ReduceL2(Reduce):
    """The square root of the sum of the squares over the axes."""

    method: ClassVar[str] = "norm"

    def torch(self, n: View) -> Record:
        return _vector_norm(self, n, 2)

    def keras(self, n: View) -> Record:
        return Call("ops.sqrt", (Call("ops.sum", (Call("ops.square", (n.x(),)),), _axis(self)),))

    @torch_operation("linalg_vector_norm.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, order: Any, dim: Any, keepdim: bool, dtype: Any) -> ir.Value:
        return _norm(g, x, order, dim, keepdim, dtype)

    @torch_operation("norm.Scalar")
    @staticmethod
    def whole(g: TorchCapture, x: ir.Value, order: Any) -> ir.Value:
        return _norm(g, x, order, None, False, None)

    @torch_operation("norm.ScalarOpt_dim")
    @staticmethod
    def over(g: TorchCapture, x: ir.Value, order: Any, dim: Any, keepdim: bool) -> ir.Value:
        return _norm(g, x, 2 if order is None else order, dim, keepdim, None)


def _vector_norm(op: Reduce, n: View, order: int) -> Record:
    keep: dict[str, Any] = {"keepdim": True} if op.keepdims else {}
    which = {} if order == 2 else {"ord": order}
    dim = {"dim": op.axes if len(op.axes) > 1 else op.axes[0]}
    return Call("torch.linalg.vector_norm", (n.x(),), {**which, **dim, **keep})


def _axis(op: Reduce) -> dict[str, Any]:
    keep: dict[str, Any] = {"keepdims": True} if op.keepdims else {}
    return {"axis": op.axes if len(op.axes) > 1 else op.axes[0], **keep}


def _norm(g: TorchCapture, x: ir.Value, order: Any, dim: Any, keepdim: bool, dtype: Any) -> ir.Value:
    """(sum of |x|^order)^(1/order); the largest or smallest for infinite orders, the number of those not 0 for 0."""
    x = computing(g, x, dtype)
    axes, keep = axes_of(g, x, dim), int(keepdim)
    if not axes:
        return g.op(Abs(), x)
    if order in (1, 2):
        return g.op((ReduceL1 if order == 1 else ReduceL2)(axes=axes, keepdims=keep), x)
    if math.isinf(order):
        return g.op((ReduceMax if order > 0 else ReduceMin)(axes=axes, keepdims=keep), g.op(Abs(), x))
    if order == 0:
        there = cast(g, g.op(NotEqual(), x, g.constant(0.0, x)), x.dtype)
        return g.op(ReduceSum(axes=axes, keepdims=keep), there)
    power = g.op(Pow(), g.op(Abs(), x), g.constant(float(order), x))
    return g.op(Pow(), g.op(ReduceSum(axes=axes, keepdims=keep), power), g.constant(1.0 / order, x))
