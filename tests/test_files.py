"""Reading Keras files: dialects and their repairs, weights by name, and everything that must be refused."""

from __future__ import annotations

import json
import resource
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

keras = pytest.importorskip("keras")

from converter.errors import BadInput, ConvertError, Unsupported, UsageError  # noqa: E402
from converter.files.keras_files import KerasFile, read_keras  # noqa: E402

RNG = np.random.default_rng(0)


def everything(name: str) -> bool:
    return True


def read(path: Path, **options: Any) -> KerasFile:
    return read_keras(path, allowed=options.pop("allowed", everything), **options)


def answer(model: Any, *inputs: Any) -> Any:
    result = model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)
    return keras.tree.map_structure(keras.ops.convert_to_numpy, result)


def normal(*shape: int) -> Any:
    return RNG.normal(size=shape).astype("float32")


def layer(class_name: str, name: str, *sources: Any, **config: Any) -> dict[str, Any]:
    """One layer of a functional model in the form of Keras 2; each source is a name or a whole call."""
    calls = [[[source, 0, 0, {}] if isinstance(source, str) else source for source in sources]] if sources else []
    return {"class_name": class_name, "name": name, "config": {"name": name, **config}, "inbound_nodes": calls}


def functional(layers: list[Any], inputs: list[str], outputs: list[str], name: str = "net") -> dict[str, Any]:
    ends = {"input_layers": [[i, 0, 0] for i in inputs], "output_layers": [[o, 0, 0] for o in outputs]}
    return {"class_name": "Model", "config": {"name": name, "layers": layers, **ends}}


def write_h5(
    path: Path,
    config: Any,
    weights: dict[str, dict[str, Any]],
    version: str | None = "2.2.4",
    backend: str = "tensorflow",
    order: list[str] | None = None,
) -> Path:
    """An old .h5 file made by hand: what Keras 1 and 2 wrote."""
    with h5py.File(path, "w") as file:
        if version is not None:
            file.attrs["keras_version"] = version.encode()
        file.attrs["backend"] = backend.encode()
        if config is not None:
            file.attrs["model_config"] = json.dumps(config).encode()
        group = file.create_group("model_weights") if config is not None else file
        names = order or list(weights)
        group.attrs["layer_names"] = [name.encode() for name in names]
        group.attrs["backend"] = backend.encode()
        if version is not None:
            group.attrs["keras_version"] = version.encode()
        for name in names:
            inner = group.create_group(name)
            inner.attrs["weight_names"] = [key.encode() for key in weights.get(name, {})]
            for key, array in weights.get(name, {}).items():
                inner[key] = array
    return path


def dense_file(path: Path, activation: Any = "linear", version: str | None = "2.2.4", **extra: Any) -> tuple[Path, Any]:
    """Input(3) -> Dense(2), and its kernel."""
    kernel = normal(3, 2)
    layers = [
        layer("InputLayer", "x", batch_input_shape=[None, 3], dtype="float32", sparse=False),
        layer("Dense", "d", "x", units=2, activation=activation, use_bias=True, **extra),
    ]
    weights = {"x": {}, "d": {"d/kernel:0": kernel, "d/bias:0": np.zeros(2, "float32")}}
    return write_h5(path, functional(layers, ["x"], ["d"]), weights, version), kernel


def cnn(name: str = "cnn") -> Any:
    """A model with a nested, shared part and frozen BatchNorm, in Keras 3."""
    inner_in = keras.Input((6, 5, 3))
    y = keras.layers.BatchNormalization(name="norm")(keras.layers.Conv2D(3, 3, padding="same", name="conv")(inner_in))
    inner = keras.Model(inner_in, y, name="inner")
    x = keras.Input((6, 5, 3), name="image")
    y = inner(keras.layers.ReLU(name="relu")(inner(x)))
    model = keras.Model(
        x, keras.layers.Dense(4, activation="softmax", name="out")(keras.layers.Flatten()(y)), name=name
    )
    for weight in model.weights:
        weight.assign(np.abs(normal(*weight.shape)) + 0.1)
    inner.get_layer("norm").trainable = False
    return model


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_keras3_files(tmp_path: Path, ending: str) -> None:
    model = cnn()
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    path = tmp_path / f"m.{ending}"
    model.save(path)
    image = normal(2, 6, 5, 3)
    found = read(path)
    assert np.array_equal(answer(found.model, image), answer(model, image))
    assert found.model.get_layer("inner").get_layer("norm").trainable is False
    assert found.compiled["loss"] == "categorical_crossentropy"
    assert found.compiled["optimizer"].lower() == "adam"
    assert found.format == ending
    assert found.keras_version.startswith("3.")
    assert found.names == {}
    weights = found.model.parameters() if hasattr(found.model, "parameters") else found.model.weights
    assert len(list(weights)) == 8
    wide = read(path, dtype="float64")
    assert {weight.dtype for weight in wide.model.weights} == {"float64"}
    assert np.allclose(answer(wide.model, image.astype("float64")), answer(model, image), rtol=1e-5)


def test_weights_only_needs_arch(tmp_path: Path) -> None:
    model = cnn()
    path = tmp_path / "m.weights.h5"
    model.save_weights(path)
    with pytest.raises(BadInput, match="--arch"):
        read(path)
    image = normal(2, 6, 5, 3)
    assert np.array_equal(answer(read(path, arch=cnn).model, image), answer(model, image))
    assert np.array_equal(answer(read(path, arch=cnn, arch_args={"name": "b"}).model, image), answer(model, image))
    with pytest.raises(UsageError, match=r"keras\.Model"):
        read(path, arch=lambda: 3)

    def other() -> Any:
        x = keras.Input((3,))
        return keras.Model(x, keras.layers.Dense(2)(x))

    with pytest.raises(BadInput, match="do not fit"):
        read(path, arch=other)


