"""A slice of the damaged files of tests/fuzz: 2,000 of them are read by `python -m tests.fuzz.run`."""

from __future__ import annotations

from tests.fuzz.mutations import SOURCES, mutated
from tests.fuzz.run import readers


def test_damage_is_seeded() -> None:
    assert all(mutated(kind, 3) == mutated(kind, 3) for kind in ("pt2", "npz", "safetensors"))
    assert mutated("pt2", 3) != mutated("pt2", 4)


def test_damaged_files() -> None:
    table = readers(100)
    assert table.faults == []
    assert {kind for kind, _ in table.outcomes} == set(SOURCES)
    assert sum(table.outcomes.values()) == 100
