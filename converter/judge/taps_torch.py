"""Taps of what runs in torch: modules, exported programs, and Keras on its torch backend."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from .taps import Recorder

_MOVES = frozenset(
    [
        *("reshape", "view", "flatten", "unflatten", "squeeze", "unsqueeze"),
        *("permute", "transpose", "movedim", "moveaxis", "swapaxes", "t"),
        *("contiguous", "clone", "detach", "alias"),
        *("to", "_to_copy", "type", "type_as", "float", "double", "half", "bfloat16"),
    ]
)
_NAMES = {"hardsigmoid": "hard_sigmoid"}


@contextlib.contextmanager
def torch_taps() -> Iterator[Recorder]:
    """While this is open, activations of torch are recorded; every function answers as it does without."""
    from torch.overrides import TorchFunctionMode

    recorder = Recorder(_MOVES, lambda tensor: tensor._version)

    class Mode(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            # A function, a method, or an operator of an exported program: softmax, or softmax.int.
            name = str(getattr(func, "__name__", "")).split(".")[0]
            return recorder.call(_NAMES.get(name, name), func, args, kwargs or {})

    with Mode():
        yield recorder
