"""Arithmetic on lengths that are known at run time only, for the bodies of functions."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from converter.ops.base import Builder, Op
from converter.ops.elementwise import Add, Div, Max, Min, Mul, Sub
from converter.ops.embedding import Gather
from converter.ops.indexing import Squeeze


class Shape(Op):
    """The lengths of the axes from `start` up to, and without, `end`, as integers."""

    end: int | None = None
    start: int = 0


class Range(Op):
    """start, start + delta, ... up to, and without, limit; the inputs are three scalars."""


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
