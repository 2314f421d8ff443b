"""Seeded inputs that fit the model: several batch sizes, several sizes where dimensions are unknown."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import UsageError
from .compare import Array, narrow

# Unknown sizes, per variant, as steps of the base; two axes of one input get different sizes, so that a swap shows. The
# first fits models that halve several times, the second is odd, the third has equal axes.
_VARIANTS: tuple[tuple[float, float, float], ...] = ((1, 2, 1), (1.46, 1.17, 1.29), (2, 2, 2))
# Models that need thousands of steps get sizes that are close together and smaller batches: they cost enough as it is.
_LONG: tuple[tuple[float, float, float], ...] = ((1, 1.01, 1.02), (1.07, 1.04, 1.05), (1.11, 1.11, 1.11))
_LONG_BATCHES = (2, 1)
_MANY = 64
_BASE = {2: 16, 3: 16, 4: 32, 5: 16}
_MOST_ELEMENTS = 1 << 24
_DEFAULT_IDS = 8


@dataclass(frozen=True)
class InputSpec:
    """What one input takes. None in `shape` is unknown, the first axis is the batch; `high` is exclusive for integers.

    `layout` may name the axes by a letter each (`NHWC`); an unknown axis C gets 3 channels. `sizes` are the sizes to
    use for unknown axes, instead of the default ones.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    low: float | None = None
    high: float | None = None
    layout: str = ""
    sizes: tuple[int, ...] = ()
    names: tuple[str | None, ...] = ()
    """Of the axes, where they are known: unknown axes of one name have one length, in whichever input they are."""


@dataclass(frozen=True)
class InputSet:
    """One call's inputs: arrays in the order of the specs, and their seed (None: the user's own)."""

    name: str
    arrays: list[Array] = field(repr=False)
    seed: tuple[int, int] | None = None

    @property
    def shapes(self) -> list[list[int]]:
        """The shape of every array."""
        return [list(array.shape) for array in self.arrays]


def make_inputs(
    specs: Sequence[InputSpec], seed: int = 0, *, batches: Sequence[int] = (1, 2, 3), scale: int = 1
) -> list[InputSet]:
    """Named sets: every batch size (where the batch is free), every variant of unknown sizes, and the first set's
    shapes once more with other values, by which the judge measures how far the outputs move with the input."""
    free_batch = any(spec.shape and spec.shape[0] is None for spec in specs)
    dynamic = any(None in spec.shape[1:] for spec in specs)
    batches = _LONG_BATCHES if scale >= _MANY else batches
    plan = [(batch, 0) for batch in (batches if free_batch else batches[:1])]
    if dynamic:
        plan += [(batches[0], variant) for variant in range(1, max(_variants(spec) for spec in specs))]
    plan.append(plan[0])
    sets: list[InputSet] = []
    for index, (batch, variant) in enumerate(plan):
        rng = np.random.default_rng([seed, index])
        known: dict[str, int] = {}
        shapes = [_agreed(spec, _shape(spec, batch, variant, scale), known) for spec in specs]
        arrays = [_values(spec, shape, rng) for spec, shape in zip(specs, shapes, strict=True)]
        label = "again" if index == len(plan) - 1 else f"batch {batch}" if free_batch else "fixed batch"
        sizes = " ".join(
            "x".join(map(str, a.shape[1:])) for a, s in zip(arrays, specs, strict=True) if None in s.shape[1:]
        )
        sets.append(InputSet(f"{label}, {sizes}" if sizes else label, arrays, (seed, index)))
    return sets


def fitting_inputs(
    specs: Sequence[InputSpec],
    seed: int,
    refuses: Callable[[Sequence[Array]], str],
    *,
    batches: Sequence[int] = (1, 2, 3),
) -> tuple[list[InputSet], list[str]]:
    """The sets that the source answers, with unknown sizes doubled until it does; and a line for each that it refuses.

    `refuses` is `Runner.refuses` of the source. Some models need a length of thousands before anything comes out."""
    scale, notes = 1, list[str]()
    while any(None in spec.shape[1:] for spec in specs):
        first = make_inputs(specs, seed, batches=(1,), scale=scale)[0]
        reason = refuses(first.arrays)
        if not reason:
            break
        if max(array.size for array in first.arrays) * 8 > _MOST_ELEMENTS or scale >= 4096:
            raise UsageError(
                f"The source answers no input that was tried, up to {first.shapes}: {reason}. Pass inputs."
            )
        scale *= 2
    kept = []
    for each in make_inputs(specs, seed, batches=batches, scale=scale):
        reason = refuses(each.arrays)
        if reason:
            notes.append(f"the source itself refuses the inputs {each.name!r}: {reason}")
        else:
            kept.append(each)
    return kept, notes


def given_inputs(arrays: Sequence[Array], name: str = "given") -> InputSet:
    """The user's own inputs as a set."""
    return InputSet(name, [np.asarray(array) for array in arrays])


