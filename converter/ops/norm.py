"""Normalisations."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from converter.ops.base import Capture, Dims, Op, View, keras_layer
from converter.ops.records import Layer, Module, Record
from converter.ops.shape import Transpose


class BatchNormalization(Op):
    """(x - mean) / sqrt(var + epsilon) * scale + bias, per channel (axis 1).

    `momentum` is the share of the old statistics that is kept, as in Keras; torch's is 1 - momentum. Keras's running
    variance takes the variance over n, torch's over n - 1. A Keras layer that is not trainable keeps its statistics
    while the model trains; in torch that takes a module of its own.
    """

    epsilon: float = 1e-5
    momentum: float = 0.9

    spatial = True

    def unit_axes(self, index: int) -> dict[int, int] | None:
        return {1: 0, 2: 0, 3: 0, 4: 0} if index == 0 else None

    def torch(self, n: View) -> Record:
        rank = max(len(n.shape()) - 2, 1)
        names = ("weight", "bias", "running_mean", "running_var")
        fill: dict[str, Any] = {"num_batches_tracked": 0}
        scale, center = (n.real(i) for i in (1, 2))
        settings: dict[str, Any] = {"eps": self.epsilon, "momentum": _rounded(1.0 - self.momentum)}
        kept = [names[i - 1] for i in (1, 2, 3, 4) if i > 2 or scale or center]
        if not scale and not center:
            settings["affine"] = False
        weights = {name: n.value(names.index(name) + 1) for name in kept}
        fixed = {name for name, real in (("weight", scale), ("bias", center)) if not real and name in kept}
        cls = f"nn.BatchNorm{rank}d" if n.trainable else f"FrozenBatchNorm{rank}d"
        return Module(cls, (n.shape(1)[0],), settings, weights, fill, frozenset(fixed), inputs=(n.x(),))

    def keras(self, n: View) -> Record:
        scale, center = (n.real(i) for i in (1, 2))
        names = {"gamma": 1, "beta": 2, "moving_mean": 3, "moving_variance": 4}
        settings: dict[str, Any] = {"momentum": self.momentum, "epsilon": self.epsilon}
        if not scale:
            settings["scale"] = False
            del names["gamma"]
        if not center:
            settings["center"] = False
            del names["beta"]
        weights: dict[str, Any] = {name: (n.value(i), None) for name, i in names.items()}
        return Layer("BatchNormalization", settings, weights, inputs=(n.x(),))

    @keras_layer("BatchNormalization")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        rank = len(g.shape(x))
        axis = (layer.axis[0] if isinstance(layer.axis, (list, tuple)) else layer.axis) % rank
        width = g.shape(x)[axis] or 1
        scale = g.variable(layer.gamma) if layer.scale else g.constant(np.ones(width), like=x)
        shift = g.variable(layer.beta) if layer.center else g.constant(np.zeros(width), like=x)
        mean, var = g.variable(layer.moving_mean), g.variable(layer.moving_variance)
        op = BatchNormalization(epsilon=float(layer.epsilon), momentum=float(layer.momentum))
        into = (0, axis, *(i for i in range(1, rank) if i != axis))
        if axis == 1:
            return g.op(op, x, scale, shift, mean, var)
        back = tuple(into.index(i) for i in range(rank))
        y = g.op(op, g.op(Transpose(perm=into), x, role="spatial"), scale, shift, mean, var)
        return g.op(Transpose(perm=back), y, role="spatial")


def _rounded(value: float) -> float:
    """1 - 0.99 is 0.01, not 0.010000000000000009."""
    return float(f"{value:.12g}")


def widths(shape: Dims) -> tuple[int, ...]:
    """Known lengths as integers."""
    return tuple(d or 0 for d in shape)
