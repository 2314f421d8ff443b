"""Rows of tests/torch_rows.py: PyTorch operations that make tensors of a shape, or one of another shape."""

from __future__ import annotations

from typing import Any

import torch

aten = torch.ops.aten
SEQUENCE = (2, 4, 6)

ROWS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "arange.default": (lambda m, x: x + torch.arange(6), SEQUENCE),
    "arange.start": (lambda m, x: x + torch.arange(2, 8), SEQUENCE),
    "arange.start_step": (lambda m, x: x + torch.arange(0, 12, 2), SEQUENCE),
    "broadcast_to.default": (lambda m, x: torch.broadcast_to(x[:, :1], (2, 4, 6)) + x, SEQUENCE),
    "copy.default": (lambda m, x: aten.copy(x, x[:, :1]) * x, SEQUENCE),
    "empty.memory_format": (lambda m, x: torch.empty(6).copy_(x[0, 0]) + x, SEQUENCE),
    "empty_like.default": (lambda m, x: torch.empty_like(x).copy_(x[:, :1]) + x, SEQUENCE),
    "expand.default": (lambda m, x: x[:, :1].expand(-1, 4, 6) + x, SEQUENCE),
    "expand_as.default": (lambda m, x: x[:, :1].expand_as(x) + x, SEQUENCE),
    "fill.Scalar": (lambda m, x: aten.fill(x, 2.0) * x, SEQUENCE),
    "fill.Tensor": (lambda m, x: aten.fill(x, m.fc.bias[0]) * x, SEQUENCE),
    "full.default": (lambda m, x: x + torch.full((6,), 2.0), SEQUENCE),
    "full_like.default": (lambda m, x: torch.cat([x, torch.full_like(x, 3.0)], 1), SEQUENCE),
    "new_empty.default": (lambda m, x: x.new_empty(6).copy_(x[0, 0]) + x, SEQUENCE),
    "new_full.default": (lambda m, x: x + x.new_full((6,), 2.0), SEQUENCE),
    "new_ones.default": (lambda m, x: x + x.new_ones(6), SEQUENCE),
    "new_zeros.default": (lambda m, x: x + x.new_zeros(6), SEQUENCE),
    "ones.default": (lambda m, x: x + torch.ones(6), SEQUENCE),
    "ones_like.default": (lambda m, x: x + torch.ones_like(x), SEQUENCE),
    "scalar_tensor.default": (lambda m, x: x + aten.scalar_tensor(2.0), SEQUENCE),
    "zero.default": (lambda m, x: aten.zero(x) + x, SEQUENCE),
    "zeros.default": (lambda m, x: x + torch.zeros(6), SEQUENCE),
    "zeros_like.default": (lambda m, x: torch.cat([x, torch.zeros_like(x)], 1), SEQUENCE),
}
