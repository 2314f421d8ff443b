"""Ops that take some of the elements, or take them several times."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from converter.ops import refusals
from converter.ops.base import (
    Capture,
    Dims,
    Op,
    Perm,
    View,
    broadcast,
    keras_layer,
    keras_operation,
    moved,
    operand,
)
from converter.ops.records import Call, Index, Method, Record
from converter.ops.shape import Unsqueeze

END = 2**31 - 1
"""A bound beyond every length: up to the end."""


class Expand(Op):
    """Broadcast to `to`, where 1 keeps the length of that axis."""

    to: tuple[int, ...] = operand(1)

    def shape(self, *shapes: Dims) -> Dims:
        return broadcast(shapes[0], self.to)

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        return (Expand(to=tuple(self.to[p] for p in perm)), perm) if len(self.to) == len(perm) else None

    def torch(self, n: View) -> Record:
        return Method(n.x(), "expand", tuple(-1 if d == 1 else d for d in self.to))

    def keras(self, n: View) -> Record:
        shape = n.shape()
        if len(shape) > len(self.to) or any(d == 0 for d in self.to):
            raise LookupError(f"it expands {shape} to {self.to}")
        fresh = len(self.to) - len(shape)
        x: Record = Index(n.x(), (*(None,) * fresh, Ellipsis)) if fresh else n.x()
        times = tuple(d if have == 1 else 1 for d, have in zip(self.to, (*(1,) * fresh, *shape), strict=True))
        return Call("ops.tile", (x, times))

    @keras_layer("RepeatVector")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        return g.op(Expand(to=(1, int(layer.n), 1)), g.op(Unsqueeze(axes=(1,)), x))


class Squeeze(Op):
    """Without these axes, which are of length 1."""

    axes: tuple[int, ...] = operand(1)

    def shape(self, *shapes: Dims) -> Dims:
        return tuple(d for i, d in enumerate(shapes[0]) if i not in self.axes)

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        gone = tuple(sorted(moved(a, perm) for a in self.axes))
        kept = [i for i in range(len(perm)) if i not in self.axes]
        return Squeeze(axes=gone), tuple(kept.index(p) for p in perm if p not in self.axes)

    def torch(self, n: View) -> Record:
        return Method(n.x(), "squeeze", (self.axes[0] if len(self.axes) == 1 else self.axes,))

    def keras(self, n: View) -> Record:
        return Call("ops.squeeze", (n.x(), self.axes[0] if len(self.axes) == 1 else self.axes))

    @keras_operation("Squeeze", vet=refusals.named_axes)
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        axes = operation.axis if isinstance(operation.axis, (tuple, list)) else (operation.axis,)
        rank = len(g.shape(x))
        return g.op(Squeeze(axes=tuple(sorted({int(a) % rank for a in axes}))), x)

    @keras_operation("ExpandDims")
    @staticmethod
    def expanded(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        axes = operation.axis if isinstance(operation.axis, (tuple, list)) else (operation.axis,)
        rank = len(g.shape(x)) + len(axes)
        return g.op(Unsqueeze(axes=tuple(sorted(int(a) % rank for a in axes))), x)


class Slice(Op):
    """Along each of `axes`: every step-th element from start up to, and without, end. Steps are positive."""

    starts: tuple[int, ...] = operand(1)
    ends: tuple[int, ...] = operand(2)
    axes: tuple[int, ...] = operand(3)
    steps: tuple[int, ...] = operand(4)

    def shape(self, *shapes: Dims) -> Dims:
        made = list(shapes[0])
        for start, end, axis, step in zip(self.starts, self.ends, self.axes, self.steps, strict=True):
            made[axis] = _length(made[axis], start, end, step)
        return tuple(made)

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        axes = tuple(moved(a, perm) for a in self.axes)
        return Slice(starts=self.starts, ends=self.ends, axes=axes, steps=self.steps), perm

    def torch(self, n: View) -> Record:
        return self.cut(n)

    def keras(self, n: View) -> Record:
        return self.cut(n)

    def cut(self, n: View) -> Record:
        """`x[:, 1:3]`."""
        items: list[Any] = [slice(None)] * (max(self.axes) + 1)
        for start, end, axis, step in zip(self.starts, self.ends, self.axes, self.steps, strict=True):
            items[axis] = slice(start or None, None if end == END else end, None if step == 1 else step)
        return Index(n.x(), tuple(items))

    @keras_operation("GetItem", vet=refusals.plain_subscription)
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value, key: Any) -> ir.Value:
        cuts, gone, fresh = _decoded(key, g.shape(x))
        if cuts:
            starts, ends, axes, steps = (tuple(c[i] for c in cuts) for i in range(4))
            x = g.op(Slice(starts=starts, ends=ends, axes=axes, steps=steps), x)
        if gone:
            x = g.op(Squeeze(axes=gone), x)
        return g.op(Unsqueeze(axes=fresh), x) if fresh else x


def _length(length: int | None, start: int, end: int, step: int) -> int | None:
    return None if length is None else len(range(*slice(start, end, step).indices(length)))


Cut = tuple[int, int, int, int]


def _decoded(key: Any, shape: Dims) -> tuple[list[Cut], tuple[int, ...], tuple[int, ...]]:
    """A subscription as (start, end, axis, step) cuts, the axes that an integer takes away, and the new axes."""
    given = list(key) if isinstance(key, (tuple, list)) else [key]
    if Ellipsis not in given:
        given.append(Ellipsis)
    middle = given.index(Ellipsis)
    named = sum(k is not None and k is not Ellipsis for k in given)
    given[middle : middle + 1] = [slice(None)] * (len(shape) - named)
    cuts: list[Cut] = []
    gone: list[int] = []
    fresh: list[int] = []
    axis = place = 0
    for item in given:
        if item is None:
            fresh.append(place)
            place += 1
            continue
        if isinstance(item, slice):
            if item != slice(None):
                start, end = item.start or 0, END if item.stop is None else item.stop
                cuts.append((start, end, axis, item.step or 1))
            place += 1
        else:
            cuts.append((item, END if item == -1 else item + 1, axis, 1))
            gone.append(axis)
        axis += 1
    return cuts, tuple(gone), tuple(fresh)
