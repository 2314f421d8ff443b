"""How PyTorch's programs are read: into any graph, modules by their paths, several results, memory, ops in parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import converter
from converter.capture import from_torch, torch_walk
from converter.capture.from_keras import KerasGraph, capture_layer
from converter.errors import BadInput, Unsupported, UsageError
from converter.graph import flatten, layout, padding
from converter.graph.graph import Place, place_of
from converter.graph.onnx_model import proto
from converter.ops.indexing import Slice
from converter.ops.linear import MatMul
from converter.ops.shape import Transpose
from converter.ops.torch_modules import TORCH_MODULES, Made, TorchLeaf, TorchModule
from converter.rendering import screen
from converter.write import to_torch, torch_load

L = keras.layers


class Small(nn.Module):
    """Two modules and a function."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.relu(self.conv(x)).mean((2, 3))
        return self.fc(pooled)


def test_a_program_is_written_into_a_graph_that_keras_began() -> None:
    dense = L.Dense(3)
    dense.build((None, 3, 8, 5))
    program = torch.export.export(Small().eval(), (torch.zeros(4, 3, 8, 3),), strict=False)
    g = KerasGraph("model", False, capture_layer)
    x = g.input("x", ["N", 3, 8, 5], ir.DataType.FLOAT)
    with g.at(Place("dense", "Dense")):
        y = capture_layer(g, dense, (x,), {})
    made = torch_walk.write(g, program, [y], Place("custom", "Custom"))
    assert [v.dtype for v in made] == [ir.DataType.FLOAT]
    g.graph.outputs.extend(made)
    given = np.random.default_rng(0).normal(size=(4, 3, 8, 5)).astype(np.float32)
    session = onnxruntime.InferenceSession(proto(g).SerializeToString(), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"x": given})
    want = program.module()(torch.from_numpy(keras.ops.convert_to_numpy(dense(given))))
    np.testing.assert_allclose(got, want.detach().numpy(), rtol=1e-5, atol=1e-6)
    assert {place_of(node).path for node in g.graph} == {"dense", "custom", "custom/conv", "custom/fc"}
    assert set(g.sources) >= {"dense/kernel", "custom/conv.weight", "custom/fc.bias"}


