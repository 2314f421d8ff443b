"""Comparisons: truth values out of two numbers, with numpy's broadcasting."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from converter.ops.base import Dims, Op, View, broadcast
from converter.ops.records import Infix, Record


class _Compare(Op, abstract=True):
    """a and b of one dtype -> bool."""

    neutral: ClassVar[bool] = True
    sign: ClassVar[str]

    def shape(self, *shapes: Dims) -> Dims:
        return broadcast(*shapes)

    def dtype(self, *dtypes: ir.DataType) -> ir.DataType:
        return ir.DataType.BOOL

    def torch(self, n: View) -> Record:
        return Infix(self.sign, n.x(0), n.x(1))


class Greater(_Compare):
    """y = a > b."""

    sign: ClassVar[str] = ">"


class GreaterOrEqual(_Compare):
    """y = a >= b."""

    sign: ClassVar[str] = ">="


class Less(_Compare):
    """y = a < b."""

    sign: ClassVar[str] = "<"


class LessOrEqual(_Compare):
    """y = a <= b."""

    sign: ClassVar[str] = "<="


class Equal(_Compare):
    """y = a == b."""

    sign: ClassVar[str] = "=="
