"""Evidence that cannot fail is no proof: saturated outputs, dead and constant models, chaos in float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from torch import nn

import converter
from converter.judge.inputs import InputSet, InputSpec, given_inputs, make_inputs
from converter.judge.judge import judge
from converter.judge.retype import meant
from converter.judge.run_keras import keras_runner
from converter.judge.run_onnx import onnx_callable64
from converter.judge.run_ort import ort_runner
from converter.judge.run_torch import torch_runner
from converter.judge.runner import Boundary, NoFloat64, Runner
from converter.judge.taps import LOGITS, split
from converter.judge.verdict import Gates, Verdict
from converter.judge.worker import Worker
from tests.cases import all_cases
from tests.test_ops import build

L = keras.layers
PROOF = Gates(require_proof=True)
SPEC = InputSpec("x", (None, 8))


def sets(spec: InputSpec = SPEC) -> list[InputSet]:
    return make_inputs([spec])


def without_taps(runner: Runner) -> Runner:
    """The runner as one that shows outputs alone."""
    open64 = runner.open64

    def opened() -> Any:
        assert open64 is not None
        run = open64()
        return lambda arrays: split(run(arrays))[0]

    return replace(runner, run32=lambda arrays: split(runner.run32(arrays))[0], open64=opened)


class Classifier(nn.Module):
    """Two layers and a norm; the logits are so far apart that a softmax over them is 0 and 1 to the last bit."""

    def __init__(self, end: str = "softmax", scale: float = 1e5) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.norm, self.two = nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 5)
        self.norm.running_var.uniform_(0.5, 2.0)
        self.end = {"softmax": nn.Softmax(-1), "sigmoid": nn.Sigmoid(), "tanh": nn.Tanh()}[end]
        with torch.no_grad():
            self.two.weight.mul_(1e-2 * scale)
            self.two.bias.copy_(torch.tensor([40.0, 1, 0, -1, -2] if end == "softmax" else [40.0, 30, -30, -40, 50]))
            self.two.bias.mul_(scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.end(self.two(torch.relu(self.norm(self.one(x)))))
        return made


def epsilon(net: Classifier) -> None:
    net.norm.eps = 1.1e-5


def swapped(net: Classifier) -> None:
    with torch.no_grad():
        net.two.weight[[1, 2]] = net.two.weight[[2, 1]]


def transposed(net: Classifier) -> None:
    with torch.no_grad():
        net.one.weight[:8] = net.one.weight[:8].T.clone()


def not_a_number(net: Classifier) -> None:
    with torch.no_grad():
        net.two.weight[3, 3] = torch.nan


# ---- what stands before a saturated activation


@pytest.mark.parametrize("end", ["softmax", "sigmoid", "tanh"])
def test_saturated_and_equal_is_a_proof(end: str) -> None:
    verdict = judge(torch_runner(Classifier(end)), [torch_runner(Classifier(end))], sets(), gates=PROOF)
    assert verdict.passed, verdict
    assert verdict.proof
    assert not verdict.weak
    assert verdict.sensitivity["output"] < 1e-3
    assert max(verdict.sensitivity.values()) > 1e-3


@pytest.mark.parametrize("end", ["softmax", "sigmoid", "tanh"])
@pytest.mark.parametrize("fault", [epsilon, swapped, transposed], ids=lambda fault: fault.__name__)
def test_fault_before_a_saturated_end_is_caught(end: str, fault: Callable[[Classifier], None]) -> None:
    good, bad = Classifier(end), Classifier(end)
    fault(bad)
    blind = judge(without_taps(torch_runner(good)), [without_taps(torch_runner(bad))], sets()[:3])
    assert blind.proof, "the outputs alone must not show it, or the test shows nothing"
    assert blind.weak == ["output"]
    verdict = judge(torch_runner(good), [torch_runner(bad)], sets())
    assert not verdict.passed
    failed = {diff.name for rung in verdict.rungs if rung.passed is False for diff in rung.diffs if not diff.passed}
    assert failed == {"logits of output" if end != "tanh" else "before the tanh of output"}


def test_nan_before_a_saturated_end_is_caught() -> None:
    bad = Classifier()
    not_a_number(bad)
    assert not judge(torch_runner(Classifier()), [torch_runner(bad)], sets()).passed


def test_one_side_without_taps_is_weak() -> None:
    verdict = judge(torch_runner(Classifier()), [without_taps(torch_runner(Classifier()))], sets(), gates=PROOF)
    assert verdict.weak == ["output"]
    assert not verdict.passed
    assert "weak" in verdict.broken


def test_converted_classifier_with_saturated_end() -> None:
    """The whole line, on every rung; a fault that is planted in the graph's weights shows on each."""
    keras.utils.set_random_seed(0)
    x = keras.Input((6, 6, 3))
    y = L.Dense(4, activation="softmax", name="end")(L.Flatten()(L.BatchNormalization()(L.Conv2D(4, 3)(x))))
    model = keras.Model(x, y)
    end = model.get_layer("end")
    end.set_weights([end.get_weights()[0] * 1e3, np.asarray([9e5, 0, 0, 0])])
    made = converter.convert(model, "torch")
    assert made.report.passed
    assert made.report.proof
    assert not made.report.weak
    shown = [{each["name"] for each in rung["outputs"]} for rung in made.report.rungs]
    assert all(len(names) == 2 and any(name.startswith(LOGITS) for name in names) for names in shown)


