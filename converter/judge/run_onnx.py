"""The float64 of an ONNX graph: widened, in onnx.reference, whose every operator is numpy."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .compare import Array
from .retype import meant, retyped
from .runner import NoFloat64, RunFn
from .taps import Outputs
from .taps_onnx import tapped

MOST_PRODUCTS = 1e10
"""Multiply-adds that onnx.reference is asked for: some ten seconds."""
ROUNDS = 1e-6
"""What the float32 of a graph's own constants may move its float64 answer by; where it does, nothing is proved."""


def onnx_callable64(model: bytes | str | os.PathLike[str]) -> RunFn:
    """arrays -> [(name, array)] of the graph in float64; NoFloat64 where it is too large or has an operator that
    onnx.reference lacks."""
    proto, taps = tapped(load(model))
    wide = retyped(proto, "DOUBLE")
    evaluator = _evaluator(wide)
    names = [each.name for each in wide.graph.output]
    costs: dict[str, float] = {}

    def run(arrays: Sequence[Array]) -> Outputs:
        feed = {each.name: array for each, array in zip(wide.graph.input, arrays, strict=True)}
        shapes = {name: array.shape for name, array in feed.items()}
        if str(shapes) not in costs:
            costs[str(shapes)] = products(wide, shapes)
        cost = costs[str(shapes)]
        if cost > MOST_PRODUCTS:
            raise NoFloat64(f"it takes {cost:.1e} multiply-adds, and onnx.reference is asked for {MOST_PRODUCTS:.0e}")
        try:
            found = evaluator.run(None, feed)
        except Exception as error:  # an operator that it lacks or gets wrong fails in its own way
            raise NoFloat64(f"onnx.reference fails: {type(error).__name__}: {str(error)[:200]}") from error
        return [(taps.get(name, name), np.asarray(array)) for name, array in zip(names, found, strict=True)]

    return run


def load(model: bytes | str | os.PathLike[str]) -> Any:
    """The ModelProto of serialised ONNX or a path, its external weights included."""
    import onnx

    return onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(Path(model))


def products(model: Any, shapes: dict[str, tuple[int, ...]]) -> float:
    """Multiply-adds of one run on inputs of these shapes: those of convolutions and matrix products."""
    import onnx

    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.value_info[:]
    for each in fixed.graph.input:
        each.type.tensor_type.shape.Clear()
        for size in shapes[each.name]:
            each.type.tensor_type.shape.dim.add().dim_value = size
    for each in fixed.graph.output:
        each.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True)
    known = {t.name: list(t.dims) for t in inferred.graph.initializer}
    for value in [*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output]:
        known[value.name] = [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
    total = 0.0
    for node in inferred.graph.node:
        sizes = [known.get(name, [1]) for name in node.input]
        made = known.get(node.output[0], [1])
        if node.op_type == "Conv":
            total += math.prod(made) * math.prod(sizes[1][1:])
        elif node.op_type == "ConvTranspose":
            total += math.prod(sizes[0]) * math.prod(sizes[1][1:])
        elif node.op_type in ("MatMul", "Gemm", "Einsum"):
            total += math.prod(made) * (sizes[0][-1] if sizes[0] else 1)
        else:
            total += math.prod(made)
    return total


def _evaluator(wide: Any) -> Any:
    from onnx.reference import ReferenceEvaluator

    try:
        made = ReferenceEvaluator(wide, new_ops=_operators())
    except Exception as error:  # an operator that it lacks
        raise NoFloat64(f"onnx.reference cannot run the graph: {type(error).__name__}: {str(error)[:200]}") from error
    # A protobuf holds float attributes in float32; an epsilon of 0.001 is meant, not the float32 beside it.
    nodes = list(made.rt_nodes_)
    while nodes:
        node = nodes.pop()
        nodes += getattr(getattr(node, "impl_", None), "rt_nodes_", [])
        for attribute in node.onnx_node.attribute:
            if attribute.type == attribute.FLOAT:
                setattr(node, attribute.name, meant(attribute.f))
            elif attribute.type == attribute.FLOATS:
                setattr(node, attribute.name, [meant(value) for value in attribute.floats])
    return made


def _operators() -> list[Any]:
    """Operators that onnx.reference has as a function with float32 constants in it."""
    from onnx.reference.op_run import OpRun

    class Gelu(OpRun):
        op_domain = ""

        def _run(self, x: Array, approximate: str = "none") -> tuple[Array]:
            if approximate == "tanh":
                inner = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
            else:
                inner = np.vectorize(math.erf, otypes=[x.dtype])(x / math.sqrt(2))
            return (0.5 * x * (1 + inner),)

    class GroupNormalization(OpRun):
        op_domain = ""

        def _run(
            self,
            x: Array,
            scale: Array,
            bias: Array,
            epsilon: float = 1e-5,
            num_groups: int = 1,
            stash_type: int = 1,
        ) -> tuple[Array]:
            groups = x.reshape(x.shape[0], num_groups, -1)
            spread = np.sqrt(groups.var(-1, keepdims=True) + epsilon)
            made = ((groups - groups.mean(-1, keepdims=True)) / spread).reshape(x.shape)
            channels = (1, -1, *[1] * (x.ndim - 2))
            return (made * scale.reshape(channels) + bias.reshape(channels),)

    return [Gelu, GroupNormalization]
