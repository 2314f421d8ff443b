"""Expressions in Keras source: operators, keras.ops, slices, parts, statements, and parameters that belong to no layer.

Every model is proved in float64, saved, and loaded with safe_mode on in fresh processes under several backends.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx_ir as ir
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import converter
from converter.graph.graph import GraphBuilder, Place
from converter.ops import base
from converter.ops.base import Type, View
from converter.ops.records import (
    Block,
    Call,
    Do,
    For,
    If,
    Index,
    Infix,
    Layer,
    Literal,
    Local,
    Method,
    Prefix,
    Record,
    Set,
    Size,
    refs,
    rewritten,
    walk,
)
from converter.write import keras_load, keras_parts, keras_text, to_keras, to_torch
from converter.write.execute import execute
from converter.write.expressions import Text
from converter.write.names import operation_names
from converter.write.parts import Part, parts_of, with_those_they_use


class Fn(nn.Module):
    """A function of itself and the inputs, with modules, parameters ('g') and buffers ('mask_')."""

    def __init__(self, function: Callable[..., Any], **things: Any) -> None:
        super().__init__()
        self.function = function
        for name, thing in things.items():
            if name.endswith("_"):
                self.register_buffer(name, thing)
            else:
                setattr(self, name, thing)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def drawn(*shape: int) -> nn.Parameter:
    generator = torch.Generator().manual_seed(sum(shape))
    return nn.Parameter(torch.rand(shape, generator=generator) + 0.5)


def linear(width: int, units: int) -> nn.Linear:
    torch.manual_seed(width * units)
    return nn.Linear(width, units)


FC: dict[str, Any] = {"fc": linear(4, 3)}
SEQUENCE, IMAGE = (2, 5, 4), (2, 3, 6, 7)
Row = tuple[Fn, tuple[int, ...], str]

ROWS: dict[str, Row] = {
    "arithmetic": (Fn(lambda m, x: 1 - (2 / (m.fc(x) + 7)) ** 2, **FC), SEQUENCE, r"\*\* 2"),
    "product": (Fn(lambda m, x: m.fc(x) * m.fc(x * 2), **FC), SEQUENCE, "layers.Multiply"),
    "division": (Fn(lambda m, x: x / (x.abs() + 1)), SEQUENCE, r"x = x_? ?/|/ x|/ y"),
    "ranks": (Fn(lambda m, x: x + x.mean((0, 1))), SEQUENCE, r"\+ "),
    "minus": (Fn(lambda m, x: -m.fc(x), **FC), SEQUENCE, "= -y"),
    "comparison": (Fn(lambda m, x: torch.where(x > 0.1, x, x * 0.25)), SEQUENCE, r"ops\.where\(x > 0\.1"),
    "slice": (Fn(lambda m, x: x[:, 1:5:2, -3:]), SEQUENCE, r"x\[:, 1::?"),
    "clamp": (Fn(lambda m, x: x.clamp(-0.3, 0.7) + x.clamp(max=0.2)), SEQUENCE, r"ops\.clip"),
    "gelu_tanh": (Fn(lambda m, x: F.gelu(m.fc(x), approximate="tanh"), **FC), SEQUENCE, r"ops\.gelu"),
    "shrunk": (Fn(lambda m, x: F.hardshrink(x, 0.3) + F.softshrink(x, 0.2)), SEQUENCE, r"ops\.hard_shrink"),
    "batch_axis": (Fn(lambda m, x: x.permute(2, 0, 1) + 1), SEQUENCE, r"ops\.transpose"),
    "reduced": (Fn(lambda m, x: x.mean(1, keepdim=True) + x.amax(2, keepdim=True)), SEQUENCE, r"ops\.max"),
    "reshaped": (Fn(lambda m, x: m.fc(x.reshape(-1, 4)), **FC), SEQUENCE, r"ops\.reshape\(x, \(-1, 4\)\)"),
    "scale": (Fn(lambda m, x: x * (1 + m.g), g=drawn(4)), SEQUENCE, r"layers\.Embedding"),
    "layer_scale": (Fn(lambda m, x: m.c(x) * m.g, c=nn.Conv2d(3, 4, 3), g=drawn(4, 1, 1)), IMAGE, r"name=\"g\""),
    "positions": (Fn(lambda m, x: m.fc(x + m.p), p=drawn(1, 5, 4), **FC), SEQUENCE, r"\(1, 5, 4\)"),
    "used_twice": (Fn(lambda m, x: x * m.g + m.g, g=drawn(4)), SEQUENCE, r"layers\.Embedding"),
    "buffer": (Fn(lambda m, x: x + m.table_, table_=torch.rand(5, 4)), SEQUENCE, "trainable=False"),
    "frozen": (
        Fn(lambda m, x: x * m.g, g=nn.Parameter(torch.rand(4), requires_grad=False)),
        SEQUENCE,
        "trainable=False",
    ),
    "computed_dense": (
        Fn(lambda m, x: F.linear(x, m.w * m.g, m.b), w=drawn(3, 4), g=drawn(3, 1), b=drawn(3)),
        SEQUENCE,
        "@",
    ),
    "computed_conv": (
        Fn(lambda m, x: F.conv2d(x, m.w * 2, m.b, stride=2), w=drawn(4, 3, 3, 3), b=drawn(4)),
        IMAGE,
        r"ops\.conv\(",
    ),
    "edge": (Fn(lambda m, x: F.pad(x, (1, 2, 0, 1), mode="replicate")), IMAGE, r"def pad_edge\(x"),
    "reflect": (
        Fn(lambda m, x: F.pad(x, (1, 2, 2, 1, 1, 1), mode="reflect")),
        (2, 3, 4, 5, 6),
        r"def pad_reflect\(x",
    ),
}


def converted(row: Row, dtype: torch.dtype = torch.float32) -> converter.conversion.Conversion:
    model, shape, _ = row
    example = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 0.7
    return converter.convert(model.to(dtype).eval(), "keras", example_inputs=(example.to(dtype),), layout="source")


@pytest.mark.parametrize("name", ROWS)
def test_expressions_are_equal_in_float64(name: str) -> None:
    made = converted(ROWS[name])
    assert made.report.passed, str(made.report)
    assert made.report.proof, str(made.report)
    assert re.search(ROWS[name][2], made.source), made.source


ROUNDED = {"gelu_tanh", "shrunk"}
"""ONNX has their numbers in float32, as attributes and in onnxruntime, whatever the dtype."""


@pytest.mark.parametrize("name", [name for name in ROWS if name not in ROUNDED])
def test_dtypes_stay(name: str) -> None:
    model, shape, _ = ROWS[name]
    example = torch.rand(shape, dtype=torch.float64) * 2 - 0.7
    try:
        made = converted(ROWS[name], torch.float64)
        want = model(example)
        got = made.model(example)
    finally:
        model.to(torch.float32)
    assert made.report.passed, str(made.report)
    assert got.dtype == torch.float64
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ROWS)
def test_operations_are_numbered_within_the_model(name: str) -> None:
    made = converted(ROWS[name])
    names = [o.name for o in made.model.operations if not isinstance(o, keras.Layer)]
    stems = [re.sub(r"_\d+$", "", each) for each in names]
    assert set(stems) <= operation_names()
    assert sorted(names) == sorted(
        f"{s}_{stems[:i].count(s)}" if stems[:i].count(s) else s for i, s in enumerate(stems)
    )
    assert len({o.name for o in made.model.operations}) == len(made.model.operations)


LOADING = """
import json, sys
import keras, numpy as np
folder, names = sys.argv[1], sys.argv[2:]
found = {}
for name in names:
    model = keras.saving.load_model(f"{folder}/{name}.keras", safe_mode=True)
    given = np.load(f"{folder}/{name}.npz")
    got = keras.ops.convert_to_numpy(model(given["x"]))
    error = float(np.abs(got - given["y"]).max() / np.abs(given["y"]).max())
    found[name] = [error, str(got.dtype) == str(given["y"].dtype)]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every row as a .keras file, with an input and the source's answer."""
    folder = tmp_path_factory.mktemp("expressions")
    for name, (model, shape, _) in ROWS.items():
        example = torch.rand(shape) * 2 - 0.7
        made = converter.convert(model.eval(), "keras", example_inputs=(example,), layout="source", verify=False)
        made.save(folder / f"{name}.keras")
        np.savez(folder / f"{name}.npz", x=example.numpy(), y=model(example).detach().numpy())
    return folder


