"""PyTorch's walk: an exported program written into a graph, call by call, each by the row of its operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import onnx_ir as ir

from converter import advice
from converter.capture import torch_activations, torch_leaves, torch_nodes, torch_parts, torch_views
from converter.capture.torch_constants import Constants
from converter.capture.torch_graph import TorchGraph, Weight, kind
from converter.capture.torch_memory import IN_TRAINING, Memory, written
from converter.capture.torch_nodes import Where
from converter.errors import Item, Unsupported
from converter.graph.graph import GraphBuilder, Place
from converter.ops import schema
from converter.ops.base import TORCH_OPERATIONS, Refusal
from converter.ops.cast import Cast

Leaf = Callable[[str, dict[str, Any], tuple[Any, ...]], Any]
"""(name, attributes, inputs) of a module that tracing kept whole -> what it gives."""


def write(
    g: GraphBuilder,
    program: Any,
    given: Sequence[ir.Value],
    place: Place,
    weight: Weight | None = None,
    where: Callable[[Any], Where] | None = None,
    leaf: Leaf | None = None,
    kept: Sequence[torch_leaves.Call] = (),
) -> list[ir.Value]:
    """Write an exported program into a graph, and return what it gives, in the order of `torch_nodes.outputs`.

    `given` are the values of its inputs, in the order of `torch_nodes.inputs`; `place` is the layer that is opened
    (Place("", "") for a whole model), `weight` makes the initializer of a weight from its name and tensor, `where` says
    which module a node stands in, `leaf` writes what tracing kept whole, `kept` are such calls of torch.nn's modules.
    The graph may be one that another capture has begun. Raises Unsupported with every call that has no mapping.
    """
    reading = _Reading(g, place, weight or _weight_of(g, place), where or torch_nodes.modules(program), leaf, kept)
    walk = _Walk(reading, program.graph, torch_nodes.weights(program))
    walk.constants = Constants(program.graph, torch_nodes.constants(program))
    for node, value in zip(torch_nodes.inputs(program), given, strict=True):
        walk.keep(node, value)
    walk.run()
    if reading.items:
        raise Unsupported(reading.items)
    returned, _ = torch_nodes.outputs(program)
    return [walk.result(node) for node in returned]


def _weight_of(g: GraphBuilder, place: Place) -> Weight:
    def weight(path: str, tensor: Any) -> ir.Value:
        whole = f"{place.path}/{path}" if place.path else path
        return g.weight(tensor, path=whole, trainable=bool(tensor.requires_grad))

    return weight


class _Reading:
    """What the walks over a program and over the parts of its operations have in common."""

    def __init__(
        self,
        g: GraphBuilder,
        place: Place,
        weight: Weight,
        where: Callable[[Any], Where],
        leaf: Leaf | None,
        kept: Sequence[torch_leaves.Call],
    ) -> None:
        self.g = g
        self.torch = TorchGraph(g)
        self.place = place
        self.weight = weight
        self.where = where
        self.leaf = leaf
        self.kept = kept
        self.shared: dict[Any, Any] = {}
        self.items: list[Item] = []

    def at(self, at: Where) -> Place:
        """The place of a module's nodes in the graph."""
        if at.place is not None:
            return at.place
        kept = "FrozenBatchNorm" in at.cls
        return replace(
            self.place,
            path=self.path(at),
            cls=at.cls.rsplit(".", 1)[-1] or self.place.cls,
            call=at.call or self.place.call,
            trainable=self.place.trainable and not kept,
            scope=self.place.scope + at.scope,
        )

    def path(self, at: Where) -> str:
        """A module's path, behind that of the layer that is opened."""
        if at.place is not None:
            return at.place.path
        return f"{self.place.path}/{at.path}" if self.place.path and at.path else at.path or self.place.path