class Ends(nn.Module):
    def __init__(self, end: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.linear, self.end = nn.Linear(8, 6), end

    def forward(self, x: torch.Tensor) -> Any:
        return self.end(self.linear(x))


def doubled_in_place(x: torch.Tensor) -> torch.Tensor:
    return torch.softmax(x, -1).mul_(2)


@pytest.mark.parametrize(
    ("end", "kind", "before"),
    [
        (nn.Softmax(-1), "softmax", lambda x: x),
        (lambda x: nn.functional.softmax(x, dim=-1), "softmax", lambda x: x),
        (lambda x: torch.softmax(x, 1), "softmax", lambda x: x),
        (lambda x: x.softmax(-1), "softmax", lambda x: x),
        (lambda x: torch.softmax(dim=-1, input=x), "softmax", lambda x: x),
        (lambda x: x.log_softmax(-1), "log_softmax", lambda x: x),
        (nn.Sigmoid(), "sigmoid", lambda x: x),
        (nn.Hardsigmoid(), "hard_sigmoid", lambda x: x),
        (lambda x: (x * 2).tanh(), "tanh", lambda x: x * 2),
        (lambda x: x.softmax(-1).reshape(-1, 2, 3).permute(0, 2, 1), "softmax", lambda x: x.reshape(-1, 2, 3).mT),
        (lambda x: [x.softmax(-1).unsqueeze(1).flatten(1)], "softmax", lambda x: x),
        (lambda x: x.softmax(-1) * 1, None, None),
        (doubled_in_place, None, None),
        (lambda x: x.sigmoid_(), None, None),
    ],
)
@pytest.mark.parametrize("exported", [False, True], ids=["module", "exported"])
def test_taps_of_torch(end: Any, kind: str | None, before: Any, exported: bool) -> None:
    net = Ends(end).eval()
    x = torch.randn(2, 8)
    with torch.no_grad():
        wanted = net(x)
    wanted = wanted[0] if isinstance(wanted, list) else wanted
    run = net if not exported else torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim.AUTO},)).module()
    plain, taps = split(torch_runner(run).run32([x.numpy()]))
    assert np.array_equal(plain[0][1], wanted.numpy())
    if kind is None:
        assert taps == {} or exported  # an exported program computes in place no more
        return
    with torch.no_grad():
        expected = before(net.linear(x)).numpy()
    assert taps[0][0] == kind
    assert np.array_equal(taps[0][1], expected)


def keras_ends() -> dict[str, Any]:
    x = keras.Input((8,), name="x")
    dense = L.Dense(6)
    inner = keras.Sequential([keras.Input((8,)), L.Dense(6, activation="softmax")])
    return {
        "dense": keras.Model(x, L.Dense(6, activation="softmax")(x)),
        "sequential": inner,
        "activation": keras.Model(x, L.Activation("sigmoid")(dense(x))),
        "layer": keras.Model(x, L.Softmax()(dense(x))),
        "operation": keras.Model(x, keras.ops.softmax(dense(x))),
        "behind": keras.Model(x, L.Permute((2, 1))(L.Reshape((2, 3))(L.Dense(6, activation="tanh")(x)))),
        "nested": keras.Model(x, {"a": inner(x), "b": L.Flatten()(inner(x))}),
    }


