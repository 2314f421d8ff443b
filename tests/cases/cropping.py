"""Rows for converter/ops/cropping.py and pad_same.py."""

from typing import Any

from tests.cases import Case, unary

FIRST = "channels_first"


def row(name: str, shape: tuple[int | None, ...], cls: str, *args: Any, **options: Any) -> Case:
    """A row of one layer."""
    return unary(name, shape, lambda L: getattr(L, cls)(*args, **options))


CASES: list[Case] = [
    row("zero_padding_1d", (7, 3), "ZeroPadding1D", 2),
    row("zero_padding_1d_uneven", (7, 3), "ZeroPadding1D", (1, 2)),
    row("zero_padding_1d_first", (3, 7), "ZeroPadding1D", (1, 2), data_format=FIRST),
    row("zero_padding_1d_unknown", (None, 3), "ZeroPadding1D", (0, 2)),
    row("zero_padding_2d", (6, 7, 3), "ZeroPadding2D", 2),
    row("zero_padding_2d_two", (6, 7, 3), "ZeroPadding2D", (1, 2)),
    row("zero_padding_2d_four", (6, 7, 3), "ZeroPadding2D", ((0, 1), (2, 3))),
    row("zero_padding_2d_none", (6, 7, 3), "ZeroPadding2D", 0),
    row("zero_padding_2d_first", (3, 6, 7), "ZeroPadding2D", ((0, 1), (2, 3)), data_format=FIRST),
    row("zero_padding_2d_unknown", (None, None, 3), "ZeroPadding2D", ((0, 1), (2, 3))),
    row("zero_padding_3d", (6, 7, 5, 3), "ZeroPadding3D", 1),
    row("zero_padding_3d_six", (6, 7, 5, 3), "ZeroPadding3D", ((0, 1), (2, 0), (1, 3))),
    row("zero_padding_3d_first", (3, 6, 7, 5), "ZeroPadding3D", ((0, 1), (2, 0), (1, 3)), data_format=FIRST),
    row("cropping_1d", (7, 3), "Cropping1D", 1),
    row("cropping_1d_front", (7, 3), "Cropping1D", (2, 0)),
    row("cropping_1d_back", (None, 3), "Cropping1D", (0, 2)),
    row("cropping_2d", (6, 7, 3), "Cropping2D", 1),
    row("cropping_2d_two", (6, 7, 3), "Cropping2D", (1, 2)),
    row("cropping_2d_four", (6, 7, 3), "Cropping2D", ((0, 1), (2, 0))),
    row("cropping_2d_none", (6, 7, 3), "Cropping2D", 0),
    row("cropping_2d_first", (3, 6, 7), "Cropping2D", ((1, 0), (0, 2)), data_format=FIRST),
    row("cropping_2d_unknown", (None, None, 3), "Cropping2D", ((1, 2), (2, 1))),
    row("cropping_3d", (6, 7, 5, 3), "Cropping3D", 1),
    row("cropping_3d_six", (6, 7, 5, 3), "Cropping3D", ((0, 1), (2, 0), (1, 3))),
    row("cropping_3d_first", (3, 6, 7, 5), "Cropping3D", ((0, 1), (2, 0), (0, 0)), data_format=FIRST),
]
