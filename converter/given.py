"""The user's own arrays, matched with the model's inputs: by name, by position, or by the only way that fits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np

from converter.errors import UsageError

TURNS = {4: ((0, 3, 1, 2), (0, 2, 3, 1)), 5: ((0, 4, 1, 2, 3), (0, 2, 3, 4, 1)), 3: ((0, 2, 1),)}
"""Axis orders that images, volumes and sequences are often in when they do not fit."""


class Spec(Protocol):
    """What one input takes: a length of None is any; the first axis is the batch."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int | None, ...]: ...
    @property
    def dtype(self) -> str: ...


class Told(NamedTuple):
    """An input as a file's configuration tells it."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


def match(specs: Sequence[Spec], inputs: Any) -> list[np.ndarray]:
    """One array for each spec, in their order and dtypes.

    `inputs` is a mapping by name (or `arr_0`, `arr_1`, ... as numpy.savez names them), a sequence in the order of the
    specs, or, for a single input, one array or tensor. Raises UsageError with everything that does not fit.
    """
    named, arrays = _arrays(specs, inputs)
    found = _by_name(specs, named, arrays) if named is not None else _by_place(specs, arrays)
    wrong = [f"{spec.name}: {why}" for spec, array in zip(specs, found, strict=True) if (why := _why_not(spec, array))]
    if not wrong:
        wrong = _batches(specs, found)
    if wrong:
        raise UsageError(
            "\n".join(["inputs: the arrays do not fit the model.", *(f"  - {line}" for line in wrong), _all(specs)])
        )
    return [_cast(spec, array) for spec, array in zip(specs, found, strict=True)]


def _arrays(specs: Sequence[Spec], inputs: Any) -> tuple[list[str] | None, list[np.ndarray]]:
    """What was given as arrays, with their names where it was a mapping."""
    if isinstance(inputs, Mapping):
        return [str(name) for name in inputs], [_array(value, str(name)) for name, value in inputs.items()]
    if not isinstance(inputs, list | tuple):
        return None, [_array(inputs, "the array")]
    if all(hasattr(value, "shape") for value in inputs):
        return None, [_array(value, f"number {i}") for i, value in enumerate(inputs)]
    # Plain numbers in lists: one list for each input, or one input written out.
    if len(inputs) == len(specs):
        each = [_array(value, f"number {i}") for i, value in enumerate(inputs)]
        if len(specs) > 1 or all(array.ndim == len(spec.shape) for spec, array in zip(specs, each, strict=True)):
            return None, each
    return None, [_array(inputs, "the array")] if len(specs) == 1 else [_array(v, "one") for v in inputs]


def _array(value: Any, name: str) -> np.ndarray:
    """An array, a tensor of any framework, or lists of numbers as an array of numbers."""
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu()
            if "bfloat16" in str(value.dtype):
                value = value.float()
        elif hasattr(value, "value") and hasattr(value.value, "detach"):  # a Keras variable on torch
            value = value.value.detach().cpu()
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"inputs: {name} is {type(value).__name__}, which is no array ({error}).") from error
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.dtype.kind not in "fiubc":
        raise UsageError(f"inputs: expected arrays of numbers, {name} has the dtype {array.dtype}.")
    return array


def _by_place(specs: Sequence[Spec], arrays: list[np.ndarray]) -> list[np.ndarray]:
    if len(arrays) != len(specs):
        raise UsageError(
            f"inputs: expected {len(specs)} array{'s' * (len(specs) != 1)}, received {len(arrays)}: "
            f"{', '.join(map(_seen, arrays))}.\n{_all(specs)}"
        )
    return arrays


def _by_name(specs: Sequence[Spec], names: list[str], arrays: list[np.ndarray]) -> list[np.ndarray]:
    """By name where every name is there; else by numpy's own numbering, a single one, or the only way that fits."""
    known = dict(zip(names, arrays, strict=True))
    if all(spec.name in known for spec in specs):
        return [known[spec.name] for spec in specs]
    if len(arrays) == len(specs):
        if len(specs) == 1:
            return arrays
        places = [f"arr_{i}" for i in range(len(specs))]
        if sorted(names) == sorted(places):
            return [known[place] for place in places]
        ways = list(islice(_ways(specs, known), 2))
        if len(ways) == 1:
            return ways[0]
        missing = [spec.name for spec in specs if spec.name not in known]
        why = "no other order fits" if not ways else "several orders fit"
        found = f"found {', '.join(f'{name} {_seen(known[name])}' for name in names)}, and {why}"
    else:
        missing = [spec.name for spec in specs if spec.name not in known]
        found = f"found {', '.join(f'{name} {_seen(known[name])}' for name in names) or 'none'}"
    raise UsageError(
        f"inputs: expected {len(specs)} array{'s' * (len(specs) != 1)} by name, {', '.join(missing)} missing; "
        f"{found}.\n{_all(specs)}"
    )


