"""Element-wise arithmetic with broadcasting."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from converter.ops import masks as beside
from converter.ops import refusals
from converter.ops.base import (
    EXACT,
    Capture,
    Op,
    Refusal,
    TorchCapture,
    View,
    keras_layer,
    keras_operation,
    torch_operation,
)
from converter.ops.cast import Cast, all_in, cast, promotion
from converter.ops.operands import floating, fold, merged, narrow, numbers, numbers_of, operands, reals
from converter.ops.records import Call, Infix, Layer, Method, Prefix, Record


class _Binary(Op, abstract=True):
    """One of the four operators, with numpy's broadcasting."""

    neutral: ClassVar[bool] = True
    sign: ClassVar[str]
    keras_class: ClassVar[str]

    def torch(self, n: View) -> Record:
        return Infix(self.sign, n.x(0), n.x(1))

    def keras(self, n: View) -> Record:
        for i in (0, 1):
            number = _number(n, i)
            settings = None if number is None else self.rescaled(number, i)
            if settings is not None:
                return Layer("Rescaling", settings, inputs=(n.x(1 - i),))
        if self.keras_class and merges(n):
            return Layer(self.keras_class, inputs=(n.x(0), n.x(1)))
        return Infix(self.sign, n.x(0), n.x(1))

    def rescaled(self, number: float, index: int) -> dict[str, float] | None:
        """The op with a number as input `index`, as the options of Keras's Rescaling: x * scale + offset."""
        return None


def _number(n: View, index: int) -> float | None:
    """A constant input that is one finite number for floats of any shape; None for any other input."""
    array, other = n.array(index), n.array(1 - index)
    if array is None or other is not None or n.real(index) or array.size != 1 or array.ndim > len(n.shape(1 - index)):
        return None
    exact = np.asarray(n.value(index).meta.get(EXACT, array))
    return float(exact.item()) if np.issubdtype(array.dtype, np.floating) and np.isfinite(exact).all() else None


class _Extreme(Op, abstract=True):
    """The larger or the smaller of two, with numpy's broadcasting; NaN wins."""

    neutral: ClassVar[bool] = True
    function: ClassVar[str]
    bound: ClassVar[str]
    keras_class: ClassVar[str]

    def torch(self, n: View) -> Record:
        places = range(len(n.all()))
        numbers = {i for i in places if (a := n.array(i)) is not None and a.size == 1 and not n.real(i)}
        first, *rest = sorted(places, key=lambda i: i in numbers)
        made: Record = n.x(first)
        for i in rest:
            bound = Method(made, "clamp", (), {self.bound: n.x(i)})
            made = bound if i in numbers else Call(self.function, (made, n.x(i)))
        return made

    def keras(self, n: View) -> Record:
        if len(n.all()) != 2:
            function = f"ops.{self.keras_class.lower()}"
            made: Record = n.x(0)
            for i in range(1, len(n.all())):
                made = Call(function, (made, n.x(i)))
            return made
        if merges(n):
            return Layer(self.keras_class, inputs=(n.x(0), n.x(1)))
        if n.value(0).dtype == ir.DataType.DOUBLE:  # Keras's own make float32 of it, on torch and JAX
            a, b = n.x(0), n.x(1)
            sign, less = (">=", "<") if self.bound == "min" else ("<=", ">")
            nan = Infix("+", a, b)
            return Call("ops.where", (Infix(sign, a, b), a, Call("ops.where", (Infix(less, a, b), b, nan))))
        return Call(f"ops.{self.keras_class.lower()}", (n.x(0), n.x(1)))


def merges(n: View) -> bool:
    """Whether one of Keras's merging layers does it: they take computed values, and line up those of one rank alike.

    Of several ranks they line up the batch axes, and the graph the last axes, as operators and keras.ops do.
    """
    a, b = n.shape(0), n.shape(1)
    alike = len(a) == len(b) > 0 and a[0] == b[0]
    return alike and all(n.array(i) is None for i in (0, 1))


def _times(g: TorchCapture, x: Any, alpha: Any) -> Any:
    return g.op(Mul(), *numbers(g, x, alpha)) if isinstance(x, ir.Value) else x * alpha


class Add(_Binary):
    """y = a + b."""

    sign: ClassVar[str] = "+"
    keras_class: ClassVar[str] = "Add"
    nonnegative: ClassVar[str] = "kept"

    def rescaled(self, number: float, index: int) -> dict[str, float] | None:
        return {"scale": 1.0, "offset": number}

    @keras_layer("Add", vet=refusals.one_float)
    @staticmethod
    def layer(g: Capture, layer: Any, *xs: ir.Value) -> ir.Value:
        return fold(g, Add(), merged(g, xs))

    @keras_operation("Add")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        return g.op(Add(), *operands(g, x1, x2))

    @torch_operation("add.Tensor", "add.Scalar")
    @staticmethod
    def aten(g: TorchCapture, x: Any, other: Any, alpha: Any) -> ir.Value:
        return g.op(Add(), *numbers(g, x, other if alpha == 1 else _times(g, other, alpha)))


