"""The one place that reads Keras's node internals: a model's calls, in order, as data.

Keras has no public walk over a functional graph; `_keras_history`, `_inbound_nodes` and `arguments` are what its own
`clone_model` and serialisation use.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Step:
    """One call of a layer or operation: its arguments hold KerasTensors where the model's tensors go."""

    operation: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: list[Any]
    call: int


def functional(model: Any) -> Any:
    """A Functional or Sequential model's graph; None for an unbuilt model, or one with a call of its own."""
    import keras

    call = next((cls for cls in type(model).__mro__ if "call" in vars(cls)), object)
    if call.__module__.split(".")[0] != "keras":
        return None  # what its own call does is no graph of Keras's, whatever it was made of
    if isinstance(model, keras.Sequential):
        model = getattr(model, "_functional", None)
    return model if getattr(model, "_nodes_by_depth", None) else None


def row_name(layer: Any) -> str:
    """What rows in ops/ call the class of a layer: 'Dense', or 'package>Name' for a class that is not Keras's own."""
    import keras

    cls = type(layer)
    return cls.__name__ if cls.__module__.split(".")[0] == "keras" else keras.saving.get_registered_name(cls)


def steps(graph: Any) -> Iterator[Step]:
    """The calls of a functional graph, operands first, each branch as a whole; InputLayers are left out."""
    own = {id(node) for nodes in graph._nodes_by_depth.values() for node in nodes}
    done: set[int] = set()
    calls: dict[int, int] = {}
    stack = [(tensor._keras_history, False) for tensor in reversed(flat(graph._outputs))]
    entries = {id(tensor) for tensor in flat(graph._inputs)}
    while stack:
        (operation, node_index, _), ready = stack.pop()
        node = operation._inbound_nodes[node_index]
        if id(node) in done or id(node) not in own:
            continue
        if ready:
            done.add(id(node))
            if node.is_input or all(id(out) in entries for out in node.outputs):
                continue
            call = calls.get(id(operation), 0)
            calls[id(operation)] = call + 1
            yield Step(operation, node.arguments.args, node.arguments.kwargs, list(node.outputs), call)
            continue
        stack.append(((operation, node_index, 0), True))
        stack.extend((t._keras_history, False) for t in reversed(node.input_tensors) if id(t) not in entries)


def flat(structure: Any) -> list[Any]:
    """The tensors of a nested structure, in Keras's order (dict keys sorted)."""
    import keras

    return list(keras.tree.flatten(structure))


def names(tensors: list[Any]) -> list[str]:
    """Of each tensor the name of the layer that makes it."""
    return [str(tensor._keras_history.operation.name) for tensor in tensors]


def input_names(graph: Any) -> list[str]:
    """What a model calls its inputs: the keys of a dict of them, else the names of their layers."""
    inputs = flat(graph._inputs)
    structure = graph._inputs_struct
    keys = {id(t): str(key) for key, t in structure.items()} if isinstance(structure, dict) else {}
    return [keys.get(id(tensor), name) for tensor, name in zip(inputs, names(inputs))]


def is_tensor(value: Any) -> bool:
    """Whether an argument is one of the model's symbolic tensors."""
    import keras

    return isinstance(value, keras.KerasTensor)
