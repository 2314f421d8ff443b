"""Element-wise arithmetic with broadcasting."""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import onnx_ir as ir

from converter.ops.base import Capture, Dims, Op, View, broadcast, keras_layer, keras_operation
from converter.ops.records import Infix, Layer, Record


class _Binary(Op, abstract=True):
    """One of the four operators, with numpy's broadcasting."""

    neutral: ClassVar[bool] = True
    sign: ClassVar[str]
    keras_class: ClassVar[str]

    def shape(self, *shapes: Dims) -> Dims:
        return broadcast(*shapes)

    def torch(self, n: View) -> Record:
        return Infix(self.sign, n.x(0), n.x(1))

    def keras(self, n: View) -> Record:
        return Layer(self.keras_class, inputs=(n.x(0), n.x(1)))


def fold(g: Capture, op: Op, xs: tuple[ir.Value, ...]) -> ir.Value:
    """Two at a time, from the left."""
    return functools.reduce(lambda a, b: g.op(op, a, b), xs)


def operands(g: Capture, *xs: Any) -> list[ir.Value]:
    """Arguments of a keras.ops operation: values as they are, numbers and arrays as constants."""
    like = next(x for x in xs if isinstance(x, ir.Value))
    return [x if isinstance(x, ir.Value) else g.constant(g.array(x), like) for x in xs]


class Add(_Binary):
    """y = a + b."""

    sign: ClassVar[str] = "+"
    keras_class: ClassVar[str] = "Add"

    @keras_layer("Add")
    @staticmethod
    def layer(g: Capture, layer: Any, *xs: ir.Value) -> ir.Value:
        return fold(g, Add(), xs)

    @keras_operation("Add")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        return g.op(Add(), *operands(g, x1, x2))


class Sub(_Binary):
    """y = a - b."""

    sign: ClassVar[str] = "-"
    keras_class: ClassVar[str] = "Subtract"

    @keras_layer("Subtract")
    @staticmethod
    def layer(g: Capture, layer: Any, *xs: ir.Value) -> ir.Value:
        return fold(g, Sub(), xs)

    @keras_operation("Subtract")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        return g.op(Sub(), *operands(g, x1, x2))


class Mul(_Binary):
    """y = a * b."""

    sign: ClassVar[str] = "*"
    keras_class: ClassVar[str] = "Multiply"

    @keras_layer("Multiply")
    @staticmethod
    def layer(g: Capture, layer: Any, *xs: ir.Value) -> ir.Value:
        return fold(g, Mul(), xs)

    @keras_operation("Multiply")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        return g.op(Mul(), *operands(g, x1, x2))


class Div(_Binary):
    """y = a / b."""

    sign: ClassVar[str] = "/"
    keras_class: ClassVar[str] = ""

    @keras_operation("Divide", "TrueDivide")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        return g.op(Div(), *operands(g, x1, x2))
