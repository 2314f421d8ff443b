"""Every row of tests/cases through the whole line: Keras -> graph -> ONNX -> PyTorch, in float64 and float32."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import torch

import converter
from converter.judge.run_keras import float64_keras
from tests.cases import Case, all_cases

CASES = all_cases()
FLOAT64 = 1e-10


def build(case: Case) -> Any:
    """The row's model in float32, its weights random: statistics, biases and zeros too."""
    keras.utils.set_random_seed(0)
    model = case.make(keras)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if not np.issubdtype(np.dtype(weight.dtype), np.floating):
            continue
        drawn = rng.normal(0.0, 0.5, weight.shape)
        positive = "variance" in weight.name
        weight.assign(np.abs(drawn) + 0.5 if positive else drawn)
    return model


def twin(case: Case, model: Any) -> Any:
    """The row's model made under a float64 policy, with the weights of the float32 one."""
    made = case.make(keras)
    made.set_weights([np.asarray(keras.ops.convert_to_numpy(w), "float64") for w in model.weights])
    return made


def inputs_of(case: Case, model: Any, batch: int, size: int, dtype: str) -> list[np.ndarray]:
    """Seeded inputs in the dtype of the model's inputs."""
    rng = np.random.default_rng(batch * 100 + size)
    arrays = []
    for tensor in model.inputs:
        shape = [size + i if d is None else d for i, d in enumerate(tensor.shape)]
        shape[0] = batch
        kind = dtype if str(tensor.dtype).startswith("float") else tensor.dtype
        if case.ids:
            drawn = rng.integers(0, case.ids, shape)
        elif case.low is not None:
            drawn = rng.uniform(case.low, case.high, shape)
        else:
            drawn = rng.normal(0.0, 1.5, shape)
        arrays.append(drawn.astype(kind))
    return arrays


@contextlib.contextmanager
def _float32_policy() -> Iterator[None]:
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)


def flat(outputs: Any) -> list[np.ndarray]:
    """The arrays of what a model returns."""
    return [np.asarray(keras.ops.convert_to_numpy(t)) for t in keras.tree.flatten(outputs)]


def check(case: Case, dtype: str, layout: str, tolerance: float) -> None:
    """Convert the float32 model; compare source and target in `dtype`, over batches and sizes."""
    with float64_keras() if dtype == "float64" else contextlib.nullcontext():
        _check(case, dtype, layout, tolerance)


def _check(case: Case, dtype: str, layout: str, tolerance: float) -> None:
    with _float32_policy():
        model = build(case)
        result = converter.convert(model, "torch", layout=layout, verify=False)
    target = result.model
    if dtype == "float64":
        model, target = twin(case, model), target.double()
    if case.transposes is not None and layout == "native":
        assert result.report.transposes <= case.transposes, result.source
    turns = {(t.kind, t.index): t.perm for t in result.turns}
    unknown = any(d is None for t in model.inputs for d in t.shape[1:])
    for batch in case.batches:
        for size in case.sizes if unknown else case.sizes[:1]:
            arrays = inputs_of(case, model, batch, size, dtype)
            expected = flat(model(arrays if len(arrays) > 1 else arrays[0], training=False))
            given = [a.transpose(turns.get(("input", i), range(a.ndim))) for i, a in enumerate(arrays)]
            with torch.no_grad():
                answers = target(*[torch.from_numpy(np.ascontiguousarray(a)) for a in given])
            got = flat(answers)
            assert len(got) == len(expected)
            for i, (want, have) in enumerate(zip(expected, got, strict=True)):
                want = want.transpose(turns.get(("output", i), range(want.ndim)))
                assert have.shape == want.shape, result.source
                assert have.dtype == want.dtype, result.source
                assert want.size > 0
                scale = max(float(np.abs(want).max()), 1e-30)
                error = float(np.abs(want.astype(np.float64) - have.astype(np.float64)).max()) / scale
                assert error <= tolerance, f"{error} at batch {batch}, size {size}\n{result.source}"
    expected_count = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    assert sum(p.numel() for p in target.parameters() if p.requires_grad) == expected_count


@pytest.mark.parametrize("layout", ["native", "source"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_float64(case: Case, layout: str) -> None:
    if case.float64:
        check(case, "float32", layout, 2e-6)
    else:
        check(case, "float64", layout, FLOAT64)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_float32_and_onnxruntime(case: Case) -> None:
    check(case, "float32", "native", 2e-5)
    if case.ort:
        return
    import onnxruntime

    model = build(case)
    onnx_model = converter.convert(model, "onnx", layout="source", verify=False).onnx
    session = onnxruntime.InferenceSession(onnx_model.SerializeToString(), providers=["CPUExecutionProvider"])
    arrays = inputs_of(case, model, 2, case.sizes[0], "float32")
    expected = flat(model(arrays if len(arrays) > 1 else arrays[0], training=False))
    got = session.run(None, {i.name: a for i, a in zip(session.get_inputs(), arrays, strict=True)})
    for want, have in zip(expected, got, strict=True):
        assert have.shape == want.shape
        assert np.abs(want - have).max() <= 2e-5 * max(np.abs(want).max(), 1e-30)
