"""Dense layers, a contraction of the last axis with a weight, and products of matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import onnx_ir as ir

from converter.ops.base import (
    Builder,
    Capture,
    Function,
    Op,
    Refusal,
    TorchCapture,
    Type,
    View,
    keras_layer,
    keras_operation,
    there,
    torch_operation,
)
from converter.ops.elementwise import Add, Mul
from converter.ops.operands import alike, floating
from converter.ops.records import Call, Infix, Layer, Method, Module, Record, Ref
from converter.ops.shape import Transpose, Unsqueeze

KERNEL = (1, 0)
"""Keras's Dense kernel is (in, out); torch's and Gemm's (transB=1) weight is (out, in)."""


class _Affine(Op, abstract=True):
    """y = x @ weight.T + bias over the last axis: (..., in) -> (..., out)."""

    absorbs_units: ClassVar[bool] = True

    def unit_axes(self, index: int) -> dict[int, int] | None:
        return {1: 1} if index == 0 else None

    def torch(self, n: View) -> Record:
        units, width = n.shape(1)
        weights = {"weight": n.value(1)} | ({"bias": n.value(2)} if n.has(2) else {})
        args = (width, units)
        return Module("nn.Linear", args, {} if n.has(2) else {"bias": False}, weights, inputs=(n.x(),))

    def keras(self, n: View) -> Record:
        weights: dict[str, Any] = {"kernel": (n.value(1), KERNEL)}
        if n.has(2):
            weights["bias"] = (n.value(2), None)
        if len(n.shape()) < 2:
            raise LookupError("a Dense layer takes (batch, ..., features), and its input has one axis")
        settings = {"units": n.shape(1)[0]} | ({} if n.has(2) else {"use_bias": False})
        return Layer("Dense", settings, weights, inputs=(n.x(),), activates=True)


