"""Sums and products of all elements up to each one."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from converter.ops.base import (
    Builder,
    Capture,
    Dims,
    Function,
    Op,
    Perm,
    Refusal,
    TorchCapture,
    View,
    keras_operation,
    moved,
    operand,
    torch_operation,
)
from converter.ops.cast import Where
from converter.ops.compare import GreaterOrEqual
from converter.ops.operands import floating
from converter.ops.records import Call, Infix, Method, Record
from converter.ops.reduce import ReduceProd, summable
from converter.ops.shape import Unsqueeze
from converter.ops.sizes import counted, size


class CumSum(Op):
    """The sum of all elements up to each one along `axis`; without it (`exclusive`), from the end (`reverse`)."""

    exclusive: int = 0
    reverse: int = 0
    axis: int = operand(1)

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        return CumSum(axis=moved(self.axis, perm), exclusive=self.exclusive, reverse=self.reverse), perm

    def torch(self, n: View) -> Record:
        x: Record = Method(n.x(), "flip", (self.axis,)) if self.reverse else n.x()
        made: Record = Method(x, "cumsum", (self.axis,))
        made = Method(made, "flip", (self.axis,)) if self.reverse else made
        return Infix("-", made, n.x()) if self.exclusive else made

    def keras(self, n: View) -> Record:
        axis = {"axis": self.axis}
        x: Record = Call("ops.flip", (n.x(),), axis) if self.reverse else n.x()
        made: Record = Call("ops.cumsum", (x,), axis)
        made = Call("ops.flip", (made,), axis) if self.reverse else made
        return Infix("-", made, n.x()) if self.exclusive else made

    @torch_operation("cumsum.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, dim: int, dtype: Any) -> ir.Value:
        x = summable(g, x, dtype)
        rank = len(g.shape(x))
        return g.op(CumSum(axis=dim % rank), x) if rank else x

    @keras_operation("Cumsum")
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return g.op(CumSum(axis=_axis(g, operation, x)), x)


class CumProd(Function):
    """The product of the elements up to each one along `axis`."""

    axis: int

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        return CumProd(axis=moved(self.axis, perm)), perm

    def torch(self, n: View) -> Record:
        return Method(n.x(), "cumprod", (self.axis,))

    def keras(self, n: View) -> Record:
        return Call("ops.cumprod", (n.x(),), {"axis": self.axis})

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        """For each element the product over all, with 1 in the place of those behind it."""
        x, axis = inputs[0], self.axis
        places = counted(g, 0, size(g, x, axis))
        behind = tuple(range(2, 2 + len(g.shape(x)) - 1 - axis))
        kept = g.op(GreaterOrEqual(), g.op(Unsqueeze(axes=(1,)), places), g.op(Unsqueeze(axes=(0,)), places))
        kept = g.op(Unsqueeze(axes=behind), kept) if behind else kept
        each = g.op(Unsqueeze(axes=(axis,)), x)
        return g.op(ReduceProd(axes=(axis + 1,), keepdims=0), g.op(Where(), kept, each, g.constant(1, like=x)))

    @torch_operation("cumprod.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, dim: int, dtype: Any) -> ir.Value:
        x = summable(g, x, dtype)
        rank = len(g.shape(x))
        return g.op(CumProd(axis=dim % rank), x) if rank else x

    @keras_operation("Cumprod")
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return g.op(CumProd(axis=_axis(g, operation, x)), x)


def _axis(g: Capture, operation: Any, x: ir.Value) -> int:
    rank = len(g.shape(x))
    if operation.axis is None or int(operation.axis) % rank == 0:
        raise Refusal(f"axis={operation.axis} goes through the batch.", "Name an axis behind it.")
    if operation.dtype is not None or not floating(x):
        raise Refusal(
            f"of {x.dtype} numbers, with dtype={operation.dtype}, it has no mapping.", "Cast to floats before."
        )
    return int(operation.axis) % rank