class Fn(nn.Module):
    """A function of its inputs, with a layer at hand."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.fc = nn.Linear(4, 4)

    def forward(self, *xs: Tensor) -> Any:
        return self.function(self, *xs)


def again(model: nn.Module, examples: tuple[Tensor, ...], dynamic: Any = None) -> tuple[str, nn.Module]:
    """The model read, and written as PyTorch once more: the text, and what it makes."""
    if dynamic is not None and isinstance(model, Fn):
        dynamic = (dynamic,)  # *xs is one parameter
    captured = from_torch.capture(model.eval(), examples, dynamic=dynamic)
    layout.settle(captured.graph, "source")
    flatten.absorb(captured.graph)
    padding.fold(captured.graph)
    names = [value.name or "x" for value in captured.graph.graph.inputs]
    written = to_torch.write(captured.graph.graph, captured.outputs, names, "model")
    return written.text, torch_load.load(written.text, [(w.key, w.data) for w in written.weights]).eval()


def check(model: nn.Module, *shapes: tuple[int, ...], dynamic: Any = None, other: tuple[Any, ...] = ()) -> str:
    """The model read and written again answers the same in float64, at the lengths `other` too; the text."""
    model = model.double().eval()
    generator = torch.Generator().manual_seed(0)

    def drawn(shapes: tuple[tuple[int, ...], ...]) -> tuple[Tensor, ...]:
        return tuple(torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)

    text, made = again(model, drawn(shapes), dynamic)
    for each in (shapes, other or shapes):
        given = drawn(each)
        with torch.no_grad():
            want, got = model(*[x.clone() for x in given]), made(*given)
        wants, gots = (r if isinstance(r, tuple) else (r,) for r in (want, got))
        for one, two in zip(wants, gots, strict=True):
            assert one.shape == two.shape
            assert one.dtype == two.dtype
            torch.testing.assert_close(two, one, rtol=1e-10, atol=1e-12)
    return text


# Memory ------------------------------------------------------------------------------------------------------------


def set_column(m: Fn, x: Tensor) -> Tensor:
    y = m.fc(x)
    y[:, 0] = 1.0
    return y * 2


def set_rows(m: Fn, x: Tensor) -> Tensor:
    y = m.fc(x)
    y[:, 1:3] = x[:, :2]
    return y + x


def add_to_a_view(m: Fn, x: Tensor) -> Tensor:
    y = m.fc(x)
    before = torch.relu(y)
    y.view(2, -1).add_(1.0)
    return y + before


def a_view_read_later(m: Fn, x: Tensor) -> Tensor:
    y = m.fc(x)
    turned = y.transpose(0, 1)
    y.mul_(2.0)
    return turned


def through_two_views(m: Fn, x: Tensor) -> Tensor:
    y = m.fc(x)
    y.transpose(0, 1)[1].neg_()
    return y


def a_copy_stays(m: Fn, x: Tensor) -> Tensor:
    y = m.fc(x)
    copied = y.transpose(0, 1).reshape(8)
    y.mul_(2.0)
    return copied.view(4, 2).transpose(0, 1) + y


def no_copy(m: Fn, x: Tensor) -> Tensor:
    y = m.fc(x)
    same = y.reshape(8)
    y.mul_(2.0)
    return same.view(2, 4) + y


def twice_in_place(m: Fn, x: Tensor) -> Tensor:
    y = m.fc(x)
    z = y.relu_()
    z.add_(1.0)
    return y * z


@pytest.mark.parametrize(
    "function",
    [
        *(set_column, set_rows, add_to_a_view, a_view_read_later, through_two_views, a_copy_stays, no_copy),
        twice_in_place,
    ],
)
def test_what_is_changed_in_place_is_read_changed(function: Any) -> None:
    check(Fn(function), (2, 4), dynamic=({},))


def test_a_weight_that_is_changed_is_refused() -> None:
    def change(m: Fn, x: Tensor) -> Tensor:
        m.fc.bias.add_(1.0)
        return m.fc(x)

    with pytest.raises(Unsupported, match="changes a weight while the model runs"):
        from_torch.capture(Fn(change).eval(), (torch.zeros(2, 4),))


def test_an_input_that_is_changed_is_told() -> None:
    def change(m: Fn, x: Tensor) -> Tensor:
        x.add_(1.0)
        return m.fc(x)

    text = check(Fn(change), (2, 4))
    assert "fc" in text
    captured = from_torch.capture(Fn(change).eval(), (torch.zeros(2, 4),))
    assert any("in place" in str(note) for note in captured.notes)


# Several results, operations in parts ------------------------------------------------------------------------------


def pairs(m: Fn, x: Tensor) -> Any:
    a, b = x.chunk(2, 1)
    c, d, e = torch.split(m.fc(x), [1, 2, 1], 1)
    return torch.cat([a * b, c + e, d], 1)


def rows_of(m: Fn, x: Tensor) -> Any:
    first, *rest = x.unbind(1)
    for each in rest:
        first = first * 2 + each
    return first


def under_settings(m: Fn, x: Tensor) -> Tensor:
    with torch.no_grad():
        y = torch.relu(x)
    with torch.autocast("cpu", enabled=False):
        z = m.fc(y)
    return z + y


@pytest.mark.parametrize("function", [pairs, rows_of, under_settings])
def test_several_results(function: Any) -> None:
    check(Fn(function), (2, 4))


def test_an_operation_without_a_row_is_taken_apart() -> None:
    check(Fn(lambda m, x: nn.functional.pixel_shuffle(m.fc(x).reshape(2, 4, 1, 1), 2)), (2, 4), dynamic=({},))


def test_what_has_no_row_in_an_operations_parts_is_told() -> None:
    with pytest.raises(Unsupported) as caught:
        from_torch.capture(Fn(lambda m, x: torch.linalg.cross(x, torch.special.i1(x))).eval(), (torch.zeros(2, 3),))
    assert [item.what for item in caught.value.items]


# Modules as scopes -------------------------------------------------------------------------------------------------


class Block(nn.Module):
    """A class with a layer that it calls twice."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.fc(torch.relu(self.fc(x))))) + x


