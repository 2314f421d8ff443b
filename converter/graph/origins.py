"""Where the numbers of an initializer come from: a weight of the source, and every step since then."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from converter.ops import base
from converter.ops.base import Perm

PART = 1 << 23
"""Bytes of a large array that are moved at a time."""

Step = tuple[Any, ...]
"""('T', perm), ('R', shape) or ('O', axis, order, why): one transposition, reshape or reordering."""


@dataclass(frozen=True)
class Origin:
    """Where an initializer's numbers come from: the source's own name of the weight, and every step since then."""

    path: str
    trainable: bool
    steps: tuple[Step, ...] = ()

    def then(self, *step: Any) -> Origin:
        """The same weight, one step further."""
        if step[0] == "T" and self.steps and self.steps[-1][0] == "T":
            both = tuple(self.steps[-1][1][p] for p in step[1])
            return replace(self, steps=(*self.steps[:-1], ("T", both)))
        return replace(self, steps=(*self.steps, step))

    @property
    def axes(self) -> Perm | None:
        """The transposition that comes first; None where the axes stay."""
        first = self.steps[0] if self.steps else ("",)
        return first[1] if first[0] == "T" and first[1] != tuple(range(len(first[1]))) else None

    @property
    def transform(self) -> str:
        """What comes after the first transposition, in words."""
        rest = self.steps[1:] if self.steps and self.steps[0][0] == "T" else self.steps
        words = {"T": "transposed {}", "R": "reshaped to {}", "O": "{2} (axis {0})"}
        return "; ".join(words[kind].format(*args) for kind, *args in rest)

    def undo(self, data: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The source's own array, of this shape, from the array that `replay` makes of it."""
        if not self.steps:
            return data
        if all(kind == "T" for kind, *_ in self.steps):
            for _, perm in reversed(self.steps):
                data = data.transpose(base.inverse(perm))
            return data
        made = np.empty(data.size, data.dtype)
        made[self.replay(np.arange(data.size).reshape(shape)).ravel()] = data.ravel()
        return made.reshape(shape)

    def replay(self, data: np.ndarray) -> np.ndarray:
        """The steps, on the source's own array."""
        for kind, *args in self.steps:
            if kind == "T":
                data = data.transpose(args[0])
            elif kind == "R":
                data = data.reshape(args[0])
            else:
                data = taken(data, np.asarray(args[1]), args[0])
        return data


def origin(value: ir.Value) -> Origin | None:
    """Where the numbers of an initializer come from; None for what is no weight of the source."""
    return value.meta.get("origin")


def taken(data: np.ndarray, order: np.ndarray, axis: int) -> np.ndarray:
    """`data.take(order, axis)` in C order; a large array by parts, for numpy would copy a transposed one first."""
    if data.nbytes < PART or data.ndim != 2 or axis % 2 != 1:
        return data.take(order, axis)
    made = np.empty((data.shape[0], len(order)), data.dtype)
    rows = max(1, PART // max(1, data[:1].nbytes))
    for start in range(0, len(data), rows):
        made[start : start + rows] = data[start : start + rows][:, order]
    return made