BACKENDS = [b for b in ("torch", "tensorflow", "jax") if importlib.util.find_spec(b) is not None]


@pytest.mark.parametrize("backend", BACKENDS)
def test_files_load_in_fresh_processes(backend: str, saved: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADING, str(saved), *ROWS],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert {name: error for name, (error, alike) in found.items() if not error < 1e-5 or not alike} == {}


def test_loose_parameters_are_trained_and_mapped() -> None:
    model = Fn(lambda m, x: m.fc(x * (1 + m.g)) + m.b, g=drawn(4), b=drawn(1, 1, 3), **FC)
    made = converter.convert(model, "keras", example_inputs=(torch.rand(SEQUENCE),))
    assert made.report.passed
    assert [(w.source, w.target, w.transform) for w in made.mapping] == [
        ("g", "g/embeddings", "reshaped to (1, 4)"),
        ("fc.weight", "fc/kernel", ""),
        ("fc.bias", "fc/bias", ""),
        ("b", "b/embeddings", "reshaped to (1, 3)"),
    ]
    x = torch.rand(SEQUENCE)
    model(x).square().sum().backward()
    made.model(x).square().sum().backward()
    layers = {layer.name: layer for layer in made.model.layers}
    for name in ("g", "b"):
        got = layers[name].weights[0].value.grad.reshape(-1)
        torch.testing.assert_close(got, getattr(model, name).grad.reshape(-1))


