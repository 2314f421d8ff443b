"""Rows of tests/torch_rows.py: products of matrices, attention, normalisations, transposed convolutions, pooling."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

aten = torch.ops.aten
MATRIX, SEQUENCE, IMAGE, VOLUME = (3, 4), (2, 4, 6), (2, 4, 6, 8), (2, 4, 5, 6, 8)
GENERATOR = torch.Generator().manual_seed(0)
SQUARE, THREE, VECTOR, SIX = (torch.randn(shape, generator=GENERATOR) for shape in ((4, 4), (3,), (4,), (6,)))
KERNELS = {rank: torch.randn((4, 3, *[3] * rank), generator=GENERATOR) for rank in (1, 2, 3)}


def transposed(rank: int) -> Any:
    """A transposed convolution whose borders Keras has no padding for."""
    function = getattr(F, f"conv_transpose{rank}d")
    return lambda m, x: function(x, KERNELS[rank], THREE, stride=2, padding=1, output_padding=1)


ROWS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "matmul.default": (lambda m, x: x @ m.fc.weight.t(), MATRIX),
    "mm.default": (lambda m, x: torch.mm(x, SQUARE), MATRIX),
    "bmm.default": (lambda m, x: torch.bmm(x, x.transpose(1, 2)), SEQUENCE),
    "mv.default": (lambda m, x: torch.mv(x, VECTOR), MATRIX),
    "dot.default": (lambda m, x: x * torch.dot(VECTOR, x[0]), MATRIX),
    "outer.default": (lambda m, x: torch.outer(VECTOR, x[0]), MATRIX),
    "ger.default": (lambda m, x: torch.ger(VECTOR, x[0]), MATRIX),
    "addmm.default": (lambda m, x: torch.addmm(VECTOR, x, SQUARE, beta=0.5), MATRIX),
    "addmv.default": (lambda m, x: torch.addmv(x[:, 0], x, VECTOR, alpha=0.5), MATRIX),
    "baddbmm.default": (lambda m, x: torch.baddbmm(x[:, :, :1], x, x.transpose(1, 2), beta=0.5, alpha=2), SEQUENCE),
    "einsum.default": (lambda m, x: torch.einsum("bij,bkj->bik", x, x), SEQUENCE),
    "bilinear.default": (lambda m, x: F.bilinear(x, x, KERNELS[1][:, :, 0].T[:, :, None] * VECTOR, THREE), MATRIX),
    "scaled_dot_product_attention.default": (
        lambda m, x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
        SEQUENCE,
    ),
    "layer_norm.default": (lambda m, x: F.layer_norm(x, (6,), SIX, SIX), SEQUENCE),
    "rms_norm.default": (lambda m, x: F.rms_norm(x, (6,), SIX, 1e-6), SEQUENCE),
    "group_norm.default": (lambda m, x: F.group_norm(x, 2, VECTOR, VECTOR), IMAGE),
    "instance_norm.default": (lambda m, x: F.instance_norm(x, weight=VECTOR, bias=VECTOR), IMAGE),
    "conv_transpose1d.default": (transposed(1), SEQUENCE),
    "conv_transpose2d.input": (transposed(2), IMAGE),
    "conv_transpose3d.input": (transposed(3), VOLUME),
    "adaptive_max_pool1d.default": (lambda m, x: F.adaptive_max_pool1d(x, 4), SEQUENCE),
    "adaptive_max_pool2d.default": (lambda m, x: F.adaptive_max_pool2d(x, (4, 3)), IMAGE),
    "adaptive_max_pool3d.default": (lambda m, x: F.adaptive_max_pool3d(x, (2, 4, 3)), VOLUME),
    "max_pool1d_with_indices.default": (lambda m, x: aten.max_pool1d_with_indices(x, 2)[0], SEQUENCE),
    "max_pool2d_with_indices.default": (lambda m, x: aten.max_pool2d_with_indices(x, 2)[0], IMAGE),
    "max_pool3d_with_indices.default": (lambda m, x: aten.max_pool3d_with_indices(x, 2)[0], VOLUME),
    "glu.default": (lambda m, x: F.glu(x, 1), SEQUENCE),
    "prelu.default": (lambda m, x: F.prelu(x, VECTOR), IMAGE),
}
