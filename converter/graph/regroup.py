"""Axes that are merged, worked on and split again stay apart: what lies between is done on more axes.

    Reshape (b, t, c -> b*t, c) -> Linear -> Reshape (b*t, d -> b, t, d)      becomes      Linear on (b, t, c)

A splitting reshape is taken up through what lies before it, up to reshapes with which it makes one. A target that reads
no lengths has no other form of it where several of them are known at run time only. The order of the elements is that
of the reshapes, so lengths are compared by name only to find which axes are split into which. Reshapes in a row
become one.
"""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from converter.graph.graph import ROLE, GraphBuilder, array, dims, facts_of, place_of, symbols
from converter.ops import base
from converter.ops.layer_norm import LayerNorm, RMSNorm
from converter.ops.linear import Gemm, Linear, MatMul
from converter.ops.shape import Reshape, Transpose
from converter.ops.softmax import LogSoftmax, Softmax

Length = int | str | None
Groups = tuple[tuple[Length, ...], ...]
"""For each axis of a value the axes that it is split into."""
RESHAPES = ("Reshape", "Flatten", "Unsqueeze", "Squeeze", "ReshapeLike")


def split_early(g: GraphBuilder) -> None:
    """Do away with the reshapes that split what others have merged."""
    for node in list(g.graph):
        if node.op_type in ("Reshape", "ReshapeLike") and node.graph is not None and node.inputs[0] is not None:
            _split(g, node, node.inputs[0])
    g.remove_unused()


def join(g: GraphBuilder) -> None:
    """Make one reshape of several in a row, and none of those that undo each other."""
    for node in list(g.graph):
        value = node.inputs[0] if node.op_type in RESHAPES else None
        first = value.producer() if value is not None else None
        if first is None or value is None or first.op_type not in RESHAPES or first.inputs[0] is None:
            continue
        source, made = first.inputs[0], node.outputs[0]
        role = node.metadata_props.get(ROLE, "")
        target = _joined(symbols(source), symbols(made))
        one = place_of(first).path == place_of(node).path
        own = not role or not first.metadata_props.get(ROLE)  # nn.Flatten and the like keep their names
        if target is None or (own and target and not one) or not _alone(value):
            continue
        if target:
            source = g.insert(Reshape(target=target), [source], place_of(node), role, facts_of(node), before=node)
            source.shape = made.shape
        _replace(g, made, source)
        g.graph.remove(node, safe=True)
    g.remove_unused()


def _replace(g: GraphBuilder, old: ir.Value, new: ir.Value) -> None:
    for use in list(old.uses()):
        use.node.replace_input_with(use.idx, new)
    for index, output in enumerate(g.graph.outputs):
        if output is old:
            g.graph.outputs[index] = new


def _split(g: GraphBuilder, node: ir.Node, source: ir.Value) -> None:
    """Put in the place of a reshape what gives its result without it, where there is such."""
    groups = grouped(symbols(source), symbols(node.outputs[0]))
    if groups is None or (len(groups[0]) < 2 and node.op_type != "ReshapeLike") or source.producer() is None:
        return
    steps = _Up(g, node)
    if not steps.can(source, groups):
        return
    made = steps.made(source, groups)
    if None in symbols(made):
        made.shape = node.outputs[0].shape
    _replace(g, node.outputs[0], made)


def grouped(before: tuple[Length, ...], after: tuple[Length, ...]) -> Groups | None:
    """The axes that each axis of `before` is split into, found from both ends; None where it is not known."""
    front: list[tuple[Length, ...]] = []
    rest = list(after)
    for length in before:
        taken = _taken(length, rest)
        if taken is None:
            break
        front.append(taken)
        rest = rest[len(taken) :]
    back: list[tuple[Length, ...]] = []
    for length in reversed(before[len(front) :]):
        taken = _taken(length, rest[::-1])
        if taken is None:
            break
        back.insert(0, taken[::-1])
        rest = rest[: len(rest) - len(taken)]
    left = len(before) - len(front) - len(back)
    if left > 1 or bool(rest) != bool(left):
        return None
    return (*front, *([tuple(rest)] if left else []), *back)


def _taken(length: Length, rest: list[Length]) -> tuple[Length, ...] | None:
    """The first of the lengths that together are this one."""
    if length is None:
        return None
    if not isinstance(length, int):
        return (length,) if rest[:1] == [length] else None
    product = 1
    for count, each in enumerate(rest, 1):
        if not isinstance(each, int):
            return None
        product *= each
        if product == length and (length > 1 or count == 1):
            return tuple(rest[:count])
    return None


