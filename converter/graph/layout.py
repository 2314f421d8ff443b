"""Where the channel axis is: decided here, once, for both directions.

Spatial ops fix the order of their input: channels first in ONNX and PyTorch, channels last in Keras. A model in the
other order has a Transpose before and after each of them. One walk in topological order moves every Transpose down
through the ops that can do without it (`Op.permuted` says how), until it meets its inverse or an op that needs it:

    Transpose(p) -> op      becomes   op' -> Transpose(p')
    Transpose(p) -> Transpose(q)   becomes   Transpose(p then q), nothing where that is the identity

Then what is left moves up where that is free (through a Reshape that only inserts axes of length 1), and at the
boundary, with layout "native", inputs and outputs are turned instead. Nothing here compares sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from converter.graph.graph import GraphBuilder, array, dims, facts_of, place_of
from converter.ops import base
from converter.ops.base import Op, Perm
from converter.ops.shape import Reshape, Transpose

Boundary = Literal["native", "source"]


@dataclass(frozen=True)
class Turn:
    """An input or output that stands in the target's own axis order: target = source.transpose(perm)."""

    name: str
    kind: Literal["input", "output"]
    index: int
    perm: Perm


def settle(g: GraphBuilder, boundary: Boundary, first: bool = True) -> list[Turn]:
    """Remove the transpositions around spatial ops; returns the inputs and outputs that were turned.

    `first` says where the target has its channel axis: second (PyTorch) or last (Keras).
    """
    turns = [Turn(value.name or "", "input", i, perm) for i, perm, value in _turned_inputs(g, boundary, first)]
    for turn in turns:
        _pair(g, g.graph.inputs[turn.index], turn.perm)
    flagged = list(_turned_outputs(g, boundary, first, {t.index for t in turns}))
    for node in list(g.graph):
        _sink(g, node)
    g.remove_unused()
    for node in list(g.graph):
        if node.op_type == "Transpose":
            _lift_node(g, node)
    for turn in turns:
        _turn_input(g, turn)
    for index, perm in flagged:
        turns.append(_turn_output(g, index, perm))
    g.remove_unused()
    return turns


# The boundary ------------------------------------------------------------------------------------------------------


def _orders(rank: int, first: bool) -> tuple[Perm, Perm]:
    """The transposition into the target's order, and back."""
    into, back = base.channels_first(rank), base.channels_last(rank)
    return (into, back) if first else (back, into)


def _turned_inputs(g: GraphBuilder, boundary: Boundary, first: bool) -> Iterator[tuple[int, Perm, ir.Value]]:
    for index, value in enumerate(g.graph.inputs):
        rank = len(dims(value))
        if boundary == "native" and rank in (4, 5):
            into, _ = _orders(rank, first)
            if _reaches(value, into, down=True, seen=set()):
                yield index, into, value


def _turned_outputs(g: GraphBuilder, boundary: Boundary, first: bool, turned: set[int]) -> Iterator[tuple[int, Perm]]:
    sources = {id(g.graph.inputs[i]) for i in turned}
    for index, value in enumerate(g.graph.outputs):
        rank = len(dims(value))
        if boundary == "native" and rank in (4, 5):
            into, back = _orders(rank, first)
            if _reaches(value, back, down=False, seen=set(), sources=sources):
                yield index, into


def _reaches(value: ir.Value, perm: Perm, down: bool, seen: set[int], sources: set[int] | None = None) -> bool:
    """Whether layout-neutral ops lead from a value to the transposition `perm` of a spatial op."""
    if id(value) in seen:
        return False
    seen.add(id(value))
    if sources and id(value) in sources:
        return True
    nodes = [use.node for use in value.uses()] if down else [n for n in [value.producer()] if n is not None]
    for node in nodes:
        if node.op_type == "Transpose":
            if node.metadata_props.get("kconvert.role") == "spatial" and base.of(node) == Transpose(perm=perm):
                return True
            continue
        cls = base.class_of(node)
        if cls is None or cls.spatial or dims(node.outputs[0]) is None:
            continue
        data = [v for v in node.inputs if v is not None and array(v) is None]
        rank = len(perm)
        if len(dims(node.outputs[0])) != rank or not any(len(dims(v)) == rank for v in data):
            continue
        shape = dims(value) if down else dims(data[0])
        if len(shape) != rank or base.of(node).permuted(perm, shape) is None:
            continue
        following = list(node.outputs) if down else data
        if any(len(dims(v)) == rank and _reaches(v, perm, down, seen, sources) for v in following):
            return True
    return False


