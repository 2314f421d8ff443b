"""Families of tests/core_aten.py: parts, ids, padding, products, attention, normalisation, pooling, resizing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Rows = dict[str, Callable[..., Any]]


def floats(*shape: int) -> Tensor:
    """Seeded floats."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def sequence() -> tuple[Tensor, ...]:
    return (floats(3, 5, 4),)


def turned() -> tuple[Tensor, ...]:
    """The same lengths, in memory that is not contiguous."""
    return (floats(4, 3, 5).permute(1, 2, 0),)


def numbers() -> tuple[Tensor, ...]:
    return (torch.arange(60).reshape(3, 5, 4) - 30,)


def image() -> tuple[Tensor, ...]:
    return (floats(2, 4, 6, 7),)


def volume() -> tuple[Tensor, ...]:
    return (floats(2, 4, 3, 4, 5),)


def places() -> tuple[Tensor, ...]:
    """A tensor, ids for its axes, and ids of its rank."""
    return floats(4, 5, 6), torch.tensor([0, 3, 2, 1]), torch.tensor([[[0, 1], [2, 1]]] * 4)


def matrices() -> tuple[Tensor, ...]:
    return floats(3, 5, 4), floats(3, 4, 2), floats(4, 4), floats(4)


def heads() -> tuple[Tensor, ...]:
    """Queries, keys, values, a float mask and one of truth values; no row of the masks hides everything."""
    mask = floats(5, 6)
    return floats(2, 4, 5, 8), floats(2, 4, 6, 8), floats(2, 4, 6, 3), mask, mask.abs() > 0.4


def scaled() -> tuple[Tensor, ...]:
    return (floats(2, 4, 6),)


