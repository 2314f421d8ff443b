"""Layers placed at the module paths that they had: 'layer1.0.conv1' in classes and containers like those it came from.

Only names and scopes in the nodes' metadata change; the graph stays as it is. A scope whose children have numbers for
names becomes an nn.Sequential where they follow on each other, else an nn.ModuleList or nn.ModuleDict.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from converter.graph.graph import CALL, LAYER, SCOPE
from converter.ops import functional
from converter.ops.records import Module, Ref
from converter.write.view import LOCAL, Item, NodeView, items_of

SEQUENTIAL, LIST, DICT = "nn.Sequential", "nn.ModuleList", "nn.ModuleDict"


@dataclass(frozen=True)
class Held:
    """An entry of the state dict that no layer has: its numbers, whether it is a parameter, whether that trains."""

    data: np.ndarray
    parameter: bool
    trainable: bool


@dataclass(frozen=True)
class Kept:
    """What a source file is written with besides the graph, so that its state dict is the one that it was.

    `places`: a layer's name -> the path of its module and, for what that module does besides, a name of its own ('' for
    the module itself). `held`: entries of the state dict by their keys. `classes`: what the class of a scope
    ('layer1/') was called.
    """

    places: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    held: Mapping[str, Held] = field(default_factory=dict)
    classes: Mapping[str, str] = field(default_factory=dict)


def place(graph: ir.Graph, kept: Kept) -> dict[str, str]:
    """Give every node the scope of its module; the containers' kinds by scope ('layer1/')."""
    return _Placing(list(graph), kept).kinds


