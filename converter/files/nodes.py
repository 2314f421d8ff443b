"""How the layers of a functional model are called: the lists of Keras 1 and 2, and the dicts of Keras 3.

Old files list, for each call, [layer, call, output, keywords] for each tensor; Keras 3 writes args and kwargs with
`__keras_tensor__` marks. The old form is parsed into `Call`s and written in the new one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from converter.errors import BadInput
from converter.files.tf_ops import Call, Tensor

Json = Any
Calls = list[Call] | dict[str, Json]  # parsed old calls, or {"keras3": the nodes as they are}
CONSTANT = "_CONSTANT_VALUE"


class Known(NamedTuple):
    """A tensor in the arguments of a call, as Keras 3 writes it: its lengths, with the batch, and its dtype."""

    shape: tuple[int | None, ...]
    dtype: str


def is_leaf(value: Json) -> bool:
    """[layer, call, output], perhaps with keywords."""
    return (
        isinstance(value, list)
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and type(value[1]) is int
        and (type(value[2]) is int or value[0] == CONSTANT)
        and (len(value) == 3 or isinstance(value[3], dict))
    )


def parse_calls(nodes: Json, where: str) -> Calls:
    """The calls of one layer."""
    if not isinstance(nodes, list):
        raise BadInput(f"Layer {where!r}: expected a list of calls in inbound_nodes, received {nodes!r:.80}.")
    if nodes and all(isinstance(node, dict) and set(node) == {"args", "kwargs"} for node in nodes):
        return {"keras3": nodes}
    return [_parse_call(node, where) for node in nodes]


def _parse_call(node: Json, where: str) -> Call:
    if not isinstance(node, (list, dict)) or not node:
        raise BadInput(f"Layer {where!r}: expected a call as a list of tensors, received {node!r:.80}.")
    keywords: list[dict[str, Json]] = []
    first = _parse(node, keywords)
    if isinstance(node, list) and len(node) == 1 and isinstance(first, list):
        first = first[0]
    options = keywords[0] if keywords else {}
    return Call(first, {str(key): _parse(value, []) for key, value in options.items()})


def _parse(value: Json, keywords: list[dict[str, Json]]) -> Json:
    if is_leaf(value):
        if len(value) == 4:
            keywords.append(value[3])
        return value[2] if value[0] == CONSTANT else Tensor(value[0], value[1], value[2])
    if isinstance(value, list):
        return [_parse(entry, keywords) for entry in value]
    if isinstance(value, dict):
        return {key: _parse(entry, keywords) for key, entry in value.items()}
    return value


def references(value: Json) -> list[tuple[str, int]]:
    """Every (layer, call) that calls, input_layers and output_layers refer to."""
    found: list[tuple[str, int]] = []
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, Tensor):
            found.append((item.layer, item.node))
        elif isinstance(item, Call):
            stack.extend([item.first, item.keywords])
        elif is_leaf(item):
            found.append((item[0], item[1]))
        elif isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, dict):
            stack.extend(item.values())
    return found


def write_calls(calls: Calls, table: dict[str, str], shifts: dict[str, int], where: str) -> Json:
    """The calls in the form of Keras 3, with the layers' new names."""
    if isinstance(calls, dict):
        return _rename_marks(calls["keras3"], table, where)
    nodes = []
    for call in calls:
        dropped = ("mask", "training", "name")
        keywords = {k: v for k, v in call.keywords.items() if v is not None or k not in dropped}
        nodes.append(
            {"args": [_write(call.first, table, shifts, where)], "kwargs": _write(keywords, table, shifts, where)}
        )
    return nodes


def _write(value: Json, table: dict[str, str], shifts: dict[str, int], where: str) -> Json:
    if isinstance(value, Tensor):
        name = _name(value.layer, table, where)
        history = [name, value.node - shifts.get(name, 0), value.index]
        return {
            "class_name": "__keras_tensor__",
            "config": {"shape": [None], "dtype": "float32", "keras_history": history},
        }
    if isinstance(value, list):
        return [_write(entry, table, shifts, where) for entry in value]
    if isinstance(value, dict):
        return {key: _write(entry, table, shifts, where) for key, entry in value.items()}
    return value


