"""The graph in the middle: onnx-ir, and the few verbs that captures and passes need over it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from converter.graph.nested import captured, subgraphs
from converter.graph.origins import Origin as Origin
from converter.graph.origins import origin as origin
from converter.graph.origins import taken
from converter.ops import base, schema
from converter.ops.base import Dims, Op, Perm, Type

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

Symbols = tuple[int | str | None, ...]
"""Lengths; a string names one that is known at run time only, None is one without a name."""


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


def symbols(value: ir.Value) -> Symbols:
    """The value's shape with the names of lengths that are known at run time only; None for one without a name."""
    if value.shape is None:
        raise ValueError(f"the value {value.name!r} has no shape")
    return tuple(d if isinstance(d, int) else d.value for d in value.shape.dims)


def dynamic_axes(inputs: Sequence[ir.Value]) -> dict[str, list[int | str]]:
    """By name the shapes of the inputs with lengths that are known at run time only, with a word for each of these."""
    shapes = {value.name or "x": symbols(value) for value in inputs}
    return {
        name: [f"{name}_{i}" if length is None else length for i, length in enumerate(shape)]
        for name, shape in shapes.items()
        if not all(isinstance(length, int) for length in shape)
    }


def ir_shape(shape: Sequence[int | str | None]) -> ir.Shape:
    """A shape for onnx-ir; a string names a length that is known at run time only."""
    return ir.Shape([ir.SymbolicDim(d) if d is None or isinstance(d, str) else d for d in shape])


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

    def symbols(self, value: ir.Value) -> Symbols:
        return symbols(value)

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
        """Write one node and return its output; a tuple of them where it has several (see `several`)."""
        made = self.several(op, *inputs, role=role, **facts)
        return made[0] if len(made) == 1 else made  # type: ignore[return-value]

    def several(self, op: Op, *inputs: ir.Value | None, role: str = "", **facts: str) -> tuple[ir.Value, ...]:
        """Write one node and return all its outputs."""
        return tuple(self.node(op, inputs, self.place, role or self._role, facts).outputs)

    def insert(
        self,
        op: Op,
        inputs: Sequence[ir.Value | None],
        place: Place,
        role: str = "",
        facts: dict[str, str] | None = None,
        before: ir.Node | None = None,
    ) -> ir.Value:
        """Write one node of one output for a layer, at the end of the graph or before another node."""
        (made,) = self.node(op, inputs, place, role, facts, before).outputs
        return made

    def node(
        self,
        op: Op,
        inputs: Sequence[ir.Value | None],
        place: Place,
        role: str = "",
        facts: dict[str, str] | None = None,
        before: ir.Node | None = None,
        count: int = 0,
    ) -> ir.Node:
        """Write one node for a layer, at the end of the graph or before another node.

        `count` is how many outputs it has; 0 for those that the op always has. Raises ValueError where ONNX refuses
        the inputs.
        """
        given = self.given(op, inputs)
        attributes = base.attributes(op)
        made = self._types(op, given, attributes, count)
        stem = self.name(place.path or op.__class__.__name__)
        node = ir.Node(op.domain, type(op).__name__, given, attributes, num_outputs=len(made), name=stem)
        node.metadata_props.update({LAYER: place.path, CLASS: place.cls, CALL: str(place.call)})
        node.metadata_props[SCOPE] = place.scope
        if place.local is not None:
            node.metadata_props[LOCAL] = place.local
        node.metadata_props[TRAINABLE] = str(int(place.trainable))
        if role:
            node.metadata_props[ROLE] = role
        node.metadata_props.update({FACT + k: v for k, v in (facts or {}).items()})
        for i, (out, (shape, dtype)) in enumerate(zip(node.outputs, made, strict=True)):
            out.name = self.name(f"{stem}/output_{i}") if i else stem
            out.shape, out.type = ir_shape(shape), ir.TensorType(dtype)
        if before is None:
            self.graph.append(node)
        else:
            self.graph.insert_before(before, node)
        return node

    def given(self, op: Op, inputs: Sequence[ir.Value | None]) -> list[ir.Value | None]:
        """All inputs of a node: those that are given, and the constants that the op's fields stand for."""
        given = list(inputs)
        for index, content in base.operands_of(op).items():
            given.extend([None] * (index + 1 - len(given)))
            given[index] = self._operand(content, given[0], base.kind_of(type(op), index))
        while given and given[-1] is None:
            given.pop()
        return given

    def _types(
        self, op: Op, given: Sequence[ir.Value | None], attributes: Sequence[ir.Attr], count: int
    ) -> list[tuple[Symbols, ir.DataType]]:
        """The outputs' lengths, with the names of those that are known at run time only, and element types."""
        if base.says_outputs(type(op)):
            return _by_hand(op, given)
        outer = {v.name or "": schema.given(v) for v in captured(attributes)}
        inputs = [None if v is None else schema.given(v) for v in given]
        found = schema.infer(type(op).__name__, attributes, inputs, count or op.count(), outer)
        return [(each.shape, ir.DataType(each.dtype)) for each in found]

    def nested(self, name: str, cls: type[GraphBuilder] | None = None) -> GraphBuilder:
        """A builder for a graph that is to be an attribute (a loop's body, a branch); it may read this one's values."""
        made = (cls or GraphBuilder)(name)
        made.place, made.to_numpy, made._role, made._names = self.place, self.to_numpy, self._role, self._names
        return made

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
        """Drop nodes of which no output is read, and initializers that no node reads."""
        for node in reversed(list(self.graph)):
            if all(not out.uses() and not out.is_graph_output() for out in node.outputs):
                self.remove(node)
        for name, value in list(self.graph.initializers.items()):
            if not value.uses() and not value.is_graph_output():
                self.graph.initializers.pop(name)

    def remove(self, node: ir.Node) -> None:
        """Drop a node whose outputs nobody reads; what graphs among its attributes read is read by them no longer."""
        for graph in subgraphs(node.attributes.values()):
            for inner in graph.all_nodes():
                for index in range(len(inner.inputs)):
                    inner.replace_input_with(index, None)
        self.graph.remove(node, safe=True)


