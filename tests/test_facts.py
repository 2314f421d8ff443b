"""Facts that the ops state of themselves: ids stay ids, nothing falls below zero."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from converter.graph.graph import GraphBuilder
from converter.ops.activations import Clip, Relu
from converter.ops.base import Op
from converter.ops.elementwise import Abs, Add, Mul, Neg, Sub
from converter.ops.embedding import Gather
from converter.ops.pad import Pad
from converter.ops.pool import MaxPool, nonnegative
from converter.ops.shape import Concat, Reshape, Transpose, Unsqueeze
from converter.proof import input_specs

IMAGE = ("N", 3, 4, 4)


def image(g: GraphBuilder) -> ir.Value:
    return g.input("x", IMAGE, ir.DataType.FLOAT)


@pytest.mark.parametrize(
    ("ops", "never"),
    [
        ([Relu()], True),
        ([Abs(), MaxPool(kernel_shape=(2, 2), strides=(1, 1))], True),
        ([Relu(), Reshape(target=(0, -1))], True),
        ([Relu(), Transpose(perm=(0, 2, 3, 1)), Unsqueeze(axes=(1,))], True),
        ([Relu(), Pad(pads=(0, 0, 1, 1) * 2)], True),
        ([Relu(), Pad(pads=(0, 0, 1, 1) * 2, constant_value=-1.0)], False),
        ([Pad(pads=(0, 0, 1, 1) * 2)], False),
        ([Clip(min=0.0)], True),
        ([Clip(min=-1.0)], False),
        ([Clip(max=1.0)], False),
        ([Relu(), Neg()], False),
        ([Reshape(target=(0, -1))], False),
    ],
    ids=str,
)
def test_nothing_below_zero(ops: list[Op], never: bool) -> None:
    g = GraphBuilder()
    x = image(g)
    for op in ops:
        x = g.op(op, x)
    assert nonnegative(x) is never


@pytest.mark.parametrize("op", [Add(), Mul(), Concat(axis=1), Sub()], ids=str)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_nothing_below_zero_of_two(op: Op, sign: float) -> None:
    g = GraphBuilder()
    other = g.constant(np.full((1, 3, 4, 4), sign, np.float32))
    assert nonnegative(g.op(op, g.op(Relu(), image(g)), other)) is (sign > 0 and not isinstance(op, Sub))


def test_ids_are_ids_behind_what_moves_them() -> None:
    g = GraphBuilder()
    ids = g.input("ids", ("N", 6), ir.DataType.INT64)
    table = g.constant(np.zeros((7, 2), np.float32))
    moved = g.op(Transpose(perm=(0, 2, 1)), g.op(Reshape(target=(0, 2, 3)), ids))
    joined = g.op(Concat(axis=1), g.op(Unsqueeze(axes=(1,)), moved), g.op(Unsqueeze(axes=(1,)), moved))
    g.graph.outputs.append(g.op(Gather(), table, joined))
    [spec] = input_specs(g.graph.inputs)
    assert (spec.low, spec.high) == (0.0, 7.0)