def test_a_loose_parameter_comes_back_as_one() -> None:
    model = Fn(lambda m, x: x * (1 + m.g) + m.p, g=drawn(4), p=drawn(5, 4))
    made = converter.convert(model, "keras", example_inputs=(torch.rand(SEQUENCE),))
    again = converter.convert(made.model, "torch")
    assert again.report.passed
    assert "nn.Embedding" not in again.source
    state = again.model.state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == {"g": (4,), "p": (5, 4)}


def test_layers_do_not_take_the_names_of_operations() -> None:
    model = Fn(lambda m, x: m.add(x) / m.mean(x), add=linear(4, 3), mean=linear(4, 3))
    made = converter.convert(model, "keras", example_inputs=(torch.rand(2, 4),))
    assert made.report.passed
    assert {"add_layer", "mean_layer"} <= {layer.name for layer in made.model.layers}


def test_same_file_whatever_was_made_before(tmp_path: Path) -> None:
    for name in ("one", "two"):
        converted(ROWS["arithmetic"]).save(tmp_path / f"{name}.keras")
    assert (tmp_path / "one.keras").read_bytes() == (tmp_path / "two.keras").read_bytes()


# Operators in the text ---------------------------------------------------------------------------------------------


def shown(record: Any) -> str:
    return Text(lambda value: value.name or "", lambda name: None).expr(record)


