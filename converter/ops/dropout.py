"""What acts in training only: noise that is gone at inference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

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
    operand,
    torch_operation,
)
from converter.ops.records import Layer, Module, Record

BELOW_ONE = 1 - 2.0**-24
"""The largest ratio that onnxruntime takes; the rate itself is kept as a training fact."""
OWN = -1
"""In a noise shape: as long as the input's axis."""


class Dropout(Op):
    """In training each element is zero with probability `ratio`, the rest is scaled by 1 / (1 - ratio)."""

    seed: int | None = None
    ratio: float = operand(1, 0.5)

    refuses: ClassVar[Mapping[str, str]] = {"training_mode": "it drops elements at inference too"}

    neutral: ClassVar[bool] = True
    nonnegative: ClassVar[str] = "kept"

    def torch(self, n: View) -> Record:
        return Module("nn.Dropout", (), {"p": float(n.training["rate"])}, inputs=(n.x(),))

    def keras(self, n: View) -> Record:
        return Layer("Dropout", {"rate": float(n.training["rate"])}, inputs=(n.x(),))

    @keras_layer("Dropout", vet=refusals.noise_shape)
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        rate = float(layer.rate)
        if layer.noise_shape is not None:
            return g.op(SharedDropout(noise=noise_of(layer.noise_shape, g.shape(x))), x, rate=repr(rate))
        return g.op(Dropout(ratio=min(rate, BELOW_ONE), seed=_seed(layer.seed)), x, rate=repr(rate))

    @torch_operation("dropout.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, p: float, train: bool) -> ir.Value:
        _inactive(train)
        return g.op(Dropout(ratio=float(p)), x, rate=repr(float(p)))


class _Noise(Function, abstract=True):
    """Does nothing at inference, and so has to be written as a layer that trains."""

    def opened(self, g: Builder, *inputs: Any) -> ir.Value:
        raise LookupError(f"{type(self).__name__} does something while training, which its parts do not")


class SharedDropout(_Noise):
    """Dropout with one draw for all elements along the axes where `noise` is 1; -1 is as long as the input's axis."""

    noise: tuple[int, ...]

    nonnegative: ClassVar[str] = "kept"

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        return g.op(Dropout(ratio=0.0), inputs[0])

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        return type(self)(noise=tuple(self.noise[p] for p in perm)), perm

    def unit_axes(self, index: int) -> dict[int, int] | None:
        return {} if self.noise[1] in (OWN, 1) else None

    def torch(self, n: View) -> Record:
        rate = float(n.training["rate"])
        rank = len(self.noise)
        if self.noise == (OWN, OWN, *(1,) * (rank - 2)) and rank in (3, 4, 5):
            return Module(f"nn.Dropout{rank - 2}d", (), {"p": rate}, inputs=(n.x(),))
        return Module("SharedDropout", (), {"p": rate, "shape": self.noise}, inputs=(n.x(),))

    def keras(self, n: View) -> Record:
        noise = tuple(None if d == OWN else d for d in self.noise)
        rate = float(n.training["rate"])
        if noise == (None, *(1,) * (len(noise) - 2), None) and len(noise) in (3, 4, 5):
            return Layer(f"SpatialDropout{len(noise) - 2}D", {"rate": rate}, inputs=(n.x(),))
        return Layer("Dropout", {"rate": rate, "noise_shape": noise}, inputs=(n.x(),))

    @keras_layer("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        same = (1,) * (len(g.shape(x)) - 2)
        first = getattr(layer, "data_format", "channels_last") == "channels_first"
        noise = (OWN, OWN, *same) if first else (OWN, *same, OWN)
        return g.op(SharedDropout(noise=noise), x, rate=repr(float(layer.rate)))

    @torch_operation("feature_dropout.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, p: float, train: bool) -> ir.Value:
        _inactive(train)
        noise = (OWN, OWN, *(1,) * (len(g.shape(x)) - 2))
        return g.op(SharedDropout(noise=noise), x, rate=repr(float(p)))


class AlphaDropout(_Noise):
    """In training some elements become SELU's negative limit; the result is scaled to keep mean and variance."""

    neutral: ClassVar[bool] = True

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        return g.op(Dropout(ratio=0.0), inputs[0])

    def torch(self, n: View) -> Record:
        return Module("nn.AlphaDropout", (), {"p": float(n.training["rate"])}, inputs=(n.x(),))

    def keras(self, n: View) -> Record:
        return Layer("AlphaDropout", {"rate": float(n.training["rate"])}, inputs=(n.x(),))

    @keras_layer("AlphaDropout", vet=refusals.noise_shape)
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        rate = repr(float(layer.rate))
        if layer.noise_shape is not None:
            return g.op(SharedAlphaDropout(noise=noise_of(layer.noise_shape, g.shape(x))), x, rate=rate)
        return g.op(AlphaDropout(), x, rate=rate)

    @torch_operation("alpha_dropout.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, p: float, train: bool) -> ir.Value:
        _inactive(train)
        return g.op(AlphaDropout(), x, rate=repr(float(p)))


class SharedAlphaDropout(SharedDropout):
    """AlphaDropout with one draw for all elements along the axes where `noise` is 1."""

    def torch(self, n: View) -> Record:
        settings = {"p": float(n.training["rate"]), "shape": self.noise}
        return Module("SharedAlphaDropout", (), settings, inputs=(n.x(),))

    def keras(self, n: View) -> Record:
        noise = tuple(None if d == OWN else d for d in self.noise)
        settings = {"rate": float(n.training["rate"]), "noise_shape": noise}
        return Layer("AlphaDropout", settings, inputs=(n.x(),))


class GaussianNoise(_Noise):
    """In training x + normal noise with this standard deviation."""

    neutral: ClassVar[bool] = True

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        return g.op(Dropout(ratio=0.0), inputs[0])

    def torch(self, n: View) -> Record:
        return Module("GaussianNoise", (), {"stddev": float(n.training["stddev"])}, inputs=(n.x(),))

    def keras(self, n: View) -> Record:
        return Layer("GaussianNoise", {"stddev": float(n.training["stddev"])}, inputs=(n.x(),))

    @keras_layer("GaussianNoise")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        return g.op(GaussianNoise(), x, stddev=repr(float(layer.stddev)))


class GaussianDropout(_Noise):
    """In training x times normal noise of mean 1 and standard deviation sqrt(rate / (1 - rate))."""

    neutral: ClassVar[bool] = True

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        return g.op(Dropout(ratio=0.0), inputs[0])

    def torch(self, n: View) -> Record:
        return Module("GaussianDropout", (), {"p": float(n.training["rate"])}, inputs=(n.x(),))

    def keras(self, n: View) -> Record:
        return Layer("GaussianDropout", {"rate": float(n.training["rate"])}, inputs=(n.x(),))

    @keras_layer("GaussianDropout")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        return g.op(GaussianDropout(), x, rate=repr(float(layer.rate)))


def noise_of(noise_shape: Any, shape: Dims) -> tuple[int, ...]:
    """Keras's noise_shape, one length per axis of the input: 1, OWN, or a fixed length."""
    given = [OWN if d is None else int(d) for d in noise_shape]
    missing = len(shape) - len(given)
    full = [1] * missing + given
    return tuple(OWN if d not in (1, OWN) and d == known else d for d, known in zip(full, shape, strict=True))


def _inactive(train: bool) -> None:
    if train:
        raise Refusal("it drops elements at inference too.", "Pass training=self.training.")


def _seed(seed: Any) -> int | None:
    return int(seed) if isinstance(seed, int) and abs(seed) < 2**63 else None
