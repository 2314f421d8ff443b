"""A transposition beside a flatten or an unflatten: solved in the dense weights, once, at conversion.

    Transpose(p) -> Flatten -> unit-wise ops -> Gemm(W)   becomes   Flatten -> unit-wise ops' -> Gemm(W[:, order])
    Gemm(W) -> unit-wise ops -> Reshape -> Transpose(p)   becomes   Gemm(W[order]) -> unit-wise ops' -> Reshape'

Flattening in another order permutes the units. Every op on the way to the dense weight either does not care (it works
unit by unit; its constants per unit are permuted along) or absorbs the order into its weight. Where any way out of
the Flatten does not end in such a weight, or what is reshaped does not come from one, the transposition stays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from converter.graph.graph import GraphBuilder, array, dims, place_of
from converter.ops import base
from converter.ops.shape import Concat, Flatten, Reshape, Transpose

AFTER = "units reordered for a flatten in the other axis order"
BEFORE = "units reordered for a reshape in the other axis order"


@dataclass(frozen=True)
class _Edit:
    """A constant input to reorder along one axis."""

    node: ir.Node
    index: int
    axis: int
    order: bytes
    why: str

    @property
    def constant(self) -> ir.Value:
        value = self.node.inputs[self.index]
        if value is None:
            raise LookupError(f"{self.node.name!r} has no input {self.index}")
        return value

    @property
    def change(self) -> tuple[int, bytes]:
        """What is done, wherever it is done."""
        return self.axis, self.order


@dataclass
class _Way:
    """A Flatten, or the Transposes behind a Reshape, and the constants that would take the order over."""

    node: ir.Node
    made: base.Op
    source: ir.Value
    ends: list[ir.Value]
    edits: list[_Edit] = field(default_factory=list)


def absorb(g: GraphBuilder) -> None:
    """Remove the transpositions whose order the weights can take over.

    A weight that several layers or calls read is reordered for all of its readers, or not at all; ways that want
    different orders of one weight (two flattens concatenated) take their turns.
    """
    for find in (_flattened, _unflattened):
        while _apply(g, [way for node in list(g.graph) if (way := find(node)) is not None]):
            pass


def _apply(g: GraphBuilder, found: list[_Way]) -> bool:
    while True:
        planned = {(id(e.node), e.index): e.change for way in found for e in way.edits}
        kept = [way for way in found if all(_agreed(e, planned) for e in way.edits)]
        if len(kept) == len(found):
            break
        found = kept
    changed: set[tuple[int, int]] = set()
    for way in found:
        node = way.node
        made = g.insert(
            way.made, [way.source], place_of(node), node.metadata_props.get("kconvert.role", ""), before=node
        )
        for end in way.ends:
            for use in list(end.uses()):
                use.node.replace_input_with(use.idx, made)
        for edit in way.edits:
            if (id(edit.node), edit.index) not in changed:
                changed.add((id(edit.node), edit.index))
                order = np.frombuffer(edit.order, np.int64)
                edit.node.replace_input_with(edit.index, g.reordered(edit.constant, edit.axis, order, edit.why))
    g.remove_unused()
    return bool(found)


def _agreed(edit: _Edit, planned: dict[tuple[int, int], tuple[int, bytes]]) -> bool:
    """Whether every reader of this constant takes it in the same order."""
    return all(planned.get((id(use.node), use.idx)) == edit.change for use in edit.constant.uses())


def _edits(node: ir.Node, axes: dict[int, int], order: np.ndarray, why: str) -> list[_Edit] | None:
    """The edits of a node's constants that have an axis of units; None where one does not fit."""
    found: list[_Edit] = []
    for index, constant in enumerate(node.inputs):
        if constant is None or index not in axes:
            continue
        data = array(constant)
        if data is None:
            return None
        axis = axes[index]
        if data.size == 1 or data.ndim < -axis or data.shape[axis] == 1:
            continue
        if data.shape[axis] != len(order):
            return None
        found.append(_Edit(node, index, axis % data.ndim, order.astype(np.int64).tobytes(), why))
    return found


# Flatten, and the weight behind it ---------------------------------------------------------------------------------


