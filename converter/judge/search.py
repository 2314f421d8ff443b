"""Inputs under which the outputs move: what does not move with any input says nothing of a model."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from .compare import Array
from .evidence import sensitivity, softmax_axes
from .inputs import InputSet, other_kinds
from .runner import RunFn, Runner, attempt
from .taps import Outputs, kinds_in, labelled, labels_of, split

_WELL = 100  # so many times what is weak moves well, and no more kinds are tried


def same_arrays(left: Sequence[Array], right: Sequence[Array]) -> bool:
    """The same inputs, bit by bit; no inputs at all are the same too."""
    return all(a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in zip(left, right, strict=True))


def moving_inputs(
    runner: Runner,
    run: RunFn,
    sets: list[InputSet],
    answers: list[Outputs],
    weak: float,
    notes: list[str],
    seed: int,
) -> None:
    """Where an output and its tap both move by less than `weak`, try other kinds of inputs; two sets of the kind under
    which the outputs move most are added to `sets`, with their `answers`, and a note says what was tried."""
    names = [name for name, _ in split(answers[0])[0]]
    moves = excused(names, movement(sets, _shown(answers)))
    still = [name for name, value in moves.items() if not value >= weak]
    if not still or not sets[0].arrays:
        return
    tried: list[str] = []
    best: tuple[tuple[int, float], str, list[InputSet], list[Outputs]] | None = None
    for index, (name, one, two) in enumerate(other_kinds(list(sets), seed)):
        tried.append(name)
        new = [InputSet(f"{name}{more}", a, (seed, 1000 + index)) for more, a in (("", one), (", again", two))]
        got, _ = attempt(functools.partial(_answers, runner, run, new))
        if got is None or not _whole(answers[0], got):
            continue
        # The given inputs count as one of the two where they were drawn from the same.
        near = ([sets[0], *new], [answers[0], *got]) if index == 0 else (new, got)
        moved = excused(names, movement(near[0], _shown(near[1])))
        values = [moved.get(each, 0.0) for each in still]
        rank = (sum(value >= weak for value in values), min(values))
        if best is None or rank > best[0]:
            best = (rank, name, new, got)
        if rank[0] == len(still) and rank[1] >= _WELL * weak:
            break
    alone = len({str(each.shapes) for each in sets}) == len(sets)
    why = "one set of inputs shows no movement" if alone else f"hardly moves with the inputs: {', '.join(still)}"
    if best is None or best[0] <= (0, 0.0):
        notes.append(f"{why}; tried without more: {', '.join(tried)}")
        return
    _, name, new, got = best
    sets += new
    answers += got
    notes.append(f"{why}; tried: {', '.join(tried)}; two sets were added: {name}")


def movement(sets: Sequence[InputSet], shown: Sequence[Outputs]) -> dict[str, float]:
    """For each entry of the answers the largest move between two sets of one shape; 0 where there are no two."""
    found = {name: 0.0 for name, _ in shown[0]}
    for later in range(len(sets)):
        for before in range(later):
            if sets[before].shapes == sets[later].shapes:
                for name, value in sensitivity(shown[before], shown[later]).items():
                    found[name] = max(found.get(name, 0.0), value) if np.isfinite(value) else found.get(name, 0.0)
    return found


def _shown(answers: Sequence[Outputs]) -> list[Outputs]:
    kinds, axes = kinds_in(answers), softmax_axes([split(outputs)[0] for outputs in answers])
    return [labelled(outputs, kinds, axes) for outputs in answers]


def excused(names: Sequence[str], found: dict[str, float]) -> dict[str, float]:
    """For each of the outputs the move of itself or of the value before its activation, whichever is larger."""
    return {name: max([found.get(name, 0.0), *(found.get(tap, 0.0) for tap in labels_of(name))]) for name in names}


def _answers(runner: Runner, run: RunFn, sets: Sequence[InputSet]) -> list[Outputs]:
    return [runner.answer(run, each.arrays) for each in sets]


def _whole(first: Outputs, got: Sequence[Outputs]) -> bool:
    """Answers of the first one's form, finite where that is finite throughout."""
    for outputs in got:
        for (name, mine), (other, theirs) in zip(split(first)[0], split(outputs)[0], strict=False):
            if name != other or mine.shape != theirs.shape:
                return False
            if mine.dtype.kind == "f" and np.isfinite(mine).all() and not np.isfinite(theirs).all():
                return False
    return True
