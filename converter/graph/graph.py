"""The graph in the middle: onnx-ir, and the few verbs that captures and passes need over it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from converter.ops import base
from converter.ops.base import Dims, Op, Perm

LAYER = "kconvert.layer"
CLASS = "kconvert.class"
CALL = "kconvert.call"
SCOPE = "kconvert.scope"
ROLE = "kconvert.role"
LOCAL = "kconvert.local"
"""The layer's name inside its scope, where it differs from its own; '' for what the scope's own layer does."""
TRAINABLE = "kconvert.trainable"
WEIGHT = "kconvert.weight"
FACT = "kconvert.fact."
EXACT = base.EXACT
PART = 1 << 23
"""Bytes of a large array that are moved at a time."""


Step = tuple[Any, ...]
"""('T', perm), ('R', shape) or ('O', axis, order, why): one transposition, reshape or reordering."""


@dataclass(frozen=True)
class Origin:
    """Where an initializer's numbers come from: the source's own name of the weight, and every step since then."""

    path: str
    trainable: bool
    steps: tuple[Step, ...] = ()

    def then(self, *step: Any) -> Origin:
        """The same weight, one step further."""
        if step[0] == "T" and self.steps and self.steps[-1][0] == "T":
            both = tuple(self.steps[-1][1][p] for p in step[1])
            return replace(self, steps=(*self.steps[:-1], ("T", both)))
        return replace(self, steps=(*self.steps, step))

    @property
    def axes(self) -> Perm | None:
        """The transposition that comes first; None where the axes stay."""
        first = self.steps[0] if self.steps else ("",)
        return first[1] if first[0] == "T" and first[1] != tuple(range(len(first[1]))) else None

    @property
    def transform(self) -> str:
        """What comes after the first transposition, in words."""
        rest = self.steps[1:] if self.steps and self.steps[0][0] == "T" else self.steps
        words = {"T": "transposed {}", "R": "reshaped to {}", "O": "{2} (axis {0})"}
        return "; ".join(words[kind].format(*args) for kind, *args in rest)

    def undo(self, data: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The source's own array, of this shape, from the array that `replay` makes of it."""
        if not self.steps:
            return data
        if all(kind == "T" for kind, *_ in self.steps):
            for _, perm in reversed(self.steps):
                data = data.transpose(base.inverse(perm))
            return data
        made = np.empty(data.size, data.dtype)
        made[self.replay(np.arange(data.size).reshape(shape)).ravel()] = data.ravel()
        return made.reshape(shape)

    def replay(self, data: np.ndarray) -> np.ndarray:
        """The steps, on the source's own array."""
        for kind, *args in self.steps:
            if kind == "T":
                data = data.transpose(args[0])
            elif kind == "R":
                data = data.reshape(args[0])
            else:
                data = taken(data, np.asarray(args[1]), args[0])
        return data


@dataclass(frozen=True)
class Place:
    """The layer that nodes are being written for.

    `path` is the layer's name behind those of the nested models around it, `call` counts the layer's calls; `scope`
    holds the nested models with the number of their call: 'encoder#0/' for what the first call of `encoder` does,
    'encoder#0@Encoder/' where it is of a class of that name.
    """

    path: str
    cls: str
    call: int = 0
    trainable: bool = True
    scope: str = ""
    local: str | None = None
    """The layer's name inside its scope, where it differs from its own; '' for what the scope's own layer does."""


def origin(value: ir.Value) -> Origin | None:
    """Where the numbers of an initializer come from; None for what is no weight of the source."""
    return value.meta.get("origin")


def array(value: ir.Value | None) -> np.ndarray | None:
    """The constant that a value holds, None where it is computed."""
    if value is None or value.const_value is None:
        return None
    return value.const_value.numpy()


def dims(value: ir.Value) -> Dims:
    """The value's shape; None for a length known at run time only."""
    if value.shape is None:
        raise ValueError(f"the value {value.name!r} has no shape")
    return tuple(d if isinstance(d, int) else None for d in value.shape.dims)


def ir_shape(shape: Sequence[int | str | None]) -> ir.Shape:
    """A shape for onnx-ir; a string names a length that is known at run time only."""
    return ir.Shape([ir.SymbolicDim(d) if d is None or isinstance(d, str) else d for d in shape])