def test_old_weights_only(tmp_path: Path) -> None:
    def arch() -> Any:
        x = keras.Input((3,))
        return keras.Model(x, keras.layers.Dense(1, name="b")(keras.layers.Dense(2, name="a")(x)))

    first, second = normal(3, 2), normal(2, 1)
    zeros = np.zeros(2, "float32")
    weights = {
        "dense_7": {"dense_7/kernel:0": first, "dense_7/bias:0": zeros},
        "dense_8": {"dense_8/kernel:0": second, "dense_8/bias:0": zeros[:1]},
    }
    path = write_h5(tmp_path / "w.h5", None, weights)
    with pytest.raises(BadInput, match="--arch"):
        read(path)
    found = read(path, arch=arch)
    x = normal(4, 3)
    assert np.allclose(answer(found.model, x), x @ first @ second, atol=1e-6)
    assert [repair.row for repair in found.repairs] == ["weights-by-order"]


def test_hard_sigmoid_by_version(tmp_path: Path) -> None:
    x = np.linspace(-6, 6, 21, dtype="float32").reshape(7, 3)
    path, kernel = dense_file(tmp_path / "old.h5", "hard_sigmoid")
    old = read(path)
    assert np.allclose(answer(old.model, x), np.clip(0.2 * (x @ kernel) + 0.5, 0, 1), atol=1e-6)
    assert "hard-sigmoid" in {repair.row for repair in old.repairs}
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(old.model.get_layer("d")))
    assert again.activation is old.model.get_layer("d").activation
    path, kernel = dense_file(tmp_path / "new.h5", "hard_sigmoid", "3.4.0", trainable=True)
    assert np.allclose(answer(read(path).model, x), np.clip((x @ kernel + 3) / 6, 0, 1), atol=1e-6)


def test_names_that_keras_refuses(tmp_path: Path) -> None:
    kernels = [normal(3, 3) for _ in range(4)]
    names = ["a/b", "a.b", "a_b", 'x"); __import__("os").system("touch pwned") #']
    layers = [layer("InputLayer", "in/put", batch_input_shape=[None, 3], dtype="float32")]
    weights: dict[str, dict[str, Any]] = {}
    last = "in/put"
    for name, kernel in zip(names, kernels, strict=True):
        layers.append(layer("Dense", name, last, units=3, use_bias=False))
        weights[name] = {"w/kernel:0": kernel}
        last = name
    found = read(write_h5(tmp_path / "n.h5", functional(layers, ["in/put"], [last]), weights))
    x = normal(2, 3)
    assert np.allclose(answer(found.model, x), x @ kernels[0] @ kernels[1] @ kernels[2] @ kernels[3], rtol=1e-4)
    odd = names[3].replace(".", "_")
    assert found.names == {"in_put": "in/put", "a_b_2": "a/b", "a_b_3": "a.b", odd: names[3]}


def test_empty_and_odd_names(tmp_path: Path) -> None:
    kernels = [normal(3, 3) for _ in range(5)]
    names = ["train", "type", "class", "naïve ünï", ""]
    layers = [layer("InputLayer", "x", batch_input_shape=[None, 3], dtype="float32")]
    last = "x"
    for name in names:
        layers.append(layer("Dense", name, last, units=3, use_bias=False))
        last = name
    weights = {name: {f"{i}/kernel:0": k} for i, (name, k) in enumerate(zip(names[:-1], kernels, strict=False))}
    layers[-1]["class_name"], layers[-1]["config"] = "Activation", {"name": "", "activation": "linear"}
    found = read(write_h5(tmp_path / "n.h5", functional(layers, ["x"], [""]), weights))
    assert found.names == {"layer": ""}
    assert found.model(np.ones((1, 3), "float32")).shape == (1, 3)


