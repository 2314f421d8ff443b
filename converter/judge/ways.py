"""How a value of one model lies in the other: as it is, its channels first or last, or flattened in another order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .compare import Array, Diff, compare, magnitude


@dataclass(frozen=True)
class Way:
    """`target = source.transpose(perm)`; with `split`, the flat axis is that shape first, and flat again after."""

    perm: tuple[int, ...] | None = None
    split: tuple[int, ...] = ()

    def to_target(self, array: Array) -> Array:
        """A source's value as the target has it."""
        if self.perm is None:
            return array
        if not self.split:
            return np.transpose(array, self.perm)
        parts = array.reshape(array.shape[0], *self.split)
        return np.ascontiguousarray(parts.transpose(self.perm)).reshape(array.shape)

    def to_source(self, array: Array) -> Array:
        """A target's value as the source has it."""
        if self.perm is None:
            return array
        back = tuple(int(i) for i in np.argsort(self.perm))
        if not self.split:
            return np.transpose(array, back)
        shape = (array.shape[0], *self.split)
        parts = array.reshape([shape[p] for p in self.perm])
        return np.ascontiguousarray(parts.transpose(back)).reshape(array.shape)

    def __str__(self) -> str:
        return "" if self.perm is None else f"flattened as {self.perm}" if self.split else f"turned {self.perm}"


AS_IT_IS = Way()


def turns(rank: int) -> list[tuple[int, ...]]:
    """Channels from last to first, and back; nothing below rank 3."""
    if rank < 3:
        return []
    return [(0, rank - 1, *range(1, rank - 1)), (0, *range(2, rank), 1)]


def candidates(source: Sequence[int], target: Sequence[int], flattened: Iterable[tuple[int, ...]] = ()) -> list[Way]:
    """The ways that fit two shapes, the plainest first. `flattened` are shapes that were made flat before."""
    source, target = tuple(source), tuple(target)
    found = [AS_IT_IS] if source == target else []
    for perm in turns(len(source)):
        if tuple(source[p] for p in perm) == target and (source != target or not _idle(perm, source)):
            found.append(Way(perm))
    if source == target and len(source) == 2:
        found += [
            Way(perm, shape[1:])
            for shape in flattened
            if math.prod(shape[1:]) == source[1]
            for perm in turns(len(shape))
        ]
    return list(dict.fromkeys(found))


def fit(
    name: str,
    source: Array,
    target: Array,
    limit: float,
    flattened: Iterable[tuple[int, ...]] = (),
    first: Way | None = None,
) -> tuple[Way | None, Diff]:
    """The first way within `limit` of the source's size, else the nearest one; None where no shape fits."""
    ways = candidates(source.shape, target.shape, flattened)
    if first in ways:
        ways = [w for w in (first,) if w is not None] + [way for way in ways if way != first]
    tol = limit * magnitude(source)
    best: tuple[Way | None, Diff] | None = None
    for way in ways:
        diff = compare(name, source, way.to_source(target), tol)
        if diff.passed or diff.nothing:
            return way, diff
        if best is None or _off(diff) < _off(best[1]):
            best = way, diff
    return best or (None, compare(name, source, target, tol))


def _off(diff: Diff) -> float:
    return math.inf if diff.max_rel is None or math.isnan(diff.max_rel) else diff.max_rel


def _idle(perm: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether a turn only moves axes of length 1."""
    return [p for p in perm if shape[p] != 1] == [i for i in range(len(shape)) if shape[i] != 1]
