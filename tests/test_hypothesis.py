"""Windows of every kind against their definitions, in float64: kernel x stride x dilation x padding x size.

The oracles below are loops over the definitions that TensorFlow documents; no framework computes them.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import keras
import numpy as np
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import converter

BOUNDED = settings(
    max_examples=250, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
TOLERANCE = 1e-10


def converted(shape: tuple[int | None, ...], layer: Any, data: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """What the converted model answers in float64 to channels-last data, and the layer's weights."""
    x = keras.Input(shape)
    model = keras.Model(x, layer(x))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(0.0, 0.5, weight.shape))
    target = converter.convert(model, "torch", layout="source", verify=False).model.double()
    with torch.no_grad():
        made = target(torch.from_numpy(data)).numpy()
    return made, [np.asarray(keras.ops.convert_to_numpy(w), np.float64) for w in model.weights]


def same(size: int, kernel: int, stride: int, rate: int) -> tuple[int, int]:
    """(outputs, elements in front) of TensorFlow's 'same'."""
    outputs = math.ceil(size / stride)
    total = max((outputs - 1) * stride + (kernel - 1) * rate + 1 - size, 0)
    return outputs, total // 2


def geometry(
    sizes: list[int], kernel: list[int], stride: list[int], rate: list[int], padding: str
) -> list[tuple[int, int]]:
    """(outputs, elements in front) per axis."""
    found = []
    for n, k, s, d in zip(sizes, kernel, stride, rate, strict=True):
        reach = (k - 1) * d + 1
        if padding == "same":
            found.append(same(n, k, s, d))
        elif padding == "causal":
            found.append((math.ceil(n / s), reach - 1))
        else:
            found.append(((n - reach) // s + 1, 0))
    return found


def positions(axes: list[tuple[int, int]], kernel: list[int], stride: list[int], rate: list[int]) -> Any:
    """Every (output position, kernel position, input position)."""
    for out in itertools.product(*(range(count) for count, _ in axes)):
        for k in itertools.product(*(range(n) for n in kernel)):
            each = zip(out, stride, k, rate, axes, strict=True)
            yield out, k, tuple(o * s + i * d - front for o, s, i, d, (_, front) in each)


def close(made: np.ndarray, wanted: np.ndarray) -> None:
    """Equal shapes, and numbers up to rounding."""
    assert made.shape == wanted.shape
    assert np.abs(made - wanted).max() <= TOLERANCE * max(np.abs(wanted).max(), 1e-30)


@st.composite
def windows(draw: Any, dilated: bool = True) -> dict[str, Any]:
    """A rank, and numbers per axis; strides and dilation exclude each other in Keras."""
    rank = draw(st.integers(1, 3))
    axis = 5 if rank < 3 else 3

    def several(low: int, high: int) -> list[int]:
        found: list[int] = draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank))
        return found

    rate = several(1, 3) if dilated and draw(st.booleans()) else [1] * rank
    return {
        "sizes": several(3, 2 * axis),
        "kernel": several(1, axis),
        "stride": several(1, 4) if max(rate) == 1 else [1] * rank,
        "rate": rate,
        "unknown": draw(st.booleans()),
    }


def shape_of(w: dict[str, Any], channels: int) -> tuple[int | None, ...]:
    """The input's shape without batch."""
    return (*([None] * len(w["sizes"]) if w["unknown"] else w["sizes"]), channels)


def fits(w: dict[str, Any]) -> bool:
    """Whether one window at least fits without padding."""
    return all((k - 1) * d < n for n, k, d in zip(w["sizes"], w["kernel"], w["rate"], strict=True))


@BOUNDED
@given(windows(), st.sampled_from(["valid", "same", "causal"]), st.sampled_from([1, 2]))
def test_conv(w: dict[str, Any], padding: str, groups: int) -> None:
    rank = len(w["sizes"])
    assume((padding != "causal" or rank == 1) and (padding != "valid" or fits(w)))
    layer = getattr(keras.layers, f"Conv{rank}D")(
        4, w["kernel"], strides=w["stride"], padding=padding, dilation_rate=w["rate"], groups=groups
    )
    x = np.random.default_rng(1).normal(size=(2, *w["sizes"], 2))
    made, (kernel, bias) = converted(shape_of(w, 2), layer, x)
    axes = geometry(w["sizes"], w["kernel"], w["stride"], w["rate"], padding)
    wanted = np.zeros((2, *(count for count, _ in axes), 4)) + bias
    width, each = 2 // groups, 4 // groups
    for out, k, at in positions(axes, w["kernel"], w["stride"], w["rate"]):
        if all(0 <= i < n for i, n in zip(at, w["sizes"], strict=True)):
            for group in range(groups):
                columns = slice(group * each, (group + 1) * each)
                rows = x[(slice(None), *at, slice(group * width, (group + 1) * width))]
                wanted[(slice(None), *out, columns)] += rows @ kernel[k][:, columns]
    close(made, wanted)


