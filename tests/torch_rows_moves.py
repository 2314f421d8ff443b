"""Rows of tests/torch_rows.py: PyTorch operations that take, repeat or move elements, pad and resize."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

aten = torch.ops.aten
SEQUENCE, IMAGE, VOLUME = (2, 4, 6), (2, 4, 6, 8), (2, 4, 5, 6, 8)
IDS = torch.tensor([2, 0, 1])
PLACES = torch.tensor([[[0, 1, 3, 2, 1, 0], [3, 0, 1, 2, 3, 1]]] * 2)


def interpolations(mode: str, name: str) -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Rows for one, two and three axes, with lengths that are no multiples."""
    sizes = {1: (9,), 2: (9, 4), 3: (6, 3, 9)}
    shapes = {1: SEQUENCE, 2: IMAGE, 3: VOLUME}

    def row(rank: int) -> Any:
        return lambda m, x: F.interpolate(x, sizes[rank], mode=mode)

    return {name.format(rank): (row(rank), shapes[rank]) for rank in (1, 2, 3)}


ROWS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "chunk.default": (lambda m, x: torch.cat(x.chunk(3, 1)[::-1], 1), SEQUENCE),
    "flip.default": (lambda m, x: x.flip(1), SEQUENCE),
    "gather.default": (lambda m, x: x.gather(1, PLACES), SEQUENCE),
    "im2col.default": (lambda m, x: F.unfold(x, 3, padding=1), IMAGE),
    "index.Tensor": (lambda m, x: x[:, IDS], SEQUENCE),
    "index_select.default": (lambda m, x: x.index_select(2, IDS), SEQUENCE),
    "narrow.default": (lambda m, x: x.narrow(1, 1, 2), SEQUENCE),
    "repeat.default": (lambda m, x: x.repeat(1, 2, 3), SEQUENCE),
    "repeat_interleave.self_int": (lambda m, x: x.repeat_interleave(3, 1), SEQUENCE),
    "roll.default": (lambda m, x: x.roll((1, -2), (1, 2)), SEQUENCE),
    "scatter.src": (lambda m, x: x.scatter(1, PLACES, x * 2.0), SEQUENCE),
    "scatter.value": (lambda m, x: x.scatter(1, PLACES, 0.5), SEQUENCE),
    "scatter_add.default": (lambda m, x: x.scatter_add(1, PLACES, x * 2.0), SEQUENCE),
    "scatter_reduce.two": (lambda m, x: x.scatter_reduce(1, PLACES, x * 2.0, "amax"), SEQUENCE),
    "select.int": (lambda m, x: x[:, 1], SEQUENCE),
    "select_scatter.default": (lambda m, x: torch.select_scatter(x, x[:, 0], 1, 2), SEQUENCE),
    "slice.Tensor": (lambda m, x: x[:, 1:3], SEQUENCE),
    "slice_scatter.default": (lambda m, x: torch.slice_scatter(x, x[:, :2], 1, 1, 3), SEQUENCE),
    "split.Tensor": (lambda m, x: torch.cat(x.split(3, 1)[::-1], 1), SEQUENCE),
    "split.sizes": (lambda m, x: torch.cat(aten.split.sizes(x, [1, 3], 1)[::-1], 1), SEQUENCE),
    "split_with_sizes.default": (lambda m, x: torch.cat(x.split([1, 3], 1)[::-1], 1), SEQUENCE),
    "stack.default": (lambda m, x: torch.stack([x, x * 2.0], 1), SEQUENCE),
    "take_along_dim.default": (lambda m, x: torch.take_along_dim(x, PLACES, 1), SEQUENCE),
    "tensor_split.indices": (lambda m, x: torch.cat(x.tensor_split((1, 3), 1)[::-1], 1), SEQUENCE),
    "tensor_split.sections": (lambda m, x: torch.cat(x.tensor_split(3, 1)[::-1], 1), SEQUENCE),
    "tile.default": (lambda m, x: x.tile(2, 1), SEQUENCE),
    "unbind.int": (lambda m, x: torch.cat(x.unbind(1)[::-1], 1), SEQUENCE),
    "unfold.default": (lambda m, x: x.unfold(1, 2, 1), SEQUENCE),
    "unsafe_chunk.default": (lambda m, x: torch.cat(aten.unsafe_chunk(x, 3, 1)[::-1], 1), SEQUENCE),
    "unsafe_split.Tensor": (lambda m, x: torch.cat(aten.unsafe_split(x, 3, 1)[::-1], 1), SEQUENCE),
    "unsafe_split_with_sizes.default": (
        lambda m, x: torch.cat(aten.unsafe_split_with_sizes(x, [1, 3], 1)[::-1], 1),
        SEQUENCE,
    ),
    "embedding.default": (lambda m, x: F.embedding(IDS, m.fc.weight), SEQUENCE),
    "one_hot.default": (lambda m, x: F.one_hot(IDS, 4) * x[:, :1, :4], SEQUENCE),
    "constant_pad_nd.default": (lambda m, x: aten.constant_pad_nd(x, [1, -1, 0, 2], 0.5), SEQUENCE),
    "reflection_pad1d.default": (lambda m, x: aten.reflection_pad1d(x, [2, 1]), SEQUENCE),
    "reflection_pad2d.default": (lambda m, x: aten.reflection_pad2d(x, [2, 1, 0, 3]), IMAGE),
    "reflection_pad3d.default": (lambda m, x: aten.reflection_pad3d(x, [2, 1, 0, 3, 1, 1]), VOLUME),
    "replication_pad1d.default": (lambda m, x: aten.replication_pad1d(x, [2, 1]), SEQUENCE),
    "replication_pad2d.default": (lambda m, x: aten.replication_pad2d(x, [2, 1, 0, 3]), IMAGE),
    "replication_pad3d.default": (lambda m, x: aten.replication_pad3d(x, [2, 1, 0, 3, 1, 1]), VOLUME),
    "pixel_shuffle.default": (lambda m, x: F.pixel_shuffle(x, 2), IMAGE),
    "pixel_unshuffle.default": (lambda m, x: F.pixel_unshuffle(x, 2), IMAGE),
    "channel_shuffle.default": (lambda m, x: aten.channel_shuffle(x, 2), IMAGE),
    "native_channel_shuffle.default": (lambda m, x: aten.native_channel_shuffle(x, 2), IMAGE),
    **interpolations("nearest", "upsample_nearest{}d.vec"),
    **interpolations("nearest-exact", "_upsample_nearest_exact{}d.vec"),
    "upsample_linear1d.vec": (lambda m, x: F.interpolate(x, 9, mode="linear"), SEQUENCE),
    "upsample_bilinear2d.vec": (lambda m, x: F.interpolate(x, (9, 4), mode="bilinear"), IMAGE),
    "upsample_trilinear3d.vec": (lambda m, x: F.interpolate(x, (6, 3, 9), mode="trilinear"), VOLUME),
    "upsample_bicubic2d.vec": (lambda m, x: F.interpolate(x, (9, 4), mode="bicubic"), IMAGE),
    "_upsample_bilinear2d_aa.vec": (lambda m, x: F.interpolate(x, (4, 4), mode="bilinear", antialias=True), IMAGE),
}
