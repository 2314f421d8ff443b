"""The judge: source, ONNX, target, each against the source's float64; which hop broke, what the proof rests on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .compare import Array, Diff, compare, magnitude
from .evidence import LOGITS, is_really_float64, logits, other_inputs, sensitivity, with_logits
from .inputs import InputSet
from .reference import Reference, ask64, ask_source, identical, relative
from .runner import Outputs, Runner, attempt
from .verdict import Gates, Rung, Verdict, Weights

Progress = Callable[[str], None]


def judge(
    source: Runner,
    hops: Sequence[Runner],
    sets: Sequence[InputSet],
    *,
    seed: int = 0,
    gates: Gates | None = None,
    weights: Weights | None = None,
    progress: Progress = lambda text: None,
) -> Verdict:
    """Run `source` and every one of `hops` (in the order of the road) on every set of inputs, and compare.

    float64: a hop with `open64` must agree with the source's float64 to `gates.proof`. float32: every hop must stay
    within `gates.budget` times the source's own float32 error. Without a float64 source the hop's own float32 error, or
    `gates.stated`, is the measure, and the verdict says so. Never raises for what a model does."""
    gates = gates or Gates()
    notes: list[str] = []
    progress(f"{source.name}: reference")
    ours = ask_source(source, sets, gates, notes)
    verdict = Verdict(False, False, "nothing: no input was answered by the source", notes=notes, seed=seed, gates=gates)
    verdict.weights = weights
    verdict.sets = [{"name": each.name, "shapes": each.shapes, "seed": each.seed} for each in ours.sets]
    if ours.single:
        verdict.sensitivity = _sensitivity(ours, notes)
        verdict.weak = _weak(verdict.sensitivity, gates)
        _release(source)
        verdict.rungs.append(_source_rung(ours))
        for hop in hops:
            progress(f"{hop.name} on {hop.device}")
            verdict.rungs += _judge_hop(ours, hop, gates, notes)
            _release(hop)
        _conclude(verdict, ours)
    else:
        verdict.broken = f"{source.name} answered none of the inputs"
    return verdict


def _judge_hop(ours: Reference, hop: Runner, gates: Gates, notes: list[str]) -> list[Rung]:
    """One hop's rungs: float64 where both sides have it, and float32 always."""
    single, why = attempt(lambda: [hop.answer(hop.run32, each.arrays) for each in ours.sets])
    if single is None:  # the source answered this, so it is a failure of the hop
        return [Rung(hop.name, hop.device, hop.backend, "float32", "", False, note=why)]
    rungs: list[Rung] = []
    double = None
    if hop.open64 is not None:
        double, straight, why = ask64(hop, ours.sets, functools.partial(_settled, ours, hop, gates))
        if double is None:
            notes.append(f"{hop.name} on {hop.device} has no float64: {why}")
        elif ours.double is not None:
            rungs.append(_rung64(ours, hop, double, straight, gates))
    for (name, a), (_, b) in zip(ours.single[0], single[0], strict=False):
        if a.dtype != b.dtype:
            notes.append(f"{hop.name}: {name} is {b.dtype}, {a.dtype} in the source")
    return [*rungs, _rung32(ours, hop, single, double, gates)]


def _diffs64(ours: Reference, hop: Runner, double: list[Outputs], gates: Gates) -> list[Diff]:
    diffs: list[Diff] = []
    for mine, theirs in zip(ours.double or [], double, strict=True):
        for name, reference, candidate in _pairs(ours, hop, mine, theirs):
            noise = 64 * float(np.finfo(np.float64).eps) if name.startswith(LOGITS) else 0.0
            diffs.append(compare(name, reference, candidate, gates.proof * magnitude(reference) + noise))
    return diffs


def _settled(ours: Reference, hop: Runner, gates: Gates, double: list[Outputs]) -> bool:
    if ours.double is None:
        return True
    return ours.straight is True and all(diff.passed for diff in _diffs64(ours, hop, double, gates))


