"""PyTorch's modules that have parameters, to Keras: equal in float64, and every parameter arrives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import converter
from converter.errors import Unsupported
from tests.test_way_back import seeded

Row = tuple[nn.Module, tuple[tuple[int, ...], ...]]


class Attention(nn.Module):
    """Attention of a sequence to itself, without the weights that it looks with."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **options)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.attention(x, x, x, need_weights=False)[0]
        return made


class Between(nn.Module):
    """Attention of one sequence to another, with the weights that it looks with."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **options)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        made: tuple[Tensor, Tensor] = self.attention(x, y, y)
        return made


class Words(nn.Module):
    """A table that numbers look rows up in: ids below 7, made of the input."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 5, **options)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.table((x.abs() * 3).clamp(max=6).long())
        return made


class Queries(nn.Module):
    """Tokens that are trained, repeated for every element of the batch and put before the sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.zeros(1, 2, 8))
        self.fc = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.tokens.repeat(x.shape[0], 1, 1), self.fc(x)], 1)


LINE, PLANE, SPACE = (2, 4, 9), (2, 4, 6, 7), (2, 4, 3, 4, 5)
ROWS: dict[str, Row] = {
    "ConvTranspose1d": (nn.ConvTranspose1d(4, 3, 3), (LINE,)),
    "ConvTranspose1d strided": (nn.ConvTranspose1d(4, 3, 4, 2, padding=1, output_padding=1), (LINE,)),
    "ConvTranspose1d dilated": (nn.ConvTranspose1d(4, 6, 3, dilation=2, bias=False), (LINE,)),
    "ConvTranspose2d": (nn.ConvTranspose2d(4, 3, 3), (PLANE,)),
    "ConvTranspose2d doubled": (nn.ConvTranspose2d(4, 3, 4, 2, 1), (PLANE,)),
    "ConvTranspose2d uneven": (nn.ConvTranspose2d(4, 3, (3, 5), (2, 3), (1, 0), (1, 2), bias=False), (PLANE,)),
    "ConvTranspose2d dilated": (nn.ConvTranspose2d(4, 3, 3, padding=1, dilation=2), (PLANE,)),
    "ConvTranspose3d": (nn.ConvTranspose3d(4, 3, 2, 2), (SPACE,)),
    "ConvTranspose3d padded": (nn.ConvTranspose3d(4, 2, 3, (1, 2, 2), 1, (0, 1, 1)), (SPACE,)),
    "GroupNorm": (nn.GroupNorm(2, 4), (PLANE,)),
    "GroupNorm of a line": (nn.GroupNorm(4, 4, eps=0.1), (LINE,)),
    "GroupNorm plain": (nn.GroupNorm(1, 4, affine=False), (PLANE,)),
    "InstanceNorm1d": (nn.InstanceNorm1d(4, affine=True), (LINE,)),
    "InstanceNorm2d": (nn.InstanceNorm2d(4, affine=True, eps=0.01), (PLANE,)),
    "InstanceNorm2d plain": (nn.InstanceNorm2d(4), (PLANE,)),
    "InstanceNorm2d tracked": (nn.InstanceNorm2d(4, affine=True, track_running_stats=True), (PLANE,)),
    "InstanceNorm3d": (nn.InstanceNorm3d(4, affine=True), (SPACE,)),
    "PReLU": (nn.PReLU(), (PLANE,)),
    "PReLU per channel": (nn.PReLU(4), (PLANE,)),
    "PReLU of rows": (nn.PReLU(6), ((3, 6),)),
    "LayerNorm": (nn.LayerNorm(9, eps=1e-3), (LINE,)),
    "LayerNorm of two axes": (nn.LayerNorm((4, 9)), (LINE,)),
    "LayerNorm of an image": (nn.LayerNorm((4, 6, 7), bias=False), (PLANE,)),
    "LayerNorm plain": (nn.LayerNorm((6, 7), elementwise_affine=False), (PLANE,)),
    "RMSNorm": (nn.RMSNorm(9, eps=1e-5), (LINE,)),
    "RMSNorm of two axes": (nn.RMSNorm((4, 9), eps=1e-3), (LINE,)),
    "Bilinear": (nn.Bilinear(4, 5, 3), ((2, 4), (2, 5))),
    "Bilinear of steps": (nn.Bilinear(4, 5, 3, bias=False), ((2, 6, 4), (2, 6, 5))),
    "Embedding": (Words(), ((2, 6),)),
    "Embedding padded": (Words(padding_idx=0), ((2, 6),)),
    "MultiheadAttention": (Attention(), ((2, 5, 8),)),
    "MultiheadAttention plain": (Attention(bias=False), ((2, 5, 8),)),
    "MultiheadAttention with a bias of keys": (Attention(add_bias_kv=True), ((2, 5, 8),)),
    "MultiheadAttention between": (Between(kdim=6, vdim=6), ((2, 5, 8), (2, 4, 6))),
    "tokens for a batch": (Queries(), ((2, 5, 8),)),
    "TransformerEncoderLayer": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), ((2, 5, 8),)),
    "TransformerEncoderLayer norm first": (
        nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True, norm_first=True),
        ((2, 5, 8),),
    ),
    "TransformerEncoder": (
        nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False),
        ((2, 5, 8),),
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_module(name: str) -> None:
    """Proven in float64, with weights that are none of 0 and 1."""
    module, shapes = ROWS[name]
    module = seeded(module).eval()
    given = tuple(torch.randn(shape, generator=torch.Generator().manual_seed(1)) for shape in shapes)
    made = converter.convert(module, "keras", example_inputs=given, layout="source")
    assert made.report.passed, str(made.report)
    assert made.report.proof, str(made.report)
    assert sum(p.numel() for p in module.parameters()) == sum(
        int(np.prod(w.shape)) for w in made.model.trainable_weights
    )


REFUSED: dict[str, tuple[Row, str]] = {
    "ConvTranspose2d grouped": ((nn.ConvTranspose2d(4, 6, 3, 2, 1, groups=2), (PLANE,)), "has no groups"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    (module, shapes), why = REFUSED[name]
    with pytest.raises(Unsupported, match=why):
        converter.convert(module, "keras", example_inputs=tuple(torch.zeros(shape) for shape in shapes))
