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

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.register_buffer("like", torch.zeros((), dtype=dtype))

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


class AxesLayerNorm(nn.LayerNorm):
    """Layer normalisation over the axes `dim`; the weights have the lengths of these axes."""

    def __init__(
        self, shape: Sequence[int], dim: Sequence[int], eps: float, elementwise_affine: bool = True, bias: bool = True
    ) -> None:
        super().__init__(list(shape), eps, elementwise_affine, bias)
        self.dim = tuple(dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        var, mean = torch.var_mean(x, self.dim, correction=0, keepdim=True)
        x = (x - mean) * torch.rsqrt(var + self.eps)
        shape = [n if i in self.dim else 1 for i, n in enumerate(x.shape)]
        if self.weight is not None:
            x = x * self.weight.view(shape)
        return x if self.bias is None else x + self.bias.view(shape)


class AxesRMSNorm(nn.RMSNorm):
    """Root mean square normalisation over the axes `dim`; the weight has the lengths of these axes."""

    def __init__(self, shape: Sequence[int], dim: Sequence[int], eps: float) -> None:
        super().__init__(list(shape), eps)
        self.dim = tuple(dim)
        self.epsilon = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x * torch.rsqrt((x * x).mean(self.dim, keepdim=True) + self.epsilon)
        shape = [n if i in self.dim else 1 for i, n in enumerate(x.shape)]
        return x * self.weight.view(shape)


class BatchRenorm(nn.Module):
    """Batch renormalisation of channels (axis 1): training corrects the batch's statistics towards the running ones."""

    running_mean: torch.Tensor
    running_var: torch.Tensor
    running_std: torch.Tensor
    renorm_mean: torch.Tensor
    renorm_std: torch.Tensor

    def __init__(
        self,
        channels: int,
        eps: float,
        momentum: float,
        renorm_momentum: float,
        rmin: float | None = None,
        rmax: float | None = None,
        dmax: float | None = None,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        self.eps, self.momentum, self.renorm_momentum = eps, momentum, renorm_momentum
        self.rmin, self.rmax, self.dmax, self.frozen = rmin, rmax, dmax, frozen
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        for name in ("running_mean", "renorm_mean"):
            self.register_buffer(name, torch.zeros(channels))
        for name in ("running_var", "running_std", "renorm_std"):
            self.register_buffer(name, torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.frozen:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        var, mean = torch.var_mean(x, [0, *range(2, x.ndim)], correction=0)
        std = torch.sqrt(var + self.eps)
        with torch.no_grad():
            known = self.renorm_std.clamp(min=math.sqrt(self.eps))
            r, d = std / known, (mean - self.renorm_mean) / known
            if self.rmin is not None or self.rmax is not None:
                r = r.clamp(self.rmin, self.rmax)
            if self.dmax is not None:
                d = d.clamp(-self.dmax, self.dmax)
            self.renorm_mean.lerp_(mean, self.renorm_momentum)
            self.renorm_std.lerp_(std, self.renorm_momentum)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_std.lerp_(std, self.momentum)
            self.running_var.copy_((self.running_std**2 - self.eps).clamp(min=0))
        return F.batch_norm(x, None, None, r * self.weight, d * self.weight + self.bias, True, eps=self.eps)


def average_pool_same(x: torch.Tensor, kernel: Sequence[int], stride: Sequence[int]) -> torch.Tensor:
    """Mean of windows that give ceil(size / stride) outputs; what lies outside of the input does not count."""
    pads: list[int] = []
    for size, k, s in reversed(list(zip(x.shape[2:], kernel, stride))):
        total = max((-(-size // s) - 1) * s + k - size, 0)
        pads += [total // 2, total - total // 2]
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[x.dim() - 3]
    inside = pool(F.pad(torch.ones_like(x[:1, :1]), pads), tuple(kernel), tuple(stride))
    return pool(F.pad(x, pads), tuple(kernel), tuple(stride)) / inside


def resample(x: torch.Tensor, size: Sequence[int], kernel: str, antialias: bool = False) -> torch.Tensor:
    """Resize height and width: each output is a mean of inputs, weighted by a kernel around its centre.

    The centre of output i is (i + 0.5) * n / m - 0.5 among n inputs for m outputs. With `antialias` the kernel is
    stretched by n / m where that is above 1. "area" weighs by overlap.
    """
    for dim, count in ((2, size[0]), (3, size[1])):
        scale = x.shape[dim] / count
        stretch = max(scale, 1.0) if antialias else 1.0
        center = (torch.arange(count, dtype=x.dtype, device=x.device) + 0.5) * scale - 0.5
        offset = torch.arange(x.shape[dim], dtype=x.dtype, device=x.device) - center[:, None]
        d = offset.abs() / stretch
        if kernel == "area":
            weight = ((offset + 0.5).clamp(max=scale / 2) - (offset - 0.5).clamp(min=-scale / 2)).clamp(min=0)
        elif kernel == "bilinear":
            weight = (1 - d).clamp(min=0)
        elif kernel == "bicubic":
            near, far = ((1.5 * d - 2.5) * d) * d + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2
            weight = torch.where(d < 1, near, torch.where(d < 2, far, 0))
        else:
            radius = {"lanczos3": 3, "lanczos5": 5}[kernel]
            wave = torch.sinc(d) * torch.sinc(d / radius)
            weight = torch.where(d <= 1e-3, 1, torch.where(d <= radius, wave, 0))
        weight = weight / weight.sum(1, keepdim=True)
        x = weight @ x if dim == 2 else x @ weight.T
    return x


def aspect_crop(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """The largest window in the middle of the image that has the proportions of `size`."""
    height, width = x.shape[2], x.shape[3]
    h = max(min(height, width * size[0] // size[1]), 1)
    w = max(min(width, height * size[1] // size[0]), 1)
    top, left = (height - h) // 2, (width - w) // 2
    return x[:, :, top : top + h, left : left + w]


def aspect_pad(x: torch.Tensor, size: Sequence[int], value: float) -> torch.Tensor:
    """The image with equal borders of `value`, so that it has the proportions of `size`."""
    height, width = x.shape[2], x.shape[3]
    top = (max(height, width * size[0] // size[1]) - height) // 2
    left = (max(width, height * size[1] // size[0]) - width) // 2
    return F.pad(x, (left, left, top, top), value=value)


def center_crop(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """The middle of the image; of one that is too small, the largest window of these proportions, resized."""
    height, width = x.shape[2], x.shape[3]
    h, w = size
    if height < h or width < w:
        h = max(min(height, width * size[0] // size[1]), 1)
        w = max(min(width, height * size[1] // size[0]), 1)
    top, left = (height - h) // 2, (width - w) // 2
    x = x[:, :, top : top + h, left : left + w]
    return x if (h, w) == tuple(size) else F.interpolate(x, size=tuple(size), mode="bilinear")