A, B, C = (Literal(name) for name in "abc")


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (Infix("*", Infix("+", A, B), C), "(a + b) * c"),
        (Infix("-", A, Infix("-", B, C)), "a - (b - c)"),
        (Infix("-", Infix("-", A, B), C), "a - b - c"),
        (Infix("**", Infix("**", A, B), C), "(a ** b) ** c"),
        (Infix("**", A, Infix("**", B, C)), "a ** (b ** c)"),
        (Infix("**", Prefix("-", A), 2), "(-a) ** 2"),
        (Infix("**", -2.0, A), "(-2.0) ** a"),
        (Prefix("-", Infix("**", A, 2)), "-a ** 2"),
        (Prefix("-", Infix("+", A, B)), "-(a + b)"),
        (Prefix("-", Infix("*", A, B)), "-(a * b)"),
        (Infix("*", Prefix("-", A), B), "-a * b"),
        (Infix("<", Infix("<", A, B), C), "(a < b) < c"),
        (Infix("&", Infix("<", A, B), Prefix("~", C)), "(a < b) & ~c"),
        (Infix("|", Infix("&", A, B), C), "a & b | c"),
        (Infix("@", A, Infix("@", B, C)), "a @ (b @ c)"),
        (Method(Infix("+", A, B), "sum", (1,)), "(a + b).sum(1)"),
        (Index(A, (slice(None), slice(1, None, 2), None, Ellipsis, -1)), "a[:, 1::2, None, ..., -1]"),
        (Index(A, (slice(B, Infix("+", B, 1)),)), "a[b:b + 1]"),
        (Size(A, 1), "a.shape[1]"),
        ((A,), "(a,)"),
        (Call("f", ([A, B],), {"axis": (1, 2)}), "f([a, b], axis=(1, 2))"),
    ],
)
def test_text(record: Any, text: str) -> None:
    assert shown(record) == text


@pytest.mark.parametrize("seed", range(30))
def test_text_means_what_the_record_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = {"a": 3.25, "b": 1.5, "c": 2.0}

    def grown(depth: int) -> tuple[Any, float]:
        if depth == 0 or rng.random() < 0.2:
            name = "abc"[rng.integers(3)]
            return Literal(name), values[name]
        if rng.random() < 0.25:
            inner, value = grown(depth - 1)
            return Prefix("-", inner), -value
        sign = ("+", "-", "*", "/")[rng.integers(4)]
        (left, x), (right, y) = grown(depth - 1), grown(depth - 1)
        if sign == "/" and y == 0:
            sign = "+"
        return Infix(sign, left, right), {"+": x + y, "-": x - y, "*": x * y, "/": x / (y or 1)}[sign]

    record, value = grown(5)
    assert eval(shown(record), dict(values)) == pytest.approx(value)  # noqa: S307  text that was made here


def test_records_are_walked_and_rewritten() -> None:
    one, two = ir.Value(name="one"), ir.Value(name="two")
    record = Infix(
        "+", Call("f", ((base.Ref(one), base.Ref(two)),), {"k": Index(base.Ref(one), (slice(base.Ref(two)),))}), 1
    )
    assert refs(record) == [one, two, one, two]
    assert sum(isinstance(part, Infix) for part in walk(record)) == 1
    changed = rewritten(record, lambda part: Literal("x") if isinstance(part, base.Ref) and part.value is two else None)
    assert shown(changed) == "f((one, x), k=one[:x]) + 1"


# Statements and several results ------------------------------------------------------------------------------------


def running_sum(n: View, library: str, axis: str) -> Block:
    """h = h * 0.5 + x[:, t] for every step, in a loop; every second h is negated. All of them, and the last one."""
    h, hs, t = Local("h"), Local("hs"), Local("t")
    loop = For(
        t,
        Call("range", (Size(n.x(), 1),)),
        (
            Set(h, Infix("+", Infix("*", h, 0.5), Index(n.x(), (slice(None), t)))),
            If(Infix("==", Infix("%", t, 2), 1) if library == "torch" else Infix("%", t, 2), (Set(h, Prefix("-", h)),)),
            Do(Method(hs, "append", (h,))),
        ),
    )
    first = Call(f"{library}.zeros_like", (Index(n.x(), (slice(None), 0)),))
    kind = "list[torch.Tensor]" if library == "torch" else ""
    return Block((Set(h, first), Set(hs, [], kind), loop), (Call(f"{library}.stack", (hs,), {axis: 1}), h))


@pytest.fixture
def throwaway() -> Iterator[type[base.Op]]:
    """An op of two outputs with a loop over time, registered for one test."""

    class RunningSum(base.Function):
        def outputs(self, *types: Type | None) -> tuple[Type, ...]:
            (x,) = (each for each in types if each is not None)
            return x, Type((x.shape[0], x.shape[2]), x.dtype)

        def torch(self, n: View) -> Record:
            return running_sum(n, "torch", "dim")

        def keras(self, n: View) -> Record:
            return running_sum(n, "ops", "axis")

    yield RunningSum
    del base.REGISTRY[RunningSum.domain, "RunningSum"]


