"""Refusals: of files before any framework is imported, as of live models; the real cause; advice that works."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import converter
from converter.errors import ConvertError, Unsupported
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


OWN = {"refusals>Scale": Scale, "own": own}
"""What the files name: without it they are refused, which test_custom_layers shows."""


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
    y = L.Activation("softmax", name="soft")(L.Maximum(name="max")([y, L.Dense(4, name="d")(y)]))
    return L.TimeDistributed(L.Dense(3), name="td")(y)


BAD: dict[str, Callable[[], Any]] = {
    "classes": functional((4, 3), lambda x: L.Bidirectional(L.LSTM(2), name="bi")(Scale(name="s")(x))),
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
        lambda x: L.Concatenate(name="c")([L.Add(name="a")([x, keras.ops.cast(x, "int64")]), x]),
        "int32",
    ),
    "operations": functional(
        (4, 3),
        lambda x: (
            keras.ops.squeeze(keras.ops.reshape(keras.ops.mean(x, axis=0, keepdims=True), (-1, 4, 3)))
            + keras.ops.sum(x[..., ::-1], axis=-3)
        ),
    ),
    "more_operations": functional(
        (4, 3),
        lambda x: keras.ops.concatenate([keras.ops.pad(x, ((1, 0), (0, 0), (0, 0)), mode="reflect"), x], axis=1),
    ),
    "integers": functional(
        (4,),
        lambda x: (
            keras.ops.rsqrt(x) * keras.ops.stack([keras.ops.clip(x, 0, 3), np.ones((3, 4), "int32")], axis=1)[:, 0]
        ),
        "int32",
    ),
    "ranks": functional((2, 2, 2, 2, 3), lambda x: Scale(name="s")(L.BatchNormalization(name="bn")(x))),
    "mask_value": functional((4, 3), lambda x: Scale(name="s")(L.Masking(np.array([0.0, 1.0, 2.0]), name="mk")(x))),
    "training": functional((4,), lambda x: Scale(name="s")(L.Dropout(0.5, name="drop")(x, training=True))),
    "mask": functional((5,), masked, "int32"),
    "mask_own": functional(
        (5, 3),
        lambda x: L.GlobalAveragePooling1D(name="pool")(x, mask=keras.ops.any(keras.ops.signbit(x), axis=-1)),
    ),
    "masking": functional((4, 3), lambda x: L.LSTM(2, name="l")(L.Masking(name="mk")(x))),
    "nested": nested,
    "sequential": sequential,
    "quantised": quantised,
}


def refused(model: Any, **options: Any) -> set[tuple[str, str]]:
    with pytest.raises(Unsupported) as caught:
        converter.convert(model, "torch", verify=False, **options)
    for item in caught.value.items:
        assert item.why
    return {(item.where, item.what) for item in caught.value.items}


def alike(made: Any, source: Any, *arrays: Any) -> bool:
    """Whether a PyTorch module answers as its Keras source."""
    import torch

    with torch.no_grad():
        found = made(*map(torch.from_numpy, arrays)).numpy()
    wanted = keras.ops.convert_to_numpy(source(arrays[0] if len(arrays) == 1 else list(arrays), training=False))
    return found.shape == wanted.shape and bool(np.allclose(found, wanted, rtol=1e-5, atol=1e-6))


@pytest.mark.filterwarnings("ignore:.*destroy the mask information")
@pytest.mark.parametrize("ending", ["keras", "h5"])
@pytest.mark.parametrize("name", BAD)
def test_files_are_refused_as_live_models_are(tmp_path: Path, name: str, ending: str) -> None:
    model = BAD[name]()
    path = tmp_path / f"m.{ending}"
    model.save(path)
    live = refused(model)
    assert live
    with pytest.raises(Unsupported) as caught:
        preview(path, OWN, trust=True)
    assert {(item.where, item.what) for item in caught.value.items} == live, str(caught.value)
    assert refused(path, custom=OWN, trust=True) == live


def test_reasons_name_the_cause(tmp_path: Path) -> None:
    """Not the operations that Keras derives from a mask, and not the layer around the one that is refused."""
    BAD["mask"]().save(tmp_path / "m.keras")
    with pytest.raises(Unsupported) as caught:
        converter.convert(tmp_path / "m.keras", "torch")
    assert "NotEqual" not in str(caught.value)
    assert {item.where for item in caught.value.items} == {"td"}


def test_mask_of_another_rank() -> None:
    """Keras hands an Embedding's mask to Softmax, which cannot compute with it."""
    x = keras.Input((5,), dtype="int32")
    y = L.Softmax(name="soft")(L.Embedding(9, 4, mask_zero=True, name="emb")(x))
    with pytest.raises(Unsupported, match="does not spread over its input"):
        converter.convert(keras.Model(x, y), "torch")


