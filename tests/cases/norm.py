"""Rows for converter/ops/norm.py, layer_norm.py, scaling.py and wrappers.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.cases import Case, unary

SHAPES = {2: (6,), 3: (5, 6), 4: (4, 5, 6), 5: (3, 4, 5, 6)}
FLAGS = [{"center": c, "scale": s} for c in (True, False) for s in (True, False)]


def flagged(prefix: str, shape: tuple[int, ...], layer: str, **fixed: Any) -> list[Case]:
    """center and scale in every combination."""
    return [
        unary(
            f"{prefix}_center{int(o['center'])}_scale{int(o['scale'])}",
            shape,
            lambda L, o=o: getattr(L, layer)(**o, **fixed),
        )
        for o in FLAGS
    ]


def frozen(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((7, 6, 3), name="x")
    y = L.BatchNormalization(trainable=False)(L.Conv2D(4, 2)(x))
    return keras.Model(x, L.BatchNormalization(trainable=False, scale=False)(y))


def behind_conv(
    case_id: str,
    layer: Callable[[Any], Any],
    shape: tuple[int | None, ...] = (8, 7, 3),
    transposes: int = 0,
    **options: Any,
) -> Case:
    """The layer between two convolutions."""

    def make(keras: Any) -> Any:
        L = keras.layers
        x = keras.Input(shape, name="x")
        y = layer(L)(L.Conv2D(4, 2)(x))
        return keras.Model(x, L.Conv2D(2, 2)(y))

    return Case(case_id, make, transposes=transposes, **options)


def before_conv(case_id: str, layer: Callable[[Any], Any], dtype: str = "float32", **options: Any) -> Case:
    """The layer on an image in front of a convolution."""

    def make(keras: Any) -> Any:
        x = keras.Input((7, 6, 3), name="x", dtype=None if dtype == "float32" else dtype)
        return keras.Model(x, keras.layers.Conv2D(2, 3)(layer(keras.layers)(x)))

    return Case(case_id, make, transposes=0, **options)


def channels_first(case_id: str, layer: Callable[[Any], Any]) -> Case:
    """Between convolutions that have channels first."""

    def make(keras: Any) -> Any:
        L = keras.layers
        x = keras.Input((3, 8, 7), name="x")
        y = layer(L)(L.Conv2D(4, 2, data_format="channels_first")(x))
        return keras.Model(x, L.Conv2D(2, 2, data_format="channels_first")(y))

    return Case(case_id, make, transposes=0)


def adapted(keras: Any, shape: tuple[int, ...] = (7, 6, 3), axis: Any = -1, invert: bool = False) -> Any:
    import numpy as np

    layer = keras.layers.Normalization(axis=axis, invert=invert)
    layer.adapt(np.random.default_rng(1).normal(2.0, 3.0, (5, *shape)).astype("float32"))
    x = keras.Input(shape, name="x")
    return keras.Model(x, layer(x))


def of_convnext(keras: Any) -> Any:
    from keras.src.applications.convnext import LayerScale, StochasticDepth

    L = keras.layers
    x = keras.Input((7, 6, 4), name="x")
    y = L.LayerNormalization(epsilon=1e-6)(L.Conv2D(4, 3, padding="same")(x))
    y = L.Dense(4)(L.Activation("gelu")(L.Dense(16)(y)))
    return keras.Model(x, L.Add()([x, StochasticDepth(0.3)(LayerScale(1e-6, 4)(y))]))


def of_inception_resnet(keras: Any) -> Any:
    from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

    x = keras.Input((7, 6, 4), name="x")
    y = keras.layers.Conv2D(4, 1)(keras.layers.Conv2D(5, 3, padding="same", activation="relu")(x))
    return keras.Model(x, keras.layers.Activation("relu")(CustomScaleLayer(0.17)([x, y])))


def layer_scale(keras: Any) -> Any:
    from keras.src.applications.convnext import LayerScale, StochasticDepth

    x = keras.Input((7, 6, 3), name="x")
    y = keras.layers.Conv2D(4, 2)(x)
    return keras.Model(x, keras.layers.Conv2D(2, 2)(StochasticDepth(0.3)(LayerScale(0.1, 4)(y))))


MEAN, VARIANCE = [0.5, -1.25, 2.0], [0.25, 4.0, 1.5]

CASES: list[Case] = [
    unary("batchnorm", (7,), lambda L: L.BatchNormalization()),
    *(
        unary(f"batchnorm_rank{r}_axis{a}", s, lambda L, a=a: L.BatchNormalization(axis=a))
        for r, s in SHAPES.items()
        for a in (-1, *range(1, r))
    ),
    unary("batchnorm_settings", (5, 6), lambda L: L.BatchNormalization(momentum=0.7, epsilon=0.2)),
    *flagged("batchnorm", (7,), "BatchNormalization"),
    Case("batchnorm_frozen", frozen, transposes=0),
    behind_conv("batchnorm_behind_conv", lambda L: L.BatchNormalization(), (None, None, 3), sizes=(9, 6)),
    channels_first("batchnorm_channels_first", lambda L: L.BatchNormalization(axis=1)),
    behind_conv("batchnorm_renorm", lambda L: L.BatchNormalization(renorm=True)),
    unary(
        "batchnorm_renorm_clipped",
        (5, 6),
        lambda L: L.BatchNormalization(
            renorm=True, renorm_clipping={"rmin": 0.5, "rmax": 2.0, "dmax": 1.0}, scale=False, trainable=False
        ),
    ),
    unary("layernorm", (4, 6), lambda L: L.LayerNormalization()),
    unary("layernorm_epsilon", (4, 6), lambda L: L.LayerNormalization(epsilon=0.3)),
    *flagged("layernorm", (4, 5, 6), "LayerNormalization"),
    *flagged("layernorm_two", (4, 5, 6), "LayerNormalization", axis=[2, 3]),
    *flagged("layernorm_apart", (4, 5, 6), "LayerNormalization", axis=[3, 1]),
    unary("layernorm_mixed_signs", (4, 5, 6), lambda L: L.LayerNormalization(axis=[-1, 1])),
    unary("layernorm_all", (4, 5, 6), lambda L: L.LayerNormalization(axis=[1, 2, 3])),
    unary("layernorm_rms_scaling", (4, 5, 6), lambda L: L.LayerNormalization(axis=[1, 3], rms_scaling=True)),
    unary("layernorm_rms_scaling_last", (4, 6), lambda L: L.LayerNormalization(rms_scaling=True)),
    behind_conv("layernorm_behind_conv", lambda L: L.LayerNormalization(), (None, None, 3), sizes=(9, 6)),
    *(behind_conv(f"layernorm_behind_conv_{i}", lambda L, o=o: L.LayerNormalization(**o)) for i, o in enumerate(FLAGS)),
    behind_conv("layernorm_apart_behind_conv", lambda L: L.LayerNormalization(axis=[1, 3]), transposes=2),
    *(
        unary(f"groupnorm_rank{r}_axis{a}", s, lambda L, a=a: L.GroupNormalization(1 if a == 1 else 2, axis=a))
        for r, s in SHAPES.items()
        for a in (-1, r - 1)
    ),
    unary("groupnorm_axis1", (6, 4, 5), lambda L: L.GroupNormalization(3, axis=1, epsilon=0.1)),
    unary("groupnorm_axis2", (5, 6, 4), lambda L: L.GroupNormalization(3, axis=2)),
    unary("groupnorm_axis_minus2", (5, 6, 4), lambda L: L.GroupNormalization(3, axis=-2)),
    unary("groupnorm_instance", (5, 7, 3), lambda L: L.GroupNormalization(groups=-1)),
    *flagged("groupnorm", (5, 4, 6), "GroupNormalization", groups=2),
    behind_conv("groupnorm_behind_conv", lambda L: L.GroupNormalization(2), (None, None, 3), sizes=(9, 6)),
    channels_first("groupnorm_channels_first", lambda L: L.GroupNormalization(2, axis=1)),
    unary("rmsnorm", (4, 6), lambda L: L.RMSNormalization()),
    unary("rmsnorm_epsilon", (4, 6), lambda L: L.RMSNormalization(epsilon=0.3)),
    unary("rmsnorm_two", (4, 5, 6), lambda L: L.RMSNormalization(axis=[3, 2])),
    behind_conv("rmsnorm_behind_conv", lambda L: L.RMSNormalization(), (None, None, 3), sizes=(9, 6)),
    unary("unitnorm", (4, 6), lambda L: L.UnitNormalization()),
    unary("unitnorm_zero", (4, 6), lambda L: L.UnitNormalization(), low=0.0, high=1e-14),
    unary("unitnorm_axis1", (4, 5, 6), lambda L: L.UnitNormalization(axis=1)),
    unary("unitnorm_two", (4, 5, 6), lambda L: L.UnitNormalization(axis=[-1, 1])),
    unary("unitnorm_two_small", (4, 5, 6), lambda L: L.UnitNormalization(axis=[-1, 1]), low=0.0, high=1e-14),
    behind_conv("unitnorm_behind_conv", lambda L: L.UnitNormalization()),
    behind_conv("unitnorm_two_behind_conv", lambda L: L.UnitNormalization(axis=[1, 2])),
    unary("spectral_dense", (7,), lambda L: L.SpectralNormalization(L.Dense(5, activation="relu"))),
    behind_conv("spectral_conv", lambda L: L.SpectralNormalization(L.Conv2D(3, 2), power_iterations=2)),
    unary("spectral_embedding", (4,), lambda L: L.SpectralNormalization(L.Embedding(9, 5)), ids=9),
    Case("normalization_adapted", adapted),
    Case("normalization_adapted_invert", lambda k: adapted(k, invert=True)),
    Case("normalization_adapted_axis1", lambda k: adapted(k, axis=1)),
    Case("normalization_adapted_two", lambda k: adapted(k, axis=(1, -1))),
    Case("normalization_adapted_none", lambda k: adapted(k, axis=None)),
    before_conv("normalization_list", lambda L: L.Normalization(mean=MEAN, variance=VARIANCE)),
    before_conv("normalization_axis2", lambda L: L.Normalization(axis=2, mean=0.5, variance=0.25)),
    before_conv("normalization_rows", lambda L: L.Normalization(axis=(1, 3), mean=MEAN, variance=VARIANCE)),
    before_conv("normalization_number", lambda L: L.Normalization(axis=None, mean=0.5, variance=2.25)),
    before_conv(
        "normalization_number_invert", lambda L: L.Normalization(axis=None, mean=-0.5, variance=2.25, invert=True)
    ),
    before_conv(
        "normalization_zero_variance", lambda L: L.Normalization(mean=MEAN, variance=[0.0, 1.0, 2.0], invert=True)
    ),
    before_conv("rescaling", lambda L: L.Rescaling(1 / 255)),
    before_conv("rescaling_bytes", lambda L: L.Rescaling(1 / 127.5, offset=-1), "uint8", ids=256),
    before_conv("rescaling_offset", lambda L: L.Rescaling(1.0, offset=0.3)),
    before_conv("rescaling_nothing", lambda L: L.Rescaling(1.0)),
    before_conv("rescaling_lists", lambda L: L.Rescaling([0.1, 0.2, 0.3], offset=[0.4, 0.5, 0.7])),
    before_conv("rescaling_list_number", lambda L: L.Rescaling([0.1, 0.2, 0.3], offset=-0.2)),
    before_conv("rescaling_number_list", lambda L: L.Rescaling(0.1, offset=[0.4, 0.5, 0.7])),
    unary("rescaling_rank2", (3,), lambda L: L.Rescaling([0.1, 0.2, 0.3])),
    Case("convnext_layer_scale", layer_scale, transposes=0),
    Case("convnext_block", of_convnext, transposes=2),
    Case("inception_resnet_scaled_sum", of_inception_resnet, transposes=0),
]
