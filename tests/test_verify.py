"""Two models compared: files and live models, what is turned and in which order, gradients, memory, the command."""

from __future__ import annotations

import copy
import json
import shutil
from importlib import resources
from pathlib import Path

import jsonschema
import keras
import numpy as np
import pytest
import torch
from torch import nn

import converter
from converter.errors import BadInput, UsageError
from converter.judge.localise import Pair, localise
from converter.judge.watch_keras import keras_side
from converter.judge.watch_torch import torch_side
from converter.rendering import screen
from converter.testing import assert_equivalent
from tests import screens

L = keras.layers
FIXTURES = Path(__file__).parent.parent / "fixtures"


def two_inputs() -> keras.Model:
    keras.utils.set_random_seed(2)
    image, ids = keras.Input((6, 5, 3), name="image"), keras.Input((4,), dtype="int32", name="ids")
    x = L.GlobalAveragePooling2D(name="pool")(L.Conv2D(4, 3, name="conv")(image))
    y = L.Flatten(name="flat")(L.Embedding(9, 3, name="table")(ids))
    both = L.Concatenate(name="both")([x, y])
    return keras.Model([image, ids], {"b": L.Dense(2, name="fb")(both), "a": L.Dense(3, name="fa")(both)})


class TwoInputs(nn.Module):
    """Written by another hand: other names, ids first, outputs in a tuple and in another order."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__()
        self.features, self.lookup = nn.Conv2d(3, 4, 3), nn.Embedding(9, 3)
        self.left, self.right = nn.Linear(16, 2), nn.Linear(16, 3)

        def of(name):
            return [torch.from_numpy(np.array(w)) for w in model.get_layer(name).get_weights()]

        kernel, bias = of("conv")
        self.features.load_state_dict({"weight": kernel.permute(3, 2, 0, 1), "bias": bias})
        self.lookup.load_state_dict({"weight": of("table")[0]})
        for own, name in ((self.left, "fb"), (self.right, "fa")):
            kernel, bias = of(name)
            own.load_state_dict({"weight": kernel.T, "bias": bias})

    def forward(self, ids, image):
        both = torch.cat([self.features(image).mean((2, 3)), self.lookup(ids).flatten(1)], 1)
        return self.left(both), self.right(both)


def test_order_turns_and_layers_of_two_models_by_different_hands():
    model = two_inputs()
    net = TwoInputs(model).eval()
    report = converter.verify(model, net, gradients=True)
    assert report.proven, report.to_dict()
    assert report.turns == ["image: N,H,W,C -> N,C,H,W"]
    assert "what is turned: found by trying what fits" in report.notes
    pairs = {each["name"]: each["target"] for each in report.layers}
    assert pairs == {"conv": "features", "table": "lookup", "fb": "left", "fa": "right"}
    with torch.no_grad():
        net.right.bias += 1
    report = converter.verify(model, net)
    assert report.passed is False
    assert report.fault["layer"] == "fa"
    assert "bias" in report.fault["cause"]


def test_layout_source_turns_nothing_and_layout_native_turns():
    model = two_inputs()
    with pytest.raises(UsageError, match="answered by both"):
        converter.verify(model, TwoInputs(model), layout="source")
    assert converter.verify(model, TwoInputs(model), layout="native").passed
    made = converter.convert(model, "torch", layout="source", verify=False)
    assert converter.verify(model, copy.deepcopy(made.model), layout="source").passed
    with pytest.raises(UsageError, match="layout"):
        converter.verify(model, made.model, layout="other")


def test_inputs_of_the_users_own():
    model = two_inputs()
    arrays = {"image": np.random.default_rng(0).normal(size=(3, 6, 5, 3)), "ids": np.array([[1, 2, 3, 8]] * 3)}
    report = converter.verify(model, TwoInputs(model), inputs=arrays)
    assert report.passed
    assert [each["name"] for each in report.inputs][:1] == ["given"]
    with pytest.raises(UsageError, match="from 0 to 8"):
        converter.verify(model, TwoInputs(model), inputs={**arrays, "ids": np.full((3, 4), 9)})


def test_comparing_leaves_the_process_as_it_was():
    model = two_inputs()
    net = TwoInputs(model)
    net.train()

    def state():
        switches = (torch.get_default_dtype(), torch.backends.cudnn.conv.fp32_precision, torch.is_grad_enabled())
        return (
            *switches,
            keras.config.floatx(),
            keras.config.dtype_policy().name,
            torch.random.get_rng_state().tolist(),
        )

    before = state()
    with torch.no_grad():
        net.right.bias += 1
    assert converter.verify(model, net, gradients=True).fault
    assert state() == before
    assert all(module.training for module in net.modules())
    assert not net.features._forward_hooks
    assert all("call" not in vars(layer) for layer in model.layers)


def test_two_modules_need_inputs():
    one, two = nn.Linear(3, 2).eval(), nn.Linear(3, 2).eval()
    with pytest.raises(UsageError, match="Pass inputs"):
        converter.verify(one, two)
    assert converter.verify(one, two, inputs=np.ones((2, 3), "float32")).passed is False
    assert converter.verify(one, copy.deepcopy(one), inputs=np.ones((2, 3), "float32")).passed


def test_gradients_of_a_frozen_or_wrong_layer_are_seen():
    x = keras.Input((4,), name="x")
    model = keras.Model(x, L.Dense(3, name="b")(L.Dense(4, activation="relu", name="a")(x)))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, x):
            h = self.a(x)
            return self.b(torch.relu(h).detach() + 0 * h)  # equal answers, and nothing trains below

    net = Net().eval()
    for name in "ab":
        kernel, bias = (torch.from_numpy(np.array(w)) for w in model.get_layer(name).get_weights())
        getattr(net, name).load_state_dict({"weight": kernel.T, "bias": bias})
    assert converter.verify(model, net).passed
    report = converter.verify(model, net, gradients=True)
    assert report.passed is False
    assert report.broken.startswith("the gradients: a.")


class Casting(L.Layer):
    """A layer of one's own that casts to float32 inside."""

    def call(self, x):
        return keras.ops.cast(keras.ops.tanh(keras.ops.cast(x, "float32")), x.dtype)


