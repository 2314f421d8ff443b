"""A table that is read both ways: ids to rows, and rows to a score for each id."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from converter.ops.activations_smooth import Tanh
from converter.ops.base import Capture, Op, Refusal, keras_layer
from converter.ops.elementwise import Div, Mul
from converter.ops.embedding import Gather
from converter.ops.linear import MatMul


class _Reversible(Op, abstract=True):
    """No op of its own: a Gather, or a MatMul by the same table."""

    @keras_layer("ReversibleEmbedding")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value, *, reverse: bool = False) -> ir.Value:
        if not reverse:
            return Gather.layer(g, layer, x)
        if layer.reverse_dtype not in (None, layer.compute_dtype):
            raise Refusal(f"reverse_dtype={layer.reverse_dtype!r} has no mapping.", "Leave it out.")
        kernel = g.variable(layer.embeddings, (1, 0)) if layer.tie_weights else g.variable(layer.reverse_embeddings)
        scores = g.op(MatMul(), x, kernel)
        if layer.logit_soft_cap is None:
            return scores
        cap = g.constant(float(layer.logit_soft_cap), like=scores)
        return g.op(Mul(), g.op(Tanh(), g.op(Div(), scores, cap), role="cap"), cap)
