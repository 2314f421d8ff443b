"""Gather: rows of a table looked up by number (Embedding), and entries of any axis taken by number."""

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
    keras_layer,
    moved,
    operand,
    torch_operation,
)
from converter.ops.cast import Cast
from converter.ops.records import Call, Index, Layer, Module, Record

INTEGERS = (ir.DataType.INT32, ir.DataType.INT64)


class Gather(Op):
    """The entries of a table (rows, ...) that the ids name: ids of any shape -> (ids..., ...).

    `indices` are ids that are constants: one number, which takes its axis away, or a list.
    """

    axis: int = 0
    indices: Any = operand(1, default=None, computed=True)

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        rank = np.ndim(self.indices)
        if self.indices is None or rank > 1:
            return None
        axis, more = self.axis % len(perm), rank - 1
        order: list[int] = []
        for p in perm:
            order += range(axis, axis + rank) if p == axis else [p if p < axis else p + more]
        return Gather(axis=moved(axis, perm), indices=self.indices), tuple(order)

    def vocabulary(self, shapes: tuple[Dims, ...], index: int) -> int | None:
        return shapes[0][self.axis] if index == 1 else None

    def embeds(self, n: View) -> bool:
        """Whether it is the layer: rows of a weight by computed ids, of which none is negative."""
        return n.own and self.axis == 0 and len(n.shape(0)) == 2 and n.array(0) is not None and n.array(1) is None

    def taken(self, n: View) -> Index:
        """x[:, ids], which both targets say."""
        ids: Any = n.x(1) if self.indices is None or np.ndim(self.indices) else int(self.indices)
        return Index(n.x(0), (*[slice(None)] * (self.axis % len(n.shape(0))), ids))

    def torch(self, n: View) -> Record:
        if self.embeds(n):
            return Module("nn.Embedding", n.shape(0), {}, {"weight": n.value(0)}, inputs=(n.x(1),))
        return self.taken(n)

    def keras(self, n: View) -> Record:
        if self.embeds(n):
            rows, width = n.shape(0)
            settings = {"input_dim": rows, "output_dim": width}
            return Layer("Embedding", settings, {"embeddings": (n.value(0), None)}, inputs=(n.x(1),))
        if self.indices is not None and not np.ndim(self.indices):
            return self.taken(n)
        return Call("ops.take", (n.x(0), n.x(1)), {"axis": self.axis})

    @keras_layer("Embedding")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        ids = x if x.dtype in INTEGERS else g.op(Cast(to=int(ir.DataType.INT32)), x)
        table = g.variable(layer.embeddings)
        if g.shape(table)[0] == 1 and not g.shape(ids):  # the one row of a table: a parameter that belongs to no layer
            return g.reshaped(table, (g.shape(table)[1] or 0,))
        return g.op(Gather(), table, ids)

    @torch_operation("embedding.default")
    @staticmethod
    def aten(g: TorchCapture, weight: ir.Value, ids: ir.Value, padding: int, scaled: bool, sparse: bool) -> ir.Value:
        if padding >= 0:
            g.note(f"padding_idx={padding}: row {padding} does not train in the source, and trains here.")
        if scaled:
            g.note("scale_grad_by_freq counts while training only, and is left out.")
        return g.op(Gather(), weight, ids)

    @torch_operation("index_select.default")
    @staticmethod
    def select(g: TorchCapture, x: ir.Value, dim: int, ids: ir.Value) -> ir.Value:
        return g.op(Gather(axis=axis_of(g, x, dim)), x, ids)

    @torch_operation("select.int")
    @staticmethod
    def one(g: TorchCapture, x: ir.Value, dim: int, index: Any) -> ir.Value:
        if not isinstance(index, int):
            raise Refusal("it takes the element at a place that is known at run time only.", "Use index_select.")
        axis = axis_of(g, x, dim)
        length = g.shape(x)[axis]
        return g.op(Gather(axis=axis, indices=index if length is None else index % length), x)


def axis_of(g: TorchCapture, x: ir.Value, dim: int) -> int:
    """PyTorch's dim, counted from the first."""
    rank = len(g.shape(x))
    if not rank:
        raise Refusal("it takes elements along an axis of a single number, which has none.")
    return dim % rank
