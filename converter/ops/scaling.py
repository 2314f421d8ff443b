"""Layers that scale and shift by stored numbers: Rescaling, Normalization, keras.applications' own."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from converter.ops.base import Builder, Capture, Function, Op, View, keras_layer
from converter.ops.cast import Cast
from converter.ops.dropout import OWN, SharedDropout
from converter.ops.elementwise import Add, Div, Max, Mul, Sqrt, Sub
from converter.ops.records import Call, Infix, Method, Record


class Rescaling(Function):
    """x * scale + offset; the numbers are kept in float64 and used in the dtype of x."""

    neutral: ClassVar[bool] = True

    def torch(self, n: View) -> Record:
        return Infix("+", Infix("*", n.x(0), _as(n, 1)), _as(n, 2))

    def keras(self, n: View) -> Record:
        return Infix("+", Infix("*", n.x(0), n.x(1)), n.x(2))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        x, scale, offset = inputs
        return g.op(Add(), g.op(Mul(), x, scale), offset)

    @keras_layer("Rescaling")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        x = _floating(g, x)
        scale, offset = (np.asarray(v, np.float64) for v in (layer.scale, layer.offset))
        if scale.ndim and g.setting("image_data_format") == "channels_first":
            scale = scale.reshape(scale.shape + (1,) * (3 - scale.ndim))
        if scale.size != 1 or offset.size != 1:
            return g.op(Rescaling(), x, g.constant(scale, like=x), g.constant(offset, like=x))
        factor, shift = scale.item(), offset.item()
        if factor != 1:
            x = g.op(Mul(), x, g.constant(factor, like=x))
        return g.op(Sub() if shift < 0 else Add(), x, g.constant(abs(shift), like=x)) if shift else x


class Normalization(Function):
    """(x - mean) / max(sqrt(variance), epsilon); with `invert`, mean + x * max(sqrt(variance), epsilon).

    Keras computes with copies of its two weights, made when it adapts or loads; where they differ, the copies count.
    """

    invert: int = 0
    epsilon: float

    neutral: ClassVar[bool] = True

    def torch(self, n: View) -> Record:
        deviation: Any = Method(Method(n.x(2), "sqrt"), "clamp", (), {"min": self.epsilon})
        if (number := self.number(n)) is not None:
            deviation = number
        if self.invert:
            return Infix("+", n.x(1), Infix("*", n.x(0), deviation))
        return Infix("/", Infix("-", n.x(0), n.x(1)), deviation)

    def keras(self, n: View) -> Record:
        root: Record = Call("ops.sqrt", (n.x(2),))
        deviation: Any = Call("ops.where", (Infix("<", root, self.epsilon), self.epsilon, root))
        if (number := self.number(n)) is not None:
            deviation = number
        if self.invert:
            return Infix("+", n.x(1), Infix("*", n.x(0), deviation))
        return Infix("/", Infix("-", n.x(0), n.x(1)), deviation)

    def number(self, n: View) -> float | None:
        """What it divides by, where that is one number that is no weight."""
        known = n.array(2)
        single = known is not None and known.size == 1 and not n.real(2)
        return max(math.sqrt(known.item()), self.epsilon) if known is not None and single else None

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        x, mean, variance = inputs
        deviation = g.op(Max(), g.op(Sqrt(), variance), g.constant(self.epsilon, like=x))
        if self.invert:
            return g.op(Add(), mean, g.op(Mul(), x, deviation))
        return g.op(Div(), g.op(Sub(), x, mean), deviation)

    @keras_layer("Normalization")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        x = _floating(g, x)
        used = [g.array(v) for v in (layer.mean, layer.variance)]
        stored = [] if layer.input_mean is not None else [layer.adapt_mean, layer.adapt_variance]
        kinds = {ir.DataType.from_numpy(g.array(v).dtype) for v in stored}
        # A mixed policy keeps the statistics in the half that it computes in, beside weights in float32.
        if kinds == {x.dtype} and all(np.array_equal(a.ravel(), g.array(v).ravel()) for a, v in zip(used, stored)):
            mean, variance = (g.variable(v) for v in stored)
        else:
            mean, variance = (g.constant(a, like=x) for a in used)
        lengths = used[0].shape
        first = next((i for i, d in enumerate(lengths) if d != 1), len(lengths))
        mean, variance = (g.reshaped(v, lengths[first:]) for v in (mean, variance))
        return g.op(Normalization(invert=int(layer.invert), epsilon=float(g.setting("epsilon"))), x, mean, variance)


class _Applications(Op, abstract=True):
    """No ops of their own: the layers that keras.applications defines for itself."""

    @keras_layer("CustomScaleLayer")
    @staticmethod
    def scaled_sum(g: Capture, layer: Any, x: ir.Value, branch: ir.Value) -> ir.Value:
        return g.op(Add(), x, g.op(Mul(), branch, g.constant(float(layer.scale), like=branch)))

    @keras_layer("LayerScale")
    @staticmethod
    def layer_scale(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        return g.op(Mul(), x, g.variable(layer.gamma))

    @keras_layer("StochasticDepth")
    @staticmethod
    def stochastic_depth(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        noise = (OWN, *(1,) * (len(g.shape(x)) - 1))
        return g.op(SharedDropout(noise=noise), x, rate=repr(float(layer.drop_path_rate)))


def _as(n: View, index: int) -> Any:
    """A stored number as it is, stored numbers in the dtype and on the device of x."""
    known = n.array(index)
    return n.x(index) if known is not None and known.size == 1 else Method(n.x(index), "to", (n.x(0),))


def _floating(g: Capture, x: ir.Value) -> ir.Value:
    """Integers, such as the bytes of an image, as floats."""
    if x.dtype is not None and x.dtype.is_floating_point():
        return x
    return g.op(Cast(to=int(ir.DataType.FLOAT)), x)
