"""What all activations share, and the rectified family: piecewise linear or exponential with a corner at 0.

The other files of the family: activations_smooth, activations_piecewise, softmax (one axis in, one axis out).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import onnx_ir as ir

from converter.ops.base import (
    Builder,
    Capture,
    Dims,
    Function,
    Op,
    Perm,
    Refusal,
    TorchCapture,
    View,
    fields,
    keras_activation,
    keras_layer,
    moved,
    operand,
    torch_operation,
)
from converter.ops.elementwise import Div, Min, Mul, Neg, Sub
from converter.ops.records import Call, Index, Infix, Layer, Method, Module, Record
from converter.ops.shape import Reshape


class Activation(Op, abstract=True):
    """An element-wise function that torch has as a module and as a function, and Keras as a named activation."""

    neutral: ClassVar[bool] = True
    module: ClassVar[str] = ""
    """The torch module, '' where torch has the function alone."""
    function: ClassVar[str]
    keras_name: ClassVar[str]
    args: ClassVar[Mapping[str, str]] = {}
    """The op's field -> the argument of both torch forms that means the same; read in both directions."""
    fixed: ClassVar[Mapping[str, Any]] = {}
    """Arguments of both torch forms that no field stands for, with their values."""
    stated: ClassVar[bool] = False
    """Whether the arguments are written where they have their defaults too."""

    def settings(self) -> dict[str, Any]:
        """The arguments of both torch forms."""
        given = {self.args[name]: value for name, value in self.unusual(self.stated).items() if name in self.args}
        return given | dict(self.fixed)

    def unusual(self, every: bool = False) -> dict[str, Any]:
        """The fields that do not have their defaults."""
        given = {name: (getattr(self, name), field.default) for name, field in fields(type(self)).items()}
        return {name: value for name, (value, usual) in given.items() if every or value != usual}

    def torch(self, n: View) -> Record:
        more = self.unusual().keys() - self.args.keys()
        if more:
            raise LookupError(f"{self.function} has no {', '.join(sorted(more))}")
        if n.own and self.module:
            return Module(self.module, kwargs=self.settings(), inputs=(n.x(),))
        return Call(self.function, (n.x(),), self.settings())

    def keras(self, n: View) -> Record:
        if self.unusual():
            raise LookupError(f"Keras's named {self.keras_name} does not take {self.unusual()}")
        return Layer("Activation", {"activation": self.keras_name}, inputs=(n.x(),))

    @keras_layer("Activation")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        return g.activate(layer.activation, x, own=True)


class Relu(Activation):
    """max(x, 0)."""

    module: ClassVar[str] = "nn.ReLU"
    function: ClassVar[str] = "F.relu"
    keras_name: ClassVar[str] = "relu"
    nonnegative: ClassVar[str] = "always"

    def keras(self, n: View) -> Record:
        return Layer("ReLU", inputs=(n.x(),)) if n.own else super().keras(n)

    @keras_activation("relu")
    @staticmethod
    def activation(g: Capture, x: ir.Value) -> ir.Value:
        return g.op(Relu(), x)