@BOUNDED
@given(windows(), st.sampled_from(["valid", "same"]), st.integers(0, 3))
def test_conv_transpose(w: dict[str, Any], padding: str, extra: int) -> None:
    rank = len(w["sizes"])
    given_padding = None if extra == 0 else [min(extra, s) - 1 for s in w["stride"]]
    sizes = [min(n, 5) for n in w["sizes"]]
    layer = getattr(keras.layers, f"Conv{rank}DTranspose")(
        3, w["kernel"], strides=w["stride"], padding=padding, dilation_rate=w["rate"], output_padding=given_padding
    )
    axes, lengths = [], []
    for i, (n, k, s, d) in enumerate(zip(sizes, w["kernel"], w["stride"], w["rate"], strict=True)):
        reach = (k - 1) * d + 1
        if padding == "valid":
            more = max(s - reach, 0) if given_padding is None else given_padding[i]
            lengths.append((n - 1) * s + reach + more)
            axes.append((n, 0))
        else:
            lengths.append(n * s if given_padding is None else (n - 1) * s + reach % 2 + given_padding[i])
            assume(lengths[-1] > 0 and math.ceil(lengths[-1] / s) == n)
            axes.append(same(lengths[-1], k, s, d))
    x = np.random.default_rng(1).normal(size=(2, *sizes, 2))
    made, (kernel, bias) = converted(shape_of({**w, "sizes": sizes}, 2), layer, x)
    wanted = np.zeros((2, *lengths, 3)) + bias
    for q, k, at in positions(axes, w["kernel"], w["stride"], w["rate"]):
        if all(0 <= i < n for i, n in zip(at, lengths, strict=True)):
            wanted[(slice(None), *at)] += x[(slice(None), *q)] @ kernel[k].T
    close(made, wanted)


@BOUNDED
@given(windows(), st.sampled_from(["valid", "same"]), st.integers(1, 2), st.integers(1, 3))
def test_depthwise(w: dict[str, Any], padding: str, multiplier: int, stride: int) -> None:
    rank = len(w["sizes"])
    assume(rank < 3 and (padding != "valid" or fits(w)))
    strides = [stride] * rank
    layer = getattr(keras.layers, f"DepthwiseConv{rank}D")(
        w["kernel"], strides=stride, padding=padding, dilation_rate=w["rate"], depth_multiplier=multiplier
    )
    x = np.random.default_rng(1).normal(size=(2, *w["sizes"], 3))
    made, (kernel, bias) = converted(shape_of(w, 3), layer, x)
    axes = geometry(w["sizes"], w["kernel"], strides, w["rate"], padding)
    wanted = np.zeros((2, *(count for count, _ in axes), 3, multiplier)) + bias.reshape(3, multiplier)
    for out, k, at in positions(axes, w["kernel"], strides, w["rate"]):
        if all(0 <= i < n for i, n in zip(at, w["sizes"], strict=True)):
            wanted[(slice(None), *out)] += x[(slice(None), *at)][..., None] * kernel[k]
    close(made, wanted.reshape(*wanted.shape[:-2], -1))


@BOUNDED
@given(windows(dilated=False), st.sampled_from(["valid", "same"]), st.sampled_from(["Max", "Average"]))
def test_pool(w: dict[str, Any], padding: str, kind: str) -> None:
    rank = len(w["sizes"])
    assume(padding != "valid" or fits(w))
    layer = getattr(keras.layers, f"{kind}Pooling{rank}D")(w["kernel"], strides=w["stride"], padding=padding)
    x = np.random.default_rng(1).normal(size=(2, *w["sizes"], 2))
    made, _ = converted(shape_of(w, 2), layer, x)
    axes = geometry(w["sizes"], w["kernel"], w["stride"], w["rate"], padding)
    inside: dict[tuple[int, ...], list[np.ndarray]] = {}
    for out, _, at in positions(axes, w["kernel"], w["stride"], w["rate"]):
        if all(0 <= i < n for i, n in zip(at, w["sizes"], strict=True)):
            inside.setdefault(out, []).append(x[(slice(None), *at)])
    wanted = np.zeros((2, *(count for count, _ in axes), 2))
    for out, elements in inside.items():
        wanted[(slice(None), *out)] = np.max(elements, 0) if kind == "Max" else np.mean(elements, 0)
    close(made, wanted)
