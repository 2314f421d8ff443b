"""What Keras's layers make of the masks that lie beside their inputs: a mask is true where a step counts."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from converter.ops.base import Capture, Op, Refusal, keras_mask
from converter.ops.cast import Where
from converter.ops.compare import Less, NotEqual
from converter.ops.logic import Or, truth
from converter.ops.reduce import AnyTrue
from converter.ops.shape import Concat, Unsqueeze

Masks = Sequence[ir.Value | None]


class _Mask(Op, abstract=True):
    """No op of its own: the masks beside the outputs of layers."""

    @keras_mask("Embedding", "ReversibleEmbedding")
    @staticmethod
    def of_ids(g: Capture, layer: Any, inputs: Sequence[ir.Value], masks: Masks) -> ir.Value | None:
        return g.op(NotEqual(), inputs[0], g.constant(0, like=inputs[0])) if layer.mask_zero else None

    @keras_mask("Masking")
    @staticmethod
    def of_values(g: Capture, layer: Any, inputs: Sequence[ir.Value], masks: Masks) -> ir.Value | None:
        given = layer.mask_value
        value = float(given if isinstance(given, (int, float)) else g.array(given).item())
        x = inputs[0]
        return g.op(AnyTrue(axes=(len(g.shape(x)) - 1,)), g.op(NotEqual(), x, g.constant(value, like=x)))

    @keras_mask("GlobalAveragePooling1D", "Dot", "Lambda")
    @staticmethod
    def none(g: Capture, layer: Any, inputs: Sequence[ir.Value], masks: Masks) -> ir.Value | None:
        if getattr(layer, "mask", None) is not None:
            raise Refusal(f"a mask reaches it that a function of {layer.name!r} makes, which has no mapping.")
        return None

    @keras_mask("Add", "Subtract", "Average", "Maximum", "Minimum", "Multiply")
    @staticmethod
    def either(g: Capture, layer: Any, inputs: Sequence[ir.Value], masks: Masks) -> ir.Value | None:
        found = [mask for mask in masks if mask is not None]
        return functools.reduce(lambda a, b: g.op(Or(), a, b), found) if len(found) == len(inputs) else None

    @keras_mask("Concatenate")
    @staticmethod
    def concatenated(g: Capture, layer: Any, inputs: Sequence[ir.Value], masks: Masks) -> ir.Value | None:
        if all(mask is None for mask in masks):
            return None
        rank = len(g.shape(inputs[0]))
        parts = [_wide(g, x, mask) for x, mask in zip(inputs, masks, strict=True)]
        return g.op(AnyTrue(axes=(rank - 1,)), g.op(Concat(axis=layer.axis % rank), *parts))


def _wide(g: Capture, x: ir.Value, mask: ir.Value | None) -> ir.Value:
    """The mask of a tensor in the tensor's own shape; true everywhere where there is none."""
    if mask is not None and len(g.shape(mask)) == len(g.shape(x)):
        return truth(g, mask)
    nowhere = g.op(Less(), x, x)
    return g.op(Or(), nowhere, g.constant(True) if mask is None else beside(g, x, mask))


def beside(g: Capture, x: ir.Value, mask: ir.Value) -> ir.Value:
    """The mask of a tensor with an axis for the features: (N, T) for (N, T, features) -> (N, T, 1)."""
    if len(g.shape(mask)) != len(g.shape(x)) - 1:
        raise Refusal(f"the mask of shape {g.shape(mask)} does not fit its input of shape {g.shape(x)}.")
    return g.op(Unsqueeze(axes=(len(g.shape(mask)),)), truth(g, mask), role="mask")


def product(g: Capture, op: Op, xs: Sequence[ir.Value], masks: Masks) -> ir.Value:
    """Keras's Multiply: masked steps count as 1, and are 0 where every input has masked them."""
    wide = [None if m is None else beside(g, x, m) for x, m in zip(xs, masks, strict=True)]
    ones = [x if m is None else g.op(Where(), m, x, g.constant(1.0, like=x)) for x, m in zip(xs, wide, strict=True)]
    made = functools.reduce(lambda a, b: g.op(op, a, b), ones)
    found = [m for m in wide if m is not None]
    if len(found) < len(xs):
        return made
    any_ = functools.reduce(lambda a, b: g.op(Or(), a, b), found)
    return g.op(Where(), any_, made, g.constant(0.0, like=made))


def extreme(g: Capture, op: Op, xs: Sequence[ir.Value], masks: Masks) -> ir.Value:
    """Keras's Maximum and Minimum: a masked step gives way to the other input's."""
    wide = [None if m is None else beside(g, x, m) for x, m in zip(xs, masks, strict=True)]
    made, known = xs[0], wide[0]
    for x, mask in zip(xs[1:], wide[1:], strict=True):
        other = x if mask is None else g.op(Where(), mask, x, made)
        made = made if known is None else g.op(Where(), known, made, other)
        known = g.op(Or(), known, mask) if known is not None and mask is not None else None
        made = g.op(op, made, other)
    return made
