"""The tables of captures: which function reads which construct of Keras or PyTorch, and what is refused beforehand."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from converter.ops.schema import Dims

F = TypeVar("F", bound=Callable[..., Any])

KERAS_OPENED = frozenset({"AdditiveAttention", "Attention", "GroupQueryAttention", "MultiHeadAttention"}) | {
    "ReversibleEmbedding"
}
"""Keras's own layers that are opened where they have no row: tracing loses nothing, neither lengths nor dropout."""
KERAS_LAYERS: dict[str, Callable[..., Any]] = {}
KERAS_MASKS: dict[str, Callable[..., Any]] = {}
KERAS_OPERATIONS: dict[str, Callable[..., Any]] = {}
KERAS_ACTIVATIONS: dict[str, Callable[..., Any]] = {}
TORCH_OPERATIONS: dict[str, Callable[..., Any]] = {}
VETS: dict[tuple[str, str], Vet] = {}
"""('layer' or 'operation', name of the Keras class) -> what is refused of it by its options."""


class Refusal(Exception):
    """Raised by a capture: this layer or option has no mapping. `why` and `todo` go to the user."""

    def __init__(self, why: str, todo: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.todo = todo
        self.inside = ""
        """The class of the layer inside the layer at hand that is refused, '' for that layer itself."""


class Given(NamedTuple):
    """A tensor among the arguments of a call, as far as a configuration tells of it: its lengths, with the batch."""

    shape: Dims
    dtype: str


Options = Callable[[str], Any]
"""A layer's options by name, of a live layer or of a file's configuration; None for what is not there."""

Vet = Callable[[Options, Sequence[Any]], Refusal | None]
"""What is refused of a layer by its options and, where they are known, the arguments of its call (tensors `Given`).

It is asked before a framework is imported, for files, and again before the layer is captured.
"""


def takes(name: str, argument: str) -> bool:
    """Whether the row of a Keras layer takes this argument of the layer's call, by keyword.

    `masks` stands for the masks that lie beside the tensors of the first argument, None where there is none.
    """
    if name not in KERAS_LAYERS:
        return False
    found = inspect.signature(KERAS_LAYERS[name]).parameters.get(argument)
    return found is not None and found.kind == inspect.Parameter.KEYWORD_ONLY


def keras_layer(*names: str, vet: Vet | None = None) -> Callable[[F], F]:
    """Mark a static method `capture(g, layer, *inputs)` as the reading of these Keras layer classes.

    A class that is not Keras's own is named as Keras registers it, 'package>Name'. A mask comes as the keyword `mask`
    or as `masks`, see `takes`. A layer of several outputs gives a tuple.
    """
    return _mark("layer", names, vet)


def keras_mask(*names: str) -> Callable[[F], F]:
    """Mark a static method `mask(g, layer, inputs, masks)` as what these Keras layer classes make of masks.

    `inputs` are the tensors of the first argument, `masks` what lies beside them; it gives the mask beside the output
    or None, of several outputs a tuple. Classes without one hand on the mask of their input, as keras.Layer does.
    """
    return _mark("mask", names)


def keras_operation(*names: str, vet: Vet | None = None) -> Callable[[F], F]:
    """Mark a static method `capture(g, *args, **kwargs)` as the reading of these keras.ops operations."""
    return _mark("operation", names, vet)


def keras_activation(*names: str) -> Callable[[F], F]:
    """Mark a static method `capture(g, x)` as the reading of these functions of keras.activations."""
    return _mark("activation", names)


def torch_operation(*names: str) -> Callable[[F], F]:
    """Mark a static method `capture(g, *args)` as the reading of these aten operations, 'conv2d.default'.

    It is given every argument of aten's schema in the schema's order, defaults filled in. What works in place
    ('relu_.default') is read by the row of the name without '_'.
    """
    return _mark("torch", names)


def _mark(kind: str, names: Sequence[str], vet: Vet | None = None) -> Callable[[F], F]:
    if vet is not None:
        VETS.update({(kind, name): vet for name in names})

    def mark(function: F) -> F:
        marks = getattr(function, "__captures__", ())
        function.__captures__ = (*marks, *((kind, name) for name in names))  # type: ignore[attr-defined]
        return function

    return mark
