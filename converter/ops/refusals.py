"""What rows refuse by a layer's options and the shapes that it is given: asked of files as data, and of live layers.

Each function is a `Vet` (see base): it answers with the refusal, or None. Options that a file does not tell are None,
and no arguments are given where a file does not tell shapes; then it is the capture that finds out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from converter.ops.base import Given, Options, Refusal, Vet

FLOATS = ("float16", "bfloat16", "float32", "float64")


def either(*vets: Vet) -> Vet:
    """The first refusal of several."""

    def vet(option: Options, args: Sequence[Any]) -> Refusal | None:
        return next((found for each in vets if (found := each(option, args)) is not None), None)

    return vet


def one_unknown_length(option: Options, args: Sequence[Any]) -> Refusal | None:
    """Reshape: at most one length is left open."""
    wanted = tuple(-1 if d is None else d for d in option("target_shape") or ())
    if wanted.count(-1) <= 1:
        return None
    return Refusal(f"target_shape={wanted} has more than one unknown length.", "Give all lengths but one.")


def one_mask_value(option: Options, args: Sequence[Any]) -> Refusal | None:
    """Masking: one number stands for a masked step."""
    shape = _shape_of(option("mask_value"))
    return Refusal(f"mask_value is an array of shape {shape}.", "Use one number.") if math.prod(shape) != 1 else None


def last_axes(option: Options, args: Sequence[Any]) -> Refusal | None:
    """RMSNormalization: over the last axes."""
    axis, (x, *_) = option("axis"), (*args, None)
    if axis is None or not isinstance(x, Given):
        return None
    rank = len(x.shape)
    axes = sorted(a % rank for a in (axis if isinstance(axis, (list, tuple)) else (axis,)))
    if axes == list(range(rank - len(axes), rank)):
        return None
    why = f"Keras multiplies the scale of axis={axis} along the last axes, whichever they are."
    return Refusal(why, "Normalise over the last axes.")


def channel_axis(option: Options, args: Sequence[Any]) -> Refusal | None:
    """Normalisation per channel: an axis behind the batch, of an input that torch's modules take."""
    axis, (x, *_) = option("axis"), (*args, None)
    if axis is None or not isinstance(x, Given):
        return None
    axis, rank = axis[0] if isinstance(axis, (list, tuple)) else axis, len(x.shape)
    if rank > 5:
        return Refusal(f"its input has {rank} axes, and torch's module takes up to 5.", "Reshape its input before.")
    return Refusal("its channel axis is the batch axis.", "Use an axis behind it.") if axis % rank == 0 else None


def groups_of_several(option: Options, args: Sequence[Any]) -> Refusal | None:
    """GroupNormalization: a group has more than one value."""
    groups, (x, *_) = option("groups"), (*args, None)
    if isinstance(x, Given) and len(x.shape) == 2 and groups is not None and x.shape[1] in (groups, -groups):
        return Refusal("every group is a single value, whose deviation from its mean is 0.", "Use fewer groups.")
    return None


def noise_shape(option: Options, args: Sequence[Any]) -> Refusal | None:
    """Dropout: a noise shape for the input's axes."""
    given, (x, *_) = option("noise_shape"), (*args, None)
    if given is None or not isinstance(x, Given):
        return None
    missing = len(x.shape) - len(given)
    if missing < 0 or (missing and None in given):
        why = f"noise_shape={tuple(given)} does not fit an input of rank {len(x.shape)}."
        return Refusal(why, "Give one length for each axis.")
    return None


def float_images(option: Options, args: Sequence[Any]) -> Refusal | None:
    """Image layers that compute: a batch of float images."""
    (x, *_) = (*args, None)
    if isinstance(x, Given) and len(x.shape) != 4:
        return Refusal("it is called on a single image, not on a batch.", "Give the input a batch axis.")
    if isinstance(x, Given) and x.dtype not in FLOATS:
        return Refusal(f"it is called on {x.dtype} images.", "Give the input a float dtype, or cast before.")
    return None


def same_size(option: Options, args: Sequence[Any]) -> Refusal | None:
    """RandomCrop: images that have its size already."""
    (x, *_) = (*args, None)
    if not isinstance(x, Given) or len(x.shape) not in (3, 4) or option("height") is None:
        return None
    size = x.shape[-2:] if option("data_format") == "channels_first" else x.shape[-3:-1]
    wanted = (option("height"), option("width"))
    if size == wanted:
        return None
    why = (
        f"Keras versions differ in what it gives at inference for images of {size}: 3.15 the images as they "
        f"are, older ones their middle, resized to {wanted}."
    )
    return Refusal(why, "Use CenterCrop or Resizing, or crop before the model.")


def one_dtype(option: Options, args: Sequence[Any]) -> Refusal | None:
    """Concatenate: tensors of one dtype; a layer casts floats to its own."""
    if len({_kind(x) for x in args if isinstance(x, Given)}) > 1:
        return Refusal("it concatenates different dtypes.", "Cast them to one dtype before.")
    return None


