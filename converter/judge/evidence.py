"""What a comparison is worth: is it float64, do the outputs move with the input, which are probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .compare import Array, magnitude
from .runner import RunFn, Runner, widen
from .taps import Outputs

# A step of about one float32 step: float64 follows it to a relative 1e-6, float32 misses by a tenth or more.
_STEP = 1e-7
_CROOKED = 1e-2
_FAR, _NEAR = 1e-3, 1e-6
_SILENT = 1e-12  # a move this small, relative to the output, is float64's own noise


def is_really_float64(outputs: Outputs) -> bool:
    """False where there is no float output in float64, or all are float32-representable throughout: no proof, then."""
    doubles = [array for _, array in outputs if array.dtype.kind in "fc" and array.dtype.itemsize >= 8]
    floats = [array for _, array in outputs if array.dtype.kind in "fc"]
    if not floats:
        return True  # nothing to round: integers are compared exactly
    if len(doubles) < len(floats):
        return False
    return not all(_representable(array) for array in doubles)


def probe64(runner: Runner, run64: RunFn, arrays: Sequence[Array]) -> bool | None:
    """Does this 'float64' callable compute in float64 all the way? None: no float input moves an output.

    Steps of 1e-7 and 2e-7 into one direction: in float64 the answer moves straight on, so the second move is twice the
    first. A cast to float32 anywhere turns both moves into whole float32 steps, which are not. The start is moved off
    the float32 grid, on which rounding would hide the steps. A network that answers such a step with more than a
    thousandth of its output bends in float64 too: it is asked again with steps that move it as little as others."""
    straight, far = _straight(runner, run64, arrays, _STEP)
    if straight is False and far > _FAR:
        straight, _ = _straight(runner, run64, arrays, _STEP * _NEAR / far)
    return straight


def _straight(runner: Runner, run64: RunFn, arrays: Sequence[Array], size: float) -> tuple[bool | None, float]:
    """(whether two steps of this relative size lead straight on, how far they lead, relative to the output)."""
    rng = np.random.default_rng(0)
    wide = [widen(array) for array in arrays]
    wide = [array * (1 + 1e-4 * rng.uniform(size=array.shape)) if array.dtype.kind == "f" else array for array in wide]
    steps = [array * size * rng.uniform(0.5, 1.0, array.shape) if array.dtype.kind == "f" else None for array in wide]
    if all(step is None or not step.any() for step in steps):
        return None, 0.0
    answers = []
    for factor in (0, 1, 2):
        moved = [x if step is None else x + factor * step for x, step in zip(wide, steps, strict=True)]
        answers.append(runner.answer(run64, moved, double=True))
    crooked: list[float] = []
    far = 0.0
    for (_, base), (_, one), (_, two) in zip(*answers, strict=True):
        if base.dtype.kind != "f" or not np.isfinite(base).all():
            continue
        first, second = one.astype(np.float64) - base, two.astype(np.float64) - base
        length, whole = float(np.linalg.norm(second)), float(np.linalg.norm(base))
        if length > _SILENT * whole:
            crooked.append(float(np.linalg.norm(second - 2 * first)) / length)
            far = max(far, length / whole if whole > 0 else 0.0)
    return (max(crooked) < _CROOKED if crooked else None), far


def sensitivity(one: Outputs, two: Outputs) -> dict[str, float]:
    """For each output, the largest change between two different inputs relative to the output's size."""
    found: dict[str, float] = {}
    for (name, left), (_, right) in zip(one, two, strict=False):
        if left.shape != right.shape or left.size == 0:
            continue
        if left.dtype.kind not in "fc":
            found[name] = float(np.mean(left != right))
            continue
        finite = np.isfinite(left) & np.isfinite(right)
        scale = max(magnitude(left), magnitude(right))
        change = magnitude((left - right)[finite])
        found[name] = change / scale if scale > 0 else 0.0
    return found


def softmax_axes(answers: Sequence[Outputs]) -> dict[str, int]:
    """The outputs that are probabilities over an axis in every answer, with that axis: their logits can be had back."""
    found: dict[str, int] = {}
    for index, (name, _) in enumerate(answers[0] if answers else []):
        arrays = [outputs[index][1] for outputs in answers if index < len(outputs)]
        for axis in (-1, 1):
            if all(_is_softmax(array, axis) for array in arrays):
                found[name] = axis
                break
    return found


def _representable(array: Array) -> bool:
    with np.errstate(over="ignore"):
        narrow = array.astype(np.complex64 if array.dtype.kind == "c" else np.float32)
    return bool(np.array_equal(narrow.astype(array.dtype), array, equal_nan=True))


def _is_softmax(array: Array, axis: int) -> bool:
    if array.dtype.kind != "f" or array.ndim < 2 or axis >= array.ndim or array.shape[axis] < 2 or array.size == 0:
        return False
    if not bool(np.all((array > 1e-30) & (array <= 1))):
        return False
    return bool(np.all(np.abs(array.astype(np.float64).sum(axis) - 1) < 1e-4))
