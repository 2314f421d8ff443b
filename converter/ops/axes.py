"""Orders of axes, and the shape that shapes broadcast to."""

from __future__ import annotations

from converter.ops.schema import Dims

Perm = tuple[int, ...]


def moved(axis: int, perm: Perm) -> int:
    """Where an axis of the original stands after the transposition."""
    return perm.index(axis % len(perm))


def inverse(perm: Perm) -> Perm:
    """The transposition that undoes `perm`."""
    return tuple(perm.index(i) for i in range(len(perm)))


def channels_first(rank: int) -> Perm:
    """(N, ..., C) -> (N, C, ...)."""
    return (0, rank - 1, *range(1, rank - 1))


def channels_last(rank: int) -> Perm:
    """(N, C, ...) -> (N, ..., C)."""
    return (0, *range(2, rank), 1)


def broadcast(*shapes: Dims) -> Dims:
    """The shape that the shapes broadcast to; an unknown length wins over 1."""
    rank = max(len(s) for s in shapes)
    padded = [(1,) * (rank - len(s)) + tuple(s) for s in shapes]
    result: list[int | None] = []
    for lengths in zip(*padded, strict=True):
        known = [d for d in lengths if d is not None and d != 1]
        result.append(known[0] if known else (None if None in lengths else 1))
    return tuple(result)
