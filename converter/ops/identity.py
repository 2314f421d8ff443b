"""Layers that give back what they are given: some always, some at inference."""

from __future__ import annotations

from typing import Any, ClassVar

import onnx_ir as ir

from converter.ops import refusals
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
    keras_layer,
    moved,
    torch_operation,
)
from converter.ops.cast import Cast, Where
from converter.ops.compare import Equal
from converter.ops.records import Infix, Layer, Method, Module, Record
from converter.ops.reduce import ReduceMin


class Identity(Op):
    """y = x."""

    neutral: ClassVar[bool] = True
    nonnegative: ClassVar[str] = "kept"
    keeps_ids: ClassVar[bool] = True

    def torch(self, n: View) -> Record:
        return Module("nn.Identity", inputs=(n.x(),)) if n.own else n.x()

    def keras(self, n: View) -> Record:
        return Layer("Identity", inputs=(n.x(),))

    @keras_layer("Identity")
    @staticmethod
    def layer(g: Capture, layer: Any, *xs: Any) -> Any:
        if any(not isinstance(x, ir.Value) for x in xs):
            raise Refusal("it is called on a nested structure.", "Call it on each tensor.")
        return [g.op(Identity(), x) for x in xs] if len(xs) > 1 else g.op(Identity(), xs[0])

    @keras_layer("ActivityRegularization")
    @staticmethod
    def regularization(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        g.note(f"it adds to the loss while training only (l1={layer.l1!r}, l2={layer.l2!r}), and is left out.")
        return x

    @torch_operation(
        "contiguous.default", "clone.default", "detach.default", "alias.default", "lift_fresh_copy.default"
    )
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, *given: Any) -> ir.Value:
        return x


class Masking(Function):
    """Zero where every element along `axis` equals `value`, x elsewhere."""

    value: float = 0.0
    axis: int = -1

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        return Masking(value=self.value, axis=moved(self.axis, perm)), perm

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        x = inputs[0]
        equal = g.op(Cast(to=int(ir.DataType.INT32)), g.op(Equal(), x, g.constant(self.value, like=x)))
        every = g.op(Cast(to=int(ir.DataType.BOOL)), g.op(ReduceMin(axes=(self.axis,)), equal))
        return g.op(Where(), every, g.constant(0.0, like=x), x)

    def torch(self, n: View) -> Record:
        masked = Method(Infix("==", n.x(), self.value), "all", (), {"dim": self.axis, "keepdim": True})
        return Method(n.x(), "masked_fill", (masked, 0.0))

    @keras_layer("Masking", vet=refusals.one_mask_value)
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        if isinstance(layer.mask_value, (int, float)):
            return g.op(Masking(value=float(layer.mask_value)), x)
        value = g.array(layer.mask_value)
        return g.op(Masking(value=float(value.item())), x)
