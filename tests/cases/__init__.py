"""Test cases, one file per family of converter/ops; each row is a small Keras model that one option or layer shows."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ONE_WAY = Path(__file__).parent / "one_way.json"


@dataclass(frozen=True)
class Case:
    """One row.

    `make(keras)` returns a built keras.Model; it is called under the dtype policy of the test (float64 and float32),
    after keras.utils.set_random_seed. Spatial lengths and channels of a row are all distinct.
    `ids`: the vocabulary of integer inputs. `sizes`: lengths for unknown dims, each tried in turn.
    `one_way`: why the way back from PyTorch does not give the same layers and answers ('' where it does); the reasons
    stand in one_way.json, as they came out, and are compared with what comes out.
    `transposes`: run-time transpositions that the converted model may have with layout native.
    """

    id: str
    make: Callable[[Any], Any]
    ids: int = 0
    sizes: tuple[int, ...] = (6, 9)
    batches: tuple[int, ...] = (1, 3)
    one_way: str = ""
    transposes: int | None = None
    low: float | None = None
    high: float | None = None
    float64: str = ""
    """Why no backend computes this in float64 (then float32 alone is compared)."""
    ort: str = ""
    """Why onnxruntime cannot run this graph (then that rung is left out)."""


def unary(case_id: str, shape: tuple[int | None, ...], layer: Callable[[Any], Any], **options: Any) -> Case:
    """A row with one input of `shape` (without batch) and one layer."""

    def make(keras: Any) -> Any:
        x = keras.Input(shape, name="x")
        return keras.Model(x, layer(keras.layers)(x))

    return Case(case_id, make, **options)


def all_cases() -> list[Case]:
    """Every row of every family file."""
    found: list[Case] = []
    for family in pkgutil.iter_modules(__path__):
        found.extend(importlib.import_module(f"{__name__}.{family.name}").CASES)
    reasons = json.loads(ONE_WAY.read_text()) if ONE_WAY.exists() else {}
    found = [replace(case, one_way=reasons.get(case.id, "")) for case in found]
    ids = [case.id for case in found]
    if len(ids) != len(set(ids)):
        raise ValueError(f"case ids repeat: {sorted(i for i in ids if ids.count(i) > 1)}")
    return found