class Gemm(_Affine):
    """Rank 2 as ONNX has it: (N, in) -> (N, out)."""

    alpha: float = 1.0
    beta: float = 1.0
    transA: int = 0
    transB: int = 0

    reads: ClassVar[frozenset[str]] = frozenset({"C"})

    def units_made(self) -> dict[int, int] | None:
        return None if self.transA else {1: 0 if self.transB else 1, 2: -1}

    def unit_axes(self, index: int) -> dict[int, int] | None:
        return {1: 1 if self.transB else 0} if index == 0 and not self.transA else None

    def dense(self, n: View) -> bool:
        """Whether it is the layer: a weight (units, in), and a bias with a number for each unit or none."""
        bias = n.array(2) is not None and n.shape(2) == n.shape(1)[:1] if n.has(2) else True
        plain = (self.alpha, self.transA, self.transB) == (1.0, 0, 1) and (self.beta == 1.0 or not n.has(2))
        return plain and bias and n.array(1) is not None

    def torch(self, n: View) -> Record:
        return super().torch(n) if self.dense(n) else self.spelled(n, lambda x: Method(x, "t"))

    def keras(self, n: View) -> Record:
        return super().keras(n) if self.dense(n) else self.spelled(n, lambda x: Call("ops.transpose", (x,)))

    def spelled(self, n: View, turned: Callable[[Ref], Record]) -> Record:
        """alpha * a @ b + beta * c."""
        a, b = (turned(n.x(i)) if turn else n.x(i) for i, turn in ((0, self.transA), (1, self.transB)))
        made: Record = Infix("@", a, b)
        if self.alpha != 1.0:
            made = Infix("*", self.alpha, made)
        if not n.has(2) or self.beta == 0.0:
            return made
        return Infix("+", made, n.x(2) if self.beta == 1.0 else Infix("*", self.beta, n.x(2)))

    @keras_layer("Dense")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        if getattr(layer, "quantization_mode", None) is not None:
            raise Refusal(f"quantization_mode={layer.quantization_mode!r} has no mapping.")
        weights = [g.variable(layer.kernel, KERNEL)]
        if layer.use_bias:
            weights.append(g.variable(layer.bias))
        op = Gemm(transB=1) if len(g.shape(x)) == 2 else Linear()
        return g.activate(layer.activation, g.op(op, x, *weights))

    @torch_operation("linear.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, weight: ir.Value, bias: ir.Value | None) -> ir.Value:
        if weight.const_value is None or len(g.shape(weight)) != 2 or (bias is not None and bias.const_value is None):
            turned = g.op(Transpose(perm=KERNEL), weight) if len(g.shape(weight)) == 2 else weight
            y = g.op(MatMul(), x, turned)
            return y if bias is None else g.op(Add(), y, bias)
        op = Gemm(transB=1) if len(g.shape(x)) == 2 else Linear()
        return g.op(op, x, weight, *([] if bias is None else [bias]))


class Linear(_Affine, Function):
    """Any rank: (N, ..., in) -> (N, ..., out)."""

    def opened(self, g: Builder, *inputs: Any) -> Any:
        if len(g.shape(inputs[0])) < 2:
            raise LookupError("it contracts the only axis, which Keras takes for the batch")
        return self.body(g, *inputs)

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        x, weight, *_ = there(types)
        return (Type((*x.shape[:-1], weight.shape[0]), x.dtype),)

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        x, weight, *bias = inputs
        y = g.op(MatMul(), x, g.op(Transpose(perm=KERNEL), weight))
        return g.op(Add(), y, bias[0]) if bias else y


class MatMul(Op):
    """numpy's matmul: the last axis of a with the last but one of b; what lies before them broadcasts."""

    def torch(self, n: View) -> Record:
        return Infix("@", n.x(0), n.x(1))

    def keras(self, n: View) -> Record:
        if n.real(1) and len(n.shape(1)) == 2 and len(n.shape(0)) > 1 and n.array(0) is None:
            settings = {"units": n.shape(1)[1], "use_bias": False}
            return Layer("Dense", settings, {"kernel": (n.value(1), None)}, inputs=(n.x(),), activates=True)
        return Infix("@", n.x(0), n.x(1))

    @keras_operation("Matmul")
    @staticmethod
    def operation(g: Capture, operation: Any, x1: Any, x2: Any) -> ir.Value:
        if not all(isinstance(x, ir.Value) and floating(x) for x in (x1, x2)):
            raise Refusal("it multiplies something else than two tensors of floats.", "Cast them to floats before.")
        return g.op(MatMul(), *alike(g, (x1, x2)))

    @torch_operation("matmul.default", "mm.default", "bmm.default", "mv.default", "dot.default")
    @staticmethod
    def aten(g: TorchCapture, a: ir.Value, b: ir.Value) -> ir.Value:
        return g.op(MatMul(), *multiplied(a, b))

    @torch_operation("addmm.default", "baddbmm.default", "addmv.default")
    @staticmethod
    def added(g: TorchCapture, x: ir.Value, a: ir.Value, b: ir.Value, beta: float, alpha: float) -> ir.Value:
        plain = beta == 1 and alpha == 1
        if plain and b.const_value is not None and len(g.shape(b)) == 2 and len(g.shape(x)) == 1:
            return g.op(Gemm(transB=1), a, g.transposed(b, KERNEL), x)
        y = g.op(MatMul(), *multiplied(a, b))
        y = y if alpha == 1 else g.op(Mul(), y, g.constant(float(alpha), like=y))
        if beta == 0:
            return y
        return g.op(Add(), y, x if beta == 1 else g.op(Mul(), x, g.constant(float(beta), like=x)))

    @torch_operation("outer.default", "ger.default")
    @staticmethod
    def outer(g: TorchCapture, a: ir.Value, b: ir.Value) -> ir.Value:
        a, b = multiplied(a, b)
        return g.op(Mul(), g.op(Unsqueeze(axes=(1,)), a), g.op(Unsqueeze(axes=(0,)), b))


def multiplied(a: ir.Value, b: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Two operands of a product; Refusal for integers, whose products ONNX's runtimes do not compute alike."""
    for x in (a, b):
        if x.dtype is not None and not x.dtype.is_floating_point():
            raise Refusal(f"it multiplies matrices of {x.dtype.name} numbers.", "Cast them to floats before.")
    return a, b
