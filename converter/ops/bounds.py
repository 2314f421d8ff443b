"""Numbers kept between bounds, and numbers in the place of those that are none."""

from __future__ import annotations

from typing import Any, ClassVar

import onnx_ir as ir

from converter.ops.activations import Clip, Relu
from converter.ops.base import (
    Builder,
    Capture,
    Function,
    Op,
    Refusal,
    TorchCapture,
    View,
    keras_operation,
    torch_operation,
)
from converter.ops.cast import Where, all_in, cast, promotion
from converter.ops.compare import IsInf, IsNaN
from converter.ops.elementwise import Max, Min
from converter.ops.operands import floating, numbers_of
from converter.ops.records import Call, Record


class _Clamped(Op, abstract=True):
    """PyTorch's clamps: the upper bound wins where the bounds cross."""

    @torch_operation("clamp.default", "clip.default")
    @staticmethod
    def numbers(g: TorchCapture, x: ir.Value, low: Any, high: Any) -> ir.Value:
        return _between(g, x, low, high)

    @torch_operation("clamp.Tensor", "clip.Tensor")
    @staticmethod
    def tensors(g: TorchCapture, x: ir.Value, low: Any, high: Any) -> ir.Value:
        return _between(g, x, low, high)

    @torch_operation("clamp_min.default", "clamp_min.Tensor")
    @staticmethod
    def below(g: TorchCapture, x: ir.Value, low: Any) -> ir.Value:
        return _between(g, x, low, None)

    @torch_operation("clamp_max.default", "clamp_max.Tensor")
    @staticmethod
    def above(g: TorchCapture, x: ir.Value, high: Any) -> ir.Value:
        return _between(g, x, None, high)


def _between(g: TorchCapture, x: ir.Value, low: Any, high: Any) -> ir.Value:
    to = promotion([b for b in (x, low, high) if b is not None])
    x = numbers_of([cast(g, x, to)])[0]
    if floating(x) and not any(isinstance(b, ir.Value) for b in (low, high)):
        low, high = (None if b is None else float(b) for b in (low, high))
        return g.op(Relu() if (low, high) == (0.0, None) else Clip(min=low, max=high), x)
    for op, bound in ((Max(), low), (Min(), high)):
        if bound is not None:
            x = g.op(op, x, *all_in(g, to, bound))
    return x


class NanToNum(Function):
    """x with `nan`, `posinf` and `neginf` in the place of what is no finite number; None: the largest floats."""

    nan: float = 0.0
    posinf: float | None = None
    neginf: float | None = None

    neutral: ClassVar[bool] = True

    def torch(self, n: View) -> Record:
        return Call("torch.nan_to_num", (n.x(),), self._settings())

    def keras(self, n: View) -> Record:
        return Call("ops.nan_to_num", (n.x(),), self._settings())

    def _settings(self) -> dict[str, float]:
        found = {"nan": self.nan or None, "posinf": self.posinf, "neginf": self.neginf}
        return {key: value for key, value in found.items() if value is not None}

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        x = inputs[0]
        most = float((x.dtype or ir.DataType.FLOAT).max)
        high = g.constant(most if self.posinf is None else self.posinf, like=x)
        low = g.constant(-most if self.neginf is None else self.neginf, like=x)
        made = g.op(Where(), g.op(IsNaN(), x), g.constant(self.nan, like=x), x)
        made = g.op(Where(), g.op(IsInf(detect_negative=0), x), high, made)
        return g.op(Where(), g.op(IsInf(detect_positive=0), x), low, made)

    @torch_operation("nan_to_num.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, nan: float | None, posinf: float | None, neginf: float | None) -> ir.Value:
        return g.op(NanToNum(nan=nan or 0.0, posinf=posinf, neginf=neginf), x) if floating(x) else x

    @keras_operation("NanToNum")
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        given = (operation.nan, operation.posinf, operation.neginf)
        if not floating(x) or any(not (b is None or isinstance(b, (int, float))) for b in given):
            raise Refusal(f"it puts {given} in the place of {x.dtype} numbers.", "Use numbers, in floats.")
        nan, high, low = (None if b is None else float(b) for b in given)
        return g.op(NanToNum(nan=nan or 0.0, posinf=high, neginf=low), x)
