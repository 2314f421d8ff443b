"""The nodes of a graph for Keras with what their ops answer, and which of them are calls of one layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import onnx_ir as ir

from converter.graph.graph import origin
from converter.ops import functional
from converter.ops.records import Layer, refs, walk
from converter.write.view import NodeView

FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})


@dataclass(frozen=True)
class NodeCall:
    """A node with its record; layers with the same key are one layer, called several times."""

    view: NodeView
    record: Any
    outputs: tuple[ir.Value, ...]
    keys: dict[int, Any]
    """Of each layer in the record, by its id."""

    @property
    def output(self) -> ir.Value:
        return self.outputs[0]


def called(node: ir.Node) -> NodeCall:
    """A node as its op answers for Keras; LookupError says why there is no answer."""
    view = NodeView(node)
    record = functional.for_keras(view.record("keras"))
    own = view.own and isinstance(record, Layer)
    keys = {id(layer): _key(view, layer, own) for layer in walk(record) if isinstance(layer, Layer)}
    return NodeCall(view, record, tuple(node.outputs), keys)


def lacks(node: ir.Node) -> bool:
    """Whether the op of a node has no answer for Keras."""
    try:
        called(node)
    except LookupError:
        return True
    return False


def _key(view: NodeView, record: Layer, own: bool) -> Any:
    """Layers with the same key are one layer: a module that is called several times."""
    weights = tuple(sorted((k, id(v), str(axes)) for k, (v, axes) in record.weights.items()))
    if not own and not weights:
        return id(record)
    # Modules that have every weight in common are one layer.
    learned = any(origin(v) is not None for v, _ in record.weights.values())
    path = "" if learned else view.place.path
    return path, record.cls, record.trainable, repr(sorted(record.kwargs.items())), weights


def wanted(call: NodeCall, layer: Layer) -> str:
    """The layer's name: the module's path, and behind it what is done there where the module is not just that."""
    path, role = call.view.place.path, call.view.role
    if call.view.own or layer.weights:
        return path or layer.cls.lower()
    role = layer.cls.lower() if role in ("spatial", "boundary", "layout") else role
    return f"{path}_{role}" if path else role


def folded(calls: list[NodeCall], results: Sequence[ir.Value], counts: Mapping[Any, int]) -> list[NodeCall]:
    """An activation function that alone reads a layer with an `activation` argument becomes that argument."""
    kept: dict[int, NodeCall] = {}
    for call in calls:
        kept[id(call.output)] = call
        if not isinstance(call.record, Layer):
            continue
        values = refs(call.record)
        name = call.record.kwargs.get("activation") if call.record.cls == "Activation" and not call.view.own else None
        before = kept.get(id(values[0])) if len(values) == 1 else None
        if before is None or not isinstance(name, str) or not isinstance(before.record, Layer):
            continue
        alone = len(before.output.uses()) == 1 and not any(before.output is v for v in results)
        key = before.keys[id(before.record)]
        if not alone or not before.record.activates or "activation" in before.record.kwargs or counts[key] > 1:
            continue
        del kept[id(before.output)]
        record = replace(before.record, kwargs={**before.record.kwargs, "activation": name})
        keys = {**before.keys, id(record): key}
        kept[id(call.output)] = replace(before, record=record, outputs=call.outputs, keys=keys)
    return list(kept.values())


def float_of(call: NodeCall) -> str:
    """The float that a node computes in: of its output, or of what it reads where that gives none."""
    values = [*call.outputs, *(v for v in call.view.node.inputs if v is not None)]
    floats = [dtype_of(v) for v in values if v.dtype is not None and dtype_of(v) in FLOATS]
    return floats[0] if floats else dtype_of(call.output)


def dtype_of(value: ir.Value) -> str:
    return str(value.dtype.numpy()) if value.dtype is not None else "float32"