def _rung64(ours: Reference, hop: Runner, double: list[Outputs], straight: bool | None, gates: Gates) -> Rung:
    diffs = _diffs64(ours, hop, double, gates)
    passed: bool | None = bool(diffs) and all(diff.passed for diff in diffs)
    note = ""
    crooked = [who.name for who, line in ((ours.runner, ours.straight), (hop, straight)) if line is False]
    if crooked and all(diff.max_abs is not None for diff in diffs):
        passed, note = None, f"no proof: the float64 run of {crooked[0]} computes partly in float32"
    elif passed and straight is None and not all(map(is_really_float64, double)):
        exact = identical(double, ours.double or []) and identical(ours.single, ours.double or [])
        passed = True if exact else None
        note = (
            "bit-identical, nothing was rounded"
            if exact
            else f"no proof: {hop.name} answers float32 numbers throughout"
        )
    against = f"{ours.runner.name} float64"
    return Rung(hop.name, hop.device, hop.backend, "float64", against, passed, _worst(diffs), len(ours.sets), note)


def _rung32(ours: Reference, hop: Runner, single: list[Outputs], double: list[Outputs] | None, gates: Gates) -> Rung:
    """The float32 budget. Where the source is not finite in float32 it is the reference: an overflow is its own."""
    noises = ours.noise if ours.double is not None else _own_noise(ours, hop, single, double, gates)
    diffs: list[Diff] = []
    for index, theirs in enumerate(single):
        mine = ours.single[index] if ours.double is None else _mended(ours.single[index], ours.double[index])
        dtypes = {name: array.dtype for name, array in ours.single[index]}
        for name, reference, candidate in _pairs(ours, hop, mine, theirs):
            size = magnitude(reference)
            step = max(_step(dtypes.get(name), size), _step(candidate.dtype, size))
            tol = gates.budget * max(noises.get(name, 0.0) * size, gates.floor * step) + gates.ulps * step
            share = max(gates.min_share, 1 - gates.budget * ours.flips.get(name, 0.0))
            diffs.append(compare(name, reference, candidate, tol, share=share))
    against = f"{ours.runner.name} {'float32' if ours.double is None else 'float64'}"
    passed = bool(diffs) and all(diff.passed for diff in diffs)
    return Rung(hop.name, hop.device, hop.backend, "float32", against, passed, _worst(diffs), len(ours.sets))


def _own_noise(
    ours: Reference, hop: Runner, single: list[Outputs], double: list[Outputs] | None, gates: Gates
) -> dict[str, float]:
    """Without a float64 source: the hop's own float32 error (at most `stated`), or what makes the budget `stated`."""
    if double is None:
        return {name: gates.stated / gates.budget for name, _ in ours.single[0]}
    found: dict[str, float] = {}
    for mine, low, high in zip(ours.single, single, double, strict=True):
        for (name, _, left), (_, _, right) in zip(
            _pairs(ours, hop, mine, low), _pairs(ours, hop, mine, high), strict=False
        ):
            if left.shape == right.shape and left.dtype.kind == "f":
                found[name] = max(found.get(name, 0.0), min(relative(left, right), gates.stated))
    return found


def _pairs(ours: Reference, hop: Runner, mine: Outputs, theirs: Outputs) -> list[tuple[str, Array, Array]]:
    """Outputs by position, the logits of each softmax, and extras by name where both sides have them. A wrong number of
    outputs is a pair that fails."""
    left = [(name, array) for name, array in mine if name not in ours.runner.extras and not name.startswith(LOGITS)]
    right = [(name, array) for name, array in theirs if name not in hop.extras]
    if len(left) != len(right):
        return [("number of outputs", np.array(len(left)), np.array(len(right)))]
    pairs: list[tuple[str, Array, Array]] = []
    for (name, a), (_, b) in zip(left, right, strict=True):
        pairs.append((name, a, b))
        if name in ours.axes and a.shape == b.shape and b.dtype.kind == "f":
            axis = ours.axes[name]
            pairs.append((LOGITS + name, logits(a, axis), logits(b, axis)))
    there = dict(theirs)
    return pairs + [(name, a, there[name]) for name, a in mine if name in ours.runner.extras and name in there]


