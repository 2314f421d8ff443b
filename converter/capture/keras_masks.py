"""The calls of a live Keras model, nested models included, in the form in which masks are followed."""

from __future__ import annotations

from typing import Any

from converter import masks
from converter.capture import keras_nodes
from converter.errors import Item
from converter.ops.base import KERAS_OPERATIONS, takes_mask


def causes(graph: Any, items: list[Item]) -> list[Item]:
    """The refusals of a functional graph, those that a mask has caused at the layer that makes the mask."""
    results = [("", id(tensor)) for tensor in keras_nodes.flat(graph._outputs)]
    return masks.causes(_calls(graph, "", ""), results, items, takes_mask, KERAS_OPERATIONS.__contains__)


def _calls(graph: Any, prefix: str, scope: str) -> list[masks.Call]:
    """Tensors are known by the call that they belong to, as a nested model may be called twice, and their identity."""
    import keras

    found: list[masks.Call] = []
    for step in keras_nodes.steps(graph):
        operation, cls = step.operation, type(step.operation).__name__
        path = f"{prefix}{operation.name}"
        named = {key: value for key, value in step.kwargs.items() if masks.is_mask(key)}
        rest = [value for key, value in step.kwargs.items() if key not in named]
        given, mask = (_keys(value, scope) for value in ((step.args, rest), named))
        results = [(scope, id(tensor)) for tensor in step.outputs]
        inner = keras_nodes.functional(operation)
        if inner is not None:
            own = f"{scope}{operation.name}#{step.call}/"
            starts = [(own, id(tensor)) for tensor in keras_nodes.flat(inner._inputs)]
            ends = [(own, id(tensor)) for tensor in keras_nodes.flat(inner._outputs)]
            found += [masks.Call(path, "", [key], [start], carries=True) for key, start in zip(given, starts)]
            found += _calls(inner, f"{path}/", own)
            found += [masks.Call(path, "", [end], [key], carries=True) for end, key in zip(ends, results)]
            continue
        makes = masks.makes(cls, getattr(operation, "mask_zero", False))
        carries = bool(getattr(operation, "supports_masking", False)) and cls not in masks.ENDS
        layer = isinstance(operation, keras.Layer)
        found.append(masks.Call(path, cls, given, results, mask, makes, carries, layer))
    return found


def _keys(structure: Any, scope: str) -> list[tuple[str, int]]:
    return [(scope, id(tensor)) for tensor in keras_nodes.flat(structure) if keras_nodes.is_tensor(tensor)]
