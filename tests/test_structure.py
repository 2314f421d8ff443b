"""The shape of generated files: names, classes, state dicts, inputs and outputs, and what can be done with them."""

from __future__ import annotations

import copy
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

import converter
from tests.cases.layout import CASES as LAYOUTS
from tests.cases.layout_units import CASES as UNITS
from tests.cases.models import CASES as MODELS

L = keras.layers
EVERY = {case.id: case for case in (*LAYOUTS, *UNITS, *MODELS)}
SHOWN = (
    "layout_squeeze_excite_dense",
    "layout_inception",
    "layout_generator_normalised",
    "layout_two_flattens_concatenated",
    "model_nested_twice",
    "model_nested_with_several_ends",
    "model_two_nested_alike",
    "model_layer_of_a_nested_model_outside",
    "model_sequential_in_sequential",
    "model_frozen_parts",
    "model_unknown_height_and_width",
)


def convert(model: Any, layout: Any = "source") -> Any:
    return converter.convert(model, "torch", layout=layout, verify=False)


def arrays(model: Any, batch: int = 2) -> list[np.ndarray]:
    """Random inputs in the order of model.inputs."""
    rng = np.random.default_rng(0)
    shapes = [[batch, *(6 if d is None else d for d in t.shape[1:])] for t in model.inputs]
    return [rng.normal(size=shape).astype("float32") for shape in shapes]


def answer(model: Any, given: list[np.ndarray]) -> list[np.ndarray]:
    """What the Keras model says, flat."""
    structured = keras.tree.pack_sequence_as(model._inputs_struct, given) if hasattr(model, "_inputs_struct") else given
    outputs = model(structured if len(given) > 1 or isinstance(structured, dict) else given[0], training=False)
    return [keras.ops.convert_to_numpy(t) for t in keras.tree.flatten(outputs)]


def same(model: Any, result: Any, *, by_name: dict[str, int] | None = None) -> Any:
    """Source and target agree; returns what the target said."""
    given = arrays(model)
    tensors = [torch.from_numpy(a) for a in given]
    with torch.no_grad():
        said = result.model(**{k: tensors[i] for k, i in by_name.items()}) if by_name else result.model(*tensors)
    for want, have in zip(answer(model, given), keras.tree.flatten(said), strict=True):
        np.testing.assert_allclose(have.numpy(), want, rtol=1e-4, atol=1e-5)
    return said


def parameters(result: Any) -> list[str]:
    """forward's parameter names."""
    return [name for name in inspect.signature(type(result.model).forward).parameters if name != "self"]


# Names -------------------------------------------------------------------------------------------------------------

HOSTILE = [
    "train",
    "type",
    "T",
    "training",
    "forward",
    "class",
    "None",
    "match",
    "1st",
    "схема",
    "é",
    "層",
    "_",
    "__init__",
    "self",
    "torch",
    "nn",
    "F",
    "Model",
    "parameters",
    "state_dict",
    "x",
    "double",
    "a.b",
    "a_b",
    "a b",
    "a-b",
    'x"); __import__("os").system("touch pwned") #',
    "'''",
    "\\",
    "line\nbreak",
    "{}",
    "%s",
    "lambda",
    "print",
]


def _named(names: list[str]) -> Any:
    x = y = keras.Input((4,), name="image")
    for name in names:
        try:
            layer = L.Dense(4, name=name)
            y = layer(y)
        except (
            ValueError,
            KeyError,
        ):  # names that Keras refuses when it builds ('.' on its torch backend) are set later
            layer = L.Dense(4)
            y = layer(y)
            layer.name = name
    return keras.Model(x, y)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_layer_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = _named([name])
    result = convert(model)
    same(model, result)
    assert not list(tmp_path.iterdir())
    [key] = {key.rsplit(".", 1)[0] for key in result.model.state_dict()}
    assert key.isidentifier()
    assert key.isascii()
    assert key not in dir(torch.nn.Module)


def test_all_hostile_names_in_one_model() -> None:
    model = _named(HOSTILE)
    result = convert(model)
    same(model, result)
    keys = {key.rsplit(".", 1)[0] for key in result.model.state_dict()}
    assert len(keys) == len(HOSTILE)
    assert len({entry.target for entry in result.mapping}) == 2 * len(HOSTILE)


def test_clashes_are_numbered_in_call_order() -> None:
    result = convert(_named(["a_b", "a b", "a-b"]))
    assert [k for k in result.model.state_dict() if k.endswith("weight")] == [
        "a_b.weight",
        "a_b_2.weight",
        "a_b_3.weight",
    ]


@pytest.mark.parametrize("name", ["train", "self", "class", "1st", "x y", "схема", "F", "print", "data"])
def test_hostile_input_name(name: str) -> None:
    x = keras.Input((4,), name=name)
    model = keras.Model(x, L.Dense(3, name=f"{name}_dense")(x))
    result = convert(model)
    [parameter] = parameters(result)
    assert parameter.isidentifier()
    same(model, result, by_name={parameter: 0})


