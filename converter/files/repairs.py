"""The repair table: how the layer configurations of older Keras versions differ from Keras 3, one row a difference.

A row looks at one layer's configuration (`class_name`, `config`) and changes it in place; each change is logged as a
`Repair`. Rows are keyed by the major version of Keras that wrote the file (tf.keras counts as 2) and by what they find.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from converter.errors import Item
from converter.files.keras_dialects import HARD_SIGMOID_CONFIG

Layer = dict[str, Any]


@dataclass(frozen=True)
class Repair:
    """One repair that was made: the row of the table, the layer, and what was done."""

    row: str
    where: str
    text: str


@dataclass
class Reading:
    """What is known and found while one file's configuration is read."""

    major: int
    version: str = ""
    backend: str | None = None
    repairs: list[Repair] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    def log(self, row: str, where: str, text: str) -> None:
        self.repairs.append(Repair(row, where, text))

    def refuse(self, where: str, what: str, why: str, todo: str = "") -> None:
        item = Item(where, what, why, todo)
        if item not in self.items:
            self.items.append(item)


@dataclass(frozen=True)
class Row:
    """One difference between dialects; `fix` returns what it did, or None if it found nothing to do."""

    name: str
    majors: tuple[int, ...]
    fix: Callable[[Layer, Reading, str], str | None]
    classes: frozenset[str] | None = None

    def applies(self, layer: Layer, reading: Reading) -> bool:
        return reading.major in self.majors and (self.classes is None or layer["class_name"] in self.classes)


def repair_layer(layer: Layer, reading: Reading, where: str, rows: Iterable[Row]) -> None:
    """Apply every row that fits, in the order of the table."""
    for row in rows:
        if row.applies(layer, reading):
            text = row.fix(layer, reading, where)
            if text is not None:
                reading.log(row.name, where, text)


def _drop(layer: Layer, neutral: dict[str, tuple[Any, ...]], reading: Reading, where: str) -> str | None:
    """Take out options that Keras 3 no longer has, where they say what Keras 3 does anyway."""
    dropped = []
    for key, values in neutral.items():
        if key not in layer["config"]:
            continue
        value = layer["config"].pop(key)
        if value in values:
            dropped.append(f"{key}={value!r}")
        else:
            reading.refuse(where, layer["class_name"], f"the option {key}={value!r} has no counterpart in Keras 3.")
    return f"left out {', '.join(dropped)}, which Keras 3 does not have and which changed nothing" if dropped else None


def _fix_class_aliases(layer: Layer, reading: Reading, where: str) -> str | None:
    old = layer["class_name"]
    if old not in CLASS_ALIASES:
        return None
    layer["class_name"] = CLASS_ALIASES[old]
    if old == "SyncBatchNormalization":
        layer["config"].setdefault("synchronized", False)
    return f"class {old} is read as {CLASS_ALIASES[old]}"


CLASS_ALIASES = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
    "LSTMV2": "LSTM",
    "GRUV2": "GRU",
    "LayerNormalizationV2": "LayerNormalization",
    "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "Convolution3D": "Conv3D",
    "Convolution2DTranspose": "Conv2DTranspose",
    "Deconvolution2D": "Conv2DTranspose",
    "Conv2DTransposeV2": "Conv2DTranspose",
    "SeparableConvolution2D": "SeparableConv2D",
}


def _fix_input_layer(layer: Layer, reading: Reading, where: str) -> str | None:
    config = layer["config"]
    done = []
    if "batch_input_shape" in config:
        config["batch_shape"] = config.pop("batch_input_shape")
        done.append("batch_input_shape is now batch_shape")
    if "input_shape" in config:
        shape = [config.pop("batch_size", None), *config.pop("input_shape")]
        config.setdefault("batch_shape", shape)
        done.append("input_shape is now batch_shape")
    if "input_dtype" in config:
        config["dtype"] = config.pop("input_dtype")
        done.append("input_dtype is now dtype")
    for key in ("ragged", "sparse"):
        if config.get(key):
            reading.refuse(where, "InputLayer", f"{key} inputs have no mapping.", "Feed dense tensors.")
    for key in ("ragged", "type_spec") if reading.major < 3 else ():
        config.pop(key, None)
    for key in ("batch_size", "input_tensor"):
        if config.get(key, 0) is None:
            del config[key]
    return "; ".join(done) or None


