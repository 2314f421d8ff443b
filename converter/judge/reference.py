"""The source's answers: float32, float64, its own rounding, and whether the float64 is worth anything."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from .compare import Array, magnitude
from .evidence import is_really_float64, probe64, softmax_axes
from .inputs import InputSet
from .runner import RunFn, Runner, attempt
from .search import moving_inputs, same_arrays
from .taps import LOGITS, RECOVERED, Outputs, kinds_in, labelled, logits, split
from .verdict import Gates

_HALF_NOISE = 0.3
_FURTHER = 100


@dataclass
class Far:
    """The smallest set's inputs a hundred times as large, with either sign, and the float64 answers on them, if any.

    Small inputs leave what clips untouched: a ReLU6 in the place of a ReLU shows in nothing else."""

    inputs: list[list[Array]]
    answers: list[Outputs] = field(default_factory=list)


@dataclass
class Reference:
    """The source's answers, one entry for each input set that it answers, the taps of every output among them."""

    runner: Runner
    sets: list[InputSet] = field(default_factory=list)
    single: list[Outputs] = field(default_factory=list)
    double: list[Outputs] | None = None
    straight: bool | None = None  # what probe64 said
    why: str = ""  # there is no float64, or not a whole one
    count: int = 0  # outputs; what follows in an answer stands before one of them
    kinds: dict[int, str] = field(default_factory=dict)  # the activation that ends an output, by its index
    axes: dict[str, int] = field(default_factory=dict)  # softmax outputs, by name
    noise: dict[str, float] = field(default_factory=dict)  # own float32 error, relative, the worst of all sets
    flips: dict[str, float] = field(default_factory=dict)  # share of unequal elements, integers and booleans
    chaotic: dict[str, float] = field(default_factory=dict)  # noise past what a float32 comparison can mean
    far: Far | None = None  # float64 answers on inputs that go further
    half: list[Outputs] = field(default_factory=list)  # a mixed-precision source as it is; `single` is its twin's

    @property
    def names(self) -> list[str]:
        """The outputs' names."""
        return [name for name, _ in self.single[0][: self.count]]


def ask_source(runner: Runner, sets: Sequence[InputSet], gates: Gates, notes: list[str], seed: int = 0) -> Reference:
    """Run the source on every set; what it does not answer is noted and left out.

    A source of mixed precision is asked as its float32 twin, and once more as it is. Where the outputs hardly move with
    the input, two sets of another kind are added, under which they move most."""
    ours = Reference(runner, why=runner.why_no_64)
    run = runner.run32
    if runner.open32 is not None:
        twin, why = attempt(runner.open32)
        if twin is None:
            notes.append(f"no float32 twin of the mixed-precision source, which is judged as it is: {why}")
        run = twin or run
    raw: list[Outputs] = []
    for each in sets:
        if any(same_arrays(each.arrays, other.arrays) for other in ours.sets):
            continue  # a batch of one, reversed: it adds nothing
        ask = runner.answer32 if run is runner.run32 else functools.partial(runner.answer, run)
        outputs, why = attempt(functools.partial(ask, each.arrays))
        if outputs is None:
            notes.append(f"the source does not answer {each.name!r}: {why}")
        else:
            raw.append(outputs)
            ours.sets.append(each)
    if not raw:
        return ours
    moving_inputs(runner, run, ours.sets, raw, gates.weak, notes, seed)
    double = None
    if runner.open64 is not None:
        ours.far = _far(ours.sets)
        double, ours.straight, ours.why = ask64(runner, ours.sets, far=ours.far)
    if run is not runner.run32:
        half, _ = attempt(lambda: [runner.answer(runner.run32, each.arrays) for each in ours.sets])
        ours.half = [split(outputs)[0] for outputs in half or []]
    _name(ours, raw, double)
    if double is not None:
        ours.why = _unfit(ours, gates)
        ours.double = None if ours.why else ours.double
    if ours.double is None:
        ours.chaotic = {}
        notes.append(f"no float64 reference: {ours.why}")
    elif ours.straight is False:
        ours.why = "its float64 run computes partly in float32"
    return ours


