"""What is seen while a model runs: each value with the layer or function that made it, and of what."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .compare import Array
from .taps import Outputs

LINEAR = "before its activation"
"""The part of a layer's call that its own activation is given."""


@dataclass(frozen=True)
class Key:
    """One value: the layer's path ('' for what a function made), which of its calls, which of its outputs."""

    path: str
    call: int = 0
    index: int = 0
    part: str = ""


@dataclass
class Seen:
    """A value as it was made. `kind` is the class or the function, `whole` says that nothing inside is looked at;
    `inputs` are the tensors that it was made of."""

    key: Key
    kind: str
    whole: bool
    tensor: Any
    inputs: tuple[Any, ...] = ()


Emit = Callable[[Seen], Array | None]
"""Told of every value; an array that it returns takes the value's place."""


@dataclass
class Side:
    """One of two models, in the precision in which they are compared.

    `parts` are its layers by path, in the order in which they were made. `watched(emit)` is the model as a callable
    that tells of every value. `weights_of(part)` are a layer's own weights by name; `alone(part, inputs, weights,
    settings)` is its answer with others in their place, and nothing is changed for good. `around()` holds what a run
    sets for the whole process: two that run side by side would each restore what the other has set."""

    framework: str
    parts: dict[str, Any]
    watched: Callable[[Emit], Callable[[Sequence[Array]], Outputs]]
    to_numpy: Callable[[Any], Array]
    weights_of: Callable[[Any], dict[str, Array]]
    alone: Callable[[Any, Sequence[Array], Mapping[str, Array], Mapping[str, Any]], Array]
    around: Callable[[], AbstractContextManager[None]]


@dataclass
class Calls:
    """How often each layer was called in this run, how deep inside a whole layer it is, and what that was given."""

    inside: int = 0
    busy: bool = False
    given: tuple[Any, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)

    def next(self, path: str) -> int:
        """The number of this call, from 0."""
        number = self.counts.get(path, 0)
        self.counts[path] = number + 1
        return number

    @contextlib.contextmanager
    def quiet(self) -> Any:
        """While a value is told of, what that computes is not."""
        self.busy, before = True, self.busy
        try:
            yield
        finally:
            self.busy = before


def leaves(value: Any, is_tensor: Callable[[Any], bool]) -> list[Any]:
    """The tensors of nested tuples, lists and dicts, those of a dict in the order of its keys."""
    if is_tensor(value):
        return [value]
    if isinstance(value, Mapping):
        return [leaf for key in sorted(value, key=str) for leaf in leaves(value[key], is_tensor)]
    if isinstance(value, (list, tuple)):
        return [leaf for part in value for leaf in leaves(part, is_tensor)]
    return []


def rebuilt(value: Any, is_tensor: Callable[[Any], bool], new: list[Any]) -> Any:
    """The same structure with `new` in the place of its tensors."""
    if is_tensor(value):
        return new.pop(0)
    if isinstance(value, Mapping):
        made = {key: rebuilt(value[key], is_tensor, new) for key in sorted(value, key=str)}
        other: Any = type(value)
        return other({key: made[key] for key in value})
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(rebuilt(part, is_tensor, new) for part in value))
    if isinstance(value, (list, tuple)):
        return type(value)(rebuilt(part, is_tensor, new) for part in value)
    return value


def told(
    result: Any,
    is_tensor: Callable[[Any], bool],
    tell: Callable[[int, Any], Array | None],
    made: Callable[[Array, Any], Any],
) -> Any:
    """`result` with what `tell(index, tensor)` puts in the place of its tensors; itself where that is nothing."""
    found = leaves(result, is_tensor)
    new, changed = [], False
    for index, tensor in enumerate(found):
        other = tell(index, tensor)
        changed |= other is not None
        new.append(tensor if other is None else made(np.ascontiguousarray(other), tensor))
    return rebuilt(result, is_tensor, new) if changed else result
