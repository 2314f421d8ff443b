"""The graph as plain ONNX: every function of the domain `kconvert` with its body, one per configuration."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from converter.graph.channels_last import is_last
from converter.graph.graph import GraphBuilder, array, dims, ir_shape, place_of
from converter.ops import base

LIMIT = 2**31 - 2**20


def onnx_model(g: GraphBuilder) -> ir.Model:
    """A model that shares its weights' memory with the graph; nodes, values and functions are its own."""
    functions: Functions = {}
    value_of = _copies()
    nodes = _nodes(g.graph, value_of, functions)
    inputs_ = [value_of(v) for v in g.graph.inputs]
    used = [v for v in (value_of(i) for i in g.graph.initializers.values()) if v.uses() or v.is_graph_output()]
    outputs = [value_of(v) for v in g.graph.outputs]
    outputs = _distinct(outputs, nodes)
    _named(outputs, g.output_names, inputs_, [*used, *(out for node in nodes for out in node.outputs)])
    graph = ir.Graph(
        inputs_, outputs, nodes=nodes, initializers=used, opset_imports={"": base.OPSET, base.DOMAIN: 1}, name="model"
    )
    if not functions:
        graph.opset_imports.pop(base.DOMAIN)
    return ir.Model(graph, ir_version=11, producer_name="kconvert", functions=list(functions.values()))


Values = Callable[[ir.Value], ir.Value]
Functions = dict[tuple[str, str, str], ir.Function]


def _copies() -> Values:
    """What gives for a value its copy, which is made once."""
    values: dict[int, ir.Value] = {}

    def value_of(value: ir.Value) -> ir.Value:
        if id(value) not in values:
            values[id(value)] = _copy(value)
        return values[id(value)]

    return value_of


def _nodes(graph: ir.Graph, value_of: Values, functions: Functions) -> list[ir.Node]:
    """Copies of a graph's nodes, with the functions that they call."""
    nodes: list[ir.Node] = []
    for node in graph:
        inputs = [None if v is None else value_of(v) for v in node.inputs]
        outputs = [value_of(out) for out in node.outputs]
        back: list[ir.Node] = []
        if is_last(node):
            inputs, outputs, back = _channels_first(node, inputs, outputs, nodes)
        copy = ir.Node(
            node.domain,
            node.op_type,
            inputs,
            [_attribute(each, value_of, functions) for each in node.attributes.values()],
            overload=_function(node, functions) if node.domain == base.DOMAIN else "",
            outputs=outputs,
            name=node.name,
            metadata_props=dict(node.metadata_props),
        )
        nodes += [copy, *back]
    return nodes


def _attribute(attribute: ir.Attr, value_of: Values, functions: Functions) -> ir.Attr:
    """An attribute; a graph in it is copied, and reads the copies of what it captures."""
    if attribute.type == ir.AttributeType.GRAPH:
        return ir.AttrGraph(attribute.name, _inner(attribute.as_graph(), value_of, functions))
    if attribute.type == ir.AttributeType.GRAPHS:
        copied = [_inner(graph, value_of, functions) for graph in attribute.as_graphs()]
        return ir.AttrGraphs(attribute.name, copied)
    return attribute


def _inner(graph: ir.Graph, value_of: Values, functions: Functions) -> ir.Graph:
    """A copy of a graph that stands in an attribute, or is a function's body, with the functions that it calls."""
    nodes = _nodes(graph, value_of, functions)
    inputs, outputs = ([value_of(v) for v in values] for values in (graph.inputs, graph.outputs))
    made = _distinct(outputs, nodes)
    initializers = [value_of(v) for v in graph.initializers.values()]
    imports = dict(graph.opset_imports)
    return ir.Graph(inputs, made, nodes=nodes, initializers=initializers, opset_imports=imports, name=graph.name)


def proto(g: GraphBuilder) -> Any:
    """The model as onnx.ModelProto. Raises ValueError over 2 GB, which a protobuf cannot hold."""
    if size(g) >= LIMIT:
        raise ValueError(
            f"The graph holds {size(g) / 1e9:.1f} GB of weights, and a ModelProto ends at 2 GB. "
            'Call save("x.onnx"), which writes the weights to a file beside it.'
        )
    return ir.to_proto(onnx_model(g))


