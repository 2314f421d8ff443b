"""One hop against the source: the float64 rung, the float32 rung, and what is large or chaotic about the latter."""

from __future__ import annotations

import functools
from collections.abc import Container, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .compare import Array, Diff, compare, magnitude
from .evidence import is_really_float64
from .reference import Far, Reference, ask64, identical, relative, size_of
from .runner import Runner, attempt
from .taps import KINDS, LOGITS, RECOVERED, Outputs, logits, split
from .verdict import Gates, Rung

_FINER = float(np.finfo(np.float64).eps / np.finfo(np.float32).eps)
"""What is chaotic in float32 is so in float64 too, with errors that are as much smaller as the steps are."""
_ROUNDING = 1e-6  # inputs that go further may make a network chaotic; a wrong formula is off by more
_PARTLY = 1e-6  # the float32 rounding that counts as a float64 layer's own
Pair = tuple[str, Array, Array]


def judge_hop(ours: Reference, hop: Runner, gates: Gates, notes: list[str]) -> list[Rung]:
    """One hop's rungs: float64 where both sides have it, and its own dtype always."""
    run = hop.run32
    if hop.open32 is not None:
        twin, why = attempt(hop.open32)
        run = twin or run
        judged = f"as it is: {why}" if why else "by its float32 twin"
        notes.append(f"{hop.name} computes in mixed precision and is judged {judged}")
    single, why = attempt(lambda: [hop.answer(run, each.arrays) for each in ours.sets])
    if single is None:  # the source answered this, so it is a failure of the hop
        return [Rung(hop.name, hop.device, hop.backend, hop.dtype, "", False, note=why)]
    chosen = _chosen(ours, hop)
    part = _part(ours, chosen)
    rungs: list[Rung] = []
    double = None
    if hop.open64 is not None:
        far = None if ours.far is None or not ours.far.answers or hop.most64 else Far(ours.far.inputs)
        double, straight, why = ask64(hop, part.sets, functools.partial(_settled, part, hop, gates), far)
        if double is None:
            notes.append(f"{hop.name} on {hop.device} has no float64: {why}")
        elif ours.double is not None:
            stable = _stable(part, hop, [single[i] for i in chosen], double)
            if stable:
                told = ", ".join(f"{name} {ours.chaotic[name]:.1e}" for name in stable)
                notes.append(
                    f"the source's float64 answers are off its own float32 ones ({told}) and {hop.name}'s are not: "
                    "that is no rounding, and they are not used"
                )
                ours = replace(ours, double=None, chaotic={}, why="its float64 answers are off by more than rounding")
            else:
                rungs.append(_further(part, _rung64(part, hop, double, straight, gates), far))
    for (name, a), (_, b) in zip(ours.single[0][: ours.count], single[0], strict=False):
        if a.dtype != b.dtype:
            notes.append(f"{hop.name}: {name} is {b.dtype}, {a.dtype} in the source")
    own = double if len(chosen) == len(ours.sets) else None
    rungs.append(_rung32(ours, hop, single, own, gates))
    if hop.note():
        notes.append(f"{hop.name}: {hop.note()}")
    return rungs


def as_it_is(dtype: str) -> str:
    """The precision of a model's own run; "float64" alone is that of the proof, for which every model is rebuilt."""
    return "float64 as it is" if dtype == "float64" else dtype


def within(diffs: Sequence[Diff], limit: float, names: Container[str]) -> bool:
    """Whether the outputs of these names differ by no more than `limit` of their size."""
    return all((diff.max_rel or 0.0) <= limit for diff in diffs if diff.name in names)


def own_error(ours: Reference, answers: Sequence[Outputs], precision: str, note: str = "") -> Rung:
    """The source's own rounding, for the table; nothing is judged."""
    diffs = [
        compare(name, reference, candidate, np.inf, share=0.0)
        for single, double in zip(answers, ours.double or [], strict=False)
        for (name, candidate), (_, reference) in zip(single, double, strict=False)
    ]
    runner = ours.runner
    against = f"{runner.name} float64" if diffs else ""
    return Rung(runner.name, runner.device, runner.backend, precision, against, None, _worst(diffs), len(answers), note)


