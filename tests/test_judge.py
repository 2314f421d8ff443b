"""The judge bites: planted faults are caught, each by the rung that should catch it, and a correct model passes."""

import json
import os
import random
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import torch
from torch import nn

import converter
from converter.errors import BadInput
from converter.judge.compare import compare
from converter.judge.inputs import InputSpec, fitting_inputs, given_inputs, make_inputs
from converter.judge.judge import judge
from converter.judge.run_keras import float64_keras, keras_runner, rebuild
from converter.judge.run_ort import input_names, ort_runner
from converter.judge.run_torch import torch_runner
from converter.judge.runner import Boundary, NoFloat64, Runner
from converter.judge.verdict import Gates, compare_weights
from converter.judge.worker import Worker, WorkerFailed
from converter.rendering import render
from converter.report import Report

NATIVE = Boundary(inputs=((0, 3, 1, 2),))
SIZE, CHANNELS, UNITS = 6, 4, 5


class Net(nn.Module):
    """A correct conversion of `source_model` in native layout. H = W: a wrong Flatten order has no shape to trip on."""

    def __init__(self, epsilon=1e-3, pads=(0, 1, 0, 1)):
        super().__init__()
        self.pads = pads
        self.conv = nn.Conv2d(3, CHANNELS, 3, stride=2)
        self.norm = nn.BatchNorm2d(CHANNELS, eps=epsilon)
        self.dense = nn.Linear(3 * 3 * CHANNELS, UNITS)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(nn.functional.pad(x, self.pads))))
        return torch.softmax(self.dense(x.flatten(1)), -1)


@pytest.fixture(scope="module")
def source_model():
    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3), name="image"),
            layers.Conv2D(CHANNELS, 3, strides=2, padding="same", name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(UNITS, activation="softmax", name="dense"),
        ]
    )
    rng = np.random.default_rng(1)
    model.get_layer("norm").set_weights([rng.uniform(0.5, 1.5, CHANNELS) for _ in range(4)])
    model.get_layer("conv").bias.assign(rng.normal(size=CHANNELS))
    return model


def converted(model, **options):
    net = Net(**options)
    weight = {
        "/".join(w.path.split("/")[-2:]): torch.from_numpy(np.array(keras.ops.convert_to_numpy(w)))
        for w in model.weights
    }
    dense = weight["dense/kernel"].reshape(3, 3, CHANNELS, UNITS).permute(3, 2, 0, 1).reshape(UNITS, -1)
    net.load_state_dict(
        {
            "conv.weight": weight["conv/kernel"].permute(3, 2, 0, 1),
            "conv.bias": weight["conv/bias"],
            "norm.weight": weight["norm/gamma"],
            "norm.bias": weight["norm/beta"],
            "norm.running_mean": weight["norm/moving_mean"],
            "norm.running_var": weight["norm/moving_variance"],
            "norm.num_batches_tracked": torch.tensor(0),
            "dense.weight": dense,
            "dense.bias": weight["dense/bias"],
        }
    )
    return net


def sets(seed=0):
    return make_inputs([InputSpec("image", (None, SIZE, SIZE, 3))], seed)


def verdict_of(model, net, **options):
    return judge(keras_runner(model), [torch_runner(net, boundary=NATIVE)], sets(), **options)


def worst(verdict, precision):
    [rung] = [rung for rung in verdict.rungs[1:] if rung.precision == precision]
    return rung, max(diff.max_rel or 0 for diff in rung.diffs if not diff.name.startswith("logits"))


# ---- a correct conversion passes, and the report says by what right


def test_correct_passes(source_model):
    verdict = verdict_of(source_model, converted(source_model))
    assert verdict.passed, verdict.to_dict()
    assert verdict.proof, verdict.to_dict()
    assert worst(verdict, "float64")[1] < 1e-14
    assert not verdict.broken
    assert not verdict.weak
    assert set(verdict.sensitivity) == {"output", "logits of output"}


def test_report_is_deterministic_and_strict_json(source_model, capsys):
    texts = []
    for _ in range(2):
        report = Report.from_verdict(
            verdict_of(source_model, converted(source_model)),
            source="net.h5",
            target="torch",
            repairs=["Conv2D 'conv': groups"],
            turns=["image: N,H,W,C -> N,C,H,W"],
            transposes=0,
            warnings=["the last activation is a softmax: PyTorch's losses expect logits"],
            versions={"torch": torch.__version__},
        )
        texts.append(report.to_json())
    assert texts[0] == texts[1]
    data = json.loads(texts[0])
    assert data["schema"] == "kconvert-report/2"
    assert data["passed"] is True
    assert data["devices"] == ["cpu"]
    render(report)
    shown = capsys.readouterr().out
    assert "N,H,W,C -> N,C,H,W" in shown
    assert "logits" in shown
    assert "\x1b" not in shown