def _pair(g: GraphBuilder, value: ir.Value, perm: Perm) -> None:
    """input -> Transpose(perm) -> Transpose(back) -> whatever read the input."""
    uses = list(value.uses())
    head = min((use.node for use in uses), key=_position(g))
    place = g.place
    turned = g.insert(Transpose(perm=perm), [value], place, "boundary", before=head)
    back = g.insert(Transpose(perm=base.inverse(perm)), [turned], place, "boundary", before=head)
    for use in uses:
        use.node.replace_input_with(use.idx, back)
    for index, output in enumerate(g.graph.outputs):
        if output is value:
            g.graph.outputs[index] = back


def _position(g: GraphBuilder) -> Callable[[ir.Node], int]:
    order = {node: i for i, node in enumerate(g.graph)}
    return order.__getitem__


def _turn_input(g: GraphBuilder, turn: Turn) -> None:
    old = g.graph.inputs[turn.index]
    shape = old.shape
    lengths = [shape[p] for p in turn.perm] if shape is not None else []
    fresh = ir.Value(name=old.name, shape=ir.Shape(lengths), type=old.type)
    fresh.meta.update(old.meta)
    for use in list(old.uses()):
        node = use.node
        if node.op_type == "Transpose" and base.of(node) == Transpose(perm=turn.perm):
            _replace(g, node.outputs[0], fresh)
        else:
            place = place_of(node)
            back = g.insert(Transpose(perm=base.inverse(turn.perm)), [fresh], place, "boundary", before=node)
            node.replace_input_with(use.idx, back)
    g.graph.inputs[turn.index] = fresh


def _turn_output(g: GraphBuilder, index: int, perm: Perm) -> Turn:
    value = g.graph.outputs[index]
    node = value.producer()
    name = node.metadata_props.get("kconvert.layer", "") if node is not None else ""
    if node is not None and node.op_type == "Transpose":
        both = _compose(base.of(node).perm, perm)  # type: ignore[attr-defined]
        source = node.inputs[0]
        if both == tuple(range(len(both))) and source is not None:
            g.graph.outputs[index] = source
            return Turn(name or value.name or "", "output", index, perm)
    g.graph.outputs[index] = g.op(Transpose(perm=perm), value, role="boundary")
    return Turn(name or value.name or "", "output", index, perm)


# Moving transpositions ---------------------------------------------------------------------------------------------


def _compose(first: Perm, then: Perm) -> Perm:
    return tuple(first[i] for i in then)


def _pending(value: ir.Value | None) -> tuple[ir.Value, Perm] | None:
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "Transpose" or node.inputs[0] is None:
        return None
    return node.inputs[0], base.of(node).perm  # type: ignore[attr-defined]


def _replace(g: GraphBuilder, old: ir.Value, new: ir.Value) -> None:
    for use in list(old.uses()):
        use.node.replace_input_with(use.idx, new)
    for index, output in enumerate(g.graph.outputs):
        if output is old:
            g.graph.outputs[index] = new


def _sink(g: GraphBuilder, node: ir.Node) -> None:
    cls = base.class_of(node)
    data = [(i, v) for i, v in enumerate(node.inputs) if v is not None and array(v) is None]
    found = [p for _, v in data if (p := _pending(v)) is not None]
    if cls is None or not found:
        return
    op = base.of(node)
    if isinstance(op, Transpose):
        _merge(g, node, op, *found[0])
        return
    perm = base.inverse(found[0][1])
    out_rank = len(dims(node.outputs[0]))
    if len(data) > 1 and any(len(dims(v)) != len(perm) for _, v in data):
        if not (cls.neutral and out_rank == len(perm)):
            return
    moved = op.permuted(perm, dims(data[0][1]))
    if moved is None:
        return
    inputs: list[ir.Value | None] = list(node.inputs)
    for i, value in data:
        at = _pending(value)
        if at is not None and base.inverse(at[1]) == perm:
            inputs[i] = at[0]
            continue
        lifted = _lifted(g, value, perm, node)
        if lifted is None:
            return
        inputs[i] = lifted
    if cls.neutral:
        inputs = [_aligned(g, v, perm) if v is not None and array(v) is not None else v for v in inputs]
    _rewrite(g, node, moved[0], inputs, moved[1])


