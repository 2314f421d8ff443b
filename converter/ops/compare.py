"""Comparisons and questions: truth values out of numbers, with numpy's broadcasting."""

from __future__ import annotations

from typing import Any, ClassVar

import onnx_ir as ir

from converter.ops.base import (
    Builder,
    Capture,
    Function,
    Op,
    Refusal,
    TorchCapture,
    Type,
    View,
    keras_operation,
    torch_operation,
)
from converter.ops.cast import Cast, Where, all_in, cast, promoted, promotion
from converter.ops.operands import floating, operands
from converter.ops.records import Call, Infix, Record


class _Compare(Op, abstract=True):
    """a and b of one dtype -> bool."""

    neutral: ClassVar[bool] = True
    sign: ClassVar[str]

    def torch(self, n: View) -> Record:
        return Infix(self.sign, n.x(0), n.x(1))

    def keras(self, n: View) -> Record:
        return Infix(self.sign, n.x(0), n.x(1))


class Greater(_Compare):
    """y = a > b."""

    sign: ClassVar[str] = ">"

    @torch_operation("gt.Tensor", "gt.Scalar", "greater.Tensor", "greater.Scalar")
    @staticmethod
    def aten(g: TorchCapture, x: Any, other: Any) -> ir.Value:
        return g.op(Greater(), *ordered(g, x, other))

    @keras_operation("Greater")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        return g.op(Greater(), *operands(g, x1, x2))


class GreaterOrEqual(_Compare):
    """y = a >= b."""

    sign: ClassVar[str] = ">="

    @torch_operation("ge.Tensor", "ge.Scalar", "greater_equal.Tensor", "greater_equal.Scalar")
    @staticmethod
    def aten(g: TorchCapture, x: Any, other: Any) -> ir.Value:
        return g.op(GreaterOrEqual(), *ordered(g, x, other))

    @keras_operation("GreaterEqual")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        return g.op(GreaterOrEqual(), *operands(g, x1, x2))


class Less(_Compare):
    """y = a < b."""

    sign: ClassVar[str] = "<"

    @torch_operation("lt.Tensor", "lt.Scalar", "less.Tensor", "less.Scalar")
    @staticmethod
    def aten(g: TorchCapture, x: Any, other: Any) -> ir.Value:
        return g.op(Less(), *ordered(g, x, other))

    @keras_operation("Less")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        return g.op(Less(), *operands(g, x1, x2))


class LessOrEqual(_Compare):
    """y = a <= b."""

    sign: ClassVar[str] = "<="

    @torch_operation("le.Tensor", "le.Scalar", "less_equal.Tensor", "less_equal.Scalar")
    @staticmethod
    def aten(g: TorchCapture, x: Any, other: Any) -> ir.Value:
        return g.op(LessOrEqual(), *ordered(g, x, other))

    @keras_operation("LessEqual")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        return g.op(LessOrEqual(), *operands(g, x1, x2))


class Equal(_Compare):
    """y = a == b."""

    sign: ClassVar[str] = "=="

    @torch_operation("eq.Tensor", "eq.Scalar")
    @staticmethod
    def aten(g: TorchCapture, x: Any, other: Any) -> ir.Value:
        return g.op(Equal(), *promoted(g, x, other))

    @keras_operation("Equal")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        return g.op(Equal(), *operands(g, x1, x2))


class Not(Op):
    """y = not x."""

    neutral: ClassVar[bool] = True

    def torch(self, n: View) -> Record:
        return Call("torch.logical_not", (n.x(),))

    def keras(self, n: View) -> Record:
        return Call("ops.logical_not", (n.x(),))

    @torch_operation("logical_not.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value) -> ir.Value:
        return g.op(Not(), cast(g, x, ir.DataType.BOOL))

    @keras_operation("LogicalNot")
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return g.op(Not(), x if x.dtype == ir.DataType.BOOL else g.op(Cast(to=int(ir.DataType.BOOL)), x))


class NotEqual(_Compare, Function):
    """y = a != b; Keras makes a mask of it, where an Embedding has mask_zero."""

    sign: ClassVar[str] = "!="

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        (made,) = super().outputs(*types)
        return (Type(made.shape, ir.DataType.BOOL),)

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        return g.op(Not(), g.op(Equal(), *inputs))

    @torch_operation("ne.Tensor", "ne.Scalar", "not_equal.Tensor", "not_equal.Scalar")
    @staticmethod
    def aten(g: TorchCapture, x: Any, other: Any) -> ir.Value:
        return g.op(NotEqual(), *promoted(g, x, other))

    @keras_operation("NotEqual")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        return g.op(NotEqual(), *operands(g, x1, x2))


class _Choice(Op, abstract=True):
    """No op of its own: the choice between two values, in the dtype that Keras brings them to."""

    @keras_operation("Where")
    @staticmethod
    def operation(g: Capture, operation: Any, condition: ir.Value, x1: Any = None, x2: Any = None) -> ir.Value:
        if not isinstance(x1, ir.Value) and not isinstance(x2, ir.Value):
            raise Refusal("it chooses between two constants, or asks for places.", "Choose between tensors.")
        if condition.dtype != ir.DataType.BOOL:
            condition = g.op(Cast(to=int(ir.DataType.BOOL)), condition)
        return g.op(Where(), condition, *operands(g, x1, x2))


def ordered(g: TorchCapture, *xs: Any) -> list[ir.Value]:
    """Arguments of a comparison by size, in PyTorch's common dtype; truth values are 0 and 1."""
    to = promotion(xs)
    return all_in(g, ir.DataType.INT32 if to == ir.DataType.BOOL else to, *xs)


class Asked(Op, abstract=True):
    """A question about each number; integers are never infinite nor NaN."""

    neutral: ClassVar[bool] = True
    function: ClassVar[str]

    def torch(self, n: View) -> Record:
        return Call(f"torch.{self.function}", (n.x(),))

    def keras(self, n: View) -> Record:
        return Call(f"ops.{self.function}", (n.x(),))


class IsNaN(Asked):
    """y = whether x is no number."""

    function: ClassVar[str] = "isnan"

    @torch_operation("isnan.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value) -> ir.Value:
        return g.op(IsNaN(), x) if floating(x) else g.op(NotEqual(), x, x)

    @keras_operation("Isnan")
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return g.op(IsNaN(), x) if floating(x) else g.op(NotEqual(), x, x)


class IsInf(Asked):
    """y = whether x is infinite, of the signs that are asked for."""

    detect_negative: int = 1
    detect_positive: int = 1

    def torch(self, n: View) -> Record:
        return Call(f"torch.{self._name()}", (n.x(),))

    def keras(self, n: View) -> Record:
        return Call(f"ops.{self._name()}", (n.x(),))

    def _name(self) -> str:
        both = self.detect_negative and self.detect_positive
        return "isinf" if both else "isposinf" if self.detect_positive else "isneginf"

    @torch_operation("isinf.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value) -> ir.Value:
        return g.op(IsInf(), x) if floating(x) else g.op(NotEqual(), x, x)

    @torch_operation("isposinf.default")
    @staticmethod
    def positive(g: TorchCapture, x: ir.Value) -> ir.Value:
        return g.op(IsInf(detect_negative=0), x) if floating(x) else g.op(NotEqual(), x, x)

    @torch_operation("isneginf.default")
    @staticmethod
    def negative(g: TorchCapture, x: ir.Value) -> ir.Value:
        return g.op(IsInf(detect_positive=0), x) if floating(x) else g.op(NotEqual(), x, x)

    @keras_operation("Isinf")
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return g.op(IsInf(), x) if floating(x) else g.op(NotEqual(), x, x)
