"""The judge: source, ONNX, target, each against the source's float64; which hop broke, what the proof rests on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .inputs import InputSet
from .reference import Reference, ask_source
from .rungs import as_it_is, judge_hop, own_error, within
from .runner import Runner
from .search import movement
from .taps import labels_of
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
    `gates.stated`, is the measure, and the verdict says so. A source of mixed precision is judged by its float32 twin.
    Never raises for what a model does."""
    gates = gates or Gates()
    notes: list[str] = []
    progress(f"{source.name}: reference")
    ours = ask_source(source, sets, gates, notes, seed)
    verdict = Verdict(False, False, "nothing: no input was answered by the source", notes=notes, seed=seed, gates=gates)
    verdict.weights = weights
    verdict.sets = [{"name": each.name, "shapes": each.shapes, "seed": each.seed} for each in ours.sets]
    verdict.chaotic = dict(ours.chaotic)
    if ours.single:
        verdict.sensitivity = movement(ours.sets, ours.double or ours.single)
        _release(source)
        note = ours.why if ours.double is None or ours.straight is False else ""
        verdict.rungs.append(own_error(ours, ours.single, "float32" if ours.half else as_it_is(source.dtype), note))
        if ours.half:
            verdict.rungs.append(own_error(ours, ours.half, _mixed(source), "the source as it is, not judged"))
        before = len(verdict.rungs)
        for hop in hops:
            progress(f"{hop.name} on {hop.device}")
            verdict.rungs += judge_hop(ours, hop, gates, notes)
            _release(hop)
        verdict.policy = _policy(source, hops)
        verdict.weak = _weak(ours, verdict, hops, verdict.rungs[before:])
        _conclude(verdict, ours, verdict.rungs[before:])
    else:
        verdict.broken = f"nothing could be judged: {source.name} answered none of the inputs"
    return verdict


def _conclude(verdict: Verdict, ours: Reference, rungs: Sequence[Rung]) -> None:
    judged = [rung for rung in rungs if rung.passed is not None]
    doubles = [rung for rung in judged if rung.precision == "float64"]
    failed = [rung for rung in judged if rung.passed is False]
    close = all(within(rung.diffs, verdict.gates.proof, verdict.chaotic) for rung in doubles)
    verdict.proof = bool(doubles) and close and all(rung.passed for rung in doubles)
    whole = bool(judged) and not failed
    chaos = ", ".join(f"{name} {value:.1e}" for name, value in verdict.chaotic.items())
    if failed:
        nothing = [diff for rung in failed for diff in rung.diffs if diff.nothing]
        alone = all(diff.passed or diff.nothing for rung in failed for diff in rung.diffs)
        verdict.broken = _where(rungs, ours.runner.name, failed[0])
        if nothing and alone:
            verdict.broken = f"nothing could be compared: {nothing[0].name} {nothing[0].nothing} in the source, too"
    elif not judged and chaos:
        verdict.broken = f"nothing could be judged: chaotic in float32 (own error: {chaos}), and no float64 to rest on"
    unequal = verdict.weights is not None and verdict.weights.passed is False
    if unequal and not verdict.broken:
        verdict.broken = "the weights: equal answers, but not every weight is a copy"
    verdict.passed = whole and not unequal
    if verdict.proof:
        verdict.rests_on = f"float64: {ours.runner.name} and {doubles[-1].name} agree to {verdict.gates.proof:.0e}"
        if chaos:
            verdict.rests_on += f" (chaotic in float32: own error {max(verdict.chaotic.values()):.1e})"
    elif doubles and chaos:
        verdict.rests_on = f"float64, as far as it carries: chaotic in float32 (own error: {chaos})"
        verdict.notes += [rung.note for rung in doubles if rung.note]
    elif ours.double is not None:
        verdict.rests_on = "the float32 budget, measured against the source's float64"
        verdict.notes += [rung.note for rung in rungs if rung.precision == "float64" and rung.note]
    else:
        verdict.rests_on = "the float32 budget, source against target in float32"
    for name in verdict.weak:
        verdict.notes.append(
            f"weak evidence: {name} moves by {verdict.sensitivity[name]:.1e} of its size with the input"
        )
    if verdict.passed and verdict.gates.require_proof and not verdict.proof:
        verdict.passed, verdict.broken = False, f"a float64 proof was required: {ours.why or 'no hop has one'}"
    elif verdict.passed and verdict.gates.require_proof and verdict.weak:
        verdict.passed = False
        verdict.broken = f"a proof was required, and the evidence is weak: {', '.join(verdict.weak)}"


def _weak(ours: Reference, verdict: Verdict, hops: Sequence[Runner], rungs: Sequence[Rung]) -> list[str]:
    """Outputs that hardly move; excused by the value before their activation where that moves and was compared with
    the last hop's."""
    last = hops[-1] if hops else None
    compared = {
        diff.name
        for rung in rungs
        if last is not None and (rung.name, rung.device) == (last.name, last.device)
        for diff in rung.diffs
    }
    found, least = verdict.sensitivity, verdict.gates.weak
    return [
        name
        for name in ours.names
        if not found.get(name, 0.0) >= least
        and not any(found.get(tap, 0.0) >= least for tap in labels_of(name) if tap in compared)
    ]


def _policy(source: Runner, hops: Sequence[Runner]) -> str:
    if not source.policy:
        return ""
    return f"{source.policy}; the target computes in {hops[-1].dtype}" if hops else source.policy


def _mixed(source: Runner) -> str:
    """The mixed policy's own name."""
    return next((word for word in source.policy.split() if word.startswith("mixed_")), "mixed")


def _where(rungs: Sequence[Rung], first: str, failed: Rung) -> str:
    """The first rung that fails, and the last one on the road before it that stood."""
    stood = first
    for rung in rungs:
        if (rung.name, rung.device) == (failed.name, failed.device):
            break
        stood = rung.name if rung.passed else stood
    return f"between {stood} and {failed.name} ({failed.device}, {failed.precision})"


def _release(runner: Runner) -> None:
    if runner.close is not None:
        runner.close()
