"""Operators on tensors in tf.keras 2 files (`TFOpLambda`, `SlicingOpLambda`) as layers and operations of Keras 3.

What a layer or an operation of keras.ops says exactly is read; the rest is refused by its name, all at once. The
file's own name of the function is only looked up in the tables here, and never imported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from converter.files.repairs import Layer, Reading

CLASSES = frozenset({"TFOpLambda", "SlicingOpLambda"})
SAME = {"sub": "subtract", "mul": "multiply", "divide": "truediv", "div": "truediv", "neg": "negative"}
BINARY = {
    "add": "Add",
    "subtract": "Subtract",
    "multiply": "Multiply",
    "truediv": "TrueDivide",
    "maximum": "Maximum",
    "minimum": "Minimum",
    "pow": "Power",
}
UNARY = {
    "abs": "Absolute",
    "negative": "Negative",
    "rsqrt": "Rsqrt",
    "sqrt": "Sqrt",
    "square": "Square",
}
REDUCTIONS = {"reduce_mean": "Mean", "reduce_sum": "Sum", "reduce_max": "Max", "reduce_min": "Min"}
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


@dataclass
class Made:
    """What an operator becomes: a layer or an operation of Keras, its options, and the arguments of its call."""

    kind: str
    options: dict[str, Any]
    first: Any
    keywords: dict[str, Any] = field(default_factory=dict)
    operation: bool = False


@dataclass(frozen=True)
class NoLayerError(Exception):
    """Why an operator has no layer."""

    why: str


def rewrite(layer: Layer, calls: list[Call], reading: Reading, where: str) -> None:
    """Turn the operator into a layer or an operation in place, its only call along with it."""
    function = str(layer["config"].get("function", layer["config"].get("name", "")))
    try:
        if len(calls) != 1:
            raise NoLayerError(f"it is called {len(calls)} times; expected one call.")
        call = calls[0]
        keywords = {key: value for key, value in call.keywords.items() if key not in IGNORED and value is not None}
        if layer["class_name"] == "SlicingOpLambda":
            made = _slice(call.first, keywords)
        else:
            made = _operator(_short(function), call.first, keywords, _constants(layer["config"].get("dtype")))
    except NoLayerError as error:
        reading.refuse(where, f"{layer['class_name']} {function}", error.why, "Replace it by a Keras layer.")
        return
    shown = [f"{key}={value!r}" for key, value in made.options.items()]
    shown += [f"{key}={_shown(value)}" for key, value in made.keywords.items() if not isinstance(value, Tensor)]
    reading.log("tf-operator", where, f"{function} is now {made.kind}({', '.join(shown)})")
    layer["class_name"] = made.kind
    layer["module"] = "keras.ops" if made.operation else "keras.layers"
    layer.pop("registered_name", None)
    kept = ("name",) if made.operation else ("name", "trainable", "dtype")
    layer["config"] = {key: layer["config"][key] for key in kept if key in layer["config"]} | made.options
    call.first, call.keywords = made.first, made.keywords


def _short(function: str) -> str:
    changed = True
    while changed:
        changed = False
        for prefix in PREFIXES:
            if function.startswith(prefix):
                function, changed = function[len(prefix) :], True
    return SAME.get(function, function)


def _shown(value: Any) -> str:
    if not isinstance(value, list):
        return "[...]" if isinstance(value, dict) else repr(value)
    return f"[{', '.join(_shown_item(item) for item in value)}]"


def _shown_item(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    if item["class_name"] == "__ellipsis__":
        return "..."
    bounds = [item["config"][key] for key in ("start", "stop", "step")]
    text = ":".join("" if bound is None else str(bound) for bound in bounds)
    return text[:-1] if bounds[2] is None else text


def _operator(name: str, first: Any, keywords: dict[str, Any], dtype: str) -> Made:
    if name in BINARY:
        return _binary(name, first, keywords, dtype)
    if name in JOINS:
        tensors = first if isinstance(first, list) else [first]
        if not tensors or not all(isinstance(tensor, Tensor) for tensor in tensors):
            raise NoLayerError("it joins constants, or no tensors.")
        return JOINS[name](tensors, keywords)
    if not isinstance(first, Tensor):
        raise NoLayerError("its first argument is no single tensor.")
    if name in ACTIVATIONS:
        _only(keywords, "")
        return Made("Activation", {"activation": ACTIVATIONS[name]}, first)
    if name in UNARY:
        _only(keywords, "")
        return Made(UNARY[name], {}, first, operation=True)
    if name in REDUCTIONS:
        return _reduce(name, first, keywords)
    if name in OTHERS:
        return OTHERS[name](first, keywords)
    raise NoLayerError("this operator has no layer and no operation of its own.")


def _only(keywords: dict[str, Any], name: str, default: Any = None) -> Any:
    """The one option that may be there."""
    rest = sorted(key for key in keywords if key != name)
    if rest:
        raise NoLayerError(f"the options {', '.join(rest)} have no mapping.")
    return keywords.get(name, default)


def _binary(name: str, first: Any, keywords: dict[str, Any], dtype: str) -> Made:
    """Operations, not merging layers: these broadcast as TensorFlow does, and take numbers and arrays."""
    second = keywords.pop("y", None)
    if second is None:
        raise NoLayerError("its second argument is missing.")
    _only(keywords, "")
    if not isinstance(first, Tensor) and not isinstance(second, Tensor):
        raise NoLayerError("none of its arguments is a tensor.")
    return Made(BINARY[name], {}, _operand(first, dtype), {"x2": _operand(second, dtype)}, operation=True)


def _constants(dtype: Any) -> str:
    """The dtype that arrays in the arguments have."""
    return dtype if dtype in ("float16", "float64") else "float32"


def _operand(value: Any, dtype: str) -> Any:
    """A tensor, a number, or an array in the form that Keras 3 writes it."""
    if isinstance(value, Tensor) or _is_number(value):
        return value
    kinds: set[type] = set()
    if not isinstance(value, list) or _lengths(value, kinds) is None:
        raise NoLayerError(f"the constant {value!r:.60} is neither a number nor an array of numbers.")
    return {"class_name": "__numpy__", "config": {"value": value, "dtype": "int32" if kinds == {int} else dtype}}


def _lengths(value: Any, kinds: set[type]) -> tuple[int, ...] | None:
    """The shape of nested lists of numbers, whose types enter `kinds`; None where they are none."""
    if _is_number(value):
        kinds.add(type(value))
        return ()
    if not isinstance(value, list) or not value:
        return None
    inner = {_lengths(entry, kinds) for entry in value}
    first = inner.pop()
    return None if inner or first is None else (len(value), *first)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _clip(first: Tensor, keywords: dict[str, Any]) -> Made:
    low, high = keywords.pop("clip_value_min", None), keywords.pop("clip_value_max", None)
    _only(keywords, "")
    if not _is_number(low) or not _is_number(high):
        raise NoLayerError("only clipping between two numbers is an operation.")
    return Made("Clip", {"x_min": low, "x_max": high}, first, operation=True)


def _reduce(name: str, first: Tensor, keywords: dict[str, Any]) -> Made:
    keepdims = keywords.pop("keepdims", keywords.pop("keep_dims", False))
    axes = _axes(_only(keywords, "axis"))
    return Made(REDUCTIONS[name], {"axis": axes, "keepdims": bool(keepdims)}, first, operation=True)


def _cast(first: Tensor, keywords: dict[str, Any]) -> Made:
    dtype = _only(keywords, "dtype")
    if not isinstance(dtype, str):
        raise NoLayerError(f"dtype={dtype!r} has no mapping.")
    return Made("Cast", {"dtype": dtype}, first, operation=True)


def _gelu(first: Tensor, keywords: dict[str, Any]) -> Made:
    if _only(keywords, "approximate", False):
        raise NoLayerError("gelu with approximate=True is no layer of its own.")
    return Made("Activation", {"activation": "gelu"}, first)


def _relu(first: Tensor, keywords: dict[str, Any]) -> Made:
    options = {"max_value": keywords.pop("max_value", None), "threshold": keywords.pop("threshold", 0.0)}
    slope = keywords.pop("alpha", keywords.pop("negative_slope", 0.0))
    _only(keywords, "")
    return Made("ReLU", {"negative_slope": slope} | options, first)


def _leaky_relu(first: Tensor, keywords: dict[str, Any]) -> Made:
    return Made("LeakyReLU", {"negative_slope": _only(keywords, "alpha", 0.2)}, first)


def _softmax(first: Tensor, keywords: dict[str, Any]) -> Made:
    return Made("Softmax", {"axis": _int(_only(keywords, "axis", -1))}, first)


def _log_softmax(first: Tensor, keywords: dict[str, Any]) -> Made:
    if _only(keywords, "axis", -1) != -1:
        raise NoLayerError("log_softmax over another axis than the last is no layer.")
    return Made("Activation", {"activation": "log_softmax"}, first)


def _identity(first: Tensor, keywords: dict[str, Any]) -> Made:
    _only(keywords, "")
    return Made("Identity", {}, first)


def _int(value: Any) -> int:
    if type(value) is not int:
        raise NoLayerError(f"expected a fixed whole number, received {value!r:.60}.")
    return value


def _ints(value: Any) -> list[int]:
    if not isinstance(value, list) or not all(type(entry) is int for entry in value):
        raise NoLayerError(f"expected fixed whole numbers, received {value!r:.60}.")
    return value


def _axes(axis: Any) -> list[int]:
    """One axis or several, none of them the batch's."""
    axes = _ints(axis if isinstance(axis, list) else [] if axis is None else [axis])
    if not axes or 0 in axes:
        raise NoLayerError(f"axis={axis!r} takes the batch axis.")
    return axes


