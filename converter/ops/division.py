"""Division with a remainder, and the two that join two numbers as if they were parts of one: angles and lengths."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import onnx_ir as ir

from converter.ops.base import (
    Builder,
    Capture,
    Function,
    Op,
    Refusal,
    TorchCapture,
    View,
    keras_operation,
    torch_operation,
)
from converter.ops.cast import Where, promoted
from converter.ops.compare import Equal, Less, Not
from converter.ops.elementwise import Abs, Add, Div, Max, Min, Mul, Neg, Sqrt, Sub
from converter.ops.logic import And, Or, Xor
from converter.ops.operands import floating, numbers, operands, reals
from converter.ops.records import Call, Infix, Record
from converter.ops.unary import Atan, Floor, Reciprocal
from converter.ops.unary_functions import Trunc


class _Pair(Op, abstract=True):
    """Two numbers in, one out, element by element, with numpy's broadcasting."""

    neutral: ClassVar[bool] = True


class Mod(_Pair):
    """What is left of a after division by b: with b's sign (fmod 0, integers alone), or with a's (fmod 1)."""

    fmod: int = 0

    def torch(self, n: View) -> Record:
        return Call("torch.fmod", (n.x(0), n.x(1))) if self.fmod else Infix("%", n.x(0), n.x(1))

    def keras(self, n: View) -> Record:
        return Call("ops.fmod" if self.fmod else "ops.mod", (n.x(0), n.x(1)))

    @torch_operation("fmod.Tensor", "fmod.Scalar")
    @staticmethod
    def aten(g: TorchCapture, x: Any, other: Any) -> ir.Value:
        return g.op(Mod(fmod=1), *numbers(g, x, other))

    @keras_operation("Fmod")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        return g.op(Mod(fmod=1), *operands(g, x1, x2))


class Remainder(_Pair, Function):
    """What is left of a after division by b, with b's sign; of floats, for which ONNX has only a's sign."""

    def torch(self, n: View) -> Record:
        return Infix("%", n.x(0), n.x(1))

    def keras(self, n: View) -> Record:
        return Call("ops.mod", (n.x(0), n.x(1)))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        """a's remainder, and b more where it is not 0 and of the other sign."""
        a, b = inputs
        zero = g.constant(0.0, like=a)
        left = g.op(Mod(fmod=1), a, b)
        other = g.op(Xor(), g.op(Less(), b, zero), g.op(Less(), left, zero))
        return g.op(Where(), g.op(And(), g.op(Not(), g.op(Equal(), left, zero)), other), g.op(Add(), left, b), left)

    @torch_operation("remainder.Tensor", "remainder.Scalar", "remainder.Scalar_Tensor")
    @staticmethod
    def aten(g: TorchCapture, x: Any, other: Any) -> ir.Value:
        values = numbers(g, x, other)
        return g.op(Remainder() if floating(values[0]) else Mod(), *values)

    @keras_operation("Mod")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        values = operands(g, x1, x2)
        return g.op(Remainder() if floating(values[0]) else Mod(), *values)


class FloorDivide(_Pair, Function):
    """a / b, rounded down."""

    def torch(self, n: View) -> Record:
        return Infix("//", n.x(0), n.x(1))

    def keras(self, n: View) -> Record:
        if n.value(0).dtype != ir.DataType.DOUBLE:
            return Call("ops.floor_divide", (n.x(0), n.x(1)))
        # Keras's floor_divide and floor make float32 of float64, where the backend is torch or JAX; round does not.
        whole = Infix("/", Infix("-", n.x(0), Call("ops.mod", (n.x(0), n.x(1)))), n.x(1))
        none = Call("ops.equal", (n.x(1), 0))
        return Call("ops.where", (none, Infix("/", n.x(0), n.x(1)), Call("ops.round", (whole,))))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        """Without the remainder the division has no fraction, but for rounding; by 0 it is what a / b is."""
        a, b = inputs
        if not floating(a):
            return g.op(Div(), g.op(Sub(), a, g.op(Mod(), a, b)), b)
        whole = g.op(Div(), g.op(Sub(), a, Remainder().body(g, a, b)), b)
        nearest = g.op(Floor(), g.op(Add(), whole, g.constant(0.5, like=a)))
        return g.op(Where(), g.op(Equal(), b, g.constant(0.0, like=a)), g.op(Div(), a, b), nearest)

    @torch_operation("floor_divide.default", "floor_divide.Scalar")
    @staticmethod
    def aten(g: TorchCapture, x: Any, other: Any) -> ir.Value:
        return g.op(FloorDivide(), *numbers(g, x, other))

    @torch_operation("div.Tensor_mode", "div.Scalar_mode", "divide.Tensor_mode", "divide.Scalar_mode")
    @staticmethod
    def rounded(g: TorchCapture, x: Any, other: Any, rounding_mode: str | None) -> ir.Value:
        if rounding_mode is None:
            return g.op(Div(), *reals(g, x, other))
        values = numbers(g, x, other)
        if rounding_mode == "floor":
            return g.op(FloorDivide(), *values)
        whole = g.op(Div(), *values)
        return g.op(Trunc(), whole) if floating(whole) else whole

    @keras_operation("FloorDivide")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        return g.op(FloorDivide(), *operands(g, x1, x2))