def test_report_without_verification():
    report = Report.from_verdict(None, source="a", target="torch")
    assert report.passed is None
    assert json.loads(report.to_json())["rungs"] == []


# ---- planted faults


def kernel_not_transposed(net):
    net.conv.weight.data = net.conv.weight.data.transpose(2, 3).contiguous()


def rows_swapped(net):
    net.dense.weight.data = net.dense.weight.data[[1, 0, 2, 3, 4]]


def flatten_order(net):
    rows = net.dense.weight.data.reshape(UNITS, CHANNELS, 3, 3)
    net.dense.weight.data = rows.transpose(2, 3).reshape(UNITS, -1).contiguous()


def one_weight_nan(net):
    net.dense.weight.data[2, 7] = float("nan")


def wrong_shape(net):
    net.forward = lambda x: Net.forward(net, x)[:, None]


def too_many(net):
    net.forward = lambda x: (Net.forward(net, x), x)


def empty_output(net):
    net.forward = lambda x: Net.forward(net, x)[:0]


def raises(net):
    net.forward = lambda x: x.view(-1, 7)


def integer_output(net):
    net.forward = lambda x: (Net.forward(net, x) * 10).long()


@pytest.mark.parametrize(
    "fault",
    [
        kernel_not_transposed,
        rows_swapped,
        flatten_order,
        one_weight_nan,
        wrong_shape,
        too_many,
        empty_output,
        raises,
        integer_output,
    ],
    ids=lambda fault: fault.__name__,
)
def test_planted_fault_is_caught(source_model, fault):
    net = converted(source_model)
    fault(net)
    verdict = verdict_of(source_model, net)
    assert not verdict.passed
    assert not verdict.proof
    assert "keras and torch" in verdict.broken
    assert all(rung.passed is False for rung in verdict.rungs[1:])


@pytest.mark.parametrize("options", [{"epsilon": 1e-5}, {"pads": (1, 0, 1, 0)}], ids=["epsilon", "padding by one"])
def test_wrong_option_is_caught(source_model, options):
    verdict = verdict_of(source_model, converted(source_model, **options))
    assert not verdict.passed
    assert all(rung.passed is False for rung in verdict.rungs[1:])


def test_formula_error_below_float32_noise_is_caught_by_float64(source_model):
    verdict = verdict_of(source_model, converted(source_model, epsilon=1.001e-3))
    assert worst(verdict, "float32")[0].passed, "float32 alone must not see it, or the test shows nothing"
    assert worst(verdict, "float64")[0].passed is False
    assert not verdict.passed
    assert "float64" in verdict.broken


def test_empty_batch_compares_nothing(source_model):
    empty = [given_inputs([np.zeros((0, SIZE, SIZE, 3), np.float32)])]
    verdict = judge(keras_runner(source_model), [torch_runner(converted(source_model), boundary=NATIVE)], empty)
    assert not verdict.passed


def test_no_hop_and_no_input_are_no_pass(source_model):
    assert not judge(keras_runner(source_model), [], sets()).passed
    assert not judge(keras_runner(source_model), [torch_runner(converted(source_model), boundary=NATIVE)], []).passed


def test_logits_before_softmax_are_compared():
    """Logits of 1e-10: every probability is 1/n to within the gate, whatever the weights are."""
    one, two = nn.Linear(8, 1000), nn.Linear(8, 1000)
    with torch.no_grad():
        for net in (one, two):
            net.bias.zero_()
            net.weight.mul_(1e-11)
    runners = [torch_runner(nn.Sequential(net, nn.Softmax(-1))) for net in (one, two)]
    verdict = judge(runners[0], runners[1:], make_inputs([InputSpec("x", (None, 8))]))
    rung = worst(verdict, "float64")[0]
    assert [diff.name for diff in rung.diffs if diff.passed] == ["output"]
    assert [diff.name for diff in rung.diffs if not diff.passed] == ["logits of output"]
    assert not verdict.passed


def test_weak_evidence_is_said():
    net = nn.Linear(4, 4)
    with torch.no_grad():
        net.weight.mul_(1e-6)
    verdict = judge(torch_runner(net), [torch_runner(net)], make_inputs([InputSpec("x", (None, 4))]))
    assert verdict.passed
    assert verdict.weak == ["output"]
    assert any("weak evidence" in note for note in verdict.notes)


