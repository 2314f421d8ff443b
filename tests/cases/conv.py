"""Rows for converter/ops/conv.py, conv_transpose.py and depthwise.py."""

from typing import Any

from tests.cases import Case, unary

FIRST = "channels_first"
D1, D2, D3 = (11, 3), (9, 7, 3), (6, 7, 5, 2)
S1, S2, S3 = (None, 3), (None, None, 3), (None, None, None, 2)


def shared(keras: Any) -> Any:
    """One convolution with strides, called on two sizes that take different padding."""
    a, b = keras.Input((9, 7, 3), name="a"), keras.Input((8, 6, 3), name="b")
    layer = keras.layers.Conv2D(4, 3, strides=2, padding="same")
    return keras.Model([a, b], [layer(a), layer(b)])


def chain(keras: Any) -> Any:
    """Padding, convolutions, pooling and a dense head: no transposition is left."""
    L = keras.layers
    x = y = keras.Input((17, 13, 3))
    y = L.ZeroPadding2D(((0, 1), (1, 2)))(y)
    y = L.Conv2D(4, 3, strides=2, use_bias=False)(y)
    y = L.BatchNormalization()(y)
    y = L.ReLU()(y)
    y = L.DepthwiseConv2D(3, padding="same")(y)
    y = L.SeparableConv2D(6, 3, padding="same", activation="relu")(y)
    y = L.Cropping2D(((1, 0), (0, 1)))(y)
    y = L.UpSampling2D((2, 3))(y)
    y = L.Conv2DTranspose(5, 4, strides=2, padding="same", activation="relu")(y)
    y = L.MaxPooling2D(3, strides=2, padding="same")(y)
    y = L.GlobalAveragePooling2D()(y)
    return keras.Model(x, L.Dense(2)(y))


def conv(name: str, shape: tuple[int | None, ...], *args: Any, cls: str = "", **options: Any) -> Case:
    """A row of one layer that has no transposition left."""
    kind = cls or f"Conv{len(shape) - 1}D"
    transposes = 0 if len(shape) > 2 else None
    return unary(f"conv_{name}", shape, lambda L: getattr(L, kind)(*args, **options), transposes=transposes)


def transposed(name: str, shape: tuple[int | None, ...], *args: Any, **options: Any) -> Case:
    """A row of a transposed convolution."""
    return conv(f"transpose_{name}", shape, *args, cls=f"Conv{len(shape) - 1}DTranspose", **options)


def depthwise(name: str, shape: tuple[int | None, ...], *args: Any, **options: Any) -> Case:
    """A row of a depthwise convolution."""
    return conv(f"depthwise_{name}", shape, *args, cls=f"DepthwiseConv{len(shape) - 1}D", **options)


def separable(name: str, shape: tuple[int | None, ...], *args: Any, **options: Any) -> Case:
    """A row of a separable convolution."""
    return conv(f"separable_{name}", shape, *args, cls=f"SeparableConv{len(shape) - 1}D", **options)