def one_float(option: Options, args: Sequence[Any]) -> Refusal | None:
    """Merging: dtypes that meet in one float; a layer casts floats to its own."""
    kinds = {_kind(x) for x in args if isinstance(x, Given)}
    if len(kinds) > 1 and "float" not in kinds:
        return Refusal(f"it mixes the dtypes {', '.join(sorted(kinds))}.", "Cast them to one float dtype before.")
    return None


# Operations of keras.ops -------------------------------------------------------------------------------------------


def reductions(option: Options, args: Sequence[Any]) -> Refusal | None:
    """Reductions: over one axis or more, of floats."""
    axis, (x, *_) = option("axis"), (*args, None)
    if isinstance(axis, (tuple, list)) and not axis:
        return Refusal("axis=() reduces no axis.", "Leave it out.")
    if option("initial") is not None:
        return Refusal(f"initial={option('initial')} has no mapping.", "Add it behind the reduction.")
    if isinstance(x, Given) and x.dtype not in FLOATS:
        return Refusal(f"it reduces numbers of the dtype {x.dtype}.", "Cast them to floats before.")
    return None


def sums(option: Options, args: Sequence[Any]) -> Refusal | None:
    """The same, of integers as well."""
    whole = bool(args) and isinstance(args[0], Given) and args[0].dtype in ("int32", "int64")
    return reductions(option, args[1:] if whole else args)


def named_axes(option: Options, args: Sequence[Any]) -> Refusal | None:
    """Squeeze: the axes are named, so that a batch of one stays."""
    if option("axis") is None:
        return Refusal("it squeezes every axis of length 1, a batch of one too.", "Name the axes.")
    return None


def two_numbers(option: Options, args: Sequence[Any]) -> Refusal | None:
    """Clip: floats between two numbers."""
    bounds, (x, *_) = (option("x_min"), option("x_max")), (*args, None)
    kind = x.dtype if isinstance(x, Given) else "float32"
    if any(isinstance(b, bool) or not isinstance(b, (int, float)) for b in bounds) or kind not in FLOATS:
        return Refusal(f"clipping {kind} to {bounds} has no mapping.", "Clip floats between two numbers.")
    return None


def floats(option: Options, args: Sequence[Any]) -> Refusal | None:
    """Functions of floats, for Keras's backends make different things of integers."""
    (x, *_) = (*args, None)
    if isinstance(x, Given) and x.dtype not in FLOATS:
        return Refusal(f"it takes numbers of the dtype {x.dtype}.", "Cast them to floats before.")
    return None


def only_tensors(option: Options, args: Sequence[Any]) -> Refusal | None:
    """Stack: tensors of the model."""
    if any(not isinstance(x, Given) for part in args for x in (part if isinstance(part, (list, tuple)) else [part])):
        return Refusal("it stacks arrays with tensors of the model.", "Give the arrays as weights or inputs.")
    return None


def number_around(option: Options, args: Sequence[Any]) -> Refusal | None:
    """Pad: floats with a number, behind the batch axis."""
    (x, value, *_) = (*args, None, None)
    value = 0.0 if value is None else value
    if option("mode") != "constant" or isinstance(value, bool) or not isinstance(value, (int, float)):
        return Refusal(f"padding with mode={option('mode')!r} and {value!r} has no mapping.", "Pad with a number.")
    pairs = [tuple(pair) for pair in option("pad_width") or ()]
    kind = x.dtype if isinstance(x, Given) else "float32"
    if kind not in FLOATS or (pairs and pairs[0] != (0, 0)) or any(min(pair) < 0 for pair in pairs):
        return Refusal(f"padding {kind} by {pairs} has no mapping.", "Pad floats, behind the batch axis.")
    return None


def plain_subscription(option: Options, args: Sequence[Any]) -> Refusal | None:
    """GetItem: integers, slices with positive steps, an ellipsis, new axes."""
    if len(args) < 2:
        return None
    key = args[1]
    for item in key if isinstance(key, (tuple, list)) else [key]:
        if not (item is None or item is Ellipsis or isinstance(item, (int, slice))) or isinstance(item, bool):
            return Refusal(f"the subscription [{key!r}] has no mapping.", "Use integers and slices of integers.")
        bounds = (item.start, item.stop, item.step) if isinstance(item, slice) else ()
        if any(not (b is None or isinstance(b, int)) for b in bounds) or (bounds and (bounds[2] or 1) < 1):
            return Refusal(f"the subscription [{key!r}] has no mapping.", "Use positive steps and integer bounds.")
    return None


def _kind(x: Given) -> str:
    return "float" if x.dtype in FLOATS else x.dtype


def _shape_of(value: Any) -> tuple[int, ...]:
    """The shape of a number, of nested lists, of an array, or of an array as Keras writes it into a configuration."""
    if isinstance(value, dict):
        inner = value.get("config")
        return _shape_of(inner.get("value") if isinstance(inner, dict) else inner)
    if isinstance(value, (list, tuple)):
        return (len(value), *(_shape_of(value[0]) if value else ()))
    return tuple(getattr(value, "shape", ()))
