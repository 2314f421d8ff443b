"""Rows for whole models: shared layers, nested models, several inputs and outputs."""

from collections.abc import Callable
from typing import Any

from tests.cases import Case

CASES: list[Case] = []


def model(**options: Any) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """Make a row of a function from keras to a built model."""

    def register(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
        CASES.append(Case(f"model_{make.__name__}", make, **options))
        return make

    return register


def _encoder(keras: Any, name: str = "encoder", channels: int = 4) -> Any:
    L = keras.layers
    x = keras.Input((7, 6, 3), name=f"{name}_image")
    y = L.Conv2D(channels, 3, activation="relu", name=f"{name}_conv")(x)
    return keras.Model(x, L.BatchNormalization(name=f"{name}_norm")(y), name=name)


@model()
def shared_dense(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((5,), name="x")
    dense = L.Dense(5, activation="tanh")
    return keras.Model(x, dense(dense(dense(x))))


@model(transposes=0)
def shared_conv(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((7, 6, 3), name="x")
    conv = L.Conv2D(3, 3, padding="same")
    norm = L.BatchNormalization()
    return keras.Model(x, norm(conv(L.ReLU()(norm(conv(x))))))


@model(transposes=0)
def nested(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((7, 6, 3), name="x")
    y = _encoder(keras)(x)
    return keras.Model(x, L.Dense(5)(L.Flatten()(y)))


@model(transposes=0)
def nested_twice(keras: Any) -> Any:
    L = keras.layers
    a, b = keras.Input((7, 6, 3), name="a"), keras.Input((7, 6, 3), name="b")
    encoder = _encoder(keras)
    return keras.Model([a, b], L.Concatenate()([encoder(a), encoder(b)]))


@model(transposes=0)
def nested_inside_nested(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((7, 6, 3), name="middle_image")
    middle = keras.Model(x, L.Conv2D(3, 2)(_encoder(keras)(x)), name="middle")
    outer = keras.Input((7, 6, 3), name="x")
    return keras.Model(outer, L.Dense(2)(L.Flatten()(middle(outer))))


@model(transposes=0)
def sequential_in_sequential(keras: Any) -> Any:
    L = keras.layers
    body = keras.Sequential([keras.Input((7, 6, 3)), L.Conv2D(4, 3), L.ReLU(), L.MaxPooling2D(2)], name="body")
    head = keras.Sequential(
        [keras.Input((16,)), L.Dense(6, activation="relu"), L.Dropout(0.2), L.Dense(3)], name="head"
    )
    return keras.Sequential([keras.Input((7, 6, 3), name="x"), body, L.Flatten(), head])


@model(transposes=0)
def two_nested_alike(keras: Any) -> Any:
    """Two nested models that differ in numbers alone."""
    L = keras.layers
    x = keras.Input((7, 6, 3), name="x")
    return keras.Model(x, L.Concatenate()([_encoder(keras, "one", 4)(x), _encoder(keras, "two", 5)(x)]))


@model(transposes=0)
def layer_of_a_nested_model_outside(keras: Any) -> Any:
    """A convolution inside a nested model that the outer model calls by itself as well."""
    L = keras.layers
    x = keras.Input((7, 6, 3), name="x")
    encoder = _encoder(keras)
    conv = encoder.get_layer("encoder_conv")
    return keras.Model(x, L.Add()([encoder(x), conv(x)]))


@model(transposes=0)
def nested_with_several_ends(keras: Any) -> Any:
    L = keras.layers
    a, b = keras.Input((7, 6, 3), name="inner_a"), keras.Input((7, 6, 3), name="inner_b")
    joined = L.Add()([a, L.Conv2D(3, 3, padding="same")(b)])
    inner = keras.Model([a, b], [L.Conv2D(4, 3)(joined), L.GlobalAveragePooling2D()(joined)], name="inner")
    x, y = keras.Input((7, 6, 3), name="x"), keras.Input((7, 6, 3), name="y")
    image, vector = inner([x, y])
    image_again, _ = inner([y, x])
    return keras.Model([x, y], [L.Conv2D(2, 2)(L.Add()([image, image_again])), L.Dense(2)(vector)])


@model()
def nested_identity(keras: Any) -> Any:
    """A nested model that does nothing at inference."""
    L = keras.layers
    inner = keras.Sequential([keras.Input((7, 6, 3)), L.RandomFlip(), L.RandomRotation(0.1)], name="augment")
    x = keras.Input((7, 6, 3), name="x")
    return keras.Model(x, L.Conv2D(4, 3)(inner(x)))


@model()
def one_value_twice(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((5,), name="x")
    y = L.Dense(4)(x)
    return keras.Model(x, [y, y, x])


@model()
def frozen_parts(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((7, 6, 3), name="x")
    encoder = _encoder(keras)
    encoder.trainable = False
    return keras.Model(x, L.Dense(5)(L.Flatten()(encoder(x))))


@model()
def unknown_length(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((None, 3), name="x")
    y = L.Conv1D(4, 3, padding="same", activation="relu")(x)
    return keras.Model(x, L.Concatenate()([L.Dense(2)(y), L.Conv1D(5, 5, padding="same")(y)]))


@model(transposes=0)
def unknown_height_and_width(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((None, None, 3), name="x")
    y = L.Conv2D(4, 3, strides=2, padding="same", activation="relu")(x)
    y = L.MaxPooling2D(2, padding="same")(L.BatchNormalization()(y))
    return keras.Model(x, L.Conv2D(2, 1)(y))


@model()
def deep_dense(keras: Any) -> Any:
    L = keras.layers
    x = y = keras.Input((5,), name="x")
    for _ in range(40):
        y = L.Add()([y, L.Dense(5, activation="tanh")(y)])
    return keras.Model(x, y)


@model(transposes=0)
def layer_of_two_nested_models(keras: Any) -> Any:
    """One convolution inside two nested models, and in the outer one."""
    L = keras.layers
    conv = L.Conv2D(3, 3, padding="same", name="shared")
    nested = []
    for name in ("one", "two"):
        x = keras.Input((7, 6, 3), name=f"{name}_x")
        nested.append(keras.Model(x, L.Conv2D(3, 1, name=f"{name}_conv")(L.ReLU()(conv(x))), name=name))
    x = keras.Input((7, 6, 3), name="x")
    return keras.Model(x, conv(nested[1](nested[0](x))))
