"""Normalisations per channel: over the batch, or over groups of channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from converter.ops import refusals
from converter.ops.base import (
    Builder,
    Capture,
    Function,
    Op,
    Refusal,
    TorchCapture,
    Type,
    View,
    first_of,
    inverse,
    keras_layer,
    torch_operation,
)
from converter.ops.elementwise import Add, Mul
from converter.ops.indexing import Squeeze
from converter.ops.layer_norm import LayerNorm
from converter.ops.records import Layer, Module, Record
from converter.ops.shape import Transpose, Unsqueeze


class BatchNormalization(Op):
    """(x - mean) / sqrt(var + epsilon) * scale + bias, per channel (axis 1).

    `momentum` is the share of the old statistics that is kept, as in Keras; torch's is 1 - momentum. Keras's running
    variance takes the variance over n, torch's over n - 1. A Keras layer that is not trainable keeps its statistics
    while the model trains; in torch that takes a module of its own.
    """

    epsilon: float = 1e-5
    momentum: float = 0.9

    spatial = True
    refuses: ClassVar[Mapping[str, str]] = {"training_mode": "it takes the statistics of the batch at hand"}

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
        return Layer("BatchNormalization", settings, weights, inputs=(n.x(),), trainable=n.trainable)

    @torch_operation("batch_norm.default")
    @staticmethod
    def aten(
        g: TorchCapture,
        x: ir.Value,
        weight: ir.Value | None,
        bias: ir.Value | None,
        mean: ir.Value | None,
        var: ir.Value | None,
        training: bool,
        momentum: float,
        eps: float,
        cudnn: bool,
    ) -> ir.Value:
        if mean is None and x.const_value is not None and g.shape(x)[0] == 1:
            return _standardised(g, x, weight, bias, eps)
        if training or mean is None or var is None:
            raise Refusal(
                "it takes the statistics of the batch at inference too.", "Use track_running_stats=True and eval mode."
            )
        scaled = stood_for(g, x, weight, bias)
        kept = 1.0 - momentum
        if momentum == 0.0:
            kept = 0.99
            g.note("momentum=None (a cumulative average) is Keras's default momentum 0.99 while training.")
        return g.op(BatchNormalization(epsilon=eps, momentum=_rounded(kept)), x, *scaled, mean, var)

    @keras_layer("BatchNormalization", vet=refusals.channel_axis)
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value, *, mask: ir.Value | None = None) -> ir.Value:
        if mask is not None:
            g.note("its mask counts while training only, and is left out: torch's takes statistics of every step.")
        axis = (layer.axis[0] if isinstance(layer.axis, (list, tuple)) else layer.axis) % len(g.shape(x))
        weights = [*affine(g, layer, x, axis), g.variable(layer.moving_mean), g.variable(layer.moving_variance)]
        settings: dict[str, Any] = {"epsilon": float(layer.epsilon), "momentum": float(layer.momentum)}
        if not getattr(layer, "renorm", False):
            return along(g, BatchNormalization(**settings), x, axis, *weights)
        weights += [g.variable(w) for w in (layer.moving_stddev, layer.renorm_mean, layer.renorm_stddev)]
        bounds: dict[str, Any] = {k: None if v is None else float(v) for k, v in layer.renorm_clipping.items()}
        return along(
            g, BatchRenorm(**settings, **bounds, renorm_momentum=float(layer.renorm_momentum)), x, axis, *weights
        )


def _standardised(
    g: TorchCapture, x: ir.Value, weight: ir.Value | None, bias: ir.Value | None, eps: float
) -> ir.Value:
    """A kernel whose channels (1, C, ...) have mean 0 and variance 1, scaled: statistics of no batch."""
    y = g.op(LayerNorm(axes=tuple(range(2, len(g.shape(x)))), epsilon=eps), x)
    behind = tuple(range(1, len(g.shape(x)) - 1))
    for op, each in ((Mul(), weight), (Add(), bias)):
        if each is not None and each.const_value is not None:
            y = g.op(op, y, g.reshaped(each, (*(d or 0 for d in g.shape(each)), *(1 for _ in behind))))
        elif each is not None:
            y = g.op(op, y, g.op(Unsqueeze(axes=behind), each))
    return y


class BatchRenorm(Function):
    """Batch normalisation that trains on statistics corrected towards the running ones (Ioffe, 2017).

    Inputs: x, scale, bias, mean, var, then the running deviation and the mean and deviation that training corrects to.
    At inference it is batch normalisation, (x - mean) / sqrt(var + epsilon) * scale + bias per channel (axis 1).
    """

    epsilon: float
    momentum: float
    rmin: float | None = None
    rmax: float | None = None
    dmax: float | None = None
    renorm_momentum: float

    spatial = True

    def torch(self, n: View) -> Record:
        names = ("weight", "bias", "running_mean", "running_var", "running_std", "renorm_mean", "renorm_std")
        weights = {name: n.value(i + 1) for i, name in enumerate(names)}
        settings: dict[str, Any] = {"eps": self.epsilon, "momentum": _rounded(1.0 - self.momentum)}
        settings |= {k: v for k in ("rmin", "rmax", "dmax") if (v := getattr(self, k)) is not None}
        settings["renorm_momentum"] = _rounded(1.0 - self.renorm_momentum)
        if not n.trainable:
            settings["frozen"] = True
        fixed = frozenset(name for i, name in ((1, "weight"), (2, "bias")) if not n.real(i))
        return Module(
            "BatchRenorm",
            (n.shape(1)[0],),
            settings,
            weights,
            frozen=fixed,
            buffers=frozenset(names[2:]),
            inputs=(n.x(),),
        )

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        return g.op(BatchNormalization(epsilon=self.epsilon, momentum=self.momentum), *inputs[:5])


class GroupNormalization(Op):
    """(x - mean) / sqrt(var + epsilon) * scale + bias; mean and var over each of `num_groups` runs of channels."""

    epsilon: float = 1e-5
    num_groups: int
    stash_type: int = 1
    """The dtype that ONNX computes the statistics in, where the input is less exact; torch and Keras choose."""

    spatial = True

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        """By hand: ONNX has no inference for this operator."""
        return first_of(types)

    def torch(self, n: View) -> Record:
        weights = {name: n.value(i) for i, name in ((1, "weight"), (2, "bias")) if any(n.real(j) for j in (1, 2))}
        fixed = frozenset(name for i, name in ((1, "weight"), (2, "bias")) if name in weights and not n.real(i))
        settings: dict[str, Any] = {"eps": self.epsilon}
        if not weights:
            settings["affine"] = False
        args = (self.num_groups, n.shape(1)[0])
        return Module("nn.GroupNorm", args, settings, weights, frozen=fixed, inputs=(n.x(),))

    def keras(self, n: View) -> Record:
        names = {"gamma": (1, "scale"), "beta": (2, "center")}
        weights: dict[str, Any] = {name: (n.value(i), None) for name, (i, _) in names.items() if n.real(i)}
        settings: dict[str, Any] = {"groups": self.num_groups, "epsilon": self.epsilon}
        settings |= {flag: False for name, (_, flag) in names.items() if name not in weights}
        return Layer("GroupNormalization", settings, weights, inputs=(n.x(),))

    @torch_operation("group_norm.default")
    @staticmethod
    def aten(
        g: TorchCapture,
        x: ir.Value,
        num_groups: int,
        weight: ir.Value | None,
        bias: ir.Value | None,
        eps: float,
        cudnn: bool,
    ) -> ir.Value:
        scaled = stood_for(g, x, weight, bias)
        op = GroupNormalization(num_groups=num_groups, epsilon=eps)
        if len(g.shape(x)) > 2:
            return g.op(op, x, *scaled)
        return g.op(Squeeze(axes=(2,)), g.op(op, g.op(Unsqueeze(axes=(2,)), x), *scaled))

    @keras_layer("GroupNormalization", vet=refusals.either(refusals.groups_of_several, refusals.channel_axis))
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        axis = layer.axis % len(g.shape(x))
        op = GroupNormalization(num_groups=layer.groups, epsilon=float(layer.epsilon))
        return along(g, op, x, axis, *affine(g, layer, x, axis))


class InstanceNormalization(Op):
    """(x - mean) / sqrt(var + epsilon) * scale + bias; mean and var of each example and channel."""

    epsilon: float = 1e-5

    spatial = True

    def torch(self, n: View) -> Record:
        weights = {name: n.value(i) for i, name in ((1, "weight"), (2, "bias")) if any(n.real(j) for j in (1, 2))}
        fixed = frozenset(name for i, name in ((1, "weight"), (2, "bias")) if name in weights and not n.real(i))
        settings: dict[str, Any] = {"eps": self.epsilon} | ({"affine": True} if weights else {})
        cls = f"nn.InstanceNorm{len(n.shape()) - 2}d"
        return Module(cls, (n.shape(1)[0],), settings, weights, frozen=fixed, inputs=(n.x(),))

    def keras(self, n: View) -> Record:
        return GroupNormalization(num_groups=n.shape(1)[0] or 1, epsilon=self.epsilon).keras(n)

    @torch_operation("instance_norm.default")
    @staticmethod
    def aten(
        g: TorchCapture,
        x: ir.Value,
        weight: ir.Value | None,
        bias: ir.Value | None,
        mean: ir.Value | None,
        var: ir.Value | None,
        use_input_stats: bool,
        momentum: float,
        eps: float,
        cudnn: bool,
    ) -> ir.Value:
        rank = len(g.shape(x))
        if rank < 3 or g.shape(x)[1] is None:
            raise Refusal("its input is a single example, without a batch axis.", "Give the example inputs one.")
        scaled = stood_for(g, x, weight, bias)
        if use_input_stats or mean is None or var is None:
            return g.op(InstanceNormalization(epsilon=eps), x, *scaled)
        return g.op(BatchNormalization(epsilon=eps, momentum=_rounded(1.0 - momentum)), x, *scaled, mean, var)


def stood_for(g: TorchCapture, x: ir.Value, weight: ir.Value | None, bias: ir.Value | None) -> list[ir.Value]:
    """Scale and bias per channel, or constants in the place of those that are not there or not trained."""
    width = g.shape(x)[1] or 1
    scale = g.constant(np.ones(width), like=x) if weight is None or g.frozen(weight, 1.0) else weight
    return [scale, g.constant(np.zeros(width), like=x) if bias is None or g.frozen(bias, 0.0) else bias]


def affine(g: Capture, layer: Any, x: ir.Value, axis: int) -> list[ir.Value]:
    """gamma and beta, or constants in the place of those that the layer does not have."""
    width = g.shape(x)[axis] or 1
    gamma = g.variable(layer.gamma) if layer.scale else g.constant(np.ones(width, np.float32), like=x)
    return [gamma, g.variable(layer.beta) if layer.center else g.constant(np.zeros(width, np.float32), like=x)]


def along(g: Capture, op: Op, x: ir.Value, axis: int, *weights: ir.Value) -> ir.Value:
    """An op whose channel axis is 1, on the axis `axis`."""
    rank = len(g.shape(x))
    if axis == 1:
        return g.op(op, x, *weights)
    into = (0, axis, *(i for i in range(1, rank) if i != axis))
    y = g.op(op, g.op(Transpose(perm=into), x, role="spatial"), *weights)
    return g.op(Transpose(perm=inverse(into)), y, role="spatial")


def _rounded(value: float) -> float:
    """1 - 0.99 is 0.01, not 0.010000000000000009."""
    return float(f"{value:.12g}")