def _ways(specs: Sequence[Spec], known: Mapping[str, np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Every way to give each spec an array that fits it, one of its own name where there is one."""
    if not specs:
        yield []
        return
    spec = specs[0]
    names = [spec.name] if spec.name in known else [name for name in known if not _why_not(spec, known[name])]
    for name in names:
        rest = {other: array for other, array in known.items() if other != name}
        for way in _ways(specs[1:], rest):
            yield [known[name], *way]


def _why_not(spec: Spec, array: np.ndarray) -> str:
    """What keeps an array from being this input; '' where nothing does."""
    if not _fits(spec.shape, array.shape):
        return f"expected {_wanted(spec)}, found {_seen(array)}{_hint(spec, array)}"
    if array.size == 0:
        return f"expected {_wanted(spec)} with something in it, found {_seen(array)}"
    target = np.dtype(spec.dtype)
    if array.dtype.kind == "c" and target.kind != "c":
        return f"expected {_wanted(spec)}, found complex numbers"
    if target.kind in "iub":
        return _why_no_integers(spec, array, target)
    return ""


def _why_no_integers(spec: Spec, array: np.ndarray, target: np.dtype[Any]) -> str:
    if array.dtype.kind == "f" and not (np.isfinite(array).all() and (array == np.trunc(array)).all()):
        return f"expected {_wanted(spec)}, found {_seen(array)} with fractions, NaN or infinity"
    low, high = (0, 1) if target.kind == "b" else (int(np.iinfo(target).min), int(np.iinfo(target).max))
    most = getattr(spec, "high", None)
    if most is not None:
        low, high = max(low, 0), min(high, int(most) - 1)
    least, largest = int(array.min()), int(array.max())
    if least < low or largest > high:
        return f"expected {_wanted(spec)} from {low} to {high}, found values from {least} to {largest}"
    return ""


def _batches(specs: Sequence[Spec], arrays: Sequence[np.ndarray]) -> list[str]:
    """Inputs whose batch is free have the same one."""
    free = [(s.name, a.shape[0]) for s, a in zip(specs, arrays, strict=True) if s.shape and s.shape[0] is None]
    if len({length for _, length in free}) <= 1:
        return []
    return [f"expected the same batch size everywhere, found {', '.join(f'{name} {length}' for name, length in free)}"]


def _fits(shape: Sequence[int | None], found: Sequence[int]) -> bool:
    return len(shape) == len(found) and all(a is None or a == b for a, b in zip(shape, found, strict=True))


def _hint(spec: Spec, array: np.ndarray) -> str:
    """What would make the array fit, where it is one of the usual slips."""
    if _fits(spec.shape[1:], array.shape) and spec.shape[:1] in ((None,), (1,)):
        return "; the batch axis is missing: give x[None]"
    for perm in TURNS.get(array.ndim, ()):
        if _fits(spec.shape, [array.shape[p] for p in perm]):
            return f"; its axes are in another order: x.transpose{perm} fits"
    return ""


def _cast(spec: Spec, array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        cast = array.astype(spec.dtype, copy=False)
    if array.dtype.kind == "f" and cast.dtype.kind == "f" and (np.isinf(cast) & np.isfinite(array)).any():
        raise UsageError(f"inputs: {spec.name} holds numbers that {spec.dtype} cannot: {_seen(array)}.")
    return np.ascontiguousarray(cast) if cast.ndim else cast


def _seen(array: np.ndarray) -> str:
    return f"{array.dtype} ({', '.join(map(str, array.shape))})"


def _wanted(spec: Spec) -> str:
    lengths = ["N" if i == 0 and length is None else "any" if length is None else str(length)
               for i, length in enumerate(spec.shape)]  # fmt: skip
    return f"{spec.dtype} ({', '.join(lengths)})"


def _all(specs: Sequence[Spec]) -> str:
    return "The model takes " + "; ".join(f"{spec.name} {_wanted(spec)}" for spec in specs) + "."
