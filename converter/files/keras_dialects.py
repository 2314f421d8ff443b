"""What older Keras versions compute and Keras 3 has no name for, as registered Keras 3 functions."""

from __future__ import annotations

from typing import Any

PACKAGE = "kconvert"
HARD_SIGMOID_V2 = f"{PACKAGE}>hard_sigmoid_v2"
HARD_SIGMOID_CONFIG = {
    "module": "builtins",
    "class_name": "function",
    "config": HARD_SIGMOID_V2,
    "registered_name": "function",
}


def hard_sigmoid_v2(x: Any) -> Any:
    """The hard sigmoid of Keras 1 and 2: 0.2 x + 0.5 cut to [0, 1] (Keras 3 computes relu6(x + 3) / 6)."""
    from keras import ops

    return ops.clip(ops.add(ops.multiply(x, 0.2), 0.5), 0.0, 1.0)


def register() -> None:
    """Make the functions known to Keras, once."""
    import keras

    if keras.saving.get_registered_object(HARD_SIGMOID_V2) is None:
        keras.saving.register_keras_serializable(package=PACKAGE, name="hard_sigmoid_v2")(hard_sigmoid_v2)