PARTS: Rows = {
    "slice": lambda x: x[:, 1:],
    "slice_end": lambda x: x[:, :-1],
    "slice_step": lambda x: x[:, ::2],
    "slice_range": lambda x: x[:, -3:-1, 1:4:2],
    "slice_beyond": lambda x: x[:, -100:100],
    "slice_batch": lambda x: x[1:],
    "slice_empty": lambda x: torch.cat([x[:, 5:2], x], 1),
    "select": lambda x: x[:, -1],
    "select_two": lambda x: x[:, 1, 2],
    "select_last": lambda x: x[..., 0],
    "narrow": lambda x: x.narrow(-1, -2, 2),
    "flip": lambda x: x.flip(1, -1),
    "split": lambda x: x.split(2, 1),
    "split_sizes": lambda x: x.split([1, 3, 1], -2),
    "chunk": lambda x: x.chunk(3, -1),
    "tensor_split": lambda x: torch.tensor_split(x, 3, 1),
    "tensor_split_at": lambda x: torch.tensor_split(x, (1, 3), 1),
    "unbind": lambda x: x.unbind(-1),
    "stack": lambda x: torch.stack([x, x + x], -1),
    "cat": lambda x: torch.cat([x, x[:, :2]], -2),
    "repeat": lambda x: x.repeat(1, 2, 3),
    "repeat_more": lambda x: x.repeat(2, 1, 1, 2),
    "tile": lambda x: torch.tile(x, (2, 1)),
    "repeat_each": lambda x: x.repeat_interleave(2, 1),
    "roll": lambda x: torch.roll(x, (-1, 7), (1, 2)),
    "unfold": lambda x: x.unfold(1, 3, 2),
    "slice_scatter": lambda x: torch.slice_scatter(x, x[:, 1:3] + 1, 1, 2, 4),
    "select_scatter": lambda x: torch.select_scatter(x, x[:, 0] + 1, 1, -1),
    "diagonal": lambda x: x.diagonal(-1, 1, 2),
    "swapaxes": lambda x: x.swapaxes(1, 2),
    "movedim": lambda x: x.movedim(1, -1),
    "hstack": lambda x: torch.hstack([x, x]),
}
TAKEN: Rows = {
    "index_select": lambda x, i, j: x.index_select(-1, i),
    "gather": lambda x, i, j: x.gather(1, j),
    "gather_last": lambda x, i, j: x.gather(2, j),
    "take_along": lambda x, i, j: torch.take_along_dim(x[..., :2], j[:1], 1),
    "index": lambda x, i, j: x[:, i],
    "index_from_end": lambda x, i, j: x[:, i - 3],
    "index_pair_from_end": lambda x, i, j: x[:, i - 3, i - 4],
    "index_last": lambda x, i, j: x[..., i],
    "index_matrix": lambda x, i, j: x[:, j[0]],
    "index_pair": lambda x, i, j: x[:, i, i],
    "index_apart": lambda x, i, j: x[i, :, i],
    "one_hot": lambda x, i, j: F.one_hot(j, 3),
}
WRITTEN: Rows = {
    "scatter": lambda x, i, j: x.scatter(1, j, x[:, :2, :2] + 1),
    "scatter_value": lambda x, i, j: x.scatter(1, j, 3.0),
    "scatter_add": lambda x, i, j: x.scatter_add(1, j, x[:, :2, :2]),
    "scatter_most": lambda x, i, j: x.scatter_reduce(1, j, x[:, 1:3, 1:3], "amax"),
    "scatter_product": lambda x, i, j: x.scatter_reduce(1, j, x[:, 1:3, 1:3], "prod"),
    "index_put": lambda x, i, j: x.index_put((i, i), x[:, 0, :]),
    "index_put_added": lambda x, i, j: x.index_put((i,), x + 1, accumulate=True),
}
PADDED: Rows = {
    "constant": lambda x: F.pad(x, (1, 2, 0, 3), value=0.5),
    "negative": lambda x: F.pad(x, (-1, 2, 1, -2)),
    "reflect": lambda x: F.pad(x, (1, 2, 3, 0), mode="reflect"),
    "replicate": lambda x: F.pad(x, (1, 2, 3, 0), mode="replicate"),
    "circular": lambda x: F.pad(x, (1, 2, 3, 0), mode="circular"),
    "windows": lambda x: F.unfold(x, (2, 3), (1, 2), (1, 2), (2, 1)),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x, 2),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(x[..., :6], 3),
    "channel_shuffle": lambda x: torch.channel_shuffle(x, 2),
    "glu": lambda x: F.glu(x, 1),
}
PRODUCTS: Rows = {
    "matmul": lambda a, b, s, v: a @ b,
    "matmul_rank": lambda a, b, s, v: a @ b[0],
    "matmul_vector": lambda a, b, s, v: a @ v,
    "bmm": lambda a, b, s, v: torch.bmm(a, b),
    "addmm": lambda a, b, s, v: torch.addmm(v, s, s, beta=0.5, alpha=2),
    "baddbmm": lambda a, b, s, v: torch.baddbmm(a[:, :, :1], a, b, beta=0.5),
    "outer": lambda a, b, s, v: torch.outer(v, v),
    "linear": lambda a, b, s, v: F.linear(a, s, v),
    "linear_computed": lambda a, b, s, v: F.linear(a, s + 1, v * 2),
    "einsum": lambda a, b, s, v: torch.einsum("bij,bjk->bik", a, b),
    "einsum_implied": lambda a, b, s, v: torch.einsum("b i j, b j k", a, b),
    "einsum_dots": lambda a, b, s, v: torch.einsum("...ij,jk->...ik", a, s),
    "einsum_sum": lambda a, b, s, v: torch.einsum("bij->b", a),
    "cdist": lambda a, b, s, v: torch.cdist(a, s[None] + 2),
    "cdist_sizes": lambda a, b, s, v: torch.cdist(a, s[None], p=1.0),
}
attention = F.scaled_dot_product_attention
ATTENTION: Rows = {
    "plain": lambda q, k, v, m, b: attention(q, k, v),
    "causal": lambda q, k, v, m, b: attention(q, k, v, is_causal=True),
    "added": lambda q, k, v, m, b: attention(q, k, v, attn_mask=m),
    "hidden": lambda q, k, v, m, b: attention(q, k, v, attn_mask=b),
    "scaled": lambda q, k, v, m, b: attention(q, k, v, scale=0.3),
    "grouped": lambda q, k, v, m, b: attention(q, k[:, :2], v[:, :2], enable_gqa=True),
    "rank_3": lambda q, k, v, m, b: attention(q[:, 0], k[:, 0], v[:, 0]),
    "nowhere": lambda q, k, v, m, b: attention(q, k, v, attn_mask=b & (m[:, :1] > 0)),
}
NORMS: Rows = {
    "layer_norm": lambda x: F.layer_norm(x, (6,), x[0, 0], x[0, 1]),
    "layer_norm_plain": lambda x: F.layer_norm(x, (6,)),
    "layer_norm_two": lambda x: F.layer_norm(x, (4, 6), x[0]),
    "rms_norm": lambda x: F.rms_norm(x, (6,), x[0, 0], 1e-6),
    "rms_norm_plain": lambda x: F.rms_norm(x, (4, 6), None, 1e-3),
    "group_norm": lambda x: F.group_norm(x, 2),
    "group_norm_rank_2": lambda x: F.group_norm(x[:, :, 0], 2),
    "instance_norm": lambda x: F.instance_norm(x),
}
POOLS: Rows = {
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, (4, 3)),
    "adaptive_equal": lambda x: F.adaptive_avg_pool2d(x, (3, 7)),
    "adaptive_kept": lambda x: F.adaptive_avg_pool2d(x, (None, 7)),
    "adaptive_max": lambda x: F.adaptive_max_pool2d(x, (4, 3)),
    "divisor": lambda x: F.avg_pool2d(x, 3, 2, 1, divisor_override=5),
    "counted": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "uncounted": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "ceiled": lambda x: F.avg_pool2d(x, 3, 2, ceil_mode=True),
    "ceiled_counted": lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
    "ceiled_uncounted": lambda x: F.avg_pool2d(x, 2, 2, 1, ceil_mode=True, count_include_pad=False),
    "max_padded": lambda x: F.max_pool2d(x, 3, 2, 1),
    "max_ceiled": lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    "lp": lambda x: F.lp_pool2d(x.abs() + 0.1, 2, 2),
}
resize = F.interpolate
RESIZED: Rows = {
    "nearest": lambda x: resize(x, size=(9, 5)),
    "nearest_factor": lambda x: resize(x, scale_factor=(1, 3)),
    "nearest_smaller": lambda x: resize(x, size=(3, 4)),
    "exact": lambda x: resize(x, size=(9, 5), mode="nearest-exact"),
    "linear": lambda x: resize(x, size=(9, 5), mode="bilinear"),
    "linear_factor": lambda x: resize(x, scale_factor=2, mode="bilinear"),
    "linear_corners": lambda x: resize(x, size=(9, 5), mode="bilinear", align_corners=True),
    "linear_corner": lambda x: resize(x, size=(1, 3), mode="bilinear", align_corners=True),
    "cubic": lambda x: resize(x, size=(9, 5), mode="bicubic"),
    "cubic_corners": lambda x: resize(x, size=(12, 14), mode="bicubic", align_corners=True),
}
DEEP: Rows = {
    "trilinear": lambda x: resize(x, size=(2, 6, 9), mode="trilinear"),
    "nearest": lambda x: resize(x, size=(2, 6, 9)),
    "adaptive": lambda x: F.adaptive_max_pool3d(x, (2, 3, 2)),
    "replicate": lambda x: F.pad(x, (1, 2, 1, 0, 0, 1), mode="replicate"),
    "reflect": lambda x: F.pad(x, (1, 2, 1, 0, 0, 1), mode="reflect"),
}
