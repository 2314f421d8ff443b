"""Rows for converter/ops/resize.py and resample.py."""

from typing import Any

from tests.cases import Case, unary

FIRST = "channels_first"
D2, S2 = (9, 7, 3), (None, None, 3)
AREA = "only TensorFlow has area, in float32"


def row(name: str, shape: tuple[int | None, ...], cls: str, *args: Any, **options: Any) -> Case:
    """A row of one layer that has no transposition left."""
    float64 = AREA if options.get("interpolation") == "area" else ""
    transposes = 0 if len(shape) > 2 else None
    return unary(name, shape, lambda L: getattr(L, cls)(*args, **options), transposes=transposes, float64=float64)


def resizing(name: str, shape: tuple[int | None, ...], height: int, width: int, kind: str, **options: Any) -> Case:
    """A row of Resizing."""
    return row(f"resizing_{kind}_{name}", shape, "Resizing", height, width, interpolation=kind, **options)


ELSEWHERE: list[Case] = [
    *(
        row(f"upsampling_2d_{kind}{name}", shape, "UpSampling2D", size, interpolation=kind)
        for kind in ("bicubic", "lanczos3", "lanczos5")
        for name, shape, size in [("", D2, (2, 3)), ("_unknown", S2, 2), ("_double", D2, (2, 4))]
    ),
    *(
        resizing(name, shape, height, width, kind, **options)
        for kind in ("bicubic", "lanczos3", "lanczos5")
        for name, shape, height, width, options in [
            ("up", D2, 11, 16, {}),
            ("down", D2, 4, 5, {}),
            ("mixed", D2, 4, 16, {}),
            ("unknown", S2, 8, 5, {}),
            ("antialias", D2, 4, 5, {"antialias": True}),
            ("antialias_mixed", D2, 4, 16, {"antialias": True}),
            ("antialias_unknown", S2, 4, 8, {"antialias": True}),
        ]
    ),
]
"""Keras on torch has no lanczos, and another bicubic kernel."""

ROUNDED = frozenset(
    {"upsampling_2d_bicubic", *(f"resizing_bicubic_{name}" for name in ("up", "down", "mixed", "unknown"))}
)
"""TensorFlow looks the cubic kernel up in a table of 1024 steps, which is 1e-3 off where the steps do not fit."""

ONLY_TENSORFLOW: list[Case] = [
    row("upsampling_2d_area", D2, "UpSampling2D", (2, 3), interpolation="area"),
    resizing("up", D2, 11, 16, "area"),
    resizing("down", D2, 4, 5, "area"),
    resizing("mixed", D2, 3, 16, "area"),
    resizing("unknown", S2, 8, 5, "area"),
]

CASES: list[Case] = [
    row("upsampling_1d", (7, 3), "UpSampling1D", 2),
    row("upsampling_1d_unknown", (None, 3), "UpSampling1D", 3),
    row("upsampling_2d", D2, "UpSampling2D"),
    row("upsampling_2d_uneven", D2, "UpSampling2D", (2, 3)),
    row("upsampling_2d_first", (3, 9, 7), "UpSampling2D", (3, 2), data_format=FIRST),
    row("upsampling_2d_unknown", S2, "UpSampling2D", (2, 3)),
    row("upsampling_2d_bilinear", D2, "UpSampling2D", (2, 3), interpolation="bilinear"),
    row("upsampling_2d_bilinear_first", (3, 9, 7), "UpSampling2D", 3, interpolation="bilinear", data_format=FIRST),
    row("upsampling_2d_bilinear_unknown", S2, "UpSampling2D", 2, interpolation="bilinear"),
    row("upsampling_3d", (6, 7, 5, 2), "UpSampling3D", (2, 1, 3)),
    row("upsampling_3d_first", (2, 6, 7, 5), "UpSampling3D", 2, data_format=FIRST),
    row("upsampling_3d_unknown", (None, None, None, 2), "UpSampling3D", 2),
    *(
        resizing(name, shape, height, width, kind, **options)
        for kind in ("bilinear", "nearest")
        for name, shape, height, width, options in [
            ("up", D2, 11, 16, {}),
            ("down", D2, 4, 5, {}),
            ("mixed", D2, 4, 16, {}),
            ("first", (3, 9, 7), 4, 16, {"data_format": FIRST}),
            ("unknown", S2, 8, 5, {}),
            ("antialias", D2, 4, 5, {"antialias": True}),
            ("antialias_mixed", D2, 4, 16, {"antialias": True}),
            ("antialias_unknown", S2, 4, 8, {"antialias": True}),
            ("crop", D2, 4, 6, {"crop_to_aspect_ratio": True}),
            ("crop_high", (7, 9, 3), 8, 3, {"crop_to_aspect_ratio": True}),
            ("crop_unknown", S2, 5, 8, {"crop_to_aspect_ratio": True}),
            ("pad", D2, 4, 8, {"pad_to_aspect_ratio": True}),
            ("pad_value", D2, 8, 3, {"pad_to_aspect_ratio": True, "fill_value": 0.3}),
            ("pad_first", (3, 9, 7), 4, 8, {"pad_to_aspect_ratio": True, "data_format": FIRST}),
            ("pad_unknown", S2, 5, 9, {"pad_to_aspect_ratio": True, "fill_value": -0.7}),
        ]
    ),
    row("center_crop", D2, "CenterCrop", 4, 5),
    row("center_crop_odd", D2, "CenterCrop", 4, 4),
    row("center_crop_all", D2, "CenterCrop", 9, 7),
    row("center_crop_first", (3, 9, 7), "CenterCrop", 6, 3, data_format=FIRST),
    row("center_crop_small", D2, "CenterCrop", 12, 5),
    row("center_crop_smaller", D2, "CenterCrop", 12, 20),
    row("center_crop_unknown", S2, "CenterCrop", 7, 6),
]
