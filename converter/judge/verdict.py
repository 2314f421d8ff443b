"""The judge's answer as data: rungs, gates, what the proof rests on, and where the road breaks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from .compare import Array, Diff

Turn = Callable[[Array], Array] | Sequence[int] | None


@dataclass(frozen=True)
class Gates:
    """The limits. All are relative to the largest magnitude of the output they judge.

    proof     float64: source against target
    budget    float32: this many times the source's own float32 error, measured against its float64 answer...
    ulps      ... plus this many steps of the output's dtype
    floor     the source's error counts as at least this many steps: a source may be exact by luck (one Dense whose sums
              round well), while the same sum in another order, or another library's exp, is off by a step or two.
              So the least budget is 16 * 2 + 4 = 36 steps = 4e-6. A wrong formula smaller than that is the float64
              proof's to find, and where there is none the verdict says that it rests on this budget.
    stated    float32 where nothing was measured in float64, on either side
    sane      a source whose float32 answer is further than this from its float64 one is chaotic in float32, if the
              target shows the same; else the float64 answer is that of another model, and is not used
    large     a float32 tolerance larger than this is never granted without saying where it comes from
    weak      an output that moves less than this with the input is weak evidence
    min_share integers and booleans in float32: the share of equal elements is never asked to be less than this
    """

    proof: float = 1e-10
    budget: float = 16.0
    ulps: float = 4.0
    floor: float = 2.0
    stated: float = 1e-5
    sane: float = 1e-2
    large: float = 1e-3
    weak: float = 1e-3
    min_share: float = 0.9
    require_proof: bool = False


@dataclass(frozen=True)
class Rung:
    """One model in one precision, compared with the reference: for each output the worst of all input sets.

    `passed` is None where nothing is judged: the source itself, a float64 run that turned out to be none, or a float32
    run of what is chaotic in float32; `note` says which."""

    name: str
    device: str
    backend: str
    precision: str
    against: str
    passed: bool | None
    diffs: tuple[Diff, ...] = ()
    sets: int = 0
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        data = {key: getattr(self, key) for key in ("name", "device", "backend", "precision", "against", "passed")}
        return {**data, "sets": self.sets, "note": self.note, "outputs": [diff.to_dict() for diff in self.diffs]}


@dataclass(frozen=True)
class Weights:
    """Weights compared bit by bit through the mapping; `passed` is None where there were none."""

    compared: int
    elements: int
    wrong: tuple[str, ...] = ()

    @property
    def passed(self) -> bool | None:
        """False if one differs."""
        return None if self.compared == 0 else not self.wrong


@dataclass
class Verdict:
    """All that was found. `passed` counts every rung and the weights; `proof` says whether float64 bears it.

    `weak` names the outputs that say nothing, because they hardly move with any input that was tried. `chaotic` holds,
    for each output whose float32 answers are their own rounding, the source's relative float32 error. `policy` is a
    sentence where the source computes in another dtype than float32. `layers` are the source's with their own and
    accumulated error, `fault` is the first that is off, `held` the most bytes of values that were held for that."""

    passed: bool
    proof: bool
    rests_on: str
    rungs: list[Rung] = field(default_factory=list)
    broken: str = ""
    sensitivity: dict[str, float] = field(default_factory=dict)
    weak: list[str] = field(default_factory=list)
    chaotic: dict[str, float] = field(default_factory=dict)
    policy: str = ""
    layers: list[dict[str, Any]] = field(default_factory=list)
    fault: dict[str, Any] = field(default_factory=dict)
    held: int = 0
    weights: Weights | None = None
    notes: list[str] = field(default_factory=list)
    seed: int = 0
    sets: list[dict[str, Any]] = field(default_factory=list)
    gates: Gates = field(default_factory=Gates)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        keys = ("passed", "proof", "rests_on", "broken", "sensitivity", "weak", "chaotic", "policy", "layers", "fault")
        data = {key: getattr(self, key) for key in keys}
        weights = None if self.weights is None else {**asdict(self.weights), "passed": self.weights.passed}
        data |= {"rungs": [rung.to_dict() for rung in self.rungs], "weights": weights, "notes": list(self.notes)}
        return data | {"seed": self.seed, "sets": self.sets, "gates": asdict(self.gates)}


def _bits(array: Array) -> Array:
    """The numbers' bits as unsigned integers of their size: a view where the array is contiguous."""
    plain = np.ascontiguousarray(array).reshape(-1)
    return plain.view(f"u{plain.dtype.itemsize}") if plain.dtype.itemsize in (1, 2, 4, 8) else plain.view(np.uint8)


def compare_weights(entries: Iterable[tuple[str, Array, Turn, Array]]) -> Weights:
    """(name, source array, how it is turned, target array): every turned source must be its target bit by bit.

    The turn is a callable, a permutation of axes, or None. Some weights move no output (the key bias of attention), so
    running the model cannot judge them. Bits, not values: a NaN must be the same NaN, -0.0 is not 0.0."""
    compared, elements, wrong = 0, 0, list[str]()
    for name, source, turn, target in entries:
        expected = source if turn is None else turn(source) if callable(turn) else np.transpose(source, turn)
        compared += 1
        elements += int(target.size)
        if expected.shape != target.shape or expected.dtype != target.dtype:
            wrong.append(
                f"{name}: {target.dtype} {list(target.shape)}, expected {expected.dtype} {list(expected.shape)}"
            )
        elif not np.array_equal(_bits(expected), _bits(target)):
            count = int(np.sum(expected != target))
            wrong.append(f"{name}: {count} of {target.size} elements differ")
    return Weights(compared, elements, tuple(wrong))