# ---- which hop broke


def test_middle_hop_breaks(source_model):
    good, bad = converted(source_model), converted(source_model)
    rows_swapped(bad)
    hops = [torch_runner(bad, name="middle", boundary=NATIVE), torch_runner(good, name="last", boundary=NATIVE)]
    verdict = judge(keras_runner(source_model), hops, sets())
    assert not verdict.passed
    assert verdict.broken.startswith("between keras and middle")
    verdict = judge(keras_runner(source_model), hops[::-1], sets())
    assert verdict.broken.startswith("between last and middle")


def test_onnxruntime_rung(source_model, tmp_path):
    net = converted(source_model).eval()
    path = tmp_path / "net.onnx"
    made = converter.convert(source_model, "torch", verify=False)
    path.write_bytes(made.onnx.SerializeToString())
    assert input_names(path) == [made.onnx.graph.input[0].name]
    hops = [ort_runner(path.read_bytes(), boundary=NATIVE), torch_runner(net, boundary=NATIVE)]
    verdict = judge(keras_runner(source_model), hops, sets())
    assert verdict.passed, verdict.to_dict()
    assert verdict.proof, verdict.to_dict()
    alone = judge(keras_runner(source_model), hops[:1], sets(), gates=Gates(require_proof=True))
    assert not alone.passed
    assert "required" in alone.broken


# ---- float64 that is none


def test_without_float64_source_it_rests_on_float32(source_model):
    source = keras_runner(source_model)
    source.open64 = None
    hop = torch_runner(converted(source_model), boundary=NATIVE)
    verdict = judge(source, [hop], sets())
    assert verdict.passed
    assert not verdict.proof
    assert "float32" in verdict.rests_on
    assert not judge(source, [hop], sets(), gates=Gates(require_proof=True)).passed
    broken = converted(source_model)
    rows_swapped(broken)
    assert not judge(source, [torch_runner(broken, boundary=NATIVE)], sets()).passed


class Casts(nn.Module):
    """float64 outside, float32 inside."""

    def __init__(self, last, cast):
        super().__init__()
        self.one, self.two, self.last, self.cast = nn.Linear(8, 8), nn.Linear(8, 8), last, cast

    def forward(self, x):
        parts = [self.cast(part) for part in (x, self.one.weight, self.one.bias)]
        x = torch.tanh(nn.functional.linear(*parts)).to(self.two.weight.dtype)
        return self.two(x) if self.last else x


def by_numpy(x):
    """Where no mode of torch's sees it."""
    return torch.from_numpy(x.detach().numpy().astype(np.float32))


@pytest.mark.parametrize("last", [True, False], ids=["float32 within", "float32 throughout"])
def test_float32_in_disguise_is_no_proof(last):
    net = Casts(last, by_numpy)
    verdict = judge(torch_runner(net), [torch_runner(net)], make_inputs([InputSpec("x", (None, 8))]))
    assert verdict.passed, verdict.to_dict()
    assert not verdict.proof, verdict.to_dict()


@pytest.mark.parametrize("last", [True, False], ids=["float32 within", "float32 throughout"])
@pytest.mark.parametrize("cast", [lambda x: x.float(), lambda x: x.to(torch.float32), lambda x: x.type(torch.float32)])
def test_a_module_that_casts_to_float32_is_proved_in_float64(last, cast):
    torch.manual_seed(0)
    net = Casts(last, cast)
    source, plain = torch_runner(net), torch_runner(net_with(net, lambda x: x))
    x = np.random.default_rng(0).normal(size=(3, 8))
    (_, one), (_, two) = source.open64()([x])[0], plain.open64()([x])[0]
    assert one.dtype == np.float64
    assert np.abs(one - two).max() <= 1e-15
    verdict = judge(source, [plain], make_inputs([InputSpec("x", (None, 8))]))
    assert verdict.passed, verdict.to_dict()
    assert verdict.proof, verdict.to_dict()


def net_with(net, cast):
    twin = Casts(net.last, cast)
    twin.load_state_dict(net.state_dict())
    return twin


