"""Normalisations of every example for itself: over chosen axes (Layer-, RMSNormalization), or to length 1."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from converter.ops import refusals
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
    keras_layer,
    moved,
    torch_operation,
)
from converter.ops.dot import LEAST, Normalize
from converter.ops.elementwise import Add, Div, Min, Mul, Sqrt, Sub
from converter.ops.records import Call, Infix, Layer, Method, Module, Record
from converter.ops.reduce import ReduceMean, ReduceSum
from converter.ops.shape import Reshape


class LayerNormalization(Op):
    """(x - mean) / sqrt(var + epsilon) * scale + bias over the axes from `axis` on."""

    axis: int = -1
    epsilon: float = 1e-5
    stash_type: int = 1

    reads: ClassVar[frozenset[str]] = frozenset({"B"})


class RMSNormalization(Op):
    """x / sqrt(mean(x * x) + epsilon) * scale over the axes from `axis` on."""

    axis: int = -1
    epsilon: float = 1e-5
    stash_type: int = 1


class _Over(Function, abstract=True):
    """Statistics over `axes`, ascending; each weight has the lengths of these axes."""

    axes: tuple[int, ...]
    epsilon: float

    module: ClassVar[str]
    part: ClassVar[str]
    plain: ClassVar[type[LayerNormalization] | type[RMSNormalization]]

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        axes = tuple(moved(a, perm) for a in self.axes)
        return (type(self)(axes=axes, epsilon=self.epsilon), perm) if axes == tuple(sorted(axes)) else None

    def trailing(self, rank: int) -> bool:
        """Whether the axes are the last ones."""
        return self.axes == tuple(range(rank - len(self.axes), rank))

    def settings(self, n: View) -> tuple[dict[str, Any], dict[str, ir.Value], frozenset[str]]:
        """Arguments for eps and the weights, the weights, and those that only stand for one."""
        weights = {name: n.value(i) for i, name in ((1, "weight"), (2, "bias")) if n.has(i)}
        settings: dict[str, Any] = {"eps": self.epsilon}
        if not weights:
            settings["elementwise_affine"] = False
        return (
            settings,
            weights,
            frozenset(name for i, name in ((1, "weight"), (2, "bias")) if n.has(i) and not n.real(i)),
        )

    def torch(self, n: View) -> Record:
        settings, weights, fixed = self.settings(n)
        lengths = tuple(n.shape()[a] or 0 for a in self.axes)
        if self.trailing(len(n.shape())):
            size = lengths[0] if len(lengths) == 1 else lengths
            return Module(self.module, (size,), settings, weights, frozen=fixed, inputs=(n.x(),))
        return Module(self.part, (lengths, self.axes), settings, weights, frozen=fixed, inputs=(n.x(),))

    def statistics(self, g: Builder, x: ir.Value) -> ir.Value:
        """x normalised, without the weights."""
        raise LookupError(f"{type(self).__name__} does not say how it normalises")

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        x, *weights = inputs
        rank = len(g.shape(x))
        if weights and self.trailing(rank):
            return g.op(self.plain(axis=self.axes[0], epsilon=self.epsilon), x, *weights)
        lengths = tuple((g.shape(x)[i] or 1) if i in self.axes else 1 for i in range(rank))
        x = self.statistics(g, x)
        for weight, op in zip(weights, (Mul(), Add())):
            x = g.op(op, x, g.op(Reshape(target=lengths), weight))
        return x

    @staticmethod
    def last(g: TorchCapture, x: ir.Value, lengths: tuple[int, ...]) -> tuple[int, ...]:
        """The axes of torch's normalized_shape."""
        if any(not isinstance(d, int) for d in lengths):
            raise Refusal("it normalises axes whose length is known at run time only.", "Export it with fixed sizes.")
        rank = len(g.shape(x))
        return tuple(range(rank - len(lengths), rank))

    @staticmethod
    def axes_of(layer: Any, rank: int) -> tuple[int, ...]:
        """The layer's axes, ascending from the first."""
        given = layer.axis if isinstance(layer.axis, (list, tuple)) else (layer.axis,)
        return tuple(sorted(int(a) % rank for a in given))


