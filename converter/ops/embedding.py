"""Embedding: rows of a table, looked up by number."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from converter.ops.base import Capture, Dims, Op, View, keras_layer
from converter.ops.cast import Cast
from converter.ops.records import Layer, Module, Record

INTEGERS = (ir.DataType.INT32, ir.DataType.INT64)


class Gather(Op):
    """The entries of a table (rows, ...) that the ids name: ids of any shape -> (ids..., ...)."""

    axis: int = 0

    def shape(self, *shapes: Dims) -> Dims:
        table, ids = shapes
        return (*table[: self.axis], *ids, *table[self.axis + 1 :])

    def vocabulary(self, shapes: tuple[Dims, ...], index: int) -> int | None:
        return shapes[0][self.axis] if index == 1 else None

    def torch(self, n: View) -> Record:
        return Module("nn.Embedding", n.shape(0), {}, {"weight": n.value(0)}, inputs=(n.x(1),))

    def keras(self, n: View) -> Record:
        rows, width = n.shape(0)
        settings = {"input_dim": rows, "output_dim": width}
        return Layer("Embedding", settings, {"embeddings": (n.value(0), None)}, inputs=(n.x(1),))

    @keras_layer("Embedding")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        ids = x if x.dtype in INTEGERS else g.op(Cast(to=int(ir.DataType.INT32)), x)
        return g.op(Gather(), g.variable(layer.embeddings), ids)