def _fix_shape_arguments(layer: Layer, reading: Reading, where: str) -> str | None:
    if layer["class_name"] == "InputLayer":
        return None
    own = {"input_dim"} if layer["class_name"] == "Embedding" else set()
    keys = {"batch_input_shape", "batch_shape", "input_shape", "input_dtype", "input_dim", "input_length"} - own
    found = sorted(keys & set(layer["config"]))
    for key in found:
        del layer["config"][key]
    return f"left out {', '.join(found)}: the inputs tell the shape" if found else None


def _fix_groups(layer: Layer, reading: Reading, where: str) -> str | None:
    return _drop(layer, {"groups": (1, None)}, reading, where)


def _fix_separable(layer: Layer, reading: Reading, where: str) -> str | None:
    found = [key for key in ("kernel_initializer", "kernel_regularizer", "kernel_constraint") if key in layer["config"]]
    for key in found:
        del layer["config"][key]
    return f"left out {', '.join(found)}: the layer has no kernel of that name" if found else None


def _fix_depthwise(layer: Layer, reading: Reading, where: str) -> str | None:
    found = [
        key
        for key in ("kernel_initializer", "kernel_regularizer", "kernel_constraint", "filters")
        if key in layer["config"]
    ]
    for key in found:
        del layer["config"][key]
    return f"left out {', '.join(found)}, which the layer never used" if found else None


def _fix_axis(layer: Layer, reading: Reading, where: str) -> str | None:
    axis = layer["config"].get("axis")
    if not isinstance(axis, list) or len(axis) != 1:
        return None
    layer["config"]["axis"] = axis[0]
    return f"axis={axis} is now axis={axis[0]}"


def _fix_norm_options(layer: Layer, reading: Reading, where: str) -> str | None:
    config = layer["config"]
    if not config.get("renorm"):
        config.pop("renorm_clipping", None)
        config.pop("renorm_momentum", None)
    neutral = {
        "renorm": (False, None),
        "fused": (True, False, None),
        "virtual_batch_size": (None,),
        "adjustment": (None,),
        "mode": (0,),
    }
    return _drop(layer, neutral, reading, where)


def _activation_keys(config: dict[str, Any]) -> list[str]:
    return [key for key in config if key == "activation" or key.endswith("_activation")]


def _fix_hard_sigmoid(layer: Layer, reading: Reading, where: str) -> str | None:
    keys = [key for key in _activation_keys(layer["config"]) if layer["config"][key] == "hard_sigmoid"]
    for key in keys:
        layer["config"][key] = dict(HARD_SIGMOID_CONFIG)
    if not keys:
        return None
    return f"{', '.join(keys)}: hard_sigmoid is clip(0.2 x + 0.5, 0, 1) as before Keras 3, not relu6(x + 3) / 6"


def _fix_activation_names(layer: Layer, reading: Reading, where: str) -> str | None:
    done = []
    for key in _activation_keys(layer["config"]):
        old = layer["config"][key]
        if isinstance(old, dict) and old.get("class_name") in ("function", "Activation"):
            continue
        if isinstance(old, str) and old in ACTIVATION_NAMES:
            layer["config"][key] = ACTIVATION_NAMES[old]
            done.append(f"{key} {old!r} is now {ACTIVATION_NAMES[old]!r}")
    return "; ".join(done) or None


ACTIVATION_NAMES = {
    "swish": "silu",
    "Swish": "silu",
    "swish_impl": "silu",
    "softmax_v2": "softmax",
    "leaky_relu_v2": "leaky_relu",
    "hard_swish": "hard_silu",
}


def _number(value: Any) -> Any:
    """A number that old files wrote as a little array."""
    if isinstance(value, dict):
        inner = value.get("value", value.get("config"))
        return _number(inner.get("value") if isinstance(inner, dict) else inner)
    if isinstance(value, list) and len(value) == 1:
        return _number(value[0])
    return value