def test_nested_flat_weights(tmp_path: Path) -> None:
    """tf.keras 2 stores a nested model flat, trainable first, and counts its calls from 1."""
    inner = functional(
        [
            layer("InputLayer", "i", batch_input_shape=[None, 3], dtype="float32"),
            layer("BatchNormalization", "in/bn", "i", axis=[1], epsilon=0.001, momentum=0.9),
            layer("Dense", "de.nse", "in/bn", units=3, use_bias=False),
        ],
        ["i"],
        ["de.nse"],
        "inner",
    )
    block = dict(inner, class_name="Functional", name="in/ner")
    block["config"]["name"] = "in/ner"
    block["inbound_nodes"] = [[["x", 0, 0, {}]], [["in/ner", 1, 0, {"training": False}]]]
    layers = [layer("InputLayer", "x", batch_input_shape=[None, 3], dtype="float32"), block]
    config = functional(layers, ["x"], ["in/ner"])
    config["config"]["output_layers"] = [["in/ner", 1, 0], ["in/ner", 2, 0]]
    gamma, beta, mean, variance = normal(3), normal(3), normal(3), np.abs(normal(3)) + 0.5
    kernel = normal(3, 3)
    flat = {
        "in/bn/gamma:0": gamma,
        "in/bn/beta:0": beta,
        "de.nse/kernel:0": kernel,
        "in/bn/moving_mean:0": mean,
        "in/bn/moving_variance:0": variance,
    }
    for number, names in enumerate((list(flat), ["g:0", "b:0", "k:0", "m:0", "v:0"])):
        weights = {"in/ner": dict(zip(names, flat.values(), strict=True))}
        found = read(write_h5(tmp_path / f"{number}.h5", config, weights, "2.8.0"))

        def once(x: Any) -> Any:
            return ((x - mean) / np.sqrt(variance + 0.001) * gamma + beta) @ kernel

        x = normal(4, 3)
        first, second = answer(found.model, x)
        assert np.allclose(first, once(x), atol=1e-5)
        assert np.allclose(second, once(once(x)), atol=1e-4)
        assert found.names == {"in_ner": "in/ner", "in_ner/i": "in/ner/i", "in_ner/in_bn": "in/ner/in/bn",
                               "in_ner/de_nse": "in/ner/de.nse"}  # fmt: skip


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="TensorFlow's CPU has no channels_first Conv2D")
def test_keras1_sequential_and_theano_kernels(tmp_path: Path) -> None:
    config = {
        "class_name": "Sequential",
        "config": [
            {
                "class_name": "Convolution2D",
                "config": {
                    "name": "c", "nb_filter": 4, "nb_row": 3, "nb_col": 2, "border_mode": "valid", "subsample": [1, 1],
                    "dim_ordering": "th", "init": "glorot_uniform", "activation": "relu", "bias": True,
                    "W_regularizer": {"name": "WeightRegularizer", "l1": 0.0, "l2": 0.1}, "b_regularizer": None,
                    "activity_regularizer": None, "W_constraint": None, "b_constraint": None, "trainable": True,
                    "batch_input_shape": [None, 3, 6, 5], "input_dtype": "float32",
                },
            },
            {"class_name": "Flatten", "config": {"name": "f", "trainable": True}},
            {"class_name": "Dropout", "config": {"name": "p", "p": 0.5, "trainable": True}},
            {
                "class_name": "Dense",
                "config": {
                    "name": "d", "output_dim": 2, "init": "uniform", "activation": "hard_sigmoid", "bias": True,
                    "W_regularizer": None, "b_regularizer": None, "activity_regularizer": None, "W_constraint": None,
                    "b_constraint": None, "input_dim": None, "trainable": True,
                },
            },
        ],
    }  # fmt: skip
    kernel, bias = normal(4, 3, 3, 2), normal(4)  # filters, channels, rows, columns
    dense = normal(4 * 4 * 4, 2)
    weights = {"c": {"c_W": kernel, "c_b": bias}, "d": {"d_W": dense, "d_b": np.zeros(2, "float32")}}
    image = normal(2, 3, 6, 5)
    for backend, used in (("tensorflow", kernel), ("theano", kernel[:, :, ::-1, ::-1])):
        found = read(write_h5(tmp_path / f"{backend}.h5", config, weights, "1.2.2", backend))
        windows = np.lib.stride_tricks.sliding_window_view(image, (3, 2), axis=(2, 3))
        hidden = np.maximum(np.einsum("nchwij,fcij->nfhw", windows, used) + bias[:, None, None], 0).reshape(2, -1)
        assert np.allclose(answer(found.model, image), np.clip(0.2 * (hidden @ dense) + 0.5, 0, 1), atol=1e-4)
        assert found.model.get_layer("p").rate == 0.5
        assert found.keras_version == "1.2.2"


def test_keras1_merge_and_unknown_version(tmp_path: Path) -> None:
    layers = [
        layer("InputLayer", "a", batch_input_shape=[None, 3], input_dtype="float32", sparse=False),
        layer("InputLayer", "b", batch_input_shape=[None, 3], input_dtype="float32", sparse=False),
        layer("Dense", "d", "a", output_dim=3, init="glorot_uniform", bias=False),
        layer("Merge", "m", "d", "b", mode="concat", mode_type="raw", concat_axis=-1, dot_axes=-1, output_shape=None),
    ]
    kernel = normal(3, 3)
    found = read(write_h5(tmp_path / "m.h5", functional(layers, ["a", "b"], ["m"]), {"d": {"d_W": kernel}}, None))
    a, b = normal(2, 3), normal(2, 3)
    assert np.allclose(answer(found.model, a, b), np.concatenate([a @ kernel, b], axis=1), atol=1e-5)


def op(name: str, function: str, *call: Any, kind: str = "TFOpLambda") -> dict[str, Any]:
    """An operator on tensors, called as tf.keras writes it: a tensor with its keywords, or several."""
    made = layer(kind, name, function=function, dtype="float32", trainable=True)
    made["inbound_nodes"] = [list(call)]
    return made


def test_operators_on_tensors(tmp_path: Path) -> None:
    layers = [
        layer("InputLayer", "p", batch_input_shape=[None, 6, 4], dtype="float32"),
        layer("InputLayer", "q", batch_input_shape=[None, 6, 4], dtype="float32"),
        op("tf.__operators__.add", "__operators__.add", "p", 0, 0, {"y": ["q", 0, 0], "name": None}),
        op("tf.math.multiply", "math.multiply", "tf.__operators__.add", 0, 0, {"y": 0.5, "name": None}),
        op("tf.math.subtract", "math.subtract", "_CONSTANT_VALUE", -1, 2.0, {"y": ["tf.math.multiply", 0, 0]}),
        op("tf.math.truediv", "math.truediv", "tf.math.subtract", 0, 0, {"y": [1.0, 2.0, 4.0, 8.0]}),
        op("tf.concat", "concat", ["tf.math.truediv", 0, 0, {"axis": -1}], ["q", 0, 0, {"axis": -1}]),
        op("tf.reshape", "reshape", "tf.concat", 0, 0, {"shape": [-1, 48]}),
        op(
            "slice", "__operators__.getitem", "p", 0, 0,
            {"slice_spec": [{"start": None, "stop": None, "step": None}, {"start": 1, "stop": -2, "step": None}]},
            kind="SlicingOpLambda",
        ),
    ]  # fmt: skip
    path = write_h5(tmp_path / "o.h5", functional(layers, ["p", "q"], ["tf.reshape", "slice"]), {}, "2.12.0")
    p, q = normal(2, 6, 4), normal(2, 6, 4)
    first, second = answer(read(path).model, p, q)
    expected = np.concatenate([(2 - (p + q) * 0.5) / np.array([1, 2, 4, 8]), q], axis=-1).reshape(2, 48)
    assert np.allclose(first, expected, atol=1e-6)
    assert np.array_equal(second, p[:, 1:-2])

    bad = [
        *layers[:2],
        op("tf.math.cumsum", "math.cumsum", "p", 0, 0, {}),
        op("tf.math.add", "math.add", "tf.math.cumsum", 0, 0, {"y": ["q", 0, 0]}),
        op("tf.reshape", "reshape", "tf.math.add", 0, 0, {"shape": [2, -1]}),
    ]
    with pytest.raises(Unsupported) as caught:
        read(write_h5(tmp_path / "b.h5", functional(bad, ["p", "q"], ["tf.reshape"]), {}, "2.12.0"))
    assert [item.where for item in caught.value.items] == ["tf.math.cumsum", "tf.reshape"]


