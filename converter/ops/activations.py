"""Activations: one element in, one element out (softmax: one axis in, one axis out)."""

from __future__ import annotations

from typing import Any, ClassVar

import onnx_ir as ir

from converter.ops.base import (
    Capture,
    Dims,
    Op,
    Perm,
    View,
    keras_activation,
    keras_layer,
    moved,
)
from converter.ops.records import Call, Layer, Module, Record


class Activation(Op, abstract=True):
    """An element-wise function that torch has as a module and as a function, and Keras as a named activation."""

    neutral: ClassVar[bool] = True
    module: ClassVar[str]
    function: ClassVar[str]
    keras_name: ClassVar[str]

    def settings(self) -> dict[str, Any]:
        """The arguments of both torch forms."""
        return {}

    def torch(self, n: View) -> Record:
        if n.own:
            return Module(self.module, kwargs=self.settings(), inputs=(n.x(),))
        return Call(self.function, (n.x(),), self.settings())

    def keras(self, n: View) -> Record:
        return Layer("Activation", {"activation": self.keras_name}, inputs=(n.x(),))

    @keras_layer("Activation")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        return g.activate(layer.activation, x, own=True)


class Relu(Activation):
    """max(x, 0)."""

    module: ClassVar[str] = "nn.ReLU"
    function: ClassVar[str] = "F.relu"
    keras_name: ClassVar[str] = "relu"

    def keras(self, n: View) -> Record:
        return Layer("ReLU", inputs=(n.x(),))

    @keras_activation("relu")
    @staticmethod
    def activation(g: Capture, x: ir.Value) -> ir.Value:
        return g.op(Relu(), x)


class Softmax(Op):
    """exp(x) / sum(exp(x)) along `axis`."""

    axis: int = -1

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        return Softmax(axis=moved(self.axis, perm)), perm

    def torch(self, n: View) -> Record:
        if n.own:
            return Module("nn.Softmax", kwargs={"dim": self.axis}, inputs=(n.x(),))
        return Call("F.softmax", (n.x(),), {"dim": self.axis})

    def keras(self, n: View) -> Record:
        return Layer("Softmax", {"axis": self.axis}, inputs=(n.x(),))

    @keras_activation("softmax")
    @staticmethod
    def activation(g: Capture, x: ir.Value) -> ir.Value:
        return g.op(Softmax(axis=-1), x)
