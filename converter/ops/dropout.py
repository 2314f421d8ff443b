"""What acts in training only."""

from __future__ import annotations

from typing import Any, ClassVar

import onnx_ir as ir

from converter.ops.base import Capture, Op, View, keras_layer, operand
from converter.ops.records import Layer, Module, Record


class Dropout(Op):
    """In training each element is zero with probability `ratio`, the rest is scaled by 1 / (1 - ratio)."""

    seed: int | None = None
    ratio: float = operand(1, 0.5)

    neutral: ClassVar[bool] = True

    def torch(self, n: View) -> Record:
        return Module("nn.Dropout", (), {"p": float(n.training["rate"])}, inputs=(n.x(),))

    def keras(self, n: View) -> Record:
        return Layer("Dropout", {"rate": float(n.training["rate"])}, inputs=(n.x(),))

    @keras_layer("Dropout")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        return g.op(Dropout(ratio=float(layer.rate)), x, rate=repr(float(layer.rate)))
