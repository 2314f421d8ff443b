"""Padding whose amount depends on a size that is known at run time only, and readings of Keras's padding layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from converter.ops.base import Builder, Capture, Function, Op, Type, View, keras_layer, there
from converter.ops.cast import Where
from converter.ops.compare import Equal
from converter.ops.embedding import Gather
from converter.ops.pad import Pad
from converter.ops.padding import same
from converter.ops.records import Call, Record
from converter.ops.shape import Unsqueeze
from converter.ops.sizes import counted, least, minus, most, over, plus, size, times


class PadSame(Function):
    """(N, C, ...) with zeros around it, so that a window gives ceil(size / stride) outputs."""

    dilations: tuple[int, ...]
    kernel_shape: tuple[int, ...]
    strides: tuple[int, ...]

    spatial = True

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        x, kind = there(types)[0]
        windows = zip(x[2:], self.kernel_shape, self.strides, self.dilations, strict=True)
        made = (None if n is None else n + sum(same(n, k, s, d) or ()) for n, k, s, d in windows)
        return (Type((*x[:2], *made), kind),)

    def torch(self, n: View) -> Record:
        return Call("pad_same", (n.x(), self.kernel_shape, self.strides, self.dilations))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        (x,) = inputs
        for i, (kernel, stride, rate) in enumerate(zip(self.kernel_shape, self.strides, self.dilations, strict=True)):
            n = size(g, x, i + 2)
            steps = over(g, plus(g, n, stride - 1), stride)
            reach = (kernel - 1) * rate + 1
            total = most(g, minus(g, plus(g, times(g, minus(g, steps, 1), stride), reach), n), 0)
            front = over(g, total, 2)
            x = surrounded(g, x, i + 2, front, minus(g, total, front), 0.0)
        return x


def surrounded(g: Builder, x: ir.Value, axis: int, front: ir.Value, back: ir.Value, value: float) -> ir.Value:
    """`x` with `value` in front of and behind the elements of one axis."""
    n = size(g, x, axis)
    at = counted(g, minus(g, front, times(g, front, 2)), plus(g, n, back))
    inside = least(g, most(g, at, 0), minus(g, n, 1))
    kept = g.op(Equal(), at, inside)
    behind = len(g.shape(x)) - axis - 1
    if behind:
        kept = g.op(Unsqueeze(axes=tuple(range(1, behind + 1))), kept)
    return g.op(Where(), kept, g.op(Gather(axis=axis), x, inside), g.constant(np.asarray(value), like=x))


class _ZeroPadding(Op, abstract=True):
    """No op of its own."""

    @keras_layer("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        pairs = [(0, 0), *spatial_pairs(layer, layer.padding, len(g.shape(x))), (0, 0)]
        if getattr(layer, "data_format", "channels_last") == "channels_first":
            pairs = [(0, 0), *pairs[:-1]]
        if not any(n for pair in pairs for n in pair):
            return x
        return g.op(Pad(pads=(*(a for a, _ in pairs), *(b for _, b in pairs))), x)


def spatial_pairs(layer: Any, given: Any, rank: int) -> list[tuple[int, int]]:
    """(front, back) per spatial axis out of a layer's `padding` or `cropping`; 1D layers hold a single pair."""
    pairs = [given] if rank == 3 else given
    return [(int(front), int(back)) for front, back in pairs]