def test_layer_named_like_an_input() -> None:
    """A layer may have the name of the input, and inputs clash after sanitising."""
    a, b = keras.Input((4,), name="a b"), keras.Input((4,), name="a_b")
    y = L.Dense(4, name="a")(a)
    model = keras.Model([a, b], L.Add(name="b")([L.Dense(4, name="x")(y), L.Dense(4, name="y")(b)]))
    result = convert(model)
    assert parameters(result) == ["a_b", "a_b_2"]
    same(model, result, by_name={"a_b": 0, "a_b_2": 1})


def test_nested_models_with_hostile_names() -> None:
    x = keras.Input((4,), name="x")
    inner = keras.Sequential([keras.Input((4,)), L.Dense(4, name="forward"), L.Dense(4, name="Model")], name="train")
    twin = keras.Sequential([keras.Input((4,)), L.Dense(3, name="type")], name="nn")
    model = keras.Model(x, twin(inner(inner(x))))
    same(model, convert(model))


# Inputs and outputs ------------------------------------------------------------------------------------------------


def test_several_inputs_by_position_and_by_name() -> None:
    b, a = keras.Input((3,), name="b"), keras.Input((5,), name="a")
    model = keras.Model([b, a], L.Dense(2)(L.Concatenate()([a, b])))
    result = convert(model)
    assert parameters(result) == ["b", "a"]
    same(model, result)
    same(model, result, by_name={"a": 1, "b": 0})


def test_dict_inputs_come_in_keras_order() -> None:
    """Keras sorts the keys of a dict; forward's parameters follow model.inputs."""
    zebra, apple = keras.Input((3,), name="zebra"), keras.Input((5,), name="apple")
    model = keras.Model({"zebra": zebra, "apple": apple}, L.Dense(2)(L.Concatenate()([zebra, apple])))
    result = convert(model)
    assert parameters(result) == [t.name for t in model.inputs] == ["apple", "zebra"]
    given = dict(zip(("apple", "zebra"), arrays(model), strict=True))
    want = keras.ops.convert_to_numpy(model(given, training=False))
    with torch.no_grad():
        have = result.model(**{k: torch.from_numpy(v) for k, v in given.items()})
    np.testing.assert_allclose(have.numpy(), want, rtol=1e-4, atol=1e-5)


def test_unused_input_stays_a_parameter() -> None:
    a, b = keras.Input((3,), name="a"), keras.Input((5,), name="b")
    model = keras.Model([a, b], L.Dense(2)(a))
    result = convert(model)
    assert parameters(result) == ["a", "b"]
    same(model, result)


@pytest.mark.parametrize("kind", ["one", "list", "one in a list", "dict", "nested", "dict of lists"])
def test_outputs_keep_their_structure(kind: str) -> None:
    x = keras.Input((3,), name="x")
    p, q, r = L.Dense(2, name="p")(x), L.Dense(4, name="q")(x), L.Dense(5, name="r")(x)
    outputs: dict[str, Any] = {
        "one": p,
        "list": [q, p],
        "one in a list": [p],
        "dict": {"z": p, "a": q},
        "nested": [p, [q, r]],
        "dict of lists": {"z": [p, q], "a": r},
    }
    model = keras.Model(x, outputs[kind])
    said = same(model, convert(model))
    want = model(arrays(model)[0], training=False)

    def shape(structure: Any) -> Any:
        if isinstance(structure, dict):
            return {k: shape(v) for k, v in sorted(structure.items())}
        return tuple(map(shape, structure)) if isinstance(structure, (list, tuple)) else tuple(structure.shape)

    assert shape(said) == shape(want)
    if isinstance(want, dict):
        assert set(said) == set(want)


def test_output_dict_with_a_hostile_key() -> None:
    x = keras.Input((3,), name="x")
    key = '"); __import__("os").system("touch pwned") #'
    model = keras.Model(x, {key: L.Dense(2)(x), "é": L.Dense(4)(x)})
    assert set(same(model, convert(model))) == {key, "é"}


# Classes and state -------------------------------------------------------------------------------------------------


def test_shared_layer_is_registered_once() -> None:
    x = keras.Input((5,), name="x")
    dense = L.Dense(5, name="shared")
    result = convert(keras.Model(x, dense(dense(x))))
    assert list(result.model.state_dict()) == ["shared.weight", "shared.bias"]
    assert result.source.count("nn.Linear") == 1
    assert result.source.count("self.shared(") == 2


def test_nested_model_called_twice_is_one_class() -> None:
    result = convert(EVERY["model_nested_twice"].make(keras), "native")
    assert result.source.count("class Encoder(nn.Module)") == 1
    assert result.source.count("self.encoder(") == 2
    assert {key.split(".")[0] for key in result.model.state_dict()} == {"encoder"}