class Atan2(_Pair, Function):
    """The angle of the point (b, a), in [-pi, pi]."""

    def torch(self, n: View) -> Record:
        return Call("torch.atan2", (n.x(0), n.x(1)))

    def keras(self, n: View) -> Record:
        return Call("ops.arctan2", (n.x(0), n.x(1)))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        """atan(a / b), half a turn further where b is below 0; by the sign of a, -0 too. (0, 0) counts as b > 0."""
        a, b = inputs
        zero, half = g.constant(0.0, like=a), g.constant(math.pi, like=a)
        both = g.op(And(), g.op(Equal(), a, zero), g.op(Equal(), b, zero))
        angle = g.op(Where(), both, a, g.op(Atan(), g.op(Div(), a, b)))
        negative = g.op(Or(), g.op(Less(), a, zero), g.op(Less(), g.op(Reciprocal(), a), zero))
        turned = g.op(Add(), angle, g.op(Where(), negative, g.op(Neg(), half), half))
        return g.op(Where(), g.op(Less(), b, zero), turned, angle)

    @torch_operation("atan2.default", "arctan2.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, other: ir.Value) -> ir.Value:
        return g.op(Atan2(), *reals(g, x, other))

    @keras_operation("Arctan2")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        return g.op(Atan2(), *_floats(operands(g, x1, x2)))


class Hypot(_Pair, Function):
    """The length of (a, b), also where the squares are beyond the largest float."""

    def torch(self, n: View) -> Record:
        return Call("torch.hypot", (n.x(0), n.x(1)))

    def keras(self, n: View) -> Record:
        return Call("ops.hypot", (n.x(0), n.x(1)))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        a, b = (g.op(Abs(), x) for x in inputs)
        one = g.constant(1.0, like=a)
        long, short = g.op(Max(), a, b), g.op(Min(), a, b)
        ratio = g.op(Where(), g.op(Equal(), long, short), one, g.op(Div(), short, long))
        return g.op(Mul(), long, g.op(Sqrt(), g.op(Add(), one, g.op(Mul(), ratio, ratio))))

    @torch_operation("hypot.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, other: ir.Value) -> ir.Value:
        return g.op(Hypot(), *numbers(g, x, other))

    @keras_operation("Hypot")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        return g.op(Hypot(), *_floats(operands(g, x1, x2)))


def _floats(values: list[ir.Value]) -> list[ir.Value]:
    if not floating(values[0]):
        raise Refusal(f"it takes {values[0].dtype} numbers.", "Cast them to floats before.")
    return values


class CopySign(_Pair, Function):
    """a with the sign of b, that of -0 too."""

    def torch(self, n: View) -> Record:
        return Call("torch.copysign", (n.x(0), n.x(1)))

    def keras(self, n: View) -> Record:
        size = Call("ops.absolute", (n.x(0),))
        return Call("ops.where", (Call("ops.signbit", (n.x(1),)), Call("ops.negative", (size,)), size))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        size, zero = g.op(Abs(), inputs[0]), g.constant(0.0, like=inputs[0])
        negative = g.op(Or(), g.op(Less(), inputs[1], zero), g.op(Less(), g.op(Reciprocal(), inputs[1]), zero))
        return g.op(Where(), negative, g.op(Neg(), size), size)

    @torch_operation("copysign.Tensor", "copysign.Scalar")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, other: Any) -> ir.Value:
        return g.op(CopySign(), *reals(g, x, other))


class Lerp(_Pair, Function):
    """a + w (b - a): the point between a and b at w, inputs are (a, b, w)."""

    def torch(self, n: View) -> Record:
        return Call("torch.lerp", (n.x(0), n.x(1), n.x(2)))

    def keras(self, n: View) -> Record:
        way = Call("ops.subtract", (n.x(1), n.x(0)))
        return Call("ops.add", (n.x(0), Call("ops.multiply", (n.x(2), way))))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        a, b, w = inputs
        return g.op(Add(), a, g.op(Mul(), w, g.op(Sub(), b, a)))

    @torch_operation("lerp.Scalar", "lerp.Tensor")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, end: ir.Value, weight: Any) -> ir.Value:
        return g.op(Lerp(), *promoted(g, x, end, weight))


class _Readings(Op, abstract=True):
    """Sums of a number and a product or a quotient."""

    @torch_operation("addcmul.default")
    @staticmethod
    def product(g: TorchCapture, x: ir.Value, a: ir.Value, b: ir.Value, value: Any) -> ir.Value:
        x, a, b = numbers(g, x, a, b)
        made = g.op(Mul(), a, b)
        return g.op(Add(), x, made if value == 1 else g.op(Mul(), *numbers(g, made, value)))

    @torch_operation("addcdiv.default")
    @staticmethod
    def quotient(g: TorchCapture, x: ir.Value, a: ir.Value, b: ir.Value, value: Any) -> ir.Value:
        x, a, b = numbers(g, x, a, b)
        made = g.op(Div(), a, b)
        return g.op(Add(), x, made if value == 1 else g.op(Mul(), *numbers(g, made, value)))
