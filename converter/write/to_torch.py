"""The settled graph as a PyTorch source file and its state dict. The text is the model: what runs is this file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from converter.errors import Item as Missing
from converter.errors import Unsupported
from converter.graph.graph import Origin, array, origin
from converter.ops import base, functional
from converter.ops.records import Literal, Module, Record
from converter.write import module_paths, torch_main
from converter.write.blocks import fold
from converter.write.expressions import Text, literal
from converter.write.module_paths import Kept
from converter.write.names import Namespace, class_name, identifier, parameters
from converter.write.parts import parts_of, with_those_they_use
from converter.write.torch_class import Assign, ClassText, merged
from converter.write.torch_forward import Forward, Line
from converter.write.view import Item, NodeView, items_of


@dataclass(frozen=True)
class Weight:
    """One entry of the state dict: its key, its numbers, and where they come from (None: a constant)."""

    key: str
    data: np.ndarray
    origin: Origin | None
    trainable: bool


@dataclass
class TorchSource:
    """A generated file: its text, its weights in the order of the state dict, and forward's parameter names."""

    text: str
    weights: list[Weight]
    inputs: list[str]


FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})
PARTS = parts_of("torch_parts.py")
STANDARD = {
    "math": "import math",
    "OrderedDict": "from collections import OrderedDict",
    "Sequence": "from collections.abc import Sequence",
}


def check(graph: ir.Graph) -> None:
    """Raise Unsupported with every node that has no PyTorch form."""
    missing: list[Missing] = []
    for node in graph:
        cls = base.class_of(node)
        where = node.metadata_props.get("kconvert.layer") or node.name or ""
        if cls is None or not cls.targets()[0]:
            missing.append(Missing(where, node.op_type, "this operator has no PyTorch form."))
            continue
        try:
            NodeView(node).record("torch")
        except LookupError as error:
            missing.append(Missing(where, node.op_type, f"{error.args[0]}."))
    if missing:
        raise Unsupported(missing)


def write(graph: ir.Graph, outputs: Any, names: Sequence[str], title: str, kept: Kept | None = None) -> TorchSource:
    """The file for a settled graph.

    `outputs` is the structure that forward returns, with positions into the graph's outputs; `names` are the source's
    names of the inputs; `title` becomes the file's first line. With `kept` the modules stand where they stood, and no
    blocks are looked for.
    """
    check(graph)
    return _Writer(graph, outputs, names, title, kept).source()


