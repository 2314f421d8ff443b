"""Activations made of polynomial pieces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import onnx_ir as ir

from converter.ops.activations import Activation, Clip
from converter.ops.base import Builder, Capture, Function, TorchCapture, View, keras_activation, torch_operation
from converter.ops.cast import Cast, Where
from converter.ops.compare import Less
from converter.ops.elementwise import Add, Mul
from converter.ops.records import Call, Infix, Layer, Method, Module, Record

SIXTH = 1.0 / 6.0


class HardSigmoid(Activation):
    """alpha * x + beta, cut to [0, 1]: 1/6 and 1/2 for Keras 3 and torch, 0.2 and 1/2 for Keras 1 and 2."""

    alpha: float = 0.2
    beta: float = 0.5

    nonnegative: ClassVar[str] = "always"

    def torch(self, n: View) -> Record:
        if (self.alpha, self.beta) == (SIXTH, 0.5):
            return Module("nn.Hardsigmoid", inputs=(n.x(),)) if n.own else Call("F.hardsigmoid", (n.x(),))
        line = Infix("+", Infix("*", self.alpha, n.x()), self.beta)
        return Method(line, "clamp", (0.0, 1.0))

    def keras(self, n: View) -> Record:
        names = {(SIXTH, 0.5): "hard_sigmoid", (0.5, 0.5): "sparse_sigmoid"}
        if (self.alpha, self.beta) not in names:
            line = Infix("+", Infix("*", self.alpha, n.x()), self.beta)
            return Call("ops.clip", (line, 0.0, 1.0))
        return Layer("Activation", {"activation": names[self.alpha, self.beta]}, inputs=(n.x(),))

    @keras_activation("hard_sigmoid")
    @staticmethod
    def activation(g: Capture, x: ir.Value) -> ir.Value:
        return g.op(HardSigmoid(alpha=SIXTH), x)

    @keras_activation("hard_sigmoid_v2")
    @staticmethod
    def old(g: Capture, x: ir.Value) -> ir.Value:
        return g.op(HardSigmoid(), x)

    @keras_activation("sparse_sigmoid")
    @staticmethod
    def sparse(g: Capture, x: ir.Value) -> ir.Value:
        return g.op(HardSigmoid(alpha=0.5), x)

    @torch_operation("hardsigmoid.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value) -> ir.Value:
        return g.op(HardSigmoid(alpha=SIXTH), x)


class HardSwish(Activation):
    """x * (x / 6 + 1/2 cut to [0, 1])."""

    module: ClassVar[str] = "nn.Hardswish"
    function: ClassVar[str] = "F.hardswish"
    keras_name: ClassVar[str] = "hard_silu"

    @keras_activation("hard_silu")
    @staticmethod
    def activation(g: Capture, x: ir.Value) -> ir.Value:
        return g.op(HardSwish(), x)


class Shrink(Activation):
    """x + bias below -lambd, x - bias above lambd, 0 between; bias is 0 (hard) or lambd (soft)."""

    bias: float = 0.0
    lambd: float = 0.5

    args: ClassVar[Mapping[str, str]] = {"lambd": "lambd"}

    def torch(self, n: View) -> Record:
        if self.bias not in (0.0, self.lambd):
            raise LookupError(f"torch has no shrink with bias {self.bias} and lambd {self.lambd}")
        name = "soft" if self.bias else "hard"
        if n.own:
            return Module(f"nn.{name.capitalize()}shrink", (), self.settings(), inputs=(n.x(),))
        return Call(f"F.{name}shrink", (n.x(),), self.settings())

    def keras(self, n: View) -> Record:
        if self.bias not in (0.0, self.lambd):
            raise LookupError(f"Keras has no shrink with bias {self.bias} and lambd {self.lambd}")
        name = "soft_shrink" if self.bias else "hard_shrink"
        if self.lambd != 0.5:
            return Call(f"ops.{name}", (n.x(),), {"threshold": self.lambd})
        return Layer("Activation", {"activation": name}, inputs=(n.x(),))

    @keras_activation("hard_shrink")
    @staticmethod
    def hard(g: Capture, x: ir.Value) -> ir.Value:
        return shrunk(g, Shrink(), x)

    @keras_activation("soft_shrink")
    @staticmethod
    def soft(g: Capture, x: ir.Value) -> ir.Value:
        return shrunk(g, Shrink(bias=0.5), x)

    @torch_operation("hardshrink.default")
    @staticmethod
    def hard_aten(g: TorchCapture, x: ir.Value, lambd: float) -> ir.Value:
        return shrunk(g, Shrink(lambd=float(lambd)), x)

    @torch_operation("softshrink.default")
    @staticmethod
    def soft_aten(g: TorchCapture, x: ir.Value, lambd: float) -> ir.Value:
        return shrunk(g, Shrink(bias=float(lambd), lambd=float(lambd)), x)


def shrunk(g: Builder, op: Shrink, x: ir.Value) -> ir.Value:
    """The op on `x`; ONNX has none for bfloat16, whose numbers float32 holds."""
    if x.dtype != ir.DataType.BFLOAT16:
        return g.op(op, x)
    wide = g.op(op, g.op(Cast(to=int(ir.DataType.FLOAT)), x, role="wide"))
    return g.op(Cast(to=int(ir.DataType.BFLOAT16)), wide, role="narrow")


class SparsePlus(Function):
    """0 up to -1, (x + 1)^2 / 4 up to 1, x above."""

    neutral: ClassVar[bool] = True

    def torch(self, n: View) -> Record:
        cut = Method(Infix("+", n.x(), 1), "clamp", (), {"min": 0})
        return Call("torch.where", (Infix("<", n.x(), 1), Infix("*", 0.25, Infix("**", cut, 2)), n.x()))

    def keras(self, n: View) -> Record:
        return Layer("Activation", {"activation": "sparse_plus"}, inputs=(n.x(),))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        x, one = inputs[0], g.constant(1.0, like=inputs[0])
        cut = g.op(Clip(min=0.0), g.op(Add(), x, one))
        curve = g.op(Mul(), g.op(Mul(), cut, cut), g.constant(0.25, like=x))
        return g.op(Where(), g.op(Less(), x, one), curve, x)

    @keras_activation("sparse_plus")
    @staticmethod
    def activation(g: Capture, x: ir.Value) -> ir.Value:
        return g.op(SparsePlus(), x)