def _concat(tensors: list[Tensor], keywords: dict[str, Any]) -> Made:
    axis = _axes(_int(_only(keywords, "axis", -1)))[0]
    return Made("Concatenate", {"axis": axis}, tensors) if len(tensors) > 1 else Made("Identity", {}, tensors[0])


def _stack(tensors: list[Tensor], keywords: dict[str, Any]) -> Made:
    return Made("Stack", {"axis": _axes(_int(_only(keywords, "axis", 0)))[0]}, tensors, operation=True)


def _sum_of(tensors: list[Tensor], keywords: dict[str, Any]) -> Made:
    _only(keywords, "")
    return Made("Add", {}, tensors) if len(tensors) > 1 else Made("Identity", {}, tensors[0])


def _reshape(first: Tensor, keywords: dict[str, Any]) -> Made:
    shape = _only(keywords, "shape")
    sizes = _ints(shape)
    if len(sizes) < 2 or sizes[0] != -1 or any(size < 1 for size in sizes[1:]):
        raise NoLayerError(f"the shape {shape!r} is not [-1, fixed sizes], so it may move the batch axis.")
    return Made("Reshape", {"target_shape": sizes[1:]}, first)


def _transpose(first: Tensor, keywords: dict[str, Any]) -> Made:
    perm = _only(keywords, "perm")
    axes = _ints(perm)
    if sorted(axes) != list(range(len(axes))) or len(axes) < 2 or axes[0] != 0:
        raise NoLayerError(f"perm={perm!r} moves the batch axis.")
    return Made("Permute", {"dims": axes[1:]}, first)


