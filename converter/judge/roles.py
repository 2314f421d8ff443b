"""How a layer's own weights and settings are called in either framework, and how a kernel lies: the usual, as a measure
for what a wrong layer may be wrong in. What a conversion really did is in its mapping; this is for causes alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .compare import Array

KERAS = {
    "weight": ("kernel", "depthwise_kernel", "embeddings", "gamma", "alpha"),
    "bias": ("bias", "beta"),
    "running_mean": ("moving_mean",),
    "running_var": ("moving_variance",),
}
"""PyTorch's name -> Keras's."""
SETTINGS = {
    "eps": "epsilon",
    "stride": "strides",
    "dilation": "dilation_rate",
    "kernel_size": "pool_size",
    "negative_slope": "negative_slope",
    "groups": "groups",
}
"""PyTorch's attribute -> Keras's."""


def matched(source: Mapping[str, Array], target: Mapping[str, Array]) -> dict[str, str]:
    """The source's names of weights -> the target's, for two layers."""
    found: dict[str, str] = {}
    for one in source:
        for two in target:
            same = one == two or two in KERAS.get(one, ()) or one in KERAS.get(two, ())
            if same and one not in found and two not in found.values():
                found[one] = two
    return found


def expected(array: Array, name: str, shape: tuple[int, ...]) -> Array | None:
    """The source's weight as the target's of that name and shape usually is; None where nothing usual fits."""
    kernels = ("kernel", "depthwise_kernel", "pointwise_kernel")
    tries: list[Array] = []
    rank = array.ndim
    if name in kernels and rank > 2:  # towards Keras, from (out, in, spatial)
        if name == "depthwise_kernel":
            channels, many = shape[-2:]
            if array.shape[0] == channels * many:
                split = array.reshape(channels, many, *array.shape[2:])
                tries.append(split.transpose(*range(2, rank), 0, 1))
        tries.append(array.transpose(*range(2, rank), 1, 0))
    elif name == "weight" and rank > 2:
        tries.append(array.transpose(rank - 1, rank - 2, *range(rank - 2)))
        tries.append(array.transpose(rank - 2, rank - 1, *range(rank - 2)))
        if array.size == np.prod(shape):
            tries[-1] = tries[-1].reshape(shape) if tries[-1].shape != shape else tries[-1]
    elif rank == 2 and name in (*kernels, "weight"):
        tries.append(array.T)
    if name not in kernels:
        tries.append(array)
    return next((each for each in tries if each.shape == tuple(shape)), None)


def settings(source: Any, target: Any, to: str) -> dict[str, tuple[Any, Any]]:
    """The target's attribute -> (what it is, what the source's says), where both have it and they differ."""
    found: dict[str, tuple[Any, Any]] = {}
    for torch_name, keras_name in SETTINGS.items():
        one, two = (torch_name, keras_name) if to == "torch" else (keras_name, torch_name)
        if not hasattr(target, one) or not hasattr(source, two):
            continue
        ours, theirs = getattr(source, two), getattr(target, one)
        if ours is not None and theirs is not None and _wide(ours, theirs) != _wide(theirs, ours):
            found[one] = (theirs, _like(ours, theirs))
    return found


def pads_of(source: Any, lengths: tuple[int, ...]) -> list[tuple[int, int]] | None:
    """What a layer puts before and behind each spatial axis by itself; None where it is none that pads."""
    own = getattr(source, "padding", None)
    if isinstance(own, int | tuple) and hasattr(source, "stride"):
        return [(each, each) for each in _wide(own, lengths)]
    size = getattr(source, "kernel_size", None) or getattr(source, "pool_size", None)
    if getattr(source, "padding", None) != "same" or size is None or not hasattr(source, "strides"):
        return None
    found = []
    sizes, steps, gaps = (
        _wide(value, lengths) for value in (size, source.strides, getattr(source, "dilation_rate", 1))
    )
    for length, wide, step, gap in zip(lengths, sizes, steps, gaps, strict=False):
        total = max((-(-length // step) - 1) * step + (wide - 1) * gap + 1 - length, 0)
        found.append((total // 2, total - total // 2))
    return found


def _wide(value: Any, other: Any) -> Any:
    """A number for every axis as a tuple."""
    if isinstance(value, (list, tuple)):
        return tuple(value)
    return (value,) * len(other) if isinstance(other, (list, tuple)) else value


def _like(value: Any, other: Any) -> Any:
    """The value in the other's form."""
    if isinstance(other, tuple):
        return _wide(value, other)
    if isinstance(value, (list, tuple)) and len(set(value)) == 1:
        return value[0]
    return value