class LayerNorm(_Over):
    """(x - mean) / sqrt(var + epsilon) * scale + bias; mean and var over `axes`, var over n."""

    module: ClassVar[str] = "nn.LayerNorm"
    part: ClassVar[str] = "AxesLayerNorm"
    plain: ClassVar[type[LayerNormalization] | type[RMSNormalization]] = LayerNormalization

    def settings(self, n: View) -> tuple[dict[str, Any], dict[str, ir.Value], frozenset[str]]:
        settings, weights, fixed = super().settings(n)
        return settings | ({"bias": False} if set(weights) == {"weight"} else {}), weights, fixed

    def keras(self, n: View) -> Record:
        names = {1: ("gamma", "scale"), 2: ("beta", "center")}
        weights: dict[str, Any] = {name: (n.value(i), None) for i, (name, _) in names.items() if n.has(i) and n.real(i)}
        settings: dict[str, Any] = {"axis": self.axes, "epsilon": self.epsilon}
        settings |= {flag: False for _, (name, flag) in names.items() if name not in weights}
        return Layer("LayerNormalization", settings, weights, inputs=(n.x(),))

    def statistics(self, g: Builder, x: ir.Value) -> ir.Value:
        centred = g.op(Sub(), x, g.op(ReduceMean(axes=self.axes), x))
        var = g.op(ReduceMean(axes=self.axes), g.op(Mul(), centred, centred))
        return g.op(Div(), centred, g.op(Sqrt(), g.op(Add(), var, g.constant(self.epsilon, like=x))))

    @torch_operation("layer_norm.default")
    @staticmethod
    def aten(
        g: TorchCapture,
        x: ir.Value,
        lengths: tuple[int, ...],
        weight: ir.Value | None,
        bias: ir.Value | None,
        eps: float,
        cudnn: bool,
    ) -> ir.Value:
        op = LayerNorm(axes=_Over.last(g, x, lengths), epsilon=eps)
        if any(w is not None and w.const_value is None for w in (weight, bias)):
            y = g.op(op, x)
            y = y if weight is None else g.op(Mul(), y, weight)
            return y if bias is None else g.op(Add(), y, bias)
        if weight is None and bias is not None:
            weight = g.constant(np.ones(lengths), like=x)
        return g.op(op, x, *(w for w in (weight, bias) if w is not None))

    @keras_layer("LayerNormalization")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        axes = _Over.axes_of(layer, len(g.shape(x)))
        lengths = tuple(g.shape(x)[a] or 0 for a in axes)
        if layer.rms_scaling:
            weight = [g.reshaped(g.variable(layer.gamma), _broadcast(lengths, axes, len(g.shape(x))))]
            return g.op(VarianceScaling(axes=axes, epsilon=float(layer.epsilon)), x, *weight)
        weights = []
        if layer.scale or layer.center:
            weights.append(g.variable(layer.gamma) if layer.scale else g.constant(np.ones(lengths, np.float32), like=x))
        if layer.center:
            weights.append(g.variable(layer.beta))
        op = LayerNorm(axes=axes, epsilon=float(layer.epsilon))
        return g.op(op, x, *(g.reshaped(w, lengths) for w in weights))


class RMSNorm(_Over):
    """x / sqrt(mean(x * x) + epsilon) * scale; the mean over `axes`."""

    module: ClassVar[str] = "nn.RMSNorm"
    part: ClassVar[str] = "AxesRMSNorm"
    plain: ClassVar[type[LayerNormalization] | type[RMSNormalization]] = RMSNormalization

    def keras(self, n: View) -> Record:
        weights: dict[str, Any] = {"scale": (n.value(1), None)}
        return Layer("RMSNormalization", {"axis": self.axes, "epsilon": self.epsilon}, weights, inputs=(n.x(),))

    @torch_operation("rms_norm.default")
    @staticmethod
    def aten(
        g: TorchCapture, x: ir.Value, lengths: tuple[int, ...], weight: ir.Value | None, eps: float | None
    ) -> ir.Value:
        if eps is None and x.dtype == ir.DataType.DOUBLE:
            why = "eps=None is the precision of the dtype that it computes in."
            raise Refusal(why, "Give it a number; in float64 it is eps=2.220446049250313e-16.")
        if eps is None:  # float16 and bfloat16 are computed in float32
            eps = float(np.finfo(np.float32).eps)
            g.note(f"eps=None is the precision of float32, written as a number: epsilon={eps!r}, in float64 as well")
        op = RMSNorm(axes=_Over.last(g, x, lengths), epsilon=eps)
        if weight is not None and weight.const_value is None:
            return g.op(Mul(), g.op(op, x, g.constant(np.ones(lengths), like=x)), weight)
        return g.op(op, x, g.constant(np.ones(lengths), like=x) if weight is None else weight)

    def statistics(self, g: Builder, x: ir.Value) -> ir.Value:
        power = g.op(ReduceMean(axes=self.axes), g.op(Mul(), x, x))
        return g.op(Div(), x, g.op(Sqrt(), g.op(Add(), power, g.constant(self.epsilon, like=x))))

    @keras_layer("RMSNormalization", vet=refusals.last_axes)
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        rank = len(g.shape(x))
        op = RMSNorm(axes=_Over.axes_of(layer, rank), epsilon=float(layer.epsilon))
        return g.op(op, x, g.reshaped(g.variable(layer.scale), tuple(g.shape(x)[a] or 0 for a in op.axes)))