def part(start: int | None = None, stop: int | None = None, step: int | None = None) -> dict[str, Any]:
    return {"start": start, "stop": stop, "step": step}


def subscribed(tmp_path: Path, spec: Any) -> Path:
    layers = [
        layer("InputLayer", "p", batch_input_shape=[None, 6, 5, 4], dtype="float32"),
        op("s", "__operators__.getitem", "p", 0, 0, {"slice_spec": spec}, kind="SlicingOpLambda"),
    ]
    return write_h5(tmp_path / "s.h5", functional(layers, ["p"], ["s"]), {}, "2.12.0")


ELLIPSIS = {"class_name": "__ellipsis__"}
SLICES: list[tuple[list[Any], Any]] = [
    ([part(), part(), part(stop=4)], np.s_[:, :, :4]),
    ([part(), part(1)], np.s_[:, 1:]),
    ([part(), part(1, -2)], np.s_[:, 1:-2]),
    ([part(), part(-3), -1], np.s_[:, -3:, -1]),
    ([part(), part(step=2), part(1, -1, 3)], np.s_[:, ::2, 1:-1:3]),
    ([part(step=1), part(0, 4, 1)], np.s_[:, :4]),
    ([ELLIPSIS, 0], np.s_[..., 0]),
    ([ELLIPSIS, None], np.s_[..., None]),
    ([part(), None, 2, ELLIPSIS, -1], np.s_[:, None, 2, ..., -1]),
]


@pytest.mark.parametrize(("spec", "key"), SLICES, ids=lambda value: str(value)[:20])
def test_slices_of_tensors(tmp_path: Path, spec: list[Any], key: Any) -> None:
    p = normal(2, 6, 5, 4)
    path = subscribed(tmp_path, spec)
    assert np.array_equal(answer(read(path).model, p), p[key])
    assert np.array_equal(answer(read(path, dtype="float64").model, p.astype("float64")), p[key])


@pytest.mark.parametrize(
    "spec",
    [
        0,
        [None],
        [part(1)],
        [part(), part(step=-1)],
        [part(), True],
        [part(), part(0.5)],  # type: ignore[arg-type]
        [part(), ["p", 0, 0]],
        [ELLIPSIS, ELLIPSIS],
        [part(), {"class_name": "Popen", "module": "subprocess"}],
        "x",
    ],
)
def test_slices_that_are_refused(tmp_path: Path, spec: Any) -> None:
    with pytest.raises(Unsupported, match="'s'"):
        read(subscribed(tmp_path, spec), allowed=lambda name: name == "keras.ops.GetItem" or "." not in name)


