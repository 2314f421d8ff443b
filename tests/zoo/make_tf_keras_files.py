"""Write .h5 files of keras.applications with tf-keras (Keras 2), with inputs and the outputs tf-keras itself gives.

Run in an environment of its own that has `tensorflow` and `tf-keras`:

    TF_USE_LEGACY_KERAS=1 python tests/zoo/make_tf_keras_files.py FOLDER MobileNetV2 DenseNet121 [NASNetMobile:96 ...]

For each class it writes FOLDER/NAME.h5 (the whole model, softmax on top) and FOLDER/NAME.npz with `inputs`, `outputs`
and `logits` (the same without the softmax), and what tf-keras computes in float64 for the first two images:
`outputs64`, `logits64`. The gap between `outputs` and `outputs64` is tf-keras's own rounding. NAME:SIZE sets the input
size. Without names, all classes of tf_keras.applications are written; `--list` names them. `--extra` adds small models
of the old dialect that the applications do not cover (names with '/', nested and shared models, operators on tensors).
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tf_keras as keras

SIZES = {
    **dict.fromkeys(("Xception", "NASNetMobile", "NASNetLarge"), 96),
    **dict.fromkeys((f"ResNetRS{depth}" for depth in (50, 101, 152, 200, 270, 350, 420)), 128),
    **dict.fromkeys(("InceptionV3", "InceptionResNetV2"), 160),
}
"""Where 64 is refused, or leaves maps of one pixel, whose statistics over a few images make float32 mostly rounding."""
IMAGES = 8
FEW = 2
"""Images that are computed in float64 too: TensorFlow's grouped convolutions take minutes for more."""


def applications() -> dict[str, Callable[..., Any]]:
    """Every distinct model function of tf_keras.applications by name."""
    found = {}
    for name in sorted(dir(keras.applications)):
        item = getattr(keras.applications, name)
        if inspect.isfunction(item) and name[0].isupper():
            found[name] = item
    return found


def build(function: Callable[..., Any], size: int, dtype: str = "float32") -> Any:
    """The model in one precision, always with the same random weights."""
    keras.backend.clear_session()
    keras.backend.set_floatx(dtype)
    keras.mixed_precision.set_global_policy(dtype)
    keras.utils.set_random_seed(0)
    return function(weights=None, input_shape=(size, size, 3))


def draw_constants(model: Any, rng: np.random.Generator) -> None:
    """Random values for every weight that starts as a constant: scales, offsets, biases.

    A model whose scales are 1 and offsets 0 does not show when they are lost or swapped. BatchNorm offsets are drawn
    around 1, where most of a ReLU's inputs pass: with offsets of 0 a deep random network multiplies a change of its
    input from layer to layer, and its float32 answer is then mostly rounding (1e-4 in InceptionV3), nothing to compare
    with. Training leaves no network like that.
    """
    for layer in every_layer(model):
        offset = getattr(layer, "beta", None) if isinstance(layer, keras.layers.BatchNormalization) else None
        for weight in layer.trainable_weights:
            if np.ptp(weight.numpy()) == 0:
                zero = float(weight.numpy().flat[0]) == 0 and weight is not offset
                weight.assign(rng.uniform(*((-0.1, 0.1) if zero else (0.5, 1.5)), weight.shape))


