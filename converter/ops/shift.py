"""Bits moved up and down."""

from __future__ import annotations

from typing import Any, ClassVar

import onnx_ir as ir

from converter.ops.base import Builder, Capture, Function, Op, Refusal, TorchCapture, keras_operation, torch_operation
from converter.ops.cast import all_in, cast, promotion
from converter.ops.division import Mod
from converter.ops.elementwise import Div, Mul, Pow, Sub
from converter.ops.logic import Pair, kind_of


class LeftShift(Pair, Function):
    """The bits of a, b places further up: a 2^b. ONNX's BitShift takes unsigned integers alone."""

    function: ClassVar[str] = "bitwise_left_shift"

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        return g.op(Mul(), inputs[0], g.op(Pow(), g.constant(2, like=inputs[0]), inputs[1]))

    @torch_operation("bitwise_left_shift.Tensor", "bitwise_left_shift.Tensor_Scalar", "__lshift__.Tensor")
    @torch_operation("__lshift__.Scalar", "bitwise_left_shift.Scalar_Tensor")
    @staticmethod
    def aten(g: TorchCapture, x: Any, other: Any) -> ir.Value:
        return _shifted(g, LeftShift(), x, other)

    @keras_operation("BitwiseLeftShift", "LeftShift")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        kind_of(x1, x2)
        return g.op(LeftShift(), x1, x2)


class RightShift(Pair, Function):
    """The bits of a, b places further down, the sign kept: a / 2^b, rounded down."""

    function: ClassVar[str] = "bitwise_right_shift"

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        power = g.op(Pow(), g.constant(2, like=inputs[0]), inputs[1])
        return g.op(Div(), g.op(Sub(), inputs[0], g.op(Mod(), inputs[0], power)), power)

    @torch_operation("bitwise_right_shift.Tensor", "bitwise_right_shift.Tensor_Scalar", "__rshift__.Tensor")
    @torch_operation("__rshift__.Scalar", "bitwise_right_shift.Scalar_Tensor")
    @staticmethod
    def aten(g: TorchCapture, x: Any, other: Any) -> ir.Value:
        return _shifted(g, RightShift(), x, other)

    @keras_operation("BitwiseRightShift", "RightShift")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        kind_of(x1, x2)
        return g.op(RightShift(), x1, x2)


def _shifted(g: TorchCapture, op: Op, *xs: Any) -> ir.Value:
    """Of narrow integers in int32, for ONNX has no powers of them."""
    kind = promotion(xs)
    if kind == ir.DataType.BOOL or kind.is_floating_point():
        raise Refusal(f"it shifts the bits of {kind} numbers.", "Cast them to integers before.")
    wide = kind if kind in (ir.DataType.INT32, ir.DataType.INT64) else ir.DataType.INT32
    return cast(g, g.op(op, *all_in(g, wide, *xs)), kind)
