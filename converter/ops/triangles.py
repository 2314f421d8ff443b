"""Triangles of matrices, and the matrix with ones on its diagonal."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from converter.ops.base import (
    Capture,
    Dims,
    Op,
    Perm,
    Refusal,
    TorchCapture,
    View,
    keras_operation,
    operand,
    torch_operation,
)
from converter.ops.cast import dtype_of
from converter.ops.records import Call, Record


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


def _eye(g: TorchCapture, n: Any, m: Any, dtype: Any) -> ir.Value:
    if not isinstance(n, int) or not isinstance(m, int):
        raise Refusal("its size is known at run time only.", "Export it with fixed sizes.")
    kind = dtype_of(dtype) or ir.DataType.FLOAT
    return g.constant(np.eye(n, m, dtype=kind.numpy()))