@pytest.mark.parametrize("read", [(0, 1), (0,), (1,)])
def test_blocks_and_several_results(throwaway: type[base.Op], read: tuple[int, ...]) -> None:
    g = GraphBuilder()
    x = g.input("x", ["N", 5, 4], ir.DataType.FLOAT)
    with g.at(Place("running", "RunningSum")):
        made: Any = g.op(throwaway(), x)
    g.graph.outputs.extend(made[i] for i in read)
    data = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32")
    h, steps = np.zeros((2, 4), "float32"), []
    for t in range(5):
        h = (h * 0.5 + data[:, t]) * (-1 if t % 2 else 1)
        steps.append(h)
    want = [[np.stack(steps, 1), h][i] for i in read]
    structure = tuple(range(len(read))) if len(read) > 1 else 0
    source = to_torch.write(g.graph, structure, ["x"], "running").text
    assert "for t in range(x.shape[1]):" in source
    assert ("_ = " in source or "_, " in source) == (len(read) == 1)
    module: Any = execute(source).Model()
    keras_source = to_keras.write(g.graph, structure, "running", "running").text
    assert "for t in range(5):" in keras_source
    model = keras_load.load(keras_source, [])
    for got in (module(torch.from_numpy(data)), model(data)):
        each = got if isinstance(got, (list, tuple)) else [got]
        for one, other in zip(each, want, strict=True):
            np.testing.assert_allclose(one.detach().numpy(), other, rtol=1e-6)


def test_a_class_of_the_source_is_told_of(monkeypatch: pytest.MonkeyPatch, throwaway: type[base.Op]) -> None:
    text = (
        '@keras.saving.register_keras_serializable("kconvert")\n'
        "class Halved(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        "        return x * 0.5"
    )
    monkeypatch.setitem(keras_text.PARTS, "Halved", Part(text, (), frozenset({"keras"})))
    monkeypatch.setattr(throwaway, "keras", lambda op, n: Layer("Halved", inputs=(n.x(),)))
    monkeypatch.setattr(throwaway, "outputs", lambda op, *types: types[:1])
    g = GraphBuilder()
    x = g.input("x", ["N", 4], ir.DataType.FLOAT)
    g.graph.outputs.append(g.op(throwaway(), x))
    made = to_keras.write(g.graph, 0, "halved", "halved")
    assert any("Halved" in str(note) and "loads only after" in str(note) for note in made.notes)
    model = keras_load.load(made.text, [])
    np.testing.assert_allclose(model(np.ones((1, 4), "float32")).numpy(), 0.5)


# Parts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["torch_parts.py", "keras_parts.py"])
def test_parts_take_nothing_that_a_file_does_not_import(file: str) -> None:
    known = {
        "torch_parts.py": {"torch", "F", "nn", "math", "Sequence"},
        "keras_parts.py": {*keras_text.STANDARD, "ops", "layers", "keras"},
    }
    for part in parts_of(file).values():
        assert part.imports <= known[file]


def test_parts_stand_behind_those_they_use() -> None:
    parts = {name: parts_of("torch_parts.py")["pad_same"] for name in "abc"}
    parts = {
        name: type(part)(part.source, used, part.imports)
        for (name, part), used in zip(parts.items(), [("b", "c"), ("c",), ()])
    }
    assert with_those_they_use(["a", "b"], parts) == ["c", "b", "a"]


@pytest.mark.parametrize("mode", ["edge", "reflect"])
def test_padding_parts_are_numpys(mode: str) -> None:
    x = np.random.default_rng(0).normal(size=(2, 4, 5))
    pads = ((0, 0), (2, 1), (0, 3))
    got = getattr(keras_parts, f"pad_{mode}")(keras.ops.convert_to_tensor(x), pads)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(got), np.pad(x, pads, mode=mode))