def _name(ours: Reference, raw: list[Outputs], double: list[Outputs] | None) -> None:
    """Give outputs and taps the names that they are shown under: a tap counts where every answer has it."""
    plain = [split(outputs)[0] for outputs in raw]
    ours.count = len(plain[0])
    ours.axes = softmax_axes(plain)
    ours.kinds = kinds_in([*raw, *(double or [])])
    ours.single = [labelled(outputs, ours.kinds, ours.axes) for outputs in raw]
    ours.double = None if double is None else [labelled(outputs, ours.kinds, ours.axes) for outputs in double]
    if ours.far is not None:
        ours.far.answers = [labelled(outputs, ours.kinds, ours.axes) for outputs in ours.far.answers]


def _far(sets: Sequence[InputSet]) -> Far | None:
    arrays = min(sets, key=size_of).arrays
    if not any(array.dtype.kind == "f" for array in arrays):
        return None
    return Far(
        [
            [array.astype(np.float64) * factor if array.dtype.kind == "f" else array for array in arrays]
            for factor in (_FURTHER, -_FURTHER)
        ]
    )


def ask64(
    runner: Runner,
    sets: Sequence[InputSet],
    settled: Callable[[list[Outputs]], bool] = lambda answers: False,
    far: Far | None = None,
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
    straight = None
    if settled(answers):
        _go_far(runner, run64, far)
        return answers, True, ""
    for each in (min(sets, key=size_of), sets[-1]):  # the last is one under which the outputs move, where they need it
        if straight is None:
            straight, _ = attempt(functools.partial(probe64, runner, run64, each.arrays))
    _go_far(runner, run64, far)
    return answers, straight, ""


def _go_far(runner: Runner, run64: RunFn, far: Far | None) -> None:
    if far is not None:
        more, _ = attempt(lambda: [runner.answer(run64, each, double=True) for each in far.inputs])
        far.answers += more or []


def size_of(each: InputSet) -> int:
    """Elements of a set's inputs."""
    return sum(array.size for array in each.arrays)


def identical(left: Sequence[Outputs], right: Sequence[Outputs], count: int) -> bool:
    """The same numbers in each of the `count` outputs, whatever their dtypes."""
    return all(
        np.array_equal(a, b, equal_nan=a.dtype.kind == "f" and b.dtype.kind == "f")
        for one, two in zip(left, right, strict=True)
        for (_, a), (_, b) in zip(one[:count], two[:count], strict=False)
    )


def relative(low: Array, high: Array) -> float:
    """The largest difference of finite elements relative to the size of `high`."""
    finite = np.isfinite(low) & np.isfinite(high)
    scale = magnitude(high[finite])
    return magnitude(low[finite].astype(high.dtype) - high[finite]) / scale if scale > 0 else 0.0


def _unfit(ours: Reference, gates: Gates) -> str:
    """Measure the source's own float32 error; why its float64 answers are no reference, or ''."""
    double = ours.double or []
    half = any(array.dtype.itemsize < 4 for outputs in ours.single for _, array in outputs if array.dtype.kind == "f")
    half = half or ours.runner.dtype.endswith("float16")
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
            if name in ours.axes:
                by_log = LOGITS + name + RECOVERED
                axis = ours.axes[name]
                own = relative(logits(low, axis), logits(high, axis))
                ours.noise[by_log] = max(ours.noise.get(by_log, 0.0), own)
            if not (noise <= limit) and not name.endswith(RECOVERED):
                ours.chaotic[name] = ours.noise[name]
    masked = not all(is_really_float64(outputs) for outputs in double)
    exact = ours.straight is None and identical(ours.single, double, ours.count)
    if masked and not ours.straight and not exact:
        return "its float64 answers are float32 numbers throughout"
    return ""
