"""Modules and layers whose weights are computed: the function that takes them as arguments.

A module makes its own weights. One that reads a weight which the model computes (a normalised kernel, a product of two
parameters) becomes the call of a function; weights that are beside it, and are not computed, become loose parameters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import onnx_ir as ir

from converter.ops.dot import lettered
from converter.ops.records import Call, Infix, Layer, Module, Record, Ref, rewritten

CONV = ("stride", "padding", "output_padding", "dilation", "groups")


def for_torch(record: Record) -> Record:
    """The record with functions of torch.nn.functional for modules with computed weights."""
    return _each(record, Module, lambda m: _torch(m) if any(_computed(v) for v in m.weights.values()) else None)


def for_keras(record: Record) -> Record:
    """The record with functions of keras.ops for layers with computed weights."""
    return _each(record, Layer, lambda m: _keras(m) if any(_computed(v) for v, _ in m.weights.values()) else None)


def _each(record: Any, kind: type[Any], change: Any) -> Record:
    made: Record = rewritten(record, lambda part: change(part) if isinstance(part, kind) else None)
    return made


def _computed(value: ir.Value) -> bool:
    return value.const_value is None


def _torch(module: Module) -> Record:
    inputs = tuple(for_torch(each) for each in module.inputs)
    weights: dict[str, Any] = {name: Ref(value) for name, value in module.weights.items()}
    weight, bias = weights.get("weight"), weights.get("bias")
    settings = dict(module.kwargs)
    match = re.fullmatch(r"nn\.(Conv|ConvTranspose)(\d)d", module.cls)
    if match is not None and settings.get("padding_mode", "zeros") == "zeros":
        kept = {name: settings[name] for name in CONV if name in settings}
        name = {"Conv": "F.conv", "ConvTranspose": "F.conv_transpose"}[match[1]]
        return Call(f"{name}{match[2]}d", (*inputs, weight, *_given(bias)), kept)
    if module.cls == "nn.Linear":
        return Call("F.linear", (*inputs, weight, *_given(bias)))
    if module.cls == "nn.Embedding":
        return Call("F.embedding", (*inputs, weight))
    if module.cls in ("nn.LayerNorm", "nn.RMSNorm"):
        size = module.args[0] if isinstance(module.args[0], tuple) else (module.args[0],)
        name = {"nn.LayerNorm": "F.layer_norm", "nn.RMSNorm": "F.rms_norm"}[module.cls]
        return Call(name, (*inputs, size), {**weights, "eps": settings["eps"]})
    if module.cls == "nn.GroupNorm":
        return Call("F.group_norm", (*inputs, module.args[0]), {**weights, "eps": settings["eps"]})
    raise LookupError(f"the weights of {module.cls} are computed, and PyTorch has no function that takes them")


def _given(bias: Any) -> tuple[Any, ...]:
    return () if bias is None else (bias,)


def _keras(layer: Layer) -> Record:
    (x,) = (for_keras(each) for each in layer.inputs)
    weights = {name: _turned(value, axes) for name, (value, axes) in layer.weights.items()}
    kernel, bias = weights.get("kernel"), weights.get("bias")
    match = re.fullmatch(r"(Conv|DepthwiseConv)\dD(Transpose)?", layer.cls)
    made: Record
    if match is not None:
        names = ("strides", "padding", "output_padding", "dilation_rate")
        kept = {name: layer.kwargs[name] for name in names if name in layer.kwargs}
        if kept.get("padding") == "causal" or "depth_multiplier" in layer.kwargs:
            raise LookupError(f"the weights of {layer.cls} are computed, and keras.ops has no such padding")
        if layer.kwargs.get("groups", 1) != 1:
            raise LookupError(f"the weights of {layer.cls} are computed, and keras.ops.conv takes no groups")
        kind = {"Conv": "conv", "DepthwiseConv": "depthwise_conv"}[match[1]] + ("_transpose" if match[2] else "")
        made = Call(f"ops.{kind}", (x, kernel), {**kept, "data_format": "channels_last"})
    elif layer.cls == "Dense":
        made = Infix("@", x, kernel)
    elif layer.cls == "EinsumDense":
        made = Call("ops.einsum", (lettered(layer.kwargs["equation"]), x, kernel))
    elif layer.cls == "Embedding":
        made = Call("ops.take", (weights["embeddings"], x), {"axis": 0})
    elif layer.cls in ("LayerNormalization", "GroupNormalization"):
        return _normalised(layer, x, weights)
    else:
        raise LookupError(f"the weights of {layer.cls} are computed, and keras.ops has no function that takes them")
    return made if bias is None else Infix("+", made, bias)


def _normalised(layer: Layer, x: Any, weights: Mapping[str, Any]) -> Record:
    """The layer without weights, then scaled and shifted along its last axis."""
    axes = layer.kwargs.get("axis", (-1,))
    if len(axes) != 1 and layer.cls == "LayerNormalization":
        raise LookupError(f"the weights of {layer.cls} over {len(axes)} axes are computed")
    made: Record = Layer(layer.cls, {**layer.kwargs, "scale": False, "center": False}, inputs=(x,))
    if "gamma" in weights:
        made = Infix("*", made, weights["gamma"])
    return Infix("+", made, weights["beta"]) if "beta" in weights else made


def _turned(value: ir.Value, axes: tuple[int, ...] | None) -> Any:
    """A weight in the axis order of Keras."""
    if axes is None or axes == tuple(range(len(axes))):
        return Ref(value)
    return Call("ops.transpose", (Ref(value), axes))
