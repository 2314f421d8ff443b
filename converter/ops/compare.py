"""Comparisons: truth values out of two numbers, with numpy's broadcasting."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from converter.ops.base import Builder, Capture, Function, Op, Refusal, Type, View, broadcast, keras_operation, there
from converter.ops.records import Infix, Record


class _Compare(Op, abstract=True):
    """a and b of one dtype -> bool."""

    neutral: ClassVar[bool] = True
    sign: ClassVar[str]

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


class Not(Op):
    """y = not x."""

    neutral: ClassVar[bool] = True


class NotEqual(Function):
    """y = a != b; Keras makes a mask of it, where an Embedding has mask_zero."""

    neutral: ClassVar[bool] = True

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        a, b = there(types)
        return (Type(broadcast(a.shape, b.shape), ir.DataType.BOOL),)

    def torch(self, n: View) -> Record:
        return Infix("!=", n.x(0), n.x(1))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        return g.op(Not(), g.op(Equal(), *inputs))

    @keras_operation("NotEqual")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        if not isinstance(x1, ir.Value) or isinstance(x2, ir.Value) or np.size(x2) != 1:
            raise Refusal("it compares with something else than one number.")
        return g.op(NotEqual(), x1, g.constant(float(np.asarray(x2).item()), like=x1))