def settle_batch_norm(model: Any, images: Any) -> None:
    """Set BatchNorm statistics from one pass in training mode, so that the output depends on the input."""
    norms = [layer for layer in every_layer(model) if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    if norms:
        model(images, training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum


def every_layer(model: Any) -> list[Any]:
    """The layers of a model and of the models nested in it."""
    found = []
    for layer in model.layers:
        found.extend(every_layer(layer) if hasattr(layer, "layers") else [layer])
    return found


def record(folder: Path, name: str, model: Any, inputs: list[Any], more: dict[str, Any] | None = None) -> None:
    """Write NAME.h5 and NAME.npz."""
    result = model(inputs if len(inputs) > 1 else inputs[0], training=False)
    outputs = list(result) if isinstance(result, (list, tuple)) else [result]
    arrays = {f"input{i}" if i else "inputs": np.asarray(array) for i, array in enumerate(inputs)}
    arrays |= {f"output{i}" if i else "outputs": np.asarray(array) for i, array in enumerate(outputs)}
    arrays |= {key: np.asarray(array) for key, array in (more or {}).items()}
    model.save(folder / f"{name}.h5", save_format="h5")
    np.savez(folder / f"{name}.npz", **arrays)
    print(f"{name}: {model.count_params()} parameters, outputs {[tuple(a.shape) for a in outputs]}", flush=True)


def write_application(folder: Path, name: str, function: Callable[..., Any], size: int) -> None:
    """One class of keras.applications, on random images prepared as its own module prepares them."""
    rng = np.random.default_rng(0)
    prepared = sys.modules[function.__module__].preprocess_input
    images = prepared(rng.uniform(0.0, 255.0, (IMAGES, size, size, 3)).astype("float32"))
    model = build(function, size)
    draw_constants(model, rng)
    settle_batch_norm(model, images)
    more = {"logits": logits(model, images)}
    record(folder, name, model, [images], more)
    exact = build(function, size, "float64")
    exact.set_weights(model.get_weights())
    more = {"logits64": logits(exact, images[:FEW].astype("float64"))}
    more["outputs64"] = exact.layers[-1].activation(more["logits64"])
    keras.backend.set_floatx("float32")
    keras.mixed_precision.set_global_policy("float32")
    with np.load(folder / f"{name}.npz") as known:
        arrays = dict(known)
    few, exactly = arrays["outputs"][:FEW], more["outputs64"].numpy()
    rounding = float(np.abs(few - exactly).max() / np.abs(exactly).max())
    print(f"{name}: tf-keras in float32 against itself in float64: {rounding:.1e}", flush=True)
    np.savez(folder / f"{name}.npz", **arrays, **{key: array.numpy() for key, array in more.items()})


def logits(model: Any, images: Any) -> Any:
    """What the model answers without the activation of its last layer."""
    last = model.layers[-1]
    activation = last.activation
    last.activation = keras.activations.linear
    answer = model(images, training=False)
    last.activation = activation
    return answer


def write_extra(folder: Path) -> None:
    """Small models with the oddities of the dialect."""
    layers = keras.layers
    rng = np.random.default_rng(1)

    def image(*shape: int) -> Any:
        return rng.normal(size=(IMAGES, *shape)).astype("float32")

    keras.utils.set_random_seed(1)
    inputs = layers.Input((16, 16, 3), name="in/put.1")
    x = layers.Conv2D(8, 4, 4, name="stem/conv")(inputs)
    x = layers.Reshape((16, 8), name="stem/tokens")(x)
    for block in range(2):
        y = layers.LayerNormalization(name=f"MixerBlock_{block}/LayerNorm_0")(x)
        y = layers.Permute((2, 1), name=f"MixerBlock_{block}/permute")(y)
        y = layers.Dense(16, activation="gelu", name=f"MixerBlock_{block}/token_mixing/Dense_0")(y)
        y = layers.Permute((2, 1), name=f"MixerBlock_{block}_permute.2")(y)
        x = layers.Add(name=f"MixerBlock_{block}/add")([x, y])
    x = layers.GlobalAveragePooling1D(name="head/pool")(x)
    record(folder, "mixer", keras.Model(inputs, layers.Dense(5, name="head/out")(x)), [image(16, 16, 3)])

    backbone = keras.Sequential(
        [
            layers.Conv2D(4, 3, input_shape=(12, 10, 3), name="c1"),
            layers.BatchNormalization(name="b1"),
            layers.Conv2D(4, 3, name="c2"),
            layers.BatchNormalization(name="b2", scale=False),
            layers.Activation("hard_sigmoid", name="hard"),
        ],
        name="backbone",
    )
    inner_in = layers.Input((8, 6, 4))
    inner = keras.Model(inner_in, layers.Add()([layers.Conv2D(4, 1, name="i1")(inner_in), inner_in]), name="inner")
    middle_in = layers.Input((8, 6, 4))
    middle = keras.Model(middle_in, inner(layers.LeakyReLU(alpha=0.2)(inner(middle_in))), name="middle")
    left, right = layers.Input((12, 10, 3), name="left"), layers.Input((12, 10, 3), name="right")
    a, b = middle(backbone(left)), middle(backbone(right, training=False))
    shared = layers.Dense(6, activation="swish", name="shared")
    a, b = shared(layers.Flatten()(a)), shared(layers.Flatten()(b))
    model = keras.Model([left, right], [layers.Concatenate()([a, b]), layers.Subtract()([a, b])], name="siamese")
    settle_batch_norm(model, [image(12, 10, 3), image(12, 10, 3)])
    record(folder, "siamese", model, [image(12, 10, 3), image(12, 10, 3)])
    backbone.trainable = False
    record(folder, "siamese_frozen", model, [image(12, 10, 3), image(12, 10, 3)])

    import tensorflow as tf

    p, q = layers.Input((6, 4), name="p"), layers.Input((6, 4), name="q")
    x = (p + q) * 0.5 - 1.0
    x = 2.0 - x / 3.0 + tf.nn.relu6(p) - tf.nn.relu(q) * tf.math.sigmoid(q)
    x = tf.concat([x, tf.math.maximum(p, q), tf.math.minimum(p, q), tf.nn.softmax(p)], axis=-1)
    x = tf.reshape(tf.identity(x), (-1, 96)) + tf.nn.silu(tf.reshape(x, [-1, 96])) - tf.tanh(layers.Flatten()(x))
    x = tf.math.divide(x, 4.0) + tf.constant(1.5)
    record(folder, "operators", keras.Model([p, q], -x), [image(6, 4), image(6, 4)])

    m = layers.Input((7, 5, 3))
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(m)
    x = layers.SeparableConv2D(4, 3, activation=tf.nn.relu6)(x)
    x = layers.Conv2DTranspose(5, 3, strides=2, padding="same")(x)
    x = layers.PReLU(shared_axes=[1, 2])(x)
    x = layers.ReLU(max_value=4.0, negative_slope=0.1, threshold=0.2)(x)
    x = layers.LayerNormalization(axis=[-1])(layers.UpSampling2D(2, interpolation="bilinear")(x))
    x = layers.Dropout(0.3)(layers.GlobalMaxPooling2D(keepdims=False)(x))
    dense = layers.Dense(3, activation="softmax", kernel_regularizer="l2", kernel_constraint="max_norm")
    model = keras.Model(m, dense(x))
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    record(folder, "options", model, [image(7, 5, 3)])
    model.save_weights(folder / "options_only.h5")


def main(arguments: list[str]) -> int:
    """Write what the command line names."""
    extra = "--extra" in arguments
    arguments = [argument for argument in arguments if argument != "--extra"]
    known = applications()
    if arguments == ["--list"]:
        print(*known)
        return 0
    if not arguments:
        print(__doc__)
        return 2
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    names = arguments[1:] or ([] if extra else list(known))
    for item in names:
        name, _, size = item.partition(":")
        write_application(folder, name, known[name], int(size) if size else SIZES.get(name, 64))
    if extra:
        write_extra(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
