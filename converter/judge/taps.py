"""The value before the last softmax, sigmoid or tanh of each output: recorded while the model runs, compared as more.

Such an activation saturates: whatever stands before it, the answer is 0 and 1 to the last bit, and says nothing. A tap
travels beside the outputs under a name that tells its output and activation; it has the output's shape and axes.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from .compare import Array

Outputs = list[tuple[str, Array]]

LOGITS = "logits of "
KINDS = {
    "softmax": LOGITS,
    "log_softmax": LOGITS,
    "sigmoid": LOGITS,
    "tanh": "before the tanh of ",
    "hard_sigmoid": "before the hard sigmoid of ",
}
"""Activations that saturate, and what the value before them is called."""
RECOVERED = " (by log)"
_MARK = "tap:"
_FIRST = ("input", "self", "x", "logits", "features")


def tap_name(index: int, kind: str) -> str:
    """The name under which the tap of output `index` travels."""
    return f"{_MARK}{index}:{kind}"


def tap_index(name: str) -> int | None:
    """The output that a tap belongs to; None for the name of an output."""
    return int(name.split(":")[1]) if name.startswith(_MARK) else None


def split(outputs: Outputs) -> tuple[Outputs, dict[int, tuple[str, Array]]]:
    """(the outputs, the taps by output: kind and value)."""
    plain = [(name, array) for name, array in outputs if not name.startswith(_MARK)]
    taps = {int(name.split(":")[1]): (name.split(":")[2], array) for name, array in outputs if name.startswith(_MARK)}
    return plain, taps


def kinds_in(answers: Iterable[Outputs]) -> dict[int, str]:
    """The taps that every answer has, by output."""
    found = [{index: kind for index, (kind, _) in split(outputs)[1].items()} for outputs in answers]
    return {i: kind for i, kind in (found[0] if found else {}).items() if all(each.get(i) == kind for each in found)}


def labels_of(name: str) -> list[str]:
    """Every name that a value before output `name`'s activation may be shown under."""
    return [*dict.fromkeys(word + name for word in KINDS.values()), LOGITS + name + RECOVERED]


def labelled(outputs: Outputs, kinds: Mapping[int, str], axes: Mapping[str, int]) -> Outputs:
    """The outputs and, by the names they are shown under, their taps; logits by log where a softmax has no tap."""
    plain, taps = split(outputs)
    more = [(KINDS[kind] + plain[index][0], taps[index][1]) for index, kind in kinds.items()]
    for index, (name, array) in enumerate(plain):
        if name in axes and index not in kinds:
            more.append((LOGITS + name + RECOVERED, logits(array, axes[name])))
    return plain + more


def logits(probabilities: Array, axis: int) -> Array:
    """What a softmax over `axis` was given, with mean 0: softmax ignores a constant."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.log(probabilities.astype(np.float64))
        return np.asarray(found - found.mean(axis, keepdims=True))


class Recorder:
    """Which activation made a tensor, and of what; forgotten with the tensor.

    What only moves elements (a reshape, a permutation, a cast) is done to the value before the activation as well. The
    model's own results are handed on as they are."""

    def __init__(self, moves: frozenset[str], age: Callable[[Any], Any] = lambda tensor: None) -> None:
        self._moves, self._age = moves, age
        self._found: dict[int, tuple[Any, str, Any, tuple[Any, Any]]] = {}

    def call(self, name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """function(*args, **kwargs), which goes by `name`; remembered where it is one of those."""
        first = args[0] if args else next((kwargs[word] for word in _FIRST if word in kwargs), None)
        if name in KINDS:
            result = function(*args, **kwargs)
            if result is not first:
                self._keep(result, name, first)
            return result
        known = self._known(first) if name in self._moves and args else None
        result = function(*args, **kwargs)
        if known is not None:
            kind, tap = known
            try:
                self._keep(result, kind, function(tap, *args[1:], **kwargs))
            except Exception:  # noqa: BLE001 - without a tap the output is judged as it is
                self._found.pop(id(result), None)
        return result

    def tap(self, tensor: Any) -> tuple[str, Any] | None:
        """(activation, value before it) where `tensor` is the result of one."""
        known = self._known(tensor)
        if known is None or tuple(known[1].shape) != tuple(tensor.shape):
            return None
        return known

    def _keep(self, result: Any, kind: str, tap: Any) -> None:
        key = id(result)
        try:
            alive = weakref.ref(result, lambda _: self._found.pop(key, None))
            ages = (self._age(result), self._age(tap))
        except (TypeError, RuntimeError, AttributeError):  # no tensor, or one of torch's inference mode
            return
        self._found[key] = (alive, kind, tap, ages)

    def _known(self, tensor: Any) -> tuple[str, Any] | None:
        found = self._found.get(id(tensor))
        if found is None or found[0]() is not tensor:
            return None
        _, kind, tap, ages = found
        # One of the two was written to in place: they are no longer an activation's two sides.
        return (kind, tap) if ages == (self._age(tensor), self._age(tap)) else None