class _Up:
    """One splitting reshape on its way up; what it does on the way is written before it."""

    def __init__(self, g: GraphBuilder, node: ir.Node) -> None:
        self.g = g
        self.node = node
        self.known: dict[tuple[int, Groups], ir.Value] = {}

    def can(self, value: ir.Value, groups: Groups) -> bool:
        """Whether `made` can give the value with its axes split."""
        if all(len(each) == 1 for each in groups):
            return True
        node = value.producer()
        source = node.inputs[0] if node is not None else None
        if node is None or source is None or base.class_of(node) is None:
            return False
        if node.op_type in RESHAPES:
            return _joined(symbols(source), _flat(groups)) is not None
        inputs = self._inputs(node, value, groups)
        return inputs is not None and all(self.can(v, each) for v, each in inputs if each is not None)

    def made(self, value: ir.Value, groups: Groups) -> ir.Value:
        """The value with its axes split."""
        if all(len(each) == 1 for each in groups):
            return value
        key = (id(value), groups)
        if key not in self.known:
            self.known[key] = self._made(value, groups)
        return self.known[key]

    def _made(self, value: ir.Value, groups: Groups) -> ir.Value:
        node = value.producer()
        if node is None or node.inputs[0] is None:
            raise LookupError(f"{value.name!r} cannot be split")
        if node.op_type in RESHAPES:
            source = node.inputs[0]
            target = _joined(symbols(source), _flat(groups))
            op: base.Op = Reshape(target=target or ())
            return source if target == () else self._written(op, [source], node)
        inputs = [v if each is None else self.made(v, each) for v, each in self._inputs(node, value, groups) or ()]
        return self._written(self._op(node, groups), inputs, node)

    def _written(self, op: base.Op, inputs: list[ir.Value], like: ir.Node) -> ir.Value:
        if isinstance(op, Linear) and like.op_type == "Gemm" and not base.of(like).transB:  # type: ignore[attr-defined]
            inputs[1] = self.g.transposed(inputs[1], (1, 0))
        role = like.metadata_props.get(ROLE, "")
        return self.g.insert(op, inputs, place_of(like), role, facts_of(like), before=self.node)

    def _op(self, node: ir.Node, groups: Groups) -> base.Op:
        """The op on the split axes."""
        op = base.of(node)
        starts = [sum(map(len, groups[:i])) for i in range(len(groups))]
        if isinstance(op, Transpose):
            before = [groups[op.perm.index(i)] for i in range(len(groups))]
            first = [sum(map(len, before[:i])) for i in range(len(before))]
            return Transpose(perm=tuple(first[p] + k for p in op.perm for k in range(len(before[p]))))
        if isinstance(op, Gemm):
            return Linear()
        if isinstance(op, (Softmax, LogSoftmax)):
            return replace(op, axis=starts[op.axis])
        if isinstance(op, (LayerNorm, RMSNorm)):
            return replace(op, axes=tuple(starts[a] for a in op.axes))
        return op

    def _inputs(self, node: ir.Node, value: ir.Value, groups: Groups) -> list[tuple[ir.Value, Groups | None]] | None:
        """The inputs of a node with the axes that each is to be split into, None for one that stays as it is; None for
        all where the op cannot do without the merged axis."""
        op = base.of(node)
        given = [v for v in node.inputs if v is not None]
        whole = [len(each) == 1 for each in groups]
        if isinstance(op, Transpose):
            return [(given[0], tuple(groups[op.perm.index(i)] for i in range(len(groups))))]
        if isinstance(op, (Softmax, LogSoftmax)):
            return [(given[0], groups)] if whole[op.axis] else None
        if isinstance(op, (LayerNorm, RMSNorm)):
            fits = all(whole[a] for a in op.axes) and _alone(value)
            return [(given[0], groups), *((v, None) for v in given[1:])] if fits else None
        if isinstance(op, (Linear, Gemm, MatMul)) and array(given[1]) is not None and len(dims(given[1])) == 2:
            plain = not isinstance(op, Gemm) or (op.alpha, op.beta, op.transA) == (1.0, 1.0, 0)
            plain = plain and (len(given) < 3 or (array(given[2]) is not None and len(dims(given[2])) == 1))
            if not plain or not whole[-1] or not _alone(value):
                return None
            return [(given[0], (*groups[:-1], symbols(given[0])[-1:])), *((v, None) for v in given[1:])]
        if isinstance(op, MatMul) and len(dims(given[0])) == len(dims(given[1])) == len(groups) and all(whole[-2:]):
            if self.node.op_type != "ReshapeLike":
                return None
            return [(v, (*groups[:-2], *((d,) for d in symbols(v)[-2:]))) for v in given]
        if not base.class_of(node).neutral:  # type: ignore[union-attr]
            return None
        found = [self._operand(v, symbols(value), groups) for v in given]
        return None if any(each is None for each in found) else [each for each in found if each is not None]

    def _operand(
        self, value: ir.Value, shape: tuple[Length, ...], groups: Groups
    ) -> tuple[ir.Value, Groups | None] | None:
        """An input of an element-wise op; None where it does not follow the split."""
        own = symbols(value)
        if array(value) is not None:
            behind = groups[len(groups) - len(own) :]
            return (value, None) if all(d == 1 for d in own) or all(len(each) == 1 for each in behind) else None
        if len(own) != len(shape):
            return None
        made: list[tuple[Length, ...]] = []
        for length, full, each in zip(own, shape, groups, strict=True):
            if length == 1 and full != 1:
                made.append((1,) * len(each))
            elif length == full or (length is None and full is None):
                made.append(each)
            else:
                return None
        return value, tuple(made)


def _alone(value: ir.Value) -> bool:
    """Whether one node reads the value, beside those that read a length off it."""
    readers = [use for use in value.uses() if use.node.op_type != "ReshapeLike" or use.idx == 0]
    return len(readers) == 1 and not value.is_graph_output()


def _flat(groups: Groups) -> tuple[Length, ...]:
    return tuple(length for each in groups for length in each)


def _joined(before: tuple[Length, ...], after: tuple[Length, ...]) -> tuple[int, ...] | None:
    """The target of the one reshape from these lengths to those, () where they are the same; None where Reshape cannot
    say it."""
    if before == after and before.count(None) < 2:
        return ()
    target: list[int] = [
        d if isinstance(d, int) else 0 if before[i : i + 1] == (d,) else -1 for i, d in enumerate(after)
    ]
    return tuple(target) if target.count(-1) < 2 else None
