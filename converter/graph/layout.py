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

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import onnx_ir as ir

from converter.graph.flatten import comes_from_weight
from converter.graph.graph import ROLE, GraphBuilder, array, dims, facts_of, place_of
from converter.graph.nested import inner
from converter.ops import base
from converter.ops.base import Dims, Op, Perm
from converter.ops.linear import Gemm, Linear
from converter.ops.shape import Concat, Flatten, Reshape, Transpose, Unsqueeze, target

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
        _turn_input(g, turn)
    for index, perm in list(_turned_outputs(g, boundary, first)):
        turns.append(_turn_output(g, index, perm))
    for node in list(g.graph):
        _sink(g, node)
    g.remove_unused()
    for node in list(g.graph):
        if node.op_type == "Transpose":
            _lift_node(g, node)
    g.remove_unused()
    _tidy(g)
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


def _turned_outputs(g: GraphBuilder, boundary: Boundary, first: bool) -> Iterator[tuple[int, Perm]]:
    for index, value in enumerate(g.graph.outputs):
        rank = len(dims(value))
        if boundary == "native" and rank in (4, 5):
            into, back = _orders(rank, first)
            if _reaches(value, back, down=False, seen=set()):
                yield index, into


def _reaches(value: ir.Value, perm: Perm, down: bool, seen: set[int]) -> bool:
    """Whether layout-neutral ops lead from a value to the transposition `perm` of a spatial op or a turned boundary."""
    if id(value) in seen:
        return False
    seen.add(id(value))
    nodes = [use.node for use in value.uses()] if down else [n for n in [value.producer()] if n is not None]
    for node in nodes:
        if node.op_type == "Transpose":
            if not _own(node) and base.of(node) == Transpose(perm=perm):
                return True
            continue
        cls = base.class_of(node)
        if cls is None or cls.spatial:
            continue
        data = [v for v in node.inputs if v is not None and array(v) is None]
        rank = len(perm)
        if len(dims(node.outputs[0])) != rank or not any(len(dims(v)) == rank for v in data):
            continue
        shape = dims(value) if down else dims(data[0])
        if len(shape) != rank or base.of(node).permuted(perm, shape) is None:
            continue
        following = list(node.outputs) if down else data
        if any(len(dims(v)) == rank and _reaches(v, perm, down, seen) for v in following):
            return True
    return False


def _own(node: ir.Node) -> bool:
    """Whether a Transpose is the source's own, not one that a spatial op or a boundary brought."""
    return node.metadata_props.get(ROLE) not in ("spatial", "boundary")


def _turn_input(g: GraphBuilder, turn: Turn) -> None:
    """The input in the target's order, and behind it the way back for whatever read it."""
    old = g.graph.inputs[turn.index]
    lengths = [old.shape[p] for p in turn.perm] if old.shape is not None else []
    fresh = ir.Value(name=old.name, shape=ir.Shape(lengths), type=old.type)
    fresh.meta.update(old.meta)
    uses = list(old.uses())
    readers = {use.node for use in uses}
    head = next(node for node in g.graph if readers & {node, *inner(node)})
    g.graph.inputs[turn.index] = fresh
    back = g.insert(Transpose(perm=base.inverse(turn.perm)), [fresh], g.place, "boundary", before=head)
    for use in uses:
        use.node.replace_input_with(use.idx, back)
    for index, output in enumerate(g.graph.outputs):
        if output is old:
            g.graph.outputs[index] = back


def _turn_output(g: GraphBuilder, index: int, perm: Perm) -> Turn:
    value = g.graph.outputs[index]
    node = value.producer()
    place = place_of(node) if node is not None else g.place
    g.graph.outputs[index] = g.insert(Transpose(perm=perm), [value], replace(place, scope=""), "boundary")
    return Turn(place.path or value.name or "", "output", index, perm)


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
    """Transpose(p) -> op becomes op' -> Transpose(p').

    Of several operands, those that have no such transposition get one where that is free, or where it pays: a spatial
    op follows, or most operands have it.
    """
    cls = base.class_of(node)
    data = [(i, v) for i, v in enumerate(node.inputs) if v is not None and array(v) is None]
    found = [p for _, v in data if (p := _pending(v)) is not None]
    if cls is None or not found:
        return
    op = base.of(node)
    if isinstance(op, Transpose):
        _merge(g, node, op, *found[0])
        return
    perms = [base.inverse(p) for _, p in found]
    perm = max(perms, key=perms.count)
    if any(len(dims(v)) != len(perm) for _, v in data) and not (
        cls.neutral and len(dims(node.outputs[0])) == len(perm)
    ):
        return
    moved = op.permuted(perm, next(dims(v) for _, v in data if len(dims(v)) == len(perm)))
    if moved is None:
        return
    inputs: list[ir.Value | None] = list(node.inputs)
    missing: list[int] = []
    for i, value in data:
        at = _pending(value)
        if at is not None and base.inverse(at[1]) == perm:
            inputs[i] = at[0]
        else:
            missing.append(i)
    if missing:
        if any(len(dims(v)) != len(perm) for i, v in data if i in missing):
            return
        free = [i for i in missing if _free(inputs[i], perm)]
        pays = len(missing) - len(free) < len(data) - len(missing)
        if len(free) < len(missing) and not pays and not _reaches(node.outputs[0], moved[1], down=True, seen=set()):
            return
        for i in missing:
            inputs[i] = _turned(g, inputs[i], perm, node)
    if cls.neutral or isinstance(op, Concat):
        inputs = [_aligned(g, v, perm) if v is not None and array(v) is not None else v for v in inputs]
    _rewrite(g, node, moved[0], inputs, moved[1])