def _by_hand(op: Op, given: Sequence[ir.Value | None]) -> list[tuple[Symbols, ir.DataType]]:
    """What `Op.outputs` says; a length that it does not know is named where it follows from the inputs' names."""
    types = [None if v is None else Type(dims(v), v.dtype or ir.DataType.FLOAT) for v in given]
    made = op.outputs(*types)
    named: Any = [None if v is None or v.shape is None else Type(v.shape.dims, v.dtype) for v in given]  # type: ignore[arg-type]
    try:
        again: Any = op.outputs(*named)
    except (TypeError, ValueError, LookupError, ArithmeticError):  # what it computes is not for names
        again = made
    return [
        (tuple(_named(d, e) for d, e in zip(one.shape, other.shape, strict=True)), one.dtype)
        for one, other in zip(made, again, strict=True)
    ]


def _named(length: int | None, again: Any) -> int | str | None:
    return length if length is not None or not isinstance(again, ir.SymbolicDim) else again.value


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


def local_name(place: Place) -> str:
    """What the layer is called in the scope that it stands in: 'conv' for 'block.0.conv' in the scope of 'block.0'."""
    around = "/".join(part.rpartition("#")[0] for part in place.scope.split("/")[:-1]).replace(".", "/")
    if around and f"{place.path.replace('.', '/')}/".startswith(f"{around}/"):
        return place.path[len(around) + 1 :]
    return place.path.rsplit("/", 1)[-1]


def facts_of(node: ir.Node) -> dict[str, str]:
    """The training facts of a node, those that ONNX has no attribute for."""
    return {k.removeprefix(FACT): v for k, v in node.metadata_props.items() if k.startswith(FACT)}


def restate(node: ir.Node, op: Op) -> None:
    """Give a node the attributes of another instance of its op; its inputs and its output's shape stay."""
    for attribute in base.attributes(op):
        node.attributes[attribute.name] = attribute
