"""Refusals: of files before any framework is imported, the same as of live models; the real cause; advice that works."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import converter
from converter.errors import Unsupported
from converter.rows import preview

ROOT = Path(__file__).parent.parent
L = keras.layers


@keras.saving.register_keras_serializable(package="refusals")
class Scale(keras.layers.Layer):
    """A layer of the user's own."""

    def call(self, x: Any) -> Any:
        return x * 2.0


def own(x: Any) -> Any:
    """An activation of the user's own."""
    return x + 1.0


def functional(shape: tuple[int | None, ...], build: Callable[[Any], Any], dtype: str = "float32") -> Callable[[], Any]:
    def make() -> Any:
        x = keras.Input(shape, dtype=dtype, name="x")
        return keras.Model(x, build(x))

    return make


def nested() -> Any:
    a = keras.Input((4, 3))
    inner = keras.Model(a, L.LSTM(3, return_sequences=True, name="rnn")(L.Dense(3, name="in")(a)), name="inner")
    x = keras.Input((4, 3), name="x")
    y = inner(L.Masking(name="mk")(x))
    return keras.Model(x, L.GlobalAveragePooling1D(name="pool")(y))


def sequential() -> Any:
    ids = keras.Input((5,), dtype="int32")
    return keras.Sequential(
        [ids, L.Embedding(9, 4, mask_zero=True, name="emb"), L.GRU(3, name="gru"), L.Dense(2, activation=own, name="d")]
    )


def quantised() -> Any:
    model = keras.Sequential([keras.Input((8,)), L.Dense(8, name="a"), L.Dense(4, name="b"), Scale(name="s")])
    model.layers[0].quantize("int8")
    model.layers[1].enable_lora(2)
    return model


def masked(x: Any) -> Any:
    y = L.Embedding(9, 4, mask_zero=True, name="emb")(x)
    y = L.BatchNormalization(name="bn")(L.Dropout(0.1, name="drop")(y))
    y = L.Softmax(axis=1, name="soft")(y)
    return L.TimeDistributed(L.Dense(3), name="td")(L.GlobalAveragePooling1D(name="pool")(y)[:, None, None])


BAD: dict[str, Callable[[], Any]] = {
    "classes": functional((4, 3), lambda x: L.Bidirectional(L.LSTM(2), name="bi")(Scale(name="s")(x))),
    "lambda": functional((4,), lambda x: L.Lambda(lambda t: t * 2, name="la")(L.Dense(3, activation=own, name="d")(x))),
    "class_and_option": functional((4, 3), lambda x: Scale(name="s")(L.Reshape((-1, 12), name="r")(x))),
    "options": functional(
        (4, 3),
        lambda x: L.Add(name="mix")(
            [L.RMSNormalization(axis=1, name="rms")(x), L.Dropout(0.2, noise_shape=(2, None), name="n")(x)]
        ),
    ),
    "statistics": functional((6,), lambda x: Scale(name="s")(L.GroupNormalization(6, name="g")(x))),
    "images": functional((8, 8, 3), lambda x: L.RandomCrop(4, 4, name="c")(L.Resizing(8, 8, name="r")(x)), "uint8"),
    "single_image": functional((8, 3), lambda x: Scale(name="s")(L.CenterCrop(2, 2, name="c")(x))),
    "dtypes": functional(
        (5,),
        lambda x: L.Concatenate(name="c")([x, L.Average(name="a")([x, x]), keras.ops.cast(x, "int64")]),
        "int32",
    ),
    "operations": functional(
        (4, 3),
        lambda x: keras.ops.squeeze(keras.ops.reshape(keras.ops.mean(x, axis=0, keepdims=True), (-1, 4, 3)))
        + keras.ops.sum(x[..., ::-1], axis=-3),
    ),
    "more_operations": functional(
        (4, 3),
        lambda x: keras.ops.pad(x, ((1, 0), (0, 0), (0, 0)))[:, 1:]
        + keras.ops.clip(x, -1, np.ones((4, 3), "float32"))[:, :3]
        + keras.ops.stack([x[:, 0], np.ones((3, 3), "float32")], axis=1)[:, :1]
        if False
        else keras.ops.concatenate([keras.ops.pad(x, ((1, 0), (0, 0), (0, 0))), x], axis=1),
    ),
    "training": functional((4,), lambda x: Scale(name="s")(L.Dropout(0.5, name="drop")(x, training=True))),
    "wrapped": functional((6, 6, 3), lambda x: L.SpectralNormalization(L.ConvLSTM1D(2, 2), name="sn")(x[:, None][:, 0])),
    "activation_layer": functional((4,), lambda x: L.Dense(3, activation=Scale(name="act"), name="d")(x)),
    "mask": functional((5,), masked, "int32"),
    "mask_own": functional(
        (5, 3), lambda x: L.GlobalAveragePooling1D(name="pool")(x, mask=keras.ops.any(keras.ops.not_equal(x, 0), axis=-1))
    ),
    "masking": functional((4, 3), lambda x: L.LSTM(2, name="l")(L.Masking(name="mk")(x))),
    "nested": nested,
    "sequential": sequential,
    "quantised": quantised,
}
BAD["wrapped"] = functional((6, 6, 3), lambda x: L.SpectralNormalization(L.Conv2D(2, 2, activation=own), name="sn")(x))


def refused(model: Any) -> set[tuple[str, str]]:
    with pytest.raises(Unsupported) as caught:
        converter.convert(model, "torch", verify=False)
    for item in caught.value.items:
        assert item.why
    return {(item.where, item.what) for item in caught.value.items}


@pytest.mark.parametrize("ending", ["keras", "h5"])
@pytest.mark.parametrize("name", BAD)
def test_files_are_refused_as_live_models_are(tmp_path: Path, name: str, ending: str) -> None:
    model = BAD[name]()
    path = tmp_path / f"m.{ending}"
    model.save(path)
    live = refused(model)
    assert live
    with pytest.raises(Unsupported) as caught:
        preview(path)
    assert {(item.where, item.what) for item in caught.value.items} == live, str(caught.value)
    assert refused(path) == live
