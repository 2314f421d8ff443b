"""Padding layers before windows: the window's own padding where that is the same function, an op of its own else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import pytest

import converter

L = keras.layers
Make = Callable[[Any], Any]


def convert(make: Make, shape: tuple[int | None, ...] = (9, 8, 3)) -> Any:
    keras.utils.set_random_seed(0)
    x = keras.Input(shape, name="x")
    return converter.convert(keras.Model(x, make(x)), "torch")


def body(result: Any) -> str:
    text: str = result.source.split("class Model")[1].split('if __name__ == "__main__"')[0]
    return text


FOLDED: dict[str, tuple[Make, tuple[int | None, ...], str]] = {
    "conv": (lambda x: L.Conv2D(4, 7, 2)(L.ZeroPadding2D(3)(x)), (9, 8, 3), "padding=3"),
    "conv_per_axis": (lambda x: L.Conv2D(4, (3, 5))(L.ZeroPadding2D((1, 2))(x)), (9, 8, 3), "padding=(1, 2)"),
    "conv_1d": (
        lambda x: L.Conv1D(4, 3, dilation_rate=2)(L.ZeroPadding1D(2)(L.Permute((2, 1))(x))),
        (3, 9),
        "padding=2",
    ),
    "conv_3d": (lambda x: L.Conv3D(4, 3)(L.ZeroPadding3D(1)(x)), (6, 5, 7, 3), "padding=1"),
    "conv_unknown_size": (lambda x: L.Conv2D(4, 3, 2)(L.ZeroPadding2D(1)(x)), (None, None, 3), "padding=1"),
    "depthwise": (lambda x: L.DepthwiseConv2D(3)(L.ZeroPadding2D(1)(x)), (9, 8, 3), "padding=1"),
    "separable": (lambda x: L.SeparableConv2D(4, 3)(L.ZeroPadding2D(1)(x)), (9, 8, 3), "padding=1"),
    "beside_its_own": (lambda x: L.Conv2D(4, 3, padding="same")(L.ZeroPadding2D(2)(x)), (9, 8, 3), "padding=3"),
    "uneven_both": (
        lambda x: L.Conv2D(4, 2, padding="same")(L.ZeroPadding2D(((1, 0), (1, 0)))(x)),
        (9, 8, 3),
        "padding=1)",
    ),
    "max_pool": (lambda x: L.MaxPooling2D(3, 2)(L.ZeroPadding2D(1)(L.ReLU()(x))), (9, 8, 3), "padding=1"),
    "average_pool": (lambda x: L.AveragePooling2D(3, 2)(L.ZeroPadding2D(1)(x)), (9, 8, 3), "count_include_pad=True"),
    "two_readers": (
        lambda x: (lambda p: L.Concatenate()([L.Conv2D(4, 3)(p), L.Conv2D(2, 3)(p)]))(L.ZeroPadding2D(1)(x)),
        (9, 8, 3),
        "padding=1",
    ),
    "twice": (lambda x: L.Conv2D(4, 5)(L.ZeroPadding2D(1)(L.ZeroPadding2D(1)(x))), (9, 8, 3), "padding=2"),
}


@pytest.mark.parametrize("name", FOLDED)
def test_becomes_the_windows_own(name: str) -> None:
    make, shape, expected = FOLDED[name]
    result = convert(make, shape)
    assert result.report.passed
    assert result.report.proof
    assert expected in body(result)
    assert "F.pad" not in body(result)


def shared(x: Any) -> Any:
    """One convolution, once behind a padding layer and once not."""
    conv = L.Conv2D(3, 3)
    return [conv(L.ZeroPadding2D(1)(x)), conv(x)]


def inner(x: Any) -> Any:
    """The padding outside of a nested model, the convolution inside."""
    y = keras.Input((11, 10, 3))
    return keras.Model(y, L.Conv2D(4, 3)(y), name="inner")(L.ZeroPadding2D(1)(x))


def read_twice(x: Any) -> Any:
    """The padded map is also multiplied."""
    padded = L.ZeroPadding2D(1)(x)
    return [L.Conv2D(4, 3)(padded), padded * 2.0]


def an_output(x: Any) -> Any:
    """The padded map is also given back."""
    padded = L.ZeroPadding2D(1)(x)
    return [L.Conv2D(4, 3)(padded), padded]


KEPT: dict[str, Make] = {
    "uneven": lambda x: L.Conv2D(4, 3, 2)(L.ZeroPadding2D(((0, 1), (0, 1)))(x)),
    "max_pool_of_any_sign": lambda x: L.MaxPooling2D(3, 2)(L.ZeroPadding2D(1)(x)),
    "max_pool_too_wide": lambda x: L.MaxPooling2D(3, 2)(L.ZeroPadding2D(2)(L.ReLU()(x))),
    "average_pool_same": lambda x: L.AveragePooling2D(3, 1, padding="same")(L.ZeroPadding2D(1)(x)),
    "shared": shared,
    "inner": inner,
    "read_twice": read_twice,
    "an_output": an_output,
}


@pytest.mark.parametrize("name", KEPT)
def test_stays_an_op_of_its_own(name: str) -> None:
    result = convert(KEPT[name])
    assert result.report.passed
    assert result.report.proof
    assert "F.pad" in body(result)
