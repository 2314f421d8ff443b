"""Masks and other arguments of a call: a layer is right with them, or refused with the reason."""

from __future__ import annotations

import contextlib
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
from converter.judge.run_keras import float64_keras
from converter.ops.base import KERAS_LAYERS
from converter.ops.cast import Cast
from converter.ops.elementwise import Add, Mul
from converter.ops.shape import Unsqueeze

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


PADDED = torch.tensor([[1, 2, 0, 0], [0, 0, 3, 1], [2, 0, 0, 4], [0, 0, 0, 0], [1, 2, 3, 4]], dtype=torch.int32)
"""Right, left and inner padding, a row of nothing else, and a row without."""
OTHER = torch.tensor([[1, 0, 0, 2], [3, 1, 0, 0], [0, 4, 2, 0], [0, 0, 0, 0], [4, 3, 2, 1]], dtype=torch.int32)


class Pool(keras.layers.Layer):
    """A layer whose answer shows every element of the mask that reaches it."""

    def call(self, inputs: Any, mask: Any = None) -> Any:
        return inputs if mask is None else inputs * keras.ops.cast(mask, inputs.dtype)[..., None] + 1.0


def pool(g: Any, layer: Any, x: Any, *, mask: Any = None) -> Any:
    if mask is None:
        return x
    wide = g.op(Unsqueeze(axes=(2,)), g.op(Cast(to=int(x.dtype)), mask))
    return g.op(Add(), g.op(Mul(), x, wide), g.constant(1.0, like=x))


def embedding(**options: Any) -> Any:
    return L.Embedding(5, 3, mask_zero=True, **options)


def nested(*layers: Any) -> Any:
    return keras.Sequential([keras.Input((4, 3)), *layers])


def two(merge: Callable[[Any, Any], Any]) -> Any:
    a, b = keras.Input((4,), dtype="int32", name="a"), keras.Input((4,), dtype="int32", name="b")
    return keras.Model([a, b], merge(a, b))


def one(make: Callable[[Any], Any]) -> Any:
    ids = keras.Input((4,), dtype="int32", name="ids")
    return keras.Model(ids, make(ids))


def joined(axis: int) -> Any:
    """A nested model that concatenates: its masks travel beside the tensors."""
    x, y = keras.Input((4, 3)), keras.Input((4, 3))
    return keras.Model([x, y], Pool()(L.Concatenate(axis=axis)([x, y])))


def branches(ids: Any) -> Any:
    """A nested model with two inputs, one of which has a mask."""
    x, y = keras.Input((4, 3)), keras.Input((4, 3))
    inner = keras.Model([x, y], [L.Add()([x, y]), L.Dense(3)(x)])
    first, second = inner([embedding()(ids), L.Embedding(5, 3)(ids)])
    return L.Subtract()([Pool()(first), Pool()(second)])


TRAVELLING: dict[str, Callable[[], Any]] = {
    "nested": lambda: one(lambda i: nested(L.Dense(2), L.GlobalAveragePooling1D())(embedding()(i))),
    "nested_twice": lambda: one(lambda i: nested(L.Dense(3), nested(L.Dropout(0.5), Pool()))(embedding()(i))),
    "through_nested": lambda: one(lambda i: Pool()(nested(L.Dense(3), L.LayerNormalization())(embedding()(i)))),
    "stopped_inside": lambda: one(lambda i: Pool()(nested(L.Dense(3), L.Reshape((4, 3)))(embedding()(i)))),
    "branches": lambda: one(branches),
    "made_inside": lambda: one(lambda i: Pool()(keras.Sequential([keras.Input((4,)), embedding()])(i))),
    "masking": lambda: one(lambda i: Pool()(L.Masking(mask_value=0.5)(L.Embedding(5, 3, weights=[HALVES])(i)))),
    "multiply": lambda: two(lambda a, b: Pool()(L.Multiply()([embedding()(a), embedding()(b)]))),
    "multiply_one": lambda: two(lambda a, b: Pool()(L.Multiply()([embedding()(a), L.Embedding(5, 3)(b)]))),
    "maximum": lambda: two(lambda a, b: Pool()(L.Maximum()([embedding()(a), embedding()(b)]))),
    "minimum_one": lambda: two(lambda a, b: Pool()(L.Minimum()([L.Embedding(5, 3)(a), embedding()(b)]))),
    "add": lambda: two(lambda a, b: Pool()(L.Add()([embedding()(a), embedding()(b)]))),
    "average_one": lambda: two(lambda a, b: Pool()(L.Average()([embedding()(a), L.Embedding(5, 3)(b)]))),
    "concatenate": lambda: two(lambda a, b: joined(-1)([embedding()(a), embedding()(b)])),
    "concatenate_one": lambda: two(lambda a, b: joined(-1)([embedding()(a), L.Embedding(5, 3)(b)])),
    "concatenate_steps": lambda: two(lambda a, b: joined(1)([embedding()(a), embedding()(b)])),
    "concatenate_outside": lambda: two(lambda a, b: Pool()(L.Concatenate()([embedding()(a), embedding()(b)]))),
    "concatenate_one_outside": lambda: two(
        lambda a, b: Pool()(L.Concatenate()([embedding()(a), L.Embedding(5, 2)(b)]))
    ),
    "concatenate_steps_outside": lambda: two(
        lambda a, b: Pool()(L.Concatenate(axis=1)([embedding()(a), embedding()(b)]))
    ),
}
HALVES = np.array([[0.5, 0.5, 0.5], [0.5, 1.0, 2.0], [3.0, 0.1, 0.2], [0.5, 0.5, 0.5], [1.0, 2.0, 3.0]])


