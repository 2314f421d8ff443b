"""Attention: values averaged with weights that queries and keys give."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from converter.ops.arranging import repeated
from converter.ops.base import Builder, Function, Refusal, TorchCapture, Type, View, broadcast, there, torch_operation
from converter.ops.cast import Where
from converter.ops.compare import Greater, GreaterOrEqual
from converter.ops.elementwise import Add, Mul
from converter.ops.linear import MatMul
from converter.ops.records import Call, Record
from converter.ops.shape import Transpose, Unsqueeze
from converter.ops.sizes import counted, size
from converter.ops.softmax import Softmax


class DotProductAttention(Function):
    """softmax(q @ k.T * scale + mask) @ v over the last two axes, (..., length, width); scale is 1 / sqrt(width) if 0.

    Inputs are q, k, v and the mask, which says where to look (bool) or is added (float). Each head of k and v, their
    axis -3, serves `groups` heads of q. `causal` looks no further than to the place at hand. A row that looks nowhere
    gives zeros.
    """

    causal: int = 0
    groups: int = 1
    scale: float = 0.0

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        (q, kind), (k, _), (v, _) = there(types)[:3]
        heads = () if len(q) < 3 else broadcast(q[:-2], k[:-2], v[:-2]) if self.groups == 1 else q[:-2]
        return (Type((*heads, q[-2], v[-1]), kind),)

    def torch(self, n: View) -> Record:
        settings: dict[str, Any] = {"attn_mask": n.x(3)} if n.has(3) else {}
        if self.causal:
            settings["is_causal"] = True
        if self.scale:
            settings["scale"] = self.scale
        if self.groups != 1:
            settings["enable_gqa"] = True
        return Call("F.scaled_dot_product_attention", (n.x(0), n.x(1), n.x(2)), settings)

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        q, k, v, *mask = inputs
        if self.groups != 1:
            k, v = (repeated(g, x, len(g.shape(x)) - 3, self.groups) for x in (k, v))
        rank, width = len(g.shape(k)), g.shape(q)[-1]
        if not width:
            raise Refusal("the width of its queries is known at run time only.")
        turned = g.op(Transpose(perm=(*range(rank - 2), rank - 1, rank - 2)), k)
        scores = g.op(MatMul(), g.op(Mul(), q, g.constant(self.scale or 1.0 / math.sqrt(width), like=q)), turned)
        seen: ir.Value | None = None
        if self.causal:
            seen = causal(g, q, k)
        elif mask and mask[0].dtype == ir.DataType.BOOL:
            seen = mask[0]
        elif mask:
            scores = g.op(Add(), scores, mask[0])
            if hides_rows(mask[0]):
                seen = g.op(Greater(), mask[0], g.constant(float("-inf"), like=scores))
        if seen is None:
            return g.op(MatMul(), g.op(Softmax(axis=-1), scores), v)
        scores = g.op(Where(), seen, scores, g.constant(lowest(q), like=scores))
        weights = g.op(Softmax(axis=-1), scores)
        if not self.causal:
            weights = g.op(Where(), seen, weights, g.constant(0.0, like=weights))
        return g.op(MatMul(), weights, v)

    @torch_operation("scaled_dot_product_attention.default")
    @staticmethod
    def aten(
        g: TorchCapture,
        q: ir.Value,
        k: ir.Value,
        v: ir.Value,
        mask: ir.Value | None,
        dropout: float,
        causal: bool,
        scale: float | None,
        grouped: bool,
    ) -> ir.Value:
        if dropout:
            raise Refusal(f"dropout_p={dropout} drops at inference too.", "Pass `p if self.training else 0.0`.")
        groups = 1
        if grouped and len(g.shape(q)) > 2:
            heads, others = g.shape(q)[-3], g.shape(k)[-3]
            if heads is None or others is None or g.shape(v)[-3] != others:
                raise Refusal("enable_gqa with this number of heads has no mapping.")
            groups = heads // others
        op = DotProductAttention(causal=int(causal), groups=groups, scale=float(scale or 0.0))
        return g.op(op, q, k, v, *([] if mask is None else [mask]))


def causal(g: Builder, q: ir.Value, k: ir.Value) -> ir.Value:
    """(queries, keys): whether the key stands no later than the query."""
    rows, columns = g.shape(q)[-2], g.shape(k)[-2]
    if rows is not None and columns is not None:
        return g.constant(np.tril(np.ones((rows, columns), np.bool_)))
    places = [counted(g, 0, size(g, x, len(g.shape(x)) - 2)) for x in (q, k)]
    return g.op(GreaterOrEqual(), g.op(Unsqueeze(axes=(1,)), places[0]), g.op(Unsqueeze(axes=(0,)), places[1]))


def hides_rows(mask: ir.Value) -> bool:
    """Whether a mask that is added may be -inf in a whole row."""
    data = None if mask.const_value is None else mask.const_value.numpy()
    return data is None or bool(np.isneginf(data).all(-1).any())


def lowest(like: ir.Value) -> float:
    """What a score is where it does not count: its exponential is 0 beside any other."""
    return -65504.0 if like.dtype == ir.DataType.FLOAT16 else -1e30
