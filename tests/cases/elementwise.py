"""Rows for converter/ops/elementwise.py, cast.py, reduce.py, operations.py: keras.ops in functional models."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.cases import Case

SHAPE = (5, 4, 3)


def arithmetic(
    case_id: str, function: Callable[[Any, Any], Any], shape: tuple[int | None, ...] = SHAPE, **options: Any
) -> Case:
    """A row with one input and an expression of it."""

    def make(keras: Any) -> Any:
        x = keras.Input(shape, name="x")
        return keras.Model(x, function(keras, x))

    return Case(case_id, make, **options)


def two(
    case_id: str,
    function: Callable[[Any, Any, Any], Any],
    a: tuple[int | None, ...] = SHAPE,
    b: tuple[int | None, ...] = SHAPE,
    **options: Any,
) -> Case:
    """A row with two inputs and an expression of both."""

    def make(keras: Any) -> Any:
        x, y = keras.Input(a, name="x"), keras.Input(b, name="y")
        return keras.Model([x, y], function(keras, x, y))

    return Case(case_id, make, **options)


def around_conv(case_id: str, function: Callable[[Any, Any], Any], **options: Any) -> Case:
    """A row with an expression between two convolutions."""

    def make(keras: Any) -> Any:
        x = keras.Input((7, 6, 3), name="x")
        y = keras.layers.Conv2D(4, 3)(x)
        return keras.Model(x, keras.layers.Conv2D(5, 2)(function(keras, y)))

    return Case(case_id, make, transposes=0, **options)


PER_CHANNEL = np.linspace(0.5, 2.0, 4).astype("float32")
MAP = np.linspace(-1.0, 2.0, 20).astype("float32").reshape(5, 4, 1)

CASES: list[Case] = [
    arithmetic("ops_add_number", lambda k, x: x + 0.1),
    arithmetic("ops_add_left", lambda k, x: 0.1 + x),
    arithmetic("ops_add_integer", lambda k, x: x + 2),
    arithmetic("ops_sub_number", lambda k, x: x - 0.3),
    arithmetic("ops_sub_left", lambda k, x: 1.0 - x),
    arithmetic("ops_mul_third", lambda k, x: x * (1.0 / 3.0)),
    arithmetic("ops_mul_left", lambda k, x: -0.7 * x),
    arithmetic("ops_div", lambda k, x: x / 7.0),
    arithmetic("ops_div_left", lambda k, x: 1.0 / x, low=0.5, high=2.0),
    arithmetic("ops_divide", lambda k, x: k.ops.divide(x, 7.0)),
    arithmetic("ops_cast", lambda k, x: k.ops.cast(k.ops.cast(x * 4.0, "int32"), k.config.floatx())),
    arithmetic("ops_neg", lambda k, x: -x),
    arithmetic("ops_neg_of_sum", lambda k, x: -(x + 1.5)),
    arithmetic("ops_minus_of_minus", lambda k, x: 1.0 - (x - 2.0) * -3.0),
    arithmetic("ops_abs", lambda k, x: k.ops.absolute(x)),
    arithmetic("ops_sqrt", lambda k, x: k.ops.sqrt(x), low=0.1, high=3.0),
    arithmetic("ops_square", lambda k, x: k.ops.square(x - 0.25)),
    arithmetic("ops_pow_2", lambda k, x: x**2),
    arithmetic("ops_pow_1_5", lambda k, x: x**1.5, low=0.1, high=3.0),
    arithmetic("ops_pow_left", lambda k, x: k.ops.power(2.0, x)),
    arithmetic("ops_pow_nested", lambda k, x: k.ops.power(k.ops.power(x, 2.0), 0.5)),
    arithmetic("ops_maximum_number", lambda k, x: k.ops.maximum(x, 0.2)),
    arithmetic("ops_maximum_left", lambda k, x: k.ops.maximum(0.2, x)),
    arithmetic("ops_minimum_number", lambda k, x: k.ops.minimum(x, -0.2)),
    arithmetic("ops_array_last", lambda k, x: x * np.array([0.5, -1.0, 3.0], "float32")),
    arithmetic("ops_array_full", lambda k, x: x + MAP),
    arithmetic("ops_array_maximum", lambda k, x: k.ops.maximum(x, np.array([0.5, -1.0, 3.0], "float32"))),
    arithmetic("ops_unknown_sizes", lambda k, x: (x + 3.0) * 0.5, (None, None, 3)),
    arithmetic("ops_hard_swish", lambda k, x: k.layers.ReLU(6.0)(x + 3.0) * (1.0 / 6.0) * x),
    arithmetic("ops_relu", lambda k, x: k.ops.relu(x)),
    arithmetic("ops_relu6", lambda k, x: k.ops.relu6(x * 4.0)),
    arithmetic("ops_sigmoid", lambda k, x: k.ops.sigmoid(x)),
    arithmetic("ops_hard_sigmoid", lambda k, x: k.ops.hard_sigmoid(x * 3.0)),
    arithmetic("ops_hard_silu", lambda k, x: k.ops.hard_silu(x * 3.0)),
    arithmetic("ops_hard_tanh", lambda k, x: k.ops.hard_tanh(x)),
    arithmetic("ops_log_sigmoid", lambda k, x: k.ops.log_sigmoid(x)),
    arithmetic("ops_selu", lambda k, x: k.ops.selu(x)),
    arithmetic("ops_silu", lambda k, x: k.ops.silu(x)),
    arithmetic("ops_softplus", lambda k, x: k.ops.softplus(x)),
    arithmetic("ops_softsign", lambda k, x: k.ops.softsign(x)),
    arithmetic("ops_tanh", lambda k, x: k.ops.tanh(x)),
    two("ops_add_two", lambda k, x, y: x + y),
    two("ops_sub_two", lambda k, x, y: x - y),
    two("ops_mul_two_precedence", lambda k, x, y: (x + y) * (x - y)),
    two("ops_div_two", lambda k, x, y: x / y, low=0.5, high=2.0),
    two("ops_sub_of_sub", lambda k, x, y: x - (y - x)),
    two("ops_maximum_two", lambda k, x, y: k.ops.maximum(x, y)),
    two("ops_minimum_two", lambda k, x, y: k.ops.minimum(x, y)),
    two("ops_broadcast_channel", lambda k, x, y: x * y, SHAPE, (1, 1, 3)),
    two("ops_broadcast_map", lambda k, x, y: x * y, SHAPE, (5, 4, 1)),
    two("ops_broadcast_both", lambda k, x, y: x * y, (5, 1, 3), (1, 4, 1)),
    around_conv("ops_between_convs", lambda k, y: (y + 3.0) * (1.0 / 6.0)),
    around_conv("ops_array_between_convs", lambda k, y: y * PER_CHANNEL),
    around_conv("ops_map_between_convs", lambda k, y: y - MAP.reshape(5, 4, 1)),
    around_conv("ops_clamp_between_convs", lambda k, y: k.ops.minimum(k.ops.maximum(y, -0.5), 0.5)),
    arithmetic("ops_clip", lambda k, x: k.ops.clip(x, -0.5, 1.25)),
    arithmetic("ops_rsqrt", lambda k, x: k.ops.rsqrt(x), low=0.1, high=3.0),
    arithmetic("ops_mean", lambda k, x: k.ops.mean(x, axis=[1, 2])),
    arithmetic("ops_mean_last", lambda k, x: k.ops.mean(x, axis=-1, keepdims=True)),
    arithmetic("ops_mean_unknown", lambda k, x: k.ops.mean(x, axis=1), (None, None, 3)),
    arithmetic("ops_max", lambda k, x: k.ops.max(x, axis=2)),
    arithmetic("ops_max_several", lambda k, x: k.ops.max(x, axis=(1, 3), keepdims=True)),
    arithmetic("ops_min", lambda k, x: k.ops.min(x, axis=(-1, -2))),
    arithmetic("ops_sum", lambda k, x: k.ops.sum(x, axis=3)),
    around_conv("ops_mean_between_convs", lambda k, y: y - k.ops.mean(y, axis=[1, 2], keepdims=True)),
    around_conv("ops_max_between_convs", lambda k, y: y * k.ops.max(y, axis=-1, keepdims=True)),
    around_conv("ops_pad_between_convs", lambda k, y: k.ops.pad(y, [[0, 0], [1, 0], [0, 1], [0, 2]])),
    around_conv("ops_rsqrt_between_convs", lambda k, y: k.ops.rsqrt(k.ops.square(y) + 1.0)),
]
