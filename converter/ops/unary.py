"""Functions of one number, element by element, that ONNX has: logarithms, angles, rounding, signs."""

from __future__ import annotations

from typing import Any, ClassVar

import onnx_ir as ir

from converter.ops import refusals
from converter.ops.base import Capture, Op, Refusal, TorchCapture, View, keras_operation, torch_operation
from converter.ops.cast import cast
from converter.ops.elementwise import Div, Mul
from converter.ops.operands import floating, numbers_of
from converter.ops.records import Call, Record


class Unary(Op, abstract=True):
    """y = f(x), with one name in each framework, from which both ways are derived."""

    neutral: ClassVar[bool] = True
    function: ClassVar[str]
    """torch's, with its module: 'torch.log'."""
    keras_function: ClassVar[str]
    """Keras's: 'ops.log'."""
    aten: ClassVar[tuple[str, ...]] = ()
    """aten's names, without the overload."""
    operations: ClassVar[tuple[str, ...]] = ()
    """Classes of keras.ops."""
    integers: ClassVar[str] = "float"
    """What torch makes of integers: 'float'; 'same', the numbers as they are; 'computed', integers again."""

    from_torch: ClassVar[Any]
    from_keras: ClassVar[Any]

    def __init_subclass__(cls, abstract: bool = False) -> None:
        if not abstract:
            cls.from_torch, cls.from_keras = _readings(cls)
        super().__init_subclass__(abstract)

    def torch(self, n: View) -> Record:
        return Call(self.function, (n.x(),))

    def keras(self, n: View) -> Record:
        return Call(self.keras_function, (n.x(),))


def _readings(cls: type[Unary]) -> tuple[Any, Any]:
    """The rows of a class, of PyTorch and of Keras."""

    def aten(g: TorchCapture, x: ir.Value) -> ir.Value:
        if floating(x):
            return g.op(cls(), x)
        if cls.integers == "same":
            return x
        return g.op(cls(), numbers_of([x])[0] if cls.integers == "computed" else cast(g, x, ir.DataType.FLOAT))

    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return g.op(cls(), x)

    names = [f"{name}.default" for name in cls.aten]
    row = torch_operation(*names)(aten) if names else None
    return row, keras_operation(*cls.operations, vet=refusals.floats)(operation) if cls.operations else None


class Log(Unary):
    """y = the natural logarithm of x."""

    function: ClassVar[str] = "torch.log"
    keras_function: ClassVar[str] = "ops.log"
    aten: ClassVar[tuple[str, ...]] = ("log",)
    operations: ClassVar[tuple[str, ...]] = ("Log",)


class Sin(Unary):
    """y = sin x."""

    function: ClassVar[str] = "torch.sin"
    keras_function: ClassVar[str] = "ops.sin"
    aten: ClassVar[tuple[str, ...]] = ("sin",)
    operations: ClassVar[tuple[str, ...]] = ("Sin",)


class Cos(Unary):
    """y = cos x."""

    function: ClassVar[str] = "torch.cos"
    keras_function: ClassVar[str] = "ops.cos"
    aten: ClassVar[tuple[str, ...]] = ("cos",)
    operations: ClassVar[tuple[str, ...]] = ("Cos",)


class Tan(Unary):
    """y = tan x."""

    function: ClassVar[str] = "torch.tan"
    keras_function: ClassVar[str] = "ops.tan"
    aten: ClassVar[tuple[str, ...]] = ("tan",)
    operations: ClassVar[tuple[str, ...]] = ("Tan",)


class Asin(Unary):
    """y = the angle in [-pi/2, pi/2] whose sine is x."""

    function: ClassVar[str] = "torch.asin"
    keras_function: ClassVar[str] = "ops.arcsin"
    aten: ClassVar[tuple[str, ...]] = ("asin", "arcsin")
    operations: ClassVar[tuple[str, ...]] = ("Arcsin",)


class Acos(Unary):
    """y = the angle in [0, pi] whose cosine is x."""

    function: ClassVar[str] = "torch.acos"
    keras_function: ClassVar[str] = "ops.arccos"
    aten: ClassVar[tuple[str, ...]] = ("acos", "arccos")
    operations: ClassVar[tuple[str, ...]] = ("Arccos",)


class Atan(Unary):
    """y = the angle in [-pi/2, pi/2] whose tangent is x."""

    function: ClassVar[str] = "torch.atan"
    keras_function: ClassVar[str] = "ops.arctan"
    aten: ClassVar[tuple[str, ...]] = ("atan", "arctan")
    operations: ClassVar[tuple[str, ...]] = ("Arctan",)


