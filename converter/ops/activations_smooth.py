"""Smooth activations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import onnx_ir as ir

from converter.ops import refusals
from converter.ops.activations import Activation
from converter.ops.base import (
    Builder,
    Capture,
    Function,
    TorchCapture,
    View,
    keras_activation,
    keras_operation,
    torch_operation,
)
from converter.ops.elementwise import Add, Div, Mul, Neg, Sqrt, Sub
from converter.ops.records import Call, Infix, Layer, Module, Record


class Sigmoid(Activation):
    """1 / (1 + exp(-x))."""

    module: ClassVar[str] = "nn.Sigmoid"
    function: ClassVar[str] = "torch.sigmoid"
    keras_name: ClassVar[str] = "sigmoid"
    nonnegative: ClassVar[str] = "always"
    before_loss: ClassVar[str] = "sigmoid"

    @keras_activation("sigmoid")
    @staticmethod
    def activation(g: Capture, x: ir.Value) -> ir.Value:
        return g.op(Sigmoid(), x)


class Tanh(Activation):
    """The hyperbolic tangent."""

    module: ClassVar[str] = "nn.Tanh"
    function: ClassVar[str] = "torch.tanh"
    keras_name: ClassVar[str] = "tanh"

    @keras_activation("tanh")
    @staticmethod
    def activation(g: Capture, x: ir.Value) -> ir.Value:
        return g.op(Tanh(), x)


class Exp(Activation):
    """e to the power of x."""

    function: ClassVar[str] = "torch.exp"
    keras_name: ClassVar[str] = "exponential"
    nonnegative: ClassVar[str] = "always"

    @keras_activation("exponential")
    @staticmethod
    def activation(g: Capture, x: ir.Value) -> ir.Value:
        return g.op(Exp(), x)

    @keras_operation("Exp", vet=refusals.floats)
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return g.op(Exp(), x)


class Gelu(Activation):
    """x * Phi(x), Phi the normal distribution's; with "tanh": (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2."""

    approximate: str = "none"

    module: ClassVar[str] = "nn.GELU"
    function: ClassVar[str] = "F.gelu"
    keras_name: ClassVar[str] = "gelu"

    args: ClassVar[Mapping[str, str]] = {"approximate": "approximate"}

    def keras(self, n: View) -> Record:
        if self.approximate != "none":
            return Call("ops.gelu", (n.x(),), {"approximate": True})
        return super().keras(n)

    @keras_activation("gelu")
    @staticmethod
    def activation(g: Capture, x: ir.Value) -> ir.Value:
        return g.op(Gelu(), x)


class Mish(Activation):
    """x * tanh(log(1 + exp(x)))."""

    module: ClassVar[str] = "nn.Mish"
    function: ClassVar[str] = "F.mish"
    keras_name: ClassVar[str] = "mish"

    @keras_activation("mish")
    @staticmethod
    def activation(g: Capture, x: ir.Value) -> ir.Value:
        return g.op(Mish(), x)


class Softplus(Activation):
    """log(1 + exp(x)). torch, and Keras on torch, give x above 20, where the difference is below 1.1e-10 of it."""

    module: ClassVar[str] = "nn.Softplus"
    function: ClassVar[str] = "F.softplus"
    keras_name: ClassVar[str] = "softplus"
    nonnegative: ClassVar[str] = "always"

    @keras_activation("softplus")
    @staticmethod
    def activation(g: Capture, x: ir.Value) -> ir.Value:
        return g.op(Softplus(), x)


class Softsign(Activation):
    """x / (1 + |x|)."""

    module: ClassVar[str] = "nn.Softsign"
    function: ClassVar[str] = "F.softsign"
    keras_name: ClassVar[str] = "softsign"

    @keras_activation("softsign")
    @staticmethod
    def activation(g: Capture, x: ir.Value) -> ir.Value:
        return g.op(Softsign(), x)


class _Composed(Function, abstract=True):
    """An activation that has no ONNX operator."""

    neutral: ClassVar[bool] = True
    module: ClassVar[str]
    function: ClassVar[str]
    keras_name: ClassVar[str]

    def torch(self, n: View) -> Record:
        return Module(self.module, inputs=(n.x(),)) if n.own else Call(self.function, (n.x(),))

    def keras(self, n: View) -> Record:
        return Layer("Activation", {"activation": self.keras_name}, inputs=(n.x(),))


class Silu(_Composed):
    """x / (1 + exp(-x))."""

    module: ClassVar[str] = "nn.SiLU"
    function: ClassVar[str] = "F.silu"
    keras_name: ClassVar[str] = "silu"

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        return g.op(Mul(), inputs[0], g.op(Sigmoid(), inputs[0]))

    @keras_activation("silu")
    @staticmethod
    def activation(g: Capture, x: ir.Value) -> ir.Value:
        return g.op(Silu(), x)


class LogSigmoid(_Composed):
    """-log(1 + exp(-x))."""

    module: ClassVar[str] = "nn.LogSigmoid"
    function: ClassVar[str] = "F.logsigmoid"
    keras_name: ClassVar[str] = "log_sigmoid"

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        return g.op(Neg(), g.op(Softplus(), g.op(Neg(), inputs[0])))

    @keras_activation("log_sigmoid")
    @staticmethod
    def activation(g: Capture, x: ir.Value) -> ir.Value:
        return g.op(LogSigmoid(), x)

    @torch_operation("log_sigmoid.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value) -> ir.Value:
        return g.op(LogSigmoid(), x)


class TanhShrink(_Composed):
    """x - tanh(x)."""

    module: ClassVar[str] = "nn.Tanhshrink"
    function: ClassVar[str] = "F.tanhshrink"
    keras_name: ClassVar[str] = "tanh_shrink"

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        return g.op(Sub(), inputs[0], g.op(Tanh(), inputs[0]))

    @keras_activation("tanh_shrink")
    @staticmethod
    def activation(g: Capture, x: ir.Value) -> ir.Value:
        return g.op(TanhShrink(), x)


class SquarePlus(Function):
    """(x + sqrt(x^2 + b)) / 2."""

    b: float = 4.0

    neutral: ClassVar[bool] = True

    def torch(self, n: View) -> Record:
        root = Call("torch.sqrt", (Infix("+", Infix("*", n.x(), n.x()), self.b),))
        return Infix("/", Infix("+", n.x(), root), 2)

    def keras(self, n: View) -> Record:
        if self.b != 4.0:
            return Call("ops.squareplus", (n.x(),), {"b": self.b})
        return Layer("Activation", {"activation": "squareplus"}, inputs=(n.x(),))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        x = inputs[0]
        root = g.op(Sqrt(), g.op(Add(), g.op(Mul(), x, x), g.constant(self.b, like=x)))
        return g.op(Div(), g.op(Add(), x, root), g.constant(2.0, like=x))

    @keras_activation("squareplus")
    @staticmethod
    def activation(g: Capture, x: ir.Value) -> ir.Value:
        return g.op(SquarePlus(), x)