class _Writer:
    """Knows every class of the file and every weight; the forward methods ask it for attributes."""

    def __init__(self, graph: ir.Graph, outputs: Any, names: Sequence[str], title: str, kept: Kept | None) -> None:
        self.graph = graph
        self.outputs = outputs
        self.title = title
        self.weights: dict[str, Weight] = {}
        self.parts: list[str] = []
        self.imports: set[str] = set()
        self.spaces: dict[str, Namespace] = {}
        self.known: dict[Any, str] = {}
        self.plain = {o.path: v for v in graph.initializers.values() if (o := origin(v)) is not None and not o.steps}
        self.root = ClassText("Model", "")
        self.scopes: dict[str, ClassText] = {"": self.root}
        self.containers: dict[str, ClassText] = {}
        spaces = Namespace(parameters())
        self.inputs = [spaces.take(n, "x") for n in names]
        self.kept = kept if kept is not None else Kept()
        self.kinds: dict[str, str] = {}
        if kept is None:
            fold(graph)
        else:
            self.kinds = module_paths.place(graph, kept)
        self.views = {id(node): NodeView(node) for node in graph}
        self.records = {key: functional.for_torch(view.record("torch")) for key, view in self.views.items()}

    def source(self) -> TorchSource:
        """Write everything."""
        items = items_of(list(self.graph))
        self._register(items)
        forward = Forward(self, "", items, dict(zip(self.graph.inputs, self.inputs, strict=True)))
        lines = forward.lines(list(self.graph.outputs))
        names = [forward.value(v, 0) for v in self.graph.outputs]
        for key, held in self.kept.held.items():
            self._hold(key, held)
        self.root.forward = _method(self.inputs, lines, *_returned(self.outputs, names))
        self.root.reads = forward.attributes
        return TorchSource(self._file(), list(self.weights.values()), self.inputs)

    # What forward methods ask for ----------------------------------------------------------------------------------

    def view(self, node: ir.Node) -> NodeView:
        return self.views[id(node)]

    def record(self, node: ir.Node) -> Record:
        return self.records[id(node)]

    def used(self, name: str) -> None:
        """What the text calls: something of an import ('F.relu'), a part, or a class that the file defines anyway."""
        if name in PARTS and name not in self.parts:
            self.parts.append(name)
        if "." in name:
            self.imports.add(name.split(".")[0])

    def nested(self, item: Item) -> str | None:
        """The attribute path of the class that does what a nested call does; None where no class does just that."""
        return self.known.get(("call", item.path, id(item.nodes[0])))

    def module(self, view: NodeView, record: Module) -> str:
        """The attribute path of a module; one record of the same layer or weights is constructed once."""
        scope = self.scopes[scope_path(view.place.scope)]
        kwargs = tuple((k, repr(v)) for k, v in record.kwargs.items())
        weights = tuple((k, id(v)) for k, v in record.weights.items())
        key = (scope.prefix, view.place.path, view.role, record.cls, record.args, kwargs, weights)
        shared = ("shared", record.cls, record.args, kwargs, weights)
        if key not in self.known and weights and shared in self.known:
            self.known[key] = self.known[shared]
        if key in self.known:
            return self.known[key]
        layer = view.local
        attribute = scope.take(layer if view.own else view.named(view.role))
        self.known[key] = self.known[shared] = scope.prefix + attribute
        self.used(record.cls)
        fixed = []
        for name, value in record.weights.items():
            known = origin(value)
            buffer = name in record.buffers
            trainable = not buffer and name not in record.frozen and (known is None or known.trainable)
            if not buffer and not trainable:
                fixed.append(name)
            self._weight(f"{scope.prefix}{attribute}.{name}", array(value), known, trainable)
            self.known.setdefault((id(value),), f"{scope.prefix}{attribute}.{name}")
        dtype = _dtype(view, record)
        for name, data in record.fill.items():
            plain = np.asarray(data)
            made = plain.astype(np.dtype(dtype)) if plain.dtype == np.float32 and dtype in FLOATS else plain
            self._weight(f"{scope.prefix}{attribute}.{name}", made, None, False)
        every = [name for name in record.weights if name not in record.buffers]
        whole = bool(fixed) and fixed == every
        after = ["requires_grad_(False)"] if whole else [f"{name}.requires_grad_(False)" for name in fixed]
        settings = dict(record.kwargs)
        if dtype != "float32" and record.cls.startswith("nn."):
            settings["dtype"] = Literal(f"torch.{dtype}")
        elif dtype != "float32":
            after.insert(0, f"to(torch.{dtype})")
        scope.init.append(Assign(attribute, record.cls, record.args, settings, after))
        return scope.prefix + attribute

    def loose(self, view: NodeView, value: ir.Value) -> str:
        """The attribute path of a weight or constant that belongs to no module."""
        scope = self.scopes[scope_path(view.place.scope)]
        if (id(value),) in self.known:
            return self.known[id(value),]
        known = origin(value)
        table = self.plain.get(known.path) if known is not None and known.steps == (("T", (1, 0)),) else None
        if table is not None and (id(table),) in self.known:  # the same weight, read the other way round
            return f"{self.known[id(table),]}.T"
        data = value.meta.get(base.EXACT, array(value))
        layer, _, own = known.path.rpartition("/") if known is not None else ("", "", "constant")
        # The one row of a table of its own is a parameter of that name.
        row = own == "embeddings" and layer not in ("", view.place.path)
        attribute = scope.take(layer.rsplit("/", 1)[-1] if row else view.named(own))
        self.known[id(value),] = scope.prefix + attribute
        kind = {} if data.dtype == np.float32 else {"dtype": Literal(f"torch.{data.dtype}")}
        trainable = known is not None and known.trainable
        cls = "nn.Parameter" if known is not None and (known.trainable or not view.trainable) else "buffer"
        after = [] if trainable or cls == "buffer" else ["requires_grad_(False)"]
        scope.init.append(Assign(attribute, cls, (tuple(int(d) for d in data.shape),), kind, after))
        self._weight(f"{scope.prefix}{attribute}", data, known, trainable)
        return scope.prefix + attribute

    def spelled(self, attribute: str, prefix: str) -> str:
        """An attribute path as it is read below a prefix: 'layer1.0.conv1' is 'layer1[0].conv1' in a container."""
        text, path = "", prefix
        for part in attribute.removeprefix(prefix).split("."):
            scope = self.containers.get(path)
            text += scope.index(part) if scope is not None else f".{part}"
            path += f"{part}."
        return text.removeprefix(".")

    def _hold(self, key: str, held: module_paths.Held) -> None:
        """An entry of the state dict that no layer makes, or makes with a number that every such layer has."""
        before = self.weights.get(key)
        if before is not None:
            alike = (before.data.shape, before.data.dtype) == (held.data.shape, held.data.dtype)
            if alike and (before.origin is None or held.split):
                self.weights[key] = replace(before, data=held.data, origin=None)
            return
        *parts, name = key.split(".")
        modules = {place for what, place in self.known.items() if what[0] != "call"}
        if any(".".join(parts[: i + 1]) in modules for i in range(len(parts))):
            return  # the module is there without this entry
        scope, path = self.root, ""
        for part in parts:
            path += f"{part}/"
            scope = self._scope(path, scope, part)
        if scope.container:
            return
        attribute = scope.take(name)
        kind = {} if held.data.dtype == np.float32 else {"dtype": Literal(f"torch.{held.data.dtype}")}
        cls = "nn.Parameter" if held.parameter else "buffer"
        after = ["requires_grad_(False)"] if held.parameter and not held.trainable else []
        scope.init.append(Assign(attribute, cls, (tuple(int(d) for d in held.data.shape),), kind, after))
        self._weight(f"{scope.prefix}{attribute}", held.data, None, held.trainable)

    def _scope(self, path: str, parent: ClassText, name: str) -> ClassText:
        """The class or container of a path; a new one has its line in its parent."""
        made = self.scopes.get(path) or self._made(path, parent, name, self.kinds.get(path, ""))
        if made.line is not None:
            return made
        made.line = Assign(made.attribute, made.container, (), {}, [], made)
        parent.init.append(made.line)
        return made

    def _made(self, path: str, parent: ClassText, name: str, container: str, shown: str = "") -> ClassText:
        attribute = parent.take(name)
        shown = shown or re.sub(r"\d+", "", parent.attribute if parent.container else name)
        cls = identifier(self.kept.classes[path], "Block") if path in self.kept.classes else class_name(shown)
        made = ClassText(cls, f"{parent.prefix}{attribute}.", attribute, container=container)
        self.scopes[path] = made
        if container:
            self.containers[made.prefix] = made
        return made

    def _weight(self, key: str, data: np.ndarray | None, known: Origin | None, trainable: bool) -> None:
        if data is None:
            raise LookupError(f"the weight {key!r} has no numbers")
        self.weights[key] = Weight(key, data, known, trainable)

    # Nested classes ------------------------------------------------------------------------------------------------

    def _register(self, items: list[Item]) -> None:
        """Write the class of every nested model; a later call that reads differently is left to be written out."""
        for item in items:
            if not item.scope:
                continue
            path = scope_path(item.path)
            parent = self.scopes[path.rsplit("/", 2)[0] + "/" if path.count("/") > 1 else ""]
            fresh = path not in self.scopes
            if fresh:
                name, _, mark = item.scope.rpartition("#")
                kind = "nn.Sequential" if mark == "seq" else self.kinds.get(path, "")
                self._made(path, parent, name, kind, mark.partition("@")[2])
            scope = self.scopes[path]
            if scope.container:
                self._contained(scope, parent, item)
                continue
            self._register(item.children)
            forward, attributes = self._nested_forward(scope, item)
            if not forward and not scope.init:
                continue
            if fresh:
                scope.forward, scope.reads = forward, attributes
                scope.line = Assign(scope.attribute, "", (), {}, [], scope)
                parent.init.append(scope.line)
            if forward and forward == scope.forward:
                self.known["call", item.path, id(item.nodes[0])] = scope.prefix[:-1]

    def _contained(self, scope: ClassText, parent: ClassText, item: Item) -> None:
        """Write what a container holds; the modules of an nn.Sequential in their order, for it is called as one."""
        if scope.line is None:
            scope.line = Assign(scope.attribute, scope.container, (), {}, [], scope)
            parent.init.append(scope.line)
        if not scope.sequential:
            self._register(item.children)
            return
        for child in item.children:
            if child.scope:
                self._register([child])
            elif isinstance(record := self.record(child.nodes[0]), Module):
                self.module(self.view(child.nodes[0]), record)
        self.known["call", item.path, id(item.nodes[0])] = scope.prefix[:-1]

    def _nested_forward(self, scope: ClassText, item: Item) -> tuple[list[str], list[str]]:
        """The method, and the attributes it reads; nothing where one stands in a class that it does not reach."""
        names = ["x"] if len(item.inputs) == 1 else [f"x{i + 1}" for i in range(len(item.inputs))]
        forward = Forward(self, scope.prefix, item.children, dict(zip(item.inputs, names, strict=True)))
        lines = forward.lines(item.outputs)
        results = [forward.value(v, 0) for v in item.outputs]
        if not forward.complete:
            return [], []
        returned = _returned(0 if len(results) == 1 else tuple(range(len(results))), results)
        return _method(names, lines, *returned), forward.attributes

    # The file ------------------------------------------------------------------------------------------------------

    def _file(self) -> str:
        order = sorted((s for p, s in self.scopes.items() if p), key=lambda s: -s.prefix.count("."))
        for scope in self.scopes.values():
            _in_order(scope)
        text = Text(lambda value: "", self.used)
        classes = merged(order, self.root, text, frozenset(PARTS))
        parts = with_those_they_use(self.parts, PARTS)
        body = "\n\n\n".join([*(PARTS[name].source for name in parts), *classes])
        used = self.imports.union(*(PARTS[name].imports for name in parts))
        named = any(scope.sequential and not scope.plain for scope in self.scopes.values())
        used |= {"OrderedDict"} if named else set()
        imports = [
            "import torch",
            *(["import torch.nn.functional as F"] if "F" in used else []),
            "from torch import nn",
        ]
        standard = [line for name, line in STANDARD.items() if name in used]
        head = ["\n".join(standard)] if standard else []
        start = "\n\n".join([f'"""{_doc(self.title)}"""', *head, "\n".join(imports)])
        return f"{start}\n\n\n{body}\n\n\n{torch_main.text(self.graph.inputs, self.outputs)}"


