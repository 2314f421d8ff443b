"""What this process has converted: how the weights and axes of a live model belong to those of its source."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Made:
    """How a target was made. `weights`: (the source's path, the target's key, how its numbers go over); `turns` as in
    Conversion."""

    weights: tuple[tuple[str, str, Any], ...]
    turns: tuple[Any, ...]


_known: weakref.WeakKeyDictionary[Any, Made] = weakref.WeakKeyDictionary()


def remember(model: Any, weights: Sequence[tuple[str, str, Any]], turns: Sequence[Any]) -> None:
    """Note how a live model was made, for as long as it lives."""
    try:
        _known[model] = Made(tuple(weights), tuple(turns))
    except TypeError:  # an ONNX model cannot be referred to weakly
        return


def how(model: Any) -> Made | None:
    """How a live model was made; None where this process did not make it."""
    try:
        return _known.get(model)
    except TypeError:
        return None