@pytest.mark.parametrize("name", list(keras_ends()))
def test_taps_of_keras(name: str) -> None:
    model = keras_ends()[name]
    x = np.random.default_rng(0).normal(size=(2, 8)).astype("float32")
    wanted = [keras.ops.convert_to_numpy(each) for each in keras.tree.flatten(model(x))]
    plain, taps = split(keras_runner(model).run32([x]))
    assert all(np.array_equal(mine, theirs) for (_, mine), theirs in zip(plain, wanted, strict=True))
    assert sorted(taps) == list(range(len(wanted)))
    ends = {"softmax": keras.ops.softmax, "sigmoid": keras.ops.sigmoid, "tanh": keras.ops.tanh}
    for index, (kind, value) in taps.items():
        assert value.shape == wanted[index].shape
        assert np.abs(keras.ops.convert_to_numpy(ends[kind](value)) - wanted[index]).max() < 1e-6


def test_taps_on_tensorflow_in_the_reference_process(tmp_path: Path) -> None:
    path = tmp_path / "net.keras"
    x = keras.Input((8,), name="x")
    y = L.Dense(6, activation="softmax")(x)
    model = keras.Model(x, [y, L.Reshape((6, 1))(L.Dense(6, activation="sigmoid")(x)), L.Dense(6)(x)])
    model.save(path)
    array = np.random.default_rng(0).normal(size=(2, 8)).astype("float32")
    with Worker(
        "converter.reference:open_file",
        {"path": str(path), "arch": None, "arch_args": None},
        {"KERAS_BACKEND": "tensorflow"},
    ) as worker:
        runner = worker.runner("file")
        assert runner.backend == "keras/tensorflow"
        plain, taps = split(runner.run32([array]))
    mine, own = split(keras_runner(model).run32([array]))
    assert {i: kind for i, (kind, _) in taps.items()} == {0: "softmax", 1: "sigmoid"}
    assert all(np.abs(a - b).max() < 1e-5 for (_, a), (_, b) in zip(plain, mine, strict=True))
    assert all(np.abs(taps[i][1] - own[i][1]).max() < 1e-5 for i in taps)


def test_taps_follow_the_axis_order_of_their_output() -> None:
    keras.utils.set_random_seed(0)
    x = keras.Input((6, 5, 3))
    model = keras.Model(x, L.Softmax(axis=-1)(L.Conv2D(4, 3, padding="same")(x)))
    made = converter.convert(model, "torch", layout="native")
    assert [turn.kind for turn in made.turns] == ["input", "output"]
    assert made.report.passed
    assert made.report.proof
    assert {each["name"] for each in made.report.rungs[-1]["outputs"]} == {"output", "logits of output"}


@pytest.mark.parametrize("end", ["softmax", "sigmoid"])
def test_taps_of_onnx_leave_the_outputs_as_they_are(end: str) -> None:
    import onnxruntime

    x = keras.Input((8,), name="x")
    model = keras.Model(x, L.Reshape((2, 3))(L.Dense(6, activation=end)(x)))
    data = converter.convert(model, "onnx", verify=False).onnx.SerializeToString()
    array = np.random.default_rng(0).normal(size=(3, 8)).astype("float32")
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    [wanted] = session.run(None, {session.get_inputs()[0].name: array})
    plain, taps = split(ort_runner(data).run32([array]))
    assert len(plain) == 1
    assert np.array_equal(plain[0][1], wanted)
    mine, own = split(keras_runner(model).run32([array]))
    assert taps[0][0] == own[0][0] == end
    assert taps[0][1].shape == wanted.shape
    assert np.abs(taps[0][1] - own[0][1]).max() < 1e-5
    assert np.abs(plain[0][1] - mine[0][1]).max() < 1e-5


# ---- outputs that do not move