def _expand_dims(first: Tensor, keywords: dict[str, Any]) -> Made:
    return Made("ExpandDims", {"axis": _axes(_int(_only(keywords, "axis")))[0]}, first, operation=True)


def _squeeze(first: Tensor, keywords: dict[str, Any]) -> Made:
    axes = keywords.pop("axis", keywords.pop("squeeze_dims", None))
    _only(keywords, "")
    return Made("Squeeze", {"axis": _axes(axes)}, first, operation=True)


def _pad(first: Tensor, keywords: dict[str, Any]) -> Made:
    pairs, mode = keywords.pop("paddings", None), keywords.pop("mode", "CONSTANT")
    value = keywords.pop("constant_values", 0)
    _only(keywords, "")
    if str(mode).upper() != "CONSTANT" or not _is_number(value):
        raise NoLayerError(f"padding with mode={mode!r} and {value!r:.60} has no mapping.")
    widths = [_ints(pair) for pair in pairs] if isinstance(pairs, list) else []
    if not widths or any(len(pair) != 2 or min(pair) < 0 for pair in widths) or widths[0] != [0, 0]:
        raise NoLayerError(f"paddings={pairs!r:.60} are no fixed pairs behind the batch axis.")
    return Made("Pad", {"pad_width": widths, "mode": "constant"}, first, {"constant_values": value}, operation=True)


def _slice(first: Any, keywords: dict[str, Any]) -> Made:
    """A subscription by numbers, in the form that Keras 3 writes it."""
    spec = keywords.pop("slice_spec", None)
    _only(keywords, "")
    if not isinstance(first, Tensor):
        raise NoLayerError("it takes a part of no tensor.")
    key = [_item(part) for part in (spec if isinstance(spec, list) else [spec])]
    everything = {"class_name": "__slice__", "config": {"start": None, "stop": None, "step": None}}
    if not key or key[0] not in (everything, ELLIPSIS):
        raise NoLayerError("it takes the batch axis apart.")
    if key.count(ELLIPSIS) > 1:
        raise NoLayerError("it has more than one ellipsis.")
    return Made("GetItem", {}, first, {"key": key}, operation=True)


ELLIPSIS = {"class_name": "__ellipsis__", "config": {}}


def _item(part: Any) -> Any:
    if part is None or type(part) is int:
        return part
    if isinstance(part, dict) and part.get("class_name") == "__ellipsis__":
        return ELLIPSIS
    if not isinstance(part, dict) or set(part) - {"start", "stop", "step"}:
        raise NoLayerError("only fixed numbers, slices, an ellipsis and new axes are an operation.")
    bounds = {key: part.get(key) for key in ("start", "stop", "step")}
    if any(bound is not None and type(bound) is not int for bound in bounds.values()):
        raise NoLayerError("the bounds of a slice are no fixed whole numbers.")
    if bounds["step"] is not None and bounds["step"] < 1:
        raise NoLayerError(f"a slice with the step {bounds['step']} is no operation.")
    if bounds["step"] == 1:
        bounds["step"] = None
    return {"class_name": "__slice__", "config": bounds}


JOINS: dict[str, Callable[[list[Tensor], dict[str, Any]], Made]] = {
    "concat": _concat,
    "concatenate": _concat,
    "stack": _stack,
    "add_n": _sum_of,
}
OTHERS: dict[str, Callable[[Tensor, dict[str, Any]], Made]] = {
    "cast": _cast,
    "clip_by_value": _clip,
    "expand_dims": _expand_dims,
    "gelu": _gelu,
    "identity": _identity,
    "leaky_relu": _leaky_relu,
    "log_softmax": _log_softmax,
    "pad": _pad,
    "relu": _relu,
    "reshape": _reshape,
    "softmax": _softmax,
    "squeeze": _squeeze,
    "stop_gradient": _identity,
    "transpose": _transpose,
}
