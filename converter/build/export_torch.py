"""A generated module through torch.export: as a .pt2 file, and to count what it does at run time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

MOVES = ("aten.permute", "aten.transpose", "aten.movedim", "aten.t.", "aten.swapaxes", "aten.moveaxis")


class Spec(Protocol):
    """What export needs of an input: its shape (None: unknown) and dtype."""

    @property
    def shape(self) -> tuple[int | None, ...]: ...
    @property
    def dtype(self) -> str: ...


def exported(model: Any, specs: Sequence[Spec]) -> Any:
    """The module as an ExportedProgram; lengths that the source does not know stay dynamic where torch can keep them."""
    import torch

    examples, shapes = [], []
    for spec in specs:
        lengths = tuple((2 if i == 0 else 64) if d is None else d for i, d in enumerate(spec.shape))
        examples.append(torch.zeros(lengths, dtype=getattr(torch, spec.dtype)))
        shapes.append({i: torch.export.Dim.AUTO for i, d in enumerate(spec.shape) if d is None})
    with torch.no_grad():
        return torch.export.export(model, tuple(examples), dynamic_shapes=tuple(shapes))


def run_time_transposes(program: Any) -> int:
    """How many transpositions an ExportedProgram does when it runs; those of weights alone are none of the data's."""
    counts: Counter[str] = Counter()
    for node in program.graph.nodes:
        name = str(node.target)
        if node.op == "call_function" and name.startswith(MOVES):
            counts[name] += 1
    return sum(counts.values())
