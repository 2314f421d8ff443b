"""A generated module through torch.export, as a .pt2 file."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

LENGTHS = (64, 256, 1024, 4096, 16384)


class Spec(Protocol):
    """What export needs of an input: its shape (None: unknown) and dtype."""

    @property
    def shape(self) -> tuple[int | None, ...]: ...
    @property
    def dtype(self) -> str: ...


def exported(model: Any, specs: Sequence[Spec]) -> Any:
    """The module as an ExportedProgram; lengths unknown to the source stay dynamic where torch can keep them."""
    import torch

    model = still(model)
    length = _length(model, specs)
    shapes = [{i: torch.export.Dim.AUTO for i, d in enumerate(spec.shape) if d is None} for spec in specs]
    with torch.no_grad():
        return torch.export.export(model, _examples(specs, length), dynamic_shapes=tuple(shapes))


def still(model: Any) -> Any:
    """The module in eval mode on the CPU: itself, or a copy where it was left in training or on another device."""
    away = any(t.device.type != "cpu" for t in (*model.parameters(), *model.buffers()))
    if not away and not any(module.training for module in model.modules()):
        return model
    return copy.deepcopy(model).cpu().eval()


def save_program(program: Any, path: Path) -> None:
    """Write a program. Its archive repeats its own file's name, and is to be the same whatever that is."""
    import io

    import torch

    stream = io.BytesIO()
    torch.export.save(program, stream)
    path.write_bytes(stream.getbuffer())


def _examples(specs: Sequence[Spec], length: int) -> tuple[Any, ...]:
    """Zeros in the inputs' shapes, two in a batch, `length` for every other unknown length."""
    import torch

    shapes = [tuple((2 if i == 0 else length) if d is None else d for i, d in enumerate(s.shape)) for s in specs]
    return tuple(torch.zeros(lengths, dtype=getattr(torch, s.dtype)) for s, lengths in zip(specs, shapes, strict=True))


def _length(model: Any, specs: Sequence[Spec]) -> int:
    """The first unknown length, of those tried, that the model has an answer for; some need thousands."""
    import torch

    if all(None not in spec.shape[1:] for spec in specs):
        return LENGTHS[0]
    with torch.no_grad():
        for length in LENGTHS:
            try:
                model(*_examples(specs, length))
            except (RuntimeError, ValueError):
                continue
            return length
    return LENGTHS[0]
