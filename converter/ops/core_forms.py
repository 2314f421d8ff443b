"""What PyTorch's layers are in a program that was taken apart into core ATen: read by the rows of the layers.

Results that serve gradients alone (statistics, masks) are None: what reads one is refused.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from converter.ops.base import Op, Refusal, TorchCapture, torch_operation
from converter.ops.conv import Conv
from converter.ops.conv_transpose import ConvTranspose
from converter.ops.layer_norm import LayerNorm
from converter.ops.norm import BatchNormalization, GroupNormalization

One = tuple[ir.Value, None, None]


class _CoreForms(Op, abstract=True):
    """No op of its own."""

    @torch_operation("convolution.default")
    @staticmethod
    def convolution(
        g: TorchCapture,
        x: ir.Value,
        weight: ir.Value,
        bias: ir.Value | None,
        stride: tuple[int, ...],
        padding: tuple[int, ...],
        dilation: tuple[int, ...],
        transposed: bool,
        output_padding: tuple[int, ...],
        groups: int,
    ) -> ir.Value:
        if transposed:
            return ConvTranspose.aten(g, x, weight, bias, stride, padding, output_padding, groups, dilation)
        return Conv.aten(g, x, weight, bias, stride, padding, dilation, groups)

    @torch_operation("native_layer_norm.default")
    @staticmethod
    def layer_norm(
        g: TorchCapture,
        x: ir.Value,
        lengths: tuple[int, ...],
        weight: ir.Value | None,
        bias: ir.Value | None,
        eps: float,
    ) -> One:
        return LayerNorm.aten(g, x, lengths, weight, bias, eps, False), None, None

    @torch_operation("native_group_norm.default")
    @staticmethod
    def group_norm(
        g: TorchCapture,
        x: ir.Value,
        weight: ir.Value | None,
        bias: ir.Value | None,
        batch: Any,
        channels: Any,
        rest: Any,
        groups: int,
        eps: float,
    ) -> One:
        return GroupNormalization.aten(g, x, groups, weight, bias, eps, False), None, None

    @torch_operation("_native_batch_norm_legit_no_training.default")
    @staticmethod
    def batch_norm(
        g: TorchCapture,
        x: ir.Value,
        weight: ir.Value | None,
        bias: ir.Value | None,
        mean: ir.Value,
        var: ir.Value,
        momentum: float,
        eps: float,
    ) -> One:
        return BatchNormalization.aten(g, x, weight, bias, mean, var, False, momentum, eps, False), None, None

    @torch_operation("native_dropout.default")
    @staticmethod
    def dropout(g: TorchCapture, x: ir.Value, p: float, train: bool | None) -> tuple[ir.Value, None]:
        if train is not False:
            raise Refusal("it drops numbers at inference too.", "Use F.dropout(x, p, self.training).")
        return x, None
