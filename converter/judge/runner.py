"""What the judge sees of a model: callables from arrays to named arrays, and how its boundary is turned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from ..errors import ConvertError
from .compare import Array
from .taps import Outputs, tap_index

RunFn = Callable[[Sequence[Array]], Outputs]
Perm = tuple[int, ...] | None
T = TypeVar("T")


class NoFloat64(ConvertError):
    """This model cannot be run in float64; the text says why, and the judge rests on the float32 budget."""


@dataclass(frozen=True)
class Boundary:
    """How a target's inputs and outputs are turned against the source's: `np.transpose(source_input, inputs[i])` goes
    in, `np.transpose(target_output, outputs[i])` is compared. None, or a missing entry, turns nothing."""

    inputs: tuple[Perm, ...] = ()
    outputs: tuple[Perm, ...] = ()

    def to_target(self, arrays: Sequence[Array]) -> list[Array]:
        """The source's inputs in the target's order of axes."""
        return [_turn(array, self.inputs, i) for i, array in enumerate(arrays)]

    def to_source(self, outputs: Outputs) -> Outputs:
        """The target's outputs in the source's order of axes; a tap goes with its output."""
        taps = [tap_index(name) for name, _ in outputs]
        places = [i if tap is None else tap for i, tap in enumerate(taps)]
        return [(name, _turn(array, self.outputs, i)) for i, (name, array) in zip(places, outputs, strict=True)]


@dataclass
class Runner:
    """One rung: a model that answers in its own dtype and, where `open64` is given, in float64.

    `open64` makes the float64 callable when the judge needs it and the judge drops it right after, so that one float64
    copy is alive at a time; it raises NoFloat64 where there is none. `most64` bounds the input sets that are run so,
    the smallest first (0: all); a float64 answer that is off by less than `rounds64` is the rounding of the constants
    that the graph was written with: it proves nothing, and is no fault. `open32` is given where the model computes in
    mixed precision: its float32 twin. `policy` says what a source of another dtype than float32 computes in, `dtype`
    what most of a model does (of ONNX: once it ran). `note` tells, once it ran, what was run in the model's place.
    `close` is called when the judge has every answer.
    """

    name: str
    run32: RunFn
    open64: Callable[[], RunFn] | None = None
    why_no_64: str = "it runs in float32 only"
    device: str = "cpu"
    backend: str = ""
    boundary: Boundary = field(default_factory=Boundary)
    close: Callable[[], None] | None = None
    open32: Callable[[], RunFn] | None = None
    most64: int = 0
    rounds64: float = 0.0
    policy: str = ""
    dtype: str = "float32"
    note: Callable[[], str] = lambda: ""
    _asked: list[tuple[Sequence[Array], Outputs]] = field(default_factory=list, repr=False)

    def answer(self, run: RunFn, arrays: Sequence[Array], *, double: bool = False) -> Outputs:
        """Run on the source's inputs (floats as float64 where `double`), outputs in the source's order of axes."""
        turned = self.boundary.to_target(arrays)
        return self.boundary.to_source(run([widen(x) for x in turned] if double else turned))

    def answer32(self, arrays: Sequence[Array]) -> Outputs:
        """The float32 answer; one that `refuses` was given is not computed a second time."""
        for index, (asked, outputs) in enumerate(self._asked):
            if asked is arrays:
                del self._asked[index]
                return outputs
        return self.answer(self.run32, arrays)

    def refuses(self, arrays: Sequence[Array]) -> str:
        """Why the model has no use for these inputs ('' if it answers): it raises, or an output is empty."""
        outputs, why = attempt(lambda: self.answer(self.run32, arrays))
        if outputs is None:
            return why
        self._asked.append((arrays, outputs))
        empty = [name for name, array in outputs if array.size == 0]
        return f"output {empty[0]!r} is empty" if empty else ""


def attempt(call: Callable[[], T]) -> tuple[T | None, str]:
    """(what `call` returns, ''), or (None, why it failed): running a model may raise anything at all."""
    try:
        return call(), ""
    except NoFloat64 as error:
        return None, str(error)
    except Exception as error:  # noqa: BLE001 - frameworks have no common class; the reason goes into the verdict
        return None, f"{type(error).__name__}: {first_line(error)}"


def widen(array: Array) -> Array:
    """Floats below float64 as float64, exactly; everything else as it is."""
    return array.astype(np.float64) if array.dtype.kind == "f" or array.dtype.name == "bfloat16" else array


def first_line(error: BaseException) -> str:
    """The first line of a message that says something, of a length fit for a report."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else "no message")[:300]


def _turn(array: Array, perms: tuple[Perm, ...], index: int) -> Array:
    perm = perms[index] if index < len(perms) else None
    if perm is None or len(perm) != array.ndim:
        return array  # a wrong rank is the comparison's to report
    return np.ascontiguousarray(np.transpose(array, perm))
