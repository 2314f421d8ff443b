"""What the graph carries beside one value in and one out: several outputs, missing inputs, symbols, inner graphs.

The operators here are made for these tests and are gone behind them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from converter.graph.duplicate import duplicate
from converter.graph.graph import GraphBuilder, dims, symbols
from converter.graph.layout import settle
from converter.graph.nested import captured, reads
from converter.graph.onnx_model import proto
from converter.ops import base
from converter.ops.base import Builder, Dims, Function, Op, Perm, Type, moved, operand
from converter.ops.conv import Conv
from converter.ops.einsum import EinsumDense
from converter.ops.elementwise import Add, Mul, Neg
from converter.ops.reduce import ReduceMax
from converter.ops.resize import Repeat
from converter.ops.shape import Concat, Transpose
from converter.write.view import NodeView

FLOAT = ir.DataType.FLOAT


@pytest.fixture
def ops() -> Iterator[Any]:
    """Operators that no capture needs yet."""
    before = dict(base.REGISTRY)
    for name in ("Split", "TopK", "LSTM", "If"):
        base.REGISTRY.pop(("", name), None)

    class Split(Op):
        """Equal parts along an axis."""

        axis: int = 0
        num_outputs: int | None = None
        split: tuple[int, ...] | None = operand(1, default=None)

        def count(self) -> int:
            return self.num_outputs or len(self.split or ())

        def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm]:
            return replace(self, axis=moved(self.axis, perm)), perm

    class TopK(Op):
        """The largest elements and their places."""

        axis: int = -1
        largest: int = 1
        sorted: int = 1
        k: tuple[int, ...] = operand(1)

    class LSTM(Op):
        """A recurrence; its inputs 4 to 7 are optional."""

        hidden_size: int

        reads = frozenset({"initial_h"})

        def count(self) -> int:
            return 3

    class If(Op):
        """One of two graphs."""

        then_branch: ir.Graph
        else_branch: ir.Graph

    class Pair(Function):
        """x + bias, and the largest element of each row of x * scale; bias and scale are optional."""

        def outputs(self, *types: Type | None) -> tuple[Type, ...]:
            x = types[0]
            assert x is not None
            return x, Type(x.shape[:-1], x.dtype)

        def body(self, g: Builder, *inputs: Any) -> tuple[ir.Value, ...]:
            x, bias, scale = (*inputs, None, None)[:3]
            moved = x if bias is None else g.op(Add(), x, bias)
            scaled = x if scale is None else g.op(Mul(), x, scale)
            return g.op(Neg(), g.op(Neg(), moved)), g.op(ReduceMax(axes=(-1,), keepdims=0), scaled)

    yield SimpleNamespace(Split=Split, TopK=TopK, LSTM=LSTM, If=If, Pair=Pair)
    base.REGISTRY.clear()
    base.REGISTRY.update(before)


def run(g: GraphBuilder, *given: np.ndarray) -> list[np.ndarray]:
    """What onnxruntime makes of the graph, once onnx has checked it."""
    model = proto(g)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {i.name: a for i, a in zip(session.get_inputs(), given, strict=True)})


def both(g: GraphBuilder, *given: np.ndarray) -> list[np.ndarray]:
    """The graph's answers, which its duplicate must give too, also once the graph itself is gone."""
    first = run(g, *given)
    twin = duplicate(g)
    g.graph.outputs.clear()
    g.remove_unused()
    assert len(list(g.graph)) == 0
    for one, other in zip(first, run(twin, *given), strict=True):
        np.testing.assert_array_equal(one, other)
    return first


def test_several_outputs(ops: Any) -> None:
    g = GraphBuilder()
    x = g.input("x", ("batch", 6, "L"), FLOAT)
    a, b, c = g.several(ops.Split(axis=1, num_outputs=3), x)
    assert symbols(a) == symbols(b) == symbols(c) == ("batch", 2, "L")
    assert len({v.name for v in (a, b, c)}) == 3
    values, places = g.op(ops.TopK(axis=1, k=(1,)), b)
    assert (symbols(values), values.dtype) == (("batch", 1, "L"), FLOAT)
    assert (symbols(places), places.dtype) == (("batch", 1, "L"), ir.DataType.INT64)
    view = NodeView(a.producer())
    assert (view.outputs, view.out_shape(2)) == (3, (None, 2, None))
    g.graph.outputs.extend([c, values, places])
    g.remove_unused()
    assert [n.op_type for n in g.graph] == ["Split", "TopK"]
    data = np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32)
    c, values, places = both(g, data)
    np.testing.assert_array_equal(c, data[:, 4:])
    np.testing.assert_array_equal(values, data[:, 2:4].max(axis=1, keepdims=True))
    np.testing.assert_array_equal(places, data[:, 2:4].argmax(axis=1, keepdims=True))


