"""Layers, models and functions of the user's own: opened, written as classes of their own, equal in float64."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from click.testing import CliRunner

import converter
from converter.cli import convert as command
from converter.errors import Unsupported, UsageError
from tests.own_layers import (
    Branching,
    Closed,
    Gated,
    Named,
    Net,
    Pair,
    Pooled,
    Spare,
    Stack,
    Times,
    Trained,
    shifted,
    tripled,
)
from tests.own_modules import GatedTorch, Lazy, TooFew, Wrong, line

L = keras.layers
HERE = Path(__file__).parent
OWN = {"own>Gated": Gated, "own>Stack": Stack, "own>Net": Net, "own>Pooled": Pooled, "shifted": shifted}


def moved(model: Any) -> Any:
    """The model with random weights, none of them at its initial value."""
    rng = np.random.default_rng(7)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape))
    return model


def functional() -> Any:
    x = keras.Input((None, 3), name="x")
    return moved(keras.Model(x, L.Dense(2, name="end")(Gated(5, name="two")(Gated(4, name="one")(x)))))


def sequential() -> Any:
    return moved(keras.Sequential([keras.Input((6, 3)), Gated(4), L.Dense(2, activation=shifted)]))


def subclassed() -> Any:
    model = Net(4)
    model(np.zeros((2, 5), "int32"))
    return moved(model)


def nested() -> Any:
    x = keras.Input((7, 3), name="x")
    return moved(keras.Model(x, list(Stack(4, name="stack")(x))))


def twice() -> Any:
    x, block = keras.Input((5, 4), name="x"), Gated(4, name="block")
    return moved(keras.Model(x, block(block(x))))


def masked() -> Any:
    ids = keras.Input((6,), dtype="int32", name="ids")
    return moved(keras.Model(ids, Pooled(name="pooled")(L.Embedding(9, 4, mask_zero=True, name="table")(ids))))


MODELS: dict[str, Callable[[], Any]] = {
    each.__name__: each for each in (functional, sequential, subclassed, nested, twice, masked)
}


def proven(made: converter.Conversion) -> converter.Conversion:
    assert made.report.passed, str(made.report)
    assert made.report.proof, made.report.rests_on
    return made


@pytest.mark.parametrize("name", MODELS)
def test_live_models(name: str) -> None:
    proven(converter.convert(MODELS[name](), "torch"))


def test_onnx() -> None:
    proven(converter.convert(functional(), "onnx"))


@pytest.mark.parametrize("name", ["functional", "sequential", "subclassed"])
def test_files(name: str, tmp_path: Path) -> None:
    MODELS[name]().save(tmp_path / "m.keras")
    with pytest.raises(Unsupported, match=r"--custom .*--trust"):
        converter.convert(tmp_path / "m.keras", "torch")
    made = proven(converter.convert(tmp_path / "m.keras", "torch", custom=OWN))
    assert {each["road"] for each in made.report.roads} == {"custom="}


def test_each_class_is_written_once_under_its_name() -> None:
    made = converter.convert(functional(), "torch", verify=False)
    assert re.findall(r"^class (\w+)", made.source, re.M) == ["Gated", "Model"]
    assert "x = x * (1.0 + self.scale)" in made.source
    for text in ("self.one = Gated(", "self.two = Gated(", "self.scale = nn.Parameter("):
        assert text in made.source
    keys = [f"{layer}.{key}" for layer in ("one", "two") for key in ("dense.weight", "norm.bias", "scale")]
    assert set(keys) < set(made.model.state_dict())
    assert all(parameter.requires_grad for parameter in made.model.parameters())
    assert len(list(made.model.parameters())) == 12
    assert made.report.roads == [{"layer": name, "class": "Gated", "road": "opened"} for name in ("one", "two")]
    assert made.report.by_road() == ["opened: Gated (one, two)"]
    assert ("one/scale", "one.scale") in [(each.source, each.target) for each in made.mapping]


def test_layers_of_layers_keep_their_attributes() -> None:
    made = converter.convert(nested(), "torch", verify=False)
    assert re.findall(r"^class (\w+)", made.source, re.M) == ["Gated", "Stack", "Model"]
    assert made.source.count("self.blocks_1(x)") == 2
    assert "stack.blocks_0.dense.weight" in made.model.state_dict()


def test_lengths_stay_open() -> None:
    made = converter.convert(functional(), "torch", verify=False)
    for shape in ((1, 2, 3), (4, 9, 3)):
        assert made.model(torch.zeros(shape)).shape == (*shape[:2], 2)


def test_subclassed_model_learns_and_drops() -> None:
    made = converter.convert(subclassed(), "torch", verify=False)
    ids = torch.ones((2, 5), dtype=torch.int32)
    made.model.train()
    one, two = made.model(ids)["steps"], made.model(ids)["steps"]
    assert not torch.equal(one, two), "Dropout acts while training"
    one.sum().backward()
    assert made.model.stack.blocks_0.scale.grad is not None


def test_what_nothing_tells_is_asked_for() -> None:
    with pytest.raises(UsageError, match="not built"):
        converter.convert(Net(4), "torch")


def test_branch_on_numbers_is_refused_with_its_line() -> None:
    x = keras.Input((3,))
    with pytest.raises(Unsupported, match=r"branches on the numbers.*own_layers.py, line \d+: if ops.sum\(x\) > 0"):
        converter.convert(keras.Model(x, Branching(name="b")(x)), "torch")


def test_lambda(tmp_path: Path) -> None:
    x = keras.Input((3,))
    keras.Model(x, L.Lambda(lambda t: t * 2.0 + 1.0, name="line")(x)).save(tmp_path / "m.keras")
    with pytest.raises(Unsupported, match="--trust"):
        converter.convert(tmp_path / "m.keras", "torch")
    assert "x * 2.0 + 1.0" in proven(converter.convert(tmp_path / "m.keras", "torch", trust=True)).source
    for name in ("line", "<lambda>"):
        made = proven(converter.convert(tmp_path / "m.keras", "torch", custom={name: shifted}))
        assert torch.equal(made.model(torch.tensor([[-1.0, 0.0, 2.0]])), torch.tensor([[1.0, 1.0, 3.0]]))


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own, where nothing is registered."""
    functional().save(tmp_path / "m.keras")
    run = [sys.executable, "-m", "converter", "m.keras", "--to", "torch"]
    given = ["--custom", f"Gated={HERE / 'own_layers.py'}:Gated"]
    env = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    refused = subprocess.run(run, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert refused.returncode == 3
    assert "--custom" in refused.stderr
    done = subprocess.run([*run, *given], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "m -> torch: equal. It rests on float64" in done.stdout


@pytest.mark.parametrize(
    "options", [["--custom", "Gated"], ["--custom", "Gated=nothing"], ["--custom", "A=a:b", "--custom", "A=a:c"]]
)
def test_custom_is_checked_first(options: list[str], tmp_path: Path) -> None:
    functional().save(tmp_path / "m.keras")
    with pytest.raises(UsageError, match="--custom"):
        CliRunner().invoke(command, [str(tmp_path / "m.keras"), "--to", "torch", *options], catch_exceptions=False)


def test_custom_and_trust_are_for_files() -> None:
    for options in ({"custom": OWN}, {"trust": True}):
        with pytest.raises(UsageError, match="live model"):
            converter.convert(functional(), "torch", **options)


@pytest.mark.parametrize("backend", ["tensorflow"])
def test_other_backends(backend: str, tmp_path: Path) -> None:
    """The layer travels to a process with Keras on torch, classes of __main__ too; one without get_config cannot."""
    script = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
import keras, converter
from tests.own_layers import Gated, Closed

class Mine(keras.layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units, self.inner = units, Gated(units)
    def call(self, x):
        return self.inner(x) + 1
    def get_config(self):
        return {{**super().get_config(), "units": self.units}}

x = keras.Input((5, 3))
made = converter.convert(keras.Model(x, Mine(4, name="m")(x)), "torch")
assert made.report.proof, str(made.report)
assert made.source.count("class Mine(") == 1
try:
    converter.convert(keras.Model(x, Closed(2.0)(x)), "torch")
except converter.errors.Unsupported as error:
    assert "get_config" in str(error), error
else:
    raise SystemExit("a layer without get_config was converted")

import tensorflow as tf

class Raw(keras.layers.Layer):
    def call(self, x):
        return tf.math.cumsum(x, axis=1)

try:
    converter.convert(keras.Model(x, Raw(name="raw")(x)), "torch")
except converter.errors.Unsupported as error:
    assert "Raw 'raw': its call is raw TensorFlow" in str(error), error
    assert "line " in str(error), error
    assert "keras.ops" in str(error) and "custom=" in str(error), error
else:
    raise SystemExit("a layer of raw TensorFlow was converted")
"""
    (tmp_path / "run.py").write_text(script)
    env = {**os.environ, "PYTHONPATH": str(HERE.parent), "KERAS_BACKEND": backend}
    ran = subprocess.run([sys.executable, "run.py"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_live_layer_without_a_config_is_converted_on_torch() -> None:
    x = keras.Input((3,))
    made = converter.convert(keras.Model(x, Closed(2.0)(x)), "torch")
    assert made.report.passed
    assert "float32" in made.report.rests_on


def test_a_weight_that_no_output_reads_is_counted() -> None:
    x = keras.Input((3,))
    model = moved(keras.Model(x, Spare(4, name="spare")(x)))
    made = proven(converter.convert(model, "torch"))
    assert made.report.trainable == {
        "source": 3 * 4 + 5,
        "target": 3 * 4,
        "why": ["1 parameters reach no output (spare/unread)"],
    }


A, B = np.ones((2, 3), "float32"), np.ones((2, 5), "float32")
UNBUILT: dict[str, tuple[Callable[[], Any], Any]] = {
    "one": (lambda: Net(4), (np.zeros((2, 5), "int32"),)),
    "two": (lambda: Pair(4), (A, B)),
    "dict": (lambda: Named(4), ({"a": A, "b": B},)),
    "sequential": (lambda: keras.Sequential([L.Dense(4), Gated(3)]), (torch.ones(2, 3),)),
}


@pytest.mark.parametrize("name", UNBUILT)
def test_example_inputs_build_what_has_no_shapes(name: str) -> None:
    make, examples = UNBUILT[name]
    made = proven(converter.convert(make(), "torch", example_inputs=examples))
    assert all(lengths[0] == "N" for lengths in made.report.dynamic.values())


@pytest.mark.parametrize(("make", "given"), [(Pair, (A, B)), (Named, ({"a": A, "b": B},))])
def test_several_inputs(make: Any, given: Any) -> None:
    model = make(4)
    model(*given)
    if make is Pair:
        with pytest.raises(UsageError, match="does not tell what it takes as b"):
            converter.convert(model, "torch")
    examples = {"example_inputs": given} if make is Pair else {}
    made = proven(converter.convert(moved(model), "torch", **examples))
    assert made.model(torch.ones(2, 3), torch.ones(2, 5)).shape == (2, 4)


def test_example_inputs_that_do_not_fit() -> None:
    with pytest.raises(UsageError, match="cannot be called with them"):
        converter.convert(Pair(4), "torch", example_inputs=(A,))
    with pytest.raises(UsageError, match="knows its inputs"):
        converter.convert(functional(), "torch", example_inputs=(A,))


def two_gates(tmp_path: Path) -> tuple[Any, dict[str, Path]]:
    """A model with a layer of the user's own twice, and its files."""
    x = keras.Input((None, 3), name="x")
    model = moved(keras.Model(x, L.Dense(2, name="end")(Gated(4, name="two")(Gated(3, name="one")(x)))))
    files = {suffix: tmp_path / f"m.{suffix}" for suffix in ("keras", "h5")}
    for path in files.values():
        model.save(path)
    return model, files


def test_a_class_of_torch_in_the_place_of_a_layer() -> None:
    made = proven(converter.convert(functional(), "torch", custom={"Gated": GatedTorch}))  # Gated is there to compare
    assert {each["road"] for each in made.report.roads} == {"custom="}
    assert re.findall(r"^class (\w+)", made.source, re.M) == ["GatedTorch", "Model"]
    assert re.findall(r"^(?:import|from) (\w+)", made.source, re.M) == ["torch"] * 3
    assert ("one/dense/kernel", "one.dense.weight", (1, 0)) in [(e.source, e.target, e.axes) for e in made.mapping]
    assert not converter.convert(functional(), "torch", custom={"own>Gated": Wrong}).report.passed
    proven(converter.convert(functional(), "torch", custom={"Gated": Lazy}))
    with pytest.raises(UsageError, match=r"'one' has 5 weights for 1 of TooFew's.*dense/kernel \[3, 4\].*scale \[2\]"):
        converter.convert(functional(), "torch", custom={"Gated": TooFew})


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize(("installed", "given"), [(True, GatedTorch), (False, GatedTorch), (False, Lazy)])
def test_a_class_of_torch_for_a_file(
    suffix: str, installed: bool, given: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, files = two_gates(tmp_path)
    if not installed:
        monkeypatch.delitem(keras.saving.get_custom_objects(), "own>Gated")
    made = converter.convert(files[suffix], "torch", custom={"own>Gated": given})
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    np.testing.assert_allclose(made.model(torch.from_numpy(x)).detach(), model(x).detach(), rtol=1e-5, atol=1e-5)
    assert made.report.passed
    assert made.report.proof is installed
    if not installed:
        text = "the source layers 'one', 'two' have no Keras class here; nothing to compare with"
        assert text in str(made.report.warnings[0])
        assert made.report.rests_on.startswith("weak evidence")
        assert "float64" in made.report.rests_on


@pytest.mark.parametrize("name", ["line", "<lambda>"])
def test_functions_of_torch_for_lambda_layers(name: str, tmp_path: Path) -> None:
    x = keras.Input((3,))
    model = keras.Model(x, L.Lambda(lambda t: keras.ops.relu(t) * 3.0, name="line")(x))
    model.save(tmp_path / "m.keras")
    for source in (model, tmp_path / "m.keras"):
        made = converter.convert(source, "torch", custom={name: line})
        assert made.report.passed, str(made.report)
        assert torch.equal(made.model(torch.tensor([[-1.0, 0.0, 2.0]])), torch.tensor([[0.0, 0.0, 6.0]]))


def test_functions_of_torch_for_layers_and_activations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = keras.Input((3,))
    model = moved(keras.Model(x, Times(3.0, name="times")(L.Dense(2, activation=tripled, name="fc")(x))))
    given = {"Times": line, "tripled": line}
    assert proven(converter.convert(model, "torch", custom=given)).report.passed
    assert not converter.convert(model, "torch", custom={"tripled": torch.neg}).report.passed
    model.save(tmp_path / "m.keras")
    monkeypatch.delitem(keras.saving.get_custom_objects(), "own>Times")
    made = converter.convert(tmp_path / "m.keras", "torch", custom=given)
    assert made.report.passed, str(made.report)
    assert not made.report.proof
    with pytest.raises(UsageError, match="a function has no place for the 5 weights"):
        converter.convert(functional(), "torch", custom={"Gated": line})


def test_training_inside() -> None:
    """What holds at inference too: refused where it draws, and told."""
    x = keras.Input((3,))
    with pytest.raises(Unsupported, match=r"drop 'drawing/drop': it is called with training=True"):
        converter.convert(keras.Model(x, Trained(L.Dropout(0.5, name="drop"), name="drawing")(x)), "torch")
    model = moved(keras.Model(x, Trained(L.BatchNormalization(name="norm"), name="batch")(x)))
    made = converter.convert(model, "torch", inputs=np.arange(12, dtype="float32").reshape(4, 3) ** 2)
    assert made.report.passed, str(made.report)
    assert any("'norm' inside is called with training=True" in str(note) for note in made.report.notes)


def test_mixed_precision_is_refused_with_its_dtypes() -> None:
    x = keras.Input((3,))
    model = keras.Model(x, Gated(4, dtype="mixed_bfloat16", name="g")(x))
    with pytest.raises(Unsupported, match=r"it computes in bfloat16 and keeps its weights in float32.*dtype='float32'"):
        converter.convert(model, "torch")
