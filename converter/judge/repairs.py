"""What may be wrong with a layer, as repairs that are tried on it alone: the one that makes it equal is the cause."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import roles
from .compare import Array
from .ways import turns

_MOST_TURNS = 24
_PADS = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1), (2, 2), (0, 3), (3, 0), (3, 3))
"""Before and behind each spatial axis."""


@dataclass(frozen=True)
class Repair:
    """One thing to try: what it would mean, and the weights, settings and padding of the input to try it with."""

    cause: str
    weights: Mapping[str, Array] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    pads: tuple[int, int] | None = None


@dataclass(frozen=True)
class Case:
    """A layer that is wrong: both layers, their weights, and what was made flat before it."""

    source: Any
    target: Any
    to: str
    ours: Mapping[str, Array]
    theirs: Mapping[str, Array]
    flattened: Sequence[tuple[int, ...]] = ()


def repairs(case: Case) -> Iterator[Repair]:
    """Everything that is tried, the likely first."""
    yield from _settings(case)
    yield from _exchanged(case)
    yield from _turned(case)
    yield from _flattened(case)
    yield from _shifted(case)
    yield from _gates(case)
    yield from _replaced(case)
    yield from _padded(case)


def _settings(case: Case) -> Iterator[Repair]:
    wrong = roles.settings(case.source, case.target, case.to)
    for name, (is_, should) in wrong.items():
        word = {"eps": "epsilon", "strides": "stride", "dilation_rate": "dilation"}.get(name, name)
        yield Repair(f"{word}: {is_}, expected {should}", settings={name: should})
    for name in ("count_include_pad", "ceil_mode"):
        if isinstance(getattr(case.target, name, None), bool):
            now = getattr(case.target, name)
            yield Repair(f"{name}: {now}, expected {not now}", settings={name: not now})
    if getattr(case.target, "approximate", None) in ("none", "tanh"):
        now = case.target.approximate
        other = "tanh" if now == "none" else "none"
        yield Repair(f"activation: GELU with approximate={now!r}, expected {other!r}", settings={"approximate": other})


def _exchanged(case: Case) -> Iterator[Repair]:
    words = {"weight": "gamma", "bias": "beta", "running_mean": "the mean", "running_var": "the variance"}
    words |= {"moving_mean": "the mean", "moving_variance": "the variance"}
    for one, two in itertools.combinations(case.theirs, 2):
        a, b = case.theirs[one], case.theirs[two]
        if a.shape == b.shape and a.ndim == 1:
            names = f"{words.get(one, one)} and {words.get(two, two)}"
            yield Repair(f"weights: {names} are exchanged", weights={one: b, two: a})


def _turned(case: Case) -> Iterator[Repair]:
    for name, array in case.theirs.items():
        if array.ndim < 2:
            continue
        spatial = range(2, array.ndim) if case.to == "torch" else range(array.ndim - 2)
        for many in range(1, len(spatial) + 1):
            for axes in itertools.combinations(spatial, many):
                yield Repair(f"the {name} is flipped", weights={name: np.flip(array, axes)})
        for perm in itertools.islice(itertools.permutations(range(array.ndim)), 1, _MOST_TURNS):
            turned = array.transpose(perm)
            if turned.shape == array.shape:
                yield Repair(f"axis order: the {name} is transposed {perm}", weights={name: turned})


def _flattened(case: Case) -> Iterator[Repair]:
    for name, array in case.theirs.items():
        for moved in _orders(case, array):
            cause = f"Flatten order: the rows of the {name} stand in the order of the other layout"
            yield Repair(cause, weights={name: moved})


def _orders(case: Case, array: Array) -> Iterator[Array]:
    """A matrix with its rows in every order that a flatten before it may have."""
    axis = 1 if case.to == "torch" else 0
    for shape in case.flattened if array.ndim == 2 else ():
        if int(np.prod(shape[1:])) == array.shape[axis]:
            for perm in turns(len(shape)):
                order = np.arange(array.shape[axis]).reshape(1, *shape[1:]).transpose(perm).reshape(-1)
                for rows in (order, np.argsort(order)):
                    yield np.take(array, rows, axis)


def _shifted(case: Case) -> Iterator[Repair]:
    for name, array in case.theirs.items():
        for axis in range(min(array.ndim, 2)):
            for step in (1, -1):
                yield Repair(f"the {name} is shifted by one row", weights={name: np.roll(array, step, axis)})


def _gates(case: Case) -> Iterator[Repair]:
    kind = type(case.target).__name__.lower()
    many = 4 if "lstm" in kind else 3 if "gru" in kind else 0
    if not many:
        return
    axis = 0 if case.to == "torch" else -1
    split = {n: np.split(a, many, axis) for n, a in case.theirs.items() if a.shape[axis] % many == 0}
    for order in itertools.islice(itertools.permutations(range(many)), 1, None):
        moved = {name: np.concatenate([blocks[i] for i in order], axis) for name, blocks in split.items()}
        yield Repair(f"gate order: equal with {order}", weights=moved)


def _replaced(case: Case) -> Iterator[Repair]:
    """The source's weights, one at a time and then all of them."""
    found: dict[str, Array] = {}
    for one, two in roles.matched(case.ours, case.theirs).items():
        wanted = roles.expected(case.ours[one], two, case.theirs[two].shape)
        if wanted is None:
            continue
        now = case.theirs[two]
        if not np.array_equal(wanted, now):
            found[two] = wanted
            for way in [wanted, *_orders(case, wanted)]:
                yield Repair(f"weights: the {two} {_differs(way, now)}", weights={two: way})
    if len(found) > 1:
        yield Repair(f"weights: {', '.join(found)} are not the source's", weights=found)


def _differs(wanted: Array, now: Array) -> str:
    if not np.isfinite(now).all() and np.isfinite(wanted).all():
        return f"holds {int(now.size - np.count_nonzero(np.isfinite(now)))} values that are NaN or infinite"
    if not now.any():
        return "is zero"
    if np.array_equal(np.sort(wanted, None), np.sort(now, None)):
        return "has its numbers in another order"
    return f"differs in {int(np.sum(wanted != now))} of {now.size} numbers"


def _padded(case: Case) -> Iterator[Repair]:
    if not any(hasattr(case.target, name) for name in ("stride", "strides", "kernel_size", "pool_size")):
        return
    plain = {"padding": "valid"} if case.to == "keras" and hasattr(case.target, "padding") else {}
    for pads in _PADS:
        yield Repair(f"padding: equal with {pads[0]} before and {pads[1]} behind", settings=plain, pads=pads)