class Blocks(nn.Module):
    """A loop over a ModuleList, a module called twice, one inside another."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block() for _ in range(2))
        self.body = nn.Sequential(Block(), nn.Sequential(nn.Linear(4, 4), nn.ReLU()))
        self.last = Block()

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.last(self.last(self.body(x)))


def test_modules_become_classes_at_every_level() -> None:
    text = check(Blocks(), (2, 4))
    assert text.count("(nn.Module)") < 7
    assert "self.layers_0 = " in text
    assert text.count("self.last(") == 2
    assert text.count("self.fc = nn.Linear(4, 4") == 2  # Block in a list, and Block in a Sequential


# Lengths that are known at run time only --------------------------------------------------------------------------


def split_heads(m: Fn, x: Tensor) -> Tensor:
    b, t, c = x.shape
    heads = m.fc(x).view(b, t, 2, c // 2).transpose(1, 2)
    return heads.transpose(1, 2).reshape(b, t, c) + x.view(x.size(0), -1).view(b, -1, c)


def merged_batch(m: Fn, x: Tensor) -> Tensor:
    b, t, c = x.shape
    return m.fc(x.reshape(b * t, c)) * 2.0


def ones_between(m: Fn, x: Tensor) -> Tensor:
    return (m.fc(x).unsqueeze(1) + x.unsqueeze(2)).squeeze(-1)


def class_token(m: Fn, x: Tensor) -> Tensor:
    token = m.fc.weight[:1].unsqueeze(0).expand(x.shape[0], -1, -1)
    return torch.cat([token, m.fc(x)], 1)


def positions(m: Fn, x: Tensor) -> Tensor:
    steps = torch.arange(x.shape[1], device=x.device).to(x.dtype)
    backwards = torch.arange(1, x.shape[1] + 1, dtype=x.dtype)
    return m.fc(x) * steps[None, :, None] + backwards.view(1, -1, 1)


def filled_ones(m: Fn, x: Tensor) -> Tensor:
    b, t, _ = x.shape
    return torch.cat([m.fc(x), torch.ones(b, t, 2, dtype=x.dtype), x.new_zeros(b, t, 1), torch.full_like(x, 3.0)], -1)


def first_rows(m: Fn, x: Tensor) -> Tensor:
    table = m.fc.weight.t().repeat(4, 1)
    return m.fc(x) + table[: x.shape[1]]


def with_class_token(m: Fn, x: Tensor) -> Tensor:
    y = class_token(m, x)
    return y * torch.arange(y.shape[1], dtype=x.dtype)[None, :, None]


def picked_by_place(m: Fn, x: Tensor) -> Tensor:
    rows, steps = torch.arange(x.shape[0])[:, None], torch.arange(x.shape[1])[None]
    return m.fc(x)[rows, steps] + x[rows, -1 - steps]


def merged_and_back(m: Fn, x: Tensor) -> Tensor:
    b, t, c = x.shape
    y = torch.relu(m.fc(x.reshape(b * t, c)) * 2.0)
    return y.view(b, t, c) + x


def added_product(m: Fn, x: Tensor) -> Tensor:
    return torch.addmm(m.fc.bias, x.view(-1, x.size(-1)), m.fc.weight).view(*x.shape[:-1], 4).softmax(-1)


def heads_in_the_batch(m: Fn, x: Tensor) -> Tensor:
    b, t, c = x.shape
    q = m.fc(x).transpose(0, 1).reshape(t, b * 2, c // 2).transpose(0, 1)
    y = torch.bmm(torch.bmm(q, q.transpose(1, 2)).softmax(-1), q)
    y = y.view(b, 2, t, c // 2).permute(2, 0, 1, 3).reshape(t * b, c)
    return m.fc(y).view(t, b, c).transpose(0, 1)


LENGTHS = ({0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO},)
DYNAMIC = [split_heads, merged_batch, ones_between, class_token, positions, filled_ones, first_rows, with_class_token]
DYNAMIC += [picked_by_place, merged_and_back, added_product, heads_in_the_batch]


@pytest.mark.parametrize("function", DYNAMIC)
def test_lengths_that_are_known_at_run_time_only(function: Any) -> None:
    check(Fn(function), (3, 5, 4), dynamic=LENGTHS, other=((2, 7, 4),))


@pytest.mark.parametrize("function", DYNAMIC)
def test_such_graphs_run_in_onnxruntime(function: Any) -> None:
    model = Fn(function).eval()
    captured = from_torch.capture(model, (torch.randn(3, 5, 4),), dynamic=(LENGTHS,))
    text = proto(captured.graph).SerializeToString()
    session = onnxruntime.InferenceSession(text, providers=["CPUExecutionProvider"])
    for shape in ((3, 5, 4), (1, 7, 4)):
        x = torch.randn(shape)
        (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        np.testing.assert_allclose(got, model(x).detach().numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("function", DYNAMIC)
def test_such_models_become_keras(function: Any) -> None:
    model = Fn(function).eval()
    names = ({0: "batch", 1: "L"},)
    made = converter.convert(model, "keras", example_inputs=(torch.randn(3, 5, 4),), dynamic=names, verify=False)
    for shape in ((3, 5, 4), (2, 7, 4)):
        x = torch.randn(shape)
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(made.model(x)), model(x).detach().numpy(), rtol=1e-5, atol=1e-5
        )


class Pooled(nn.Module):
    """An image of any size with a table of numbers, as long as there are images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(5, 4)

    def forward(self, image: Tensor, numbers: Tensor, *, scale: Tensor) -> Tensor:
        return torch.relu(self.conv(image)).mean((2, 3)) + self.fc(numbers) * scale


