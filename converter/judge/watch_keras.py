"""A Keras model watched: every layer's and operation's answer, and what its activation is given, on any backend.

THE place where a layer's `call` is replaced for the time of a run. Hooks of nn.Module do not fire, for Keras's
Layer.__call__ goes past nn.Module's, and a functional model of inner values cannot show what subclassed layers hold."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .compare import Array
from .keep64_torch import kept64
from .run_keras import Pack, exact_keras, float64_keras, keras_callable
from .taps import Outputs
from .watch import LINEAR, Calls, Emit, Key, Seen, Side, leaves, told


def keras_side(model: Any, *, double: bool = True, pack: Pack = None) -> Side:
    """A Side from a model in the precision that it is in; `double`: it is a float64 twin."""
    import keras

    def watched(emit: Emit) -> Callable[[Sequence[Array]], Outputs]:
        run = keras_callable(model, double=double, pack=pack)

        def call(arrays: Sequence[Array]) -> Outputs:
            with watching(model, emit):
                return run(arrays)

        return call

    def alone(part: Any, inputs: Sequence[Array], weights: Mapping[str, Array], settings: Mapping[str, Any]) -> Array:
        variables = {weight.name: weight for weight in part.weights}
        before = {name: np.array(keras.ops.convert_to_numpy(variables[name])) for name in weights}
        old = {name: getattr(part, name) for name in settings}
        try:
            for name, value in weights.items():
                variables[name].assign(np.ascontiguousarray(value))
            for name, value in settings.items():
                setattr(part, name, value)
            with float64_keras() if double else contextlib.nullcontext():
                result = part(*[keras.ops.convert_to_tensor(np.ascontiguousarray(x)) for x in inputs])
            return _array(leaves(result, _is_tensor)[0])
        finally:
            for name, value in before.items():
                variables[name].assign(value)
            for name, value in old.items():
                setattr(part, name, value)

    @contextlib.contextmanager
    def around() -> Iterator[None]:
        kept = kept64() if double and keras.backend.backend() == "torch" else contextlib.nullcontext()
        with exact_keras(), float64_keras() if double else contextlib.nullcontext(), kept:
            yield

    return Side("keras", dict(parts(model)), watched, _array, _weights, alone, around)


def parts(owner: Any, prefix: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
    """Every layer and operation with its path, those inside nested models and custom layers behind their owner."""
    import keras

    seen = set() if seen is None else seen
    inner = getattr(owner, "operations", None) or owner._flatten_layers(recursive=False, include_self=False)
    for part in inner:
        if isinstance(part, keras.layers.InputLayer) or id(part) in seen:
            continue
        seen.add(id(part))
        path = f"{prefix}/{part.name}" if prefix else part.name
        yield path, part
        if isinstance(part, keras.layers.Layer) and not is_whole(part):
            yield from parts(part, path, seen)


def is_whole(part: Any) -> bool:
    """Whether nothing inside is looked at: Keras's own layers and operations, but no models."""
    import keras

    if isinstance(part, keras.Model):
        return False
    return not isinstance(part, keras.layers.Layer) or type(part).__module__.split(".")[0] == "keras"


@contextlib.contextmanager
def watching(model: Any, emit: Emit) -> Iterator[None]:
    """While this is open, `emit` is told of every value; all is as before on leaving."""
    calls = Calls()
    undo: list[Callable[[], None]] = []
    try:
        for path, part in parts(model):
            undo.append(_replace(part, "call", _watched(path, part, calls, emit)))
            if _has_activation(part):
                undo.append(_replace(part, "activation", _shown(path, part, calls, emit)))
        yield
    finally:
        for back in reversed(undo):
            back()


def _watched(path: str, part: Any, calls: Calls, emit: Emit) -> Any:
    inner, whole, kind = part.call, is_whole(part), type(part).__name__

    @functools.wraps(inner)
    def call(*args: Any, **kwargs: Any) -> Any:
        if calls.inside:
            return inner(*args, **kwargs)
        given = tuple(leaves([args, kwargs], _is_tensor))
        if whole:
            calls.given = given
        calls.inside += whole
        try:
            result = inner(*args, **kwargs)
        finally:
            calls.inside -= whole
        number = calls.next(path)
        with calls.quiet():
            return told(
                result,
                _is_tensor,
                lambda index, tensor: emit(Seen(Key(path, number, index), kind, whole, tensor, given)),
                _tensor,
            )

    return call


def _shown(path: str, part: Any, calls: Calls, emit: Emit) -> Any:
    inner, kind = part.activation, type(part).__name__

    def activation(x: Any, *args: Any, **kwargs: Any) -> Any:
        if calls.inside == 1 and not args and not kwargs:
            key = Key(path, calls.counts.get(path, 0), 0, LINEAR)
            x = told(x, _is_tensor, lambda index, tensor: emit(Seen(key, kind, True, tensor, calls.given)), _tensor)
        return inner(x, *args, **kwargs)

    return activation


def _has_activation(part: Any) -> bool:
    """Whether the layer computes something of its weights and then an activation of it, once a call."""
    if not is_whole(part) or not getattr(part, "weights", None):
        return False
    found = vars(part).get("activation", getattr(part, "_modules", {}).get("activation"))
    return callable(found) and getattr(found, "__name__", "") != "linear"


def _replace(part: Any, name: str, new: Any) -> Callable[[], None]:
    """Set an attribute past every tracker; what undoes it."""
    had = name in vars(part)
    old = vars(part).get(name)
    object.__setattr__(part, name, new)

    def back() -> None:
        if had:
            object.__setattr__(part, name, old)
        else:
            object.__delattr__(part, name)

    return back


def _weights(part: Any) -> dict[str, Array]:
    import keras

    return {each.name: np.array(keras.ops.convert_to_numpy(each)) for each in getattr(part, "weights", ())}


def _is_tensor(value: Any) -> bool:
    import keras

    return bool(keras.ops.is_tensor(value))


def _tensor(array: Array, like: Any) -> Any:
    import keras

    return keras.ops.convert_to_tensor(array, dtype=keras.backend.standardize_dtype(like.dtype))


def _array(tensor: Any) -> Array:
    import keras

    return np.array(keras.ops.convert_to_numpy(tensor))
