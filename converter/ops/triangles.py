"""Triangles and diagonals of matrices, and the matrix with ones on its diagonal."""

from __future__ import annotations

import string
from typing import Any

import numpy as np
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
    Type,
    View,
    keras_operation,
    moved,
    operand,
    there,
    torch_operation,
)
from converter.ops.cast import Cast, dtype_of
from converter.ops.dot import Einsum
from converter.ops.indexing import Slice
from converter.ops.records import Call, Method, Record


class Trilu(Op):
    """The upper (or lower) triangle of the matrices in the last two axes, with `k` diagonals less, and zeros."""

    upper: int = 1
    k: int | None = operand(1, default=None)

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        """Matrices that are transposed have their triangles swapped; other moves take them apart."""
        last = tuple(perm[-2:])
        if last == (len(perm) - 2, len(perm) - 1):
            return self, perm
        if last == (len(perm) - 1, len(perm) - 2):
            return Trilu(upper=1 - self.upper, k=-(self.k or 0)), perm
        return None

    def torch(self, n: View) -> Record:
        return Call(f"torch.{self._name()}", (n.x(), *self._shift()))

    def keras(self, n: View) -> Record:
        return Call(f"ops.{self._name()}", (n.x(), *self._shift()))

    def _name(self) -> str:
        return "triu" if self.upper else "tril"

    def _shift(self) -> tuple[int, ...]:
        return (self.k,) if self.k else ()

    @torch_operation("triu.default")
    @staticmethod
    def above(g: TorchCapture, x: ir.Value, diagonal: int) -> ir.Value:
        return g.op(Trilu(upper=1, k=diagonal or None), x)

    @torch_operation("tril.default")
    @staticmethod
    def below(g: TorchCapture, x: ir.Value, diagonal: int) -> ir.Value:
        return g.op(Trilu(upper=0, k=diagonal or None), x)

    @keras_operation("Triu")
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return g.op(Trilu(upper=1, k=int(operation.k) or None), x)

    @keras_operation("Tril")
    @staticmethod
    def operation_below(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        return g.op(Trilu(upper=0, k=int(operation.k) or None), x)

    @torch_operation("eye.default")
    @staticmethod
    def square(g: TorchCapture, n: Any, dtype: Any, *memory: Any) -> ir.Value:
        return _eye(g, n, n, dtype)

    @torch_operation("eye.m")
    @staticmethod
    def oblong(g: TorchCapture, n: Any, m: Any, dtype: Any, *memory: Any) -> ir.Value:
        return _eye(g, n, m, dtype)


class Diagonal(Function):
    """The diagonal of the matrices in two axes, which go; it is the last axis. `offset` counts to the right."""

    offset: int = 0
    first: int
    second: int

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        (x,) = there(types)
        rest = tuple(d for i, d in enumerate(x.shape) if i not in (self.first, self.second))
        return (Type((*rest, self._length(x.shape)), x.dtype),)

    def _length(self, shape: Dims) -> int | None:
        rows, columns = shape[self.first], shape[self.second]
        if not isinstance(rows, int) or not isinstance(columns, int):
            return None
        return max(0, min(rows + min(self.offset, 0), columns - max(self.offset, 0)))

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        rest = [a for a in range(len(perm)) if a not in (self.first, self.second)]
        made = Diagonal(offset=self.offset, first=moved(self.first, perm), second=moved(self.second, perm))
        return made, (*(rest.index(p) for p in perm if p in rest), len(rest))

    def torch(self, n: View) -> Record:
        return Method(n.x(), "diagonal", (self.offset, self.first, self.second))

    def keras(self, n: View) -> Record:
        return Call("ops.diagonal", (n.x(), self.offset, self.first, self.second))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        """A square is cut out, whose diagonal is the main one."""
        shape = g.shape(inputs[0])
        length = self._length(shape) or 0
        starts = (max(-self.offset, 0), max(self.offset, 0))
        ends = tuple(start + length for start in starts)
        square = g.op(Slice(starts=starts, ends=ends, axes=(self.first, self.second), steps=(1, 1)), inputs[0])
        letters = list(string.ascii_lowercase[: len(shape)])
        letters[self.first] = letters[self.second] = "z"
        rest = "".join(c for c in letters if c != "z")
        op = Einsum(equation=f"{''.join(letters)}->{rest}z")
        kind = square.dtype
        if kind not in (ir.DataType.BOOL, ir.DataType.BFLOAT16):  # of which ONNX has no products
            return g.op(op, square)
        wide = ir.DataType.INT32 if kind == ir.DataType.BOOL else ir.DataType.FLOAT
        return g.op(Cast(to=int(kind)), g.op(op, g.op(Cast(to=int(wide)), square)))

    @torch_operation("diagonal.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, offset: int, dim1: int, dim2: int) -> ir.Value:
        rank = len(g.shape(x))
        op = Diagonal(offset=offset, first=dim1 % rank, second=dim2 % rank)
        if op._length(g.shape(x)) is None:
            raise Refusal("it takes the diagonal of an axis of unknown length.", "Export it with fixed sizes.")
        return g.op(op, x)


def _eye(g: TorchCapture, n: Any, m: Any, dtype: Any) -> ir.Value:
    if not isinstance(n, int) or not isinstance(m, int):
        raise Refusal("its size is known at run time only.", "Export it with fixed sizes.")
    kind = dtype_of(dtype) or ir.DataType.FLOAT
    return g.constant(np.eye(n, m, dtype=kind.numpy()))
