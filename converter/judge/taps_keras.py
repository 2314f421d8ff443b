"""Taps of a Keras model on any backend: its activations end in these functions of the backend's."""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Iterator
from typing import Any

from .taps import Recorder

_MOVES = frozenset(
    ["reshape", "transpose", "squeeze", "expand_dims", "identity", "cast", "convert_to_tensor", "asarray"]
)
_HOMES = {
    "tensorflow": {
        "tensorflow": ("sigmoid", "tanh", *sorted(_MOVES)),
        "tensorflow.nn": ("softmax", "log_softmax", "sigmoid", "tanh"),
        "tensorflow.math": ("sigmoid", "tanh"),
    },
    "jax": {
        "jax.numpy": ("tanh", *sorted(_MOVES)),
        "jax.nn": ("softmax", "log_softmax", "sigmoid", "tanh", "hard_sigmoid"),
    },
}
"""Public functions by module, which Keras looks up at every call."""


@contextlib.contextmanager
def keras_taps(backend: str) -> Iterator[Recorder]:
    """While this is open, activations of the backend are recorded; its functions are as before on leaving."""
    if backend == "torch":
        from .taps_torch import torch_taps

        with torch_taps() as recorder:
            yield recorder
        return
    recorder = Recorder(_MOVES)
    before: list[tuple[Any, str, Any]] = []
    try:
        for home, names in _HOMES.get(backend, {}).items():
            module = _module(home)
            for name in names:
                function = getattr(module, name, None)
                if function is not None:
                    before.append((module, name, function))
                    setattr(module, name, _recorded(recorder, name, function))
        yield recorder
    finally:
        for module, name, function in reversed(before):
            setattr(module, name, function)


def _module(home: str) -> Any:
    """`tensorflow.nn` is an attribute that cannot be imported by its name."""
    root, _, rest = home.partition(".")
    module = importlib.import_module(root)
    return functools.reduce(getattr, filter(None, rest.split(".")), module)


def _recorded(recorder: Recorder, name: str, function: Any) -> Any:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return recorder.call(name, function, args, kwargs)

    return call
