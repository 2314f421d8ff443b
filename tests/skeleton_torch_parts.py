"""What PyTorch lacks for tests/skeleton_op.py."""

from __future__ import annotations

import torch
from torch import nn


class Smooth(nn.Module):
    """h = decay * h + x[:, t] @ weight at every step that counts, else h as it was: all h, and the last one."""

    kconvert = "Smooth"

    def __init__(self, features: int, units: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(features, units))
        self.decay = nn.Parameter(torch.zeros(units))

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        x = x @ self.weight
        h, steps = torch.zeros_like(x[:, 0]), []
        for t in range(x.shape[1]):
            after = self.decay * h + x[:, t]
            h = after if mask is None else torch.where(mask[:, t, None], after, h)
            steps.append(h)
        return torch.stack(steps, 1), h


class Bare(Smooth):
    """A class of another package, which a row names."""
