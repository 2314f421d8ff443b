"""How many numbers train, in source and target: a changed count is never equal without its reason."""

from __future__ import annotations

import math
from typing import Any

from converter.report import Report
from converter.sources import Source


def of_source(source: Source) -> int:
    """The trainable parameters of the source, each shared one once."""
    return of_keras(source.model) if source.kind == "keras" else of_torch(source.model)


def of_keras(model: Any) -> int:
    """Numbers in the trainable weights of a Keras model."""
    return sum(math.prod(v.shape) for v in {id(v): v for v in model.trainable_variables}.values())


def of_torch(model: Any) -> int:
    """Numbers in the parameters of a module or ExportedProgram that require gradients; tied ones are one."""
    named = model.named_parameters() if hasattr(model, "named_parameters") else ()
    found = {}
    for _, parameter in named:
        if parameter.requires_grad:
            place = (parameter.untyped_storage().data_ptr(), parameter.storage_offset(), tuple(parameter.shape))
            found[place if parameter.numel() else id(parameter)] = parameter.numel()
    return sum(found.values())


def of_target(to: str, model: Any) -> int | None:
    """The same of the target; None for ONNX, which has none."""
    return {"torch": of_torch, "keras": of_keras}[to](model) if to in ("torch", "keras") else None


def explain(report: Report, source: Source, read: set[str]) -> None:
    """Say which trainable parameters of a PyTorch source no output depends on: they have no place in the target."""
    if source.kind != "torch" or report.trainable is None:
        return
    unread = [name for name, each in source.model.named_parameters() if each.requires_grad and name not in read]
    if unread:
        named = ", ".join(unread[:3]) + (", ..." if len(unread) > 3 else "")
        report.trainable["why"].append(f"{len(unread)} parameters reach no output ({named})")


def settle(report: Report) -> None:
    """A changed count without a known reason is a fault of the conversion, and not equal."""
    counts = report.trainable
    if not counts or counts["target"] is None or counts["source"] == counts["target"] or counts["why"]:
        return
    if report.passed:
        report.passed = False
        report.broken = f"trainable parameters: {counts['source']:,} in the source, {counts['target']:,} in the target"