def _free(value: ir.Value | None, perm: Perm) -> bool:
    """Whether the transposed value costs no transposition."""
    if value is None or _still(dims(value), perm):
        return True
    node = value.producer()
    cls = base.class_of(node) if node is not None else None
    if node is None or cls is None:
        return False
    op = base.of(node)
    source = node.inputs[0]
    if isinstance(op, (Reshape, Unsqueeze)) and source is not None:
        return op.hoisted(perm, dims(source)) is not None or comes_from_weight(node, perm)
    if isinstance(op, Transpose):
        return _compose(op.perm, perm) == tuple(range(len(perm)))
    data = [v for v in node.inputs if v is not None and array(v) is None]
    alone = len(value.uses()) == 1 and not value.is_graph_output()
    return cls.neutral and alone and all(len(dims(v)) == len(perm) and _free(v, perm) for v in data)


def _still(shape: Dims, perm: Perm) -> bool:
    """Whether the transposition moves axes of length 1 alone, so that the elements keep their order."""
    solid = [p for p in perm if shape[p] != 1]
    return len(shape) == len(perm) and perm[0] == 0 and solid == sorted(solid) and None not in shape[1:]


def _turned(g: GraphBuilder, value: ir.Value | None, perm: Perm, before: ir.Node) -> ir.Value | None:
    """The transposed value: for nothing where `_free` says so, by a Transpose else."""
    if value is None:
        return None
    node = value.producer()
    if node is None or not _free(value, perm):
        place = place_of(node) if node is not None else replace(place_of(before), path="", cls="")
        return g.insert(Transpose(perm=perm), [value], place, "spatial", before=before)
    op, role = base.of(node), node.metadata_props.get(ROLE, "")
    source = node.inputs[0]
    if isinstance(op, Transpose) and _compose(op.perm, perm) == tuple(range(len(perm))):
        return source
    if isinstance(op, (Reshape, Unsqueeze)) and source is not None:
        hoisted = op.hoisted(perm, dims(source))
        if hoisted is not None:
            return g.insert(hoisted, [source], place_of(node), role, before=before)
        if comes_from_weight(node, perm):
            return g.insert(Transpose(perm=perm), [value], place_of(node), "spatial", before=before)
    if _still(dims(value), perm):
        flat = _squeezed(g, value, before)
        lengths = [dims(value)[p] for p in perm[1:]]
        return g.insert(Reshape(target=(0, *target(lengths))), [flat], place_of(node), "layout", before=before)
    inputs = [_turned(g, v, perm, before) if v is not None and array(v) is None else v for v in node.inputs]
    inputs = [_aligned(g, v, perm) if v is not None and array(v) is not None else v for v in inputs]
    return g.insert(op, _data_inputs(op, inputs), place_of(node), role, facts_of(node), before=before)


def _squeezed(g: GraphBuilder, value: ir.Value, before: ir.Node) -> ir.Value:
    """What can stand for (N, 1, ..., 1, C) in a reshape: (N, C) where that is what it was made from, itself else.

    A dense layer between the two takes (N, C) as well as (N, 1, ..., 1, C), and so do element-wise ops.
    """
    node = value.producer()
    shape = dims(value)
    cls = base.class_of(node) if node is not None else None
    if node is None or cls is None or any(d != 1 for d in shape[1:-1]):
        return value
    source, op = node.inputs[0], base.of(node)
    if source is None:
        return value
    if isinstance(op, (Reshape, Unsqueeze, Transpose)):
        return source if dims(source)[1:] == shape[-1:] or isinstance(op, Transpose) else value
    if len(value.uses()) != 1 or value.is_graph_output() or len(dims(source)) != len(shape):
        return value
    constants = [v for v in node.inputs[1:] if v is not None]
    if isinstance(op, Linear):
        op = Gemm(transB=1)
    elif not cls.neutral or any(array(v) is None or any(d != 1 for d in dims(v)[:-1]) for v in constants):
        return value
    flat = _squeezed(g, source, before)
    if len(dims(flat)) != 2:
        flat = g.insert(
            Reshape(target=(0, *target([dims(source)[-1]]))), [flat], place_of(node), "layout", before=before
        )
    inputs = [flat, *(_flat_constant(g, v) if cls.neutral else v for v in constants)]
    role = node.metadata_props.get(ROLE, "")
    return g.insert(op, _data_inputs(op, list(inputs)), place_of(node), role, facts_of(node), before=before)