@pytest.mark.parametrize("form", [dict, tuple])
def test_axes_of_any_length_have_names(form: type) -> None:
    named = {"image": {0: "batch", 2: "H", 3: "W"}, "numbers": {0: "batch"}, "scale": {0: "batch"}}
    made = converter.convert(
        Pooled(),
        "onnx",
        example_inputs=(torch.randn(1, 3, 8, 6), torch.randn(1, 5)),
        example_kwargs={"scale": torch.randn(1, 4)},
        dynamic=named if form is dict else tuple(named.values()),
    )
    assert made.report.passed, str(made.report)
    want = {"image": ["batch", 3, "H", "W"], "numbers": ["batch", 5], "scale": ["batch", 4]}
    assert made.report.to_dict()["dynamic"] == want
    shapes = {i.name: [d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim] for i in made.onnx.graph.input}
    assert shapes == want
    assert "dynamic   image: batch, 3, H, W" in screen(made.report)


class Table(nn.Module):
    """Twelve positions at most."""

    def __init__(self) -> None:
        super().__init__()
        self.positions, self.fc = nn.Parameter(torch.randn(1, 12, 4)), nn.Linear(4, 4)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return (self.fc(x) + self.positions[:, : x.shape[1]]) * mask[..., None]


def test_a_length_that_the_model_limits() -> None:
    names = {0: "batch", 1: "L"}
    captured = from_torch.capture(Table().eval(), (torch.randn(1, 5, 4), torch.randn(1, 5)), dynamic=(names, names))
    shapes = [[d if isinstance(d, int) else str(d) for d in x.shape] for x in captured.graph.graph.inputs]
    assert shapes == [["batch", "L", 4], ["batch", "L"]]
    assert ("L", "the model takes at most 12") in captured.notes
    assert not any("batch" in note for note in captured.notes)
    text = check(Table(), (2, 5, 4), (2, 5), dynamic=(names, names), other=((3, 7, 4), (3, 7)))
    assert "narrow(1, 0, " in text


def test_an_axis_that_cannot_have_any_length_is_told() -> None:
    with pytest.raises(BadInput, match=r"L.*(constant|specialized|inferred)"):
        from_torch.capture(Fn(lambda m, x: m.fc(x)), (torch.zeros(2, 4),), dynamic=({0: "batch", 1: "L"},))
    with pytest.raises(UsageError, match="a name for an axis"):
        from_torch.capture(Fn(lambda m, x: m.fc(x)), (torch.zeros(2, 4),), dynamic=({0: "a b"},))
    given = (torch.zeros(2, 3, 8, 8), torch.zeros(2, 5))
    with pytest.raises(UsageError, match="1 arguments more"):
        from_torch.capture(Pooled(), given, {"scale": torch.zeros(2, 4)}, [{}] * 4)


def test_what_needs_a_fixed_length_says_which_input_fixes_it() -> None:
    def apart(m: Fn, x: Tensor) -> Tensor:
        b, t, c = x.shape
        return m.fc(x.reshape(b * t, c)).view(t, b, c)

    example = (torch.zeros(3, 5, 4),)
    with pytest.raises(Unsupported, match=r"several lengths that are known at run time only.*--input"):
        converter.convert(Fn(apart).eval(), "keras", example_inputs=example, dynamic=({0: "b", 1: "t"},))


