"""Cropping: elements left out at the borders of the spatial axes."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from converter.ops.base import Capture, Op, keras_layer
from converter.ops.indexing import END, Slice
from converter.ops.pad_same import spatial_pairs


class _Cropping(Op, abstract=True):
    """No op of its own."""

    @keras_layer("Cropping1D", "Cropping2D", "Cropping3D")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        first = 2 if getattr(layer, "data_format", "channels_last") == "channels_first" else 1
        pairs = spatial_pairs(layer, layer.cropping, len(g.shape(x)))
        return sliced(g, x, {first + i: (front, -back or END) for i, (front, back) in enumerate(pairs)})


def sliced(g: Capture, x: ir.Value, bounds: dict[int, tuple[int, int]]) -> ir.Value:
    """`x` between a start and an end along some axes; `x` itself where nothing is left out."""
    kept = {axis: (start, end) for axis, (start, end) in bounds.items() if (start, end) != (0, END)}
    if not kept:
        return x
    starts, ends = zip(*kept.values(), strict=True)
    return g.op(Slice(starts=starts, ends=ends, axes=tuple(kept), steps=(1,) * len(kept)), x)