def _fix_alpha(layer: Layer, reading: Reading, where: str) -> str | None:
    if "alpha" not in layer["config"]:
        return None
    layer["config"]["negative_slope"] = _number(layer["config"].pop("alpha"))
    return "alpha is now negative_slope"


def _fix_numbers(layer: Layer, reading: Reading, where: str) -> str | None:
    done = []
    for key in ("alpha", "max_value", "negative_slope", "threshold", "theta"):
        value = layer["config"].get(key)
        if isinstance(value, (dict, list)):
            layer["config"][key] = _number(value)
            done.append(f"{key} was an array of one number")
    return "; ".join(done) or None


def _fix_thresholded(layer: Layer, reading: Reading, where: str) -> str | None:
    layer["class_name"] = "ReLU"
    layer["config"]["threshold"] = layer["config"].pop("theta", 1.0)
    return "ThresholdedReLU(theta) is now ReLU(threshold)"


def _fix_recurrent(layer: Layer, reading: Reading, where: str) -> str | None:
    layer["config"].pop("implementation", None)
    return _drop(layer, {"time_major": (False, None), "num_constants": (None, 0)}, reading, where)


def _fix_reset_after(layer: Layer, reading: Reading, where: str) -> str | None:
    if "reset_after" in layer["config"]:
        return None
    layer["config"]["reset_after"] = False
    return "reset_after=False, which was the only kind when the file was written"


def _fix_cudnn(layer: Layer, reading: Reading, where: str) -> str | None:
    old = layer["class_name"]
    layer["class_name"] = old.removeprefix("CuDNN")
    layer["config"].update(activation="tanh", recurrent_activation="sigmoid")
    if old == "CuDNNGRU":
        layer["config"]["reset_after"] = True
    return f"{old} is read as {layer['class_name']}; its weights are brought into that order"


def _fix_leftovers(layer: Layer, reading: Reading, where: str) -> str | None:
    for key in ("query_shape", "key_shape", "value_shape"):
        if layer["class_name"] in ("MultiHeadAttention", "GroupedQueryAttention"):
            layer["config"].pop(key, None)
    return _drop(layer, {"batch_size": (None,), "weights": (None,)}, reading, where)


OLD = (1, 2)
TRANSPOSED = frozenset({"Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"})
DEPTHWISE = frozenset({"DepthwiseConv1D", "DepthwiseConv2D"})
SEPARABLE = frozenset({"SeparableConv1D", "SeparableConv2D"})
RECURRENT = frozenset({"RNN", "LSTM", "GRU", "SimpleRNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"})
RECTIFIERS = frozenset({"LeakyReLU", "ELU", "ReLU", "ThresholdedReLU"})

ROWS: tuple[Row, ...] = (
    Row("class-name", OLD, _fix_class_aliases),
    Row("cudnn", OLD, _fix_cudnn, frozenset({"CuDNNLSTM", "CuDNNGRU"})),
    Row("input-layer", (1, 2, 3), _fix_input_layer, frozenset({"InputLayer"})),
    Row("shape-arguments", (1, 2, 3), _fix_shape_arguments),
    Row("groups", OLD, _fix_groups, DEPTHWISE | TRANSPOSED | SEPARABLE),
    Row("separable-kernel", OLD, _fix_separable, SEPARABLE),
    Row("depthwise-kernel", OLD, _fix_depthwise, DEPTHWISE),
    Row("axis-list", OLD, _fix_axis),
    Row("batch-norm-options", OLD, _fix_norm_options, frozenset({"BatchNormalization"})),
    Row("hard-sigmoid", OLD, _fix_hard_sigmoid),
    Row("activation-name", OLD, _fix_activation_names),
    Row("array-number", OLD, _fix_numbers, RECTIFIERS),
    Row("leaky-slope", (1, 2, 3), _fix_alpha, frozenset({"LeakyReLU"})),
    Row("thresholded-relu", (1, 2, 3), _fix_thresholded, frozenset({"ThresholdedReLU"})),
    Row("recurrent-options", OLD, _fix_recurrent, RECURRENT),
    Row("reset-after", OLD, _fix_reset_after, frozenset({"GRU"})),
    Row("leftovers", OLD, _fix_leftovers),
)
