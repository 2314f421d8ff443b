"""Dot: two values contracted over one axis each, for every element of the batch."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from converter.ops.base import (
    Builder,
    Capture,
    Dims,
    Function,
    Op,
    Perm,
    Refusal,
    TorchCapture,
    Type,
    View,
    keras_layer,
    keras_operation,
    there,
    torch_operation,
)
from converter.ops.cast import Cast
from converter.ops.elementwise import Add, Div, Max, Mul, Sqrt
from converter.ops.linear import MatMul
from converter.ops.operands import alike, floating
from converter.ops.records import Call, Infix, Layer, Method, Record
from converter.ops.reduce import ReduceSum
from converter.ops.shape import Transpose

LEAST = 1e-12
"""keras.layers.UnitNormalization divides by no length below this."""
EPSILON = 1e-7
"""The least length that keras.utils.normalize divides by."""


def lettered(equation: str) -> str:
    """The equation with small letters alone: Keras finds no shape for others when it builds a model."""
    free = (c for c in string.ascii_lowercase if c not in equation)
    table = {c: next(free, c) for c in dict.fromkeys(equation) if c in string.ascii_uppercase}
    return "".join(table.get(c, c) for c in equation)


class Einsum(Op):
    """The sum of products that the equation says, as numpy has it."""

    equation: str

    def torch(self, n: View) -> Record:
        return Call("torch.einsum", (self.equation, *n.all()))

    def keras(self, n: View) -> Record:
        return Call("ops.einsum", (lettered(self.equation), *n.all()))

    @keras_operation("Einsum")
    @staticmethod
    def operation(g: Capture, operation: Any, *xs: Any) -> ir.Value:
        if not all(isinstance(x, ir.Value) and floating(x) for x in xs):
            raise Refusal("it multiplies something else than tensors of floats.", "Cast them to floats before.")
        equation = written_out(operation.subscripts, [len(g.shape(x)) for x in xs])
        return g.op(Einsum(equation=equation), *alike(g, xs))

    @torch_operation("einsum.default")
    @staticmethod
    def aten(g: TorchCapture, equation: str, tensors: Sequence[ir.Value], path: Any) -> ir.Value:
        if any(not floating(t) for t in tensors):
            raise Refusal("it multiplies integers.", "Cast them to floats before.")
        return summed(g, written_out(equation, [len(g.shape(t)) for t in tensors]), *tensors)

    @torch_operation("bilinear.default")
    @staticmethod
    def bilinear(g: TorchCapture, a: ir.Value, b: ir.Value, weight: ir.Value, bias: ir.Value | None) -> ir.Value:
        rest = string.ascii_lowercase[: len(g.shape(a)) - 1]
        y = g.op(Einsum(equation=f"{rest}x,zxy,{rest}y->{rest}z"), a, weight, b)
        return y if bias is None else g.op(Add(), y, bias)


class Normalize(Function):
    """x / max(sqrt(sum of x * x along `axis`), epsilon)."""

    axis: int
    epsilon: float = EPSILON

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        return Normalize(axis=perm.index(self.axis), epsilon=self.epsilon), perm

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        x = inputs[0]
        length = g.op(Sqrt(), g.op(ReduceSum(axes=(self.axis,)), g.op(Mul(), x, x)))
        return g.op(Div(), x, g.op(Max(), length, g.constant(self.epsilon, like=x)))

    def torch(self, n: View) -> Record:
        return Call("F.normalize", (n.x(),), {"dim": self.axis, "eps": self.epsilon})

    def keras(self, n: View) -> Record:
        if self.epsilon == LEAST:
            return Layer("UnitNormalization", {"axis": self.axis}, inputs=(n.x(),))
        power = Call("ops.sum", (Call("ops.square", (n.x(),)),), {"axis": self.axis, "keepdims": True})
        root: Record = Call("ops.sqrt", (power,))
        if n.value(0).dtype == ir.DataType.DOUBLE:  # Keras's maximum is one in float32, on torch and JAX
            return Infix("/", n.x(), Call("ops.where", (Infix("<", root, self.epsilon), self.epsilon, root)))
        return Infix("/", n.x(), Call("ops.maximum", (root, self.epsilon)))


class Dot(Function):
    """y[n, i..., j...] = sum over k of a[n, i..., k at `left`] * b[n, j..., k at `right`]; (N, 1) for two of rank 2."""

    left: int
    right: int

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        (a, kind), (b, _) = there(types)
        rest = [d for i, d in enumerate(a) if i not in (0, self.left)] + [
            d for i, d in enumerate(b) if i not in (0, self.right)
        ]
        return (Type((a[0] if a[0] is not None else b[0], *(rest or [1])), kind),)

    def equation(self, ranks: tuple[int, int]) -> str:
        """For einsum."""
        letters = iter(c for c in string.ascii_lowercase if c not in "nk")
        a = ["n"] + ["k" if i == self.left else next(letters) for i in range(1, ranks[0])]
        b = ["n"] + ["k" if i == self.right else next(letters) for i in range(1, ranks[1])]
        out = ["n", *(c for c in (*a, *b) if c not in "nk")]
        return f"{''.join(a)},{''.join(b)}->{''.join(out)}"

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        a, b = inputs
        ranks = (len(g.shape(a)), len(g.shape(b)))
        if ranks == (2, 2):
            return g.op(ReduceSum(axes=(1,)), g.op(Mul(), a, b))
        if ranks == (3, 3):
            swap = Transpose(perm=(0, 2, 1))
            return g.op(MatMul(), a if self.left == 2 else g.op(swap, a), b if self.right == 1 else g.op(swap, b))
        return summed(g, self.equation(ranks), a, b)

    def torch(self, n: View) -> Record:
        a, b = n.x(0), n.x(1)
        ranks = (len(n.shape(0)), len(n.shape(1)))
        if ranks == (2, 2):
            return Method(Infix("*", a, b), "sum", (), {"dim": 1, "keepdim": True})
        if ranks == (3, 3):
            left = a if self.left == 2 else Method(a, "transpose", (1, 2))
            return Infix("@", left, b if self.right == 1 else Method(b, "transpose", (1, 2)))
        return Call("torch.einsum", (self.equation(ranks), a, b))

    def keras(self, n: View) -> Record:
        return Layer("Dot", {"axes": (self.left, self.right)}, inputs=(n.x(0), n.x(1)))

    @keras_layer("Dot")
    @staticmethod
    def layer(g: Capture, layer: Any, *xs: ir.Value) -> ir.Value:
        given = layer.axes if isinstance(layer.axes, (list, tuple)) else (layer.axes, layer.axes)
        left, right = (axis % len(g.shape(x)) for axis, x in zip(given, xs, strict=True))
        a, b = alike(g, xs)
        if layer.normalize:
            a, b = g.op(Normalize(axis=left), a), g.op(Normalize(axis=right), b)
        return g.op(Dot(left=left, right=right), a, b)


def written_out(equation: str, ranks: Sequence[int]) -> str:
    """The equation with a letter for each axis that '...' stands for, and with its right side.

    Without one, torch has the axes of '...' in front, then the letters that stand once, in the order of the alphabet.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    named = [len(term.replace("...", "")) for term in terms]
    most = max(rank - count for count, rank in zip(named, ranks, strict=True))
    free = "".join([c for c in string.ascii_letters if c not in equation][:most])
    if not arrow:
        once = sorted(c for c in set(left) - set(".,") if left.count(c) == 1)
        right = ("..." if "..." in left else "") + "".join(once)
    own = [free[len(free) - rank + count :] for count, rank in zip(named, ranks, strict=True)]
    spelled = [term.replace("...", letters) for term, letters in zip(terms, own, strict=True)]
    return f"{','.join(spelled)}->{right.replace('...', free)}"


def summed(g: Builder, equation: str, *inputs: ir.Value) -> ir.Value:
    """The sums of products that the equation says; ONNX has none for bfloat16, whose numbers float32 holds."""
    if inputs[0].dtype != ir.DataType.BFLOAT16:
        return g.op(Einsum(equation=equation), *inputs)
    made = g.op(Einsum(equation=equation), *(g.op(Cast(to=int(ir.DataType.FLOAT)), v) for v in inputs))
    return g.op(Cast(to=int(ir.DataType.BFLOAT16)), made)