def _flattened(node: ir.Node) -> _Way | None:
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
    way = _Way(node, Flatten(), before.inputs[0], [node.outputs[0]])
    return way if _follow(node.outputs[0], order, way.edits) else None


def is_flatten(node: ir.Node) -> bool:
    """Flatten, or a Reshape to (N, everything else)."""
    if node.op_type == "Flatten":
        return base.of(node) == Flatten()
    if node.op_type != "Reshape" or node.inputs[0] is None:
        return False
    op = base.of(node)
    return isinstance(op, Reshape) and len(op.target) == 2 and len(dims(node.inputs[0])) > 2 and op.target[0] == 0


def _follow(value: ir.Value, order: np.ndarray, edits: list[_Edit]) -> bool:
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
        elif cls.neutral and not _per_sample(node, use.idx):
            return False
        found = _edits(node, axes, order, AFTER)
        if found is None:
            return False
        edits += found
        if not op.absorbs_units and not _follow(node.outputs[0], following, edits):
            return False
    return True


def _per_sample(node: ir.Node, index: int) -> bool:
    """Whether the other computed inputs of an element-wise op have one number for all units."""
    others = [v for i, v in enumerate(node.inputs) if v is not None and i != index and array(v) is None]
    return all(dims(v)[-1] == 1 for v in others)


# Reshape, and the weight before it ---------------------------------------------------------------------------------


def _unflattened(node: ir.Node) -> _Way | None:
    if not is_unflatten(node) or node.outputs[0].is_graph_output():
        return None
    users = [use.node for use in node.outputs[0].uses()]
    perms = {tuple(base.of(user).perm) if user.op_type == "Transpose" else None for user in users}  # type: ignore[attr-defined]
    perm = perms.pop() if len(perms) == 1 else None
    source = node.inputs[0]
    if perm is None or perm[0] != 0 or source is None:
        return None
    way = _Way(node, Reshape(target=(0, *[dims(node.outputs[0])[p] or 0 for p in perm[1:]])), source, [])
    way.ends = [user.outputs[0] for user in users]
    if any(end.is_graph_output() for end in way.ends):
        return None
    return way if _rise(source, order_of(node, perm), way.edits) else None


def is_unflatten(node: ir.Node) -> bool:
    """A Reshape of (N, units) to known lengths."""
    if node.op_type != "Reshape" or node.inputs[0] is None or len(dims(node.inputs[0])) != 2:
        return False
    op = base.of(node)
    known = all(d is not None for d in dims(node.outputs[0])[1:])
    return isinstance(op, Reshape) and op.target[:1] == (0,) and known and dims(node.inputs[0])[1] is not None


def order_of(node: ir.Node, perm: base.Perm) -> np.ndarray:
    """The order of units that makes the reshape's output the transposed one."""
    shape = tuple(d or 0 for d in dims(node.outputs[0])[1:])
    return np.arange(math.prod(shape)).reshape(shape).transpose([p - 1 for p in perm[1:]]).ravel()


def comes_from_weight(node: ir.Node, perm: base.Perm) -> bool:
    """Whether the order of this reshape's elements can be changed in the weight that makes them."""
    source = node.inputs[0]
    return is_unflatten(node) and perm[0] == 0 and source is not None and _rise(source, order_of(node, perm), [])


def _rise(value: ir.Value, order: np.ndarray, edits: list[_Edit]) -> bool:
    """Collect the constants to reorder above `value`; False where its order is not ours to change."""
    node = value.producer()
    cls = base.class_of(node) if node is not None else None
    if node is None or cls is None or value.is_graph_output() or len(value.uses()) != 1:
        return False
    op = base.of(node)
    made = op.units_made()
    if made is not None:
        found = _edits(node, made, order, BEFORE)
        edits += found or []
        return found is not None
    data = [(i, v) for i, v in enumerate(node.inputs) if v is not None and array(v) is None]
    axes = op.unit_axes(data[0][0]) if data else None
    if axes is None or isinstance(op, (Concat, Transpose)) or op.absorbs_units:
        return False
    found = _edits(node, axes, order, BEFORE)
    if found is None:
        return False
    edits += found
    return all(dims(v)[-1] == 1 or (len(dims(v)) == 2 and _rise(v, order, edits)) for _, v in data)
