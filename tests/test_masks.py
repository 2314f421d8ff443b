"""Masks and other arguments of a call: a layer is right with them, or refused with the reason."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import onnxruntime
import pytest
import torch

import converter
from converter.errors import Unsupported
from converter.ops.base import KERAS_LAYERS
from converter.verify.run_keras import float64_keras

L = keras.layers
RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 5, 3)).astype("float32")
FULL = RNG.random((4, 5, 3)) > 0.5
FULL[0] = False
FULL[1, 2] = False
STEPS = FULL[:, :, 0].copy()
STEPS[2] = [True, True, False, False, False]


def called(layer: Callable[[], Any], shape: tuple[int, ...], mask: tuple[int, ...], dtype: str) -> Any:
    x, m = keras.Input(shape, name="x"), keras.Input(mask, name="m", dtype=dtype)
    return keras.Model([x, m], layer()(x, mask=m))


MASKED: dict[str, tuple[Callable[[], Any], np.ndarray]] = {
    "softmax": (L.Softmax, FULL),
    "softmax_axis": (lambda: L.Softmax(axis=1), FULL[:, :, :1].copy()),
    "softmax_axes": (lambda: L.Softmax(axis=(1, 2)), FULL),
    "average": (L.GlobalAveragePooling1D, STEPS),
    "average_keepdims": (lambda: L.GlobalAveragePooling1D(keepdims=True), STEPS),
    "average_first": (lambda: L.GlobalAveragePooling1D(data_format="channels_first"), FULL[:, 0].copy()),
    "batch_norm": (L.BatchNormalization, STEPS),
}


@pytest.mark.parametrize("dtype", ["bool", "int32", "float32"])
@pytest.mark.parametrize("name", MASKED)
def test_an_explicit_mask_counts(name: str, dtype: str) -> None:
    layer, mask = MASKED[name]
    if dtype == "float32":
        mask = np.where(mask, 0.7, 0.0 if "average" in name else 0.4)  # softmax keeps what is above a half
    model = called(layer, X.shape[1:], mask.shape[1:], dtype)
    arrays = [X, mask.astype(dtype)]
    made = converter.convert(model, "torch", layout="source", verify=False)
    given = [torch.from_numpy(a) for a in arrays]
    with torch.no_grad():
        want, have = model(given).numpy(), made.model(*given).numpy()
    assert np.array_equal(np.isnan(want), np.isnan(have))
    np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-6)
    if name != "batch_norm":
        unmasked = model([given[0], torch.ones_like(given[1])]).detach().numpy()
        assert not np.allclose(unmasked, want, equal_nan=True)
    session = onnxruntime.InferenceSession(made.onnx.SerializeToString())
    (ort,) = session.run(None, {i.name: a for i, a in zip(session.get_inputs(), arrays)})
    np.testing.assert_allclose(ort, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MASKED)
def test_an_explicit_mask_in_float64(name: str) -> None:
    layer, mask = MASKED[name]
    with float64_keras():
        model = called(layer, X.shape[1:], mask.shape[1:], "bool")
        made = converter.convert(model, "torch", layout="source", verify=False)
        given = [torch.from_numpy(X.astype("float64")), torch.from_numpy(mask)]
        with torch.no_grad():
            want, have = model(given).numpy(), made.model(*given).numpy()
    assert have.dtype == want.dtype == np.float64
    np.testing.assert_allclose(have, want, rtol=1e-12, atol=1e-12)


def test_all_masked_rows_are_as_keras_has_them() -> None:
    softmax = called(L.Softmax, (5, 3), (5, 3), "bool")
    given = [torch.from_numpy(X), torch.from_numpy(FULL)]
    assert not converter.convert(softmax, "torch", verify=False).model(*given)[0].any()
    average = called(L.GlobalAveragePooling1D, (5, 3), (5,), "bool")
    given[1] = torch.from_numpy(STEPS)
    assert converter.convert(average, "torch", verify=False).model(*given)[0].isnan().all()


def embedded(*layers: Any) -> Any:
    return keras.Sequential([keras.Input((4,), dtype="int32"), L.Embedding(5, 3, mask_zero=True), *layers])


IDS = torch.tensor([[1, 2, 0, 0], [4, 0, 3, 1], [2, 0, 0, 0]], dtype=torch.int32)


@pytest.mark.filterwarnings("ignore:Layer .* does not support masking")
@pytest.mark.parametrize(
    ("make", "given"),
    [
        (lambda: embedded(L.GlobalAveragePooling1D()), IDS),
        (lambda: embedded(L.Dense(2), L.Dropout(0.5), L.GlobalAveragePooling1D(), L.Dense(3)), IDS),
        (lambda: embedded(keras.Sequential([keras.Input((4, 3)), L.Dense(2)])), IDS),
        (
            lambda: keras.Sequential([keras.Input((5, 3)), L.Masking(), L.GlobalAveragePooling1D()]),
            torch.from_numpy(X * STEPS[1:2, :, None]),
        ),
    ],
)
def test_a_mask_that_a_layer_makes_is_right(make: Callable[[], Any], given: torch.Tensor) -> None:
    model = make()
    made = converter.convert(model, "torch", layout="source", verify=False)
    with torch.no_grad():
        np.testing.assert_allclose(made.model(given).numpy(), model(given).numpy(), rtol=1e-5, atol=1e-6)


def merged_twice(name: str) -> Any:
    ids = keras.Input((4,), dtype="int32")
    y = L.Embedding(5, 3, mask_zero=True)(ids)
    return keras.Model(ids, getattr(L, name)()([y, y]))


@pytest.mark.parametrize("name", ["Multiply", "Maximum", "Minimum"])
def test_layers_that_look_at_the_masks_of_their_inputs_are_refused(name: str) -> None:
    with pytest.raises(Unsupported, match="the mask that mask_zero=True makes reaches"):
        converter.convert(merged_twice(name), "torch", verify=False)


@pytest.mark.filterwarnings("ignore:Layer .* does not support masking")
def test_a_mask_inside_a_nested_model_is_refused() -> None:
    inner = keras.Sequential([keras.Input((4, 3)), L.Dense(2), L.GlobalAveragePooling1D()])
    with pytest.raises(Unsupported, match="the mask that mask_zero=True makes reaches"):
        converter.convert(embedded(inner), "torch", verify=False)


def test_training_true_is_refused() -> None:
    x = keras.Input((4,))
    with pytest.raises(Unsupported, match="training=True"):
        converter.convert(keras.Model(x, L.Dropout(0.5)(x, training=True)), "torch", verify=False)


def _keywords(cls: Any) -> list[str]:
    names = list(inspect.signature(cls.call).parameters)[2:]
    return [name for name in names if name not in ("training", "kwargs")]


WALKED = sorted(n for n in KERAS_LAYERS if isinstance(getattr(L, n, None), type) and _keywords(getattr(L, n)))


@pytest.mark.parametrize("name", WALKED)
def test_every_other_argument_of_a_call_is_taken_by_name(name: str) -> None:
    """A row names, behind a star, each argument beside the first that it takes; the others are refused."""
    row = inspect.signature(KERAS_LAYERS[name]).parameters.values()
    taken = {p.name for p in row if p.kind == inspect.Parameter.KEYWORD_ONLY}
    assert taken <= set(_keywords(getattr(L, name)))
    assert taken == {"mask"}, "a new argument: convert it, or refuse it here by name"


class Extra(keras.layers.Layer):
    """Takes a second tensor by name."""

    def call(self, inputs: Any, other: Any = None, scale: float = 1.0) -> Any:
        return inputs * scale if other is None else inputs + other


def test_an_argument_that_no_row_takes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KERAS_LAYERS, "Extra", lambda g, layer, x: x)
    monkeypatch.setattr(Extra, "__module__", "keras.layers")
    x = keras.Input((4,))
    layer = Extra()
    for model, why in [
        (keras.Model(x, layer(x, other=x)), "other=a tensor"),
        (keras.Model(x, layer(x, scale=2.0)), "scale=2.0"),
    ]:
        with pytest.raises(Unsupported, match=why):
            converter.convert(model, "torch", verify=False)
    converter.convert(keras.Model(x, layer(x, scale=1.0)), "torch", verify=False)


def test_a_mask_that_is_given_is_followed() -> None:
    """A layer hands an explicit mask on; where Keras does not write it into the next call, that one is refused."""
    x, m = keras.Input((5, 3)), keras.Input((5,), dtype="bool")
    y = L.BatchNormalization()(x, mask=m)
    with pytest.raises(Unsupported, match="the mask that mask= of its call makes reaches"):
        converter.convert(keras.Model([x, m], L.Multiply()([y, y])), "torch", verify=False)
    converter.convert(keras.Model([x, m], L.Add()([y, y])), "torch", verify=False)
