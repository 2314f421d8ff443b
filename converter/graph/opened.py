"""Ops that a target has no form for, opened: replaced by plainer ones of the same layer that do the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir as ir

from converter.graph.graph import ROLE, GraphBuilder, dims, ir_shape, place_of, symbols
from converter.ops import base
from converter.ops.base import Dims, Op


class _Before:
    """The builder that writes in front of a node, for the node's layer."""

    def __init__(self, g: GraphBuilder, node: ir.Node) -> None:
        self.g = g
        self.node = node
        self.role = node.metadata_props.get(ROLE) or node.op_type.lower()

    def op(self, op: Op, *inputs: ir.Value | None, role: str = "", **facts: str) -> Any:
        made = self.several(op, *inputs, role=role, **facts)
        return made[0] if len(made) == 1 else made

    def several(self, op: Op, *inputs: ir.Value | None, role: str = "", **facts: str) -> tuple[ir.Value, ...]:
        place = place_of(self.node)
        node = self.g.node(op, inputs, place, role or self.role, facts, before=self.node)
        if op.spatial and inputs[0] is not None and inputs[0].dtype is not None:
            node.metadata_props[base.LAST] = "1"
            shape = dims(inputs[0])
            first = [shape[p] for p in base.channels_first(len(shape))]
            (made,) = op.outputs(base.Type(tuple(first), inputs[0].dtype))
            node.outputs[0].shape = ir_shape([made.shape[p] for p in base.channels_last(len(shape))])
        return tuple(node.outputs)

    def constant(self, data: Any, like: ir.Value | None = None) -> ir.Value:
        with self.g.at(place_of(self.node)):
            return self.g.constant(data, like)

    def nested(self, name: str) -> GraphBuilder:
        return self.g.nested(name)

    def shape(self, value: ir.Value) -> Dims:
        return dims(value)

    def symbols(self, value: ir.Value) -> tuple[int | str | None, ...]:
        return symbols(value)


def open_ops(g: GraphBuilder, lacks: Callable[[ir.Node], bool]) -> None:
    """Open every op that `lacks` a form and says what it is made of; the graph is settled in the target's layout."""
    for node in list(g.graph):
        if base.class_of(node) is None or not lacks(node):
            continue
        try:
            made = base.of(node).opened(_Before(g, node), *node.inputs)
        except LookupError:
            continue  # it stays, and is refused for the reason that it gives
        for old, new in zip(node.outputs, made if isinstance(made, tuple) else (made,), strict=True):
            for use in list(old.uses()):
                use.node.replace_input_with(use.idx, new)
            for index, output in enumerate(g.graph.outputs):
                if output is old:
                    g.graph.outputs[index] = new
        g.graph.remove(node, safe=True)
    g.remove_unused()
