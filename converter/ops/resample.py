"""Resizing by a kernel that no ONNX operator has, and windows of an image whose size is known at run time only."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from converter.ops.base import Builder, Dims, Function, Type, View, there
from converter.ops.cast import Cast, Where
from converter.ops.compare import Less, LessOrEqual
from converter.ops.elementwise import Abs, Add, Div, Max, Min, Mul, Sub
from converter.ops.linear import MatMul
from converter.ops.pad_same import surrounded
from converter.ops.records import Call, Infix, Record, Size
from converter.ops.reduce import ReduceSum
from converter.ops.shape import Transpose, Unsqueeze
from converter.ops.sizes import counted, integer, least, minus, most, over, size, times, window
from converter.ops.unary import Sin

DOUBLE = int(ir.DataType.DOUBLE)
RADIUS = {"lanczos3": 3, "lanczos5": 5}


class Resample(Function):
    """(N, C, h, w) -> (N, C, *size), or as many times larger as `factors` say.

    Each output is the mean of the inputs weighted by a kernel around its centre (i + 0.5) * n / m - 0.5, the kernel
    stretched by n / m with `antialias` where that is above 1. 'area' weighs by overlap.
    """

    antialias: int = 0
    factors: tuple[int, ...] | None = None
    kernel: str
    sizes: tuple[int, ...] | None = None

    spatial = True

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        (x,) = there(types)
        made: Dims = self.sizes or times_each(x.shape[2:], self.factors or ())
        return (Type((*x.shape[:2], *made), x.dtype),)

    def torch(self, n: View) -> Record:
        made: Any = self.sizes
        if made is None:
            known = zip(n.out_shape()[2:], self.factors or (), strict=True)
            made = tuple(Infix("*", Size(n.x(), i + 2), f) if d is None else d for i, (d, f) in enumerate(known))
        if self.antialias and self.kernel in ("bilinear", "bicubic"):
            return Call("F.interpolate", (n.x(),), {"size": made, "mode": self.kernel, "antialias": True})
        if self.antialias:
            return Call("resample", (n.x(), made, self.kernel), {"antialias": True})
        return Call("resample", (n.x(), made, self.kernel))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        (x,) = inputs
        down, across = self.weights(g, x, 2), self.weights(g, x, 3)
        return g.op(MatMul(), g.op(MatMul(), down, x), g.op(Transpose(perm=(1, 0)), across))

    def weights(self, g: Builder, x: ir.Value, axis: int) -> ir.Value:
        """The matrix (outputs, inputs) for one axis."""
        n = size(g, x, axis)
        wanted = (self.sizes or self.factors or ())[axis - 2]
        count = times(g, n, wanted) if self.sizes is None else integer(g, wanted)
        scale = g.op(Div(), g.op(Cast(to=DOUBLE), n), g.op(Cast(to=DOUBLE), count))
        half = number(g, 0.5)
        outputs = g.op(Unsqueeze(axes=(1,)), g.op(Cast(to=DOUBLE), counted(g, 0, count)))
        center = g.op(Sub(), g.op(Mul(), g.op(Add(), outputs, half), scale), half)
        offset = g.op(Sub(), g.op(Cast(to=DOUBLE), counted(g, 0, n)), center)
        if self.kernel == "area":
            found = overlap(g, offset, g.op(Mul(), scale, half))
        else:
            distance = g.op(Abs(), offset)
            if self.antialias:
                distance = g.op(Div(), distance, g.op(Max(), scale, number(g, 1.0)))
            found = weighed(g, distance, self.kernel)
        found = g.op(Div(), found, g.op(ReduceSum(axes=(1,), keepdims=1), found))
        return g.op(Cast(to=int(x.dtype or 1)), found)


def number(g: Builder, value: float) -> ir.Value:
    """A scalar."""
    return g.constant(np.asarray(value, np.float64))


def overlap(g: Builder, offset: ir.Value, half: ir.Value) -> ir.Value:
    """The length that an input of length 1 has in common with an output of length 2 * half, `offset` apart."""
    end = g.op(Min(), g.op(Add(), offset, number(g, 0.5)), half)
    start = g.op(Max(), g.op(Sub(), offset, number(g, 0.5)), g.op(Sub(), number(g, 0.0), half))
    return g.op(Max(), g.op(Sub(), end, start), number(g, 0.0))


def weighed(g: Builder, d: ir.Value, kernel: str) -> ir.Value:
    """The kernel at the distance d."""
    if kernel == "bilinear":
        return g.op(Max(), g.op(Sub(), number(g, 1.0), d), number(g, 0.0))
    if kernel == "bicubic":
        near, far = polynomial(g, d, (1.5, -2.5, 0.0, 1.0)), polynomial(g, d, (-0.5, 2.5, -4.0, 2.0))
        inner = g.op(Where(), g.op(Less(), d, number(g, 2.0)), far, number(g, 0.0))
        return g.op(Where(), g.op(Less(), d, number(g, 1.0)), near, inner)
    radius = RADIUS[kernel]
    angle = g.op(Mul(), d, number(g, math.pi))
    waves = g.op(Mul(), g.op(Sin(), angle), g.op(Sin(), g.op(Div(), angle, number(g, float(radius)))))
    waves = g.op(Div(), g.op(Mul(), waves, number(g, float(radius))), g.op(Mul(), angle, angle))
    waves = g.op(Where(), g.op(LessOrEqual(), d, number(g, float(radius))), waves, number(g, 0.0))
    return g.op(Where(), g.op(LessOrEqual(), d, number(g, 1e-3)), number(g, 1.0), waves)


def polynomial(g: Builder, x: ir.Value, factors: tuple[float, ...]) -> ir.Value:
    """Horner's scheme, the highest power first."""
    y = number(g, factors[0])
    for factor in factors[1:]:
        y = g.op(Add(), g.op(Mul(), y, x), number(g, factor))
    return y


def times_each(lengths: Dims, factors: tuple[int, ...]) -> Dims:
    """The lengths, each times its factor; None where the length is not known."""
    return tuple(None if n is None else n * f for n, f in zip(lengths, factors, strict=True))


class _Aspect(Function, abstract=True):
    """A window of (N, C, h, w) that has the proportions of `size`."""

    size: tuple[int, ...]

    spatial = True

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        (x,) = there(types)
        return (Type((*x.shape[:2], None, None), x.dtype),)

    def fitting(self, g: Builder, x: ir.Value) -> list[tuple[ir.Value, ir.Value]]:
        """For both axes: the length, and the length that has the proportions with the other axis as it is."""
        h, w = size(g, x, 2), size(g, x, 3)
        tall = over(g, times(g, w, self.size[0]), self.size[1])
        wide = over(g, times(g, h, self.size[1]), self.size[0])
        return [(h, tall), (w, wide)]


class AspectCrop(_Aspect):
    """The largest window in the middle with these proportions."""

    def torch(self, n: View) -> Record:
        return Call("aspect_crop", (n.x(), self.size))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        (x,) = inputs
        for axis, (length, fit) in enumerate(self.fitting(g, x), 2):
            taken = most(g, least(g, length, fit), 1)
            x = window(g, x, axis, over(g, minus(g, length, taken), 2), taken)
        return x


class AspectPad(_Aspect):
    """The image with equal borders of `value`."""

    value: float = 0.0

    def torch(self, n: View) -> Record:
        return Call("aspect_pad", (n.x(), self.size, self.value))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        (x,) = inputs
        for axis, (length, fit) in enumerate(self.fitting(g, x), 2):
            border = over(g, minus(g, most(g, length, fit), length), 2)
            x = surrounded(g, x, axis, border, border, self.value)
        return x
