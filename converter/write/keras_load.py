"""Generated Keras source made into a live model."""

from __future__ import annotations

import contextlib
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from converter import frameworks
from converter.write.execute import execute


def load(text: str, weights: Iterable[tuple[str, str, np.ndarray]], layers: int = 0) -> Any:
    """The model of a generated file with its weights (layer, name, numbers); it owns its memory.

    `layers` is about how many it has: Keras goes through a model by recursion.
    """
    frameworks.choose_keras()
    with _plain_keras(), frameworks.room_for(layers):
        model = execute(text).build()
        _number(model)
        left = {(layer.name, w.name): w for layer in model.layers for w in layer.weights}
        for layer, name, data in weights:
            variable = left.pop((layer, name))
            if tuple(variable.shape) != data.shape:
                raise ValueError(f"{layer}/{name}: expected the shape {tuple(variable.shape)}, received {data.shape}")
            variable.assign(np.array(data, order="C", copy=True))
    if left:
        raise ValueError(f"weights without numbers: {', '.join('/'.join(key) for key in left)}")
    return model


def _number(model: Any) -> None:
    """Number operations within the model, as in a fresh process: Keras counts them from the process's first on."""
    import keras

    counts: Counter[str] = Counter()
    for operation in model.operations:
        if not isinstance(operation, keras.Layer):
            stem = re.sub(r"_\d+$", "", operation.name)
            operation.name = f"{stem}_{counts[stem]}" if counts[stem] else stem
            counts[stem] += 1


def load_in_order(text: str, arrays: Sequence[np.ndarray], layers: int = 0) -> Any:
    """The model of a source whose weights are told apart by their order in `model.weights`."""
    frameworks.choose_keras()
    with _plain_keras(), frameworks.room_for(layers):
        model = execute(text).build()
        for variable, data in zip(model.weights, arrays, strict=True):
            variable.assign(np.array(data, order="C", copy=True))
    return model


def arrays_in_order(model: Any) -> list[np.ndarray]:
    """Every weight of a model in the order of `model.weights`, as it is now."""
    return [array_of(weight) for weight in model.weights]


def load_file(path: Path, layers: int = 0) -> Any:
    """The model of a .keras file that this package has written."""
    import keras

    with _plain_keras(), frameworks.room_for(layers):
        return keras.saving.load_model(path, compile=False)


def arrays_of(model: Any) -> dict[str, np.ndarray]:
    """Every weight of a model by 'layer/weight', as it is now."""
    return {f"{layer.name}/{weight.name}": array_of(weight) for layer in model.layers for weight in layer.weights}


def array_of(weight: Any) -> np.ndarray:
    """The numbers of one variable, in its own dtype."""
    import keras

    value = keras.ops.convert_to_numpy(weight)
    return np.asarray(value).astype(_numpy_dtype(str(weight.dtype)), copy=False)


def _numpy_dtype(name: str) -> np.dtype[Any]:
    if name == "bfloat16":
        import ml_dtypes

        name = ml_dtypes.bfloat16
    made: np.dtype[Any] = np.dtype(name)
    return made


@contextlib.contextmanager
def _plain_keras() -> Iterator[None]:
    """Keras as the generated file means it: float32, channels last; settings and RNG are as before on leaving.

    Layers that draw (Dropout) take a seed from Python's RNG when they are made: it starts at the same point each time,
    so that the same model is the same file.
    """
    import keras

    policy, floatx, order = keras.config.dtype_policy(), keras.config.floatx(), keras.config.image_data_format()
    state, numpy_state = random.getstate(), np.random.get_state()
    try:
        random.seed(0)
        np.random.seed(0)
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