# Modules that are kept whole ---------------------------------------------------------------------------------------


class Recurrent(nn.Module):
    """Two results of an LSTM, one of them nested."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.fc = nn.LSTM(4, 3, batch_first=True), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, (h, _) = self.rnn(x)
        return self.fc(y), h


def lstm_shapes(module: nn.LSTM, x: Tensor) -> Any:
    state = Made((1, x.shape[0], module.hidden_size), x.dtype)
    return Made((x.shape[0], x.shape[1], module.hidden_size), x.dtype), (state, state)


def test_a_module_is_kept_whole_with_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row as it would be written for nn.LSTM, which torch.export alone fixes to one length."""
    seen: list[Any] = []

    def row(g: Any, leaf: TorchLeaf, x: ir.Value) -> Any:
        seen.append((leaf.option("hidden_size"), sorted(leaf.weights), g.sizes(x)))
        y = g.op(MatMul(), x, g.transposed(leaf.weights["weight_ih_l0"], (1, 0)))
        y = g.op(Slice(starts=(0,), ends=(3,), axes=(2,), steps=(1,)), y)
        last = g.op(Slice(starts=(0,), ends=(1,), axes=(1,), steps=(1,)), y)
        return y, (g.op(Transpose(perm=(1, 0, 2)), last), None)

    monkeypatch.setitem(TORCH_MODULES, "LSTM", TorchModule(row, lstm_shapes))
    model = Recurrent().eval()
    lengths = ({0: "batch", 1: "L"},)
    captured = from_torch.capture(model, (torch.randn(2, 5, 4),), dynamic=lengths)
    assert "forward" not in vars(model.rnn)
    ((hidden, weights, sizes),) = seen
    assert hidden == 3
    assert weights == ["bias_hh_l0", "bias_ih_l0", "weight_hh_l0", "weight_ih_l0"]
    assert not isinstance(sizes[1], int)
    (x,) = captured.graph.graph.inputs
    assert [str(d) if not isinstance(d, int) else d for d in x.shape] == ["batch", "L", 4]
    text = proto(captured.graph).SerializeToString()
    session = onnxruntime.InferenceSession(text, providers=["CPUExecutionProvider"])
    given = torch.randn(3, 7, 4)
    y, h = session.run(None, {"x": given.numpy()})
    want = (given @ model.rnn.weight_ih_l0.T)[..., :3]
    np.testing.assert_allclose(y, model.fc(want).detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(h[0], want[:, 0].detach().numpy(), rtol=1e-5, atol=1e-6)


def test_what_was_patched_is_restored_when_the_trace_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(module: nn.LSTM, x: Tensor) -> Any:
        raise ValueError("no shapes")

    monkeypatch.setitem(TORCH_MODULES, "LSTM", TorchModule(lambda g, leaf, x: x, fails))
    model = Recurrent().eval()
    with pytest.raises(BadInput, match="no shapes"):
        from_torch.capture(model, (torch.randn(2, 5, 4),))
    assert "forward" not in vars(model.rnn)
    assert model(torch.randn(2, 5, 4))[0].shape == (2, 5, 2)


def test_a_region_of_a_program_is_one_module() -> None:
    """An activation that torch writes out as three operations, in a live model and in a program that was exported."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Softsign()).eval()
    program = torch.export.export(model, (torch.zeros(2, 4),), strict=False)
    for given, examples in ((model, (torch.zeros(2, 4),)), (program, None)):
        captured = from_torch.capture(given, examples)
        assert [node.op_type for node in captured.graph.graph if node.op_type != "Transpose"][-1] == "Softsign"
        assert len(list(captured.graph.graph)) <= 3


def test_a_region_with_options_is_read_off_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    def options(calls: Any) -> Any:
        return {"names": [name for name, _ in calls]}

    def row(g: Any, leaf: TorchLeaf, x: ir.Value) -> ir.Value:
        assert leaf.option("names")
        assert sorted(leaf.weights) == ["bias", "weight"]
        return x

    monkeypatch.setitem(TORCH_MODULES, "GroupNorm", TorchModule(row, None, options))
    model = nn.Sequential(nn.GroupNorm(2, 4), nn.ReLU()).eval()
    captured = from_torch.capture(torch.export.export(model, (torch.zeros(2, 4, 3),), strict=False))
    assert [node.op_type for node in captured.graph.graph] == ["Relu"]