def test_layer_of_a_nested_model_outside_has_one_weight() -> None:
    model = EVERY["model_layer_of_a_nested_model_outside"].make(keras)
    result = convert(model, "native")
    kernels = [k for k, v in result.model.state_dict().items() if v.ndim == 4]
    assert len(kernels) == 1, result.source


def test_nested_keys_follow_the_layers() -> None:
    result = convert(EVERY["model_sequential_in_sequential"].make(keras), "native")
    names = {key.rsplit(".", 1)[0] for key in result.model.state_dict()}
    assert {name.split(".")[0] for name in names} == {"body", "head"}


@pytest.mark.parametrize("case", MODELS, ids=lambda c: c.id)
def test_parameters_and_state(case: Any) -> None:
    """As many trainable numbers as in the source, no weight twice, every weight in the mapping, strict loading."""
    model = case.make(keras)
    result = convert(model, "native")
    target = result.model
    count = sum(p.numel() for p in target.parameters() if p.requires_grad)
    assert count == sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    state = target.state_dict()
    pointers = [v.data_ptr() for v in state.values() if v.numel()]
    assert len(set(pointers)) == len(pointers)
    assert {entry.target for entry in result.mapping} <= set(state)
    assert {entry.source for entry in result.mapping}
    assert len(result.mapping) == len(model.weights) - _seeds(model)
    fresh = type(target)()
    fresh.load_state_dict(state, strict=True)


def _seeds(model: Any) -> int:
    return sum("seed_generator" in w.path for w in model.weights)


def test_frozen_parts_are_frozen() -> None:
    target = convert(EVERY["model_frozen_parts"].make(keras), "native").model
    assert {n.split(".")[0]: p.requires_grad for n, p in target.named_parameters()}["encoder"] is False
    before = {k: v.clone() for k, v in target.state_dict().items() if "running" in k}
    target.train()
    target(torch.randn(4, 3, 7, 6))
    assert before
    assert all(torch.equal(target.state_dict()[k], v) for k, v in before.items())


@pytest.mark.parametrize("name", SHOWN)
def test_deepcopy_and_export(name: str) -> None:
    model = EVERY[name].make(keras)
    result = convert(model, "native")
    target = result.model
    shapes = [[2, *(16 if d is None else d for d in t.shape[1:])] for t in model.inputs]
    turns = {t.index: t.perm for t in result.turns if t.kind == "input"}
    given = tuple(torch.randn([s[p] for p in turns.get(i, range(len(s)))]) for i, s in enumerate(shapes))
    with torch.no_grad():
        want = keras.tree.flatten(target(*given))
        copied = keras.tree.flatten(copy.deepcopy(target)(*given))
        program = torch.export.export(target, given, dynamic_shapes=tuple({0: torch.export.Dim("n")} for _ in given))
        exported = keras.tree.flatten(program.module()(*given))
        other = tuple(torch.cat([t, t, t]) for t in given)
        larger = keras.tree.flatten(program.module()(*other))
    for a, b, c, d in zip(want, copied, exported, larger, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, c)
        torch.testing.assert_close(torch.cat([a, a, a]), d, rtol=1e-4, atol=1e-5)


def test_mypy_accepts_the_files(tmp_path: Path) -> None:
    """One run of mypy --strict over files that use every helper class of this family and every kind of structure."""
    models = {name: case.make(keras) for name, case in EVERY.items() if name in SHOWN or name == "layout_dict_outputs"}
    x = keras.Input((6, 3), name="x")
    noisy = L.GaussianDropout(0.2)(L.GaussianNoise(0.1)(x))
    noisy = L.AlphaDropout(0.2, noise_shape=(None, 1, None))(L.Dropout(0.3, noise_shape=(None, 1, None))(noisy))
    models["noise"] = keras.Model(x, L.Masking(0.5)(L.SpatialDropout1D(0.2)(noisy)))
    image = keras.Input((6, 5, 3), name="image", dtype="uint8")
    models["cast"] = keras.Model(image, {"p": [L.RandomFlip()(image), image], "q": L.RandomFlip()(image) * 2.0})
    models["names"] = _named(HOSTILE)
    for name, model in models.items():
        (tmp_path / f"{name}.py").write_text(convert(model, "native").source)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# What is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer",
    [
        lambda: L.RandomCrop(4, 4),
        lambda: L.AutoContrast(),
        lambda: L.Dropout(0.5, noise_shape=(None, 5)),
    ],
    ids=["RandomCrop of another size", "AutoContrast", "noise_shape of another rank"],
)
def test_refused(layer: Any) -> None:
    x = keras.Input((6, 5, 3), name="x")
    with pytest.raises(converter.errors.Unsupported):
        convert(keras.Model(x, layer()(x)))
