"""PyTorch's walk: an exported program written into a graph, call by call, each by the row of its operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import onnx_ir as ir

from converter import advice
from converter.capture import torch_activations, torch_nodes
from converter.capture.torch_graph import TorchGraph, Weight, kind
from converter.capture.torch_nodes import Where
from converter.errors import Item, Unsupported
from converter.graph.graph import GraphBuilder, Place
from converter.ops.base import TORCH_OPERATIONS, Op, Refusal


def write(
    g: GraphBuilder,
    program: Any,
    given: Sequence[ir.Value],
    place: Place,
    weight: Weight | None = None,
    where: Callable[[Any], Where] = torch_nodes.where,
    leaf: Callable[[Any, Sequence[Any]], Any] | None = None,
) -> list[ir.Value]:
    """Write an exported program into a graph, and return what it gives, in the order of `torch_nodes.outputs`.

    `given` are the values of its inputs, in the order of `torch_nodes.inputs`; `place` is the layer that is opened
    (Place("", "") for a whole model), `weight` makes the initializer of a weight from its name and tensor, `where` says
    which module a node stands in; `leaf` gives what a symbolic node gives, something that stayed
    whole, from the node and its inputs. The graph may be one that another capture has begun.
    Raises Unsupported with every call that has no mapping.
    """
    walk = _Walk(g, program, place, weight or _weight_of(g, place), where, leaf)
    for node, value in zip(torch_nodes.inputs(program), given, strict=True):
        walk.keep(node, value)
    walk.run()
    if walk.items:
        raise Unsupported(walk.items)
    returned, _ = torch_nodes.outputs(program)
    return [walk.result(node) for node in returned]


def _weight_of(g: GraphBuilder, place: Place) -> Weight:
    def weight(path: str, tensor: Any) -> ir.Value:
        whole = f"{place.path}/{path}" if place.path else path
        return g.weight(tensor, path=whole, trainable=bool(tensor.requires_grad))

    return weight


class _Walk:
    def __init__(
        self,
        g: GraphBuilder,
        program: Any,
        place: Place,
        weight: Weight,
        where: Callable[[Any], Where],
        leaf: Callable[[Any, Sequence[Any]], Any] | None,
    ) -> None:
        self.g = g
        self.torch = TorchGraph(g)
        self.program = program
        self.place = place
        self.weight = weight
        self.where = where
        self.leaf = leaf
        self.values: dict[str, Any] = {}
        self.weights = torch_nodes.weights(program)
        self.shared: dict[Any, Any] = {}
        self.memory = torch_nodes.memory(program)
        self.items: list[Item] = []
        self.refused: set[str] = set()

    def run(self) -> None:
        """Write every call; what cannot be written is kept in `items`."""
        wholes = _wholes(self.program)
        for node in torch_nodes.calls(self.program):
            if node.name in wholes:
                if wholes[node.name] is not None:
                    self._call(node, *wholes[node.name])
                continue
            self._call(node, None, None)

    def result(self, node: Any) -> ir.Value:
        """What a node that is returned holds."""
        try:
            value = self._value(node)
        except Refusal as refusal:
            raise Unsupported([Item(node.name, "output", refusal.why)]) from refusal
        if not isinstance(value, ir.Value):
            raise Unsupported([Item(node.name, "output", "the model returns what is no tensor.")])
        return value

    def _call(self, node: Any, whole: type[Op] | None, source: Any) -> None:
        """One call, or a module whose calls together are one op."""
        at = self.where(node)
        name, in_place = torch_nodes.operation(node)
        self.torch.results = torch_nodes.results(node)
        try:
            with self.g.at(self._place(at)), self.g.role("" if at.builtin else name.partition(".")[0]):
                if whole is not None:
                    made: Any = self.torch.op(whole(), self._value(source))
                else:
                    made = self._written(node, name)
        except Refusal as refusal:
            before: Any = node.args[0] if node.args else None
            if not (torch_nodes.picks(node) and getattr(before, "name", "") in self.refused):
                self.items.append(Item(self._path(at) or "forward", name, refusal.why, refusal.todo))
            self.refused.add(node.name)
            made = self._unknown(node)
        if in_place:
            self._overwrite(node, made)
        self.keep(node, made)

    def _written(self, node: Any, name: str) -> Any:
        if torch_nodes.picks(node):
            return self._picked(node)
        if self.leaf is not None and name.startswith("onnx_symbolic."):
            return self.leaf(node, [self._value(v) for v in node.args[0]])
        row = TORCH_OPERATIONS.get(name) or torch_activations.activation(name)
        if row is None:
            raise Refusal("there is no mapping for this operation.", advice.of_torch(name))
        return row(self.torch, *[self._value(v) for _, v in torch_nodes.arguments(node)])

    def _picked(self, node: Any) -> Any:
        """One of the results of an operation that gives several."""
        results = self._value(node.args[0])
        if not isinstance(results, (tuple, list)):
            raise Refusal("it picks one of several results, and there is one.")
        picked = results[node.args[1]]
        if picked is None:
            raise Refusal(f"it reads result {node.args[1]} of {node.args[0].target}, which has no mapping.")
        return picked

    def _place(self, at: Where) -> Place:
        if at.place is not None:
            return at.place
        kept = "FrozenBatchNorm" in at.cls
        return replace(
            self.place,
            path=self._path(at),
            cls=at.cls.rsplit(".", 1)[-1] or self.place.cls,
            call=at.call or self.place.call,
            trainable=self.place.trainable and not kept,
        )

    def _path(self, at: Where) -> str:
        if at.place is not None:
            return at.place.path
        return f"{self.place.path}/{at.path}" if self.place.path and at.path else at.path or self.place.path

    def keep(self, node: Any, made: Any) -> None:
        """Remember what a node gives."""
        self.values[node.name] = made
        values = made if isinstance(made, (tuple, list)) else [made]
        for (lengths, _), value in zip(torch_nodes.results(node), values, strict=False):
            if isinstance(value, ir.Value):
                self.torch.lengths[id(value)] = lengths
        if isinstance(made, ir.Value) and len(node.users) == 1:
            self.torch.alone.add(id(made))

    def _overwrite(self, node: Any, made: Any) -> None:
        """Whatever is read later and shares the memory of what was overwritten has the new numbers."""
        before = self.values[node.args[0].name]
        order = {n.name: i for i, n in enumerate(self.program.graph.nodes)}
        for other in self.program.graph.nodes:
            if other.name == node.name or self.memory[other.name] != self.memory[node.name]:
                continue
            if not any(order[user.name] > order[node.name] for user in other.users):
                continue
            if self.values.get(other.name) is before:
                self.values[other.name] = made
            elif other.name in self.values:
                at = self.where(node).path or "forward"
                why = "it changes a tensor in place of which a view is read later."
                self.items.append(Item(at, torch_nodes.operation(node)[0], why, "Use the form that is not in place."))

    def _value(self, argument: Any) -> Any:
        if isinstance(argument, (tuple, list)):
            return tuple(self._value(a) for a in argument)
        if not hasattr(argument, "op"):
            return argument
        if argument.name not in self.values and argument.name in self.weights:
            path, tensor = self.weights[argument.name]
            tensor = self.shared.setdefault(torch_nodes.storage(tensor), tensor)
            self.keep(argument, self.weight(path, tensor))
        value = self.values.get(argument.name)
        if value is None:
            raise Refusal(f"it reads {argument.name!r}, which is no tensor of the graph.")
        return value

    def _unknown(self, node: Any) -> Any:
        """A stand-in for what a refused call would give, so that the walk can find everything else it must refuse."""
        several = isinstance(node.meta.get("val"), (tuple, list))
        made = []
        for lengths, dtype in torch_nodes.results(node):
            shape = ir.Shape([d if isinstance(d, int) else ir.SymbolicDim(None) for d in lengths])
            made.append(ir.Value(name=node.name, shape=shape, type=ir.TensorType(kind(dtype or "float32"))))
        return tuple(made) if several else made[0]


def _wholes(program: Any) -> dict[str, Any]:
    """The calls of modules that are one op but leave several nodes: the last -> (class, input), the others -> None."""
    known = torch_activations.modules()
    groups: dict[tuple[str, str, int], list[Any]] = {}
    for node in torch_nodes.calls(program):
        at = torch_nodes.where(node)
        if at.builtin and at.cls.rsplit(".", 1)[-1] in known:
            groups.setdefault((at.path, at.cls, at.call), []).append(node)
    found: dict[str, Any] = {}
    for (_, cls, _), nodes in groups.items():
        names = {node.name for node in nodes}
        sources = {a.name: a for n in nodes for a in n.all_input_nodes if a.name not in names}
        if len(sources) == 1:
            found |= dict.fromkeys(names)
            found[nodes[-1].name] = (known[cls.rsplit(".", 1)[-1]], next(iter(sources.values())))
    return found