def test_a_node_stays_while_one_output_is_read(ops: Any) -> None:
    g = GraphBuilder()
    x = g.input("x", ("N", 4), FLOAT)
    *_, last = g.several(ops.Split(axis=1, split=(1, 3)), x)
    g.several(ops.Split(axis=1, split=(2, 2)), x)
    g.graph.outputs.append(last)
    g.remove_unused()
    assert [n.op_type for n in g.graph] == ["Split"]
    assert dims(last) == (None, 3)


def test_a_missing_input_keeps_its_place(ops: Any) -> None:
    rng = np.random.default_rng(1)
    g = GraphBuilder()
    x = g.input("x", ("L", "N", 3), FLOAT)
    w, r = (g.constant(rng.normal(size=(1, 16, n)).astype(np.float32)) for n in (3, 4))
    h = g.input("h", (1, "N", 4), FLOAT)
    y, last, cell = g.several(ops.LSTM(hidden_size=4), x, w, r, None, None, h)
    assert symbols(y) == ("L", 1, "N", 4)
    assert symbols(last) == symbols(cell) == (1, "N", 4)
    node = y.producer()
    assert [v is None for v in node.inputs] == [False, False, False, True, True, False]
    view = NodeView(node)
    assert [v is None for v in view.all()] == [False, False, False, True, True, False]
    assert [view.has(i) for i in (4, 5, 7)] == [False, True, False]
    g.graph.outputs.extend([y, cell])
    y, cell = both(g, rng.normal(size=(5, 2, 3)).astype(np.float32), np.zeros((1, 2, 4), np.float32))
    assert (y.shape, cell.shape) == ((5, 1, 2, 4), (1, 2, 4))


@pytest.mark.parametrize("names", [("bias", "scale"), ("bias",), ("scale",), ()])
def test_a_function_with_two_outputs_and_an_optional_input_in_the_middle(ops: Any, names: tuple[str, ...]) -> None:
    rng = np.random.default_rng(2)
    data = {n: rng.normal(size=5).astype(np.float32) for n in names}
    g = GraphBuilder()
    x = g.input("x", ("batch", "L", 5), FLOAT)
    made = {n: g.constant(a) for n, a in data.items()}
    moved, largest = g.several(ops.Pair(), x, made.get("bias"), made.get("scale"))
    assert (symbols(moved), symbols(largest)) == (("batch", "L", 5), ("batch", "L"))
    assert len(moved.producer().inputs) == (3 if "scale" in names else len(names) + 1)
    g.graph.outputs.extend([largest, moved])
    given = rng.normal(size=(2, 3, 5)).astype(np.float32)
    largest, moved = both(g, given)
    np.testing.assert_allclose(moved, given + data.get("bias", 0), rtol=1e-6)
    np.testing.assert_allclose(largest, (given * data.get("scale", 1)).max(-1), rtol=1e-6)


def test_a_graph_in_an_attribute_reads_what_is_around_it(ops: Any) -> None:
    rng = np.random.default_rng(3)
    g = GraphBuilder()
    x = g.input("x", ("batch", 4), FLOAT)
    flag = g.input("flag", (), ir.DataType.BOOL)
    weight = g.constant(rng.normal(size=4).astype(np.float32))
    before = g.op(Neg(), x)
    branches = []
    for name in ("then", "else"):
        branch = g.nested(name)
        y = branch.op(Mul(), before, weight)
        if name == "then":
            y, _ = branch.several(ops.Pair(), branch.op(Add(), y, branch.constant(np.float32(2.0))), weight)
        branch.graph.outputs.append(y)
        branches.append(branch.graph)
    out = g.op(ops.If(then_branch=branches[0], else_branch=branches[1]), flag)
    assert symbols(out) == ("batch", 4)
    assert {v.name for v in captured(out.producer().attributes.values())} == {before.name, weight.name}
    assert {v.name for v in reads(out.producer())} == {before.name, weight.name, flag.name}
    g.graph.outputs.append(g.op(Concat(axis=1), out, x))
    g.remove_unused()
    numbers = g.graph.initializers[weight.name].const_value.numpy()
    assert [n.op_type for n in g.graph] == ["Neg", "If", "Concat"]
    names = [v.name for n in g.graph.all_nodes() for v in n.outputs]
    assert len(set(names)) == len(names)
    data = rng.normal(size=(3, 4)).astype(np.float32)
    twin = duplicate(g)
    for flag_ in (True, False):
        (got,) = run(twin, data, np.asarray(flag_))
        wanted = -data * numbers + (2.0 + numbers if flag_ else 0.0)
        np.testing.assert_allclose(got, np.concatenate([wanted, data], 1), rtol=1e-5)
    both(g, data, np.asarray(True))