def _chosen(ours: Reference, hop: Runner) -> list[int]:
    """The sets that the hop runs in float64: all, or the smallest ones."""
    order = sorted(range(len(ours.sets)), key=lambda i: size_of(ours.sets[i]))
    return sorted(order[: hop.most64 or len(order)])


def _part(ours: Reference, chosen: Sequence[int]) -> Reference:
    """The reference on some of its sets."""
    double = None if ours.double is None else [ours.double[i] for i in chosen]
    return replace(ours, sets=[ours.sets[i] for i in chosen], single=[ours.single[i] for i in chosen], double=double)


def _stable(ours: Reference, hop: Runner, single: list[Outputs], double: list[Outputs]) -> list[str]:
    """The outputs that are chaotic in the source and not in the hop: a float64 that is far off is no rounding then."""
    own: dict[str, float] = {}
    for mine, low, high in zip(ours.single, single, double, strict=True):
        for (name, _, a), (_, _, b) in zip(_pairs(ours, mine, low), _pairs(ours, mine, high), strict=False):
            if a.shape == b.shape and a.dtype.kind == "f":
                own[name] = max(own.get(name, 0.0), relative(a, b))
    # Rounding is luck, but not by a factor of a hundred.
    return [name for name, noise in ours.chaotic.items() if name in own and own[name] < noise / 100]


def _diffs64(ours: Reference, double: list[Outputs], gates: Gates) -> list[Diff]:
    diffs: list[Diff] = []
    for mine, theirs in zip(ours.double or [], double, strict=True):
        for name, reference, candidate in _pairs(ours, mine, theirs):
            by_log = 64 * float(np.finfo(np.float64).eps) if name.endswith(RECOVERED) else 0.0
            limit = max(gates.proof, gates.budget * ours.chaotic.get(name, 0.0) * _FINER)
            diffs.append(compare(name, reference, candidate, limit * magnitude(reference) + by_log))
    return _telling(diffs)


def _settled(ours: Reference, hop: Runner, gates: Gates, double: list[Outputs]) -> bool:
    if ours.double is None:
        return True
    return ours.straight is True and all(diff.passed for diff in _diffs64(ours, double, gates))


def _rung64(ours: Reference, hop: Runner, double: list[Outputs], straight: bool | None, gates: Gates) -> Rung:
    diffs = _diffs64(ours, double, gates)
    passed: bool | None = bool(diffs) and all(diff.passed for diff in diffs)
    note = ""
    crooked = [who.name for who, line in ((ours.runner, ours.straight), (hop, straight)) if line is False]
    if crooked and all(diff.max_abs is not None for diff in diffs):
        passed, note = None, f"no proof: the float64 run of {crooked[0]} computes partly in float32"
    elif not passed and all((diff.max_rel or np.inf) <= hop.rounds64 for diff in diffs if not diff.passed):
        off = max(diff.max_rel or 0.0 for diff in diffs)
        passed, note = None, f"no proof: {off:.1e} off, as the graph's constants are float32 numbers"
    elif passed and not within(diffs, gates.proof, ours.chaotic):
        off = max(diff.max_rel or 0.0 for diff in diffs if diff.name in ours.chaotic)
        note = f"no proof: chaotic, agrees to {off:.1e}, which is as far as float64 carries"
    elif passed and straight is None and not all(map(is_really_float64, double)):
        mine = ours.double or []
        exact = identical(double, mine, ours.count) and identical(ours.single, mine, ours.count)
        passed = True if exact else None
        note = (
            "bit-identical, nothing was rounded"
            if exact
            else f"no proof: {hop.name} answers float32 numbers throughout"
        )
    against = f"{ours.runner.name} float64"
    return Rung(hop.name, hop.device, hop.backend, "float64", against, passed, _worst(diffs), len(ours.sets), note)