def _rename_marks(value: Json, table: dict[str, str], where: str) -> Json:
    """Keras 3's own nodes with the new names in their marks."""
    if isinstance(value, list):
        return [_rename_marks(entry, table, where) for entry in value]
    if not isinstance(value, dict):
        return value
    if value.get("class_name") == "__keras_tensor__" and isinstance(value.get("config"), dict):
        config = value["config"]
        history = config.get("keras_history")
        if not is_leaf(history):
            raise BadInput(f"Layer {where!r}: expected [layer, call, output] as keras_history, not {history!r:.80}.")
        return dict(value, config=dict(config, keras_history=[_name(history[0], table, where), *history[1:]]))
    return {key: _rename_marks(entry, table, where) for key, entry in value.items()}


def _name(layer: str, table: dict[str, str], where: str) -> str:
    if layer not in table:
        raise BadInput(f"Layer {where!r} takes the output of {layer!r}, which the model does not have.")
    return table[layer]


def rename_leaves(value: Json, table: dict[str, str], moves: dict[str, int]) -> Json:
    """input_layers and output_layers with the new names, calls moved as the nested models need it."""
    if is_leaf(value):
        name = _name(value[0], table, "the model")
        return [name, value[1] + moves.get(name, 0), value[2]]
    if isinstance(value, list):
        return [rename_leaves(entry, table, moves) for entry in value]
    if isinstance(value, dict):
        return {key: rename_leaves(entry, table, moves) for key, entry in value.items()}
    raise BadInput(f"The model: expected [layer, call, output] among its inputs and outputs, received {value!r:.80}.")


def arguments(calls: Calls) -> list[dict[str, Json]]:
    """What each call is given: 'training', and 'args', the arguments in order; none where shapes are not told."""
    if not isinstance(calls, dict):
        return [{"training": call.keywords.get("training"), "args": []} for call in calls]
    found = []
    for node in calls["keras3"]:
        named = node["kwargs"] if isinstance(node["kwargs"], Mapping) else {}
        rest = [value for key, value in named.items() if key not in ("training", "mask")]
        args = [_decoded(value) for value in [*node["args"], *rest]] if isinstance(node["args"], list) else []
        if len(args) == 1 and isinstance(args[0], list):
            args = args[0]
        tensors = [key for key, value in named.items() if node["args"] and next(marks(value), None) is not None]
        found.append({"training": named.get("training"), "args": args, "tensors": tensors})
    return found


def _decoded(value: Json) -> Json:
    """An argument as Python has it; a tensor of the model is `Known`."""
    if isinstance(value, list):
        return [_decoded(entry) for entry in value]
    config = value.get("config") if isinstance(value, dict) else None
    if not isinstance(config, dict):
        return value
    kind, shape, dtype = value.get("class_name"), config.get("shape"), config.get("dtype")
    if kind == "__keras_tensor__" and isinstance(shape, list) and isinstance(dtype, str):
        return Known(tuple(d if isinstance(d, int) else None for d in shape), dtype)
    if kind == "__slice__":
        return slice(*(config.get(key) for key in ("start", "stop", "step")))
    return ... if kind == "__ellipsis__" else value


def marks(value: Json) -> Iterator[list[Json]]:
    """The [layer, call, output] of every tensor in the arguments of a call."""
    if isinstance(value, Mapping):
        config = value.get("config")
        if value.get("class_name") == "__keras_tensor__" and isinstance(config, Mapping):
            history = config.get("keras_history")
            if isinstance(history, list) and is_leaf(history):
                yield history[:3]
        else:
            for entry in value.values():
                yield from marks(entry)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from marks(entry)


def leaves(value: Json) -> Iterator[list[Json]]:
    """The [layer, call, output] of a structure, dict keys sorted as Keras sorts them."""
    if is_leaf(value):
        yield value
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from leaves(entry)
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield from leaves(value[key])
