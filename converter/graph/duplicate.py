"""A graph once more, to be settled in another way than the first; the weights' memory is shared."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from converter.graph.graph import GraphBuilder, origin


def duplicate(g: GraphBuilder) -> GraphBuilder:
    """A builder over copies of every value and node; what is changed in one does not show in the other."""
    made = GraphBuilder(g.graph.name or "model")
    values: dict[int, ir.Value] = {}

    def of(value: ir.Value) -> ir.Value:
        if id(value) not in values:
            copy = ir.Value(name=value.name, shape=value.shape, type=value.type, const_value=value.const_value)
            copy.meta.update(value.meta)
            copy.metadata_props.update(value.metadata_props)
            values[id(value)] = copy
        return values[id(value)]

    made.graph.inputs.extend(of(value) for value in g.graph.inputs)
    for value in g.graph.initializers.values():
        made.graph.register_initializer(of(value))
    for node in g.graph:
        inputs = [None if value is None else of(value) for value in node.inputs]
        outputs = [of(value) for value in node.outputs]
        attributes = list(node.attributes.values())
        copy = ir.Node(node.domain, node.op_type, inputs, attributes, outputs=outputs, name=node.name)
        copy.metadata_props.update(node.metadata_props)
        made.graph.append(copy)
    made.graph.outputs.extend(of(value) for value in g.graph.outputs)
    made.to_numpy, made.sources, made.output_names = g.to_numpy, g.sources, list(g.output_names)
    made.adopt(g, of)
    return made


def with_weights(g: GraphBuilder, arrays: dict[str, np.ndarray]) -> GraphBuilder:
    """The graph with other numbers for some weights of the source, by their paths there; all else is shared."""
    made = duplicate(g)
    for value in made.graph.initializers.values():
        known = origin(value)
        if known is not None and known.path in arrays:
            value.const_value = ir.Tensor(known.replay(arrays[known.path]), name=value.name)
    return made