GRID = np.arange(1.0, 21.0).reshape(5, 4)
OPERATIONS: list[tuple[str, list[Any], Callable[[Any, Any], Any]]] = [
    ("__operators__.add", ["p", 0, 0, {"y": ["r", 0, 0], "name": None}], lambda p, r: p + r),  # aligned at the end
    ("math.truediv", ["p", 0, 0, {"y": ["q", 0, 0]}], lambda p, r: p / (p * p)),
    ("math.truediv", ["_CONSTANT_VALUE", -1, 2.0, {"y": ["q", 0, 0]}], lambda p, r: 2 / (p * p)),
    ("math.multiply", ["p", 0, 0, {"y": GRID.tolist()}], lambda p, r: p * GRID),
    ("math.subtract", ["_CONSTANT_VALUE", -1, [1, 2, 3, 4], {"y": ["p", 0, 0]}], lambda p, r: [1, 2, 3, 4] - p),
    ("math.maximum", ["p", 0, 0, {"y": 0.25}], lambda p, r: np.maximum(p, 0.25)),
    ("math.minimum", ["p", 0, 0, {"y": [0.1, 0.2, 0.3, 0.4]}], lambda p, r: np.minimum(p, [0.1, 0.2, 0.3, 0.4])),
    ("math.pow", ["q", 0, 0, {"y": 1.5}], lambda p, r: (p * p) ** 1.5),
    ("math.pow", ["_CONSTANT_VALUE", -1, 2.0, {"y": ["p", 0, 0]}], lambda p, r: 2**p),
    ("math.abs", ["p", 0, 0, {}], lambda p, r: np.abs(p)),
    ("math.square", ["p", 0, 0, {"name": None}], lambda p, r: p * p),
    ("math.sqrt", ["q", 0, 0, {}], lambda p, r: np.abs(p)),
    ("math.rsqrt", ["q", 0, 0, {}], lambda p, r: 1 / np.abs(p)),
    ("math.exp", ["p", 0, 0, {}], lambda p, r: np.exp(p)),
    ("math.negative", ["p", 0, 0, {}], lambda p, r: -p),
    ("clip_by_value", ["p", 0, 0, {"clip_value_min": -0.5, "clip_value_max": 0.75}], lambda p, r: p.clip(-0.5, 0.75)),
    ("cast", ["p", 0, 0, {"dtype": "int32"}], lambda p, r: np.trunc(p)),
    ("math.reduce_mean", ["p", 0, 0, {"axis": [1, 2]}], lambda p, r: p.mean((1, 2))),
    ("math.reduce_max", ["p", 0, 0, {"axis": -1, "keepdims": True}], lambda p, r: p.max(-1, keepdims=True)),
    ("math.reduce_min", ["p", 0, 0, {"axis": [1, 3]}], lambda p, r: p.min((1, 3))),
    ("math.reduce_sum", ["p", 0, 0, {"axis": 2, "keepdims": False}], lambda p, r: p.sum(2)),
    ("reshape", ["p", 0, 0, {"shape": [-1, 30, 4]}], lambda p, r: p.reshape(-1, 30, 4)),
    ("compat.v1.transpose", ["p", 0, 0, {"perm": [0, 3, 1, 2]}], lambda p, r: p.transpose(0, 3, 1, 2)),
    ("expand_dims", ["p", 0, 0, {"axis": -2}], lambda p, r: p[..., None, :]),
    ("compat.v1.squeeze", ["r", 0, 0, {"axis": [1]}], lambda p, r: r[:, 0]),
    ("concat", [["p", 0, 0, {"axis": 1}], ["q", 0, 0, {"axis": 1}]], lambda p, r: np.concatenate([p, p * p], 1)),
    ("concat", [["p", 0, 0, {"axis": 1}]], lambda p, r: p),
    ("stack", [["p", 0, 0, {"axis": -1}], ["q", 0, 0, {"axis": -1}]], lambda p, r: np.stack([p, p * p], -1)),
    ("math.add_n", [["p", 0, 0, {}], ["q", 0, 0, {}], ["p", 0, 0, {}]], lambda p, r: p + p * p + p),
    (
        "compat.v1.pad",
        ["p", 0, 0, {"paddings": [[0, 0], [1, 2], [0, 0], [0, 3]], "mode": "CONSTANT", "constant_values": 2.0}],
        lambda p, r: np.pad(p, [(0, 0), (1, 2), (0, 0), (0, 3)], constant_values=2.0),
    ),
]


@pytest.mark.parametrize(("function", "call", "expected"), OPERATIONS, ids=lambda value: str(value)[:20])
def test_operations_on_tensors(tmp_path: Path, function: str, call: list[Any], expected: Any) -> None:
    """Also broadcasting over unlike ranks, where Keras's merging layers align the axes at the front."""
    layers = [
        layer("InputLayer", "p", batch_input_shape=[None, 6, 5, 4], dtype="float32"),
        layer("InputLayer", "r", batch_input_shape=[None, 1, 5, 1], dtype="float32"),
        op("q", "math.square", "p", 0, 0, {"name": None}),
        op("tf.op", function, *call),
        op("r_too", "identity", "r", 0, 0, {}),
    ]
    path = write_h5(tmp_path / "o.h5", functional(layers, ["p", "r"], ["tf.op", "r_too"]), {}, "2.12.0")
    p, r = normal(2, 6, 5, 4), normal(2, 1, 5, 1)
    found = answer(read(path).model, p, r)[0]
    wanted = expected(p, r)
    assert found.shape == wanted.shape
    assert np.allclose(found, wanted, rtol=1e-5, atol=1e-6)
    wide = answer(read(path, dtype="float64").model, p.astype("float64"), r.astype("float64"))[0]
    assert np.allclose(wide, expected(p.astype("float64"), r.astype("float64")), rtol=1e-6)


REFUSED_OPERATIONS: list[tuple[str, list[Any]]] = [
    ("math.log", ["p", 0, 0, {}]),
    ("os.system", ["p", 0, 0, {}]),
    ("__class__", ["p", 0, 0, {}]),
    ("math.add", ["p", 0, 0, {"y": [[1.0, 2.0], [3.0]]}]),
    ("math.add", ["p", 0, 0, {"y": ["a", "b"]}]),
    ("math.add", ["p", 0, 0, {"y": True}]),
    ("math.add", ["_CONSTANT_VALUE", -1, 2.0, {"y": 3.0}]),
    ("math.reduce_mean", ["p", 0, 0, {}]),
    ("math.reduce_mean", ["p", 0, 0, {"axis": [0, 1]}]),
    ("stack", [["p", 0, 0, {"axis": 0}], ["p", 0, 0, {"axis": 0}]]),
    ("concat", [["p", 0, 0, {"axis": 0}], ["p", 0, 0, {"axis": 0}]]),
    ("expand_dims", ["p", 0, 0, {"axis": 0}]),
    ("compat.v1.squeeze", ["p", 0, 0, {}]),
    ("reshape", ["p", 0, 0, {"shape": [2, -1]}]),
    ("reshape", ["p", 0, 0, {"shape": [["p", 0, 0], 4]}]),
    ("transpose", ["p", 0, 0, {"perm": [1, 0, 2]}]),
    ("compat.v1.pad", ["p", 0, 0, {"paddings": [[0, 0], [1, 1], [0, 0]], "mode": "REFLECT"}]),
    ("compat.v1.pad", ["p", 0, 0, {"paddings": [[1, 0], [1, 1], [0, 0]]}]),
    ("cast", ["p", 0, 0, {"dtype": "os.system"}]),
    ("clip_by_value", ["p", 0, 0, {"clip_value_min": ["p", 0, 0], "clip_value_max": 1.0}]),
]


