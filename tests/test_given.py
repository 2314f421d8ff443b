"""The user's arrays and the model's inputs: what is accepted, and what is said where they do not fit."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch

import converter
from converter.errors import UsageError
from converter.given import match
from converter.judge.inputs import InputSpec

IMAGE = InputSpec("image", (None, 8, 6, 3))
IDS = InputSpec("ids", (None, 5), "int32", 0.0, 10.0)
X = np.arange(2 * 8 * 6 * 3, dtype="float32").reshape(2, 8, 6, 3)
N = np.arange(10).reshape(2, 5)


def same(specs: list[InputSpec], inputs: Any, *wanted: np.ndarray) -> None:
    found = match(specs, inputs)
    assert len(found) == len(wanted)
    for spec, got, want in zip(specs, found, wanted, strict=True):
        assert got.dtype == spec.dtype
        assert np.array_equal(got, want)


@pytest.mark.parametrize(
    "inputs",
    [
        X,
        [X],
        (X,),
        {"image": X},
        {"image": X, "output": N},
        {"anything": X},
        {"arr_0": X},
        torch.from_numpy(X),
        [torch.from_numpy(X).requires_grad_()],
        torch.from_numpy(X).to(torch.float64),
        keras.ops.convert_to_tensor(X),
        keras.Variable(X),
        X.tolist(),
        [X.tolist()],
        X.astype("int64"),
        np.asfortranarray(X),
    ],
)
def test_one_input(inputs: Any) -> None:
    same([IMAGE], inputs, X)


@pytest.mark.parametrize(
    "inputs",
    [
        [X, N],
        (X, torch.from_numpy(N)),
        {"ids": N, "image": X},
        {"arr_0": X, "arr_1": N},
        {"keras_tensor_3": N, "keras_tensor": X},
        {"keras_tensor": X, "ids": N},
        [X, N.tolist()],
        [X, N.astype("float64")],
        {"image": X, "ids": N, "more": N},
    ],
)
def test_two_inputs(inputs: Any) -> None:
    same([IMAGE, IDS], inputs, X, N)


def test_plain_lists_for_two_inputs() -> None:
    same([IDS, InputSpec("y", (None, 1))], [N.tolist(), [[1.0], [2.0]]], N, np.array([[1.0], [2.0]]))


def test_nan_is_a_number_that_a_model_may_meet() -> None:
    (got,) = match([InputSpec("x", (None, 2))], np.array([[np.nan, np.inf]]))
    assert np.isnan(got[0, 0])


@pytest.mark.parametrize(
    ("specs", "inputs", "words"),
    [
        ([IMAGE], X[0], ["image", "float32 (N, 8, 6, 3)", "(8, 6, 3)", "x[None]"]),
        ([IMAGE], X.transpose(0, 3, 1, 2), ["(2, 3, 8, 6)", "x.transpose(0, 2, 3, 1)"]),
        ([IMAGE], X[:, :4], ["(2, 4, 6, 3)"]),
        ([IMAGE], X[:0], ["something in it"]),
        ([IMAGE], X + 1j, ["complex"]),
        ([IMAGE], X.astype("float64") * 1e300, ["float32 cannot"]),
        ([IMAGE], np.array([X, None], dtype=object), ["object"]),
        ([IMAGE], np.array(["a"]), ["<U1"]),
        ([IMAGE], [[1.0], [1.0, 2.0]], ["no array"]),
        ([IMAGE], object(), ["object"]),
        ([IMAGE], {"a": X, "b": X}, ["image missing", "a float32 (2, 8, 6, 3)", "b float32"]),
        ([IMAGE], {}, ["image missing", "found none"]),
        ([IMAGE], [], ["received 0"]),
        ([IMAGE], [X, X], ["expected 1 array, received 2"]),
        ([IDS], N + 0.5, ["fractions"]),
        ([IDS], N * np.nan, ["NaN"]),
        ([IDS], N + 5, ["0 to 9", "from 5 to 14"]),
        ([IDS], N - 1, ["from -1 to 8"]),
        ([InputSpec("m", (None, 5), "bool")], N, ["from 0 to 1"]),
        ([InputSpec("u", (None, 5), "uint8")], N * 100, ["0 to 255"]),
        ([IMAGE, IDS], X, ["expected 2 arrays, received 1", "ids int32 (N, 5)"]),
        ([IMAGE, IDS], [X, N[:1]], ["same batch", "image 2, ids 1"]),
        ([IMAGE, IDS], [N, X], ["image: expected", "ids: expected"]),
        ([IDS, InputSpec("more", (None, 5), "int32")], {"a": N, "b": N}, ["several orders fit"]),
        ([IMAGE, IDS], {"a": X, "b": X}, ["no other order fits"]),
    ],
)
def test_what_does_not_fit_is_told_with_what_was_expected(specs: Any, inputs: Any, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        match(specs, inputs)
    for word in words:
        assert word in str(caught.value)


def test_wrong_arrays_are_no_verdict() -> None:
    """Channels first where the source takes channels last: the user's slip, not an unequal model."""
    x = keras.Input((8, 6, 3), name="image")
    model = keras.Model(x, keras.layers.Conv2D(2, 3)(x))
    with pytest.raises(UsageError, match="transpose"):
        converter.convert(model, "torch", inputs=X.transpose(0, 3, 1, 2))
    assert converter.convert(model, "torch", inputs=torch.from_numpy(X)).report.passed