class Tables(nn.Module):
    """Rotary angles made in float32 while the module runs, as language models do."""

    def __init__(self):
        super().__init__()
        self.register_buffer("rates", 1.0 / 10000 ** (torch.arange(0, 8, 2).float() / 8))

    def forward(self, x):
        steps = torch.arange(x.shape[1], dtype=torch.float32)
        ramp = torch.linspace(0, 1, x.shape[1]) + torch.full((x.shape[1],), 0.1)
        angles = torch.outer(steps, self.rates.float()) + ramp[:, None]
        out = x[..., :4].float() * angles.cos() + torch.softmax(x[..., 4:], -1, dtype=torch.float32) * angles.sin()
        return out.to(x.dtype)


def test_tables_made_in_float32_are_made_in_float64():
    x = np.random.default_rng(0).normal(size=(2, 5, 8))
    net = Tables()
    rates = net.rates.double().numpy()
    angles = np.outer(np.arange(5.0), rates) + (np.linspace(0, 1, 5) + 0.1)[:, None]
    e = np.exp(x[..., 4:])
    wanted = x[..., :4] * np.cos(angles) + e / e.sum(-1, keepdims=True) * np.sin(angles)
    ((_, got), *_) = torch_runner(net).open64()([x])
    assert np.abs(got - wanted).max() <= 1e-14


def test_lookup_alone_is_a_proof():
    net = nn.Embedding(10, 4)
    verdict = judge(
        torch_runner(net), [torch_runner(net)], make_inputs([InputSpec("ids", (None, 3), "int64", high=10)])
    )
    assert verdict.passed
    assert verdict.proof


def test_a_float64_twin_that_is_another_model_is_not_used():
    net, other = nn.Linear(4, 4), nn.Linear(4, 4)
    source = torch_runner(net)
    source.open64 = torch_runner(other).open64
    verdict = judge(source, [torch_runner(other)], make_inputs([InputSpec("x", (None, 4))]))
    assert not verdict.passed
    assert not verdict.proof


# ---- Keras in float64


def norm_model():
    layers = keras.layers
    inputs = keras.Input((5, 6, 8))
    x = layers.BatchNormalization()(inputs)
    x = layers.GroupNormalization(4)(x)
    x = layers.LayerNormalization()(x)
    x = layers.RMSNormalization()(x)
    x = keras.Sequential(
        [layers.Conv2D(4, 3, dtype="mixed_float16"), layers.Normalization(mean=[0.1] * 4, variance=[0.3] * 4)]
    )(x)
    x = keras.ops.multiply(x, 0.1)
    return keras.Model(inputs, {"b": layers.Flatten()(x), "a": keras.ops.cast(x, "float32")})


def test_keras_rebuild_computes_in_float64_and_leaves_no_trace():
    from keras.src.backend.common import dtypes

    model = norm_model()
    names = keras.src.backend.common.global_state.get_global_attribute("object_name_uids")
    before = (dict(names), random.getstate(), keras.config.floatx(), dict(dtypes.BIT64_TO_BIT32_DTYPE))
    numbers = torch.get_rng_state()
    weights = [np.array(keras.ops.convert_to_numpy(w)) for w in model.weights]
    verdict = judge(keras_runner(model), [keras_runner(model)], make_inputs([InputSpec("x", (None, 5, 6, 8))]))
    assert verdict.passed, verdict.to_dict()
    assert verdict.proof, verdict.to_dict()
    after = (dict(names), random.getstate(), keras.config.floatx(), dict(dtypes.BIT64_TO_BIT32_DTYPE))
    assert before == after
    assert torch.equal(numbers, torch.get_rng_state())
    assert all(np.array_equal(a, keras.ops.convert_to_numpy(w)) for a, w in zip(weights, model.weights, strict=True))


def test_patch_is_what_makes_batch_normalization_float64():
    layer = keras.layers.BatchNormalization(dtype="float64")
    x = np.random.default_rng(0).normal(3, 2, (4, 7))
    layer.build(x.shape)
    layer.moving_mean.assign(np.full(7, 1 / 3))
    layer.moving_variance.assign(np.full(7, 1 / 7))
    wanted = (x - 1 / 3) / np.sqrt(1 / 7 + layer.epsilon)

    def error():
        return float(np.abs(keras.ops.convert_to_numpy(layer(x)) - wanted).max() / np.abs(wanted).max())

    plain = error()
    with float64_keras():
        patched = error()
    assert plain > 1e-9
    assert patched < 1e-14


