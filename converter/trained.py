"""How many numbers train, in source and target: a changed count is never equal without its reason."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from converter.conversion import Conversion
from converter.sources import Source


def of_keras(model: Any) -> int:
    """Numbers in the trainable weights of a Keras model, each shared one once."""
    return sum(math.prod(v.shape) for v in {id(v): v for v in model.trainable_variables}.values())


def of_torch(model: Any) -> int:
    """Numbers in the parameters of a module or ExportedProgram that require gradients; tied ones are one."""
    return sum(names[0][1] for names in _places(model).values())


def _places(model: Any) -> dict[Any, list[tuple[str, int]]]:
    """(name, numbers) of the parameters that require gradients, those of one memory together."""
    every = {"remove_duplicate": False} if hasattr(model, "register_parameter") else {}
    found: dict[Any, list[tuple[str, int]]] = {}
    for name, each in model.named_parameters(**every):
        if each.requires_grad:
            place = (each.untyped_storage().data_ptr(), each.storage_offset(), tuple(each.shape))
            found.setdefault(place if each.numel() else id(each), []).append((name, each.numel()))
    return found


COUNTS = {"keras": of_keras, "torch": of_torch}


def unread(source: Source, read: set[str], asked: Mapping[str, Any] | None = None) -> list[tuple[str, int]]:
    """The trainable parameters of a source that no output depends on: they have no place in the target.

    `read` are the paths of the weights that the graph has kept, `asked` the variables of Keras that were written.
    """
    if source.kind == "torch":
        gone = [names[0] for names in _places(source.model).values() if not any(name in read for name, _ in names)]
    else:
        kept = {id(variable) for variable in (asked or {}).values()}
        every = {id(v): v for v in source.model.trainable_variables}.values()
        gone = [(v.path, math.prod(v.shape)) for v in every if id(v) not in kept]
    if not gone:
        return []
    named = ", ".join(name for name, _ in gone[:3]) + (", ..." if len(gone) > 3 else "")
    return [(f"{len(gone)} parameters reach no output ({named})", -sum(size for _, size in gone))]


def settle(made: Conversion, source: Source) -> None:
    """Count, and give the reasons that are known; a difference that they do not add up to is not equal."""
    if made.to not in COUNTS:
        return
    before, after = COUNTS[source.kind](source.model), COUNTS[made.to](made.model)
    reasons = [*made.retrained, *(made.thawed if ".keras" in made.written else [])]
    report = made.report
    report.trainable = {"source": before, "target": after, "why": [why for why, more in reasons if more]}
    if after - before != sum(more for _, more in reasons) and report.passed:
        report.passed = False
        report.broken = f"trainable parameters: {before:,} in the source, {after:,} in the target"