@pytest.mark.filterwarnings("ignore:.*destroy the mask information")
def test_mask_that_nothing_reads_is_no_refusal(tmp_path: Path) -> None:
    """Keras derives a NotEqual for BatchNormalization too, which reads its mask while training only."""

    def build(x: Any) -> Any:
        y = L.BatchNormalization(name="bn")(L.Embedding(9, 4, mask_zero=True, name="emb")(x))
        return L.Flatten()(L.Conv1D(3, 2)(y))

    model = functional((5,), build, "int32")()
    ids = np.array([[1, 2, 0, 4, 0]], "int32")
    for name in ("m.keras", "m.h5"):
        model.save(tmp_path / name)
        assert alike(converter.convert(tmp_path / name, "torch", verify=False).model, model, ids)


def test_preview_tells_the_model(tmp_path: Path) -> None:
    a, b = keras.Input((4, 3), name="b"), keras.Input((None,), dtype="int32", name="a")
    y = L.Add(name="sum")([L.Dense(3, name="d", dtype="mixed_float16")(a), L.Embedding(9, 3, name="e")(b)])
    keras.Model({"b": a, "a": b}, [y, L.Flatten(name="f")(a)]).save(tmp_path / "m.keras")
    found = preview(tmp_path / "m.keras")
    assert found.inputs == [("a", (None, None), "int32"), ("b", (None, 4, 3), "float32")]
    assert found.outputs == ["sum", "f"]
    assert found.policies == ["float32", "mixed_float16"]
    assert found.keras_version == keras.__version__
    keras.Sequential([keras.Input((4,), name="x"), L.Dense(2, name="d")]).save(tmp_path / "s.h5")
    found = preview(tmp_path / "s.h5")
    assert (found.inputs, found.outputs, found.format) == ([("x", (None, 4), "float32")], ["d"], "h5")


def test_operations_in_h5_of_keras3(tmp_path: Path) -> None:
    """Such a file does not say that Add is the operation, whose axes align at the end, and not the layer."""
    x = keras.Input((4, 3), name="x")
    made = keras.ops.mean(x * np.arange(3, dtype="float32") + x[:, :, :1], axis=1)
    model = keras.Model(x, made)
    model.save(tmp_path / "o.h5")
    value = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
    assert alike(converter.convert(tmp_path / "o.h5", "torch", verify=False).model, model, value)


WATCHED = """
import sys
from converter.cli import main
try:
    main(sys.argv[1:])
finally:
    print(sorted({"torch", "keras", "tensorflow", "onnxruntime"} & set(sys.modules)))
"""


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_refusal_imports_no_framework(tmp_path: Path, ending: str) -> None:
    """Everything is listed before a framework is there; bench_process.py measures what that takes."""
    path = tmp_path / f"m.{ending}"
    BAD["sequential"]().save(path)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WATCHED, str(path), "--to", "torch"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3, done.stderr
    assert done.stdout.strip() == "[]"
    for word in ("GRU 'gru'", "Dense 'd'"):
        assert word in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]


JUNK: list[Any] = [None, True, -1, 3, 2**40, 1.5, "", "x", "keras.layers", "Sequential", "InputLayer", "Masking"]
JUNK += [[], [1], [[None]], ["x", 0, 0], {}, {"class_name": "Dense"}, {"class_name": ["a"]}]
JUNK += [{"class_name": "__slice__"}, {"class_name": "__keras_tensor__", "config": {}}]
JUNK += [{"class_name": "Dense", "config": {}}]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every entry of nested dicts and lists."""
    if path:
        yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*path, key))


@pytest.mark.filterwarnings("ignore:.*destroy the mask information")
def test_mutated_configurations_are_refused_or_read(tmp_path: Path) -> None:
    """Whatever stands in a configuration: a preview, or one of our own errors."""
    rng = random.Random(0)
    sources = []
    for name in ("nested", "sequential", "mask", "operations", "options", "images"):
        BAD[name]().save(tmp_path / "source.keras")
        with zipfile.ZipFile(tmp_path / "source.keras") as archive:
            sources.append({member: archive.read(member) for member in archive.namelist()})
    for _ in range(200):
        members = rng.choice(sources)
        config = json.loads(members["config.json"])
        for _ in range(rng.choice([1, 1, 2, 3])):
            *inner, last = rng.choice(list(places(config)))
            parent = config
            for key in inner:
                parent = parent[key]
            parent[last] = copy.deepcopy(rng.choice(JUNK))
        with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
            for member, data in members.items():
                archive.writestr(member, json.dumps(config) if member == "config.json" else data)
        with contextlib.suppress(ConvertError):
            preview(tmp_path / "m.keras")