def _conclude(verdict: Verdict, ours: Reference) -> None:
    judged = [rung for rung in verdict.rungs[1:] if rung.passed is not None]
    doubles = [rung for rung in judged if rung.precision == "float64"]
    failed = [rung for rung in judged if rung.passed is False]
    verdict.proof = bool(doubles) and all(rung.passed for rung in doubles)
    whole = bool(judged) and not failed
    if failed:
        verdict.broken = _where(verdict.rungs, failed[0])
    unequal = verdict.weights is not None and verdict.weights.passed is False
    if unequal and not verdict.broken:
        verdict.broken = "the weights: equal answers, but not every weight is a copy"
    verdict.passed = whole and not unequal
    if verdict.proof:
        verdict.rests_on = f"float64: {ours.runner.name} and {doubles[-1].name} agree to {verdict.gates.proof:.0e}"
    elif ours.double is not None:
        verdict.rests_on = "the float32 budget, measured against the source's float64"
        verdict.notes += [rung.note for rung in verdict.rungs if rung.precision == "float64" and rung.note]
    else:
        verdict.rests_on = "the float32 budget, source against target in float32"
    if verdict.passed and verdict.gates.require_proof and not verdict.proof:
        verdict.passed, verdict.broken = False, f"a float64 proof was required: {ours.why or 'no hop has one'}"
    for name in verdict.weak:
        verdict.notes.append(
            f"weak evidence: {name} moves by {verdict.sensitivity[name]:.1e} of its size with the input"
        )


def _where(rungs: Sequence[Rung], failed: Rung) -> str:
    """The first rung that fails, and the last one on the road before it that stood."""
    stood = rungs[0].name
    for rung in rungs[1:]:
        if (rung.name, rung.device) == (failed.name, failed.device):
            break
        stood = rung.name if rung.passed else stood
    return f"between {stood} and {failed.name} ({failed.device}, {failed.precision})"


def _source_rung(ours: Reference) -> Rung:
    """The source's own float32 error, for the table; nothing is judged."""
    diffs = [
        compare(name, reference, candidate, np.inf, share=0.0)
        for single, double in zip(ours.single, ours.double or [], strict=False)
        for (name, candidate), (_, reference) in zip(single, double, strict=True)
    ]
    runner = ours.runner
    against = f"{runner.name} float64" if diffs else ""
    note = ours.why if ours.double is None or ours.straight is False else ""
    return Rung(
        runner.name, runner.device, runner.backend, "float32", against, None, _worst(diffs), len(ours.sets), note
    )


def _sensitivity(ours: Reference, notes: list[str]) -> dict[str, float]:
    """From two sets of the same shapes, or from the first set and its values back to front."""
    answers = ours.double or ours.single
    for index, each in enumerate(ours.sets):
        for before in range(index):
            if ours.sets[before].shapes == each.shapes:
                return sensitivity(answers[before], answers[index])
    if not ours.sets[0].arrays:
        return {}
    flipped = other_inputs(ours.sets[0].arrays)
    other, why = attempt(lambda: ours.runner.answer(ours.runner.run32, flipped))
    if other is None:
        notes.append(f"sensitivity not measured: {why}")
        return {}
    return sensitivity(ours.single[0], with_logits(other, ours.axes))


def _weak(found: dict[str, float], gates: Gates) -> list[str]:
    """Outputs that hardly move; a softmax that hardly moves is excused by logits that do."""
    still = [name for name, value in found.items() if not (value >= gates.weak)]
    return [name for name in still if found.get(LOGITS + name, 0.0) < gates.weak]


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


def _worst(diffs: Sequence[Diff]) -> tuple[Diff, ...]:
    """For each output the worst of its comparisons: a failure first, then the largest relative difference."""
    found: dict[str, Diff] = {}
    for diff in diffs:
        best = found.get(diff.name)
        rank = (not diff.passed, diff.max_abs is None, diff.max_rel or 0.0)
        if best is None or rank > (not best.passed, best.max_abs is None, best.max_rel or 0.0):
            found[diff.name] = diff
    return tuple(found.values())


def _note_dtypes(ours: Reference, hop: Runner, single: list[Outputs], notes: list[str]) -> None:
    for (name, a), (_, b) in zip(ours.single[0], single[0], strict=False):
        if a.dtype != b.dtype:
            notes.append(f"{hop.name}: {name} is {b.dtype}, {a.dtype} in the source")


def _release(runner: Runner) -> None:
    if runner.close is not None:
        runner.close()
