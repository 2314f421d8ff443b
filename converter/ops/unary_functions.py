"""Functions of one number that ONNX has no operator for, each spelled in others."""

from __future__ import annotations

import math
from typing import ClassVar

import onnx_ir as ir

from converter.ops.activations_smooth import Exp, Tanh
from converter.ops.base import Builder, Function, TorchCapture, torch_operation
from converter.ops.cast import Where
from converter.ops.compare import Equal
from converter.ops.elementwise import Abs, Add, Div, Mul, Pow, Sqrt, Sub
from converter.ops.operands import floating
from converter.ops.unary import Erf, Floor, Log, Reciprocal, Sign, Unary


class Log1p(Unary, Function):
    """y = log(1 + x), exact for small x too."""

    function: ClassVar[str] = "torch.log1p"
    keras_function: ClassVar[str] = "ops.log1p"
    aten: ClassVar[tuple[str, ...]] = ("log1p", "special_log1p")
    operations: ClassVar[tuple[str, ...]] = ("Log1p",)

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        """With u = 1 + x rounded: log(u) x / (u - 1), and x where u is 1; log(u) where u is infinite."""
        x, one = inputs[0], g.constant(1.0, like=inputs[0])
        u = g.op(Add(), x, one)
        small = g.op(Equal(), u, one)
        behind = g.op(Where(), small, one, g.op(Sub(), u, one))
        ratio = g.op(Where(), g.op(Equal(), behind, x), one, g.op(Div(), x, behind))
        return g.op(Where(), small, x, g.op(Mul(), g.op(Log(), u), ratio))


class Expm1(Unary, Function):
    """y = e^x - 1, exact for small x too: tanh(x / 2) (e^x + 1)."""

    function: ClassVar[str] = "torch.expm1"
    keras_function: ClassVar[str] = "ops.expm1"
    aten: ClassVar[tuple[str, ...]] = ("expm1", "special_expm1")
    operations: ClassVar[tuple[str, ...]] = ("Expm1",)

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        x = inputs[0]
        half = g.op(Tanh(), g.op(Mul(), x, g.constant(0.5, like=x)))
        return g.op(Mul(), half, g.op(Add(), g.op(Exp(), x), g.constant(1.0, like=x)))


class Log2(Unary, Function):
    """y = the logarithm of x to the base 2."""

    function: ClassVar[str] = "torch.log2"
    keras_function: ClassVar[str] = "ops.log2"
    aten: ClassVar[tuple[str, ...]] = ("log2",)
    operations: ClassVar[tuple[str, ...]] = ("Log2",)

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        return g.op(Div(), g.op(Log(), inputs[0]), g.constant(math.log(2.0), like=inputs[0]))


class Log10(Unary, Function):
    """y = the logarithm of x to the base 10."""

    function: ClassVar[str] = "torch.log10"
    keras_function: ClassVar[str] = "ops.log10"
    aten: ClassVar[tuple[str, ...]] = ("log10",)
    operations: ClassVar[tuple[str, ...]] = ("Log10",)

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        return g.op(Div(), g.op(Log(), inputs[0]), g.constant(math.log(10.0), like=inputs[0]))


class Exp2(Unary, Function):
    """y = 2 to the power of x."""

    function: ClassVar[str] = "torch.exp2"
    keras_function: ClassVar[str] = "ops.exp2"
    aten: ClassVar[tuple[str, ...]] = ("exp2", "special_exp2")
    operations: ClassVar[tuple[str, ...]] = ("Exp2",)

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        return g.op(Pow(), g.constant(2.0, like=inputs[0]), inputs[0])


class Rsqrt(Unary, Function):
    """y = 1 / the square root of x."""

    function: ClassVar[str] = "torch.rsqrt"
    keras_function: ClassVar[str] = "ops.rsqrt"
    aten: ClassVar[tuple[str, ...]] = ("rsqrt",)
    operations: ClassVar[tuple[str, ...]] = ("Rsqrt",)

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        return g.op(Reciprocal(), g.op(Sqrt(), inputs[0]))


class Erfc(Unary, Function):
    """y = 1 - the error function of x."""

    function: ClassVar[str] = "torch.erfc"
    keras_function: ClassVar[str] = "ops.erfc"
    aten: ClassVar[tuple[str, ...]] = ("erfc", "special_erfc")
    operations: ClassVar[tuple[str, ...]] = ("Erfc",)

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        return g.op(Sub(), g.constant(1.0, like=inputs[0]), g.op(Erf(), inputs[0]))


class Trunc(Unary, Function):
    """y = x without its fraction."""

    function: ClassVar[str] = "torch.trunc"
    keras_function: ClassVar[str] = "ops.trunc"
    aten: ClassVar[tuple[str, ...]] = ("trunc", "fix")
    operations: ClassVar[tuple[str, ...]] = ("Trunc",)
    integers: ClassVar[str] = "same"

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        return g.op(Mul(), g.op(Sign(), inputs[0]), g.op(Floor(), g.op(Abs(), inputs[0])))

    @torch_operation("frac.default")
    @staticmethod
    def fraction(g: TorchCapture, x: ir.Value) -> ir.Value:
        return g.op(Sub(), x, g.op(Trunc(), x) if floating(x) else x)
