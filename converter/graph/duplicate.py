"""A graph once more, to be settled in another way than the first; the weights' memory is shared."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from converter.graph.graph import GraphBuilder, origin


def duplicate(g: GraphBuilder) -> GraphBuilder:
    """A builder over copies of every value and node; what is changed in one does not show in the other."""
    made = GraphBuilder(g.graph.name or "model")
    made.graph = g.graph.clone()
    values = {v.name: v for v in made.graph.initializers.values()}

    def of(value: ir.Value) -> ir.Value:
        """The copy of a constant that the builder knows; of one that the graph has dropped, a fresh one."""
        if value.name not in values:
            copy = ir.Value(name=value.name, shape=value.shape, type=value.type, const_value=value.const_value)
            copy.meta.update(value.meta)
            copy.metadata_props.update(value.metadata_props)
            values[value.name] = copy
        return values[value.name]

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