def _channels_first(
    node: ir.Node, inputs: list[ir.Value | None], outputs: list[ir.Value], nodes: list[ir.Node]
) -> tuple[list[ir.Value | None], list[ir.Value], list[ir.Node]]:
    """ONNX's spatial ops are channels first: for one that is not, transpositions before it, and those for behind it."""
    turned: list[ir.Value | None] = []
    for i, (value, original) in enumerate(zip(inputs, node.inputs, strict=True)):
        kernels = cls.kernels if (cls := base.class_of(node)) is not None else ()
        if value is not None and original is not None and array(original) is None and i not in kernels:
            rank = len(dims(original))
            into = _transpose(value, base.channels_first(rank), f"{node.name}/first_{i}")
            nodes.append(into)
            turned.append(into.outputs[0])
        else:
            turned.append(value)
    made: list[ir.Value] = []
    back: list[ir.Node] = []
    for i, value in enumerate(outputs):
        rank = len(dims(value))
        shape = _turned_shape(value, base.channels_first(rank))
        first = ir.Value(name=f"{node.name}/made_{i}", shape=shape, type=value.type)
        made.append(first)
        perm = ir.AttrInt64s("perm", list(base.channels_last(rank)))
        back.append(ir.Node("", "Transpose", [first], [perm], outputs=[value], name=f"{node.name}/last_{i}"))
    return turned, made, back


def _transpose(value: ir.Value, perm: base.Perm, name: str) -> ir.Node:
    node = ir.Node("", "Transpose", [value], [ir.AttrInt64s("perm", list(perm))], num_outputs=1, name=name)
    out = node.outputs[0]
    out.name, out.shape, out.type = name, _turned_shape(value, perm), value.type
    return node


def _turned_shape(value: ir.Value, perm: base.Perm) -> ir.Shape:
    shape = value.shape if value.shape is not None else ir.Shape([])
    return ir.Shape([shape[p] for p in perm])


def save(g: GraphBuilder, path: Path, beside: str | None) -> None:
    """The model as a file; the weights go to a file named `beside` in the same folder, or into the one file."""
    ir.save(onnx_model(g), path, external_data=beside)


def size(g: GraphBuilder) -> int:
    """Bytes of all weights and constants."""
    return sum(v.const_value.nbytes for v in g.graph.initializers.values() if v.const_value is not None)


def _copy(value: ir.Value) -> ir.Value:
    tensor = value.const_value
    if tensor is not None and not tensor.numpy().flags.c_contiguous:
        tensor = ir.Tensor(np.ascontiguousarray(tensor.numpy()), name=value.name)
    copy = ir.Value(name=value.name, shape=value.shape, type=value.type, const_value=tensor)
    copy.metadata_props.update(value.metadata_props)
    return copy


def _distinct(outputs: list[ir.Value], nodes: list[ir.Node]) -> list[ir.Value]:
    """ONNX wants each output once, made by one of the graph's own nodes: others go through Identity."""
    made = {id(out) for node in nodes for out in node.outputs}
    result: list[ir.Value] = []
    for value in outputs:
        if id(value) not in made:
            node = ir.Node("", "Identity", [value], num_outputs=1, name=f"{value.name}/identity_{len(result)}")
            fresh = node.outputs[0]
            fresh.name, fresh.shape, fresh.type = f"{value.name}/output_{len(result)}", value.shape, value.type
            nodes.append(node)
            value = fresh
        made.discard(id(value))
        result.append(value)
    return result


def _named(outputs: list[ir.Value], names: list[str], inputs: list[ir.Value], values: list[ir.Value]) -> None:
    """Give the outputs the source's names of them, numbered where two are the same; values inside make room."""
    fixed = [value.name for value in inputs]
    taken = {*fixed, *(value.name for value in values)}
    wanted: list[str] = []
    for name in names:
        number, free = 2, name
        while free in wanted or free in fixed:
            free, number = f"{name}_{number}", number + 1
        wanted.append(free)
    mine = {id(value) for value in outputs}
    for value in values if wanted else []:
        if value.name in wanted and id(value) not in mine:
            stem, number = f"{value.name}/value", 2
            value.name = stem
            while value.name in taken:
                value.name, number = f"{stem}_{number}", number + 1
            taken.add(value.name)
    for value, name in zip(outputs, wanted, strict=False):
        value.name = name


