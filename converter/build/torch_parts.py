"""Small pieces that torch lacks. Their text is copied into the generated file where a model needs them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn


def pad_same(
    x: torch.Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], value: float = 0.0
) -> torch.Tensor:
    """Pad the spatial axes so that a window gives ceil(size / stride) outputs; the odd element goes behind."""
    pads: list[int] = []
    for size, k, s, d in reversed(list(zip(x.shape[2:], kernel, stride, dilation))):
        total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads, value=value)


class FrozenBatchNorm1d(nn.BatchNorm1d):
    """Batch normalisation that keeps its running statistics while the model trains."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation that keeps its running statistics while the model trains."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class FrozenBatchNorm3d(nn.BatchNorm3d):
    """Batch normalisation that keeps its running statistics while the model trains."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class ToFloat(nn.Module):
    """Casts to the dtype that the model computes in, also after `.double()` or `.half()`."""

    like: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("like", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.to(self.like.dtype)


class SharedDropout(nn.Module):
    """Dropout whose mask has the given shape, -1 for the input's own length, and is broadcast over the input."""

    def __init__(self, p: float, shape: Sequence[int]) -> None:
        super().__init__()
        self.p = p
        self.shape = tuple(shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        mask = x.new_ones([own if n == -1 else n for n, own in zip(self.shape, x.shape)])
        return x * F.dropout(mask, self.p)


class SharedAlphaDropout(nn.Module):
    """Alpha dropout whose mask has the given shape, -1 for the input's own length, and is broadcast over the input."""

    def __init__(self, p: float, shape: Sequence[int]) -> None:
        super().__init__()
        self.p = p
        self.shape = tuple(shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0:
            return x
        limit = -1.7580993408473766  # SELU's value at minus infinity
        keep = torch.rand([own if n == -1 else n for n, own in zip(self.shape, x.shape)], device=x.device) >= self.p
        scale = 1 / math.sqrt((1 - self.p) * (1 + self.p * limit**2))
        return scale * torch.where(keep, x, limit) - scale * limit * self.p


class GaussianNoise(nn.Module):
    """Adds normal noise while the model trains."""

    def __init__(self, stddev: float) -> None:
        super().__init__()
        self.stddev = stddev

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.stddev * torch.randn_like(x) if self.training else x


class GaussianDropout(nn.Module):
    """Multiplies with normal noise of mean 1 and standard deviation sqrt(p / (1 - p)) while the model trains."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0:
            return x
        return x * (1 + math.sqrt(self.p / (1 - self.p)) * torch.randn_like(x))


def sparsemax(x: torch.Tensor, dim: int) -> torch.Tensor:
    """Keras's sparsemax along `dim`: the threshold comes from the sum of all partial sums of the support."""
    ordered = x.movedim(dim, -1).sort(-1, descending=True).values
    partial = ordered.cumsum(-1)
    rank = torch.arange(1, x.shape[dim] + 1, dtype=x.dtype, device=x.device)
    support = ordered > (partial - 1) / rank
    total = torch.where(support, partial, 0.0).sum(-1, keepdim=True)
    cut = (total - 1) / support.sum(-1, keepdim=True)
    return (x - cut.movedim(-1, dim)).clamp(min=0)
