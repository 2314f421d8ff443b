"""Resizing of images and volumes.

TensorFlow, JAX and numpy agree on what the interpolations mean, and that is what is written here: pixel centres at
halves, a cubic kernel of -0.5 whose weights inside of the image sum to one. (Keras on torch takes -0.75.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from converter.ops import refusals
from converter.ops.base import Builder, Capture, Dims, Function, Op, Refusal, Type, View, keras_layer, operand, there
from converter.ops.cast import Where
from converter.ops.compare import GreaterOrEqual
from converter.ops.cropping import sliced
from converter.ops.elementwise import Min
from converter.ops.embedding import Gather
from converter.ops.indexing import END
from converter.ops.pad import Pad
from converter.ops.padding import scalar
from converter.ops.records import Call, Layer, Method, Module, Record
from converter.ops.resample import AspectCrop, AspectPad, Resample, times_each
from converter.ops.shape import Concat
from converter.ops.sizes import Shape, counted, integer, least, minus, most, over, size, times, window

CUBIC: dict[str, Any] = {"cubic_coeff_a": -0.5, "exclude_outside": 1, "mode": "cubic"}
KERAS = {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic"}
BICUBIC = "bicubic is as Keras computes it on TensorFlow and JAX; Keras on torch takes another kernel."


class Resize(Op):
    """(N, C, ...) resized by `scales`, which has the factors of batch and channels in front; or to sizes."""

    antialias: int = 0
    axes: tuple[int, ...] | None = None
    coordinate_transformation_mode: str = "half_pixel"
    cubic_coeff_a: float = -0.75
    exclude_outside: int = 0
    extrapolation_value: float = 0.0
    keep_aspect_ratio_policy: str = "stretch"
    mode: str = "nearest"
    nearest_mode: str = "round_prefer_floor"
    roi: tuple[float, ...] | None = operand(1, default=None, dtype="float32")
    scales: tuple[float, ...] | None = operand(2, default=None, dtype="float32")
    sizes: tuple[int, ...] | None = operand(3, default=None)

    spatial = True

    def factors(self) -> tuple[int, ...]:
        """How many times larger each spatial axis gets."""
        return tuple(int(f) for f in (self.scales or ())[2:])

    def known(self, n: View) -> None:
        """LookupError for what is not one of Keras's ways of making an image a whole number of times larger."""
        scales = self.scales or ()
        ways: list[dict[str, Any]] = [
            {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
            {"mode": "linear"},
            dict(CUBIC),
        ]
        usual = [Resize(**way, scales=self.scales) for way in ways]
        whole = scales[:2] == (1.0, 1.0) and len(scales) > 2 and all(f >= 1 and f == int(f) for f in scales[2:])
        if self not in usual or not whole or (self.mode != "nearest" and len(n.shape()) != 4):
            raise LookupError(f"Resize has a mapping for whole factors in three ways, and this is {self}")

    def torch(self, n: View) -> Record:
        self.known(n)
        factor = scalar(self.factors())
        if self.mode == "cubic":
            return Call("F.interpolate", (n.x(),), {"scale_factor": factor, "mode": "bicubic", "antialias": True})
        named = {"mode": "bilinear"} if self.mode == "linear" else {}
        return Module("nn.Upsample", (), {"scale_factor": factor, **named}, inputs=(n.x(),))

    def keras(self, n: View) -> Record:
        self.known(n)
        rank = len(n.shape()) - 2
        named = {} if self.mode == "nearest" else {"interpolation": KERAS[self.mode]}
        size = self.factors()[0] if rank == 1 else self.factors()
        return Layer(f"UpSampling{rank}D", {"size": size, **named}, inputs=(n.x(),))

    @keras_layer("UpSampling1D", "UpSampling2D", "UpSampling3D")
    @staticmethod
    def upsampling(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        given = layer.size if isinstance(layer.size, (tuple, list)) else (layer.size,)
        factors = tuple(int(f) for f in given)
        kind = getattr(layer, "interpolation", "nearest")
        x = g.first(layer, x)
        scales = (1.0, 1.0, *(float(f) for f in factors))
        if x.dtype is not None and not x.dtype.is_floating_point():
            return g.last(layer, g.op(Repeat(factors=factors), x))
        if kind in ("nearest", "area"):
            op: Op = Resize(coordinate_transformation_mode="asymmetric", nearest_mode="floor", scales=scales)
        elif kind == "bilinear":
            op = Resize(mode="linear", scales=scales)
        elif kind == "bicubic":
            g.note(BICUBIC)
            op = Resize(**CUBIC, scales=scales)
        elif kind in ("lanczos3", "lanczos5"):
            op = Resample(kernel=kind, factors=factors)
        else:
            raise Refusal(f"interpolation={kind!r} has no mapping.")
        return g.last(layer, g.op(op, x))

    @keras_layer("Resizing", vet=refusals.float_images)
    @staticmethod
    def resizing(g: Capture, layer: Any, x: Any) -> ir.Value:
        x = g.first(layer, images(g, x))
        wanted = (int(layer.height), int(layer.width))
        if layer.crop_to_aspect_ratio:
            x = _cropped(g, x, wanted)
        elif layer.pad_to_aspect_ratio:
            x = _padded(g, x, wanted, float(layer.fill_value))
        if layer.interpolation == "bicubic" and not layer.antialias:
            g.note(BICUBIC)
        return g.last(layer, g.op(_resize(layer.interpolation, bool(layer.antialias), g.shape(x), wanted), x))


def _resize(kind: str, antialias: bool, shape: Dims, wanted: tuple[int, int]) -> Op:
    """Height and width to `wanted`."""
    shrinks = any(d is None or d > m for d, m in zip(shape[2:], wanted, strict=True))
    modes = {keras: mode for mode, keras in KERAS.items()}
    if kind == "nearest" or (kind in modes and not shrinks) or (kind == "bilinear" and not antialias):
        return ResizeTo(mode=modes[kind], sizes=wanted)
    if kind in ("bilinear", "bicubic", "lanczos3", "lanczos5", "area"):
        return Resample(kernel=kind, sizes=wanted, antialias=int(antialias and kind != "area"))
    raise Refusal(f"interpolation={kind!r} has no mapping.")


def _cropped(g: Capture, x: ir.Value, wanted: tuple[int, int]) -> ir.Value:
    """The largest window of (N, C, h, w) in the middle that has the proportions of `wanted`."""
    height, width = g.shape(x)[2:]
    if height is None or width is None:
        return g.op(AspectCrop(size=wanted), x)
    return _middle(g, x, fitting(height, width, wanted))


def _middle(g: Capture, x: ir.Value, taken: tuple[int, int]) -> ir.Value:
    """The middle of (N, C, h, w)."""
    bounds: dict[int, tuple[int, int]] = {}
    for axis, length in enumerate(taken, 2):
        size = g.shape(x)[axis] or 0
        start = (size - length) // 2
        bounds[axis] = (start, END if start + length == size else start + length)
    return sliced(g, x, bounds)


def _padded(g: Capture, x: ir.Value, wanted: tuple[int, int], value: float) -> ir.Value:
    """(N, C, h, w) with equal borders, so that it has the proportions of `wanted`."""
    height, width = g.shape(x)[2:]
    if height is None or width is None:
        return g.op(AspectPad(size=wanted, value=value), x)
    top = (max(height, width * wanted[0] // wanted[1]) - height) // 2
    left = (max(width, height * wanted[1] // wanted[0]) - width) // 2
    if top == left == 0:
        return x
    return g.op(Pad(pads=(0, 0, top, left) * 2, constant_value=value or None), x)


def fitting(height: int, width: int, wanted: tuple[int, int]) -> tuple[int, int]:
    """The largest window that has the proportions of `wanted`."""
    tall, wide = width * wanted[0] // wanted[1], height * wanted[1] // wanted[0]
    return max(min(height, tall), 1), max(min(width, wide), 1)


def images(g: Capture, x: Any) -> ir.Value:
    """A batch of float images."""
    if not isinstance(x, ir.Value):
        raise Refusal("it is called on a dict of images and labels.", "Call it on the images alone.")
    return x


class Repeat(Function):
    """(N, C, ...) with every element `factors` times along its spatial axes, one factor each: of integers too."""

    factors: tuple[int, ...]

    spatial = True

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        (x,) = there(types)
        return (Type((*x.shape[:2], *times_each(x.shape[2:], self.factors)), x.dtype),)

    def torch(self, n: View) -> Record:
        made: Record = n.x()
        for axis, factor in enumerate(self.factors, 2):
            made = Method(made, "repeat_interleave", (factor,), {"dim": axis})
        return made

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        (x,) = inputs
        for axis, factor in enumerate(self.factors, 2):
            places = over(g, counted(g, 0, times(g, size(g, x, axis), factor)), factor)
            x = g.op(Gather(axis=axis), x, places)
        return x


class ResizeTo(Function):
    """(N, C, h, w) -> (N, C, *sizes), without antialiasing. Cubic is for sizes that do not shrink.

    What torch calls antialias has the cubic kernel that Keras has, and is the same as without where nothing shrinks.
    """

    mode: str
    sizes: tuple[int, ...]

    spatial = True

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        (x,) = there(types)
        return (Type((*x.shape[:2], *self.sizes), x.dtype),)

    def torch(self, n: View) -> Record:
        if self.mode == "nearest":
            return Call("F.interpolate", (n.x(),), {"size": self.sizes, "mode": "nearest-exact"})
        if self.mode == "linear":
            return Call("F.interpolate", (n.x(),), {"size": self.sizes, "mode": "bilinear"})
        return Call("F.interpolate", (n.x(),), {"size": self.sizes, "mode": "bicubic", "antialias": True})

    def keras(self, n: View) -> Record:
        height, width = self.sizes
        settings = {"height": height, "width": width, "interpolation": KERAS[self.mode]}
        return Layer("Resizing", settings, inputs=(n.x(),))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        (x,) = inputs
        return resized(g, x, self.mode, self.sizes)


def resized(g: Builder, x: ir.Value, mode: str, sizes: tuple[int, ...]) -> ir.Value:
    """`x` with other spatial sizes. All sizes are given: onnxruntime mistakes those of some `axes` only."""
    op = {
        "nearest": Resize(nearest_mode="round_prefer_ceil"),
        "linear": Resize(mode="linear"),
        "cubic": Resize(**CUBIC),
    }[mode]
    every = g.op(Concat(axis=0), g.op(Shape(end=2), x), g.constant(np.asarray(sizes, np.int64)))
    return g.op(op, x, None, None, every)


class CenterCrop(Function):
    """The middle (N, C, *size) of images; of smaller ones the largest window of these proportions, resized."""

    size: tuple[int, ...]

    spatial = True

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        (x,) = there(types)
        return (Type((*x.shape[:2], *self.size), x.dtype),)

    def torch(self, n: View) -> Record:
        return Call("center_crop", (n.x(), self.size))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        (x,) = inputs
        h, w = size(g, x, 2), size(g, x, 3)
        tall, wide = over(g, times(g, w, self.size[0]), self.size[1]), over(g, times(g, h, self.size[1]), self.size[0])
        room = g.op(Min(), minus(g, h, self.size[0]), minus(g, w, self.size[1]))
        large = g.op(GreaterOrEqual(), room, integer(g, 0))
        for axis, length, fit, wanted in ((2, h, tall, self.size[0]), (3, w, wide, self.size[1])):
            taken = g.op(Where(), large, g.constant(np.asarray(wanted)), most(g, least(g, length, fit), 1))
            x = window(g, x, axis, over(g, minus(g, length, taken), 2), taken)
        return resized(g, x, "linear", self.size)

    @keras_layer("CenterCrop", vet=refusals.float_images)
    @staticmethod
    def layer(g: Capture, layer: Any, x: Any) -> ir.Value:
        x = g.first(layer, images(g, x))
        wanted = (int(layer.height), int(layer.width))
        sizes = g.shape(x)[2:]
        if None in sizes:
            return g.last(layer, g.op(CenterCrop(size=wanted), x))
        height, width = (d or 0 for d in sizes)
        if height >= wanted[0] and width >= wanted[1]:
            return g.last(layer, _middle(g, x, wanted))
        x = _cropped(g, x, wanted)
        return g.last(layer, g.op(ResizeTo(mode="linear", sizes=wanted), x))