def taken(data: np.ndarray, order: np.ndarray, axis: int) -> np.ndarray:
    """`data.take(order, axis)` in C order; a large array by parts, for numpy would copy a transposed one first."""
    if data.nbytes < PART or data.ndim != 2 or axis % 2 != 1:
        return data.take(order, axis)
    made = np.empty((data.shape[0], len(order)), data.dtype)
    rows = max(1, PART // max(1, data[:1].nbytes))
    for start in range(0, len(data), rows):
        made[start : start + rows] = data[start : start + rows][:, order]
    return made


class GraphBuilder:
    """Writes nodes of our ops, with shapes, unique names and provenance."""

    def __init__(self, name: str = "model") -> None:
        self.graph = ir.Graph([], [], nodes=[], opset_imports={"": base.OPSET, base.DOMAIN: 1}, name=name)
        self.place = Place("", "")
        self.to_numpy: Callable[[Any], np.ndarray] = np.asarray
        self._role = ""
        self._names: set[str] = set()
        self._weights: dict[tuple[Any, ...], ir.Value] = {}
        self._keep: list[Any] = []
        self.sources: dict[str, Any] = {}
        self.notes: list[Any] = []
        self.output_names: list[str] = []
        """What the source calls its outputs; the nodes' own names where it is empty."""

    def adopt(self, other: GraphBuilder, copy: Callable[[ir.Value], ir.Value]) -> None:
        """Know the names and operands of another builder, whose values `copy` has copied into this one."""
        self._names = set(other._names)
        self._keep = list(other._keep)
        self._weights = {key: copy(value) for key, value in other._weights.items() if key[0] == "operand"}

    @contextlib.contextmanager
    def at(self, place: Place) -> Iterator[None]:
        """Nodes written inside belong to this layer."""
        before, self.place = self.place, place
        try:
            yield
        finally:
            self.place = before

    @contextlib.contextmanager
    def role(self, role: str) -> Iterator[None]:
        """Nodes written inside play this part for their layer ('' keeps the part at hand)."""
        before, self._role = self._role, role or self._role
        try:
            yield
        finally:
            self._role = before

    def name(self, stem: str) -> str:
        """A name that no other value or node of this graph has."""
        for name in itertools.chain([stem], (f"{stem}_{i}" for i in itertools.count(2))):
            if name not in self._names:
                self._names.add(name)
                return name
        raise AssertionError("unreachable")

    def input(self, name: str, shape: Sequence[int | str | None], dtype: ir.DataType) -> ir.Value:
        """A new graph input."""
        value = ir.Value(name=self.name(name), shape=ir_shape(shape), type=ir.TensorType(dtype))
        self.graph.inputs.append(value)
        return value

    def shape(self, value: ir.Value) -> Dims:
        return dims(value)

    def constant(self, data: Any, like: ir.Value | None = None) -> ir.Value:
        """An initializer that is no weight of the source; `like` gives a float its dtype."""
        exact = np.asarray(data)
        made = exact
        if like is not None and like.dtype is not None and (made.dtype.kind in "fiu" or made.dtype.name == "bfloat16"):
            made = made.astype(like.dtype.numpy())
        value = self._initializer(self.name(f"{self.place.path or 'graph'}/constant"), made)
        if exact.dtype == np.float64 and made.dtype != np.float64:
            value.meta[EXACT] = exact
        return value

    def weight(self, variable: Any, axes: Perm | None = None, *, path: str, trainable: bool) -> ir.Value:
        """The initializer that holds a weight of the source, transposed by `axes`; one for each variable."""
        key = (id(variable), axes)
        if key not in self._weights:
            data = self.to_numpy(variable)
            value = self._initializer(self.name(path), data if axes is None else data.transpose(axes))
            value.meta["origin"] = Origin(path, trainable, () if axes is None else (("T", axes),))
            value.metadata_props[WEIGHT] = path
            self._weights[key] = value
            self._keep.append(variable)
            self.sources[path] = variable
        return self._weights[key]

    def derived(
        self, value: ir.Value, made: Callable[[np.ndarray], np.ndarray], tag: tuple[Any, ...], origin: Origin | None
    ) -> ir.Value:
        """A constant made from another one; the same value and tag give the same result."""
        data = array(value)
        if data is None:
            raise ValueError(f"{value.name!r} is no constant")
        key = (id(value), *tag)
        if key not in self._weights:
            fresh = self._initializer(self.name(value.name or "constant"), made(data))
            if origin is not None:
                fresh.meta["origin"] = origin
                fresh.metadata_props[WEIGHT] = origin.path
            if EXACT in value.meta:
                fresh.meta[EXACT] = made(value.meta[EXACT])
            self._weights[key] = fresh
            self._keep.append(value)
        return self._registered(self._weights[key])

    def transposed(self, value: ir.Value, perm: Perm) -> ir.Value:
        """A constant, transposed once and for all."""
        known = origin(value)
        made = known.then("T", perm) if known is not None else None
        return self.derived(value, lambda data: data.transpose(perm), ("T", perm), made)

    def reshaped(self, value: ir.Value, shape: tuple[int, ...]) -> ir.Value:
        """A constant, reshaped once and for all (its numbers stay in their order)."""
        if dims(value) == shape:
            return value
        known = origin(value)
        made = known.then("R", shape) if known is not None else None
        return self.derived(value, lambda data: data.reshape(shape), ("R", shape), made)

    def reordered(self, value: ir.Value, axis: int, order: np.ndarray, why: str) -> ir.Value:
        """A constant whose entries along one axis are taken in another order."""
        known = origin(value)
        made = known.then("O", axis, tuple(order.tolist()), why) if known is not None else None
        return self.derived(value, lambda data: taken(data, order, axis), ("O", axis, order.tobytes()), made)

    def _initializer(self, name: str, data: np.ndarray) -> ir.Value:
        tensor = ir.Tensor(data, name=name)
        value = ir.Value(name=name, shape=ir.Shape(data.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        self.graph.register_initializer(value)
        return value

    def op(self, op: Op, *inputs: ir.Value | None, role: str = "", **facts: str) -> ir.Value:
        """Write one node and return its output."""
        return self.insert(op, inputs, self.place, role or self._role, facts)

    def insert(
        self,
        op: Op,
        inputs: Sequence[ir.Value | None],
        place: Place,
        role: str = "",
        facts: dict[str, str] | None = None,
        before: ir.Node | None = None,
    ) -> ir.Value:
        """Write one node for a layer, at the end of the graph or before another node."""
        given = list(inputs)
        attributes: list[ir.Attr] = []
        for name, spec in base.fields(type(op)).items():
            content = getattr(op, name)
            if content is None:
                continue
            index = spec.metadata.get("operand")
            if index is None:
                attributes.append(_attribute(name, content))
                continue
            given.extend([None] * (index + 1 - len(given)))
            given[index] = self._operand(content, given[0], spec.metadata["dtype"])
        data = [v for v in inputs if v is not None]
        stem = self.name(place.path or op.__class__.__name__)
        node = ir.Node(op.domain, type(op).__name__, given, attributes, num_outputs=1, name=stem)
        node.metadata_props.update({LAYER: place.path, CLASS: place.cls, CALL: str(place.call)})
        node.metadata_props[SCOPE] = place.scope
        if place.local is not None:
            node.metadata_props[LOCAL] = place.local
        node.metadata_props[TRAINABLE] = str(int(place.trainable))
        if role:
            node.metadata_props[ROLE] = role
        node.metadata_props.update({FACT + k: v for k, v in (facts or {}).items()})
        out = node.outputs[0]
        out.name = stem if stem not in self.graph.initializers else self.name(stem)
        out.shape = ir_shape(op.shape(*[dims(v) for v in data]))
        types = [v.dtype for v in data if v.dtype is not None]
        out.type = ir.TensorType(op.dtype(*types))
        if before is None:
            self.graph.append(node)
        else:
            self.graph.insert_before(before, node)
        return out

    def _operand(self, content: Any, like: ir.Value | None, dtype: str) -> ir.Value:
        made = exact = np.asarray(content)
        if made.dtype.kind in "iu":
            made = made.astype(np.int64)
        elif dtype:
            made = made.astype(dtype)
        elif like is not None and like.dtype is not None:
            made = made.astype(like.dtype.numpy())
        key = ("operand", made.dtype.str, exact.shape, exact.tobytes())
        if key not in self._weights:
            self._weights[key] = self._initializer(self.name("operand"), made)
            self._weights[key].meta[EXACT] = exact
        return self._registered(self._weights[key])

    def _registered(self, value: ir.Value) -> ir.Value:
        """An initializer that stands in the graph, also after remove_unused() dropped it once."""
        if value.name is not None and value.name not in self.graph.initializers:
            self.graph.register_initializer(value)
        return value

    def remove_unused(self) -> None:
        """Drop nodes that no output depends on, and initializers that no node reads."""
        for node in reversed(list(self.graph)):
            if all(not out.uses() and not out.is_graph_output() for out in node.outputs):
                self.graph.remove(node, safe=True)
        for name, value in list(self.graph.initializers.items()):
            if not value.uses() and not value.is_graph_output():
                self.graph.initializers.pop(name)


def place_of(node: ir.Node) -> Place:
    """The layer that a node belongs to."""
    props = node.metadata_props
    trainable = props.get(TRAINABLE, "1") == "1"
    return Place(
        props.get(LAYER, ""),
        props.get(CLASS, ""),
        int(props.get(CALL, "0")),
        trainable,
        props.get(SCOPE, ""),
        props.get(LOCAL),
    )


def facts_of(node: ir.Node) -> dict[str, str]:
    """The training facts of a node, those that ONNX has no attribute for."""
    return {k.removeprefix(FACT): v for k, v in node.metadata_props.items() if k.startswith(FACT)}


def restate(node: ir.Node, op: Op) -> None:
    """Give a node the attributes of another instance of its op; its inputs and its output's shape stay."""
    for name, spec in base.fields(type(op)).items():
        content = getattr(op, name)
        if content is not None and "operand" not in spec.metadata:
            node.attributes[name] = _attribute(name, content)


def _attribute(name: str, content: Any) -> ir.Attr:
    if isinstance(content, bool):
        return ir.AttrInt64(name, int(content))
    if isinstance(content, int):
        return ir.AttrInt64(name, content)
    if isinstance(content, float):
        return ir.AttrFloat32(name, content)
    if isinstance(content, str):
        return ir.AttrString(name, content)
    items = list(content)
    if items and all(isinstance(i, float) for i in items):
        return ir.AttrFloat32s(name, items)
    if items and all(isinstance(i, str) for i in items):
        return ir.AttrStrings(name, items)
    return ir.AttrInt64s(name, [int(i) for i in items])
