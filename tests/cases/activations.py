"""Rows for converter/ops/activations*.py and softmax.py."""

from __future__ import annotations

import itertools
from typing import Any

from tests.cases import Case, unary

LINE = ("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "hard_tanh", "hard_sigmoid", "hard_silu", "hard_swish")
LINE += ("hard_shrink", "soft_shrink", "sparse_plus", "sparse_sigmoid")
SMOOTH = ("gelu", "silu", "swish", "mish", "softplus", "softsign", "sigmoid", "tanh", "tanh_shrink", "squareplus")
SMOOTH += ("exponential", "log_sigmoid", "linear")
ALONG = ("softmax", "log_softmax", "sparsemax", "glu")
RELU = {
    f"relu_max{top}_threshold{threshold}_slope{slope}": {
        "max_value": top,
        "threshold": threshold,
        "negative_slope": slope,
    }
    for top, threshold, slope in itertools.product((None, 6.0, 1.25), (0.0, 0.3), (0.0, 0.2))
}


def activation(name: str) -> Case:
    """The layer, and as the argument of a convolution, where a module and a function stand for it."""

    def make(keras: Any) -> Any:
        L = keras.layers
        x = keras.Input((5, 7, 3), name="x")
        y = L.Conv2D(4, (2, 3), activation=name)(x)
        return keras.Model(x, L.Activation(name)(y) if name != "glu" else y)

    return Case(f"activation_conv_{name}", make, transposes=0, low=-0.4, high=0.4)


def old_hard_sigmoid(keras: Any) -> Any:
    from converter.files.keras_dialects import hard_sigmoid_v2, register

    register()
    x = keras.Input((5,), name="x")
    y = keras.layers.Dense(7, activation=hard_sigmoid_v2)(x)
    return keras.Model(x, keras.layers.Activation(hard_sigmoid_v2)(y))


def behind_conv(case_id: str, layer: Any, shape: tuple[int | None, ...] = (6, 5, 3), **options: Any) -> Case:
    """The layer between two convolutions, where no transposition may stay."""

    def make(keras: Any) -> Any:
        L = keras.layers
        x = keras.Input(shape, name="x")
        y = layer(L)(L.Conv2D(4, 2)(x))
        return keras.Model(x, L.Conv2D(2, 2)(y))

    return Case(case_id, make, transposes=0, **options)


def over_channels_first(keras: Any) -> Any:
    x = keras.Input((4, 5, 6), name="x")
    y = keras.layers.Conv2D(6, 2, data_format="channels_first")(x)
    return keras.Model(x, keras.layers.PReLU(shared_axes=[2, 3])(y))


CASES: list[Case] = [
    *(unary(f"activation_{n}", (4, 6), lambda L, n=n: L.Activation(n)) for n in (*LINE, *SMOOTH, *ALONG)),
    *(activation(n) for n in (*LINE, *SMOOTH, *ALONG)),
    Case("activation_hard_sigmoid_v2", old_hard_sigmoid),
    unary("sparsemax_wide", (9,), lambda L: L.Activation("sparsemax"), low=-0.05, high=0.05),
    unary("sparsemax_ties", (9,), lambda L: L.Activation("sparsemax"), low=0.2, high=0.2),
    unary("activation_layer_argument", (5,), lambda L: L.Dense(4, activation=L.LeakyReLU(negative_slope=0.4))),
    *(unary(f"activation_{n}", (4, 7), lambda L, o=o: L.ReLU(**o)) for n, o in RELU.items()),
    behind_conv("activation_relu_all_behind_conv", lambda L: L.ReLU(1.25, 0.2, 0.3)),
    unary("activation_relu_max0", (5,), lambda L: L.ReLU(max_value=0.0, negative_slope=0.5)),
    unary("activation_leaky", (5, 4), lambda L: L.LeakyReLU()),
    unary("activation_leaky_0", (5, 4), lambda L: L.LeakyReLU(negative_slope=0.0)),
    unary("activation_elu_alpha", (5, 4), lambda L: L.ELU(alpha=0.7)),
    unary("activation_elu_alpha0", (5, 4), lambda L: L.ELU(alpha=0)),
    unary("activation_prelu", (7,), lambda L: L.PReLU()),
    unary("activation_prelu_single", (7,), lambda L: L.PReLU(shared_axes=1)),
    unary("activation_prelu_rank3", (4, 7), lambda L: L.PReLU()),
    unary("activation_prelu_rank3_last", (None, 7), lambda L: L.PReLU(shared_axes=[1])),
    unary("activation_prelu_rank3_first", (4, None), lambda L: L.PReLU(shared_axes=[2])),
    unary("activation_prelu_rank4_middle", (4, 5, 3), lambda L: L.PReLU(shared_axes=[1, 3])),
    unary("activation_prelu_rank4_two", (4, 5, 3), lambda L: L.PReLU(shared_axes=[1])),
    unary("activation_prelu_rank4_all", (4, 5, 3), lambda L: L.PReLU(shared_axes=[1, 2, 3])),
    behind_conv("activation_prelu_channels", lambda L: L.PReLU(shared_axes=[1, 2]), (None, None, 3), sizes=(8, 7)),
    behind_conv("activation_prelu_full", lambda L: L.PReLU()),
    behind_conv("activation_prelu_rows", lambda L: L.PReLU(shared_axes=[2, 3])),
    behind_conv("activation_prelu_row_channels", lambda L: L.PReLU(shared_axes=[2])),
    behind_conv("activation_prelu_one", lambda L: L.PReLU(shared_axes=[1, 2, 3])),
    Case("activation_prelu_channels_first", over_channels_first, transposes=0),
    unary("softmax_default", (4, 7), lambda L: L.Softmax()),
    unary("softmax_axis1", (4, 7, 3), lambda L: L.Softmax(axis=1)),
    unary("softmax_axis_minus2", (4, 7, 3), lambda L: L.Softmax(axis=-2)),
    unary("softmax_axis_list", (4, 7, 3), lambda L: L.Softmax(axis=[2])),
    unary("softmax_two_axes", (4, 7, 3), lambda L: L.Softmax(axis=(-2, 1))),
    unary("softmax_all_axes", (4, 7, 3), lambda L: L.Softmax(axis=[1, 2, 3])),
    behind_conv("softmax_behind_conv", lambda L: L.Softmax()),
    behind_conv("softmax_width_behind_conv", lambda L: L.Softmax(axis=2)),
    behind_conv("softmax_plane_behind_conv", lambda L: L.Softmax(axis=[1, 2]), (None, None, 3), sizes=(8, 7)),
]