def test_a_keras_layer_that_casts_to_float32_is_proved_in_float64():
    x = keras.Input((4,), name="x")
    model = keras.Model(x, L.Dense(3, name="b")(Casting(name="cast")(x)))
    net = nn.Sequential(nn.Tanh(), nn.Linear(4, 3)).eval()
    kernel, bias = (torch.from_numpy(np.array(w)) for w in model.get_layer("b").get_weights())
    net[1].load_state_dict({"weight": kernel.T, "bias": bias})
    assert_equivalent(model, net, require_proof=True)


def test_the_values_that_are_held_are_few():
    """40 layers whose answers are 2 MB each: one is held at a time, not 80 MB."""
    x = y = keras.Input((512, 512), name="x")
    for i in range(40):
        y = L.Rescaling(1.01, name=f"s{i}")(y)
        y = L.Dense(512, use_bias=False, kernel_initializer="identity", name=f"d{i}")(y) if i % 8 == 0 else y
    model = keras.Model(x, y)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            for i in range(0, 40, 8):
                setattr(self, f"d{i}", nn.Linear(512, 512, bias=False))
            self.other = nn.ModuleDict({f"s{i}": Scaled() for i in range(40)})

        def forward(self, x):
            for i in range(40):
                x = self.other[f"s{i}"](x)
                x = getattr(self, f"d{i}")(x) if i % 8 == 0 else x
            return x

    class Scaled(nn.Module):
        def forward(self, x):
            return 1.01 * x

    net = Net().eval()
    for i in range(0, 40, 8):
        getattr(net, f"d{i}").weight.data = torch.eye(512)
    source, target = keras_side(model, double=False), torch_side(net, double=False)
    paths = {f"s{i}": f"other.s{i}" for i in range(40)} | {f"d{i}": f"d{i}" for i in range(0, 40, 8)}
    array = np.random.default_rng(0).normal(size=(2, 512, 512)).astype("float32")
    found = localise(Pair(source, target, paths, limit=1e-4), [array])
    assert len(found.layers) == 45
    assert all(layer.passed for layer in found.layers)
    assert found.peak <= 2 * array.nbytes, found.peak  # one value, and one that the source has just made