def test_transpositions_move_through_several_outputs_and_around_inner_graphs(ops: Any) -> None:
    """Channels last around a Split and a Conv, and a branch that reads the image as it came in."""
    rng = np.random.default_rng(4)
    g = GraphBuilder()
    x = g.input("x", ("N", 5, 6, 4), FLOAT)
    flag = g.input("flag", (), ir.DataType.BOOL)
    branches = []
    for name in ("then", "else"):
        branch = g.nested(name)
        y = branch.op(Neg(), x)
        branch.graph.outputs.append(branch.op(Neg(), y) if name == "then" else y)
        branches.append(branch.graph)
    chosen = g.op(ops.If(then_branch=branches[0], else_branch=branches[1]), flag)
    into, back = Transpose(perm=(0, 3, 1, 2)), Transpose(perm=(0, 2, 3, 1))
    a, b = g.several(ops.Split(axis=1, num_outputs=2), g.op(into, x, role="spatial"))
    a, b = (g.op(Neg(), g.op(back, v, role="spatial")) for v in (a, b))
    weight = g.constant(rng.normal(size=(3, 2, 1, 1)).astype(np.float32))
    conv = Conv(dilations=(1, 1), kernel_shape=(1, 1), strides=(1, 1))
    y = g.op(back, g.op(conv, g.op(into, g.op(Add(), a, b), role="spatial"), weight), role="spatial")
    g.graph.outputs.extend([y, chosen])
    data = rng.normal(size=(2, 5, 6, 4)).astype(np.float32)
    before = run(duplicate(g), data, np.asarray(True))
    turns = settle(g, "native")
    assert [(t.kind, t.index) for t in turns] == [("input", 0), ("output", 0)]
    assert [n.op_type for n in g.graph].count("Transpose") == 1
    after = run(g, data.transpose(0, 3, 1, 2), np.asarray(True))
    np.testing.assert_allclose(after[0].transpose(0, 2, 3, 1), before[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(after[1], before[1])


def test_functions_call_functions_and_give_a_value_twice(ops: Any) -> None:
    class Twice(Function):
        """x, and what a Pair gives of it, twice."""

        def outputs(self, *types: Type | None) -> tuple[Type, ...]:
            x = types[0]
            assert x is not None
            return x, x, x

        def body(self, g: Builder, *inputs: Any) -> tuple[ir.Value, ...]:
            moved, _ = g.several(ops.Pair(), inputs[0], g.constant(1.0, like=inputs[0]))
            return inputs[0], moved, moved

    g = GraphBuilder()
    x = g.input("x", ("N", 3), FLOAT)
    g.graph.outputs.extend(g.several(Twice(), x))
    data = np.random.default_rng(5).normal(size=(2, 3)).astype(np.float32)
    for got, want in zip(both(g, data), (data, data + 1, data + 1), strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_number_has_no_axes(ops: Any) -> None:
    g = GraphBuilder()
    x = g.input("x", ("N", 3), FLOAT)
    number = g.input("number", (), FLOAT)
    assert symbols(g.op(Mul(), number, number)) == ()
    moved, _ = g.several(ops.Pair(), x, number)
    g.graph.outputs.append(moved)
    data = np.ones((2, 3), np.float32)
    (got,) = both(g, data, np.asarray(4.0, np.float32))
    np.testing.assert_array_equal(got, data + 4)


def test_what_onnx_refuses_is_an_error_with_its_words(ops: Any) -> None:
    g = GraphBuilder()
    x = g.input("x", ("N", 3), FLOAT)
    with pytest.raises(ValueError, match=r"ONNX refuses the inputs of LSTM: .*rank 3"):
        g.several(ops.LSTM(hidden_size=4), x, x, x)


@pytest.mark.parametrize(
    ("equation", "expected"), [("abc,cd->abd", ("batch", "L", 5)), ("abc,cd->bad", ("L", "batch", 5))]
)
def test_a_function_that_asks_onnx_keeps_the_names(equation: str, expected: Any) -> None:
    g = GraphBuilder()
    x = g.input("x", ("batch", "L", 3), FLOAT)
    assert symbols(g.op(EinsumDense(equation=equation), x, g.constant(np.ones((3, 5), np.float32)))) == expected


def test_lengths_are_computed_with_names() -> None:
    g = GraphBuilder()
    x = g.input("x", ("batch", 3, "H", None), FLOAT)
    assert symbols(g.op(Repeat(factors=(2, 3)), x)) == ("batch", 3, "2*H", None)
    assert dims(g.op(Repeat(factors=(2, 3)), x)) == (None, 3, None, None)
