"""Classes and functions of PyTorch that are given for Keras layers."""

from __future__ import annotations

import torch
from torch import nn


class GatedTorch(nn.Module):
    """tests.own_layers.Gated in PyTorch."""

    def __init__(self, units: int, input_shape: tuple[int | None, ...]) -> None:
        super().__init__()
        self.dense = nn.Linear(input_shape[-1] or 1, units)
        self.norm = nn.LayerNorm(units, eps=1e-3)
        self.scale = nn.Parameter(torch.zeros(units))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(torch.relu(self.dense(x))) * (1 + self.scale)


class Lazy(GatedTorch):
    """The same, with a width that is found when it is called."""

    def __init__(self, units: int) -> None:
        super().__init__(units, (None, 1))
        self.dense = nn.LazyLinear(units)


class Wrong(GatedTorch):
    """Without the gate."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(torch.relu(self.dense(x)))


class TooFew(nn.Module):
    """One weight, of another shape."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale


def line(x: torch.Tensor, factor: float = 3.0) -> torch.Tensor:
    """A function for a layer or an activation."""
    return torch.clamp(x, min=0.0) * factor