class Returns(nn.Module):
    def __init__(self, call: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.call(x)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: torch.ones(x.shape[0], 3),
        lambda x: x * 0,
        lambda x: torch.relu(-torch.abs(x) - 1),
        lambda x: torch.full_like(x, 0.3) + 1e-12 * x,
    ],
    ids=["constant", "zero", "dead relu", "hardly"],
)
def test_outputs_that_do_not_move_are_weak(call: Any) -> None:
    verdict = judge(torch_runner(Returns(call)), [torch_runner(Returns(call))], sets())
    assert verdict.weak == ["output"]
    assert any("tried" in note and "x255" in note for note in verdict.notes)
    required = judge(torch_runner(Returns(call)), [torch_runner(Returns(call))], sets(), gates=PROOF)
    assert not required.passed
    assert "required" in required.broken


IMAGE = InputSpec("x", (None, 6, 6, 3))


@pytest.mark.parametrize(
    ("call", "spec"),
    [
        (lambda x, eps: torch.relu(x - 6) * (1 + eps), SPEC),
        (lambda x, eps: torch.relu(0.05 - x.abs().amax((1, 2, 3))) * (1 + eps), IMAGE),
        (lambda x, eps: torch.relu(x.mean((1, 2, 3)) - 60) * (1 + eps), IMAGE),
    ],
    ids=["large", "small", "images"],
)
def test_other_inputs_are_tried(call: Any, spec: InputSpec) -> None:
    """The outputs are 0 for normal inputs; a fault behind them shows under inputs that the judge finds by itself."""
    good, bad = Returns(lambda x: call(x, 0)), Returns(lambda x: call(x, 1e-3))
    verdict = judge(torch_runner(good), [torch_runner(good)], sets(spec), gates=PROOF)
    assert verdict.passed, verdict
    assert not verdict.weak
    assert len(verdict.sets) == len(sets(spec)) + 2
    assert verdict.sets[-1]["name"].endswith(", again")
    assert any("two sets were added" in note for note in verdict.notes)
    assert not judge(torch_runner(good), [torch_runner(bad)], sets(spec)).passed
    again = judge(torch_runner(good), [torch_runner(good)], sets(spec))
    assert again.sets == verdict.sets


def test_one_given_image_is_compared_with_drawn_ones() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 3))
    image = np.random.default_rng(0).uniform(0, 255, (1, 3, 6, 6)).astype("float32")
    given = [given_inputs([image]), given_inputs([image[::-1].copy()], "given, reversed")]
    verdict = judge(torch_runner(net), [torch_runner(net)], given, gates=PROOF)
    assert verdict.passed, verdict
    assert not verdict.weak
    assert [each["name"] for each in verdict.sets] == ["given", "drawn like them", "drawn like them, again"]
    made = converter.convert(keras.Sequential([keras.Input((4,)), L.Dense(3)]), "torch", inputs=[np.ones((1, 4), "f")])
    assert made.report.passed
    assert not made.report.weak


def test_one_id_is_compared_with_others() -> None:
    """A batch of one id and its reverse are the same: ids of the other sets are drawn."""
    net = nn.Embedding(5, 3)
    given = [given_inputs([np.array([2])]), given_inputs([np.array([2])]), given_inputs([np.array([0, 4, 1])])]
    verdict = judge(torch_runner(net), [torch_runner(net)], given)
    assert verdict.passed, verdict
    assert not verdict.weak


# ---- chaotic in float32


