"""A padding layer before a window: the window's own padding, as a person writes it.

    Pad(zeros, alike on both sides) -> Conv        becomes   Conv with pads
    Pad(zeros, alike on both sides) -> MaxPool     the same, where no element is below zero
    Pad(zeros, alike on both sides) -> AveragePool the same, padded elements counted

Padding that differs between the sides stays an op of its own: nn.Conv2d and its like have one number per axis.
"""

from __future__ import annotations

import onnx_ir as ir

from converter.graph.graph import GraphBuilder, place_of, restate
from converter.ops import base
from converter.ops.pad import Pad


def fold(g: GraphBuilder) -> None:
    """Give the padding to the windows behind it, where all that reads it can take it over."""
    for node in reversed(list(g.graph)):
        source = node.inputs[0] if node.op_type == "Pad" else None
        if source is None or node.outputs[0].is_graph_output():
            continue
        uses = list(node.outputs[0].uses())
        ops = [op for use in uses if (op := _padded(use.node, use.idx, node, source)) is not None]
        if len(ops) == len(uses):
            for use, op in zip(uses, ops, strict=True):
                restate(use.node, op)
                use.node.replace_input_with(0, source)
            g.graph.remove(node, safe=True)


def _padded(reader: ir.Node, index: int, pad: ir.Node, source: ir.Value) -> base.Op | None:
    """What reads the Pad, with the padding as its own; None where that is another function, or in another model."""
    op = base.of(pad)
    pairs = op.spatial_pairs() if isinstance(op, Pad) and not op.constant_value else None
    if index or not pairs or base.class_of(reader) is None or place_of(reader).scope != place_of(pad).scope:
        return None
    return base.of(reader).with_padding(pairs, source)