def _flat_constant(g: GraphBuilder, value: ir.Value) -> ir.Value:
    """A constant of shape (1, ..., 1, C) as (C,)."""
    return g.reshaped(value, tuple(d or 0 for d in dims(value)[-1:]))


def _aligned(g: GraphBuilder, value: ir.Value, perm: Perm) -> ir.Value:
    """A constant operand of an element-wise op, for transposed data."""
    shape = tuple(d or 0 for d in dims(value))
    if not shape or all(d == 1 for d in shape):
        return value
    return g.transposed(g.reshaped(value, (1,) * (len(perm) - len(shape)) + shape), perm)


def _rewrite(g: GraphBuilder, node: ir.Node, op: Op, inputs: list[ir.Value | None], out_perm: Perm) -> None:
    """Put `op` on `inputs` in the place of a node, and the way back behind each of its outputs."""
    kept = _data_inputs(op, inputs)
    place, role = place_of(node), node.metadata_props.get("kconvert.role", "")
    made = g.node(op, kept, place, role, facts_of(node), node, len(node.outputs))
    for old, new in zip(node.outputs, made.outputs, strict=True):
        if out_perm != tuple(range(len(out_perm))):
            back = Transpose(perm=base.inverse(out_perm))
            new = g.insert(back, [new], place, "spatial", before=node) if old.uses() or old.is_graph_output() else new
        _replace(g, old, new)
    g.remove(node)


def _data_inputs(op: Op, inputs: list[ir.Value | None]) -> list[ir.Value | None]:
    """The inputs without the constants that the op's fields stand for."""
    operands = {s.metadata["operand"] for s in base.fields(type(op)).values() if "operand" in s.metadata}
    kept = [None if i in operands else v for i, v in enumerate(inputs)]
    while kept and kept[-1] is None:
        kept.pop()
    return kept


def _merge(g: GraphBuilder, node: ir.Node, op: Transpose, source: ir.Value, first: Perm) -> None:
    """Transpose after Transpose: one, or none. The source's own stays what it is, in the other axis order."""
    both = _compose(first, op.perm)
    if both == tuple(range(len(both))):
        _replace(g, node.outputs[0], source)
    elif _own(node):
        turned = _compose(both, base.inverse(first))
        made = g.insert(Transpose(perm=turned), [source], place_of(node), "", before=node)
        back = g.insert(Transpose(perm=first), [made], place_of(node), "spatial", before=node)
        _replace(g, node.outputs[0], back)
    else:
        made = g.insert(Transpose(perm=both), [source], place_of(node), "spatial", before=node)
        _replace(g, node.outputs[0], made)
    g.graph.remove(node, safe=True)


def _lift_node(g: GraphBuilder, node: ir.Node) -> None:
    """A Transpose that can be had for nothing further up."""
    value = node.inputs[0]
    perm = base.of(node).perm  # type: ignore[attr-defined]
    above = value.producer() if value is not None else None
    if value is None or above is None or not node.outputs[0].uses() or _own(node) or not _free(value, perm):
        return
    if above.op_type == "Reshape" and not _still(dims(value), perm):
        source = above.inputs[0]
        if source is None or base.of(above).hoisted(perm, dims(source)) is None:  # type: ignore[attr-defined]
            return
    lifted = _turned(g, value, perm, node)
    if lifted is not None:
        _replace(g, node.outputs[0], lifted)
        g.graph.remove(node, safe=True)


def _tidy(g: GraphBuilder) -> None:
    """What is left: pairs of Transposes become one, pairs of reshapes too; of equal Transposes the first stays."""
    for node in list(g.graph):
        inner = node.inputs[0].producer() if node.op_type in ("Reshape", "Flatten") and node.inputs[0] else None
        if inner is not None and inner.metadata_props.get(ROLE) == "layout" and inner.op_type == "Reshape":
            op = base.of(node)
            if op == Flatten() or (isinstance(op, Reshape) and op.target[0] == 0 and 0 not in op.target[1:]):
                node.replace_input_with(0, inner.inputs[0])
        if node.op_type != "Transpose":
            continue
        at = _pending(node.inputs[0])
        if at is not None:
            both = _compose(at[1], base.of(node).perm)  # type: ignore[attr-defined]
            made = at[0]
            if both != tuple(range(len(both))):
                role = node.metadata_props.get(ROLE, "")
                made = g.insert(Transpose(perm=both), [at[0]], place_of(node), role, before=node)
            _replace(g, node.outputs[0], made)
            g.graph.remove(node, safe=True)
    g.remove_unused()
    seen: dict[tuple[int, Perm, str], ir.Value] = {}
    for node in list(g.graph):
        source = node.inputs[0] if node.op_type == "Transpose" else None
        if source is not None:
            key = (id(source), base.of(node).perm, place_of(node).scope)  # type: ignore[attr-defined]
            kept = seen.setdefault(key, node.outputs[0])
            if kept is not node.outputs[0]:
                _replace(g, node.outputs[0], kept)
    g.remove_unused()
