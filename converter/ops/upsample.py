"""PyTorch's interpolation: its kinds by size or by factor, and the places and weights that they mean."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from converter.ops.base import Builder, Function, Refusal, TorchCapture, Type, View, there, torch_operation
from converter.ops.elementwise import Div
from converter.ops.embedding import Gather
from converter.ops.linear import MatMul
from converter.ops.padding import batched, scalar
from converter.ops.pool_windows import numbers_of
from converter.ops.records import Call, Layer, Module, Record
from converter.ops.resample import Resample
from converter.ops.resize import Resize
from converter.ops.shape import Concat, Reshape
from converter.ops.sizes import Shape

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


class Interpolate(Function):
    """(N, C, ...) -> (N, C, *sizes). `mode` is nearest, nearest-exact, linear or cubic (a kernel of -0.75).

    With `align` the corner elements stay where they are; without, pixel centres stand at halves; nearest counts from
    the edges.
    """

    align: int = 0
    mode: str
    sizes: tuple[int, ...]

    spatial = True

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        x = there(types)[0]
        return (Type((*x.shape[:2], *self.sizes), x.dtype),)

    def named(self) -> str:
        """torch's name of the kind."""
        return {"linear": LINEAR[len(self.sizes)], "cubic": "bicubic"}.get(self.mode, self.mode)

    def torch(self, n: View) -> Record:
        settings: dict[str, Any] = {"size": scalar(self.sizes), "mode": self.named()}
        if self.align:
            settings["align_corners"] = True
        if n.own:
            return Module("nn.Upsample", (), settings, inputs=(n.x(),))
        return Call("F.interpolate", (n.x(),), settings)

    def keras(self, n: View) -> Record:
        if len(self.sizes) != 2 or self.align or self.mode not in ("nearest-exact", "linear"):
            raise LookupError(f"Keras has no layer that resizes so: {self.named()}, align_corners={bool(self.align)}")
        height, width = self.sizes
        kind = "bilinear" if self.mode == "linear" else "nearest"
        return Layer("Resizing", {"height": height, "width": width, "interpolation": kind}, inputs=(n.x(),))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        (x,) = inputs
        places = "align_corners" if self.align else "asymmetric" if self.mode == "nearest" else "half_pixel"
        if self.mode.startswith("nearest"):
            rounded = "floor" if self.mode == "nearest" else "round_prefer_ceil"
            op = Resize(coordinate_transformation_mode=places, nearest_mode=rounded)
        else:
            op = Resize(coordinate_transformation_mode=places, mode=self.mode)
        every = g.op(Concat(axis=0), g.op(Shape(end=2), x), g.constant(np.asarray(self.sizes, np.int64)))
        return g.op(op, x, None, None, every)

    def opened(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        """Channels last, in plain ops: elements taken by their places, or products with the weights."""
        (x,) = inputs
        for axis, (length, count) in enumerate(zip(g.shape(x)[1:-1], self.sizes, strict=True), 1):
            if length is None:
                raise LookupError("it resizes an axis whose length is known at run time only")
            if self.mode.startswith("nearest"):
                shift = 0.5 if self.mode == "nearest-exact" else 0.0
                taken = np.floor((np.arange(count) + shift) * (length / count)).astype(np.int64)
                x = g.op(Gather(axis=axis), x, g.constant(np.minimum(taken, length - 1)))
                continue
            before, behind = g.shape(x)[1:axis], g.shape(x)[axis + 1 :]
            flat = g.op(Reshape(target=(0, *(d or 0 for d in before), length, -1)), x)
            weights, whole = weights_of(self.mode, length, count, bool(self.align))
            made = g.op(MatMul(), g.constant(weights, like=x), flat)
            made = g.op(Div(), made, g.constant(float(whole), like=x)) if whole != 1 else made
            x = g.op(Reshape(target=(0, *(d or 0 for d in before), count, *(d or 0 for d in behind))), made)
        return x

    @torch_operation("upsample_nearest1d.vec", "upsample_nearest2d.vec", "upsample_nearest3d.vec")
    @staticmethod
    def nearest(g: TorchCapture, x: ir.Value, size: Any, factors: Any) -> ir.Value:
        return resized(g, x, "nearest", False, size, factors)

    @torch_operation("_upsample_nearest_exact1d.vec", "_upsample_nearest_exact2d.vec", "_upsample_nearest_exact3d.vec")
    @staticmethod
    def exact(g: TorchCapture, x: ir.Value, size: Any, factors: Any) -> ir.Value:
        return resized(g, x, "nearest-exact", False, size, factors)

    @torch_operation("upsample_linear1d.vec", "upsample_bilinear2d.vec", "upsample_trilinear3d.vec")
    @staticmethod
    def linear(g: TorchCapture, x: ir.Value, size: Any, align: bool, factors: Any) -> ir.Value:
        return resized(g, x, "linear", align, size, factors)

    @torch_operation("upsample_bicubic2d.vec")
    @staticmethod
    def cubic(g: TorchCapture, x: ir.Value, size: Any, align: bool, factors: Any) -> ir.Value:
        return resized(g, x, "cubic", align, size, factors)

    @torch_operation("_upsample_bilinear2d_aa.vec")
    @staticmethod
    def smooth(g: TorchCapture, x: ir.Value, size: Any, align: bool, factors: Any) -> ir.Value:
        sizes = sizes_of(g, x, size, factors)
        if align or sizes is None:
            raise Refusal("antialias with align_corners, or with a factor that fits no size, has no mapping.")
        return g.op(Resample(kernel="bilinear", sizes=sizes, antialias=1), x)


def resized(g: TorchCapture, x: ir.Value, mode: str, align: bool, size: Any, factors: Any) -> ir.Value:
    """`x` with other spatial lengths: by whole factors where they are whole, by sizes else."""
    batched(g.shape(x), len(g.made()) - 2)
    numbers_of(x)
    if mode in ("nearest", "linear") and not align and (mode == "nearest" or len(g.made()) == 4):
        whole = whole_factors(g, x, size, factors)
        if whole is not None and set(whole) == {1}:
            return x
        scales = (1.0, 1.0, *(float(f) for f in whole or ()))
        if whole is not None and mode == "nearest":
            op = Resize(coordinate_transformation_mode="asymmetric", nearest_mode="floor", scales=scales)
            return g.op(op, x)
        if whole is not None:
            return g.op(Resize(mode="linear", scales=scales), x)
    sizes = sizes_of(g, x, size, factors)
    if sizes is None:
        why = f"scale_factor={factors} gives no whole number of elements."
        raise Refusal(why, "Give it a size, or recompute_scale_factor=True.")
    return g.op(Interpolate(mode=mode, align=int(align), sizes=sizes), x)


def whole_factors(g: TorchCapture, x: ir.Value, size: Any, factors: Any) -> tuple[int, ...] | None:
    """How many times longer each axis gets, where that is a whole number."""
    if size is None:
        return tuple(int(f) for f in factors) if all(float(f).is_integer() for f in factors) else None
    lengths = list(zip(g.shape(x)[2:], g.made()[2:], strict=True))
    if any(n is None or not isinstance(m, int) or m % n for n, m in lengths):
        return None
    return tuple(m // (n or 1) for n, m in lengths)


def sizes_of(g: TorchCapture, x: ir.Value, size: Any, factors: Any) -> tuple[int, ...] | None:
    """The lengths of the result; None where a factor places the elements otherwise than the lengths do."""
    made = g.made()[2:]
    if any(not isinstance(m, int) for m in made):
        raise Refusal("it resizes to lengths that are known at run time only.", "Export it with fixed sizes.")
    if size is None:
        lengths = zip(g.shape(x)[2:], factors, made, strict=True)
        if any(n is None or not math.isclose(n * f, m, rel_tol=1e-12) for n, f, m in lengths):
            return None
    return tuple(int(m) for m in made)


def weights_of(mode: str, length: int, count: int, align: bool) -> tuple[np.ndarray, int]:
    """(count, length), and what to divide it by: what each element adds to each of the result, in whole numbers.

    The edges stand for what lies outside. Whole numbers, because a table of float32 holds these exactly.
    """
    steps = np.arange(count, dtype=np.int64)
    top, below = (steps * (length - 1), max(count - 1, 1)) if align else ((2 * steps + 1) * length - count, 2 * count)
    if mode == "linear":
        top = np.maximum(top, 0)
    first, r = top // below, top % below
    s = below - r
    if mode == "linear":
        parts, whole = [(0, s), (1, r)], below
    else:
        near = [5 * n**3 - 9 * n**2 * below + 4 * below**3 for n in (r, s)]
        far = [-3 * (n**3 - 2 * n**2 * below + n * below**2) for n in (r, s)]
        parts, whole = [(-1, far[0]), (0, near[0]), (1, near[1]), (2, far[1])], 4 * below**3
    made = np.zeros((count, length), np.int64)
    for offset, part in parts:
        np.add.at(made, (steps, np.clip(first + offset, 0, length - 1)), part)
    shared = math.gcd(whole, *(int(n) for n in np.unique(made)))
    if np.abs(made).max() // shared > 2**24:
        raise LookupError(f"the weights that resize {length} elements to {count} are no numbers that float32 holds")
    return made // shared, whole // shared