class Chaotic(nn.Module):
    """The logistic map: every step doubles what was rounded."""

    def __init__(self, steps: int = 16, rate: float = 4.0, other: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.steps, self.rate, self.other = steps, rate, other
        torch.manual_seed(1)
        nn.init.normal_(self.linear.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = 0.5 + 0.4 * torch.sin(self.linear(x))
        for _ in range(self.steps):
            x = self.rate * x - self.rate * x * x if self.other else self.rate * x * (1 - x)
        return x


def chaotic(**changes: Any) -> Chaotic:
    net = Chaotic(**changes)
    with torch.no_grad():
        net.linear.bias.fill_(0.3)
    return net


def rungs(verdict: Verdict) -> dict[str, Any]:
    return {rung.precision: rung for rung in verdict.rungs[1:]}


def test_chaos_is_named_and_rests_on_float64() -> None:
    verdict = judge(torch_runner(chaotic()), [torch_runner(chaotic(other=True))], sets(), gates=PROOF)
    assert verdict.chaotic["output"] > 1e-2
    assert verdict.passed, verdict
    assert verdict.proof
    assert rungs(verdict)["float64"].passed
    assert rungs(verdict)["float32"].passed is None
    assert "chaotic in float32: own error" in rungs(verdict)["float32"].note
    assert "chaotic" in verdict.rests_on
    assert verdict.to_dict()["chaotic"] == verdict.chaotic


def test_chaos_past_what_float64_carries_is_equal_without_proof() -> None:
    """float64 rounds a 2 ** 29th of what float32 does: here that is more than the proof allows."""
    source, hop = torch_runner(chaotic(steps=18)), torch_runner(chaotic(steps=18, other=True))
    verdict = judge(source, [hop], sets())
    assert verdict.passed, verdict
    assert not verdict.proof
    assert "as far as it carries" in verdict.rests_on
    assert not judge(source, [hop], sets(), gates=PROOF).passed
    assert not judge(source, [torch_runner(chaotic(steps=18, rate=4.0 * (1 - 1e-9)))], sets()).passed


def test_faults_in_a_chaotic_network_are_caught() -> None:
    source = torch_runner(chaotic())
    swapped = chaotic()
    with torch.no_grad():
        swapped.linear.weight[[0, 1]] = swapped.linear.weight[[1, 0]]
    nan = chaotic()
    with torch.no_grad():
        nan.linear.weight[0, 0] = torch.nan
    for bad in (chaotic(rate=4.0 * (1 - 1e-9)), swapped, nan, chaotic(steps=15)):
        verdict = judge(source, [torch_runner(bad)], sets())
        assert not verdict.passed
        assert not verdict.proof


def test_chaos_without_float64_is_no_pass() -> None:
    hop = torch_runner(chaotic())
    hop.open64 = None
    verdict = judge(torch_runner(chaotic()), [hop], sets())
    assert not verdict.passed
    assert "chaotic" in verdict.broken


def test_a_wrong_float64_does_not_pass_as_chaos() -> None:
    """The source's float64 is another model's, and the target is that other model: only the float32 answers tell."""
    net, other = nn.Linear(8, 4), nn.Linear(8, 4)
    source = torch_runner(net)
    source.open64 = torch_runner(other).open64
    verdict = judge(source, [torch_runner(other)], sets())
    assert not verdict.passed
    assert not verdict.proof
    assert any("no rounding" in note for note in verdict.notes)
    assert judge(source, [torch_runner(net)], sets()).passed


def test_a_large_tolerance_says_why() -> None:
    """Ten steps: the source rounds by 1e-4, so the budget is past a thousandth of the output."""
    verdict = judge(torch_runner(chaotic(steps=11)), [torch_runner(chaotic(steps=11))], sets())
    assert verdict.passed
    assert not verdict.chaotic
    rung = rungs(verdict)["float32"]
    assert max(diff.tol / diff.scale for diff in rung.diffs) > 1e-3
    assert "16 times the source's own rounding in float32" in rung.note


# ---- ONNX in float64


def test_onnx_is_proved_as_the_others_are(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    x = keras.Input((9, 8, 3))
    y = L.BatchNormalization()(L.Conv2D(4, 3, padding="same", activation="gelu")(x))
    y = L.Dense(5, activation="softmax")(L.GlobalAveragePooling2D()(L.AveragePooling2D(2)(y)))
    model = keras.Model(x, y)
    for weight in model.weights:
        weight.assign(np.random.default_rng(0).uniform(0.5, 1.5, weight.shape))
    made = converter.convert(model, "onnx", layout="source")
    assert made.report.passed
    assert made.report.proof, made.report
    [double] = [rung for rung in made.report.rungs if rung["precision"] == "float64"]
    assert double["sets"] == 1
    assert max(each["max_rel"] for each in double["outputs"]) < 1e-12
    # A wrong epsilon that float32 does not show, in the file.
    hop = ort_runner(_with_epsilon(made.onnx, 1.01e-3), double=True)
    verdict = judge(keras_runner(model), [hop], make_inputs([InputSpec("x", (None, 9, 8, 3))]))
    assert not verdict.proof
    assert rungs(verdict)["float64"].passed is False


ROWS = [
    *("activation_gelu", "activation_conv_selu", "activation_conv_hard_silu", "rescaling_bytes", "normalization_list"),
    *("groupnorm_axis1", "layernorm_epsilon", "batchnorm_behind_conv", "convnext_block", "ops_array_full"),
    *("inception_resnet_scaled_sum", "model_unknown_height_and_width"),
]


@pytest.mark.parametrize("row", [case for case in all_cases() if case.id in ROWS], ids=lambda case: case.id)
def test_rows_are_proved_in_onnx(row: Any) -> None:
    """Operators, attributes and constants that onnx.reference, or a protobuf, would hold in float32."""
    report = converter.convert(build(row), "onnx").report
    assert report.passed
    assert report.proof, report.notes


def _with_epsilon(proto: Any, epsilon: float) -> bytes:
    copy = type(proto)()
    copy.CopyFrom(proto)
    [norm] = [node for node in copy.graph.node if node.op_type == "BatchNormalization"]
    for attribute in norm.attribute:
        attribute.f = epsilon if attribute.name == "epsilon" else attribute.f
    data: bytes = copy.SerializeToString()
    return data


def test_onnx_that_is_too_large_or_unknown_to_the_reference_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    model = keras.Sequential([keras.Input((8,)), L.Dense(3)])
    data = converter.convert(model, "onnx", verify=False).onnx.SerializeToString()
    monkeypatch.setattr("converter.judge.run_onnx.MOST_PRODUCTS", 10)
    with pytest.raises(NoFloat64, match="multiply-adds"):
        onnx_callable64(data)([np.ones((1, 8))])
    verdict = judge(keras_runner(model), [ort_runner(data, double=True)], sets())
    assert verdict.passed
    assert not verdict.proof
    assert any("has no float64" in note and "multiply-adds" in note for note in verdict.notes)


@pytest.mark.parametrize("dtype", ["DOUBLE", "BFLOAT16"])
def test_a_graph_that_the_provider_cannot_run_runs_as_a_float32_clone(dtype: str) -> None:
    from onnx import TensorProto, helper, numpy_helper

    kind = getattr(TensorProto, dtype)
    kernel = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype("float32")
    weight = helper.make_tensor("k", kind, kernel.shape, kernel.reshape(-1))
    x, y = (helper.make_tensor_value_info(name, kind, None) for name in "xy")
    graph = helper.make_graph([helper.make_node("Conv", ["x", "k"], ["y"])], "g", [x], [y], [weight])
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10).SerializeToString()
    net = nn.Conv2d(3, 4, 3, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.from_numpy(np.asarray(numpy_helper.to_array(weight), "float32")))
    hop = ort_runner(data)
    verdict = judge(torch_runner(net), [hop], make_inputs([InputSpec("x", (None, 3, 6, 6))]))
    assert verdict.passed, verdict
    assert any("float32 clone" in note for note in verdict.notes)


def test_numbers_that_were_meant() -> None:
    for number in (1e-3, 0.1, 1 / 3, 1 / 6, 127.5, 1.6732632423543772, 2**-0.5, -0.2, 0.485):
        assert meant(float(np.float32(number))) == pytest.approx(number, rel=1e-15)
    rng = np.random.default_rng(0)
    assert sum(meant(float(x)) != float(x) for x in rng.normal(size=500).astype("float32")) < 25


def test_boundary_turns_taps() -> None:
    array = np.zeros((2, 3, 4, 5))
    boundary = Boundary(outputs=(None, (0, 2, 3, 1)))
    turned = dict(boundary.to_source([("a", array), ("b", array), ("tap:1:softmax", array)]))
    assert turned["a"].shape == (2, 3, 4, 5)
    assert turned["b"].shape == turned["tap:1:softmax"].shape == (2, 4, 5, 3)


def test_advice_fits_the_target() -> None:
    """PyTorch's losses are no business of who converts to Keras or ONNX."""
    from converter import proof
    from converter.capture import from_keras
    from converter.sources import Source

    model = keras.Sequential([keras.Input((8,)), L.Dense(3, activation="softmax")])
    graph = from_keras.capture(model).graph.graph
    source = Source("keras", model, "net")
    assert "cross_entropy" in proof.warnings_of(graph, source, [])[0]
    assert [proof.warnings_of(graph, source, [], target) for target in ("keras", "onnx")] == [[], []]
