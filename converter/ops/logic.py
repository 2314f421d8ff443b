"""Truth values out of truth values."""

from __future__ import annotations

from typing import Any, ClassVar

import onnx_ir as ir

from converter.ops.base import Capture, Dims, Op, View, broadcast, keras_operation
from converter.ops.cast import Cast
from converter.ops.records import Call, Infix, Record


class Or(Op):
    """y = a or b, with numpy's broadcasting."""

    neutral: ClassVar[bool] = True

    def shape(self, *shapes: Dims) -> Dims:
        return broadcast(*shapes)

    def torch(self, n: View) -> Record:
        return Infix("|", n.x(0), n.x(1))

    def keras(self, n: View) -> Record:
        return Call("ops.logical_or", (n.x(0), n.x(1)))

    @keras_operation("LogicalOr")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        return g.op(Or(), *(truth(g, x) for x in (x1, x2)))


def truth(g: Capture, x: Any) -> ir.Value:
    """A value, or an array, as truth values: whether it is not zero."""
    value = x if isinstance(x, ir.Value) else g.constant(g.array(x).astype(bool))
    return value if value.dtype == ir.DataType.BOOL else g.op(Cast(to=int(ir.DataType.BOOL)), value)