@pytest.mark.filterwarnings("ignore:Layer .* does not support masking")
@pytest.mark.parametrize("name", TRAVELLING)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_mask_travels_beside_its_tensor(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into nested models and out of them, and through the layers that look at the masks of their inputs."""
    monkeypatch.setitem(KERAS_LAYERS, "Pool", pool)
    monkeypatch.setattr(Pool, "__module__", "keras.layers")
    with float64_keras() if dtype == "float64" else contextlib.nullcontext():
        keras.utils.set_random_seed(0)
        model = TRAVELLING[name]()
        made = converter.convert(model, "torch", layout="source", verify=False)
        given = [PADDED, OTHER][: len(model.inputs)]
        with torch.no_grad():
            want, have = model(given if len(given) > 1 else given[0]).numpy(), made.model(*given).numpy()
    assert have.dtype == want.dtype == np.dtype(dtype)
    limit = 1e-12 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(have, want, rtol=limit, atol=limit)
    session = onnxruntime.InferenceSession(made.onnx.SerializeToString()) if dtype == "float32" else None
    if session is not None:
        (ort,) = session.run(None, {i.name: a.numpy() for i, a in zip(session.get_inputs(), given)})
        np.testing.assert_allclose(ort, want, rtol=1e-5, atol=1e-6)


class Strange(keras.layers.Layer):
    """Makes a mask of its own."""

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        return None if previous_mask is None else keras.ops.logical_not(previous_mask)

    def call(self, inputs: Any) -> Any:
        return inputs * 1.0


@pytest.mark.filterwarnings("ignore:Layer .* does not support masking")
def test_a_mask_that_no_row_knows_is_refused_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for cls, row in ((Pool, pool), (Strange, lambda g, layer, x: x)):
        monkeypatch.setitem(KERAS_LAYERS, cls.__name__, row)
        monkeypatch.setattr(cls, "__module__", "keras.layers")
    model = one(lambda i: nested(Strange(), Pool())(embedding()(i)))
    with pytest.raises(Unsupported, match="what Strange makes of masks has no mapping"):
        converter.convert(model, "torch", verify=False)
    fine = one(lambda i: nested(Strange(), L.Dense(2))(embedding()(i)))
    assert converter.convert(fine, "torch").report.passed


@pytest.mark.filterwarnings("ignore:Layer .* does not support masking")
def test_a_mask_that_a_row_does_not_take_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KERAS_LAYERS, "Pool", lambda g, layer, x: x)
    monkeypatch.setattr(Pool, "__module__", "keras.layers")
    with pytest.raises(Unsupported, match="mask=a tensor, which has no mapping"):
        converter.convert(one(lambda i: Pool()(embedding()(i))), "torch", verify=False)
    with pytest.raises(Unsupported, match="a mask reaches it as mask="):
        converter.convert(one(lambda i: nested(Pool())(embedding()(i))), "torch", verify=False)


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
    assert taken == set(_keywords(getattr(L, name))), "a new argument: convert it, or refuse it here by name"


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
    """A layer hands an explicit mask on, also where Keras does not write it into the next call."""
    x, m = keras.Input((5, 3)), keras.Input((5,), dtype="bool")
    y = L.BatchNormalization()(x, mask=m)
    for cls in (L.Multiply, L.Add):
        model = keras.Model([x, m], cls()([y, y]))
        made = converter.convert(model, "torch", layout="source", verify=False)
        given = [torch.from_numpy(X), torch.from_numpy(STEPS)]
        with torch.no_grad():
            np.testing.assert_allclose(made.model(*given).numpy(), model(given).numpy(), rtol=1e-5, atol=1e-6)
