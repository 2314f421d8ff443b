"""Rows for converter/ops/dropout.py and identity.py: what is gone at inference, and Masking."""

from typing import Any

from tests.cases import Case, unary


def behind_conv(case_id: str, shape: tuple[int, ...], layer: Any, dims: int = 2, **conv: Any) -> Case:
    """A row with the layer between two convolutions: no transposition is left."""

    def make(keras: Any) -> Any:
        L = keras.layers
        Conv = getattr(L, f"Conv{dims}D")
        x = keras.Input(shape, name="x")
        y = layer(L)(Conv(4, 2, **conv)(x))
        return keras.Model(x, Conv(5, 2, **conv)(y))

    return Case(case_id, make, transposes=0 if dims > 1 or conv else 2)


def masking(case_id: str, mask_value: Any, shape: tuple[int | None, ...], pooled: bool = False, **options: Any) -> Case:
    """A row whose input has steps equal to the mask value, and some equal in part; `pooled`: the mean of the others."""

    def make(keras: Any) -> Any:
        import numpy as np

        x = keras.Input(shape, name="x")
        pattern = np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], "float32")
        value = float(np.asarray(mask_value))
        y = x * pattern + value * (1.0 - pattern)
        y = keras.layers.Masking(mask_value)(y)
        return keras.Model(x, keras.layers.GlobalAveragePooling1D()(y) if pooled else y)

    return Case(case_id, make, **options)


CASES: list[Case] = [
    unary("dropout", (5,), lambda L: L.Dropout(0.3)),
    unary("dropout_0", (5,), lambda L: L.Dropout(0.0)),
    unary("dropout_1", (5,), lambda L: L.Dropout(1.0)),
    unary("dropout_seed", (5, 3), lambda L: L.Dropout(0.5, seed=7)),
    unary("dropout_noise_shape", (5, 3), lambda L: L.Dropout(0.5, noise_shape=(None, 1, None))),
    unary("dropout_noise_shape_number", (5, 3), lambda L: L.Dropout(0.5, noise_shape=(None, 5, 1))),
    unary("dropout_noise_shape_rank", (5, 3), lambda L: L.Dropout(0.5, noise_shape=(5, 1))),
    behind_conv("dropout_convs", (7, 6, 3), lambda L: L.Dropout(0.3)),
    behind_conv("dropout_noise_shape_convs", (7, 6, 3), lambda L: L.Dropout(0.3, noise_shape=(None, 1, 5, None))),
    unary("spatial_dropout1d", (5, 3), lambda L: L.SpatialDropout1D(0.3)),
    unary("spatial_dropout2d", (5, 4, 3), lambda L: L.SpatialDropout2D(0.3)),
    unary("spatial_dropout2d_first", (3, 5, 4), lambda L: L.SpatialDropout2D(0.3, data_format="channels_first")),
    unary("spatial_dropout3d", (2, 5, 4, 3), lambda L: L.SpatialDropout3D(0.3)),
    unary("spatial_dropout3d_first", (3, 2, 5, 4), lambda L: L.SpatialDropout3D(0.3, data_format="channels_first")),
    unary("spatial_dropout_unknown", (None, None, 3), lambda L: L.SpatialDropout2D(0.3)),
    behind_conv("spatial_dropout1d_convs", (7, 3), lambda L: L.SpatialDropout1D(0.3), dims=1),
    behind_conv("spatial_dropout2d_convs", (7, 6, 3), lambda L: L.SpatialDropout2D(0.3)),
    behind_conv("spatial_dropout3d_convs", (4, 7, 6, 3), lambda L: L.SpatialDropout3D(0.3), dims=3),
    unary("alpha_dropout", (5, 3), lambda L: L.AlphaDropout(0.3)),
    unary("alpha_dropout_0", (5, 3), lambda L: L.AlphaDropout(0.0)),
    unary("alpha_dropout_noise_shape", (5, 3), lambda L: L.AlphaDropout(0.3, noise_shape=(None, 1, 3))),
    unary("gaussian_noise", (5, 3), lambda L: L.GaussianNoise(0.3)),
    unary("gaussian_dropout", (5, 3), lambda L: L.GaussianDropout(0.3)),
    unary("gaussian_dropout_0", (5, 3), lambda L: L.GaussianDropout(0.0)),
    behind_conv("gaussian_noise_convs", (7, 6, 3), lambda L: L.GaussianNoise(0.3)),
    unary("identity", (5, 3), lambda L: L.Identity()),
    unary("activity_regularization", (5, 3), lambda L: L.ActivityRegularization(l1=0.1, l2=0.2)),
    masking("masking", 0.0, (4, 3)),
    masking("masking_value", -0.1, (4, 3)),
    masking("masking_pooled", 0.0, (4, 3), pooled=True),
    masking("masking_integer", 2, (4, 3)),
    masking("masking_rank4", 0.5, (5, 4, 3)),
    masking("masking_unknown", 0.5, (None, 4, 3)),
]
