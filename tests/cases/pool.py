"""Rows for converter/ops/pool.py and pool_global.py."""

from typing import Any

from tests.cases import Case, unary

FIRST = "channels_first"
D1, D2, D3 = (11, 3), (9, 7, 3), (6, 7, 5, 2)
S1, S2, S3 = (None, 3), (None, None, 3), (None, None, None, 2)


def row(name: str, shape: tuple[int | None, ...], cls: str, *args: Any, **options: Any) -> Case:
    """A row of one layer that has no transposition left; `cls` lacks the number of dimensions."""
    kind = f"{cls}{len(shape) - 1}D"
    return unary(name, shape, lambda L: getattr(L, kind)(*args, **options), transposes=0 if len(shape) > 2 else None)


def largest(name: str, shape: tuple[int | None, ...], *args: Any, **options: Any) -> Case:
    """A row of max pooling."""
    return row(f"pool_max_{name}", shape, "MaxPooling", *args, **options)


def average(name: str, shape: tuple[int | None, ...], *args: Any, **options: Any) -> Case:
    """A row of average pooling."""
    return row(f"pool_average_{name}", shape, "AveragePooling", *args, **options)


ELSEWHERE: list[Case] = [
    average("same_1d", D1, 2, padding="same"),
    average("same_1d_stride_one", D1, 4, strides=1, padding="same"),
    average("same_2d", D2, 2, padding="same"),
    average("same_2d_large", (8, 6, 3), (3, 5), strides=2, padding="same"),
    average("same_2d_mixed", (8, 7, 3), (3, 4), strides=(2, 3), padding="same"),
    average("same_2d_stride_one", D2, (2, 3), strides=1, padding="same"),
    average("same_2d_above_kernel", D2, 2, strides=3, padding="same"),
    average("same_2d_unknown", S2, 2, padding="same"),
    average("same_2d_unknown_large", S2, (3, 4), strides=2, padding="same"),
    average("same_2d_unknown_stride_one", S2, (3, 4), strides=1, padding="same"),
    average("same_3d", D3, 2, padding="same"),
    average("same_3d_large", D3, (2, 3, 4), strides=(1, 2, 3), padding="same"),
    average("same_3d_unknown", S3, 3, strides=2, padding="same"),
]
"""Keras on torch pads these by repeating the border, and counts it; TensorFlow and JAX do not."""

CASES: list[Case] = [
    largest("1d", D1, 2),
    largest("1d_same", D1, 3, strides=2, padding="same"),
    largest("1d_same_even", D1, 4, strides=1, padding="same"),
    largest("1d_first", (3, 11), 2, padding="same", data_format=FIRST),
    largest("1d_unknown", S1, 2, padding="same"),
    largest("2d", D2, 2),
    largest("2d_strided", D2, (3, 2), strides=(1, 3)),
    largest("2d_same", D2, 2, padding="same"),
    largest("2d_same_even_size", (8, 6, 3), 3, strides=2, padding="same"),
    largest("2d_same_mixed", (8, 7, 3), (3, 4), strides=(2, 3), padding="same"),
    largest("2d_same_stride_one", D2, (2, 3), strides=1, padding="same"),
    largest("2d_same_above_kernel", D2, 2, strides=3, padding="same"),
    largest("2d_first", (3, 9, 7), 3, strides=2, padding="same", data_format=FIRST),
    largest("2d_unknown", S2, 2, padding="same"),
    largest("2d_unknown_large", S2, (3, 4), strides=2, padding="same"),
    largest("2d_unknown_valid", S2, (3, 4), strides=2),
    largest("3d", D3, (2, 3, 2)),
    largest("3d_same", D3, (2, 3, 4), strides=(1, 2, 3), padding="same"),
    largest("3d_first", (2, 6, 7, 5), 2, padding="same", data_format=FIRST),
    largest("3d_unknown", S3, 3, strides=2, padding="same"),
    average("1d", D1, 2),
    average("1d_first", (3, 11), 3, strides=2, padding="same", data_format=FIRST),
    average("1d_unknown", S1, 3, strides=2),
    average("2d", D2, (2, 3)),
    average("2d_strided", D2, (3, 2), strides=(1, 3)),
    average("2d_same_even", D2, 3, strides=2, padding="same"),
    average("2d_same_stride_one", D2, 3, strides=1, padding="same"),
    average("2d_first", (3, 9, 7), (3, 5), strides=(2, 1), padding="same", data_format=FIRST),
    average("2d_unknown", S2, 3, strides=1, padding="same"),
    average("3d", D3, (2, 3, 2)),
    average("3d_same", (7, 5, 3, 2), 3, strides=2, padding="same"),
    average("3d_first", (2, 6, 7, 5), 2, data_format=FIRST),
    *(
        row(f"pool_global_{kind.lower()}_{name}", shape, f"Global{kind}Pooling", **options)
        for kind in ("Average", "Max")
        for name, shape, options in [
            ("1d", D1, {}),
            ("1d_keepdims", D1, {"keepdims": True}),
            ("1d_first", (3, 11), {"data_format": FIRST}),
            ("2d", D2, {}),
            ("2d_keepdims", D2, {"keepdims": True}),
            ("2d_first", (3, 9, 7), {"data_format": FIRST, "keepdims": True}),
            ("2d_unknown", S2, {}),
            ("3d", D3, {}),
            ("3d_keepdims", D3, {"keepdims": True}),
            ("3d_first", (2, 6, 7, 5), {"data_format": FIRST}),
        ]
    ),
    *(
        row(f"pool_adaptive_{kind.lower()}_{name}", shape, f"Adaptive{kind}Pooling", *args, **options)
        for kind in ("Average", "Max")
        for name, shape, args, options in [
            ("1d", D1, (4,), {}),
            ("1d_first", (3, 11), (4,), {"data_format": FIRST}),
            ("1d_larger", (4, 3), (7,), {}),
            ("2d", D2, (3,), {}),
            ("2d_uneven", D2, ((4, 5),), {}),
            ("2d_one", D2, ((1, 2),), {}),
            ("2d_first", (3, 9, 7), ((2, 4),), {"data_format": FIRST}),
            ("2d_unknown", S2, ((4, 5),), {}),
            ("3d", D3, ((2, 3, 4),), {}),
            ("3d_first", (2, 6, 7, 5), (2,), {"data_format": FIRST}),
        ]
    ),
]