def _aligned(g: GraphBuilder, value: ir.Value, perm: Perm) -> ir.Value:
    """A constant operand of an element-wise op, for transposed data."""
    shape = tuple(d or 0 for d in dims(value))
    if not shape or all(d == 1 for d in shape):
        return value
    return g.transposed(g.reshaped(value, (1,) * (len(perm) - len(shape)) + shape), perm)


def _rewrite(g: GraphBuilder, node: ir.Node, op: Op, inputs: list[ir.Value | None], out_perm: Perm) -> None:
    """Put `op` on `inputs` in the place of a node, and its output's way back behind it."""
    kept = _data_inputs(op, inputs)
    place, role = place_of(node), node.metadata_props.get("kconvert.role", "")
    made = g.insert(op, kept, place, role, facts_of(node), before=node)
    if out_perm != tuple(range(len(out_perm))):
        made = g.insert(Transpose(perm=base.inverse(out_perm)), [made], place, "spatial", before=node)
    _replace(g, node.outputs[0], made)
    g.graph.remove(node, safe=True)


def _data_inputs(op: Op, inputs: list[ir.Value | None]) -> list[ir.Value | None]:
    """The inputs without the constants that the op's fields stand for."""
    operands = {s.metadata["operand"] for s in base.fields(type(op)).values() if "operand" in s.metadata}
    kept = [None if i in operands else v for i, v in enumerate(inputs)]
    while kept and kept[-1] is None:
        kept.pop()
    return kept


def _merge(g: GraphBuilder, node: ir.Node, op: Transpose, source: ir.Value, first: Perm) -> None:
    """Transpose after Transpose: one, or none."""
    both = _compose(first, op.perm)
    own = node.metadata_props.get("kconvert.role") not in ("spatial", "boundary")
    if both == tuple(range(len(both))):
        _replace(g, node.outputs[0], source)
    elif own:
        inner = base.inverse(first)
        turned = tuple(_compose(_compose(first, op.perm), inner))
        made = g.insert(Transpose(perm=turned), [source], place_of(node), "", before=node)
        back = g.insert(Transpose(perm=first), [made], place_of(node), "spatial", before=node)
        _replace(g, node.outputs[0], back)
    else:
        made = g.insert(Transpose(perm=both), [source], place_of(node), "spatial", before=node)
        _replace(g, node.outputs[0], made)
    g.graph.remove(node, safe=True)


def _lift_node(g: GraphBuilder, node: ir.Node) -> None:
    value = node.inputs[0]
    if value is None or not node.outputs[0].uses():
        return
    lifted = _lifted(g, value, base.of(node).perm, node)  # type: ignore[attr-defined]
    if lifted is not None:
        _replace(g, node.outputs[0], lifted)
        g.graph.remove(node, safe=True)


def _lifted(g: GraphBuilder, value: ir.Value, perm: Perm, before: ir.Node) -> ir.Value | None:
    """A value equal to `value.transpose(perm)` that costs no transposition, None where there is none."""
    node = value.producer()
    cls = base.class_of(node) if node is not None else None
    if node is None or cls is None:
        return None
    source = node.inputs[0]
    shape = dims(value)
    if source is None or len(shape) != len(perm):
        if source is None or not shape or len(shape) > len(perm):
            return None
        return None
    op = base.of(node)
    role = node.metadata_props.get("kconvert.role", "")
    if isinstance(op, Reshape):
        hoisted = op.hoisted(perm, dims(source))
        if hoisted is None:
            return None
        return g.insert(hoisted, [source], place_of(node), role, before=node)
    data = [v for v in node.inputs if v is not None and array(v) is None]
    if not cls.neutral or len(data) != 1 or len(value.uses()) != 1 or value.is_graph_output():
        return None
    lifted = _lifted(g, source, perm, node)
    if lifted is None:
        return None
    inputs = [lifted if v is source else v for v in node.inputs]
    inputs = [_aligned(g, v, perm) if v is not None and array(v) is not None else v for v in inputs]
    return g.insert(op, _data_inputs(op, inputs), place_of(node), role, facts_of(node), before=node)