class Sub(_Binary):
    """y = a - b."""

    sign: ClassVar[str] = "-"
    keras_class: ClassVar[str] = "Subtract"

    def rescaled(self, number: float, index: int) -> dict[str, float] | None:
        return {"scale": 1.0, "offset": -number} if index else {"scale": -1.0, "offset": number}

    @keras_layer("Subtract", vet=refusals.one_float)
    @staticmethod
    def layer(g: Capture, layer: Any, *xs: ir.Value) -> ir.Value:
        return fold(g, Sub(), merged(g, xs))

    @keras_operation("Subtract")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        return g.op(Sub(), *operands(g, x1, x2))

    @torch_operation("rsub.Scalar", "rsub.Tensor")
    @staticmethod
    def reversed(g: TorchCapture, x: Any, other: Any, alpha: Any) -> ir.Value:
        return g.op(Sub(), *numbers(g, other, x if alpha == 1 else _times(g, x, alpha)))

    @torch_operation("sub.Tensor", "sub.Scalar", "subtract.Tensor", "subtract.Scalar")
    @staticmethod
    def aten(g: TorchCapture, x: Any, other: Any, alpha: Any) -> ir.Value:
        return g.op(Sub(), *numbers(g, x, other if alpha == 1 else _times(g, other, alpha)))


class Mul(_Binary):
    """y = a * b."""

    sign: ClassVar[str] = "*"
    keras_class: ClassVar[str] = "Multiply"
    nonnegative: ClassVar[str] = "kept"

    def rescaled(self, number: float, index: int) -> dict[str, float] | None:
        return {"scale": number}

    @keras_layer("Multiply", vet=refusals.one_float)
    @staticmethod
    def layer(g: Capture, layer: Any, *xs: ir.Value, masks: beside.Masks = ()) -> ir.Value:
        values = merged(g, xs)
        return beside.product(g, Mul(), values, masks) if any(masks) else fold(g, Mul(), values)

    @keras_operation("Multiply")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        return g.op(Mul(), *operands(g, x1, x2))

    @keras_operation("Square")
    @staticmethod
    def square(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return g.op(Mul(), x, x)

    @torch_operation("square.default")
    @staticmethod
    def squared(g: TorchCapture, x: ir.Value) -> ir.Value:
        return g.op(Mul(), *numbers_of([x, x]))

    @torch_operation("mul.Tensor", "mul.Scalar", "multiply.Tensor", "multiply.Scalar")
    @staticmethod
    def aten(g: TorchCapture, x: Any, other: Any) -> ir.Value:
        return g.op(Mul(), *numbers(g, x, other))


class Div(_Binary):
    """y = a / b; of integers without its fraction."""

    sign: ClassVar[str] = "/"
    keras_class: ClassVar[str] = ""

    def torch(self, n: View) -> Record:
        if floating(n.value(0)):
            return super().torch(n)
        return Call("torch.div", (n.x(0), n.x(1)), {"rounding_mode": "trunc"})

    def keras(self, n: View) -> Record:
        if floating(n.value(0)):
            return super().keras(n)
        size = Infix("//", Call("ops.absolute", (n.x(0),)), Call("ops.absolute", (n.x(1),)))
        return Infix("*", Infix("*", size, Call("ops.sign", (n.x(0),))), Call("ops.sign", (n.x(1),)))

    def rescaled(self, number: float, index: int) -> dict[str, float] | None:
        return {"scale": 1.0 / number} if index and number and np.isfinite(1.0 / number) else None

    @keras_layer("Average", vet=refusals.one_float)
    @staticmethod
    def layer(g: Capture, layer: Any, *xs: ir.Value) -> ir.Value:
        values = merged(g, xs)
        total = fold(g, Add(), values)
        if not floating(total):
            total = g.op(Cast(to=int(ir.DataType.from_numpy(np.dtype(g.setting("floatx"))))), total)
        return total if len(values) == 1 else g.op(Div(), total, g.constant(float(len(values)), total))

    @keras_operation("Divide", "TrueDivide")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        values = operands(g, x1, x2)
        if not floating(values[0]):
            values = [g.op(Cast(to=int(ir.DataType.FLOAT)), v) for v in values]
        return g.op(Div(), *values)

    @torch_operation("div.Tensor", "div.Scalar", "divide.Tensor", "divide.Scalar", "true_divide.Tensor")
    @staticmethod
    def aten(g: TorchCapture, x: Any, other: Any) -> ir.Value:
        return g.op(Div(), *reals(g, x, other))


class Max(_Extreme):
    """y = max(a, b)."""

    function: ClassVar[str] = "torch.maximum"
    bound: ClassVar[str] = "min"
    keras_class: ClassVar[str] = "Maximum"

    @keras_layer("Maximum", vet=refusals.one_float)
    @staticmethod
    def layer(g: Capture, layer: Any, *xs: ir.Value, masks: beside.Masks = ()) -> ir.Value:
        values = narrow(merged(g, xs))
        return beside.extreme(g, Max(), values, masks) if any(masks) else fold(g, Max(), values)

    @keras_operation("Maximum")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        return g.op(Max(), *operands(g, x1, x2))

    @torch_operation("maximum.default", "max.other")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, other: ir.Value) -> ir.Value:
        return g.op(Max(), *numbers(g, x, other))


