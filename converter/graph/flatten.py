"""Flatten after a transposition: solved in the weights that follow, once, at conversion.

    Transpose(p) -> Flatten -> unit-wise ops -> Gemm(W)   becomes   Flatten -> unit-wise ops' -> Gemm(W[:, order])

Flattening in another order permutes the units. Every op down to the next dense weight either does not care (it works
unit by unit; its constants per unit are permuted along) or absorbs the order into its weight. Where any way out of
the Flatten does not end in such a weight, the transposition stays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from converter.graph.graph import GraphBuilder, array, dims, place_of
from converter.ops import base
from converter.ops.shape import Concat, Flatten, Reshape

WHY = "units reordered for a flatten in the other axis order"


@dataclass
class _Flat:
    """A Flatten that could stand without its transposition, and the constants that would take its order over."""

    node: ir.Node
    source: ir.Value
    edits: list[tuple[ir.Node, int, ir.Value]] = field(default_factory=list)


def absorb(g: GraphBuilder) -> None:
    """Remove the transposition before every Flatten whose order the following weights can take over.

    A weight that several layers or calls read is reordered for all of its readers, or not at all.
    """
    found = [flat for node in list(g.graph) if (flat := _candidate(g, node)) is not None]
    while True:
        edited = {(id(node), index): id(value) for flat in found for node, index, value in flat.edits}
        kept = [flat for flat in found if all(_agreed(node, index, edited) for node, index, _ in flat.edits)]
        if len(kept) == len(found):
            break
        found = kept
    for flat in found:
        node = flat.node
        role = node.metadata_props.get("kconvert.role", "")
        made = g.insert(Flatten(), [flat.source], place_of(node), role, before=node)
        for use in list(node.outputs[0].uses()):
            use.node.replace_input_with(use.idx, made)
        for user, index, value in flat.edits:
            user.replace_input_with(index, value)
        g.graph.remove(node, safe=True)
    g.remove_unused()


def _agreed(node: ir.Node, index: int, edited: dict[tuple[int, int], int]) -> bool:
    """Whether every reader of this constant takes the same reordered one."""
    constant = node.inputs[index]
    mine = edited[(id(node), index)]
    return constant is not None and all(edited.get((id(use.node), use.idx)) == mine for use in constant.uses())


def _candidate(g: GraphBuilder, node: ir.Node) -> _Flat | None:
    source = node.inputs[0] if is_flatten(node) else None
    before = source.producer() if source is not None else None
    if source is None or before is None or before.op_type != "Transpose" or before.inputs[0] is None:
        return None
    perm = base.of(before).perm  # type: ignore[attr-defined]
    lengths = dims(source)[1:]
    if perm[0] != 0 or any(d is None for d in lengths):
        return None
    shape = tuple(d or 0 for d in lengths)
    physical = tuple(p - 1 for p in base.inverse(perm)[1:])
    order = np.arange(math.prod(shape)).reshape(shape).transpose(physical).ravel()
    flat = _Flat(node, before.inputs[0])
    return flat if _follow(g, node.outputs[0], order, flat.edits) else None


def is_flatten(node: ir.Node) -> bool:
    """Flatten, or a Reshape to (N, everything else)."""
    if node.op_type == "Flatten":
        return True
    if node.op_type != "Reshape" or node.inputs[0] is None:
        return False
    op = base.of(node)
    return isinstance(op, Reshape) and len(op.target) == 2 and len(dims(node.inputs[0])) > 2 and op.target[0] == 0


def _follow(g: GraphBuilder, value: ir.Value, order: np.ndarray, edits: list[tuple[ir.Node, int, ir.Value]]) -> bool:
    """Collect the constants to reorder behind `value`; False where the order would become visible."""
    if value.is_graph_output() or not value.uses():
        return False
    for use in value.uses():
        node = use.node
        cls = base.class_of(node)
        if cls is None:
            return False
        op = base.of(node)
        axes = op.unit_axes(use.idx)
        if axes is None:
            return False
        following = order
        if isinstance(op, Concat):
            if op.axis % 2 != 1 or any(v is None or dims(v)[1] is None for v in node.inputs):
                return False
            widths = [dims(v)[1] or 0 for v in node.inputs if v is not None]
            start = sum(widths[: use.idx])
            following = np.arange(sum(widths))
            following[start : start + len(order)] = order + start
        elif cls.neutral and any(v is not None and i != use.idx and array(v) is None for i, v in enumerate(node.inputs)):
            return False
        for index, constant in enumerate(node.inputs):
            if constant is None or index not in axes:
                continue
            data = array(constant)
            if data is None:
                return False
            axis = axes[index]
            if data.size == 1:
                continue
            if data.shape[axis] != len(order):
                return False
            edits.append((node, index, g.reordered(constant, axis % data.ndim, order, WHY)))
        if not op.absorbs_units and not _follow(g, node.outputs[0], following, edits):
            return False
    return True

