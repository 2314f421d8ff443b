"""The calls of a model in a file, nested models included, in the form in which masks are followed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converter import masks
from converter.errors import Item
from converter.files.nodes import leaves, marks
from converter.files.repairs import Reading
from converter.files.vetting import CONTAINERS, OPERATIONS, Rows

Json = Any
Key = tuple[Any, ...]


def causes(model: Mapping[str, Any], reading: Reading, rows: Rows) -> list[Item]:
    """The refusals of a model that is in Keras 3's form, those that a mask has caused at the layer that makes it."""
    calls, ends = _model(model, "", "", {}, reading)
    return masks.causes(calls, ends, reading.items, rows.takes_mask, rows.operation)


def _model(
    model: Mapping[str, Any], prefix: str, scope: str, given: dict[str, Key], reading: Reading
) -> tuple[list[masks.Call], list[Key]]:
    """The calls of one model, and the keys of what it returns; `given`: its input layers -> what is fed to them."""
    config = model["config"]
    found: list[masks.Call] = []
    last: Key | None = None
    for layer in config["layers"]:
        name = str(layer["name"] if "name" in layer else layer["config"].get("name"))
        path = f"{prefix}{name}"
        nodes = [(_keys(node, scope)) for node in layer.get("inbound_nodes", [])]
        if layer["class_name"] == "InputLayer":
            start = (scope, name, 0, 0)
            if name in given:
                found.append(masks.Call(path, "", [given[name]], [start], carries=True))
            last = start
            continue
        if model["class_name"] == "Sequential":
            first = next(iter(given.values()), None) if last is None else last
            nodes = [([first] if first is not None else [], [])]
        for number, (inputs, mask) in enumerate(nodes):
            out = (scope, name, number)
            last = (*out, 0)
            if layer["class_name"] in CONTAINERS and isinstance(layer["config"].get("layers"), list):
                starts = dict(zip(_inputs(layer), inputs))
                inner, ends = _model(layer, f"{path}/", f"{scope}{name}#{number}/", starts, reading)
                found += inner
                found += [masks.Call(path, "", [end], [(*out, i)], carries=True) for i, end in enumerate(ends)]
                continue
            cls = layer["class_name"]
            made = masks.makes(cls, layer["config"].get("mask_zero"))
            is_layer = not str(layer.get("module")).startswith(OPERATIONS)
            carries = bool(made) or cls in masks.CARRIES
            outputs = [(*out, i) for i in range(1 if is_layer else 8)]
            implied = reading.major < 3 or model["class_name"] == "Sequential"
            own = reading.names.get(path, path)
            found.append(masks.Call(own, cls, inputs, outputs, mask, made, carries, is_layer, implied))
    if model["class_name"] == "Sequential":
        return found, [] if last is None else [last]
    return found, [(scope, *leaf[:3]) for leaf in leaves(config.get("output_layers"))]


def _inputs(layer: Mapping[str, Any]) -> list[str]:
    """The names of a nested model's inputs, in the order in which it is called."""
    config = layer["config"]
    if layer["class_name"] == "Sequential":
        return [str(part["config"].get("name")) for part in config["layers"][:1] if isinstance(part["config"], dict)]
    return [str(leaf[0]) for leaf in leaves(config.get("input_layers"))]


def _keys(node: Json, scope: str) -> tuple[list[Key], list[Key]]:
    """The tensors that a call is given: as arguments, and as masks."""
    named = node.get("kwargs") if isinstance(node, Mapping) else None
    named = named if isinstance(named, Mapping) else {}
    mask = [value for key, value in named.items() if masks.is_mask(key)]
    rest = [value for key, value in named.items() if not masks.is_mask(key)]
    given = node.get("args") if isinstance(node, Mapping) else None
    return [(scope, *leaf) for leaf in marks([given, rest])], [(scope, *leaf) for leaf in marks(mask)]