class _Placing:
    def __init__(self, nodes: list[ir.Node], kept: Kept) -> None:
        self.kinds: dict[str, str] = {}
        self.records = {id(node): functional.for_torch(NodeView(node).record("torch")) for node in nodes}
        self.scopes: dict[int, tuple[str, ...]] = {}
        self.modules = {layer for layer, (_, role) in kept.places.items() if not role}
        self.seen: dict[str, list[str]] = {}
        self.children: dict[str, set[str]] = defaultdict(set)
        """The names below a scope behind which there is a module or a weight."""
        for node in nodes:
            self._read(node, kept.places)
        for node in nodes:
            if id(node) not in self.scopes:
                self.scopes[id(node)] = self._between(node)
        for key in kept.held:
            self._solid(key.split(".")[:-1])
        self._level(nodes, ())
        for path, names in self.children.items():
            self._contain(path, names, None)

    def _read(self, node: ir.Node, places: Mapping[str, tuple[str, str]]) -> None:
        known = places.get(node.metadata_props.get(LAYER, ""))
        if known is None:
            return
        parts = known[0].split(".") if known[0] else []
        own = known[1] == "" and bool(parts)
        self.scopes[id(node)] = tuple(parts[:-1] if own else parts)
        local = parts[-1] if own else known[1]
        if local:
            node.metadata_props[LOCAL] = local
        if isinstance(self.records[id(node)], Module):
            self._solid([*self.scopes[id(node)], local])

    def _between(self, node: ir.Node) -> tuple[str, ...]:
        """The scope of what no module was: the innermost one that all around it have in common."""
        if node.metadata_props.get(SCOPE):
            return ()  # it is inside a model of its own
        around = [value.producer() for value in node.inputs if value is not None]
        around += [use.node for out in node.outputs for use in out.uses()]
        known = [self.scopes[id(each)] for each in around if each is not None and id(each) in self.scopes]
        if not known or any(value.is_graph_output() for value in node.outputs):
            return ()
        same = [parts[0] for parts in zip(*known, strict=False) if len(set(parts)) == 1]
        length = next((i for i, parts in enumerate(zip(*known, strict=False)) if len(set(parts)) > 1), len(same))
        return tuple(same[:length])

    def _solid(self, parts: Sequence[str]) -> None:
        for i, name in enumerate(parts):
            self.children["".join(f"{part}/" for part in parts[:i])].add(name)

    def _level(self, nodes: list[ir.Node], path: tuple[str, ...]) -> None:
        """The scopes below a path, and what kind of container the path is; `nodes` are those at it and below."""
        depth = len(path)
        groups: dict[str, list[ir.Node]] = {}
        for node in nodes:
            if len(self.scopes[id(node)]) > depth:
                groups.setdefault(self.scopes[id(node)][depth], []).append(node)
        number: dict[int, int] = {}
        for group in groups.values():
            number |= self._calls(group)
        if not self._runs(nodes, depth, number):
            number = self._pieces(nodes, depth)
        whole = True
        for name, group in groups.items():
            calls: dict[int, list[ir.Node]] = {}
            for node in group:
                calls.setdefault(number[id(node)], []).append(node)
                node.metadata_props[SCOPE] = f"{node.metadata_props.get(SCOPE, '')}{name}#{number[id(node)]}/"
            whole &= len(calls) == 1
            for piece in calls.values():
                self._level(piece, (*path, name))
        key = "".join(f"{part}/" for part in path)
        layers = [node.metadata_props.get(LAYER, "") for node in nodes]
        if self.seen.setdefault(key, layers) != layers:
            whole = False  # another call of it does something else
            if self.kinds.get(key) == SEQUENTIAL:
                del self.kinds[key]
        self._contain(key, self.children[key], items_of(nodes, depth) if whole else None)

    def _calls(self, group: list[ir.Node]) -> dict[int, int]:
        """Which call of their scope nodes belong to: a scope is called as often as that of its modules called least."""
        calls: dict[str, int] = {}
        for node in group:
            layer = node.metadata_props.get(LAYER, "")
            if layer in self.modules:
                calls[layer] = max(calls.get(layer, 0), int(node.metadata_props.get(CALL, "0")) + 1)
        least = min(calls.values(), default=1)
        found: dict[int, int] = {}
        for node in group:
            times = calls.get(node.metadata_props.get(LAYER, ""), 0)
            if times and times % least == 0:
                found[id(node)] = int(node.metadata_props.get(CALL, "0")) * least // times
            else:
                before = [value.producer() for value in node.inputs if value is not None]
                found[id(node)] = max((found.get(id(each), 0) for each in before), default=0)
        return found

    def _key(self, node: ir.Node, depth: int, number: Mapping[int, int]) -> tuple[object, ...]:
        scope = self.scopes[id(node)]
        return (scope[depth], number[id(node)]) if len(scope) > depth else (id(node),)

    def _runs(self, nodes: list[ir.Node], depth: int, number: Mapping[int, int]) -> bool:
        """Whether every scope can be one call: none needs what another makes of it."""
        of = {id(node): self._key(node, depth, number) for node in nodes}
        needs: dict[tuple[object, ...], set[tuple[object, ...]]] = {key: set() for key in of.values()}
        for node in nodes:
            for value in node.inputs:
                before = value.producer() if value is not None else None
                if before is not None and id(before) in of and of[id(before)] != of[id(node)]:
                    needs[of[id(node)]].add(of[id(before)])
        left = {key: len(before) for key, before in needs.items()}
        readers: dict[tuple[object, ...], list[tuple[object, ...]]] = defaultdict(list)
        for key, before in needs.items():
            for each in before:
                readers[each].append(key)
        ready = [key for key, count in left.items() if count == 0]
        done = 0
        while ready:
            done += 1
            for key in readers[ready.pop()]:
                left[key] -= 1
                if left[key] == 0:
                    ready.append(key)
        return done == len(left)

    def _pieces(self, nodes: list[ir.Node], depth: int) -> dict[int, int]:
        """Scopes cut where another one stands in between, in the graph's own order, which can always run."""
        found: dict[int, int] = {}
        last, count = "", 0
        for node in nodes:
            scope = self.scopes[id(node)]
            name = scope[depth] if len(scope) > depth else ""
            count += name != last
            last = name
            found[id(node)] = count
        return found

    def _contain(self, key: str, names: set[str], items: list[Item] | None) -> None:
        """Settle what holds children whose names are no identifiers."""
        if key in self.kinds or all(name.isidentifier() for name in names):
            return
        if items is not None and key and self._chain(items, key):
            self.kinds[key] = SEQUENTIAL
        elif names == {str(i) for i in range(len(names))}:
            self.kinds[key] = LIST
        else:
            self.kinds[key] = DICT

    def _chain(self, items: list[Item], key: str) -> bool:
        """Modules that follow on each other, each reading what the one before it gives, and nothing else."""
        before: ir.Value | None = None
        names: list[str] = []
        for item in items:
            if item.scope:
                name = item.scope.rsplit("#", 1)[0]
                if self.kinds.get(f"{key}{name}/", SEQUENTIAL) != SEQUENTIAL or not self.children[f"{key}{name}/"]:
                    return False
            else:
                record = self.records[id(item.nodes[0])]
                name = item.nodes[0].metadata_props.get(LOCAL, "")
                if not isinstance(record, Module) or not record.cls.startswith("nn."):
                    return False
                if len(record.inputs) != 1 or not isinstance(record.inputs[0], Ref):
                    return False
            if len(item.inputs) != 1 or len(item.outputs) != 1:
                return False
            if before is not None and not _alone(before, item):
                return False
            before = item.outputs[0]
            names.append(name)
        return len(set(names)) == len(names) > 0


def _alone(value: ir.Value, item: Item) -> bool:
    """Whether a value is all that an item reads, and nothing else reads it."""
    inside = {id(node) for node in item.nodes}
    return (
        item.inputs[0] is value and not value.is_graph_output() and all(id(use.node) in inside for use in value.uses())
    )
