"""What the arguments of PyTorch's pooling stand for: windows and their padding, and which elements count."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from converter.ops.base import Builder, Refusal, TorchCapture
from converter.ops.elementwise import Div, Mul
from converter.ops.padding import Pads, pairs_of, spread


def numbers_of(x: ir.Value) -> None:
    """Refusal for windows over integers, which ONNX does not have."""
    if x.dtype is not None and not x.dtype.is_floating_point():
        raise Refusal(f"its windows lie over {x.dtype.name} numbers.", "Cast them to floats before.")


def windows(
    g: TorchCapture,
    x: ir.Value,
    kernel_size: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    rate: tuple[int, ...],
    first: tuple[tuple[int, int], ...],
    ceil_mode: bool,
) -> dict[str, Any]:
    """The attributes for torch's arguments; with ceil_mode the last window's missing elements become padding."""
    rank = len(rate)
    kernel, strides = spread(kernel_size, rank), spread(stride or kernel_size, rank)
    pairs = [(p, p) for p in spread(padding, rank)]
    if first:
        pairs = [(a + c, b + d) for (a, b), (c, d) in zip(pairs, first, strict=True)]
    if ceil_mode:
        made = g.made()[2:]
        sizes = g.shape(x)[2:]
        if any(not isinstance(m, int) for m in made) or None in sizes:
            raise Refusal("ceil_mode needs a known input size.", "Export it with a fixed height and width.")
        missing = [
            (m - 1) * s + (k - 1) * d + 1 - ((n or 0) + a + b)
            for m, s, k, d, n, (a, b) in zip(made, strides, kernel, rate, sizes, pairs, strict=True)
        ]
        pairs = [(a, b + max(more, 0)) for (a, b), more in zip(pairs, missing, strict=True)]
    return {"kernel_shape": kernel, "strides": strides, "pads": Pads(tuple(pairs)).onnx}


def counts(g: TorchCapture, x: ir.Value, wide: dict[str, Any], found: dict[str, Any], padded: bool) -> np.ndarray:
    """For each window of `wide`: how many of its elements count, which is torch's divisor.

    Elements that ceil_mode adds behind never count, those of the padding do where `padded` says so.
    """
    made: np.ndarray = np.ones(())
    sizes, number = g.shape(x)[2:], g.made()[2:]
    each = zip(sizes, wide["kernel_shape"], wide["strides"], pairs_of(found["pads"]), number, strict=True)
    for n, k, s, (front, back), count in each:
        inside = (-front, (n or 0) + back) if padded else (0, n or 0)
        made = made[..., None] * counted(k, s, count, front, inside)
    return made[None, None]


def counted(kernel: int, stride: int, count: int, front: int, inside: tuple[int, int]) -> np.ndarray:
    """For each of `count` windows along one axis: how many of its elements lie between two places."""
    starts = np.arange(count) * stride - front
    found: np.ndarray = np.minimum(starts + kernel, inside[1]) - np.maximum(starts, inside[0])
    return found


def divided(g: Builder, means: ir.Value, kernel: tuple[int, ...], counts: np.ndarray) -> ir.Value:
    """Means of whole windows as sums over how many elements count."""
    total = g.op(Mul(), means, g.constant(float(math.prod(kernel)), like=means))
    return g.op(Div(), total, g.constant(counts, like=means))
