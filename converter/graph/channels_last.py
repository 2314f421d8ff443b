"""Spatial ops for a target that has its channels last.

A spatial op is channels first by what it is: its shapes, its ONNX meaning. For Keras each of them is turned around,

    op    becomes    Transpose(N, C, ... -> N, ..., C) -> op, marked -> Transpose(N, ..., C -> N, C, ...)

and the layout pass then removes the transpositions. A marked node reads and gives channels last. Its shapes are set
here and `Op.shape` is not asked again; onnx_model puts transpositions around it, so the ONNX graph stays what it says.
"""

from __future__ import annotations

import itertools

import onnx_ir as ir

from converter.graph.graph import GraphBuilder, array, dims, ir_shape, place_of
from converter.ops import base
from converter.ops.shape import Transpose

LAST = base.LAST


def turn(g: GraphBuilder) -> None:
    """Mark every spatial op of rank 3 and more, with transpositions around it."""
    nodes = list(g.graph)
    for node, follower in itertools.zip_longest(nodes, nodes[1:]):
        cls = base.class_of(node)
        if cls is None or not cls.spatial or is_last(node):
            continue
        out = node.outputs[0]
        rank = len(dims(out))
        if rank < 3:
            continue
        place = place_of(node)
        for index, value in enumerate(node.inputs):
            if value is not None and index not in cls.kernels and array(value) is None and len(dims(value)) == rank:
                turned = g.insert(Transpose(perm=base.channels_last(rank)), [value], place, "spatial", before=node)
                node.replace_input_with(index, turned)
        node.metadata_props[LAST] = "1"
        uses = list(out.uses())
        lengths = out.shape.dims if out.shape is not None else ()
        out.shape = ir_shape([_plain(lengths[p]) for p in base.channels_last(rank)])
        back = g.insert(Transpose(perm=base.channels_first(rank)), [out], place, "spatial", before=follower)
        for use in uses:
            use.node.replace_input_with(use.idx, back)
        for index, output in enumerate(g.graph.outputs):
            if output is out:
                g.graph.outputs[index] = back


def is_last(node: ir.Node) -> bool:
    """Whether a node reads and gives channels last."""
    return LAST in node.metadata_props


def _plain(length: int | ir.SymbolicDim) -> int | str | None:
    return length if isinstance(length, int) else length.value if isinstance(length.value, str) else None
