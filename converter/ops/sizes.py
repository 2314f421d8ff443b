"""Arithmetic on lengths that are known at run time only, for the bodies of functions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from converter.ops.base import Builder, Op, Type
from converter.ops.elementwise import Add, Div, Max, Min, Mul, Sub
from converter.ops.embedding import Gather
from converter.ops.indexing import Squeeze
from converter.ops.shape import Concat


class Shape(Op):
    """The lengths of the axes from `start` up to, and without, `end`, as integers."""

    end: int | None = None
    start: int = 0


class Range(Op):
    """start, start + delta, ... up to, and without, limit; the inputs are three scalars."""


class _Reshape(Op, abstract=True):
    """ONNX's Reshape with a computed shape, for bodies; as an op of its own it has a fixed one (ops/shape.py)."""

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        x, lengths = types
        if x is None or lengths is None or not isinstance(lengths.shape[0], int):
            raise ValueError("a computed shape has a known number of lengths")
        return (Type((None,) * lengths.shape[0], x.dtype),)


_Reshape.__name__ = "Reshape"


def shaped(g: Builder, x: ir.Value, lengths: Sequence[tuple[ir.Value, int] | int]) -> ir.Value:
    """`x` with axes of these lengths: numbers, one -1 for what is left, or (tensor, axis) for its length there."""
    parts = [
        g.constant(np.asarray([each], np.int64))
        if isinstance(each, int)
        else g.op(Shape(start=each[1], end=each[1] + 1), each[0])
        for each in lengths
    ]
    return g.op(_Reshape(), x, g.op(Concat(axis=0), *parts))


def size(g: Builder, x: ir.Value, axis: int) -> ir.Value:
    """The length of one axis, a scalar."""
    return g.op(Squeeze(axes=(0,)), g.op(Shape(start=axis, end=axis + 1), x))


def integer(g: Builder, n: int) -> ir.Value:
    """A scalar."""
    return g.constant(np.asarray(n, np.int64))


def plus(g: Builder, a: ir.Value, b: ir.Value | int) -> ir.Value:
    """a + b."""
    return g.op(Add(), a, integer(g, b) if isinstance(b, int) else b)


def minus(g: Builder, a: ir.Value, b: ir.Value | int) -> ir.Value:
    """a - b."""
    return g.op(Sub(), a, integer(g, b) if isinstance(b, int) else b)


def times(g: Builder, a: ir.Value, b: ir.Value | int) -> ir.Value:
    """a * b."""
    return g.op(Mul(), a, integer(g, b) if isinstance(b, int) else b)


def over(g: Builder, a: ir.Value, b: ir.Value | int) -> ir.Value:
    """a // b, for a that is not negative."""
    return g.op(Div(), a, integer(g, b) if isinstance(b, int) else b)


def most(g: Builder, a: ir.Value, b: ir.Value | int) -> ir.Value:
    """The larger one."""
    return g.op(Max(), a, integer(g, b) if isinstance(b, int) else b)


def least(g: Builder, a: ir.Value, b: ir.Value | int) -> ir.Value:
    """The smaller one."""
    return g.op(Min(), a, integer(g, b) if isinstance(b, int) else b)


def counted(g: Builder, start: ir.Value | int, limit: ir.Value | int) -> ir.Value:
    """The integers from start up to, and without, limit."""
    bounds = [integer(g, b) if isinstance(b, int) else b for b in (start, limit, 1)]
    return g.op(Range(), *bounds)


def window(g: Builder, x: ir.Value, axis: int, start: ir.Value, length: ir.Value | int) -> ir.Value:
    """The elements start up to start + length along one axis."""
    return g.op(Gather(axis=axis), x, counted(g, start, plus(g, start, length)))