def other_kinds(sets: Sequence[InputSet], seed: int = 0) -> Iterator[tuple[str, list[Array], list[Array]]]:
    """Other inputs of the first set's shapes, twice each: drawn like it, then at other scales, then as images.

    Integers keep the range that they have in all sets, booleans are drawn. Images are floats of rank 4 with 1, 3 or 4
    channels."""
    arrays = sets[0].arrays
    ranges = [_range([each.arrays[index] for each in sets]) for index in range(len(arrays))]
    makers: list[tuple[str, Callable[[Array, np.random.Generator], Array]]] = [("drawn like them", _like(1.0))]
    if any(array.dtype.kind == "f" or array.dtype.name == "bfloat16" for array in arrays):
        makers += [(f"x{factor:g}", _like(factor)) for factor in (0.01, 0.1, 10, 100, 255)]
    if any(_is_image(array) for array in arrays):
        makers += [(name, functools.partial(_image, make)) for name, make in _IMAGES.items()]
    for index, (name, make) in enumerate(makers):
        rng = np.random.default_rng([seed, 1000 + index])
        one, two = (
            [
                make(array, rng) if held is None else rng.integers(*held, array.shape).astype(array.dtype)
                for array, held in zip(arrays, ranges, strict=True)
            ]
            for _ in range(2)
        )
        yield name, one, two


def _range(arrays: Sequence[Array]) -> tuple[int, int] | None:
    """From the smallest integer of all to past the largest; None for what is no integer."""
    if arrays[0].dtype.kind == "b":
        return 0, 2
    if arrays[0].dtype.kind not in "iu":
        return None
    return min(int(each.min()) for each in arrays), max(int(each.max()) for each in arrays) + 1


def _like(factor: float) -> Callable[[Array, np.random.Generator], Array]:
    """Draws of an array's own mean and spread, times `factor`."""

    def draw(array: Array, rng: np.random.Generator) -> Array:
        wide = array.astype(np.float64)
        wide = wide[np.isfinite(wide)]
        mean, spread = (float(wide.mean()), float(wide.std())) if wide.size else (0.0, 1.0)
        return (factor * (mean + (spread or 1.0) * rng.standard_normal(array.shape))).astype(array.dtype)

    return draw


def _is_image(array: Array) -> bool:
    return array.dtype.kind == "f" and array.ndim == 4 and (array.shape[-1] in (1, 3, 4) or array.shape[1] in (1, 3, 4))


def _image(
    make: Callable[[tuple[int, ...], np.random.Generator], Array], array: Array, rng: np.random.Generator
) -> Array:
    """An image of the array's shape and axes; what is none is drawn like itself."""
    if not _is_image(array):
        return _like(1.0)(array, rng)
    last = array.shape[-1] in (1, 3, 4)
    shape = array.shape if last else tuple(array.shape[i] for i in (0, 2, 3, 1))
    made = make(shape, rng)
    return np.ascontiguousarray(made if last else made.transpose(0, 3, 1, 2)).astype(array.dtype)


def _gradient(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Ramps from 0 to 255 in a direction of its own for each image and channel."""
    rows, columns = np.linspace(0, 1, shape[1]), np.linspace(0, 1, shape[2])
    tilt = rng.uniform(0, 1, (shape[0], 1, 1, shape[3]))
    ramp = tilt * rows[None, :, None, None] + (1 - tilt) * columns[None, None, :, None]
    return np.asarray(255 * np.where(rng.uniform(size=tilt.shape) < 0.5, ramp, 1 - ramp))


_IMAGES: dict[str, Callable[[tuple[int, ...], np.random.Generator], Array]] = {
    "images of 0 to 1": lambda shape, rng: rng.uniform(0, 1, shape),
    "images of 0 to 255": lambda shape, rng: rng.uniform(0, 255, shape),
    "images of -1 to 1": lambda shape, rng: rng.uniform(-1, 1, shape),
    "gradients of 0 to 255": _gradient,
    "plain colours of 0 to 255 with noise": lambda shape, rng: (
        rng.uniform(0, 255, (shape[0], 1, 1, shape[3])) + rng.normal(0, 8, shape)
    ),
}


def _variants(spec: InputSpec) -> int:
    return len(spec.sizes) if spec.sizes else len(_VARIANTS)


def _shape(spec: InputSpec, batch: int, variant: int, scale: int) -> tuple[int, ...]:
    """Unknown sizes depend on the axis and the variant alone, so two inputs that must agree in length do."""
    shape: list[int] = []
    for axis, size in enumerate(spec.shape):
        if size is not None:
            shape.append(size)
        elif axis == 0:
            shape.append(batch)
        elif spec.layout[axis : axis + 1] == "C":
            shape.append(3)
        elif spec.sizes:
            shape.append(spec.sizes[variant % len(spec.sizes)] * scale)
        else:
            table = _LONG if scale >= _MANY else _VARIANTS
            steps = table[variant % len(table)]
            step = steps[(axis - 1) % len(steps)]
            shape.append(int(_BASE.get(len(spec.shape), 16) * scale * step) + variant % 2)
    return tuple(shape)


def _agreed(spec: InputSpec, shape: tuple[int, ...], known: dict[str, int]) -> tuple[int, ...]:
    """The shape with the length that an axis of that name has already; `known` keeps the others."""
    names = spec.names or (None,) * len(shape)
    return tuple(
        known.setdefault(name, length) if name and size is None else length
        for name, size, length in zip(names, spec.shape, shape, strict=True)
    )


def _values(spec: InputSpec, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    dtype = narrow(np.zeros(0)).dtype if spec.dtype == "bfloat16" else np.dtype(spec.dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.kind in "iu":
        low = int(spec.low or 0)
        high = int(spec.high) if spec.high is not None else low + _DEFAULT_IDS
        return rng.integers(low, max(high, low + 1), shape).astype(dtype)
    if dtype.kind != "f" and dtype.name != "bfloat16":
        raise UsageError(f"Input {spec.name!r} has dtype {spec.dtype}, for which no values can be made. Pass inputs.")
    if spec.low is not None and spec.high is not None:
        return rng.uniform(spec.low, spec.high, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)