def _further(ours: Reference, rung: Rung, far: Far | None) -> Rung:
    """The rung; failed where what passes is off on inputs that go further. Only a difference of finite numbers counts
    there, and one that no float64 rounding is."""
    if not rung.passed or far is None or not far.answers or ours.far is None:
        return rung
    wide = replace(ours, single=ours.far.answers, double=ours.far.answers)
    found = [
        compare(name, reference, candidate, _ROUNDING * magnitude(reference))
        for mine, theirs in zip(ours.far.answers, far.answers, strict=True)
        for name, reference, candidate in _pairs(wide, mine, theirs)
        if reference.dtype.kind == "f" and not name.endswith(RECOVERED) and name not in ours.chaotic
    ]
    failed = [diff for diff in found if not diff.passed and diff.max_abs is not None]
    if not failed:
        return rung
    return replace(rung, passed=False, diffs=_worst([*rung.diffs, *failed]), note="on inputs a hundred times as large")


def _rung32(ours: Reference, hop: Runner, single: list[Outputs], double: list[Outputs] | None, gates: Gates) -> Rung:
    """The float32 budget. Where the source is not finite in float32 it is the reference: an overflow is its own.

    What is chaotic in float32 has no budget: shapes, dtypes and what is not finite are judged, values are shown."""
    noises = ours.noise if ours.double is not None else _own_noise(ours, single, double, gates)
    partly = _own_noise(ours, single, double, gates) if hop.dtype == "float64" and double is not None else {}
    diffs: list[Diff] = []
    large: dict[str, float] = {}
    told: set[str] = set()
    for index, theirs in enumerate(single):
        mine = ours.single[index] if ours.double is None else _mended(ours.single[index], ours.double[index])
        dtypes = {name: array.dtype for name, array in ours.single[index]}
        for name, reference, candidate in _pairs(ours, mine, theirs):
            size, dtype = magnitude(reference), dtypes.get(name)
            step = max(_step(dtype, size), _step(candidate.dtype, size))
            noise = noises.get(name, 0.0)
            if dtype == np.float64 and candidate.dtype == np.float32:
                noise = max(noise, gates.stated / gates.budget)  # a float32 clone, whose rounding nothing measured
            tol = gates.budget * max(noise * size, gates.floor * step) + gates.ulps * step
            if dtype == np.float64 and candidate.dtype == np.float64:
                # Keras has backends that compute a float64 layer partly in float32: that is their own rounding.
                tol = max(tol, gates.proof * size, gates.budget * min(partly.get(name, 0.0), _PARTLY) * size)
                if partly.get(name, 0.0) > gates.proof:
                    told.add(f"{hop.backend} computes this partly in float32")
            share = max(gates.min_share, 1 - gates.budget * ours.flips.get(name, 0.0))
            diff = compare(name, reference, candidate, np.inf if name in ours.chaotic else tol, share=share)
            if name not in ours.chaotic and diff.max_rel is not None and size > 0 and tol / size > gates.large:
                large[name] = max(large.get(name, 0.0), tol / size)
            diffs.append(diff)
    diffs = _telling(diffs)
    against = f"{ours.runner.name} {ours.runner.dtype if ours.double is None else 'float64'}"
    passed: bool | None = bool(diffs) and all(diff.passed for diff in diffs)
    if ours.chaotic:
        passed = None if passed else False
        told.add("chaotic in float32: " + ", ".join(f"own error {v:.1e}" for v in [max(ours.chaotic.values())]))
    if large:
        name = max(large, key=lambda each: large[each])
        told.add(_large(ours, hop, name, large[name], noises.get(name, 0.0), gates))
    note, precision = "; ".join(sorted(told)), as_it_is(hop.dtype)
    return Rung(hop.name, hop.device, hop.backend, precision, against, passed, _worst(diffs), len(ours.sets), note)