def test_keras_without_config_says_why():
    class Odd(keras.Model):
        def __init__(self, units, scale):
            super().__init__()
            self.dense, self.scale = keras.layers.Dense(units), scale.size

        def call(self, x):
            return self.dense(x) * self.scale

    model = Odd(3, np.zeros(2))
    model(np.zeros((1, 2), np.float32))
    twin, why = rebuild(model)
    assert twin is None
    assert "Odd" in why
    verdict = judge(keras_runner(model), [keras_runner(model)], make_inputs([InputSpec("x", (None, 2))]))
    assert verdict.passed
    assert not verdict.proof


# ---- torch as it was


def test_torch_is_left_as_it_was():
    net = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.BatchNorm1d(3))
    net[2].eval()
    torch.backends.cudnn.conv.fp32_precision = "tf32"
    state, rng = {k: v.clone() for k, v in net.state_dict().items()}, torch.get_rng_state()
    verdict = judge(torch_runner(net), [torch_runner(net)], make_inputs([InputSpec("x", (None, 3))]))
    assert verdict.passed
    assert [module.training for module in net.modules()] == [True, True, True, False]
    assert torch.equal(rng, torch.get_rng_state())
    assert torch.backends.cudnn.conv.fp32_precision == "tf32"
    assert all(torch.equal(state[k], v) for k, v in net.state_dict().items())
    assert next(net.parameters()).dtype == torch.float32
    assert torch.is_grad_enabled()


# ---- compare


def test_compare_figures_and_places():
    a = np.array([[1.0, -4.0], [2.0, 3.0]], np.float32)
    b = a.copy()
    b[1, 0] += 0.5
    diff = compare("y", a, b, 0.1)
    assert not diff.passed
    assert diff.worst == (1, 0)
    assert diff.max_abs == 0.5
    assert diff.max_rel == 0.125
    assert diff.ulp == 0.5 / np.spacing(np.float32(4))
    assert diff.equal == 0.75
    assert diff.argmax == 1.0
    assert "max_abs 5.0e-01 at (1, 0)" in str(diff)
    assert compare("y", a, b, 0.5).passed


@pytest.mark.parametrize(
    ("a", "b", "word"),
    [
        ([1, np.nan], [np.nan, 1], "NaN"),
        ([1, 2], [1, np.nan], "NaN"),
        ([1, np.inf], [1, -np.inf], "sign"),
        ([1, np.inf], [1, 9], "infinity"),
        ([np.nan], [np.nan], "nothing compared"),
        ([], [], "nothing compared"),
        ([1.0], [[1.0]], "shape"),
    ],
)
def test_compare_refuses(a, b, word):
    diff = compare("y", np.array(a, np.float64), np.array(b, np.float64), np.inf)
    assert not diff.passed
    assert word in diff.reason


def test_compare_nan_tolerance_integers_and_masks():
    ones = np.ones(4)
    assert not compare("y", ones, ones * 2, float("nan")).passed
    same = compare("y", np.array([1, np.nan]), np.array([1, np.nan]), 0.0)
    assert same.passed
    assert same.nan == 1
    ints = np.arange(10)
    assert compare("i", ints, ints.astype(np.int32), 0.0).passed
    assert not compare("i", ints, ints + (ints == 3), 5.0).passed
    assert compare("i", ints, ints + (ints == 3), 0.0, share=0.9).passed
    assert "dtype" in compare("i", ints, ints.astype(float), 0.0).reason


def test_weights_bit_by_bit():
    kernel = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    good = [("k", kernel, (1, 0), kernel.T.copy()), ("f", kernel, np.negative, -kernel), ("s", kernel, None, kernel)]
    assert compare_weights(good).passed is True
    off = kernel.copy()
    off[1, 1] = np.nextafter(off[1, 1], np.float32(9))
    found = compare_weights([*good, ("off", kernel, None, off), ("t", kernel, None, kernel.T)])
    assert found.passed is False
    assert found.wrong[0].startswith("off: 1 of 12")
    assert len(found.wrong) == 2
    assert not compare_weights([("zero", np.zeros(1), None, -np.zeros(1))]).passed
    assert compare_weights([]).passed is None


# ---- inputs