class _Body(GraphBuilder):
    """Writes the body of a function; one inside of it is spelled out, for onnxruntime finds none in another one."""

    def several(self, op: base.Op, *inputs: ir.Value | None, role: str = "", **facts: str) -> tuple[ir.Value, ...]:
        if op.domain != base.DOMAIN:
            return super().several(op, *inputs, role=role, **facts)
        made = op.body(self, *self.given(op, inputs))
        return made if isinstance(made, tuple) else (made,)

    def nested(self, name: str, cls: type[GraphBuilder] | None = None) -> GraphBuilder:
        return super().nested(name, cls or _Body)


def _function(node: ir.Node, functions: Functions) -> str:
    """The overload of the function for this node's configuration, which is made once; it takes the node's inputs."""
    op = base.of(node)
    shapes = [() if v is None else _any_batch(node, v) for v in node.inputs]
    dtypes = ["" if v is None else str(v.dtype) for v in node.inputs]
    key_text = repr((op, shapes, dtypes))
    overload = hashlib.sha256(key_text.encode()).hexdigest()[:12]
    key = (node.domain, node.op_type, overload)
    if key not in functions:
        body = _Body(node.op_type)
        body.place = place_of(node)
        formals = [
            ir.Value(name=f"x{i}", shape=ir_shape(shape), type=None if value is None else value.type)
            for i, (value, shape) in enumerate(zip(node.inputs, shapes, strict=True))
        ]
        given = [None if value is None else formal for value, formal in zip(node.inputs, formals, strict=True)]
        made = op.body(body, *given)
        body.graph.inputs.extend(formals)
        body.graph.outputs.extend(made if isinstance(made, tuple) else (made,))
        _agree(node, body.graph.outputs)
        body.remove_unused()
        graph = _inner(body.graph, _copies(), functions)
        _inline_constants(graph)
        functions[key] = ir.Function(node.domain, node.op_type, overload, graph=graph, attributes=_declared(node))
    return overload


def _agree(node: ir.Node, made: Sequence[ir.Value]) -> None:
    """Raises LookupError where the body gives something else than the op says of its outputs."""
    said = [(_any_batch(node, out), out.dtype) for out in node.outputs]
    found = [((None, *dims(v)[1:]) if dims(v) else (), v.dtype) for v in made]
    alike = len(said) == len(found) and all(
        kind == other and len(a) == len(b) and all(None in (d, e) or d == e for d, e in zip(a, b, strict=True))
        for (a, kind), (b, other) in zip(said, found, strict=True)
    )
    if not alike:
        raise LookupError(f"{node.op_type}.outputs() says {said}, and its body gives {found}")


def _any_batch(node: ir.Node, value: ir.Value) -> base.Dims:
    """An input's shape as the function has it: the batch of what is computed is not known."""
    shape = dims(value)
    if array(value) is not None or not shape:
        return shape
    shape = (None, *shape[1:])
    return (shape[0], shape[-1], *shape[1:-1]) if is_last(node) else shape


def _declared(node: ir.Node) -> list[ir.Attr]:
    """The attributes of the node as the function declares them: by name, with the node's own as defaults."""
    return list(node.attributes.values())


def _inline_constants(graph: ir.Graph) -> None:
    """A function has no initializers: each becomes a Constant node at the top."""
    nodes: list[ir.Node] = []
    for name, value in list(graph.initializers.items()):
        if value.const_value is None:
            continue
        node = ir.Node(
            "", "Constant", [], [ir.AttrTensor("value", value.const_value)], num_outputs=1, name=f"const_{name}"
        )
        out = node.outputs[0]
        out.name, out.shape, out.type = f"{name}/value", value.shape, value.type
        for use in list(value.uses()):
            use.node.replace_input_with(use.idx, out)
        graph.initializers.pop(name)
        nodes.append(node)
    first: Any = next(iter(graph), None)
    for node in nodes:
        if first is None:
            graph.append(node)
        else:
            graph.insert_before(first, node)