def test_files(tmp_path):
    made = converter.convert(FIXTURES / "digits_cnn.keras", "torch", verify=False)
    made.save(tmp_path / "out")
    made.save(tmp_path / "net.onnx")
    report = converter.verify(FIXTURES / "digits_cnn.keras", tmp_path / "out" / "model.py")
    assert report.proven
    assert "what is turned: by the report beside it" in report.notes
    assert report.sha256
    report = converter.verify(str(FIXTURES / "digits_cnn.h5"), made)
    assert report.passed
    assert "what is turned: as converted" in report.notes
    assert report.weights["compared"] == len(made.mapping)
    report = converter.verify(FIXTURES / "digits_cnn.keras", tmp_path / "net.onnx")
    assert report.passed
    assert report.layers == []
    with pytest.raises(UsageError, match="would be run"):
        converter.verify(FIXTURES / "digits_cnn.keras", tmp_path / "out")
    with pytest.raises(BadInput, match="no such file"):
        converter.verify(FIXTURES / "digits_cnn.keras", tmp_path / "none.onnx")
    with pytest.raises(UsageError, match="ONNX graph has none"):
        converter.verify(FIXTURES / "digits_cnn.keras", tmp_path / "net.onnx", gradients=True)


def test_an_exported_program_is_watched_by_the_modules_that_it_came_from(tmp_path):
    made = converter.convert(FIXTURES / "small_residual.pt2", "keras", verify=False)
    report = converter.verify(FIXTURES / "small_residual.pt2", made.model)
    assert report.proven, report.to_dict()
    assert len(report.layers) >= 3
    layer = next(layer for layer in made.model.layers if type(layer).__name__ == "Dense")
    layer.bias.assign(np.array(layer.bias) + 1)
    report = converter.verify(FIXTURES / "small_residual.pt2", made.model)
    assert report.passed is False
    assert report.fault["target"] == layer.name


def spoiled(folder: Path) -> Path:
    from safetensors.numpy import load_file, save_file

    made = converter.convert(FIXTURES / "mlp.keras", "torch", verify=False)
    made.save(folder / "net.py")
    state = load_file(folder / "net.safetensors")
    name = sorted(name for name in state if name.endswith(".weight"))[0]
    state[name] = np.ascontiguousarray(state[name][::-1])
    shutil.copy(folder / "net.py", folder / "bad.py")
    save_file(state, folder / "bad.safetensors")
    return folder / "bad.py"


def test_the_command(tmp_path):
    bad = spoiled(tmp_path)
    code, out, err = screens.run("verify", FIXTURES / "mlp.keras", tmp_path / "net.py", "--gradients")
    assert (code, err) == (0, "")
    assert out.startswith("mlp -> torch: equal. It rests on float64")
    reports = [tmp_path / f"r{suffix}" for suffix in (".json", ".xml", ".md", ".html")]
    options = [word for path in reports for word in ("--report", path)]
    code, out, err = screens.run("verify", FIXTURES / "mlp.keras", bad, *options)
    assert (code, err) == (1, "")
    assert "is the first layer that is off" in out
    assert "likely cause: weights: the weight has its numbers in another order" in out
    assert len(out.splitlines()) <= 15
    data = json.loads(reports[0].read_text())
    jsonschema.validate(data, json.loads(resources.files("converter").joinpath("report.schema.json").read_text()))
    assert data["fault"]["cause"]
    assert all("is the first layer that is off" in path.read_text() for path in reports)
    for words, expected in (
        (("verify", FIXTURES / "mlp.keras"), 2),
        (("verify", FIXTURES / "mlp.keras", tmp_path / "none.py"), 4),
        (("verify", FIXTURES / "mlp.keras", tmp_path / "net.safetensors"), 2),
        (("verify", FIXTURES / "mlp.keras", bad, "--seed", "-1"), 2),
        (("verify", FIXTURES / "mlp.keras", bad, "-q", "-v"), 2),
    ):
        code, out, err = screens.run(*words)
        assert code == expected, (words, out, err)
        assert out == ""
        assert err


def test_a_conversion_that_fails_names_the_layer(tmp_path, monkeypatch):
    from converter.write import torch_load

    def wrong(text, weights):
        return load(text, [(key, data[::-1] if key == "wide.weight" else data) for key, data in weights])

    load = torch_load.load
    monkeypatch.setattr(torch_load, "load", wrong)
    x = keras.Input((8, 8, 3), name="image")
    y = L.Conv2D(5, 3, name="wide")(L.Conv2D(4, 3, activation="relu", name="stem")(x))
    report = converter.convert(keras.Model(x, L.GlobalMaxPooling2D(name="pool")(y)), "torch").report
    assert report.passed is False
    assert report.fault["layer"] == "wide"
    lines = screen(report)
    assert any(line.startswith("layer     Conv2D 'wide' is the first layer that is off") for line in lines)
    assert len(lines) <= 15
