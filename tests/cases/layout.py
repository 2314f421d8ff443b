"""Rows for graph/layout.py and graph/flatten.py: small networks of the shapes that people build, and how many
transpositions they may keep."""

from collections.abc import Callable
from typing import Any

from tests.cases import Case

CASES: list[Case] = []


Make = Callable[[Any], Any]


def registrar(cases: list[Case]) -> Callable[..., Callable[[Make], Make]]:
    """A decorator `network(transposes)` that makes a row of a function from keras to a built model."""

    def network(transposes: int | None = 0, **options: Any) -> Callable[[Make], Make]:
        def register(make: Make) -> Make:
            cases.append(Case(f"layout_{make.__name__}", make, transposes=transposes, **options))  # type: ignore[attr-defined]
            return make

        return register

    return network


network = registrar(CASES)


@network()
def squeeze_excite_dense(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((7, 6, 3), name="x")
    y = L.Conv2D(4, 3)(x)
    s = L.Reshape((1, 1, 4))(L.GlobalAveragePooling2D()(y))
    s = L.Dense(4, activation="sigmoid")(L.Dense(2, activation="relu")(s))
    return keras.Model(x, L.Conv2D(5, 2)(L.Multiply()([y, s])))


@network()
def squeeze_excite_dense_first(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((7, 6, 3), name="x")
    y = L.Conv2D(4, 3)(x)
    s = L.Dense(2, activation="relu")(L.GlobalAveragePooling2D()(y))
    s = L.Reshape((1, 1, 4))(L.Dense(4, activation="sigmoid")(s))
    return keras.Model(x, L.Conv2D(5, 2)(L.Multiply()([s, y])))


@network()
def squeeze_excite_conv(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((7, 6, 3), name="x")
    y = L.Conv2D(4, 3)(x)
    s = L.Reshape((1, 1, 4))(L.GlobalAveragePooling2D()(y))
    s = L.Conv2D(4, 1, activation="sigmoid")(L.Conv2D(2, 1, activation="relu")(s))
    return keras.Model(x, L.Conv2D(5, 2)(L.Multiply()([y, s])))


@network()
def squeeze_excite_keepdims(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((7, 6, 3), name="x")
    y = L.Conv2D(4, 3)(x)
    s = L.GlobalAveragePooling2D(keepdims=True)(y)
    s = L.Dense(4, activation="sigmoid")(L.Dense(2, activation="relu")(s))
    return keras.Model(x, L.Conv2D(5, 2)(L.Multiply()([y, s])))


@network()
def squeeze_excite_scaled(keras: Any) -> Any:
    """Constants and activations between the dense layers and the product."""
    L = keras.layers
    x = keras.Input((7, 6, 3), name="x")
    y = L.Conv2D(4, 3)(x)
    s = L.Reshape((1, 1, 4))(L.GlobalAveragePooling2D()(y))
    s = L.ReLU(6.0)(L.Dense(4)(s) + 3.0) * (1.0 / 6.0)
    return keras.Model(x, L.Conv2D(5, 2)(L.Multiply()([y, s])))


@network()
def mobile(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((17, 15, 3), name="x")
    y = L.Conv2D(4, 3, strides=2, padding="same", use_bias=False)(x)
    y = L.ReLU(6.0)(L.BatchNormalization()(y))
    for filters, stride in ((4, 1), (5, 2), (5, 1)):
        z = L.Conv2D(9, 1, use_bias=False)(y)
        z = L.ReLU(6.0)(L.BatchNormalization()(z))
        z = L.ZeroPadding2D(((0, 1), (0, 1)))(z) if stride == 2 else z
        z = L.DepthwiseConv2D(3, strides=stride, padding="valid" if stride == 2 else "same", use_bias=False)(z)
        z = L.BatchNormalization()(L.Conv2D(filters, 1, use_bias=False)(z))
        y = L.Add()([y, z]) if stride == 1 and y.shape[-1] == filters else z
    y = L.Dropout(0.2)(L.GlobalAveragePooling2D(keepdims=True)(y))
    return keras.Model(x, L.Softmax()(L.Reshape((7,))(L.Conv2D(7, 1)(y))))


@network()
def inception(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((9, 8, 3), name="x")
    y = L.Conv2D(4, 3, padding="same", activation="relu")(x)
    a = L.Conv2D(2, 1)(y)
    b = L.Conv2D(5, 3, padding="same")(L.Conv2D(2, 1)(y))
    c = L.Conv2D(3, 1)(L.MaxPooling2D(3, strides=1, padding="same")(y))
    y = L.Concatenate()([a, b, c])
    y = L.Activation("relu")(L.BatchNormalization()(y))
    return keras.Model(x, L.Dense(6)(L.GlobalAveragePooling2D()(L.Conv2D(4, 3)(y))))


@network()
def unet(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((12, 16, 3), name="x")
    one = L.Conv2D(4, 3, padding="same", activation="relu")(x)
    two = L.Conv2D(5, 3, padding="same", activation="relu")(L.MaxPooling2D(2)(one))
    three = L.Conv2D(6, 3, padding="same", activation="relu")(L.MaxPooling2D(2)(two))
    y = L.Concatenate()([L.UpSampling2D(2)(three), two])
    y = L.Conv2D(5, 3, padding="same", activation="relu")(y)
    y = L.Concatenate(axis=3)([one, L.UpSampling2D(2)(y)])
    return keras.Model(x, L.Conv2D(2, 1, activation="softmax")(y))


@network()
def unet_any_size(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((None, None, 3), name="x")
    one = L.Conv2D(4, 3, padding="same")(x)
    y = L.Conv2D(5, 3, padding="same")(one)
    y = L.Concatenate()([one, L.Activation("relu")(y)])
    return keras.Model(x, L.Conv2D(2, 1, activation="sigmoid")(y))


@network(1)
def permute_swaps_sides(keras: Any) -> Any:
    """The source's own transposition stays one transposition."""
    L = keras.layers
    x = keras.Input((7, 6, 3), name="x")
    return keras.Model(x, L.Conv2D(5, 2)(L.Permute((2, 1, 3))(L.Conv2D(4, 3)(x))))


@network()
def permute_to_channels_first(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((7, 6, 3), name="x")
    y = L.Flatten()(L.Permute((3, 1, 2))(L.Conv2D(4, 3)(x)))
    return keras.Model(x, L.Dense(5)(y))


@network(1)
def permute_then_steps(keras: Any) -> Any:
    """As in text recognition: columns become steps."""
    L = keras.layers
    x = keras.Input((8, 9, 3), name="x")
    y = L.Reshape((7, -1))(L.Permute((2, 1, 3))(L.Conv2D(4, 3)(x)))
    return keras.Model(x, L.Dense(5)(y))


@network()
def permute_input_to_first(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((7, 6, 3), name="x")
    return keras.Model(x, L.Dense(5)(L.Flatten()(L.Permute((2, 1, 3))(x))))


@network()
def global_pooling_head(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((None, None, 3), name="x")
    y = L.Conv2D(4, 3, activation="relu")(x)
    y = L.Concatenate()([L.GlobalAveragePooling2D()(y), L.GlobalMaxPooling2D()(y)])
    return keras.Model(x, L.Dense(5, activation="softmax")(L.Dropout(0.5)(y)))


@network()
def two_outputs_rank4(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((7, 6, 3), name="x")
    y = L.Conv2D(4, 3)(x)
    return keras.Model(x, [L.Conv2D(5, 1)(y), L.Activation("relu")(y), L.Dense(2)(L.Flatten()(y))])


@network()
def dict_outputs(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((7, 6, 3), name="x")
    y = L.Conv2D(4, 3)(x)
    return keras.Model(x, {"map": L.Conv2D(5, 1)(y), "class": L.Dense(2)(L.GlobalAveragePooling2D()(y))})


@network(1)
def input_for_conv_and_dense(keras: Any) -> Any:
    """The input is turned for the convolution; a dense layer over its channels needs it the other way."""
    L = keras.layers
    x = keras.Input((7, 6, 3), name="x")
    return keras.Model(x, [L.Conv2D(4, 3)(x), L.GlobalAveragePooling1D()(L.Reshape((42, 5))(L.Dense(5)(x)))])


@network()
def input_for_conv_and_flatten(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((5, 5, 3), name="x")
    return keras.Model(x, L.Add()([L.Dense(5)(L.Flatten()(L.Conv2D(4, 3)(x))), L.Dense(5)(L.Flatten()(x))]))


@network()
def input_as_skip(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((7, 6, 3), name="x")
    return keras.Model(x, L.Add()([x, L.Conv2D(3, 3, padding="same")(x)]))


@network(2)
def dense_over_channels(keras: Any) -> Any:
    """A Dense on (N, H, W, C) between convolutions: there and back, as a hand-written port has it."""
    L = keras.layers
    x = keras.Input((7, 6, 3), name="x")
    y = L.Conv2D(4, 3)(x)
    return keras.Model(x, L.Conv2D(3, 2)(L.Dense(5, activation="relu")(y)))


@network(2)
def dense_over_channels_residual(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((7, 6, 3), name="x")
    y = L.Conv2D(4, 3)(x)
    return keras.Model(x, L.Conv2D(3, 2)(L.Add()([y, L.Dense(4, activation="relu")(y)])))


@network(1)
def tokens(keras: Any) -> Any:
    """As in a vision transformer: patches become steps, once."""
    L = keras.layers
    x = keras.Input((8, 8, 3), name="x")
    y = L.Reshape((16, 5))(L.Conv2D(5, 2, strides=2)(x))
    return keras.Model(x, L.Dense(4)(y))


@network(2)
def detection_heads(keras: Any) -> Any:
    """Boxes of two maps, one after another: the last axis is split, so that each map is transposed once."""
    L = keras.layers
    x = keras.Input((8, 9, 3), name="x")
    y = L.Conv2D(5, 3)(x)
    z = L.Conv2D(5, 3, strides=2)(y)
    boxes = [L.Reshape((-1, 4))(L.Conv2D(8, 3, padding="same")(t)) for t in (y, z)]
    return keras.Model(x, L.Concatenate(axis=1)(boxes))


@network()
def channels_first(keras: Any) -> Any:
    L = keras.layers
    first = {"data_format": "channels_first"}
    x = keras.Input((3, 7, 6), name="x")
    y = L.BatchNormalization(axis=1)(L.Conv2D(4, 3, **first)(x))
    y = L.Concatenate(axis=1)([y, L.Activation("relu")(y)])
    y = L.MaxPooling2D(2, **first)(y)
    return keras.Model(x, L.Dense(5)(L.Flatten()(y)))


@network()
def channels_first_flattened_last(keras: Any) -> Any:
    L = keras.layers
    first = {"data_format": "channels_first"}
    x = keras.Input((3, 6, 6), name="x")
    return keras.Model(x, L.Dense(5)(L.Flatten(**first)(L.Conv2D(4, 3, **first)(x))))


@network()
def product_of_outer_maps(keras: Any) -> Any:
    """Operands that are broadcast along different axes."""
    L = keras.layers
    x = keras.Input((7, 6, 3), name="x")
    y = L.Conv2D(4, 3)(x)
    rows, columns = L.MaxPooling2D((1, 4))(y), L.MaxPooling2D((5, 1))(y)
    return keras.Model(x, L.Conv2D(2, 2)(L.Add()([L.Multiply()([rows, columns]), y])))


@network()
def conditioned(keras: Any) -> Any:
    """A vector that scales and shifts the channels of a map."""
    L = keras.layers
    x, z = keras.Input((7, 6, 3), name="x"), keras.Input((5,), name="z")
    y = L.Conv2D(4, 3)(x)
    scale, shift = L.Dense(4)(z), L.Reshape((1, 1, 4))(L.Dense(4)(z))
    return keras.Model([x, z], L.Conv2D(2, 2)(L.Add()([L.Multiply()([y, scale]), shift])))


@network()
def two_maps_added(keras: Any) -> Any:
    """A map made from a vector meets a map made by a convolution."""
    L = keras.layers
    x, z = keras.Input((7, 6, 3), name="x"), keras.Input((5,), name="z")
    y = L.Conv2D(4, 3)(x)
    made = L.Activation("tanh")(L.Reshape((5, 4, 4))(L.Dense(80)(z)))
    return keras.Model([x, z], L.Conv2D(2, 2)(L.Add()([y, made])))


@network(1)
def foreign_map_concatenated(keras: Any) -> Any:
    """A map whose order is the caller's joins two convolutions: one transposition, of that map."""
    L = keras.layers
    x, z = keras.Input((7, 6, 3), name="x"), keras.Input((60,), name="z")
    y = L.Conv2D(4, 3)(x)
    return keras.Model([x, z], L.Conv2D(2, 2)(L.Concatenate()([y, L.Reshape((5, 4, 3))(z)])))


@network()
def sequences_stay(keras: Any) -> Any:
    """A dense network over sequences has no transposition."""
    L = keras.layers
    x = keras.Input((7, 3), name="x")
    return keras.Model(x, L.Dense(5)(L.Flatten()(L.Dense(4, activation="relu")(x))))


@network(1)
def conv1d_stack(keras: Any) -> Any:
    """Rank 3 is not turned at the boundary: one transposition in, none between, none behind the pooling."""
    L = keras.layers
    x = keras.Input((9, 3), name="x")
    y = L.MaxPooling1D(2)(L.BatchNormalization()(L.Conv1D(4, 3, padding="same", activation="relu")(x)))
    y = L.SpatialDropout1D(0.3)(L.Conv1D(5, 2)(y))
    return keras.Model(x, L.Dense(4)(L.GlobalAveragePooling1D()(y)))


@network()
def conv3d_stack(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((5, 7, 6, 3), name="x")
    y = L.MaxPooling3D(2)(L.Conv3D(4, 2, activation="relu")(x))
    return keras.Model(x, L.Dense(4)(L.Flatten()(y)))
