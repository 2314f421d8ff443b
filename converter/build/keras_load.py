"""Generated Keras source made into a live model."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from converter import frameworks
from converter.build.torch_load import execute


def load(text: str, weights: Iterable[tuple[str, str, np.ndarray]]) -> Any:
    """The model of a generated file with its weights (layer, name, numbers); it owns its memory."""
    frameworks.choose_keras()
    with _plain_keras():
        model = execute(text).build()
        left = {(layer.name, w.name): w for layer in model.layers for w in layer.weights}
        for layer, name, data in weights:
            variable = left.pop((layer, name))
            if tuple(variable.shape) != data.shape:
                raise ValueError(f"{layer}/{name}: expected the shape {tuple(variable.shape)}, received {data.shape}")
            variable.assign(np.array(data, order="C", copy=True))
    if left:
        raise ValueError(f"weights without numbers: {', '.join('/'.join(key) for key in left)}")
    return model


@contextlib.contextmanager
def _plain_keras() -> Iterator[None]:
    """Keras as the generated file means it: float32, channels last; settings and RNG are as before on leaving."""
    import keras

    policy, floatx, order = keras.config.dtype_policy(), keras.config.floatx(), keras.config.image_data_format()
    state, numpy_state = random.getstate(), np.random.get_state()
    try:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
        keras.config.set_image_data_format("channels_last")
        yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)
        keras.config.set_image_data_format(order)
        random.setstate(state)
        np.random.set_state(numpy_state)
