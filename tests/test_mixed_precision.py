"""Mixed and half precision are named: judged in float64 and by a float32 twin, the half-precision run a row beside."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import keras
import ml_dtypes
import numpy as np
import pytest
import torch
from torch import nn

import converter
from converter.judge.compare import compare
from converter.judge.inputs import InputSpec, make_inputs
from converter.judge.judge import judge
from converter.judge.run_keras import keras_runner, policies, rebuild
from converter.judge.run_torch import torch_runner
from converter.judge.runner import Boundary
from converter.judge.verdict import Gates
from converter.judge.worker import Worker

L = keras.layers
SPEC = InputSpec("x", (None, 8))
MIXED = ["mixed_float16", "mixed_bfloat16"]


def source(policy: str, last: str | None = None) -> Any:
    keras.utils.set_random_seed(0)
    x = keras.Input((8,), name="x")
    y = L.BatchNormalization(dtype=policy, name="norm")(L.Dense(16, dtype=policy, name="one")(x))
    y = L.ReLU(dtype=policy)(y)
    model = keras.Model(x, L.Dense(5, activation="softmax", dtype=last or policy, name="two")(y))
    for weight in model.weights:
        weight.assign(np.random.default_rng(len(weight.path)).uniform(0.2, 1.5, weight.shape))
    return model


class Target(nn.Module):
    """The same in torch; `fault` plants one."""

    def __init__(self, model: Any, fault: str = "") -> None:
        super().__init__()
        self.one, self.norm, self.two = nn.Linear(8, 16), nn.BatchNorm1d(16, eps=1e-3), nn.Linear(16, 5)
        values = {
            w.path.split("/", 0)[-1]: torch.from_numpy(np.array(keras.ops.convert_to_numpy(w), "float32"))
            for w in model.weights
        }
        with torch.no_grad():
            for name in ("one", "two"):
                getattr(self, name).weight.copy_(values[f"{name}/kernel"].T)
                getattr(self, name).bias.copy_(values[f"{name}/bias"])
            self.norm.weight.copy_(values["norm/gamma"])
            self.norm.bias.copy_(values["norm/beta"])
            self.norm.running_mean.copy_(values["norm/moving_mean"])
            self.norm.running_var.copy_(values["norm/moving_variance"])
            if fault == "rows":
                self.two.weight[[0, 1]] = self.two.weight[[1, 0]]
            elif fault == "transposed":
                self.one.weight[:8] = self.one.weight[:8].T.clone()
            elif fault == "nan":
                self.two.weight[0, 0] = torch.nan
        if fault == "epsilon":
            self.norm.eps = 1.1e-3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = torch.softmax(self.two(torch.relu(self.norm(self.one(x)))), -1)
        return made


@pytest.mark.parametrize("policy", MIXED)
def test_mixed_precision_is_named_and_judged_by_twins(policy: str) -> None:
    model = source(policy)
    made = converter.convert(model, "torch")
    report = made.report
    assert report.passed
    assert report.proof
    gates = Gates(require_proof=True)
    verdict = judge(keras_runner(model), [torch_runner(Target(model))], make_inputs([SPEC]), gates=gates)
    assert verdict.passed, verdict
    assert verdict.policy == f"the source's policy is {policy} in 4 layers; the target computes in float32"
    assert verdict.to_dict()["policy"] == verdict.policy
    rows = {(rung.name, rung.precision): rung for rung in verdict.rungs}
    assert rows["keras", policy].passed is None
    assert rows["keras", policy].note == "the source as it is, not judged"
    half = rows["keras", policy].diffs[0].max_rel
    assert half is not None
    assert half > 1e-5
    judged = rows["torch", "float32"]
    assert judged.passed
    assert max(diff.tol / diff.scale for diff in judged.diffs) < 1e-4
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize("policy", [*MIXED, "float16"])
@pytest.mark.parametrize("fault", ["rows", "epsilon", "transposed", "nan"])
def test_faults_in_mixed_precision_are_caught(policy: str, fault: str) -> None:
    model = source(policy)
    verdict = judge(keras_runner(model), [torch_runner(Target(model, fault))], make_inputs([SPEC]))
    assert not verdict.passed
    assert not verdict.proof


def test_policies_are_counted() -> None:
    assert policies(source("float32")) == ("", False)
    assert policies(source("float64")) == ("the source's policy is float64 in 4 layers", False)
    mixed = "the source's policy is mixed_float16 in 3 layers"
    assert policies(source("mixed_float16", "float32")) == (mixed, True)
    assert policies(keras.Sequential([source("mixed_float16", "float32")]))[0] == mixed


def test_a_global_policy_leaves_no_trace_in_the_twin() -> None:
    try:
        keras.config.set_dtype_policy("mixed_float16")
        model = keras.Sequential([keras.Input((4, 8)), L.Bidirectional(L.SimpleRNN(3)), L.Dense(2)])
        twin, why = rebuild(model, "float32")
        assert not why
        assert keras.config.dtype_policy().name == "mixed_float16"
        assert all(layer.dtype_policy.name == "float32" for layer in twin._flatten_layers())
        specs = [InputSpec("x", (None, 4, 8))]
        verdict = judge(keras_runner(model), [keras_runner(model)], make_inputs(specs))
    finally:
        keras.config.set_dtype_policy("float32")
    assert verdict.passed, verdict
    assert any("by its float32 twin" in note for note in verdict.notes)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_judged_against_its_own_rounding(dtype: str) -> None:
    """Not mixed: the target keeps the dtype, and the report says where so large a tolerance comes from."""
    model = source(dtype)
    kind = getattr(torch, dtype)

    class Half(nn.Module):
        def __init__(self, fault: str = "") -> None:
            super().__init__()
            self.inner = Target(model, fault).to(kind)

        def forward(self, x: torch.Tensor) -> Any:
            return self.inner(x.to(self.inner.one.weight.dtype))

    verdict = judge(keras_runner(model), [torch_runner(Half())], make_inputs([SPEC]), gates=Gates(require_proof=True))
    assert verdict.passed, verdict
    assert verdict.policy == f"the source's policy is {dtype} in 4 layers; the target computes in {dtype}"
    rows = {(rung.name, rung.precision): rung for rung in verdict.rungs}
    assert rows["torch", "float64"].passed
    assert f"own rounding in {dtype}" in rows["torch", dtype].note
    assert not judge(keras_runner(model), [torch_runner(Half("rows"))], make_inputs([SPEC])).passed


def test_float64_stays_and_its_own_run_is_told_apart_from_the_proof() -> None:
    """Keras on torch computes BatchNormalization in float32 whatever its dtype: said, and no fault of the target."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 3)).double()
    made = converter.convert(net, "keras", example_inputs=(torch.randn(2, 3, 6, 6).double(),))
    assert made.report.passed, made.report
    assert made.report.proof
    rows = {(rung["name"], rung["precision"]): rung for rung in made.report.rungs}
    assert max(each["max_rel"] for each in rows["keras", "float64"]["outputs"]) < 1e-12
    assert "partly in float32" in rows["keras", "float64 as it is"]["note"]
    assert any("float32 clone" in note for note in made.report.notes)
    right = copy.deepcopy(net)
    with torch.no_grad():
        net[3].weight[[0, 1]] = net[3].weight[[1, 0]]
    sets = make_inputs([InputSpec("x", (None, 3, 6, 6), "float64")])
    boundary = Boundary(inputs=((0, 2, 3, 1),))
    assert judge(torch_runner(right), [keras_runner(made.model, boundary=boundary)], sets).passed
    assert not judge(torch_runner(net), [keras_runner(made.model, boundary=boundary)], sets).passed