class LeakyRelu(Activation):
    """x for x > 0, alpha * x elsewhere."""

    alpha: float = 0.01

    module: ClassVar[str] = "nn.LeakyReLU"
    function: ClassVar[str] = "F.leaky_relu"

    args: ClassVar[Mapping[str, str]] = {"alpha": "negative_slope"}
    stated: ClassVar[bool] = True

    def keras(self, n: View) -> Record:
        return Layer("LeakyReLU", {"negative_slope": self.alpha}, inputs=(n.x(),))

    @keras_activation("leaky_relu")
    @staticmethod
    def activation(g: Capture, x: ir.Value) -> ir.Value:
        return g.op(LeakyRelu(alpha=0.2), x)

    @keras_layer("LeakyReLU")
    @staticmethod
    def leaky(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        return g.op(LeakyRelu(alpha=float(layer.negative_slope)), x)


class ThresholdedRelu(Activation):
    """x for x > alpha, 0 elsewhere."""

    alpha: float = 1.0

    module: ClassVar[str] = "nn.Threshold"
    function: ClassVar[str] = "F.threshold"

    args: ClassVar[Mapping[str, str]] = {"alpha": "threshold"}
    fixed: ClassVar[Mapping[str, Any]] = {"value": 0.0}
    stated: ClassVar[bool] = True

    def keras(self, n: View) -> Record:
        return Layer("ReLU", {"threshold": self.alpha}, inputs=(n.x(),))


class Clip(Activation):
    """x cut to [min, max]."""

    min: float | None = operand(1, default=None)
    max: float | None = operand(2, default=None)

    def nonnegative_when(self) -> str:
        return "" if self.min is None or self.min < 0 else "always"

    def torch(self, n: View) -> Record:
        bounds = (self.min, self.max)
        if bounds == (0, 6):
            return Module("nn.ReLU6", inputs=(n.x(),)) if n.own else Call("F.relu6", (n.x(),))
        if bounds == (-1, 1):
            return Module("nn.Hardtanh", inputs=(n.x(),)) if n.own else Call("F.hardtanh", (n.x(),))
        return Method(n.x(), "clamp", (), {k: v for k, v in (("min", self.min), ("max", self.max)) if v is not None})

    def keras(self, n: View) -> Record:
        if (self.min, self.max) == (0, 6) and not n.own:
            return Layer("Activation", {"activation": "relu6"}, inputs=(n.x(),))
        if self.min == 0 and self.max is not None:
            return Layer("ReLU", {"max_value": self.max}, inputs=(n.x(),))
        if (self.min, self.max) == (-1, 1):
            return Layer("Activation", {"activation": "hard_tanh"}, inputs=(n.x(),))
        bounds = [(i, name, sign) for i, name, sign in ((1, "maximum", "<"), (2, "minimum", ">")) if n.has(i)]
        if n.value(0).dtype == ir.DataType.DOUBLE:  # Keras's own make float32 of it, on torch and JAX
            x: Record = n.x()
            for i, _, sign in bounds:
                x = Call("ops.where", (Infix(sign, n.x(), n.x(i)), n.x(i), x))
            return x
        if len(bounds) == 1:
            index, name, _ = bounds[0]
            return Call(f"ops.{name}", (n.x(), n.x(index)))
        return Call("ops.clip", (n.x(), n.x(1), n.x(2)))

    @keras_activation("relu6")
    @staticmethod
    def relu6(g: Capture, x: ir.Value) -> ir.Value:
        return g.op(Clip(min=0.0, max=6.0), x)

    @keras_activation("hard_tanh")
    @staticmethod
    def hard_tanh(g: Capture, x: ir.Value) -> ir.Value:
        return g.op(Clip(min=-1.0, max=1.0), x)

    @torch_operation("hardtanh.default")
    @staticmethod
    def hardtanh(g: TorchCapture, x: ir.Value, min_val: float, max_val: float) -> ir.Value:
        return g.op(Clip(min=float(min_val), max=float(max_val)), x)

    @torch_operation("relu6.default")
    @staticmethod
    def six(g: TorchCapture, x: ir.Value) -> ir.Value:
        return g.op(Clip(min=0.0, max=6.0), x)


class Rectified(Function):
    """min(x if x > threshold else 0, max_value) - negative_slope * relu(threshold - x)."""

    max_value: float | None = None
    negative_slope: float = 0.0
    threshold: float = 0.0

    neutral: ClassVar[bool] = True

    def torch(self, n: View) -> Record:
        kept: Record = Call("F.threshold", (n.x(), self.threshold, 0.0)) if self.threshold else Call("F.relu", (n.x(),))
        if self.max_value is not None:
            kept = Method(kept, "clamp", (), {"max": self.max_value})
        if not self.negative_slope:
            return kept
        below: Record = Infix("-", self.threshold, n.x()) if self.threshold else Method(n.x(), "neg")
        return Infix("-", kept, Infix("*", self.negative_slope, Call("F.relu", (below,))))

    def keras(self, n: View) -> Record:
        settings = {"max_value": self.max_value, "negative_slope": self.negative_slope, "threshold": self.threshold}
        return Layer("ReLU", settings, inputs=(n.x(),))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        x = inputs[0]
        kept = g.op(ThresholdedRelu(alpha=self.threshold) if self.threshold else Relu(), x)
        if self.max_value is not None:
            kept = g.op(Min(), kept, g.constant(self.max_value, like=x))
        if not self.negative_slope:
            return kept
        below = g.op(Sub(), g.constant(self.threshold, like=x), x) if self.threshold else g.op(Neg(), x)
        return g.op(Sub(), kept, g.op(Mul(), g.op(Relu(), below), g.constant(self.negative_slope, like=x)))

    @keras_layer("ReLU")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        top = None if layer.max_value is None else float(layer.max_value)
        slope, threshold = float(layer.negative_slope), float(layer.threshold)
        if slope and top is None and not threshold:
            return g.op(LeakyRelu(alpha=slope), x)
        if slope or (threshold and top is not None):
            return g.op(Rectified(max_value=top, negative_slope=slope, threshold=threshold), x)
        if threshold:
            return g.op(ThresholdedRelu(alpha=threshold), x)
        return g.op(Relu() if top is None else Clip(min=0.0, max=top), x)


class Elu(Activation):
    """x for x > 0, alpha * (exp(x) - 1) elsewhere."""

    alpha: float = 1.0

    module: ClassVar[str] = "nn.ELU"
    function: ClassVar[str] = "F.elu"

    args: ClassVar[Mapping[str, str]] = {"alpha": "alpha"}

    def keras(self, n: View) -> Record:
        if self.alpha == 1.0 and not n.own:
            return Layer("Activation", {"activation": "elu"}, inputs=(n.x(),))
        return Layer("ELU", {} if self.alpha == 1.0 else {"alpha": self.alpha}, inputs=(n.x(),))

    @keras_activation("elu")
    @staticmethod
    def activation(g: Capture, x: ir.Value) -> ir.Value:
        return g.op(Elu(), x)

    @keras_layer("ELU")
    @staticmethod
    def elu(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        return g.op(Elu(alpha=float(layer.alpha)), x)


class Selu(Activation):
    """gamma * (x for x > 0, alpha * (exp(x) - 1) elsewhere), with the constants of the paper."""

    alpha: float = 1.67326319217681884765625
    gamma: float = 1.05070102214813232421875

    module: ClassVar[str] = "nn.SELU"
    function: ClassVar[str] = "F.selu"
    keras_name: ClassVar[str] = "selu"

    @keras_activation("selu")
    @staticmethod
    def activation(g: Capture, x: ir.Value) -> ir.Value:
        return g.op(Selu(), x)


class Celu(Activation, Function):
    """max(x, 0) + alpha * (exp(min(x, 0) / alpha) - 1). ONNX has it for float32 alone, and Elu for every float."""

    alpha: float = 1.0

    module: ClassVar[str] = "nn.CELU"
    function: ClassVar[str] = "F.celu"
    keras_name: ClassVar[str] = "celu"

    args: ClassVar[Mapping[str, str]] = {"alpha": "alpha"}

    def keras(self, n: View) -> Record:
        return super().keras(n)

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        x = inputs[0]
        if self.alpha == 1.0:
            return g.op(Elu(), x)
        alpha = g.constant(self.alpha, like=x)
        return g.op(Mul(), g.op(Elu(), g.op(Div(), x, alpha)), alpha)

    @keras_activation("celu")
    @staticmethod
    def activation(g: Capture, x: ir.Value) -> ir.Value:
        return g.op(Celu(), x)


class PRelu(Op):
    """x for x > 0, slope * x elsewhere; the slope is broadcast to x."""

    neutral: ClassVar[bool] = True

    def torch(self, n: View) -> Record:
        return Call("torch.where", (Infix(">", n.x(), 0), n.x(), Infix("*", n.x(1), n.x())))


class AxisPRelu(Function):
    """x for x > 0, slope * x elsewhere, with one slope for each index along `axis`, or a single one."""

    axis: int

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        return AxisPRelu(axis=moved(self.axis, perm)), perm

    def unit_axes(self, index: int) -> dict[int, int] | None:
        return {1: 0} if index == 0 else None

    def torch(self, n: View) -> Record:
        width, rank = n.shape(1)[0], len(n.shape())
        if width == 1 or self.axis == 1:
            return Module("nn.PReLU", (width,) if width != 1 else (), {}, {"weight": n.value(1)}, inputs=(n.x(),))
        behind = rank - 1 - self.axis
        slope: Record = Index(n.x(1), (slice(None), *[None] * behind)) if behind else n.x(1)
        return Call("torch.where", (Infix(">", n.x(), 0), n.x(), Infix("*", slope, n.x())))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        x, slope = inputs
        behind = len(g.shape(x)) - 1 - self.axis
        return g.op(PRelu(), x, g.op(Reshape(target=(-1, *[1] * behind)), slope) if behind else slope)

    def keras(self, n: View) -> Record:
        width, rank = n.shape(1)[0], len(n.shape())
        if rank == 2 and n.real(1) and width == n.shape()[1]:
            return Layer("PReLU", {}, {"alpha": (n.value(1), None)}, inputs=(n.x(),))
        behind = rank - 1 - self.axis
        slope: Record = Index(n.x(1), (slice(None), *[None] * behind)) if behind and width != 1 else n.x(1)
        return Call("ops.where", (Infix(">", n.x(), 0.0), n.x(), Infix("*", slope, n.x())))

    @torch_operation("prelu.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, weight: ir.Value) -> ir.Value:
        rank = len(g.shape(x))
        if weight.const_value is None or len(g.shape(weight)) != 1:
            raise Refusal("its slope is computed.", "Use torch.where(x > 0, x, slope * x).")
        return g.op(AxisPRelu(axis=min(1, rank - 1)), x, weight)

    @keras_layer("PReLU")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        slope = g.variable(layer.alpha)
        wide = [i for i, d in enumerate(g.shape(slope)) if d != 1]
        if len(wide) > 1:
            return g.op(PRelu(), x, slope)
        axis = wide[0] + 1 if wide else len(g.shape(x)) - 1
        width = g.shape(slope)[axis - 1] or 1
        return g.op(AxisPRelu(axis=axis), x, g.reshaped(slope, (width,)))