def test_operations_that_are_refused_all_at_once(tmp_path: Path) -> None:
    layers = [layer("InputLayer", "p", batch_input_shape=[None, 6, 4], dtype="float32")]
    layers += [op(f"o{i}", function, *call) for i, (function, call) in enumerate(REFUSED_OPERATIONS)]
    wrapped = layer(
        "TimeDistributed", "w", "p", layer={"class_name": "TFOpLambda", "module": "keras.layers", "config": {}}
    )
    new = layer("TFOpLambda", "n", module="os", function="system")
    new["inbound_nodes"] = [{"args": [], "kwargs": {}}]
    path = write_h5(tmp_path / "o.h5", functional([*layers, wrapped, new], ["p"], ["o0"]), {}, "2.12.0")
    with pytest.raises(Unsupported) as caught:
        read(path)
    expected = [*(f"o{i}" for i in range(len(REFUSED_OPERATIONS))), "w/TFOpLambda", "n"]
    assert [item.where for item in caught.value.items] == expected


def test_operations_in_keras3_files(tmp_path: Path) -> None:
    """The module that the file names for an operation is not the one that is used."""
    x = keras.Input((6, 4))
    model = keras.Model(x, keras.ops.mean(x[:, 1:4] * np.array([1.0, 2.0, 3.0, 4.0], "float32"), axis=1))
    model.save(tmp_path / "good.keras")
    value = normal(2, 6, 4)
    wanted = (value[:, 1:4] * [1, 2, 3, 4]).mean(1)
    for module in ("keras.src.ops.numpy", "keras.src.ops.nowhere", "keras.ops.numpy"):
        with zipfile.ZipFile(tmp_path / "good.keras") as old, zipfile.ZipFile(tmp_path / "m.keras", "w") as new:
            for name in old.namelist():
                new.writestr(name, old.read(name).replace(b"keras.src.ops.numpy", module.encode()))
        assert np.allclose(answer(read(tmp_path / "m.keras").model, value), wanted, atol=1e-6)
    wide = read(tmp_path / "m.keras", dtype="float64").model
    assert answer(wide, value.astype("float64")).dtype == np.float64
    with pytest.raises(Unsupported, match="GetItem"):
        read(tmp_path / "m.keras", allowed=lambda name: name != "keras.ops.GetItem")


OPTIONS: list[tuple[str, dict[str, Any], str]] = [
    ("DepthwiseConv2D", {"kernel_size": [3, 3], "groups": 1, "depth_multiplier": 2}, "groups"),
    ("Conv2DTranspose", {"filters": 2, "kernel_size": [3, 3], "groups": 1}, "groups"),
    (
        "SeparableConv2D",
        {"filters": 2, "kernel_size": [3, 3], "groups": 1, "kernel_initializer": None},
        "separable-kernel",
    ),
    ("BatchNormalization", {"axis": [3], "fused": True, "renorm": False}, "axis-list"),
    ("LeakyReLU", {"alpha": 0.25}, "leaky-slope"),
    ("LeakyReLU", {"alpha": {"type": "ndarray", "value": 0.25}}, "leaky-slope"),
    ("Activation", {"activation": "swish"}, "activation-name"),
    ("ThresholdedReLU", {"theta": 0.5}, "thresholded-relu"),
    ("Convolution2D", {"filters": 2, "kernel_size": [3, 3]}, "class-name"),
    (
        "Conv2D",
        {"filters": 2, "kernel_size": 3, "kernel_initializer": {"class_name": "Mine", "config": {}}},
        "unknown-initializer",
    ),
    ("Conv2D", {"filters": 2, "kernel_size": 3, "batch_input_shape": [None, 6, 5, 3]}, "shape-arguments"),
]


@pytest.mark.parametrize(("kind", "options", "row"), OPTIONS)
def test_options_of_old_files(tmp_path: Path, kind: str, options: dict[str, Any], row: str) -> None:
    layers = [
        layer("InputLayer", "x", batch_input_shape=[None, 6, 5, 3], dtype="float32"),
        layer(kind, "l", "x", **options),
    ]
    path = write_h5(tmp_path / "o.h5", functional(layers, ["x"], ["l"]), {})
    if kind not in ("LeakyReLU", "Activation", "ThresholdedReLU"):
        with pytest.raises(BadInput, match="claims"):  # Keras built it: only the weights are missing
            read(path)
    else:
        assert answer(read(path).model, normal(2, 6, 5, 3)).shape == (2, 6, 5, 3)
    from converter.files.config_tree import ConfigTree
    from converter.files.repairs import Reading
    from converter.files.vetting import ByName
    from converter.files.vetting_keras import KerasVetting

    reading = Reading(2, "2.2.4")
    ConfigTree(reading, KerasVetting(reading, ByName(everything), {}), None, 0).model(functional(layers, ["x"], ["l"]))
    assert row in {repair.row for repair in reading.repairs}


def test_cudnn_and_keras1_gates() -> None:
    """The gates of CuDNN and of Keras 1, against what the arrays were made from."""
    from converter.files.weight_order import _from_cudnn, _join_gates

    units, size = 3, 2
    kernel, recurrent, bias = normal(size, 4 * units), normal(units, 4 * units), normal(8 * units)
    parts = [part.T.ravel().reshape(part.shape, order="C") for part in np.split(kernel, 4, axis=1)]
    cudnn = [np.hstack(parts), np.hstack([part.T for part in np.split(recurrent, 4, axis=1)]), bias]
    turn = _from_cudnn("LSTM", units, [a.shape for a in cudnn], [])
    back = turn(cudnn)
    assert np.array_equal(back[1], recurrent)
    assert np.allclose(back[2], bias[: 4 * units] + bias[4 * units :])
    assert back[0].shape == kernel.shape
    gates = {name: [normal(size, units), normal(units, units), normal(units)] for name in "icfo"}
    joined = _join_gates("LSTM", 12)([array for name in "icfo" for array in gates[name]])
    assert np.array_equal(joined[0], np.concatenate([gates[name][0] for name in "ifco"], axis=1))


