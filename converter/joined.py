"""How the inputs and outputs of two models belong together: their order and their turns, as told, or as tried."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from converter.conversion import Turn
from converter.errors import UsageError
from converter.judge.compare import Array, compare, magnitude
from converter.judge.inputs import InputSpec, make_inputs
from converter.judge.runner import Boundary, RunFn, Runner, attempt
from converter.judge.taps import Outputs, split
from converter.judge.watch import Emit, Side
from converter.opened import Opened

Perm = tuple[int, ...] | None
MOST = 200
"""So many ways are tried at most."""
CLOSE = 1e-3
"""Answers that are no further apart, relative to their size, show that a way is the right one."""


@dataclass(frozen=True)
class Joined:
    """`boundary` turns the source's inputs for the target, and the target's outputs back; `inputs[j]` is the source's
    input that the target's number j is, `outputs[i]` the target's output that is the source's number i. `specs` are
    the inputs as the source has them, `turns` says in words what is turned, `how` where that is from."""

    boundary: Boundary = field(default_factory=Boundary)
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    specs: tuple[InputSpec, ...] = ()
    turns: tuple[str, ...] = ()
    how: str = ""

    def runner(self, runner: Runner) -> Runner:
        """The target's runner, with inputs and outputs in the source's order."""
        open64, open32 = runner.open64, runner.open32
        return replace(
            runner,
            run32=self._ordered(runner.run32),
            open64=None if open64 is None else lambda: self._ordered(open64()),
            open32=None if open32 is None else lambda: self._ordered(open32()),
            boundary=self.boundary,
        )

    def side(self, side: Side) -> Side:
        """The same for a model that is watched."""

        def watched(emit: Emit) -> RunFn:
            return self._ordered(side.watched(emit))

        return replace(side, watched=watched)

    def _ordered(self, run: RunFn) -> RunFn:
        if list(self.inputs) == sorted(self.inputs) and list(self.outputs) == sorted(self.outputs):
            return run

        def ordered(arrays: Sequence[Array]) -> Outputs:
            plain, _ = split(run([arrays[i] for i in self.inputs]))
            return [plain[i] for i in self.outputs] if len(plain) == len(self.outputs) else plain

        return ordered


def join(source: Opened, target: Opened, layout: str | None, given: Sequence[Array] | None, seed: int) -> Joined:
    """Find the way. `given` are the user's own inputs, as the source has them.

    Raises UsageError where neither model tells its inputs and none are given, or no way is answered by both."""
    if given is not None and source.specs is None:
        shapes = [InputSpec(f"input_{i}", (None, *a.shape[1:]), str(a.dtype)) for i, a in enumerate(given)]
        source = replace(source, specs=shapes)
    if source.specs is None and target.specs is None:
        raise UsageError("Neither of the two models tells the shapes of its inputs. Pass inputs (--inputs).")
    tries = list(itertools.islice(_ways(source, target, layout), MOST))
    known = target.specs if source.specs is None else source.specs
    example = list(given) if given is not None else make_inputs(known or [], seed, batches=(2,))[0].arrays
    ours, theirs = source.runner(), target.runner()
    best: tuple[float, Joined] | None = None
    why, asked = "", dict[tuple[Any, ...], Outputs | None]()
    for order, perms in tries:
        mine, other = _arrays(source, example, order, perms)
        key = () if source.specs is not None else (order, perms)
        if key not in asked:
            asked[key], said = attempt(lambda arrays=mine: ours.run32(arrays))  # type: ignore[misc]
            why = why or (f"the source: {said}" if said else "")
        answer, wanted = None, asked[key]
        if wanted is not None:
            answer, said = attempt(lambda arrays=other: theirs.run32(arrays))  # type: ignore[misc]
            why = why or (f"the target: {said}" if said else "")
        if answer is None or wanted is None:
            continue
        off, outputs, back = _matched(split(wanted)[0], split(answer)[0], layout)
        made = _joined(source, target, order, perms, outputs, back, split(wanted)[0])
        if best is None or off < best[0]:
            best = off, made
        if off <= CLOSE:
            break
    if best is None:
        raise UsageError(f"No order of the inputs and no turn of them is answered by both models: {why}.")
    for runner in (ours, theirs):
        if runner.close is not None:
            runner.close()
    told = _told(source, target)
    return replace(best[1], how=told or "found by trying what fits")


def _told(source: Opened, target: Opened) -> str:
    if target.made is not None or source.made is not None:
        return "as converted"
    return "by the report beside it" if target.told is not None or source.told is not None else ""


def _ways(source: Opened, target: Opened, layout: str | None) -> Iterator[tuple[tuple[int, ...], tuple[Perm, ...]]]:
    """(the source's input of each of the target's, how each of the source's is turned), the plainest first."""
    one, two = source.specs, target.specs
    if one is not None and two is not None and len(one) != len(two):
        raise UsageError(f"The source takes {len(one)} inputs, the target {len(two)}.")
    known = one if one is not None else two or []
    count = len(known)
    for order in _orders([s.name for s in one or []], [s.name for s in two or []], count):
        choices = []
        for i in range(count):
            j = order.index(i)
            mine, other = one[i].shape if one is not None else None, two[j].shape if two is not None else None
            rank = len(mine if mine is not None else other or ())
            perms = [perm for perm in _perms(rank, layout) if _fits(mine, other, perm)]
            choices.append(_first(perms, _perm_of(source, target, i, known[i].name)))
        for perms_ in itertools.product(*choices):
            yield order, perms_


def _orders(one: list[str], two: list[str], count: int) -> Iterator[tuple[int, ...]]:
    """By names where both have the same, else as they stand, then every other order."""
    names = [name.replace("/", "_").replace(".", "_") for name in one]
    if two and sorted(names) == sorted(two) and len(set(two)) == len(two):
        yield tuple(names.index(name) for name in two)
        return
    yield from itertools.islice(itertools.permutations(range(count)), MOST)


def _perms(rank: int, layout: str | None) -> list[Perm]:
    if rank < 4 or layout == "source":
        return [None]
    turned: list[Perm] = [(0, rank - 1, *range(1, rank - 1)), (0, *range(2, rank), 1)]
    return turned if layout == "native" else [None, *turned]


def _fits(one: Sequence[int | None] | None, two: Sequence[int | None] | None, perm: Perm) -> bool:
    if one is None or two is None:
        return True
    if len(one) != len(two):
        return False
    moved = one if perm is None else [one[p] for p in perm]
    return all(a is None or b is None or a == b for a, b in zip(moved, two, strict=True))


def _first(perms: list[Perm], told: Perm | bool) -> list[Perm]:
    """What was told alone where it fits; else all."""
    if told is True:
        return perms
    return [told] if told in perms else perms


def _perm_of(source: Opened, target: Opened, index: int, name: str) -> Perm | bool:
    """How an input is turned, as converting or the report has it; True where neither says."""
    for each, inverse in ((target, False), (source, True)):
        if each.made is not None:
            turns = [t.perm for t in each.made.turns if t.kind == "input" and t.index == index]
            return (_back(turns[0]) if inverse else turns[0]) if turns else None
        if each.told is not None:
            found = [perm for turn in each.told if (perm := _parsed(turn, name))]
            return (_back(found[0]) if inverse else found[0]) if found else None
    return True


def _parsed(turn: str, name: str) -> Perm:
    """`image: N,H,W,C -> N,C,H,W` as a permutation, where it is about this input."""
    about, _, rest = turn.rpartition(": ")
    before, _, after = rest.partition(" -> ")
    left, right = before.split(","), after.split(",")
    if about != name or sorted(left) != sorted(right):
        return None
    return tuple(left.index(axis) for axis in right)


def _back(perm: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argsort(perm))


def _arrays(
    source: Opened, example: list[Array], order: tuple[int, ...], perms: tuple[Perm, ...]
) -> tuple[list[Array], list[Array]]:
    """The example as both have it: it is the source's where that tells its inputs, else the target's."""
    if source.specs is not None:
        turned = [x if p is None else np.ascontiguousarray(x.transpose(p)) for x, p in zip(example, perms, strict=True)]
        return example, [turned[i] for i in order]
    mine = [example[order.index(i)] for i in range(len(example))]
    back = [x if p is None else np.ascontiguousarray(x.transpose(_back(p))) for x, p in zip(mine, perms, strict=True)]
    return back, example


def _matched(mine: Outputs, theirs: Outputs, layout: str | None) -> tuple[float, tuple[int, ...], tuple[Perm, ...]]:
    """(how far apart, the target's output for each of the source's, how that is turned back)."""
    left, order, back, worst = list(range(len(theirs))), list[int](), list[Perm](), 0.0
    if len(mine) != len(theirs):
        return math.inf, tuple(left), (None,) * len(left)
    for i, (name, array) in enumerate(mine):
        best: tuple[float, int, Perm] = (math.inf, left[0] if i not in left else i, None)
        for j in sorted(left, key=lambda j: (j != i, j)):
            # The target's output is turned back: the options are the same two turns.
            for perm in [None] if layout == "source" else [None, *_perms(array.ndim, None)[1:]]:
                other = theirs[j][1] if perm is None or theirs[j][1].ndim != len(perm) else theirs[j][1].transpose(perm)
                if other.shape == array.shape:
                    off = _off(name, array, other)
                    if off < best[0] and not (best[0] <= CLOSE):
                        best = off, j, perm
        worst = max(worst, best[0])
        left.remove(best[1])
        order.append(best[1])
        back.append(best[2])
    return worst, tuple(order), tuple(back)


def _off(name: str, one: Array, two: Array) -> float:
    diff = compare(name, one, two, CLOSE * magnitude(one), share=0.9)
    if diff.passed or diff.nothing:
        return 0.0
    return diff.max_rel if diff.max_rel is not None and math.isfinite(diff.max_rel) else 1e30


def _joined(
    source: Opened,
    target: Opened,
    order: tuple[int, ...],
    perms: tuple[Perm, ...],
    outputs: tuple[int, ...],
    back: tuple[Perm, ...],
    answer: Outputs,
) -> Joined:
    if source.specs is not None:
        specs = source.specs
    else:
        theirs = [(target.specs or [])[order.index(i)] for i in range(len(order))]
        specs = [
            s if p is None else replace(s, shape=tuple(s.shape[a] for a in _back(p)))
            for s, p in zip(theirs, perms, strict=True)
        ]
    turns = [str(Turn(s.name, "input", i, p)) for i, (s, p) in enumerate(zip(specs, perms, strict=True)) if p]
    turns += [
        str(Turn(answer[i][0], "output", i, _back(p))) for i, p in enumerate(back) if p is not None and i < len(answer)
    ]
    return Joined(Boundary(perms, back), order, outputs, tuple(specs), tuple(turns))
