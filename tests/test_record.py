"""The record: there and back is exact where it fits, and what does not fit any more is not used, and said."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import pytest
import safetensors.torch
import torch
from keras import layers
from torch import Tensor, nn

import converter
from converter import record
from converter.errors import BadInput, UsageError
from converter.files import safetensors_header

FIXTURES = Path(__file__).parent.parent / "fixtures"
USED = "config restored from the record"


def separable() -> Any:
    """What has several forms in Keras and one in PyTorch, with what acts in training alone."""
    x = image = keras.Input((9, 9, 3), name="picture of it")
    x = layers.SeparableConv2D(4, 3, padding="same", depth_multiplier=2, name="sep")(x)
    x = layers.Activation("relu", name="act")(x)
    x = layers.ReLU(name="other")(x)
    x = layers.Conv2D(5, 3, strides=2, kernel_regularizer="l2", bias_constraint="max_norm", activation="relu")(x)
    x = layers.BatchNormalization(momentum=0.9, gamma_initializer="uniform")(x)
    x = layers.Dropout(0.25, seed=7)(x)
    x = layers.Flatten()(x)
    out = layers.Dense(3, kernel_initializer=keras.initializers.HeNormal(seed=3), kernel_constraint="non_neg")(x)
    return keras.Model(image, {"b": out, "a": layers.Softmax()(out)}, name="its_own.name")


def nested() -> Any:
    """Models in models, one of them called twice, and a frozen layer."""
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(6, activation="elu"), layers.Dense(6)], name="inner")
    frozen = layers.Dense(4, trainable=False, name="frozen")
    one, two = keras.Input((6,), name="one"), keras.Input((6,), name="two")
    joined = layers.Concatenate()([inner(one), inner(two), layers.Subtract()([one, two])])
    return keras.Model([one, two], frozen(joined), name="twins")


def sequential() -> Any:
    """A Sequential, whose class is part of the way back."""
    return keras.Sequential([keras.Input((5, 4, 1)), layers.Conv2D(2, 2), layers.Flatten(), layers.Dense(2)])


MODELS: dict[str, Callable[[], Any]] = {"separable": separable, "nested": nested, "sequential": sequential}


def seeded(model: Any) -> Any:
    """The model with weights that are not those it was made with."""
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.uniform(0.2, 1.0, variable.shape).astype("float32"))
    return model


def config(model: Any) -> str:
    return json.dumps(model.get_config())


def digests(model: Any) -> list[str]:
    return [hashlib.sha256(keras.ops.convert_to_numpy(weight).tobytes()).hexdigest() for weight in model.weights]


def imported(path: Path) -> ModuleType:
    """A generated file, imported as a user would."""
    spec = importlib.util.spec_from_file_location(f"kept_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def there(model: Any, **options: Any) -> Any:
    return converter.convert(model, "torch", verify=False, **options).model


def told(made: Any) -> str:
    """What the report says of the record."""
    return "; ".join(str(note) for note in made.report.notes if "record" in str(note))


@pytest.mark.parametrize("name", MODELS)
def test_a_keras_model_comes_back_as_it_was(name: str) -> None:
    model = seeded(MODELS[name]())
    made = converter.convert(there(model), "keras")
    assert made.report.passed, str(made.report)
    assert made.report.proof
    assert told(made) == USED
    assert type(made.model) is type(model)
    assert config(made.model) == config(model)
    assert digests(made.model) == digests(model)


def test_through_files_and_back(tmp_path: Path) -> None:
    """digits_cnn.keras -> .py and .safetensors -> .keras; and the same bytes each time."""
    model = keras.saving.load_model(FIXTURES / "digits_cnn.keras", compile=False)
    converter.convert(FIXTURES / "digits_cnn.keras", "torch", verify=False).save(tmp_path / "net.py")
    for name in ("one.keras", "two.keras"):
        made = converter.convert(tmp_path / "net.safetensors", "keras", arch=f"{tmp_path / 'net.py'}:Model")
        assert made.report.passed, str(made.report)
        made.save(tmp_path / name)
    again = keras.saving.load_model(tmp_path / "one.keras")
    assert config(again) == config(model)
    assert digests(again) == digests(model)
    assert (tmp_path / "one.keras").read_bytes() == (tmp_path / "two.keras").read_bytes()
    built = imported(tmp_path / "one.py").build()
    built.load_weights(tmp_path / "one.keras")
    assert digests(built) == digests(model)


def test_the_file_is_loaded_strictly_and_imports_torch_alone(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    converter.convert(seeded(separable()), "torch", verify=False).save(tmp_path / "net.py")
    model = imported(tmp_path / "net.py").Model()
    model.load_state_dict(load_file(tmp_path / "net.safetensors"), strict=True)
    _, metadata = safetensors_header.read_header(tmp_path / "net.safetensors")
    assert json.loads(metadata["kconvert"])["schema"] == record.SCHEMA


def test_weights_that_were_trained_further_come_back_in_the_old_configuration() -> None:
    model = seeded(separable())
    module = there(model)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.25
    module.train()
    made = converter.convert(module, "keras")
    assert made.report.passed, str(made.report)
    assert told(made) == USED
    assert config(made.model) == config(model)
    kernel = module.state_dict()["sep_pointwise.weight"]
    layer = made.model.get_layer("sep")
    assert np.array_equal(kernel.numpy().transpose(2, 3, 1, 0), keras.ops.convert_to_numpy(layer.pointwise_kernel))


CHANGES: dict[str, Callable[[Any], Any]] = {
    "another layer": lambda m: setattr(m, "frozen", torch.nn.Linear(18, 9)),
    "a setting": lambda m: setattr(m.frozen, "in_features", 3),
    "a frozen weight": lambda m: next(p for p in m.parameters() if p.requires_grad).requires_grad_(False),
    "another dtype": lambda m: m.double(),
    "a hook": lambda m: m.frozen.register_forward_hook(lambda *_: None),
    "another forward": lambda m: setattr(m, "forward", lambda one, two: one),
    "one more layer": lambda m: m.add_module("more", torch.nn.Linear(2, 2)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_module_that_was_changed_is_converted_as_it_is(name: str) -> None:
    module = there(seeded(nested()))
    CHANGES[name](module)
    with pytest.raises(UsageError, match="was changed since it was converted"):
        converter.convert(module, "keras", verify=False)


def test_a_class_that_was_changed_is_converted_as_it_is(tmp_path: Path) -> None:
    converter.convert(FIXTURES / "digits_cnn.keras", "torch", verify=False).save(tmp_path / "net.py")
    text = (tmp_path / "net.py").read_text()
    other, plain = text.replace("padding=1", "padding=(1, 1)"), text.replace('"""', '"""Mine: ', 1) + "\n# the end\n"
    for name, written, found in (("other", other, "record: not used: the source text"), ("same", plain, USED)):
        (tmp_path / f"{name}.py").write_text(written)
        arch = f"{tmp_path / name}.py:Model"
        options: dict[str, Any] = {"arch": arch, "verify": False, "example_inputs": [torch.zeros(1, 1, 8, 8)]}
        made = converter.convert(tmp_path / "net.safetensors", "keras", **options)
        assert told(made).startswith(found)
        kernels = (digests(made.model), digests(keras.saving.load_model(FIXTURES / "digits_cnn.keras")))
        assert sorted(kernels[0]) == sorted(kernels[1])  # canonical or not, the weights are bit for bit the same


def test_every_axis_as_the_module_has_it_is_asked_for() -> None:
    module = there(seeded(sequential()))
    with pytest.raises(UsageError, match="keeps every axis"):
        converter.convert(module, "keras", layout="source", verify=False)
    made = converter.convert(there(seeded(sequential()), layout="source"), "keras", layout="source")
    assert made.report.passed, str(made.report)
    assert told(made) == USED
    assert made.report.turns == []


def altered(module: Any, change: Callable[[dict[str, Any]], Any]) -> Any:
    """The module with another record."""
    found = record.attached(module)
    assert found is not None
    parts = json.loads(found.text)
    change(parts)
    record.attach(module, replace(found, text=json.dumps(parts)))
    return module


def deep(parts: dict[str, Any]) -> None:
    value: Any = "x"
    for _ in range(300):
        value = {"class_name": "Model", "config": {"layers": [value]}}
    parts["model"] = value


def layer(parts: dict[str, Any], index: int) -> Any:
    return parts["model"]["config"]["layers"][index]


HOSTILE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another schema": lambda p: p.update(schema="kconvert-record/99"),
    "another direction": lambda p: p.update({"from": "torch"}),
    "no model": lambda p: p.pop("model"),
    "a model that is none": lambda p: p.update(model=[1, 2]),
    "a class of its own": lambda p: layer(p, 1).update(module="os", class_name="system"),
    "code": lambda p: layer(p, 1).update(class_name="Lambda", config={"function": {"class_name": "__lambda__"}}),
    "too deep": deep,
    "too large": lambda p: layer(p, 1)["config"].update(filters=10**12),
    "rather large": lambda p: layer(p, 1)["config"].update(filters=10**7),
    "another layer": lambda p: layer(p, 1)["config"].update(use_bias=False),
    "other settings": lambda p: layer(p, 3)["config"].update(units=5),
    "no turns": lambda p: p.pop("turns"),
    "turns that are none": lambda p: p.update(turns=[["x", "input", 0, [0, 0, 1, 7]]]),
    "other turns": lambda p: p.update(turns=[]),
    "no text": lambda p: p.pop("belongs"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_record_is_not_used(name: str) -> None:
    module = altered(there(seeded(sequential())), HOSTILE[name])
    with pytest.raises(UsageError, match="record is not used") as caught:
        converter.convert(module, "keras", verify=False)
    assert len(str(caught.value)) < 800


def test_a_record_that_is_no_json_and_one_that_answers_otherwise() -> None:
    module = there(seeded(sequential()))
    record.attach(module, record.Record("{" * 50))
    with pytest.raises(UsageError, match="record is not used"):
        converter.convert(module, "keras", verify=False)

    def another(parts: dict[str, Any]) -> None:
        """The same weights, another function."""
        layer(parts, 1)["config"].update(activation="relu")

    lying = altered(there(seeded(sequential())), another)
    with pytest.raises(UsageError, match="becomes another source text"):
        converter.convert(lying, "keras", verify=False)
    older = altered(there(seeded(sequential())), lambda p: (another(p), p.update(version="0.0.9")))
    next(older.parameters()).data -= 2.0
    assert not converter.convert(older, "keras").report.passed  # what the judge is for


def test_what_this_keras_does_not_have_is_left_out_and_said() -> None:
    own = {"module": "os", "class_name": "system", "config": {"command": "true"}}
    module = altered(there(seeded(sequential())), lambda p: layer(p, 1)["config"].update(kernel_initializer=own))
    made = converter.convert(module, "keras", verify=False)
    assert "this version of Keras writes the config of the record differently" in told(made)
    assert made.model.layers[0].kernel_initializer.__class__.__name__ == "Zeros"


class Inner(nn.Module):
    """A block with a module that is called twice and a function that is none."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lin = nn.Linear(width, width)
        self.act = nn.ReLU()
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.act(self.lin(x))) + x)