def _large(ours: Reference, hop: Runner, name: str, tol: float, noise: float, gates: Gates) -> str:
    """Why so much is allowed."""
    whose = "the source's" if ours.double is not None else f"{hop.name}'s"
    if gates.budget * noise < tol / 2:
        steps = f"{gates.budget:g} times {gates.floor:g} steps of the output's dtype"
        return f"allows {tol:.1e}: {steps}; {whose} own rounding is {noise:.1e}"
    dtype = ours.runner.dtype if ours.double is not None else hop.dtype
    return f"allows {tol:.1e}: {gates.budget:g} times {whose} own rounding in {dtype}, {noise:.1e} in {name}"


def _own_noise(ours: Reference, single: list[Outputs], double: list[Outputs] | None, gates: Gates) -> dict[str, float]:
    """Without a float64 source: the hop's own float32 error (at most `stated`), or what makes the budget `stated`."""
    if double is None:
        names = [name for name, _, _ in _pairs(ours, ours.single[0], single[0])]
        return dict.fromkeys(names, gates.stated / gates.budget)
    found: dict[str, float] = {}
    for mine, low, high in zip(ours.single, single, double, strict=True):
        for (name, _, left), (_, _, right) in zip(_pairs(ours, mine, low), _pairs(ours, mine, high), strict=False):
            if left.shape == right.shape and left.dtype.kind == "f":
                found[name] = max(found.get(name, 0.0), min(relative(left, right), gates.stated))
    return found


def _pairs(ours: Reference, mine: Outputs, theirs: Outputs) -> list[Pair]:
    """Outputs by position, and what stands before each one's activation where both sides show it; the logits of a
    softmax by log where one of them does not. A wrong number of outputs is a pair that fails."""
    left, named = mine[: ours.count], dict(mine[ours.count :])
    right, taps = split(theirs)
    if len(left) != len(right):
        return [("number of outputs", np.array(len(left)), np.array(len(right)))]
    pairs: list[Pair] = []
    for index, ((name, a), (_, b)) in enumerate(zip(left, right, strict=True)):
        pairs.append((name, a, b))
        kind = ours.kinds.get(index)
        if kind is not None and taps.get(index, ("", b))[0] == kind:
            label = KINDS[kind] + name
            pairs.append((label, named[label], taps[index][1]))
        elif name in ours.axes and a.shape == b.shape and b.dtype.kind == "f":
            axis = ours.axes[name]
            pairs.append((LOGITS + name + RECOVERED, logits(a, axis), logits(b, axis)))
    return pairs


def _mended(single: Outputs, double: Outputs) -> Outputs:
    """The float64 answer, but where float32 is not finite (it overflows before float64 does) the float32 one."""
    return [
        (name, np.where(np.isfinite(low), high, low) if low.dtype.kind in "fc" else high)
        for (name, low), (_, high) in zip(single, double, strict=True)
    ]


def _step(dtype: np.dtype[Any] | None, size: float) -> float:
    if dtype is None or dtype.kind != "f":
        return 0.0
    with np.errstate(over="ignore"):
        step = float(np.spacing(np.abs(dtype.type(size))))
    return step if np.isfinite(step) else float(np.finfo(dtype.type).eps) * size


def _telling(diffs: list[Diff]) -> list[Diff]:
    """Without the inputs on which an output has nothing to compare (a mask that is drawn empty, for instance), where
    other inputs have something."""
    told = {diff.name for diff in diffs if not diff.nothing}
    return [diff for diff in diffs if not diff.nothing or diff.name not in told]


def _worst(diffs: Sequence[Diff]) -> tuple[Diff, ...]:
    """For each output the worst of its comparisons: a failure first, then the largest relative difference."""
    found: dict[str, Diff] = {}
    for diff in diffs:
        best = found.get(diff.name)
        rank = (not diff.passed, diff.max_abs is None, diff.max_rel or 0.0)
        if best is None or rank > (not best.passed, best.max_abs is None, best.max_rel or 0.0):
            found[diff.name] = diff
    return tuple(found.values())