CASES: list[Case] = [
    conv("1d", D1, 4, 3),
    conv("1d_same", D1, 4, 4, padding="same"),
    conv("1d_causal", D1, 4, 3, padding="causal"),
    conv("1d_causal_dilated", D1, 4, 3, padding="causal", dilation_rate=2),
    conv("1d_causal_strided", D1, 4, 3, padding="causal", strides=2),
    conv("1d_causal_unknown", S1, 4, 3, padding="causal", strides=2),
    conv("1d_strided", D1, 4, 3, strides=2, padding="same", activation="relu"),
    conv("1d_dilated", D1, 4, 3, dilation_rate=3, padding="same"),
    conv("1d_groups", (11, 6), 4, 3, groups=2),
    conv("1d_first", (3, 11), 4, 3, padding="same", data_format=FIRST),
    conv("1d_unknown", S1, 4, 3, padding="same"),
    conv("1d_unknown_strided", S1, 4, 4, padding="same", strides=3),
    conv("2d", D2, 4, 3),
    conv("2d_no_bias", D2, 4, 3, use_bias=False),
    conv("2d_softmax", D2, 4, 3, activation="softmax"),
    conv("2d_kernel", D2, 4, (3, 2), padding="same"),
    conv("2d_even", D2, 4, 4, padding="same"),
    conv("2d_strided", D2, 4, (3, 2), strides=(2, 3)),
    conv("2d_strided_same", D2, 4, (3, 5), strides=(2, 3), padding="same"),
    conv("2d_strided_same_even", (8, 6, 3), 4, (4, 2), strides=2, padding="same"),
    conv("2d_stride_above_kernel", D2, 4, 1, strides=2, padding="same"),
    conv("2d_dilated", D2, 4, (2, 3), dilation_rate=(3, 2)),
    conv("2d_dilated_same", D2, 4, (2, 3), dilation_rate=(3, 2), padding="same"),
    conv("2d_groups", (9, 7, 6), 4, 3, groups=2, padding="same"),
    conv("2d_first", (3, 9, 7), 4, 3, padding="same", data_format=FIRST),
    conv("2d_first_strided", (3, 9, 7), 4, (4, 3), strides=2, padding="same", data_format=FIRST),
    conv("2d_unknown", S2, 4, 3, padding="same"),
    conv("2d_unknown_even", S2, 4, (2, 4), padding="same", activation="relu"),
    conv("2d_unknown_strided", S2, 4, (3, 4), strides=(2, 3), padding="same"),
    conv("2d_unknown_dilated", S2, 4, 3, dilation_rate=2, padding="same"),
    conv("2d_unknown_height", (None, 7, 3), 4, 3, strides=2, padding="same"),
    conv("2d_frozen", D2, 4, 3, trainable=False),
    conv("3d", D3, 4, (2, 3, 3)),
    conv("3d_same", D3, 4, (2, 3, 4), padding="same", strides=(1, 2, 3)),
    conv("3d_dilated", D3, 4, 2, padding="same", dilation_rate=(1, 2, 3)),
    conv("3d_groups", (6, 7, 5, 4), 6, 2, groups=2, activation="tanh"),
    conv("3d_first", (2, 6, 7, 5), 4, 3, padding="same", strides=2, data_format=FIRST),
    conv("3d_unknown", S3, 4, 3, padding="same", strides=2),
    transposed("1d", D1, 4, 3),
    transposed("1d_same", D1, 4, 3, strides=2, padding="same"),
    transposed("1d_same_even", D1, 4, 4, strides=3, padding="same", activation="relu"),
    transposed("1d_small_kernel", D1, 4, 2, strides=3),
    transposed("1d_small_kernel_same", D1, 4, 2, strides=3, padding="same"),
    transposed("1d_dilated", D1, 4, 3, dilation_rate=2),
    transposed("1d_dilated_same", D1, 4, 4, dilation_rate=3, padding="same"),
    transposed("1d_output_padding", D1, 4, 3, strides=3, output_padding=1),
    transposed("1d_first", (3, 11), 4, 3, strides=2, padding="same", data_format=FIRST),
    transposed("1d_unknown", S1, 4, 3, strides=2, padding="same"),
    transposed("2d", D2, 4, 3),
    transposed("2d_no_bias", D2, 4, 3, strides=2, use_bias=False),
    transposed("2d_same", D2, 4, 3, padding="same"),
    transposed("2d_same_odd", D2, 4, (3, 5), strides=2, padding="same"),
    transposed("2d_same_even", D2, 4, (4, 2), strides=2, padding="same"),
    transposed("2d_same_mixed", D2, 4, (5, 2), strides=(2, 3), padding="same"),
    transposed("2d_small_kernel", D2, 4, (1, 2), strides=(2, 3)),
    transposed("2d_small_kernel_same", D2, 4, (1, 2), strides=(2, 3), padding="same"),
    transposed("2d_output_padding", D2, 4, (3, 2), strides=(2, 3), output_padding=(1, 2)),
    transposed("2d_output_padding_zero", D2, 4, 2, strides=3, output_padding=0),
    transposed("2d_output_padding_same", D2, 4, (3, 4), strides=(2, 3), padding="same", output_padding=(0, 2)),
    transposed("2d_output_padding_same_large", D2, 4, (5, 1), strides=3, padding="same", output_padding=(2, 1)),
    transposed("2d_dilated", D2, 4, (2, 3), dilation_rate=(3, 2)),
    transposed("2d_dilated_same", D2, 4, (2, 3), dilation_rate=(3, 2), padding="same"),
    transposed("2d_first", (3, 9, 7), 4, (3, 4), strides=2, padding="same", data_format=FIRST),
    transposed("2d_unknown", S2, 4, (3, 4), strides=(2, 3), padding="same", activation="relu"),
    transposed("2d_unknown_valid", S2, 4, (1, 4), strides=(2, 3)),
    transposed("3d", D3, 4, (2, 3, 3), strides=2),
    transposed("3d_same", D3, 4, (2, 3, 4), strides=(1, 2, 3), padding="same"),
    transposed("3d_output_padding", D3, 4, (3, 2, 3), strides=(2, 3, 2), padding="same", output_padding=(0, 1, 1)),
    transposed("3d_first", (2, 6, 7, 5), 4, 3, strides=2, padding="same", data_format=FIRST),
    transposed("3d_unknown", S3, 4, 3, strides=2, padding="same"),
    depthwise("1d", D1, 3),
    depthwise("1d_same", D1, 4, padding="same", strides=2, depth_multiplier=2, activation="relu"),
    depthwise("1d_dilated", D1, 3, padding="same", dilation_rate=2, use_bias=False),
    depthwise("1d_first", (3, 11), 3, padding="same", data_format=FIRST),
    depthwise("2d", D2, 3),
    depthwise("2d_multiplier", D2, (2, 3), depth_multiplier=2, padding="same"),
    depthwise("2d_strided", D2, 3, strides=2, padding="same", use_bias=False),
    depthwise("2d_strided_unequal", D2, (3, 4), strides=(2, 3), padding="same"),
    depthwise("2d_dilated", D2, 3, dilation_rate=(2, 1), padding="same", activation="relu"),
    depthwise("2d_first", (3, 9, 7), 4, strides=2, padding="same", depth_multiplier=2, data_format=FIRST),
    depthwise("2d_unknown", S2, 3, strides=2, padding="same", depth_multiplier=2),
    depthwise("2d_unknown_strided_dilated", S2, (3, 2), strides=2, dilation_rate=2, padding="same"),
    separable("1d", D1, 4, 3),
    separable("1d_same", D1, 4, 4, padding="same", strides=2, depth_multiplier=2, activation="relu"),
    separable("1d_causal_like", D1, 4, 3, padding="valid", dilation_rate=2, use_bias=False),
    separable("1d_first", (3, 11), 4, 3, padding="same", data_format=FIRST),
    separable("2d", D2, 4, 3),
    separable("2d_same", D2, 4, (3, 2), padding="same", strides=2, depth_multiplier=2, activation="relu"),
    separable("2d_no_bias", D2, 4, 3, use_bias=False, dilation_rate=2, padding="same"),
    separable("2d_first", (3, 9, 7), 4, 3, padding="same", depth_multiplier=2, data_format=FIRST),
    separable("2d_unknown", S2, 4, 3, padding="same", strides=2),
    separable("2d_unknown_strided_dilated", S2, 4, 3, padding="same", strides=2, dilation_rate=2),
    Case("conv_chain", chain, transposes=0),
    Case("conv_shared", shared, transposes=0),
]
