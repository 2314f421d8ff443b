"""Operators on tensors in tf.keras 2 files (`TFOpLambda`, `SlicingOpLambda`) as layers of Keras 3.

Only what a layer expresses exactly is read; the rest is refused by its name, all at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from converter.files.repairs import Layer, Reading

CLASSES = frozenset({"TFOpLambda", "SlicingOpLambda"})
BINARY = {
    "add": "Add",
    "subtract": "Subtract",
    "multiply": "Multiply",
    "maximum": "Maximum",
    "minimum": "Minimum",
}
ACTIVATIONS = {
    "relu6": "relu6",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "silu": "silu",
    "swish": "silu",
    "elu": "elu",
    "selu": "selu",
    "softplus": "softplus",
    "softsign": "softsign",
    "exp": "exponential",
    "log_softmax": "log_softmax",
}
IGNORED = frozenset({"name", "conjugate"})  # tensors here are real numbers
PREFIXES = ("tf.", "math.", "nn.", "__operators__.", "compat.v1.", "keras.activations.", "keras.backend.")


@dataclass(frozen=True)
class Tensor:
    """A tensor in the arguments of a call: which layer, which of its calls, which of its outputs."""

    layer: str
    node: int
    index: int


@dataclass
class Call:
    """One call of a layer: its first argument, tensors and structures of them, and its keywords."""

    first: Any
    keywords: dict[str, Any]


@dataclass(frozen=True)
class NoLayerError(Exception):
    """Why an operator has no layer."""

    why: str


def rewrite(layer: Layer, calls: list[Call], reading: Reading, where: str) -> None:
    """Turn the operator into a layer in place; its only call then takes tensors alone."""
    function = str(layer["config"].get("function", layer["config"].get("name", "")))
    try:
        if len(calls) != 1:
            raise NoLayerError(f"it is called {len(calls)} times; expected one call.")
        call = calls[0]
        keywords = {key: value for key, value in call.keywords.items() if key not in IGNORED and value is not None}
        if layer["class_name"] == "SlicingOpLambda":
            kind, options, inputs = _slice(call.first, keywords)
        else:
            kind, options, inputs = _operator(_short(function), call.first, keywords)
    except NoLayerError as error:
        reading.refuse(where, f"{layer['class_name']} {function}", error.why, "Replace it by a Keras layer.")
        return
    shown = ", ".join(f"{key}={value!r}" for key, value in options.items())
    reading.log("tf-operator", where, f"{function} is now {kind}({shown})")
    layer["class_name"] = kind
    kept = {key: layer["config"][key] for key in ("name", "trainable", "dtype") if key in layer["config"]}
    layer["config"] = kept | options
    call.first, call.keywords = inputs, {}


def _short(function: str) -> str:
    changed = True
    while changed:
        changed = False
        for prefix in PREFIXES:
            if function.startswith(prefix):
                function, changed = function[len(prefix) :], True
    return function


Result = tuple[str, dict[str, Any], Any]


def _operator(name: str, first: Any, keywords: dict[str, Any]) -> Result:
    name = {"sub": "subtract", "mul": "multiply", "divide": "truediv", "div": "truediv"}.get(name, name)
    if name in BINARY or name == "truediv":
        return _binary(name, first, keywords)
    if name in ("concat", "concatenate") and isinstance(first, list) and all(isinstance(x, Tensor) for x in first):
        return "Concatenate", {"axis": _only(keywords, "axis", -1)}, first
    if not isinstance(first, Tensor):
        raise NoLayerError("its first argument is no single tensor.")
    if name in ACTIVATIONS:
        _only(keywords, "")
        return "Activation", {"activation": ACTIVATIONS[name]}, first
    if name == "gelu":
        approximate = bool(_only(keywords, "approximate", False))
        if approximate:
            raise NoLayerError("gelu with approximate=True is no layer of its own.")
        return "Activation", {"activation": "gelu"}, first
    if name == "relu":
        options = {"max_value": keywords.pop("max_value", None), "threshold": keywords.pop("threshold", 0.0)}
        slope = keywords.pop("alpha", keywords.pop("negative_slope", 0.0))
        _only(keywords, "")
        return "ReLU", {"negative_slope": slope} | options, first
    if name == "leaky_relu":
        return "LeakyReLU", {"negative_slope": _only(keywords, "alpha", 0.2)}, first
    if name == "softmax":
        return "Softmax", {"axis": _only(keywords, "axis", -1)}, first
    if name in ("identity", "stop_gradient"):
        _only(keywords, "")
        return "Identity", {}, first
    if name == "negative" or name == "neg":
        _only(keywords, "")
        return "Rescaling", {"scale": -1.0, "offset": 0.0}, first
    if name == "reshape":
        return "Reshape", {"target_shape": _target_shape(_only(keywords, "shape"))}, first
    if name == "transpose":
        return "Permute", {"dims": _permutation(_only(keywords, "perm"))}, first
    if name in ("reduce_mean", "reduce_max"):
        return _reduce(name, first, keywords)
    raise NoLayerError("this operator has no layer.")


def _only(keywords: dict[str, Any], name: str, default: Any = None) -> Any:
    """The one option that may be there."""
    rest = sorted(key for key in keywords if key != name)
    if rest:
        raise NoLayerError(f"the options {', '.join(rest)} have no mapping.")
    return keywords.get(name, default)


def _binary(name: str, first: Any, keywords: dict[str, Any]) -> Result:
    second = keywords.pop("y", None)
    if second is None:
        raise NoLayerError("its second argument is missing.")
    _only(keywords, "")
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        if name == "truediv":
            raise NoLayerError("dividing a tensor by a tensor is no layer.")
        return BINARY[name], {}, [first, second]
    if isinstance(first, Tensor):
        constant = _constant(second)
        if name == "add":
            return "Rescaling", {"scale": 1.0, "offset": constant}, first
        if name == "subtract":
            return "Rescaling", {"scale": 1.0, "offset": _map(constant, lambda c: -c)}, first
        if name == "multiply":
            return "Rescaling", {"scale": constant, "offset": 0.0}, first
        if name == "truediv" and not _has_zero(constant):
            return "Rescaling", {"scale": _map(constant, lambda c: 1.0 / c), "offset": 0.0}, first
        if name == "maximum" and constant == 0.0:
            return "ReLU", {}, first
    if isinstance(second, Tensor) and not isinstance(first, Tensor):
        constant = _constant(first)
        if name == "add":
            return "Rescaling", {"scale": 1.0, "offset": constant}, second
        if name == "subtract":
            return "Rescaling", {"scale": -1.0, "offset": constant}, second
        if name == "multiply":
            return "Rescaling", {"scale": constant, "offset": 0.0}, second
        if name == "maximum" and constant == 0.0:
            return "ReLU", {}, second
    raise NoLayerError("these arguments (constants and tensors) have no layer.")


def _constant(value: Any) -> Any:
    """A number, or one number for each place on the last axis."""
    while isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        value = value[0]
    if isinstance(value, bool):
        raise NoLayerError(f"the constant {value!r} is no number.")
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, list) and value and all(type(entry) in (int, float) for entry in value):
        return [float(entry) for entry in value]
    raise NoLayerError("the constant is neither a number nor one row of numbers.")


def _map(constant: Any, function: Any) -> Any:
    return [function(entry) for entry in constant] if isinstance(constant, list) else function(constant)


def _has_zero(constant: Any) -> bool:
    return 0.0 in (constant if isinstance(constant, list) else [constant])


def _ints(value: Any) -> list[int]:
    if not isinstance(value, list) or not all(type(entry) is int for entry in value):
        raise NoLayerError(f"expected fixed whole numbers, received {value!r}.")
    return value


def _target_shape(shape: Any) -> list[int]:
    sizes = _ints(shape)
    if len(sizes) < 2 or sizes[0] != -1 or any(size < 1 for size in sizes[1:]):
        raise NoLayerError(f"the shape {shape!r} is not [-1, fixed sizes], so it may move the batch axis.")
    return sizes[1:]


def _permutation(perm: Any) -> list[int]:
    axes = _ints(perm)
    if sorted(axes) != list(range(len(axes))) or axes[0] != 0 or len(axes) < 2:
        raise NoLayerError(f"perm={perm!r} moves the batch axis.")
    return axes[1:]


def _reduce(name: str, first: Any, keywords: dict[str, Any]) -> Result:
    keepdims = bool(keywords.pop("keepdims", False))
    axis = _only(keywords, "axis")
    rank = {"[1, 2]": 2, "[1, 2, 3]": 3, "1": 1, "[1]": 1}.get(repr(axis))
    if rank is None or rank == 1 or (name == "reduce_max" and rank != 2):
        raise NoLayerError(f"reducing over axis={axis!r} is no layer.")
    kind = "GlobalAveragePooling" if name == "reduce_mean" else "GlobalMaxPooling"
    return f"{kind}{rank}D", {"keepdims": keepdims, "data_format": "channels_last"}, first


def _slice(first: Any, keywords: dict[str, Any]) -> Result:
    """x[:, a:-b] and x[:, a:-b, c:-d] are croppings; Keras checks their rank when it builds."""
    spec = keywords.pop("slice_spec", None)
    _only(keywords, "")
    if not isinstance(first, Tensor) or not isinstance(spec, list):
        raise NoLayerError("only slices of one tensor by fixed numbers have a layer.")
    bounds = []
    for part in spec:
        if not isinstance(part, dict) or set(part) - {"start", "stop", "step"} or part.get("step") not in (None, 1):
            raise NoLayerError("indexing, ellipsis and steps are no layers.")
        start, stop = part.get("start") or 0, part.get("stop")
        if type(start) is not int or start < 0 or not (stop is None or (type(stop) is int and stop < 0)):
            raise NoLayerError("only slices counted from both ends (a:-b) are layers.")
        bounds.append([start, -(stop or 0)])
    if len(bounds) not in (2, 3, 4) or bounds[0] != [0, 0]:
        raise NoLayerError("only slices of 1 to 3 axes after the batch axis are layers.")
    crops = bounds[1:]
    return f"Cropping{len(crops)}D", {"cropping": crops[0] if len(crops) == 1 else crops}, first