class Network(nn.Module):
    """Containers of each kind, a block that is called twice, entries that nothing reads, a frozen weight."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(6, 8), nn.Identity(), nn.BatchNorm1d(8), nn.Tanh())
        self.blocks = nn.ModuleList([Inner(8), Inner(8), Inner(8)])
        self.table = nn.ModuleDict({"left": nn.Linear(8, 4), "7": nn.Linear(8, 4)})
        self.mixed = nn.Sequential(nn.Sequential(nn.Linear(4, 5), nn.ELU()), nn.Linear(5, 3))
        self.shared = Inner(3)
        self.aux = nn.Sequential(nn.Linear(8, 2), nn.BatchNorm1d(2))
        self.register_buffer("scale", torch.arange(6).reshape(2, 3))
        self.stem[0].bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.blocks[0](x) + self.blocks[2](self.blocks[1](x))
        x = torch.relu(self.table["left"](x)) + self.table["7"](x)
        return self.shared(self.shared(self.mixed(x)))


class Crossed(nn.Module):
    """A submodule whose parts are called before and after what stands between them, and one that its parent calls."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4)})
        self.between = nn.Sequential(nn.Linear(4, 4), nn.Sigmoid())
        self.held = Inner(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pair["b"](self.between(self.pair["a"](x)))
        return self.held.norm(self.between[0](self.held.lin(x)))


class Images(nn.Module):
    """Convolutions in sequences with a padding, a pooling and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU6(), nn.MaxPool2d(3, 2, padding=1)
        )
        self.features.append(nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.SiLU(), nn.AdaptiveAvgPool2d(1)))
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.flatten(self.features(x), 1))


NETWORKS: dict[str, tuple[type[nn.Module], tuple[int, ...]]] = {
    "network": (Network, (3, 6)),
    "crossed": (Crossed, (3, 4)),
    "images": (Images, (2, 3, 9, 8)),
}


def filled(model: nn.Module) -> nn.Module:
    """The module with weights, statistics and counters that are not those it was made with."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.8 + 0.2)
            elif name.endswith("num_batches_tracked"):
                tensor.fill_(len(name))
    return model.eval()


def same_state(one: nn.Module, two: nn.Module) -> bool:
    left, right = one.state_dict(), two.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def trained(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_pytorch_state_dict_comes_back_whole(name: str, tmp_path: Path) -> None:
    cls, shape = NETWORKS[name]
    model = filled(cls())
    made = converter.convert(model, "keras", example_inputs=(torch.randn(shape),))
    assert made.report.passed, str(made.report)
    made.save(tmp_path / "net.keras")
    first = converter.convert(made.model, "torch", verify=False)
    back = converter.convert(tmp_path / "net.keras", "torch")
    assert back.report.passed, str(back.report)
    assert told(back) == "state dict's names restored from the record"
    assert back.source.split("\n", 1)[1] == first.source.split("\n", 1)[1]  # but for the title
    assert same_state(back.model, model)
    assert trained(back.model) == trained(model)
    back.save(tmp_path / "back.py")
    fresh = imported(tmp_path / "back.py").Model()
    fresh.load_state_dict(safetensors.torch.load_file(tmp_path / "back.safetensors"), strict=True)
    assert same_state(fresh, model)


def from_torch() -> tuple[nn.Module, Any]:
    model = filled(Network())
    return model, converter.convert(model, "keras", example_inputs=(torch.randn(3, 6),), verify=False).model


def with_record(model: Any, found: record.Record) -> Any:
    record.attach(model, found)
    return model


def test_entries_of_layers_that_were_trained_are_not_used_and_the_names_are() -> None:
    source, model = from_torch()
    norm = model.get_layer("stem_2")
    norm.moving_mean.assign(norm.moving_mean + 1.0)
    made = converter.convert(model, "torch")
    assert made.report.passed, str(made.report)
    assert "entries do not belong to these weights any more (stem.2.num_batches_tracked)" in told(made)
    assert made.model.state_dict().keys() == source.state_dict().keys()
    assert int(made.model.state_dict()["stem.2.num_batches_tracked"]) == 0
    assert int(made.model.state_dict()["blocks.0.norm.num_batches_tracked"]) > 0


def test_a_model_that_was_changed_keeps_the_names_of_what_it_still_has() -> None:
    _, model = from_torch()
    found = record.attached(model)
    assert found is not None
    cut = keras.Model(model.inputs, model.get_layer("mixed_0_0").output, name="cut")
    grown = with_record(keras.Model(cut.inputs, layers.Dense(2, name="fresh")(cut.output)), found)
    made = converter.convert(grown, "torch")
    assert made.report.passed, str(made.report)
    assert "layers are others than they were" in told(made)
    keys = made.model.state_dict().keys()
    assert {"stem.0.weight", "blocks.2.lin.bias", "table.7.weight", "mixed.0.0.weight", "fresh.weight"} <= keys
    assert not any(key.startswith("aux.") for key in keys)  # it belongs to the whole model, which is another


def test_a_layer_of_another_configuration_is_written_under_its_own_name() -> None:
    _, model = from_torch()
    found = record.attached(model)
    assert found is not None
    config = model.get_config()
    config["layers"][1]["config"]["activation"] = "relu"
    other = keras.Model.from_config(config)
    other.set_weights(model.get_weights())
    made = converter.convert(with_record(other, found), "torch")
    assert made.report.passed, str(made.report)
    assert "stem_0" in told(made)
    assert "stem_0.weight" in made.model.state_dict()


def test_without_the_record_the_form_is_canonical_and_the_weights_are_the_same_bits() -> None:
    source, model = from_torch()
    del model._kconvert
    made = converter.convert(model, "torch")
    assert made.report.passed, str(made.report)
    assert told(made) == ""
    written = [tensor.numpy().tobytes() for tensor in made.model.state_dict().values()]
    read = [entry.source for entry in converter.convert(model, "torch", verify=False).mapping]
    assert "blocks_0_lin/kernel" in read
    for key, tensor in source.state_dict().items():
        if not key.startswith("aux.") and not key.endswith(("tracked", "scale")):
            assert tensor.numpy().tobytes() in written, key


BAD: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no layers": lambda p: p.pop("layers"),
    "layers of another kind": lambda p: p.update(layers=[1]),
    "a path that is none": lambda p: p["layers"].update(stem_0=["stem.0/../x", "", "0"]),
    "a path that is code": lambda p: p["layers"].update(stem_0=['stem"]); import os #', "", "0"]),
    "a path without end": lambda p: p["layers"].update(stem_0=[".".join("a" * 100), "", "0"]),
    "a key that is code": lambda p: p["keys"].update({"stem_0/kernel": "a\nimport os"}),
    "an entry without a tensor": lambda p: p["kept"].update({"aux.9.weight": ["", "", True, True]}),
    "an entry of another kind": lambda p: p["kept"].update({"scale": 3}),
    "a class that is code": lambda p: p["classes"].update({"shared": "X(object): import os"}),
    "another direction": lambda p: p.update({"from": "keras"}),
}


@pytest.mark.parametrize("name", BAD)
def test_a_hostile_record_of_names_is_not_used(name: str) -> None:
    _, model = from_torch()
    made = converter.convert(altered(model, BAD[name]), "torch")
    assert made.report.passed, str(made.report)
    assert told(made).startswith("record: not used: ")
    assert "import os" not in made.source
    assert "stem_0.weight" in made.model.state_dict()


ODD: dict[str, Callable[[dict[str, Any]], Any]] = {
    "one path for two layers": lambda p: p["layers"]["mixed_1"].__setitem__(0, "mixed.0.0"),
    "a path below a module": lambda p: p["layers"]["mixed_1"].__setitem__(0, "mixed.0.0.weight"),
    "names that PyTorch has": lambda p: p["layers"]["mixed_1"].__setitem__(0, "forward.training.keys"),
    "everything in one": lambda p: [entry.__setitem__(0, "a.0") for entry in p["layers"].values() if not entry[1]],
    "classes of the file": lambda p: p["classes"].update({"shared": "Model", "blocks.0": "nn", "blocks.1": "class"}),
    "a kept entry below a module": lambda p: p["kept"].update({"mixed.0.0.weight.scale": p["kept"].pop("scale")}),
}


@pytest.mark.parametrize("name", ODD)
def test_a_record_that_contradicts_itself_does_no_harm(name: str) -> None:
    _, model = from_torch()
    found = record.attached(model)
    assert found is not None
    record.attach(model, replace(found, tensors={**found.tensors, "mixed.0.0.weight.scale": np.zeros(3, "float32")}))
    made = converter.convert(altered(model, ODD[name]), "torch")
    assert made.report.passed, str(made.report)
    assert made.model.load_state_dict(made.model.state_dict(), strict=True)


def test_a_file_with_a_record_of_other_members_is_refused(tmp_path: Path) -> None:
    """A member that claims more than it holds, or tensors whose header lies, make the file a bad one."""
    _, model = from_torch()
    model.save(tmp_path / "net.keras")
    with zipfile.ZipFile(tmp_path / "net.keras", "a") as file:
        file.writestr("kconvert.json", "{}")
        file.writestr("kconvert.safetensors", b"\xff" * 64)
    with pytest.raises(BadInput, match=r"kconvert\.safetensors"):
        converter.convert(tmp_path / "net.keras", "torch", verify=False)
