"""The rows of the repair table for Keras 1: other class names, other argument names, merging by mode."""

from __future__ import annotations

from typing import Any

from converter.files.repairs import Layer, Reading, Row

CLASSES = {
    "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "Convolution3D": "Conv3D",
    "AtrousConvolution1D": "Conv1D",
    "AtrousConvolution2D": "Conv2D",
    "AtrousConv1D": "Conv1D",
    "AtrousConv2D": "Conv2D",
    "Deconvolution2D": "Conv2DTranspose",
    "SeparableConvolution2D": "SeparableConv2D",
    "TimeDistributedDense": "Dense",
}

ARGUMENTS = {
    "nb_filter": "filters",
    "subsample": "strides",
    "subsample_length": "strides",
    "filter_length": "kernel_size",
    "border_mode": "padding",
    "atrous_rate": "dilation_rate",
    "bias": "use_bias",
    "init": "kernel_initializer",
    "inner_init": "recurrent_initializer",
    "inner_activation": "recurrent_activation",
    "W_regularizer": "kernel_regularizer",
    "U_regularizer": "recurrent_regularizer",
    "b_regularizer": "bias_regularizer",
    "W_constraint": "kernel_constraint",
    "U_constraint": "recurrent_constraint",
    "b_constraint": "bias_constraint",
    "depthwise_init": "depthwise_initializer",
    "pointwise_init": "pointwise_initializer",
    "gamma_init": "gamma_initializer",
    "beta_init": "beta_initializer",
    "dropout_W": "dropout",
    "dropout_U": "recurrent_dropout",
    "pool_length": "pool_size",
}

BY_CLASS: dict[str, dict[str, str]] = {
    "Dense": {"output_dim": "units"},
    "LSTM": {"output_dim": "units"},
    "GRU": {"output_dim": "units"},
    "SimpleRNN": {"output_dim": "units"},
    "Embedding": {
        "init": "embeddings_initializer",
        "W_regularizer": "embeddings_regularizer",
        "W_constraint": "embeddings_constraint",
    },
    "PReLU": {"init": "alpha_initializer"},
    "Dropout": {"p": "rate"},
    "SpatialDropout1D": {"p": "rate"},
    "SpatialDropout2D": {"p": "rate"},
    "SpatialDropout3D": {"p": "rate"},
    "GaussianDropout": {"p": "rate"},
    "GaussianNoise": {"sigma": "stddev"},
    "MaxPooling1D": {"stride": "strides"},
    "AveragePooling1D": {"stride": "strides"},
    "UpSampling1D": {"length": "size"},
    "SeparableConv2D": {"W_regularizer": "", "W_constraint": "", "init": ""},
}

UNUSED = ("consume_less", "forget_bias_init", "gamma_regularizer", "beta_regularizer")
KERNEL_SIZES = (("kernel_dim1", "kernel_dim2", "kernel_dim3"), ("nb_row", "nb_col"))
ORDERINGS = {"th": "channels_first", "tf": "channels_last"}
MERGES = {"sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum", "concat": "Concatenate", "dot": "Dot"}

# What shows that a configuration is of Keras 1 where the file does not tell its version.
MARKS = frozenset({"nb_filter", "nb_row", "output_dim", "border_mode", "dim_ordering", "W_regularizer", "inner_init"})


def looks_like_keras1(layers: list[Any]) -> bool:
    """True if any layer uses an argument that only Keras 1 had (Embedding kept output_dim)."""
    for layer in layers:
        config = layer.get("config") if isinstance(layer, dict) else None
        keys = set(config) if isinstance(config, dict) else set()
        if layer.get("class_name") == "Embedding" if isinstance(layer, dict) else False:
            keys.discard("output_dim")
        if keys & MARKS:
            return True
    return False


def _fix_class(layer: Layer, reading: Reading, where: str) -> str | None:
    old = layer["class_name"]
    if old not in CLASSES:
        return None
    layer["class_name"] = CLASSES[old]
    if old == "Deconvolution2D":
        layer["config"].pop("output_shape", None)
    return f"class {old} of Keras 1 is read as {CLASSES[old]}"


