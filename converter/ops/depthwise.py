"""Depthwise convolutions: each channel has windows of its own. Keras's kernel is (..., channels, multiplier)."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from converter.ops.base import Capture, Op, keras_layer
from converter.ops.conv import Conv, convolved, kernel_axes


def per_channel(g: Capture, kernel: Any) -> tuple[ir.Value, int]:
    """Keras's kernel as torch and ONNX have it, (channels * multiplier, 1, ...), and the number of channels."""
    rank = len(kernel.shape)
    channels, multiplier = (int(d) for d in kernel.shape[-2:])
    weight = g.variable(kernel, (rank - 2, rank - 1, *range(rank - 2)))
    return g.reshaped(weight, (channels * multiplier, 1, *(int(d) for d in kernel.shape[:-2]))), channels


class _Depthwise(Op, abstract=True):
    """No op of its own: a Conv whose groups are the channels."""

    @keras_layer("DepthwiseConv1D", "DepthwiseConv2D")
    @staticmethod
    def depthwise(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        weight, channels = per_channel(g, layer.kernel)
        weights = [weight, g.variable(layer.bias)] if layer.use_bias else [weight]
        y = convolved(g, layer, g.first(layer, x), weights, channels)
        return g.activate(layer.activation, g.last(layer, y))

    @keras_layer("SeparableConv1D", "SeparableConv2D")
    @staticmethod
    def separable(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        weight, channels = per_channel(g, layer.depthwise_kernel)
        y = convolved(g, layer, g.first(layer, x), [weight], channels, role="depthwise")
        ones = (1,) * len(layer.kernel_size)
        weights = [g.variable(layer.pointwise_kernel, kernel_axes(len(layer.pointwise_kernel.shape)))]
        if layer.use_bias:
            weights.append(g.variable(layer.bias))
        y = g.op(Conv(dilations=ones, kernel_shape=ones, strides=ones), y, *weights, role="pointwise")
        return g.activate(layer.activation, g.last(layer, y))
