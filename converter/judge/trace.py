"""The source's run as a graph of values: which value was made of which, and how each compares with the target's."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .compare import Array, Diff
from .watch import Key, Seen
from .ways import AS_IT_IS, Way


@dataclass
class Value:
    """One value of the source. `good`: the target has it; None: it has no counterpart that was found."""

    number: int
    key: Key
    kind: str
    whole: bool
    inputs: tuple[int, ...]
    same: int | None = None  # the number of the value that this one is, handed on as it is by what holds it
    named: Key | None = None  # the target's value that bears its name
    good: bool | None = None
    diff: Diff | None = None
    way: Way | None = None
    near: tuple[str, Array, Array | None] | None = None  # what the target may make instead: its maker, it, and of what
    array: Array | None = None  # kept where nothing was found for it, while there is room

    @property
    def label(self) -> str:
        """What the value is called for the user."""
        return self.key.path or self.kind


@dataclass
class Trace:
    """The values of one run of the source, in their order."""

    values: list[Value] = field(default_factory=list)
    _known: dict[int, tuple[Any, int]] = field(default_factory=dict)

    def add(self, seen: Seen) -> Value:
        """The value with what it was made of."""
        number = len(self.values)
        same = self._number(seen.tensor)
        inputs = {n for tensor in seen.inputs if (n := self._number(tensor)) is not None}
        if same is not None and self.values[same].key == seen.key:
            same = None
        value = Value(number, seen.key, seen.kind, seen.whole, tuple(sorted(inputs - {number})), same)
        self.values.append(value)
        self._know(seen.tensor, number)
        return value

    def linear(self, value: Value) -> None:
        """The value before the layer's own activation is what its answer is made of."""
        key = value.key
        for other in reversed(self.values[: value.number]):
            if other.key.path == key.path and other.key.call == key.call and other.key.part and not key.part:
                value.inputs = (other.number,)
                return

    def before(self, value: Value) -> list[Value]:
        """The values without a counterpart that this one was made of, the first of them first."""
        found: dict[int, Value] = {}
        ahead = [value.same] if value.same is not None and value.named is None else list(value.inputs)
        while ahead:
            each = self.values[ahead.pop()]
            if each.good is None and each.number not in found:
                found[each.number] = each
                ahead += [each.same] if each.same is not None else list(each.inputs)
        return [found[number] for number in sorted(found)]

    def way_of(self, tensor: Any) -> Way:
        """How the target has the value that this tensor is, as far as that was seen."""
        number = self._number(tensor)
        way = None if number is None else self.values[number].way
        return way or AS_IT_IS

    def _number(self, tensor: Any) -> int | None:
        found = self._known.get(id(tensor))
        return found[1] if found is not None and found[0]() is tensor else None

    def _know(self, tensor: Any, number: int) -> None:
        key = id(tensor)
        try:
            self._known[key] = (weakref.ref(tensor, lambda _: self._known.pop(key, None)), number)
        except TypeError:  # not every backend's tensors can be watched
            self._known.pop(key, None)


def is_float(array: Any) -> bool:
    """Whether a tensor of any framework holds real numbers."""
    return "float" in str(getattr(array, "dtype", ""))


def same_bits(one: Array, two: Array) -> bool:
    """Whether two arrays are the same numbers."""
    return one.shape == two.shape and bool(np.array_equal(one, two, equal_nan=one.dtype.kind == "f"))
