"""The record: there and back is exact where it fits, and what does not fit any more is not used, and said."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import pytest
import torch
from keras import layers

import converter
from converter import record
from converter.errors import UsageError
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