def _dtype(view: NodeView, record: Module) -> str:
    """The float dtype of a module's weights, which its constructor must be told where it is not float32."""
    found = {name: str(data.dtype) for name, v in record.weights.items() if (data := array(v)) is not None}
    floats = sorted(set(found.values()) & FLOATS)
    if len(floats) > 1:
        listed = ", ".join(f"{name} {dtype}" for name, dtype in found.items())
        why = f"its weights have several dtypes ({listed}), and a module of PyTorch has one."
        raise Unsupported([Missing(view.place.path, record.cls, why)])
    return floats[0] if floats else "float32"


def _in_order(scope: ClassText) -> None:
    """The lines of __init__ in the order in which forward first reads what they make; of a container, by name."""
    if scope.container:
        if not scope.sequential:
            scope.init.sort(key=lambda line: (len(line.attribute), line.attribute))
        return
    first = {name: i for i, name in reversed(list(enumerate(scope.reads)))}
    scope.init.sort(key=lambda line: first.get(line.attribute, len(first)))


def scope_path(scope: str) -> str:
    """'encoder#1/inner#0/' -> 'encoder/inner/'."""
    return "".join(f"{part.rsplit('#', 1)[0]}/" for part in scope.split("/")[:-1])


def _returned(structure: Any, names: list[str]) -> tuple[str, str]:
    """The return expression, and its type."""
    if isinstance(structure, int):
        return names[structure], "torch.Tensor"
    if isinstance(structure, Mapping):
        pairs = {k: _returned(v, names) for k, v in structure.items()}
        kinds = {kind for _, kind in pairs.values()}
        kind = kinds.pop() if len(kinds) == 1 else "object"
        return "{" + ", ".join(f"{literal(k)}: {text}" for k, (text, _) in pairs.items()) + "}", f"dict[str, {kind}]"
    parts = [_returned(v, names) for v in structure]
    inner = ", ".join(text for text, _ in parts)
    kinds_text = ", ".join(kind for _, kind in parts)
    return f"({inner}{',' if len(parts) == 1 else ''})", f"tuple[{kinds_text}]"


def _method(arguments: list[str], lines: list[Line], result: str, kind: str) -> list[str]:
    """The whole method; a bare result has its type written where it is first assigned."""
    inputs = ", ".join(f"{name}: torch.Tensor" for name in arguments)
    body = [str(line) for line in lines]
    first = next((i for i, line in enumerate(lines) if line.targets == (result,)), None)
    if kind == "torch.Tensor" and result not in arguments and first is not None:
        body[first] = f"{result}: torch.Tensor = {lines[first].text}"
    return [f"def forward(self, {inputs}) -> {kind}:", *(f"    {line}" for line in body), f"    return {result}"]


def _doc(text: str) -> str:
    return " ".join(text.replace("\\", "/").replace('"', "'").split())