class VarianceScaling(Function):
    """x / sqrt(var + epsilon) * scale, scale broadcast to x: Keras's LayerNormalization(rms_scaling=True)."""

    axes: tuple[int, ...]
    epsilon: float

    def torch(self, n: View) -> Record:
        var = Method(n.x(), "var", (self.axes,), {"correction": 0, "keepdim": True})
        inverse = Call("torch.rsqrt", (Infix("+", var, self.epsilon),))
        return Infix("*", Infix("*", n.x(), inverse), n.x(1))

    def keras(self, n: View) -> Record:
        var = Call("ops.var", (n.x(),), {"axis": self.axes, "keepdims": True})
        return Infix("*", Infix("*", n.x(), Call("ops.rsqrt", (Infix("+", var, self.epsilon),))), n.x(1))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        x, scale = inputs
        centred = g.op(Sub(), x, g.op(ReduceMean(axes=self.axes), x))
        var = g.op(ReduceMean(axes=self.axes), g.op(Mul(), centred, centred))
        return g.op(Mul(), g.op(Div(), x, g.op(Sqrt(), g.op(Add(), var, g.constant(self.epsilon, like=x)))), scale)


class UnitNorm(Function):
    """x * min(1 / sqrt(sum of x * x over `axes`), 1 / epsilon)."""

    axes: tuple[int, ...]
    epsilon: float

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        return UnitNorm(axes=tuple(sorted(moved(a, perm) for a in self.axes)), epsilon=self.epsilon), perm

    def torch(self, n: View) -> Record:
        power = Method(Infix("*", n.x(), n.x()), "sum", (self.axes,), {"keepdim": True})
        return Infix("*", n.x(), Method(Method(power, "rsqrt"), "clamp", (), {"max": 1.0 / self.epsilon}))

    def keras(self, n: View) -> Record:
        if self.epsilon != LEAST:
            power = Call("ops.sum", (Call("ops.square", (n.x(),)),), {"axis": self.axes, "keepdims": True})
            return Infix("*", n.x(), Call("ops.clip", (Call("ops.rsqrt", (power,)), 0.0, 1.0 / self.epsilon)))
        return Layer("UnitNormalization", {"axis": self.axes}, inputs=(n.x(),))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        x = inputs[0]
        length = g.op(Sqrt(), g.op(ReduceSum(axes=self.axes), g.op(Mul(), x, x)))
        inverse = g.op(Div(), g.constant(1.0, like=x), length)
        return g.op(Mul(), x, g.op(Min(), inverse, g.constant(1.0 / self.epsilon, like=x)))

    @keras_layer("UnitNormalization")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        axes = _Over.axes_of(layer, len(g.shape(x)))
        return g.op(Normalize(axis=axes[0], epsilon=LEAST) if len(axes) == 1 else UnitNorm(axes=axes, epsilon=LEAST), x)


def _broadcast(lengths: tuple[int, ...], axes: tuple[int, ...], rank: int) -> tuple[int, ...]:
    """The lengths at their axes, 1 elsewhere, from the first of the axes on."""
    found = dict(zip(axes, lengths, strict=True))
    return tuple(found.get(i, 1) for i in range(min(axes), rank))
