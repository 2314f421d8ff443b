"""Logic: of truth values, and of the bits of integers."""

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
    first_of,
    keras_operation,
    torch_operation,
)
from converter.ops.cast import Cast, cast, promoted
from converter.ops.compare import Asked, Equal, IsInf, IsNaN, Not
from converter.ops.operands import floating
from converter.ops.records import Call, Infix, Record

BOOL = ir.DataType.BOOL


class Pair(Op, abstract=True):
    """Two values in, one out, element by element, with numpy's broadcasting."""

    neutral: ClassVar[bool] = True
    sign: ClassVar[str] = ""
    """Python's operator, where both frameworks have one."""
    function: ClassVar[str]
    """What torch and keras.ops call it."""

    def torch(self, n: View) -> Record:
        return Infix(self.sign, n.x(0), n.x(1)) if self.sign else Call(f"torch.{self.function}", (n.x(0), n.x(1)))

    def keras(self, n: View) -> Record:
        """Of bits, Keras takes tensors alone: a number is made one."""
        both: list[Record] = [n.x(0), n.x(1)]
        for i, array in enumerate(map(n.array, (0, 1))):
            if array is not None and not array.ndim and not n.real(i):
                both[i] = Call("ops.full_like", (n.x(1 - i), n.x(i)))
        return Call(f"ops.{self.function}", tuple(both))


class And(Pair):
    """y = a and b."""

    sign: ClassVar[str] = "&"
    function: ClassVar[str] = "logical_and"

    @torch_operation("logical_and.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, other: ir.Value) -> ir.Value:
        return g.op(And(), cast(g, x, BOOL), cast(g, other, BOOL))

    @keras_operation("LogicalAnd")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        return g.op(And(), truth(g, x1), truth(g, x2))


class Or(Pair):
    """y = a or b."""

    sign: ClassVar[str] = "|"
    function: ClassVar[str] = "logical_or"

    @torch_operation("logical_or.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, other: ir.Value) -> ir.Value:
        return g.op(Or(), cast(g, x, BOOL), cast(g, other, BOOL))

    @keras_operation("LogicalOr")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        return g.op(Or(), truth(g, x1), truth(g, x2))


class Xor(Pair):
    """y = either a or b."""

    function: ClassVar[str] = "logical_xor"

    @torch_operation("logical_xor.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, other: ir.Value) -> ir.Value:
        return g.op(Xor(), cast(g, x, BOOL), cast(g, other, BOOL))

    @keras_operation("LogicalXor")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        return g.op(Xor(), truth(g, x1), truth(g, x2))


def truth(g: Capture, x: Any) -> ir.Value:
    """A value, or an array, as truth values: whether it is not zero."""
    value = x if isinstance(x, ir.Value) else g.constant(g.array(x).astype(bool))
    return value if value.dtype == BOOL else g.op(Cast(to=int(BOOL)), value)


class BitwiseAnd(Pair):
    """The bits that are set in a and in b."""

    sign: ClassVar[str] = "&"
    function: ClassVar[str] = "bitwise_and"

    @torch_operation("bitwise_and.Tensor", "bitwise_and.Scalar", "bitwise_and.Scalar_Tensor", "__and__.Tensor")
    @torch_operation("__and__.Scalar")
    @staticmethod
    def aten(g: TorchCapture, x: Any, other: Any) -> ir.Value:
        values = promoted(g, x, other)
        return g.op(And() if values[0].dtype == BOOL else BitwiseAnd(), *values)

    @keras_operation("BitwiseAnd")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        return g.op(And() if kind_of(x1, x2) == BOOL else BitwiseAnd(), x1, x2)


class BitwiseOr(Pair):
    """The bits that are set in a or in b."""

    sign: ClassVar[str] = "|"
    function: ClassVar[str] = "bitwise_or"

    @torch_operation("bitwise_or.Tensor", "bitwise_or.Scalar", "bitwise_or.Scalar_Tensor", "__or__.Tensor")
    @torch_operation("__or__.Scalar")
    @staticmethod
    def aten(g: TorchCapture, x: Any, other: Any) -> ir.Value:
        values = promoted(g, x, other)
        return g.op(Or() if values[0].dtype == BOOL else BitwiseOr(), *values)

    @keras_operation("BitwiseOr")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        return g.op(Or() if kind_of(x1, x2) == BOOL else BitwiseOr(), x1, x2)


class BitwiseXor(Pair):
    """The bits that are set in one of a and b."""

    function: ClassVar[str] = "bitwise_xor"

    @torch_operation("bitwise_xor.Tensor", "bitwise_xor.Scalar", "bitwise_xor.Scalar_Tensor", "__xor__.Tensor")
    @torch_operation("__xor__.Scalar")
    @staticmethod
    def aten(g: TorchCapture, x: Any, other: Any) -> ir.Value:
        values = promoted(g, x, other)
        return g.op(Xor() if values[0].dtype == BOOL else BitwiseXor(), *values)

    @keras_operation("BitwiseXor")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        return g.op(Xor() if kind_of(x1, x2) == BOOL else BitwiseXor(), x1, x2)


class BitwiseNot(Op):
    """The bits that are not set in x."""

    neutral: ClassVar[bool] = True

    def torch(self, n: View) -> Record:
        return Call("torch.bitwise_not", (n.x(),))

    def keras(self, n: View) -> Record:
        return Call("ops.bitwise_not", (n.x(),))

    @torch_operation("bitwise_not.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value) -> ir.Value:
        return g.op(Not() if x.dtype == BOOL else BitwiseNot(), x)

    @keras_operation("BitwiseNot", "BitwiseInvert")
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return g.op(Not() if x.dtype == BOOL else BitwiseNot(), x)


def kind_of(*xs: Any) -> ir.DataType | None:
    if not all(isinstance(x, ir.Value) for x in xs) or len({x.dtype for x in xs}) > 1:
        raise Refusal("it combines the bits of different dtypes.", "Cast both to one dtype before.")
    kind: ir.DataType | None = xs[0].dtype
    return kind


class IsFinite(Asked, Function):
    """y = whether x is a number, and not an infinite one."""

    function: ClassVar[str] = "isfinite"

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        (x,) = first_of(types)
        return (Type(x.shape, ir.DataType.BOOL),)

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        return g.op(Not(), g.op(Or(), g.op(IsNaN(), inputs[0]), g.op(IsInf(), inputs[0])))

    @torch_operation("isfinite.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value) -> ir.Value:
        return g.op(IsFinite(), x) if floating(x) else g.op(Equal(), x, x)

    @keras_operation("Isfinite")
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return g.op(IsFinite(), x) if floating(x) else g.op(Equal(), x, x)
