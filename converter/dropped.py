"""What a Keras model holds that its conversion does not: regularizers, constraints, initializers, compile()."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from converter.report import Remark

KINDS = ("regularizer", "constraint", "initializer")


def dropped_of(model: Any, compiled: Mapping[str, str]) -> list[str]:
    """A remark for each regularizer and constraint of a layer, one of all initializers, one of compile()."""
    found: list[str] = []
    if compiled:
        found.append("compile(): " + ", ".join(f"{key} {value}" for key, value in compiled.items()))
    initializers: dict[str, None] = {}
    for layer in _layers(model):
        for name, value in sorted(vars(layer).items()):
            kind = name.rpartition("_")[2]
            if value is None or name.startswith("_") or kind not in KINDS:
                continue
            if kind == "initializer":
                initializers[_word(value)] = None
            else:
                found.append(Remark(str(layer.name), f"{name} {_word(value)}"))
    if initializers:
        found.append(f"initializers ({', '.join(initializers)})")
    return found


def _layers(model: Any) -> Iterator[Any]:
    """Every layer, those of nested models and wrappers too, each once."""
    seen: set[int] = set()
    ahead = list(reversed(getattr(model, "layers", ())))
    while ahead:
        layer = ahead.pop()
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        yield layer
        inner = getattr(layer, "layer", None)
        ahead += [*reversed(getattr(layer, "layers", ())), *([inner] if hasattr(inner, "name") else [])]


def _word(value: Any) -> str:
    return str(getattr(value, "__name__", "") or type(value).__name__)