def test_inputs_fit_and_repeat():
    specs = [
        InputSpec("ids", (None, None), "int32", low=1, high=5),
        InputSpec("mask", (None, None), "bool"),
        InputSpec("image", (None, None, None, None), layout="NHWC"),
    ]
    first, again = make_inputs(specs, 3), make_inputs(specs, 3)
    for one, two in zip(first, again, strict=True):
        assert one.name == two.name
        assert all(np.array_equal(a, b) for a, b in zip(one.arrays, two.arrays, strict=True))
        ids, mask, image = one.arrays
        assert ids.shape == mask.shape
        assert ids.min() >= 1
        assert ids.max() < 5
        assert image.shape[-1] == 3
    assert {each.arrays[0].shape[0] for each in first} == {1, 2, 3}
    assert len({each.arrays[2].shape[1:] for each in first}) == 3
    assert first[0].shapes == first[-1].shapes
    assert not np.array_equal(first[0].arrays[2], first[-1].arrays[2])
    assert not np.array_equal(make_inputs(specs, 4)[0].arrays[2], first[0].arrays[2])


def test_inputs_grow_until_the_source_answers():
    crop = nn.Conv1d(2, 2, 501)
    found, notes = fitting_inputs([InputSpec("x", (None, 2, None))], 0, torch_runner(crop).refuses)
    assert found
    assert all(each.arrays[0].shape[2] > 500 for each in found)
    halves = Runner("halves", lambda arrays: [("y", arrays[0].reshape(arrays[0].shape[0], -1, 32))])
    found, notes = fitting_inputs([InputSpec("x", (None, None))], 0, halves.refuses)
    assert found
    assert notes
    assert all("refuses" in note for note in notes)


# ---- worker


@pytest.fixture
def here(monkeypatch):
    return {"PYTHONPATH": os.fspath(Path(__file__).parent), "KERAS_BACKEND": "numpy"}


def test_worker_answers_through_noise(here):
    with Worker("judge_factory:doubler", env=here) as worker:
        assert worker.ready() == {"backend": "numpy", "cwd on path": False}
        x = np.arange(4, dtype=np.float32)
        outputs = dict(worker.run32([x]))
        assert np.array_equal(outputs["y"], 2 * x)
        assert outputs["n"].dtype.kind == "i"
        assert worker.run64([x.astype(np.float64)])[0][1].dtype == np.float64
        with pytest.raises(NoFloat64, match="cast in the way"):
            worker.run64([np.zeros(1)])
        process, folder = worker._process, worker._folder
        target = Runner("target", lambda arrays: [("z", arrays[0] + arrays[0]), ("m", np.arange(3))])
        verdict = judge(worker.runner("file"), [target], make_inputs([InputSpec("x", (None, 4))]))
        assert verdict.passed
    assert process.returncode is not None
    assert not folder.exists()


def test_worker_errors(here):
    with (
        Worker("judge_factory:refuses", {"path": "x.h5"}, here) as worker,
        pytest.raises(BadInput, match=r"x\.h5 is no model"),
    ):
        worker.run32([np.zeros(1)])
    with (
        Worker("judge_factory:breaks", env=here) as worker,
        pytest.raises(WorkerFailed, match="ZeroDivisionError: oops"),
    ):
        worker.ready()
    with Worker("judge_factory:dies", env=here) as worker, pytest.raises(WorkerFailed, match=r"status 9.*last words"):
        worker.ready()
    start = time.monotonic()
    with (
        Worker("judge_factory:hangs", env=here, timeout=1.0) as worker,
        pytest.raises(WorkerFailed, match="within 1 s"),
    ):
        worker.ready()
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(("source", "target"), [("relu", "relu6"), ("relu6", "relu"), ("relu6", "hardtanh")])
def test_what_clips_is_met_though_the_inputs_are_small(source, target):
    x = keras.Input((8,))
    model = keras.Model(x, keras.layers.Dense(3)(keras.layers.Dense(4, activation=source)(x)))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape) * 0.3)
    first, second = nn.Linear(8, 4), nn.Linear(4, 3)
    with torch.no_grad():
        for layer, own in ((first, model.layers[1]), (second, model.layers[2])):
            layer.weight.copy_(torch.from_numpy(keras.ops.convert_to_numpy(own.kernel).T.copy()))
            layer.bias.copy_(torch.from_numpy(keras.ops.convert_to_numpy(own.bias).copy()))

    class Clipped(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.first, self.second, self.name = first, second, name

        def forward(self, x):
            function = {"hardtanh": lambda y: y.clamp(0, 60)}.get(self.name) or getattr(nn.functional, self.name)
            return self.second(function(self.first(x)))

    drawn = make_inputs([InputSpec("x", (None, 8))], 0)
    assert judge(keras_runner(model), [torch_runner(Clipped(source))], drawn).proof
    verdict = judge(keras_runner(model), [torch_runner(Clipped(target))], drawn)
    assert verdict.passed is False
    assert any("a hundred times" in rung.note for rung in verdict.rungs)
