"""Dtypes on the way to PyTorch: what goes in, what layers compute in, what comes out; equal to Keras or refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import onnx
import pytest
import torch

import converter
from converter.errors import Unsupported
from tests.cases import Case, all_cases

INPUTS = ("bool", "int8", "uint8", "int32", "int64", "float16", "bfloat16")
POLICIES = ("float16", "bfloat16", "mixed_float16", "mixed_bfloat16")
TOLERANCE = {"float64": 1e-10, "float32": 2e-5, "float16": 3e-2, "bfloat16": 2e-1}
DTYPES = {"mixed_float16": "float16", "mixed_bfloat16": "bfloat16"}
CASES = all_cases()
OVERFLOWS = {"unitnorm_zero", "unitnorm_two_small"}
"""Keras divides by a number that float16 does not hold, and gives NaN."""
STEPS = {"activation_relu_all_behind_conv"}
"""A rounding of half precision decides on which side of a step an element lies."""


class Typed:
    """Keras, whose inputs have a dtype where the row gives them none."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    def __getattr__(self, name: str) -> Any:
        return getattr(keras, name)

    def Input(self, *args: Any, **kwargs: Any) -> Any:
        return keras.Input(*args, **{"dtype": self.dtype, **kwargs})


@contextlib.contextmanager
def policy_of(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def seeded(model: Any) -> Any:
    """The model with float weights of every sign, variances above 0."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "float" in str(weight.dtype):
            drawn = rng.normal(0.0, 0.5, weight.shape)
            weight.assign(np.abs(drawn) + 0.5 if "variance" in weight.name else drawn)
    return model


def drawn(model: Any, case: Case | None = None) -> list[torch.Tensor]:
    """Inputs of the model's own dtypes."""
    rng = np.random.default_rng(1)
    arrays = []
    for tensor in model.inputs:
        shape = [3, *(6 + i if d is None else d for i, d in enumerate(tensor.shape[1:], 1))]
        data: Any
        if case is not None and case.ids:
            data = rng.integers(0, case.ids, shape)
        elif "int" in tensor.dtype or tensor.dtype == "bool":
            data = rng.integers(0, 2 if tensor.dtype == "bool" else 9, shape)
        elif case is not None and case.low is not None:
            data = rng.uniform(case.low, case.high, shape)
        else:
            data = rng.normal(0.0, 1.5, shape)
        arrays.append(torch.from_numpy(np.asarray(data)).to(getattr(torch, tensor.dtype)))
    return arrays


def answers(outputs: Any) -> list[tuple[str, np.ndarray]]:
    """dtype and numbers of every output."""
    flat = [t.detach() for t in keras.tree.flatten(outputs)]
    return [(str(t.dtype).removeprefix("torch."), t.to(torch.float64).numpy()) for t in flat]


def compare(model: Any, case: Case | None = None, mixed: str = "", within: str = "") -> Any:
    """The converted model's source; it answers like the model in numbers and dtype, and its graph is valid ONNX.

    `within`: the dtype whose rounding is allowed, for models that compute in several.

    Models that Keras itself cannot run are left out, and refusals are an answer: None.
    """
    given = drawn(model, case)
    with torch.no_grad():
        try:
            wanted = answers(model(given if len(given) > 1 else given[0], training=False))
        except (ValueError, TypeError, RuntimeError, NotImplementedError, IndexError):
            return None
        try:
            made = converter.convert(model, "torch", layout="source", verify=False)
        except Unsupported:
            return None
        got = answers(made.model(*given))
    onnx.checker.check_model(made.onnx, full_check=True)
    for (want_dtype, want), (have_dtype, have) in zip(wanted, got, strict=True):
        computed = "float32" if mixed and want_dtype == mixed else want_dtype
        assert have_dtype == computed, made.source
        assert want.shape == have.shape
        finite = np.isfinite(want)
        assert np.array_equal(finite, np.isfinite(have)), made.source
        scale = max(float(np.abs(want[finite]).max(initial=0.0)), 1e-30)
        error = float(np.abs(np.where(finite, want, 0.0) - np.where(finite, have, 0.0)).max(initial=0.0)) / scale
        assert error <= TOLERANCE.get(within or want_dtype, 0.0), f"{error} in {want_dtype}\n{made.source}"
    return made.source


def share(modes: tuple[str, ...], each: int) -> list[Any]:
    """Every row with `each` of the modes, in turn: all rows meet some, all modes meet many."""
    pairs = [
        (case, modes[(i * each + k) % len(modes)])
        for i, case in enumerate(CASES)
        for k in range(each)
        if case.id not in OVERFLOWS | STEPS
    ]
    return [pytest.param(case, mode, id=f"{case.id}-{mode}") for case, mode in pairs]


@pytest.mark.parametrize(("case", "dtype"), share(INPUTS, 1))
def test_inputs_of_every_dtype(case: Case, dtype: str) -> None:
    keras.utils.set_random_seed(0)
    try:
        model = seeded(case.make(Typed(dtype)))
    except (ValueError, TypeError, RuntimeError, NotImplementedError):
        return  # Keras refuses to build it
    compare(model, case)


@pytest.mark.parametrize(("case", "name"), share(POLICIES, 1))
def test_layers_of_every_policy(case: Case, name: str) -> None:
    keras.utils.set_random_seed(0)
    with policy_of(name):
        model = seeded(case.make(keras))
        mixed = DTYPES.get(name, "")  # what comes out wider than the policy was computed of numbers that are not
        compare(model, case, mixed=mixed, within=mixed)


def sequence(shape: tuple[int, ...], dtype: str, *layers: Any) -> Any:
    return seeded(keras.Sequential([keras.Input(shape, dtype=dtype), *layers]))


L = keras.layers
MODELS: dict[str, Callable[[], Any]] = {
    "upsampling_int32": lambda: sequence((4, 5, 3), "int32", L.UpSampling2D()),
    "upsampling1d_uint8": lambda: sequence((4, 3), "uint8", L.UpSampling1D(2)),
    "max_pooling_int32": lambda: sequence((4, 6, 3), "int32", L.MaxPooling2D(2)),
    "global_max_int8": lambda: sequence((4, 6, 3), "int8", L.GlobalMaxPooling2D()),
    "upsampling_int64": lambda: sequence((4, 5, 6, 3), "int64", L.UpSampling3D((1, 2, 3))),
    "dense_float16": lambda: sequence((4,), "float16", L.Dense(3)),
    "dense_int32": lambda: sequence((4,), "int32", L.Dense(3)),
    "dense_float64": lambda: sequence((4,), "float64", L.Dense(3)),
    "images_uint8": lambda: sequence((7, 6, 3), "uint8", L.Rescaling(1 / 255.0), L.Conv2D(4, 3), L.Flatten()),
    "normalized_uint8": lambda: sequence((7, 6, 3), "uint8", L.Normalization(mean=3.0, variance=2.0)),
    "norm_float16": lambda: sequence((5, 4), "float16", L.LayerNormalization()),
    "relu_int32": lambda: sequence((5,), "int32", L.ReLU()),
    "moved_int32": lambda: sequence((5,), "int32", L.Permute((1,)), L.Reshape((5, 1)), L.Flatten()),
    "mixture": lambda: sequence(
        (6,), "float32", L.Dense(5, dtype="float16"), L.Dense(4, dtype="bfloat16"), L.Dense(3, dtype="float64")
    ),
    "mixture_back": lambda: sequence((6,), "float64", L.Dense(5, dtype="float64"), L.Activation("tanh"), L.Dense(3)),
    "mixed_and_plain": lambda: sequence(
        (6,), "float32", L.Dense(5, dtype="mixed_float16"), L.Dense(4, dtype="float32"), L.Dense(3, dtype="float16")
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_named_models_convert(name: str) -> None:
    assert compare(MODELS[name](), within="bfloat16" if "mix" in name else ""), "refused, or Keras cannot run it"


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (lambda: sequence((4, 6, 3), "int64", L.MaxPooling2D()), "no float holds"),
        (lambda: sequence((4, 6, 3), "uint8", L.GlobalAveragePooling2D()), "rounds or overflows"),
        (lambda: sequence((4, 5, 3), "int32", L.UpSampling2D(interpolation="bilinear")), "rounds or overflows"),
        (lambda: sequence((5,), "int32", L.ReLU(max_value=1.25)), "activation of INT32"),
        (lambda: sequence((5, 3), "int32", L.LayerNormalization()), "rounds or overflows"),
        (lambda: sequence((5,), "int32", L.Dropout(0.5)), "rounds or overflows"),
    ],
)
def test_what_keras_rounds_is_refused(model: Callable[[], Any], why: str) -> None:
    with pytest.raises(Unsupported, match=why):
        converter.convert(model(), "torch", verify=False)


def test_weights_keep_their_bits() -> None:
    for dtype in ("float16", "bfloat16", "float64"):
        model = seeded(keras.Sequential([keras.Input((4,)), L.Dense(3, dtype=dtype)]))
        state = converter.convert(model, "torch", verify=False).model.state_dict()
        kernel = model.layers[0].kernel.value.detach()
        assert state["dense.weight" if "dense.weight" in state else next(iter(state))].dtype == kernel.dtype
        weight = next(t for key, t in state.items() if key.endswith("weight"))
        assert torch.equal(weight, kernel.T)


def test_bfloat16_reaches_onnx_as_it_is() -> None:
    model = seeded(keras.Sequential([keras.Input((4,), dtype="bfloat16"), L.Dense(3, dtype="bfloat16")]))
    made = converter.convert(model, "onnx", verify=False).onnx
    kinds = {v.type.tensor_type.elem_type for v in [*made.graph.input, *made.graph.output]}
    assert kinds == {onnx.TensorProto.BFLOAT16}
    assert {t.data_type for t in made.graph.initializer} == {onnx.TensorProto.BFLOAT16}


def test_an_operation_promotes_as_keras_does() -> None:
    x, y = keras.Input((4,), dtype="float16"), keras.Input((4,), dtype="float32")
    assert compare(keras.Model([x, y], x + y))
    assert compare(keras.Model(x, x * np.ones(4, "float32")))
    z = keras.Input((4,), dtype="int32")
    assert compare(keras.Model(z, keras.ops.sqrt(z + 1)))
    assert compare(keras.Model(z, keras.ops.mean(z, axis=1)))
