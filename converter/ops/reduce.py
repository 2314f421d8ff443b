"""Reductions over axes."""

from __future__ import annotations

from typing import Any, ClassVar

from converter.ops.base import Dims, Op, Perm, View, moved, operand
from converter.ops.records import Call, Method, Record


class _Reduce(Op, abstract=True):
    """Each axis in `axes` becomes one element (`keepdims` 1: an axis of length 1, 0: none at all)."""

    keepdims: int = 1
    noop_with_empty_axes: int = 0
    axes: tuple[int, ...] = operand(1)

    method: ClassVar[str]

    def shape(self, *shapes: Dims) -> Dims:
        rank = len(shapes[0])
        gone = {a % rank for a in self.axes}
        kept = [1 if i in gone else d for i, d in enumerate(shapes[0])]
        return tuple(d for i, d in enumerate(kept) if self.keepdims or i not in gone)

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        gone = {a % len(perm) for a in self.axes}
        axes = tuple(sorted(moved(a, perm) for a in self.axes))
        op = type(self)(axes=axes, keepdims=self.keepdims)
        if self.keepdims:
            return op, perm
        left = [a for a in range(len(perm)) if a not in gone]
        return op, tuple(left.index(p) for p in perm if p not in gone)

    def torch(self, n: View) -> Record:
        keep: dict[str, Any] = {"keepdim": True} if self.keepdims else {}
        return Method(n.x(), self.method, (self.axes if len(self.axes) > 1 else self.axes[0],), keep)


class ReduceMean(_Reduce):
    """The mean over the axes."""

    method: ClassVar[str] = "mean"


class ReduceSum(_Reduce):
    """The sum over the axes."""

    method: ClassVar[str] = "sum"


class ReduceMax(_Reduce):
    """The largest element over the axes."""

    method: ClassVar[str] = "amax"


class ReduceMin(_Reduce):
    """The smallest element over the axes."""

    method: ClassVar[str] = "amin"


class ReduceSumSquare(_Reduce):
    """The sum of the squares over the axes."""

    method: ClassVar[str] = "sum"

    def torch(self, n: View) -> Record:
        keep: dict[str, Any] = {"keepdim": True} if self.keepdims else {}
        return Method(Call("torch.square", (n.x(),)), "sum", (self.axes,), keep)