class Sinh(Unary):
    """y = (e^x - e^-x) / 2."""

    function: ClassVar[str] = "torch.sinh"
    keras_function: ClassVar[str] = "ops.sinh"
    aten: ClassVar[tuple[str, ...]] = ("sinh",)
    operations: ClassVar[tuple[str, ...]] = ("Sinh",)


class Cosh(Unary):
    """y = (e^x + e^-x) / 2."""

    function: ClassVar[str] = "torch.cosh"
    keras_function: ClassVar[str] = "ops.cosh"
    aten: ClassVar[tuple[str, ...]] = ("cosh",)
    operations: ClassVar[tuple[str, ...]] = ("Cosh",)


class Asinh(Unary):
    """y = the number whose hyperbolic sine is x."""

    function: ClassVar[str] = "torch.asinh"
    keras_function: ClassVar[str] = "ops.arcsinh"
    aten: ClassVar[tuple[str, ...]] = ("asinh", "arcsinh")
    operations: ClassVar[tuple[str, ...]] = ("Arcsinh",)


class Acosh(Unary):
    """y = the number, not below 0, whose hyperbolic cosine is x."""

    function: ClassVar[str] = "torch.acosh"
    keras_function: ClassVar[str] = "ops.arccosh"
    aten: ClassVar[tuple[str, ...]] = ("acosh", "arccosh")
    operations: ClassVar[tuple[str, ...]] = ("Arccosh",)


class Atanh(Unary):
    """y = the number whose hyperbolic tangent is x."""

    function: ClassVar[str] = "torch.atanh"
    keras_function: ClassVar[str] = "ops.arctanh"
    aten: ClassVar[tuple[str, ...]] = ("atanh", "arctanh")
    operations: ClassVar[tuple[str, ...]] = ("Arctanh",)


class Erf(Unary):
    """y = the error function of x."""

    function: ClassVar[str] = "torch.erf"
    keras_function: ClassVar[str] = "ops.erf"
    aten: ClassVar[tuple[str, ...]] = ("erf", "special_erf")
    operations: ClassVar[tuple[str, ...]] = ("Erf",)


class Reciprocal(Unary):
    """y = 1 / x."""

    function: ClassVar[str] = "torch.reciprocal"
    keras_function: ClassVar[str] = "ops.reciprocal"
    aten: ClassVar[tuple[str, ...]] = ("reciprocal",)
    operations: ClassVar[tuple[str, ...]] = ("Reciprocal",)


class Floor(Unary):
    """y = the largest whole number that is not above x."""

    function: ClassVar[str] = "torch.floor"
    keras_function: ClassVar[str] = "ops.floor"
    aten: ClassVar[tuple[str, ...]] = ("floor",)
    operations: ClassVar[tuple[str, ...]] = ("Floor",)
    integers: ClassVar[str] = "same"


class Ceil(Unary):
    """y = the smallest whole number that is not below x."""

    function: ClassVar[str] = "torch.ceil"
    keras_function: ClassVar[str] = "ops.ceil"
    aten: ClassVar[tuple[str, ...]] = ("ceil",)
    operations: ClassVar[tuple[str, ...]] = ("Ceil",)
    integers: ClassVar[str] = "same"


class Round(Unary):
    """y = the whole number nearest to x; halves to the even one."""

    function: ClassVar[str] = "torch.round"
    keras_function: ClassVar[str] = "ops.round"
    aten: ClassVar[tuple[str, ...]] = ("round",)
    integers: ClassVar[str] = "same"

    @torch_operation("round.decimals")
    @staticmethod
    def places(g: TorchCapture, x: ir.Value, decimals: int) -> ir.Value:
        if not floating(x):
            return x
        scale = g.constant(float(10 ** abs(decimals)), x)
        first, last = (Mul(), Div()) if decimals > 0 else (Div(), Mul())
        return g.op(last, g.op(Round(), g.op(first, x, scale)), scale)

    @keras_operation("Round", vet=refusals.floats)
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        if operation.decimals:
            raise Refusal(f"it rounds to {operation.decimals} decimals.", "Round to whole numbers.")
        return g.op(Round(), x)


class Sign(Unary):
    """y = -1, 0 or 1, as x is below, at or above 0."""

    function: ClassVar[str] = "torch.sign"
    keras_function: ClassVar[str] = "ops.sign"
    aten: ClassVar[tuple[str, ...]] = ("sign", "sgn")
    operations: ClassVar[tuple[str, ...]] = ("Sign",)
    integers: ClassVar[str] = "computed"