def test_a_mixed_file_in_the_reference_process(tmp_path: Path) -> None:
    path = tmp_path / "net.keras"
    model = source("mixed_float16")
    model.save(path)
    kwargs = {"path": str(path), "arch": None, "arch_args": None}
    with Worker("converter.reference:open_file", kwargs, {"KERAS_BACKEND": "torch"}) as worker:
        runner = worker.runner("file")
        verdict = judge(runner, [torch_runner(Target(model))], make_inputs([SPEC]))
    assert verdict.passed, verdict
    assert verdict.proof
    assert "mixed_float16 in 4 layers" in verdict.policy
    assert [rung.precision for rung in verdict.rungs] == ["float32", "mixed_float16", "float64", "float32"]


def test_bfloat16_arrays_travel_and_compare() -> None:
    wide = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    half = wide.astype(ml_dtypes.bfloat16)
    env = {"PYTHONPATH": os.fspath(Path(__file__).parent)}
    with Worker("judge_factory:halves", env=env) as worker:
        found = dict(worker.run32([half, wide, wide.astype("float16")]))
    assert found["dtypes"].tolist() == ["bfloat16", "float32", "float16"]
    assert found["x0"].dtype == half.dtype
    assert np.array_equal(found["x0"], half)
    assert compare("y", half, half.astype("float32"), 0.0).passed
    assert not compare("y", half, wide, 1e-6).passed
    [first, *_] = make_inputs([InputSpec("x", (None, 8), "bfloat16")])
    assert first.arrays[0].dtype == half.dtype
    net = nn.Linear(8, 3).to(torch.bfloat16)
    verdict = judge(torch_runner(net), [torch_runner(net)], make_inputs([InputSpec("x", (None, 8), "bfloat16")]))
    assert verdict.passed, verdict
    assert verdict.proof
    assert verdict.policy == "the source computes in bfloat16; the target computes in bfloat16"