def _fix_arguments(layer: Layer, reading: Reading, where: str) -> str | None:
    config = layer["config"]
    renames = ARGUMENTS | BY_CLASS.get(layer["class_name"], {})
    done = []
    for old, new in renames.items():
        if old in config and new not in config:
            value = config.pop(old)
            if new:
                config[new] = value
            done.append(f"{old} is now {new}" if new else f"left out {old}")
    for names in KERNEL_SIZES:
        if all(name in config for name in names):
            config["kernel_size"] = [config.pop(name) for name in names]
            done.append(f"{', '.join(names)} are now kernel_size")
    for old in UNUSED:
        if old in config and (old in UNUSED[:2] or config[old] is None):
            del config[old]
    if done:
        return "; ".join(done)
    return None


def _fix_ordering(layer: Layer, reading: Reading, where: str) -> str | None:
    if "dim_ordering" not in layer["config"]:
        return None
    old = layer["config"].pop("dim_ordering")
    if old not in ORDERINGS:
        reading.refuse(where, layer["class_name"], f"dim_ordering={old!r} is neither 'th' nor 'tf'.")
        return None
    layer["config"]["data_format"] = ORDERINGS[old]
    if old == "th" and layer["class_name"].startswith("Separable"):
        reading.refuse(where, layer["class_name"], "the order of its weights in 'th' files of Keras 1 is not known.")
    return f"dim_ordering={old!r} is now data_format={ORDERINGS[old]!r}"


def _fix_merge(layer: Layer, reading: Reading, where: str) -> str | None:
    config = layer["config"]
    mode = config.get("mode", "sum")
    if not isinstance(mode, str) or mode not in MERGES or config.get("mode_type", "raw") != "raw":
        reading.refuse(where, "Merge", f"mode={mode!r} has no mapping.", "Known are " + ", ".join(MERGES) + ".")
        return None
    layer["class_name"] = MERGES[mode]
    kept = {key: config[key] for key in ("name", "trainable", "dtype") if key in config}
    if mode == "concat":
        kept["axis"] = config.get("concat_axis", -1)
    if mode == "dot":
        axes = config.get("dot_axes", -1)
        kept["axes"] = axes if isinstance(axes, int) else [a[0] if isinstance(a, list) else a for a in axes]
    layer["config"] = kept
    return f"Merge(mode={mode!r}) is now {MERGES[mode]}"


def _fix_masks(layer: Layer, reading: Reading, where: str) -> str | None:
    """Options of Keras 1 that are gone: refused unless they were off."""
    if layer["class_name"] == "Embedding" and layer["config"].pop("dropout", 0.0) not in (0.0, None):
        return "left out dropout, which does nothing at inference"
    return None


def _fix_initializers(layer: Layer, reading: Reading, where: str) -> str | None:
    """Keras 1 named initializers by words that may be gone; the weights come from the file."""
    for key, value in list(layer["config"].items()):
        if key.endswith("_regularizer") and isinstance(value, dict) and "name" in value:
            layer["config"][key] = {"class_name": "L1L2", "config": {k: value[k] for k in ("l1", "l2") if k in value}}
        if key.endswith("_constraint") and isinstance(value, dict) and "name" in value and "class_name" not in value:
            inner = {k: v for k, v in value.items() if k != "name"}
            layer["config"][key] = {"class_name": value["name"], "config": inner}
    return None


ROWS: tuple[Row, ...] = (
    Row("keras1-class", (1,), _fix_class),
    Row("keras1-merge", (1,), _fix_merge, frozenset({"Merge"})),
    Row("keras1-ordering", (1,), _fix_ordering),
    Row("keras1-dropped", (1,), _fix_masks),
    Row("keras1-arguments", (1,), _fix_arguments),
    Row("keras1-regularizers", (1,), _fix_initializers),
)
