"""Building a Keras model from a vetted configuration, without allocating a weight before its size is known.

Keras's StatelessScope defers the creation of variables: the whole model is built with shapes alone, the caller checks
these against the file, and only then are the variables made. All of it happens in a thread of its own, because Keras
keeps its global state (scopes, deferred variables, counters for automatic names) per thread: a model that is refused
leaves nothing behind, and the user's own names and policies neither change the result nor are changed.
"""

from __future__ import annotations

import random
import threading
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from converter import frameworks
from converter.errors import BadInput, ConvertError
from converter.files import keras_dialects


def build_model(
    config: dict[str, Any], custom: Mapping[str, Any], check: Callable[[Any], None], label: str, trust: bool = False
) -> Any:
    """The model, its weights not yet those of the file; `check` sees it before any weight exists."""
    outcome: dict[str, Any] = {}

    def work() -> None:
        try:
            outcome["model"] = _build(config, custom, check, label, trust)
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread below
            outcome["error"] = error

    state = random.getstate()  # Keras draws the seeds of initializers from it
    thread = threading.Thread(target=work, name="kconvert-build")
    thread.start()
    thread.join()
    random.setstate(state)
    if "error" in outcome:
        raise outcome["error"]
    return outcome["model"]


def _build(
    config: dict[str, Any], custom: Mapping[str, Any], check: Callable[[Any], None], label: str, trust: bool = False
) -> Any:
    import keras

    keras_dialects.register()
    objects = dict(custom)
    with keras.saving.custom_object_scope(objects), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # on names of inputs, which are as the file has them
        try:
            with keras.StatelessScope(initialize_variables=False), frameworks.room_for(_layers(config)):
                model = keras.saving.deserialize_keras_object(config, custom_objects=objects, safe_mode=not trust)
        except ConvertError:
            raise
        except Exception as error:
            raise BadInput(f"{label}: Keras cannot build the model that the file describes: {_short(error)}") from error
        if not isinstance(model, keras.Model):
            raise BadInput(f"{label}: expected a model, but the file describes a {type(model).__name__}.")
        if not model.built:
            raise BadInput(
                f"{label}: the model {model.name!r} was saved without the shape of its input. "
                "Build it (model.build(shape)) where it was made and save it again, or pass --arch."
            )
        check(model)
        _initialise(model)
    return model


def _layers(config: Mapping[str, Any]) -> int:
    """The layers that a configuration holds, those of nested models too."""
    inner = (config.get("config") or {}).get("layers") if isinstance(config.get("config"), Mapping) else None
    return 1 + sum(_layers(layer) for layer in inner or () if isinstance(layer, Mapping))


def _initialise(model: Any) -> None:
    """Leaving a StatelessScope makes the deferred variables; Keras's torch layers then list them as parameters."""
    import keras

    for variable in model.weights:
        if variable.trainable and hasattr(variable, "_initializer"):
            variable._initializer = keras.initializers.Zeros()  # the file's numbers follow; random ones cost twice
    with keras.StatelessScope():
        pass
    if keras.backend.backend() == "torch":
        for module in model.modules():
            getattr(module, "torch_params", None)


def _short(error: BaseException) -> str:
    """The message without the configuration that Keras repeats in it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("config=", "Full object config:"))]
    lines = lines or [type(error).__name__]
    text = lines[-1] if "deserializ" in lines[0] else " ".join(lines)
    return text if len(text) <= 600 else text[:600] + " ..."
