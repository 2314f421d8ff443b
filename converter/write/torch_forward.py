"""One forward method: which values get a variable, what the variables are called, one line a step."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir

from converter.graph.graph import array, origin
from converter.ops import base
from converter.ops.records import Block, Module, Record, Ref, names_of, refs
from converter.write.expressions import Text, literal
from converter.write.names import Namespace, identifier, parameters
from converter.write.view import Item, NodeView

LONG = 64
"""An expression longer than this gets a line of its own."""


@dataclass(frozen=True)
class Line:
    """A statement: an expression and the variables that it is assigned to, or one of a Block as it is."""

    targets: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{', '.join(self.targets)} = {self.text}" if self.targets else self.text


class Owner(Protocol):
    """What a forward method asks of the file it is written into."""

    def view(self, node: ir.Node) -> NodeView: ...
    def record(self, node: ir.Node) -> Record: ...
    def used(self, name: str) -> None: ...
    def module(self, view: NodeView, record: Module) -> str: ...
    def loose(self, view: NodeView, value: ir.Value) -> str: ...
    def nested(self, item: Item) -> str | None: ...
    def spelled(self, attribute: str, prefix: str) -> str: ...


class Forward:
    """Writes the lines of one forward method; `prefix` is the attribute path of the class it stands in."""

    def __init__(self, owner: Owner, prefix: str, items: list[Item], inputs: Mapping[ir.Value, str]) -> None:
        self.owner = owner
        self.prefix = prefix
        self.names: dict[int, str] = {id(v): n for v, n in inputs.items()}
        self.arguments = set(inputs.values())
        self.items = list(self._expanded(items))
        self.inlined = self._inlined()
        self.view: NodeView | None = None
        self.written: list[Line] = []
        self.attributes: list[str] = []
        """What it reads of `self`, in order."""
        self.complete = True
        """Whether everything it reads stands in its own class or below."""

    def lines(self, results: list[ir.Value]) -> list[Line]:
        """The statements up to, and without, the return."""
        kept = {id(v) for v in results}
        steps = [item for item in self.items if not (not item.scope and id(item.nodes[0]) in self.inlined)]
        reads = [self._reads(item) for item in steps]
        last = {id(value): i for i, values in enumerate(reads) for value in values}
        live: dict[str, int] = {name: key for key, name in self.names.items()}
        for i, item in enumerate(steps):
            text = self._step(item, set(live))
            for name, key in list(live.items()):
                if key not in kept and last.get(key, -1) < i:
                    del live[name]
            dying = [
                self.names[id(v)] for v in reads[i] if last[id(v)] == i and id(v) not in kept and id(v) in self.names
            ]
            for name in dying:
                live.pop(name, None)
            targets = []
            given = item.outputs if item.scope else list(item.nodes[0].outputs)
            for value in given or item.nodes[-1].outputs:
                if len(given) > 1 and not item.scope and id(value) not in last and id(value) not in kept:
                    targets.append("_")
                    continue
                name = self._target(value, item, dying, live)
                self.names[id(value)] = name
                live[name] = id(value)
                targets.append(name)
            self.written.append(Line(tuple(targets), text))
        return self.written

    def _expanded(self, items: list[Item]) -> Iterator[Item]:
        """Nested calls that cannot be one call of their class are written step by step."""
        for item in items:
            if item.scope and self.owner.nested(item) is None:
                yield from self._expanded(item.children)
            else:
                yield item

    def _inlined(self) -> set[int]:
        """Nodes that are written inside their only reader's line: same layer, read once, short."""
        found: set[int] = set()
        here = {id(item.nodes[0]) for item in self.items if not item.scope}
        for item in self.items:
            node = item.nodes[0]
            if item.scope or len(node.outputs) != 1 or node.outputs[0].is_graph_output():
                continue
            out = node.outputs[0]
            uses = list(out.uses())
            if len(uses) != 1 or id(uses[0].node) not in here:
                continue
            mine, reader = self.owner.view(node).place, self.owner.view(uses[0].node).place
            same = (mine.path, mine.call, mine.scope) == (reader.path, reader.call, reader.scope)
            blocks = any(isinstance(self.owner.record(n), Block) for n in (node, uses[0].node))
            if same and not blocks and refs(self.owner.record(uses[0].node)).count(out) == 1:
                found.add(id(node))
        return found

    def _reads(self, item: Item) -> list[ir.Value]:
        if item.scope:
            return item.inputs
        found: dict[int, ir.Value] = {}
        for value in item.nodes[0].inputs:
            if value is None or value.const_value is not None:
                continue
            producer = value.producer()
            if producer is not None and id(producer) in self.inlined:
                found.update((id(v), v) for v in self._reads(Item([producer])))
            else:
                found[id(value)] = value
        return list(found.values())

    def _step(self, item: Item, live: set[str]) -> str:
        if item.scope:
            attribute = self.owner.nested(item)
            return f"self.{self._relative(attribute or '')}({', '.join(self._name(v) for v in item.inputs)})"
        node = item.nodes[0]
        record = self.owner.record(node)
        if not isinstance(record, Block):
            return self._node(node)
        self.view = self.owner.view(node)
        text = _Nested(self)
        free = Namespace(live | self.arguments | parameters())
        text.locals = {name: free.take(name) for name in names_of(record)}
        self.written += [Line((), line) for line in text.statements(record.steps)]
        made = text.expr(record.result)
        self.view = None
        return made

    def _node(self, node: ir.Node, tight: float = 0) -> str:
        before, self.view = self.view, self.owner.view(node)
        try:
            text = _Nested(self).expr(self.owner.record(node), tight)
        finally:
            self.view = before
        return text

    def _relative(self, attribute: str) -> str:
        self.complete &= attribute.startswith(self.prefix)
        spelled = self.owner.spelled(attribute, self.prefix if attribute.startswith(self.prefix) else "")
        self.attributes.append(re.split(r"[.\[]", spelled, maxsplit=1)[0])
        return spelled

    def _name(self, value: ir.Value) -> str:
        return self.names[id(value)]

    def value(self, value: ir.Value, tight: float) -> str:
        """The source of a value: a variable, what it is computed from, an attribute, or a number."""
        if id(value) in self.names:
            return self.names[id(value)]
        producer = value.producer()
        if producer is not None and id(producer) in self.inlined:
            return self._node(producer, tight)
        data = value.meta.get(base.EXACT, array(value))
        if data is None or self.view is None:
            raise LookupError(f"the value {value.name!r} is read before it is written")
        if data.size == 1 and origin(value) is None:
            text = literal(np.asarray(data).item())
            return f"({text})" if tight and text.startswith("-") else text
        return f"self.{self._relative(self.owner.loose(self.view, value))}"

    def module(self, record: Module) -> str:
        """The attribute of a module of the node at hand."""
        if self.view is None:
            raise LookupError("a module outside of a node")
        return self._relative(self.owner.module(self.view, record))

    def _target(self, value: ir.Value, item: Item, dying: list[str], live: dict[str, int]) -> str:
        """A dying variable's name, `x` before all others; else `x` where it is free; else the layer's name."""
        reusable = [name for name in dying if name not in live and (name not in self.arguments or name == "x")]
        if reusable:
            return "x" if "x" in reusable else reusable[0]
        if "x" not in live:
            return "x"
        wanted = item.scope.split("#")[0] or self.owner.view(item.nodes[-1]).local
        plain = identifier(wanted)
        return Namespace(set(live) | self.arguments | parameters()).take("y" if plain.startswith("_") else plain)


class _Nested(Text):
    """Text that knows the method it is written for."""

    def __init__(self, forward: Forward) -> None:
        super().__init__(forward._name, forward.owner.used)
        self._forward = forward

    def expr(self, record: Any, tight: float = 0) -> str:
        if isinstance(record, Ref):
            return self._forward.value(record.value, tight)
        if isinstance(record, Module):
            return f"self.{self._forward.module(record)}({', '.join(self.expr(i) for i in record.inputs)})"
        return super().expr(record, tight)
