"""The dtypes that a Keras layer sees: floats become the one that it computes in, and integers what its class makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from converter.ops.base import Builder, Refusal
from converter.ops.cast import Cast

KEPT = frozenset(
    {
        "ActivityRegularization",
        "Add",
        "Average",
        "Concatenate",
        "Embedding",
        "Flatten",
        "Identity",
        "Masking",
        "ReversibleEmbedding",
    }
    | {"Maximum", "Minimum", "Multiply", "Permute", "RepeatVector", "Reshape", "Subtract"}
    | {f"{kind}{rank}D" for kind in ("Cropping", "UpSampling", "ZeroPadding") for rank in (1, 2, 3)}
    | {"MixUp", "RandomBrightness", "RandomColorDegeneration", "RandomColorJitter", "RandomContrast", "RandomCrop"}
    | {"RandomGrayscale", "RandomHue", "RandomInvert", "RandomPosterization", "RandomSaturation"}
    | {"CenterCrop", "Resizing"}
)
"""Layers that are given integers as they are."""
UNCAST = frozenset({"RandomCrop"})
"""Layers that are given floats as they are, too."""
ROUNDED = frozenset({"GroupNormalization", "LayerNormalization"})
"""Layers without autocast: what they give is rounded to the dtype of their input before it becomes their own."""
THROUGH_FLOATS = frozenset(f"{kind}{rank}D" for kind in ("GlobalMaxPooling", "MaxPooling") for rank in (1, 2, 3))
"""Layers that pick some of their input's numbers: they give integers back, and floats that hold them do as well."""
FLOATS_ALONE = frozenset(
    {f"{kind}{rank}D" for kind in ("AveragePooling", "GlobalAveragePooling") for rank in (1, 2, 3)}
    | {"AlphaDropout", "Dot"}
    | {"Dropout", "GaussianDropout", "GaussianNoise", "GroupNormalization", "LayerNormalization"}
    | {"RMSNormalization", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "SpectralNormalization"}
    | {"PReLU", "StochasticDepth"}
)
"""Layers that Keras rounds or overflows in where they are given integers, whatever their dtype."""
WIDE = frozenset({"CenterCrop", "Resizing", "UnitNormalization", "UpSampling2D"})
"""Layers that torch computes in float32 where it can do them in half precision not at all, or not without overflow."""
HALVES = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
WIDTHS = {ir.DataType.FLOAT: 24, ir.DataType.DOUBLE: 53}


def of(name: Any) -> ir.DataType:
    """Keras's name of a dtype; Refusal for one that tensors of numbers do not have."""
    try:
        return ir.DataType.from_numpy(np.dtype(str(name)))
    except TypeError as error:
        raise Refusal(f"there is no mapping for the dtype {name}.") from error


def computing(layer: Any) -> ir.DataType:
    """The dtype that the converted layer computes in: of a mixed policy, that of its variables."""
    return of(layer.variable_dtype)


def inputs(g: Builder, layer: Any, values: Sequence[Any]) -> list[Any]:
    """The arguments as the layer computes with them; nested ones stay as they are. Refusal for what it rounds."""
    return [_input(g, layer, x) if isinstance(x, ir.Value) and x.dtype is not None else x for x in values]


def _input(g: Builder, layer: Any, x: ir.Value) -> ir.Value:
    cls, dtype = type(layer).__name__, ir.DataType(x.dtype or ir.DataType.FLOAT)
    if dtype.is_floating_point():
        if cls in UNCAST:
            return x
        x = cast(g, x, computing(layer))
        return cast(g, x, ir.DataType.FLOAT) if _widened(layer) else x
    if cls in FLOATS_ALONE or (cls == "UpSampling2D" and layer.interpolation != "nearest"):
        raise Refusal(f"it rounds or overflows on {dtype.name} numbers.", "Cast them to floats before.")
    if cls in KEPT:
        return x
    if cls in ("Activation", "ReLU"):
        if not _keeps(layer, dtype):
            raise Refusal(f"as an activation of {dtype.name} numbers it has no mapping.", "Cast them to floats before.")
        return x
    return cast(g, x, _holding(dtype) if cls in THROUGH_FLOATS else computing(layer))


def floats(g: Builder, layer: Any, value: Any) -> Any:
    """An argument beside the first, a mask or states for instance, in its structure: Keras casts floats alone."""
    if isinstance(value, (list, tuple)):
        return type(value)(floats(g, layer, part) for part in value)
    known = isinstance(value, ir.Value) and value.dtype is not None and value.dtype.is_floating_point()
    return cast(g, value, computing(layer)) if known else value


def output(g: Builder, layer: Any, given: Any, result: Any) -> Any:
    """What the row gave, in the dtype that Keras gives back for the layer's first argument."""
    if isinstance(result, (list, tuple)):
        return [output(g, layer, given, part) for part in result]
    if not isinstance(given, ir.Value) or given.dtype is None or not isinstance(result, ir.Value):
        return result
    cls = type(layer).__name__
    if given.dtype.is_floating_point():
        rounded = cast(g, result, given.dtype) if cls in ROUNDED else result
        return cast(g, rounded, computing(layer)) if cls in ROUNDED or _widened(layer) else rounded
    return cast(g, result, given.dtype) if cls in THROUGH_FLOATS else result


def operation(g: Builder, expected: Any, x: ir.Value) -> ir.Value:
    """An argument of a keras.ops operation that gives floats for integers: Keras casts them to the float it gives."""
    floating = x.dtype is None or x.dtype.is_floating_point()
    return x if floating or "float" not in str(expected) else cast(g, x, of(expected))


def alike(value: ir.Value, tensor: Any) -> bool:
    """Whether a value has the dtype that Keras's tensor says, up to the width of floats (policies may be mixed)."""
    if value.dtype is None:
        return True
    said = of(tensor.dtype)
    return value.dtype == said or (value.dtype.is_floating_point() and said.is_floating_point())


def cast(g: Builder, x: ir.Value, to: ir.DataType) -> ir.Value:
    """`x` in a dtype, itself where it has it already."""
    return x if x.dtype == to else g.op(Cast(to=int(to)), x, role="cast")


def _widened(layer: Any) -> bool:
    if type(layer).__name__ not in WIDE or computing(layer) not in HALVES:
        return False
    return type(layer).__name__ != "UpSampling2D" or layer.interpolation not in ("nearest", "bilinear")


def _keeps(layer: Any, dtype: ir.DataType) -> bool:
    """Whether the activation gives integers back: none at all, and relu without options of numbers with a sign."""
    signed = dtype in (ir.DataType.INT8, ir.DataType.INT16, ir.DataType.INT32, ir.DataType.INT64)
    if type(layer).__name__ == "ReLU":
        return signed and layer.max_value is None and not layer.negative_slope and not layer.threshold
    named = getattr(layer.activation, "__name__", "")
    return named == "linear" or (signed and named == "relu")


def _holding(dtype: ir.DataType) -> ir.DataType:
    """The smallest float dtype that holds every number of an integer dtype."""
    bits = 1 if dtype == ir.DataType.BOOL else dtype.bitwidth
    for kind, width in WIDTHS.items():
        if bits <= width:
            return kind
    raise Refusal(f"it picks from numbers of the dtype {dtype.name}, which no float holds.", "Cast them to int32.")
