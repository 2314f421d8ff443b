"""EinsumDense: a contraction with a weight that an equation says."""

from __future__ import annotations

import string
from typing import Any

import onnx_ir as ir

from converter.ops.base import Builder, Capture, Dims, Function, Op, Perm, Type, View, keras_layer, there
from converter.ops.dot import summed
from converter.ops.elementwise import Add
from converter.ops.linear import Gemm, Linear
from converter.ops.records import Call, Layer, Record


class EinsumDense(Function):
    """The sum of products of x and a weight that the equation says, one letter for each axis: 'abc,cde->abde'."""

    equation: str

    def terms(self) -> tuple[str, str, str]:
        """The letters of x, of the weight and of the result."""
        given, out = self.equation.split("->")
        x, weight = given.split(",")
        return x, weight, out

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        letters, weight, out = self.terms()
        x, kernel = there(types)[:2]  # ONNX's own Einsum has no bfloat16, and the body casts
        lengths = dict(zip(letters + weight, (*x.shape, *kernel.shape), strict=True))
        return (Type(tuple(lengths[c] for c in out), x.dtype),)

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        x, weight, out = self.terms()
        after = perm if len(out) == len(perm) else tuple(range(len(out)))
        turned, made = "".join(x[p] for p in perm), "".join(out[p] for p in after)
        return EinsumDense(equation=f"{turned},{weight}->{made}"), after

    def torch(self, n: View) -> Record:
        return Call("torch.einsum", (self.equation, n.x(0), n.x(1)))

    def keras(self, n: View) -> Record:
        settings = {"equation": self.equation, "output_shape": n.out_shape()[1:]}
        return Layer("EinsumDense", settings, {"kernel": (n.value(1), None)}, inputs=(n.x(0),))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        return summed(g, self.equation, *inputs)

    @keras_layer("EinsumDense")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        op = EinsumDense(equation=spelled(layer.equation, len(g.shape(x))))
        axes = linear(*op.terms())
        bias = None if layer.bias is None else g.variable(layer.bias)
        if axes is None:
            y = g.op(op, x, g.variable(layer.kernel))
        else:
            plain = bias is not None and len(g.shape(bias)) == 1
            weights = [g.variable(layer.kernel, axes), *([bias] if plain else [])]
            y = g.op(Gemm(transB=1) if len(g.shape(x)) == 2 else Linear(), x, *weights)
            bias = None if plain else bias
        return g.activate(layer.activation, y if bias is None else g.op(Add(), y, bias))


def spelled(equation: str, rank: int) -> str:
    """The equation with a letter for each axis that '...' stands for, for an input of that rank."""
    equation = equation.replace(" ", "")
    named = equation.split(",")[0].replace("...", "")
    free = [c for c in string.ascii_letters if c not in equation]
    return equation.replace("...", "".join(free[: rank - len(named)]))


def linear(x: str, weight: str, out: str) -> Perm | None:
    """How the weight becomes an nn.Linear's (out, in); None where the equation is not one over the last axis."""
    if len(weight) != 2 or x[:-1] != out[:-1] or len(set(x)) != len(x) or len(set(out)) != len(out):
        return None
    return (
        {(out[-1], x[-1]): (0, 1), (x[-1], out[-1]): (1, 0)}.get((weight[0], weight[1])) if x[-1] != out[-1] else None
    )