class _Walk:
    """One graph: of a program, or of the parts of an operation that stands at `fixed`."""

    def __init__(
        self, reading: _Reading, graph: Any, weights: dict[str, tuple[str, Any]], fixed: Where | None = None
    ) -> None:
        self.reading = reading
        self.g = reading.g
        self.torch = reading.torch
        self.graph = graph
        self.weights = weights
        self.fixed = fixed
        self.items = reading.items if fixed is None else []
        self.values: dict[str, Any] = {}
        self.memory = Memory(graph)
        self.constants: Constants | None = None
        self.reader = "output"
        self.refused: set[str] = set()

    def run(self) -> None:
        """Write every call; what cannot be written is kept in `items`."""
        regions = torch_leaves.regions(self.graph, self.weights)
        for node in torch_nodes.calls(self.graph):
            if torch_nodes.picks(node) and not node.users:
                continue  # a result that nobody reads
            if self.constants is not None and self.constants.made(node):
                continue
            region = regions.get(node.name)
            if region is not None or node.name not in regions:
                self._call(node, region)

    def result(self, node: Any) -> Any:
        """What a node that is returned holds."""
        self.reader = "output"
        try:
            value = self._value(node)
        except Refusal as refusal:
            raise Unsupported([Item(node.name, "output", refusal.why)]) from refusal
        if not isinstance(value, ir.Value):
            raise Unsupported([Item(node.name, "output", "the model returns what is no tensor.")])
        return value

    def keep(self, node: Any, made: Any) -> None:
        """Remember what a node gives."""
        self.values[node.name] = made
        self.memory.made(node.name)
        values = made if isinstance(made, (tuple, list)) else [made]
        for (lengths, _), value in zip(torch_nodes.results(node), values, strict=False):
            if isinstance(value, ir.Value):
                self.torch.sized(value, lengths)
        if isinstance(made, ir.Value) and len(node.users) == 1:
            self.torch.alone.add(id(made))

    # One call ------------------------------------------------------------------------------------------------------

    def _call(self, node: Any, region: torch_leaves.Region | None) -> None:
        """One call, or a module whose calls together are one op."""
        self.reader = node.name
        at = self.fixed or self.reading.where(node)
        name, in_place = torch_nodes.operation(node)
        role = "" if at.builtin or self.fixed is not None else name.partition(".")[0]
        try:
            with self.g.at(self.reading.at(at)), self.g.role(role):
                self.torch.results = torch_nodes.results(node)
                if region is not None:
                    made: Any = region.written(self.torch, self._value)
                else:
                    made = self._written(node, name, in_place, at)
                target = written(node)
                if target is not None:
                    made = self._alike(node, made)
                    self._overwrite(node, target, made)
        except Refusal as refusal:
            before: Any = node.args[0] if node.args else None
            if not (torch_nodes.picks(node) and getattr(before, "name", "") in self.refused):
                self.items.append(Item(self.reading.path(at) or "forward", name, refusal.why, refusal.todo))
            self.refused.add(node.name)
            made = self._unknown(node)
        self.keep(node, made)

    def _written(self, node: Any, name: str, in_place: bool, at: Where) -> Any:
        """What a call gives: by its row, or by those of its parts."""
        if torch_nodes.picks(node):
            return self._picked(node)
        kept = torch_nodes.symbolic(node)
        if kept is not None and kept[0] == torch_leaves.KEPT:
            call = self.reading.kept[kept[1]["index"]]
            return call.written(self.torch, [self._value(v) for v in kept[2]])
        if kept is not None and self.reading.leaf is not None:
            named, attributes, inputs = kept
            return self.reading.leaf(named, attributes, tuple(self._value(v) for v in inputs))
        row = TORCH_OPERATIONS.get(name) or torch_activations.activation(name)
        if row is not None:
            values = [self._value(v) for _, v in torch_nodes.arguments(node)]
            try:
                return row(self.torch, *values)
            except schema.Refused as error:
                raise Refusal(f"it is given what its operator in ONNX is not made for: {error}.") from error
        within = torch_parts.inlined(node)
        if within is not None:
            return self._inside(within, None, "")
        found = torch_parts.parts(node, in_place)
        if found is None:
            raise Refusal("there is no mapping for this operation.", advice.of_torch(name))
        return self._inside(found, at, advice.TORCH.get(name, ""))

    def _inside(self, found: tuple[Any, list[Any]], at: Where | None, todo: str) -> Any:
        """Write the graph of an operation's parts (at the operation's place), or one that stands under a setting."""
        graph, sources = found
        walk = _Walk(self.reading, graph, {}, at)
        placeholders = [n for n in graph.nodes if n.op == "placeholder"]
        for placeholder, source in zip(placeholders, sources, strict=True):
            if not hasattr(source, "op") or torch_nodes.shape_of(source) is not None:
                walk.keep(placeholder, self._value(source))
        walk.run()
        if at is not None and walk.items:
            parts = ", ".join(dict.fromkeys(item.what for item in walk.items))
            raise Refusal(f"there is no mapping for this operation, nor for {parts}, of which it is made.", todo)
        (returned,) = next(n for n in graph.nodes if n.op == "output").args
        if isinstance(returned, (tuple, list)):
            return tuple(None if r is None else walk._value(r) for r in returned)
        return walk._value(returned)

    def _picked(self, node: Any) -> Any:
        """One of the results of an operation that gives several."""
        results = self._value(node.args[0])
        if not isinstance(results, (tuple, list)):
            raise Refusal("it picks one of several results, and there is one.")
        return results[node.args[1]]  # None for what the row does not give; whatever reads it is refused

    def _value(self, argument: Any) -> Any:
        if isinstance(argument, (tuple, list)):
            return tuple(self._value(a) for a in argument)
        if not hasattr(argument, "op"):
            return argument
        name = argument.name
        fixed = None if self.constants is None else self.constants.of(self.reader, name)
        if fixed is not None:
            return self.g.constant(fixed)
        if name not in self.values and name in self.weights:
            path, tensor = self.weights[name]
            tensor = self.reading.shared.setdefault(torch_nodes.storage(tensor), tensor)
            self.keep(argument, self.reading.weight(path, tensor))
        if name in self.values and self.memory.stale(name):
            self.keep(argument, self._again(argument))
        value = self.values.get(name)
        if value is None and torch_nodes.picks(argument):
            what = torch_nodes.operation(argument.args[0])[0]
            raise Refusal(f"it reads result {argument.args[1]} of {what}, which has no mapping.")
        if value is None:
            raise Refusal(f"it reads {name!r}, which is no tensor of the graph.")
        return value

    # Memory that is written ----------------------------------------------------------------------------------------

    def _overwrite(self, node: Any, target: Any, made: Any) -> None:
        """What shares the memory of `target`, which `node` has written, and is read later, reads what was written."""
        while True:
            others = self.memory.others(target.name, node.name)
            if target.name in self.weights and self.memory.group_read(target.name, node.name):
                raise Refusal("it changes a weight while the model runs.", "Compute a new tensor in its place.")
            if target.op == "placeholder":
                self.torch.note(f"it changes {target.name!r} in place, which what is written here does not.")
            if torch_nodes.operation(target)[0].partition(".")[0] in IN_TRAINING and others:
                why = "it changes in place what dropout handed on, which is a copy in training only."
                raise Refusal(why, "Use the form that is not in place.")
            parent = self.memory.parent.get(target.name)
            self.values[target.name] = made
            if parent is None or not others:
                break
            made, target = self._written_back(target, parent, made), parent
        self.memory.wrote(node.name)
        held: Any = node
        while held is not None:
            self.memory.made(held.name)
            held = self.memory.parent.get(held.name)

    def _alike(self, node: Any, made: Any) -> Any:
        """What is written into memory has the memory's dtype."""
        ((lengths, dtype),) = torch_nodes.results(node)
        if made.dtype != kind(dtype):
            made = self.torch.op(Cast(to=int(kind(dtype))), made)
        self.torch.sized(made, lengths)
        return made

    def _written_back(self, look: Any, memory: Any, made: Any) -> Any:
        """The memory with what was written into a look at it."""
        call = torch_views.written_back(look, memory)
        if call is None:
            return made
        name, given = call
        row = TORCH_OPERATIONS.get(name)
        if row is None:
            raise Refusal(f"what it changes in place would have to be written back by {name}.", torch_views.PLAIN)
        self.torch.results = torch_nodes.results(memory)
        result = row(self.torch, *[made if v is None else self._value(v) for v in given])
        self.torch.sized(result, torch_nodes.shape_of(memory) or ())
        return result

    def _again(self, node: Any) -> Any:
        """A look at memory that was written since it was computed, computed again."""
        parent = self.memory.parent.get(node.name)
        if parent is None:
            raise Refusal("it reads a tensor that was changed in place.", torch_views.PLAIN)
        if written(node) is not None:
            return self._value(parent)
        before, self.torch.results = self.torch.results, torch_nodes.results(node)
        try:
            name, in_place = torch_nodes.operation(node)
            return self._written(node, name, in_place, self.fixed or self.reading.where(node))
        finally:
            self.torch.results = before

    def _unknown(self, node: Any) -> Any:
        """A stand-in for what a refused call would give, so that the walk can find everything else it must refuse."""
        several = isinstance(node.meta.get("val"), (tuple, list))
        made = []
        for lengths, dtype in torch_nodes.results(node):
            shape = ir.Shape([d if isinstance(d, int) else ir.SymbolicDim(None) for d in lengths])
            made.append(ir.Value(name=node.name, shape=shape, type=ir.TensorType(kind(dtype or "float32"))))
        return tuple(made) if several else made[0]
