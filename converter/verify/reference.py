"""The source's answers: float32, float64, its own rounding, and whether the float64 is worth anything."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from .compare import Array, magnitude
from .evidence import LOGITS, is_really_float64, probe64, softmax_axes, with_logits
from .inputs import InputSet
from .runner import Outputs, Runner, attempt
from .verdict import Gates

_HALF_NOISE = 0.3


@dataclass
class Reference:
    """The source's answers, one entry for each input set that it answers, the logits of every softmax among them."""

    runner: Runner
    sets: list[InputSet] = field(default_factory=list)
    single: list[Outputs] = field(default_factory=list)
    double: list[Outputs] | None = None
    straight: bool | None = None  # what probe64 said
    why: str = ""  # there is no float64, or not a whole one
    axes: dict[str, int] = field(default_factory=dict)  # softmax outputs, by name
    noise: dict[str, float] = field(default_factory=dict)  # own float32 error, relative, the worst of all sets
    flips: dict[str, float] = field(default_factory=dict)  # share of unequal elements, integers and booleans


def ask_source(runner: Runner, sets: Sequence[InputSet], gates: Gates, notes: list[str]) -> Reference:
    """Run the source on every set; what it does not answer is noted and left out."""
    ours = Reference(runner, why=runner.why_no_64)
    for each in sets:
        outputs, why = attempt(functools.partial(runner.answer, runner.run32, each.arrays))
        if outputs is None:
            notes.append(f"the source does not answer {each.name!r}: {why}")
        else:
            ours.single.append(outputs)
            ours.sets.append(each)
    ours.axes = softmax_axes(ours.single)
    ours.single = [with_logits(outputs, ours.axes) for outputs in ours.single]
    if runner.open64 is not None and ours.single:
        double, ours.straight, ours.why = ask64(runner, ours.sets)
        if double is not None:
            double = [with_logits(outputs, ours.axes) for outputs in double]
            ours.why = _unfit(ours, double, gates)
            ours.double = None if ours.why else double
    if ours.double is None:
        notes.append(f"no float64 reference: {ours.why}")
    elif ours.straight is False:
        ours.why = "its float64 run computes partly in float32"
    return ours


def ask64(
    runner: Runner, sets: Sequence[InputSet], settled: Callable[[list[Outputs]], bool] = lambda answers: False
) -> tuple[list[Outputs] | None, bool | None, str]:
    """(float64 answers, what probe64 says, ''), or (None, None, why). The float64 copy is gone when this returns.

    Answers that `settled` accepts need no probe: what agrees with true float64 to 1e-10 is float64 itself."""
    if runner.open64 is None:
        return None, None, runner.why_no_64
    run64, why = attempt(runner.open64)
    if run64 is None:
        return None, None, why
    answers, why = attempt(lambda: [runner.answer(run64, each.arrays, double=True) for each in sets])
    if answers is None:
        return None, None, why
    if settled(answers):
        return answers, True, ""
    smallest = min(sets, key=lambda each: sum(array.size for array in each.arrays))
    straight, _ = attempt(lambda: probe64(runner, run64, smallest.arrays))
    return answers, straight, ""


def identical(left: Sequence[Outputs], right: Sequence[Outputs]) -> bool:
    """The same numbers in every output, whatever their dtypes."""
    return all(
        np.array_equal(a, b, equal_nan=a.dtype.kind == "f" and b.dtype.kind == "f")
        for one, two in zip(left, right, strict=True)
        for (name, a), (_, b) in zip(one, two, strict=False)
        if not name.startswith(LOGITS)
    )


def relative(low: Array, high: Array) -> float:
    """The largest difference of finite elements relative to the size of `high`."""
    finite = np.isfinite(low) & np.isfinite(high)
    scale = magnitude(high[finite])
    return magnitude(low[finite].astype(high.dtype) - high[finite]) / scale if scale > 0 else 0.0


def _unfit(ours: Reference, double: list[Outputs], gates: Gates) -> str:
    """Measure the source's own float32 error; why its float64 answers are no reference, or ''."""
    half = any(array.dtype.itemsize < 4 for outputs in ours.single for _, array in outputs if array.dtype.kind == "f")
    limit = _HALF_NOISE if half else gates.sane
    for one, two in zip(ours.single, double, strict=True):
        if [(name, array.shape) for name, array in one] != [(name, array.shape) for name, array in two]:
            return "its float64 outputs have other names or shapes than its float32 ones"
        for (name, low), (_, high) in zip(one, two, strict=True):
            if low.dtype.kind not in "fc":
                ours.flips[name] = max(ours.flips.get(name, 0.0), float(np.mean(low != high)) if low.size else 0.0)
                continue
            noise = relative(low, high)
            ours.noise[name] = max(ours.noise.get(name, 0.0), noise)
            if not (noise <= limit) and not name.startswith(LOGITS):
                return f"its float64 answer for {name} is {noise:.1e} off, more than rounding explains"
    masked = not all(is_really_float64(outputs) for outputs in double)
    if masked and (ours.straight is False or (ours.straight is None and not identical(ours.single, double))):
        return "its float64 answers are float32 numbers throughout"
    return ""