class Min(_Extreme):
    """y = min(a, b)."""

    function: ClassVar[str] = "torch.minimum"
    bound: ClassVar[str] = "max"
    keras_class: ClassVar[str] = "Minimum"

    @keras_layer("Minimum", vet=refusals.one_float)
    @staticmethod
    def layer(g: Capture, layer: Any, *xs: ir.Value, masks: beside.Masks = ()) -> ir.Value:
        values = narrow(merged(g, xs))
        return beside.extreme(g, Min(), values, masks) if any(masks) else fold(g, Min(), values)

    @keras_operation("Minimum")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        return g.op(Min(), *operands(g, x1, x2))

    @torch_operation("minimum.default", "min.other")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, other: ir.Value) -> ir.Value:
        return g.op(Min(), *numbers(g, x, other))


class Pow(Op):
    """y = a to the power of b."""

    neutral: ClassVar[bool] = True

    def torch(self, n: View) -> Record:
        return Call("torch.pow", (n.x(0), n.x(1)))

    def keras(self, n: View) -> Record:
        return Infix("**", n.x(0), n.x(1))

    @keras_operation("Power")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        values = operands(g, x1, x2)
        if not floating(values[0]) and values[0].dtype not in (ir.DataType.INT32, ir.DataType.INT64):
            raise Refusal(f"a power of {values[0].dtype} numbers has no mapping.", "Cast them to floats before.")
        return g.op(Pow(), *values)

    @torch_operation("pow.Tensor_Tensor", "pow.Tensor_Scalar", "pow.Scalar")
    @staticmethod
    def aten(g: TorchCapture, x: Any, exponent: Any) -> ir.Value:
        kind = promotion([x, exponent])
        if kind in (ir.DataType.INT32, ir.DataType.INT64) or kind.is_floating_point():
            return g.op(Pow(), *all_in(g, kind, x, exponent))
        return cast(g, g.op(Pow(), *all_in(g, ir.DataType.INT32, x, exponent)), kind)  # ONNX has no powers of others


class _Method(Op, abstract=True):
    """One value in, one out, by a method of the tensor."""

    neutral: ClassVar[bool] = True
    method: ClassVar[str]
    keras_function: ClassVar[str]

    def torch(self, n: View) -> Record:
        return Method(n.x(), self.method)

    def keras(self, n: View) -> Record:
        return Call(self.keras_function, (n.x(),))


class Neg(_Method):
    """y = -x."""

    method: ClassVar[str] = "neg"
    keras_function: ClassVar[str] = "ops.negative"

    def keras(self, n: View) -> Record:
        return Prefix("-", n.x())

    @keras_operation("Negative")
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        if x.dtype is not None and x.dtype.name.startswith(("UINT", "BOOL")):
            raise Refusal(f"it negates {x.dtype.name} numbers, which have no sign.", "Cast them to floats before.")
        return g.op(Neg(), x)

    @torch_operation("neg.default", "negative.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value) -> ir.Value:
        if x.dtype == ir.DataType.UINT8:  # ONNX negates numbers with a sign alone
            return cast(g, g.op(Neg(), cast(g, x, ir.DataType.INT32)), x.dtype)
        return g.op(Neg(), x)


class Sqrt(_Method):
    """y = the square root of x."""

    method: ClassVar[str] = "sqrt"
    keras_function: ClassVar[str] = "ops.sqrt"
    nonnegative: ClassVar[str] = "always"

    @keras_operation("Sqrt")
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return g.op(Sqrt(), x)

    @torch_operation("sqrt.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value) -> ir.Value:
        return g.op(Sqrt(), *reals(g, x))


class Abs(_Method):
    """y = the absolute value of x."""

    method: ClassVar[str] = "abs"
    keras_function: ClassVar[str] = "ops.absolute"
    nonnegative: ClassVar[str] = "always"

    @keras_operation("Absolute", "Abs")
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return g.op(Abs(), *numbers_of([x]))

    @torch_operation("abs.default", "absolute.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value) -> ir.Value:
        return g.op(Abs(), *numbers_of([x]))
