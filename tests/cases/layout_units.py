"""Rows for graph/flatten.py: a flatten or a reshape beside a dense layer, and how many transpositions may stay."""

from typing import Any

import numpy as np

from tests.cases import Case
from tests.cases.layout import registrar

CASES: list[Case] = []
network = registrar(CASES)


@network()
def generator(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((5,), name="x")
    y = L.Reshape((4, 3, 6))(L.Activation("relu")(L.Dense(72)(x)))
    return keras.Model(x, L.Conv2D(3, 2, activation="tanh")(y))


@network()
def generator_normalised(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((5,), name="x")
    y = L.Dropout(0.3)(L.ReLU()(L.BatchNormalization()(L.Dense(72, use_bias=False)(x))))
    y = L.BatchNormalization()(L.Reshape((4, 3, 6))(y))
    return keras.Model(x, L.Conv2D(3, 2)(L.Activation("relu")(y)))


@network()
def generator_activated(keras: Any) -> Any:
    """Element-wise layers, with constants along each axis, between the reshape and the convolution."""
    L = keras.layers
    x = keras.Input((5,), name="x")
    y = L.Reshape((4, 3, 6))(L.Dense(72)(x))
    y = L.Activation("tanh")(y) * np.linspace(0.5, 1.5, 6).astype("float32") + np.linspace(0, 1, 12).astype(
        "float32"
    ).reshape(4, 3, 1)
    return keras.Model(x, L.Conv2D(3, 2)(y))


@network()
def generator_square(keras: Any) -> Any:
    """H = W = C: a wrong order has no shape to trip on."""
    L = keras.layers
    x = keras.Input((4,), name="x")
    return keras.Model(x, L.Conv2D(4, 2)(L.Reshape((4, 4, 4))(L.Dense(64)(x))))


@network()
def generator_3d(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((4,), name="x")
    return keras.Model(x, L.Conv3D(4, 2)(L.Reshape((2, 4, 3, 5))(L.Dense(120)(x))))


@network()
def generator_one_channel(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((20,), name="x")
    return keras.Model(x, L.Conv2D(4, 2)(L.Reshape((5, 4, 1))(x)))


@network(1)
def reshaped_input(keras: Any) -> Any:
    """The units of an input are the caller's: no weight can take their order over."""
    L = keras.layers
    x = keras.Input((60,), name="x")
    return keras.Model(x, L.Conv2D(4, 2)(L.Reshape((5, 4, 3))(x)))


@network()
def autoencoder(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((6, 6, 3), name="x")
    y = L.Flatten()(L.Conv2D(4, 3, activation="relu")(x))
    y = L.Dense(64, activation="relu")(L.Dense(5, activation="relu")(y))
    return keras.Model(x, L.Conv2D(3, 3, padding="same")(L.Reshape((4, 4, 4))(y)))


@network()
def autoencoder_one_dense(keras: Any) -> Any:
    """One weight takes both orders over."""
    L = keras.layers
    x = keras.Input((6, 6, 3), name="x")
    y = L.Flatten()(L.Conv2D(4, 3, activation="relu")(x))
    return keras.Model(x, L.Conv2D(3, 3, padding="same")(L.Reshape((4, 4, 4))(L.Dense(64)(y))))


@network()
def flatten_dense(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((6, 6, 3), name="x")
    return keras.Model(x, L.Dense(5)(L.Flatten()(L.Conv2D(4, 3)(x))))


@network()
def flatten_layers_dense(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((6, 6, 3), name="x")
    y = L.Flatten()(L.MaxPooling2D(2)(L.Conv2D(4, 3)(x)))
    y = L.Dropout(0.5)(L.Activation("tanh")(L.BatchNormalization()(y)))
    return keras.Model(x, L.Dense(5)(y * 2.0 + 1.0))


@network()
def flatten_as_reshape(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((6, 6, 3), name="x")
    y = L.Reshape((-1,))(L.Conv2D(4, 3)(x))
    return keras.Model(x, L.Dense(5)(y))


@network()
def flatten_concatenate_dense(keras: Any) -> Any:
    L = keras.layers
    x, z = keras.Input((6, 6, 3), name="x"), keras.Input((7,), name="z")
    y = L.Concatenate()([z, L.Flatten()(L.Conv2D(4, 3)(x))])
    return keras.Model([x, z], L.Dense(5)(L.BatchNormalization()(y)))


@network()
def two_flattens_concatenated(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((6, 6, 3), name="x")
    y = L.Conv2D(4, 3)(x)
    y = L.Concatenate()([L.Flatten()(y), L.Flatten()(L.MaxPooling2D(2)(y))])
    return keras.Model(x, L.Dense(5)(y))


@network()
def flatten_shared(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((6, 6, 3), name="x")
    y = L.Flatten()(L.Conv2D(4, 3)(x))
    return keras.Model(x, [L.Dense(5)(y), L.Dense(2, activation="relu")(y)])


@network()
def siamese(keras: Any) -> Any:
    """One Dense behind two Flattens: the weight is reordered for both."""
    L = keras.layers
    a, b = keras.Input((6, 6, 3), name="a"), keras.Input((6, 6, 3), name="b")
    conv, dense = L.Conv2D(4, 3), L.Dense(5)
    return keras.Model([a, b], L.Subtract()([dense(L.Flatten()(conv(t))) for t in (a, b)]))


@network(1)
def dense_shared_with_vector(keras: Any) -> Any:
    """The same Dense reads units whose order is the caller's: the transposition stays."""
    L = keras.layers
    a, b = keras.Input((6, 6, 3), name="a"), keras.Input((64,), name="b")
    dense = L.Dense(5)
    return keras.Model([a, b], L.Add()([dense(L.Flatten()(L.Conv2D(4, 3)(a))), dense(b)]))


@network(1)
def flatten_as_output(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((6, 6, 3), name="x")
    y = L.Flatten()(L.Conv2D(4, 3)(x))
    return keras.Model(x, [y, L.Dense(5)(y)])


@network()
def flatten_of_ones(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((6, 7, 3), name="x")
    return keras.Model(x, L.Flatten()(L.MaxPooling2D((4, 5))(L.Conv2D(4, 3)(x))))


@network(1)
def flatten_split(keras: Any) -> Any:
    """A slice of the units makes their order visible."""
    L = keras.layers
    x = keras.Input((6, 6, 3), name="x")
    y = L.Flatten()(L.Conv2D(4, 3)(x))
    return keras.Model(x, L.Dense(5)(y[:, 3:40]))
