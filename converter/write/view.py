"""One node of the settled graph as its op sees it, and the items that a scope's forward is made of."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from converter.graph.graph import LOCAL, ROLE, Place, array, dims, facts_of, local_name, origin, place_of
from converter.graph.nested import reads
from converter.ops import base
from converter.ops.base import Dims, Op
from converter.ops.records import Record, Ref


class NodeView:
    """The View of ops/base.py over an onnx-ir node."""

    def __init__(self, node: ir.Node) -> None:
        self.node = node
        self.op: Op = base.of(node)
        self.place: Place = place_of(node)
        self.role = node.metadata_props.get(ROLE, "")
        self.own = self.role == ""
        self.trainable = self.place.trainable
        self.training = facts_of(node)
        self.local = node.metadata_props.get(LOCAL) or local_name(self.place) or node.op_type.lower()
        self.inside = node.metadata_props.get(LOCAL) == ""
        """Whether it is what the scope's own layer does, so that what it has needs no name before its own."""
        if self.inside:
            self.local = self.role or node.op_type.lower()

    def named(self, part: str) -> str:
        """What a part of the layer is called in its scope: 'conv_activation', or 'activation' in the layer itself."""
        return part if self.inside else f"{self.local}_{part}"

    def value(self, index: int) -> ir.Value:
        """The value at an input that must be there."""
        value = self.node.inputs[index]
        if value is None:
            raise LookupError(f"{self.node.op_type} of {self.place.path!r} has no input {index}")
        return value

    def x(self, index: int = 0) -> Ref:
        """The input as an expression."""
        return Ref(self.value(index))

    def all(self) -> tuple[Ref | None, ...]:
        """Every input as an expression; None in the place of an optional one that is not there."""
        return tuple(None if v is None else Ref(v) for v in self.node.inputs)

    def has(self, index: int) -> bool:
        """Whether an optional input is there."""
        return index < len(self.node.inputs) and self.node.inputs[index] is not None

    def shape(self, index: int = 0) -> Dims:
        """An input's shape; None for a length known at run time only."""
        return dims(self.value(index))

    def out_shape(self, index: int = 0) -> Dims:
        """An output's shape."""
        return dims(self.node.outputs[index])

    @property
    def outputs(self) -> int:
        """How many outputs the node has."""
        return len(self.node.outputs)

    def array(self, index: int) -> np.ndarray | None:
        """The numbers of a constant input."""
        return array(self.value(index)) if self.has(index) else None

    def real(self, index: int) -> bool:
        """Whether an input is a weight of the source, not a constant that stands for one it does not have."""
        return self.has(index) and origin(self.value(index)) is not None

    def record(self, target: str) -> Record:
        """What the op becomes in a target, 'torch' or 'keras'; LookupError says why it becomes nothing."""
        if self.outputs > 1 and not self.op.domain and self.outputs != self.op.count():
            raise LookupError(f"the optional outputs of {self.node.op_type} have no mapping")
        record: Record = getattr(self.op, target)(self)
        return record


@dataclass
class Item:
    """One step of a scope: a node, or the call of a nested scope with all its nodes."""

    nodes: list[ir.Node]
    scope: str = ""
    """The nested call's own name with its number, '' for a single node."""
    path: str = ""
    """The same behind the calls around it: 'encoder#0/inner#1/'."""
    children: list[Item] = field(default_factory=list)

    @property
    def inputs(self) -> list[ir.Value]:
        """Computed values from outside, in the order of their first use."""
        inside = {id(out) for node in self.nodes for out in node.outputs}
        found: dict[int, ir.Value] = {}
        for node in self.nodes:
            for value in reads(node):
                if value.const_value is None and id(value) not in inside:
                    found.setdefault(id(value), value)
        return list(found.values())

    @property
    def outputs(self) -> list[ir.Value]:
        """Values that something outside reads, in order."""
        inside = {id(node) for node in self.nodes}
        return [
            out
            for node in self.nodes
            for out in node.outputs
            if out.is_graph_output() or any(id(use.node) not in inside for use in out.uses())
        ]


def items_of(nodes: list[ir.Node], depth: int = 0) -> list[Item]:
    """The nodes of one scope as steps, nested calls as one step each, in an order that can run."""
    found: dict[str, Item] = {}
    ordered: list[Item] = []
    for node in nodes:
        parts = place_of(node).scope.split("/")[:-1]
        if len(parts) <= depth:
            ordered.append(Item([node]))
            continue
        name = parts[depth]
        if name not in found:
            found[name] = Item([], name, "".join(f"{part}/" for part in parts[: depth + 1]))
            ordered.append(found[name])
        found[name].nodes.append(node)
    for item in found.values():
        item.children = items_of(item.nodes, depth + 1)
    return _runnable(ordered)


def _runnable(items: list[Item]) -> list[Item]:
    """The items with every producer before its readers; the order as it is where that holds already."""
    made_by = {id(out): item for item in items for node in item.nodes for out in node.outputs}
    ordered: list[Item] = []
    state: dict[int, int] = {}

    for root in items:
        stack = [(root, False)]
        while stack:
            item, ready = stack.pop()
            if ready:
                if state[id(item)] == 1:
                    state[id(item)] = 2
                    ordered.append(item)
                continue
            if id(item) in state:
                continue
            state[id(item)] = 1
            stack.append((item, True))
            needs = [made_by[id(v)] for v in item.inputs if id(v) in made_by]
            stack.extend((need, False) for need in reversed(needs) if id(need) not in state)
    return ordered