def test_chunked_names(tmp_path: Path) -> None:
    path, kernel = dense_file(tmp_path / "d.h5")
    with h5py.File(path, "r+") as file:
        group = file["model_weights"]
        names = list(group.attrs["layer_names"])
        del group.attrs["layer_names"]
        group.attrs["layer_names0"], group.attrs["layer_names1"] = names[:1], names[1:]
    x = normal(2, 3)
    assert np.allclose(answer(read(path).model, x), x @ kernel, atol=1e-6)


def test_custom_layers(tmp_path: Path) -> None:
    class Scale(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.g = self.add_weight(shape=(shape[-1],), name="g")

        def call(self, x: Any) -> Any:
            return x * self.g

    x = keras.Input((3,))
    model = keras.Model(x, Scale(name="s")(keras.layers.Dense(3)(x)))
    for ending in ("keras", "h5"):
        path = tmp_path / f"c.{ending}"
        model.save(path)
        with pytest.raises(Unsupported, match="Scale 's'"):
            read(path)
        value = normal(2, 3)
        assert np.array_equal(answer(read(path, custom={"Scale": Scale}).model, value), answer(model, value))


def test_unsupported_lists_all(tmp_path: Path) -> None:
    layers = [
        layer("InputLayer", "x", batch_input_shape=[None, 3], dtype="float32"),
        layer("Lambda", "l", "x", function=["4wEAAAA=", None, None], function_type="lambda"),
        layer("Mystery", "m", "l"),
        layer("TFSMLayer", "t", "m", filepath="/etc"),
        layer("Dense", "d", "t", units=2, activation="who"),
        layer("Dropout", "r", "d", rate=0.5, wild=3),
        layer("StringLookup", "s", "r", vocabulary="/etc/passwd"),
    ]
    path = write_h5(tmp_path / "u.h5", functional(layers, ["x"], ["s"]), {})
    with pytest.raises(Unsupported) as caught:
        read(path, allowed=lambda name: name != "Dropout")
    assert [item.where for item in caught.value.items] == ["l", "m", "t", "d", "r", "s"]
    assert "never run" in caught.value.items[0].todo

    class Mine(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x + 1.0

    path = write_h5(tmp_path / "l.h5", functional(layers[:2], ["x"], ["l"]), {})
    assert np.array_equal(
        answer(read(path, custom={"l": Mine}).model, np.ones((1, 3), "float32")), np.full((1, 3), 2.0)
    )


EVIL: list[dict[str, Any]] = [
    {"class_name": "function", "module": "os", "config": "system", "registered_name": "system"},
    {"class_name": "__lambda__", "config": {"value": "x"}},
    {"class_name": "Popen", "module": "subprocess", "config": {"args": "touch pwned"}},
    {"class_name": "Lambda", "module": "keras.layers", "config": {"function": "x"}},
    {"class_name": "load_model", "module": "keras.models", "config": {"filepath": "x"}},
]


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize("key", ["activation", "kernel_initializer", "noise_shape", "name_of_nothing"])
def test_objects_in_options(tmp_path: Path, evil: dict[str, Any], key: str) -> None:
    path, _ = dense_file(tmp_path / "e.h5", **{key: evil})
    try:
        found = read(path)
    except (Unsupported, BadInput):
        return
    assert key == "kernel_initializer"
    assert "unknown-initializer" in {repair.row for repair in found.repairs}


def edit(path: Path, change: Callable[[Any], None]) -> Path:
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def test_hdf5_that_reaches_out(tmp_path: Path) -> None:
    def external(file: Any) -> None:
        del file["model_weights/d/d/kernel:0"]
        file["model_weights/d/d/kernel:0"] = h5py.ExternalLink("other.h5", "/x")

    def soft(file: Any) -> None:
        file["model_weights/d/soft"] = h5py.SoftLink("/model_weights/d/d/kernel:0")

    def stored_outside(file: Any) -> None:
        file.create_dataset("model_weights/out", (4,), "f4", external=[(str(tmp_path / "raw"), 0, 16)])

    def virtual(file: Any) -> None:
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource("other.h5", "x", (4,))
        file.create_virtual_dataset("model_weights/virtual", layout)

    def bomb(file: Any) -> None:
        file.create_dataset("model_weights/bomb", (10**12,), "f4", chunks=(1024,))

    for change in (external, soft, stored_outside, virtual, bomb):
        path, _ = dense_file(tmp_path / f"{change.__name__}.h5")
        with pytest.raises(BadInput):
            read(edit(path, change))

    def cycle(file: Any) -> None:
        file["model_weights/d/self"] = file["model_weights"]

    path, _ = dense_file(tmp_path / "cycle.h5")
    assert read(edit(path, cycle)).model.count_params() == 8


def test_claimed_sizes(tmp_path: Path) -> None:
    """Weights that the file does not hold are never allocated."""
    read(dense_file(tmp_path / "warm.h5")[0])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.monotonic()
    cases: list[list[dict[str, Any]]] = [
        [layer("Dense", "d", "x", units=10**12)],
        [layer("Dense", "e", "x", units=10**9), layer("Dense", "d", "e", units=10**9)],
        [layer("Embedding", "d", "x", input_dim=10**9, output_dim=10**9)],
        [layer("Dense", "e", "x", units=30000), layer("Dense", "d", "e", units=30000)],
    ]
    for number, layers in enumerate(cases):
        layers = [layer("InputLayer", "x", batch_input_shape=[None, 3], dtype="float32"), *layers]
        weights = {"d": {"d/kernel:0": normal(3, 2), "d/bias:0": normal(2)}}
        path = write_h5(tmp_path / f"{number}.h5", functional(layers, ["x"], ["d"]), weights)
        with pytest.raises(BadInput, match="claims"):
            read(path)
    x = keras.Input((4,))
    keras.Model(x, keras.layers.Dense(5)(x)).save(tmp_path / "small.keras")
    with zipfile.ZipFile(tmp_path / "small.keras") as old, zipfile.ZipFile(tmp_path / "big.keras", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b'"units": 5', b'"units": 1000000000'))
    with pytest.raises(BadInput, match="claims"):
        read(tmp_path / "big.keras")
    assert time.monotonic() - start < 4
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    path, _ = dense_file(tmp_path / "a.h5")

    def shapes(file: Any) -> None:
        for name, shape in (("d/kernel:0", (5, 2)), ("d/bias:0", (3,))):
            del file[f"model_weights/d/{name}"]
            file[f"model_weights/d/{name}"] = normal(*shape)

    with pytest.raises(BadInput) as caught:
        read(edit(path, shapes))
    assert "'kernel'" in str(caught.value)
    assert "'bias'" in str(caught.value)
    path, _ = dense_file(tmp_path / "b.h5")
    with pytest.raises(BadInput, match="claims 8 numbers"):
        read(edit(path, lambda file: file["model_weights/d"].__delitem__("d/bias:0")))
    path, _ = dense_file(tmp_path / "c.h5")

    def nan(file: Any) -> None:
        file["model_weights/d/d/kernel:0"][0, 0] = np.nan

    assert np.isnan(answer(read(edit(path, nan)).model, np.ones((1, 3), "float32"))).any()


def test_broken_files(tmp_path: Path) -> None:
    good, _ = dense_file(tmp_path / "good.h5")
    cnn().save(tmp_path / "good.keras")
    data, packed = good.read_bytes(), (tmp_path / "good.keras").read_bytes()
    files = {
        "empty.h5": b"",
        "text.h5": b"hello, this is no model",
        "cut.h5": data[: len(data) // 2],
        "cut.keras": packed[: len(packed) // 2],
        "cut_end.keras": packed[:-30],
        "garbage.keras": packed[:200] + bytes(400) + packed[600:],
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("readme.txt", "no model")
    with zipfile.ZipFile(tmp_path / "json.keras", "w") as archive:
        archive.writestr("config.json", "{")
        archive.writestr("model.weights.h5", data)
    with zipfile.ZipFile(tmp_path / "deep.keras", "w") as archive:
        archive.writestr("config.json", "[" * 100_000)
        archive.writestr("model.weights.h5", data)
    with zipfile.ZipFile(tmp_path / "list.keras", "w") as archive:
        archive.writestr("config.json", "[]")
        archive.writestr("model.weights.h5", data)
    with h5py.File(tmp_path / "noconfig.h5", "w") as file:
        file["x"] = np.ones(3)
    edit(dense_file(tmp_path / "noweights.h5")[0], lambda file: file.__delitem__("model_weights"))
    for name in [
        *files,
        "other.keras",
        "json.keras",
        "deep.keras",
        "list.keras",
        "noconfig.h5",
        "noweights.h5",
        "missing.h5",
        ".",
    ]:
        with pytest.raises(BadInput) as caught:
            read(tmp_path / name)
        assert str(tmp_path) in str(caught.value), caught.value


def test_damaged_configurations(tmp_path: Path) -> None:
    """Whatever is taken out of a configuration or put in its place, the answer is an error of ours."""
    path, _ = dense_file(tmp_path / "d.h5")
    with h5py.File(path) as file:
        text = file.attrs["model_config"]
    for number, (old, new) in enumerate(
        [
            ('"units": 2', '"units": "two"'),
            ('"units": 2', '"units": -2'),
            ('"config"', '"konfig"'),
            ('[["x", 0, 0, {}]]', '[["y", 0, 0, {}]]'),
            ('[["x", 0, 0, {}]]', '[["d", 0, 0, {}]]'),
            ('[["x", 0, 0, {}]]', '[["x", 7, 0, {}]]'),
            ('[["x", 0, 0, {}]]', '[["x", 0, 9, {}]]'),
            ('[["x", 0, 0, {}]]', '["x"]'),
            ('[["x", 0, 0, {}]]', "7"),
            ('"name": "d"', '"name": "x"'),
            ('"name": "d"', '"name": 5'),
            ('"input_layers"', '"inputs"'),
            ("[null, 3]", '[null, "a"]'),
            ("[null, 3]", '"abc"'),
            ("[null, 3]", "[null, 1000000000000]"),
            ('"class_name": "Model"', '"class_name": "Sequential"'),
            ('"class_name": "Model"', '"class_name": ["Model"]'),
        ]
    ):
        broken = tmp_path / f"{number}.h5"
        broken.write_bytes(path.read_bytes())

        def change(file: Any, old: str = old, new: str = new) -> None:
            assert old in text
            file.attrs["model_config"] = text.replace(old, new)

        try:
            read(edit(broken, change))
        except ConvertError:
            continue
        assert new == '"class_name": "Sequential"'


def test_user_state_is_left_alone(tmp_path: Path) -> None:
    import random

    path, _ = dense_file(tmp_path / "d.h5")
    before = keras.layers.Dense(1).name
    random.seed(3)
    expected = random.random()
    random.seed(3)
    read(path)
    assert random.random() == expected
    after = keras.layers.Dense(1).name
    assert int(after.rsplit("_", 1)[-1]) == int(before.rsplit("_", 1)[-1] if "_" in before else 0) + 1
