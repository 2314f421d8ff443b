"""A keras.Model as a Runner, and its twin in float64, rebuilt from its config with every dtype policy replaced."""

from __future__ import annotations

import contextlib
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FunctionType
from typing import Any

import numpy as np

from .compare import Array, plain
from .keep64_torch import kept64
from .runner import Boundary, NoFloat64, RunFn, Runner, attempt
from .taps import Outputs, tap_name
from .taps_keras import keras_taps

Pack = Callable[[Sequence[Any]], tuple[Sequence[Any], Mapping[str, Any]]] | None
_FLOATS = ("float16", "bfloat16", "float32", "float64", "mixed_float16", "mixed_bfloat16")


def keras_runner(model: Any, *, name: str = "keras", boundary: Boundary | None = None, pack: Pack = None) -> Runner:
    """A Runner from a model on the Keras backend of this process; inputs in the order of `model.inputs`.

    `pack` makes the arguments of a model's call of its inputs in a row, where it has no graph that tells them.
    """
    import keras

    def twin_in(dtype: str) -> RunFn:
        twin, reason = rebuild(model, dtype, pack)
        if twin is None:
            raise NoFloat64(reason)
        return keras_callable(twin, double=dtype == "float64", pack=pack)

    policy, mixed = policies(model)
    return Runner(
        name,
        keras_callable(model, pack=pack),
        lambda: twin_in("float64"),
        backend=f"keras/{keras.backend.backend()}",
        boundary=boundary or Boundary(),
        open32=(lambda: twin_in("float32")) if mixed else None,
        policy=policy,
        dtype=_dtype_of(model),
    )


def policies(model: Any) -> tuple[str, bool]:
    """(what the policy of a model is that computes in another dtype than float32, whether it is a mixed one)."""
    import keras

    found: dict[str, int] = {}
    for layer in model._flatten_layers():
        if not isinstance(layer, keras.Model | keras.layers.InputLayer):
            name = layer.dtype_policy.name
            if name in _FLOATS and name != "float32":
                found[name] = found.get(name, 0) + 1
    named = ", ".join(f"{name} in {count} layer{'s' * (count > 1)}" for name, count in found.items())
    return f"the source's policy is {named}" if named else "", any(name.startswith("mixed_") for name in found)


def _dtype_of(model: Any) -> str:
    """The floating dtype of most weights."""
    sizes: dict[str, int] = {}
    for weight in model.weights:
        if str(weight.dtype) in _FLOATS:
            sizes[str(weight.dtype)] = sizes.get(str(weight.dtype), 0) + int(np.prod(weight.shape))
    return max(sizes, key=lambda name: sizes[name]) if sizes else "float32"


def keras_callable(model: Any, *, double: bool = False, pack: Pack = None) -> RunFn:
    """arrays -> [(name, array)] with training=False, taps behind. `double`: the model is a float64 twin."""

    def run(arrays: Sequence[Array]) -> Outputs:
        import keras

        with exact_keras(), float64_keras() if double else contextlib.nullcontext():
            tensors = [keras.ops.convert_to_tensor(plain(array), dtype=str(array.dtype)) for array in arrays]
            kept = kept64() if double and keras.backend.backend() == "torch" else contextlib.nullcontext()
            with kept, keras_taps(keras.backend.backend()) as recorder:
                args, kwargs = pack(tensors) if pack is not None else ((packed(model, tensors),), {})
                leaves = list(_leaves("", model(*args, **kwargs, training=False)))
            taps = [(i, found) for i, (_, leaf) in enumerate(leaves) if (found := recorder.tap(leaf)) is not None]
            outputs = [(name, _array(leaf)) for name, leaf in leaves]
            return outputs + [(tap_name(i, kind), _array(value)) for i, (kind, value) in taps]

    return run


def rebuild(model: Any, dtype: str = "float64", pack: Pack = None) -> tuple[Any, str]:
    """(a twin of `model` that computes in `dtype`, ''), or (None, why there is none).

    The config's policies and casts become `dtype`; initialisers become zeros, for every weight is then copied by cast.
    Config constants that a float32 layer holds rounded (Normalization's mean) are rounded alike: they are its weights.
    """
    with _untouched_globals(), float64_keras() if dtype == "float64" else _policy_is(dtype):
        twin, why = attempt(lambda: _twin(model, dtype, pack))
    return twin, f"{type(model).__name__} cannot be rebuilt: {why}" if why else ""


def _twin(model: Any, dtype: str, pack: Pack = None) -> Any:
    import keras

    with keras.utils.custom_object_scope(_custom_objects(model)), _own_code(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the user saw them when the model was made
        config = _retyped(model.get_config(), dtype)
        try:
            twin = type(model).from_config(config)
        except TypeError:  # a model whose constructor takes neither name nor dtype: the global policy gives the dtype
            if {"layers", "input_layers"} & set(config):
                raise
            own = {key: value for key, value in config.items() if key not in ("name", "trainable", "dtype")}
            twin = type(model).from_config(own)
    if not twin.built and pack is not None and hasattr(pack, "zeros"):
        args, kwargs = pack([x.astype(dtype) if x.dtype.kind == "f" else x for x in pack.zeros()])
        twin(*args, **kwargs)
    if not twin.built and model.built:
        twin.build_from_config(_retyped(model.get_build_config() or {}, dtype))
    _copy_weights(model, twin)
    for layer in twin._flatten_layers():
        if dtype == "float64" and type(layer).__name__ == "Rescaling":
            # TensorFlow makes float32 of a Python number before it casts to the layer's dtype.
            layer.scale, layer.offset = np.asarray(layer.scale, dtype), np.asarray(layer.offset, dtype)
    return twin


@contextlib.contextmanager
def float64_keras() -> Iterator[None]:
    """Keras computing in float64 where a float64 policy says so. THE place of the float64 patch, see below.

    On every backend but TensorFlow, `result_type` maps float64 to float32 by a table of the promotion rules, and
    Batch-, Layer-, Group- and RMSNormalization cast to its answer (their float64 is then 2e-7 to 8e-7 off; with the
    entry changed, 4e-16). JAX also needs JAX_ENABLE_X64=1 in its environment. Layers made inside other layers follow
    the global policy and floatx. All of it is as before on leaving.
    """
    import keras
    from keras.src.backend.common import dtypes

    table: dict[str, str] = dtypes.BIT64_TO_BIT32_DTYPE
    entry, floatx, policy = table["float64"], keras.config.floatx(), keras.config.dtype_policy()
    try:
        table["float64"] = "float64"
        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("float64")
        yield
    finally:
        table["float64"] = entry
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)


@contextlib.contextmanager
def _policy_is(dtype: str) -> Iterator[None]:
    """Layers made inside other layers follow the global policy: it is this one, and as before on leaving."""
    import keras

    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(dtype)
        yield
    finally:
        keras.config.set_dtype_policy(policy)


@contextlib.contextmanager
def exact_keras() -> Iterator[None]:
    """No gradients, no TF32, global RNG as before, on the backend in use."""
    import keras

    backend = keras.backend.backend()
    if backend == "torch":
        from .run_torch import exact_torch

        with exact_torch():
            yield
    elif backend == "tensorflow":
        import tensorflow

        switch = tensorflow.config.experimental
        before = switch.tensor_float_32_execution_enabled()
        switch.enable_tensor_float_32_execution(False)
        try:
            yield
        finally:
            switch.enable_tensor_float_32_execution(before)
    else:
        yield


@contextlib.contextmanager
def _untouched_globals() -> Iterator[None]:
    """Building a model draws default seeds from Python's RNG and counts names; both are as before on leaving."""
    from keras.src.backend.common import global_state

    state, numpy_state = random.getstate(), np.random.get_state()
    names = global_state.get_global_attribute("object_name_uids")
    counts = None if names is None else dict(names)
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)
        if names is not None and counts is not None:
            names.clear()
            names.update(counts)


def _retyped(value: Any, dtype: str) -> Any:
    """A config with `dtype` in the place of every floating dtype and policy, and zeros for initialisers."""
    if isinstance(value, list | tuple):
        return type(value)(_retyped(part, dtype) for part in value)
    if not isinstance(value, Mapping):
        return value
    if value.get("module") == "keras.initializers":
        return {"module": "keras.initializers", "class_name": "Zeros", "config": {}, "registered_name": None}
    if str(value.get("class_name", "")) in ("DTypePolicy", "DTypePolicyMap", "QuantizedDTypePolicy"):
        return _policy(value, dtype)
    config: dict[str, Any] = {
        key: dtype if key == "dtype" and part in _FLOATS else _retyped(part, dtype) for key, part in value.items()
    }
    if value.get("class_name") == "Normalization":
        inner = config["config"]
        for key in ("mean", "variance"):
            if inner.get(key) is not None:
                inner[key] = np.asarray(inner[key], np.float32).tolist()
    return config


def _policy(value: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    config = value.get("config") or {}
    names = [config.get("name"), config.get("default_policy")]
    names += [_policy_name(policy) for policy in (config.get("policy_map") or {}).values()]
    strange = [name for name in names if name is not None and _policy_name(name) not in _FLOATS]
    if strange:
        raise NoFloat64(f"the dtype policy {strange[0]!r} has no float64 form")
    return {"module": "keras", "class_name": "DTypePolicy", "config": {"name": dtype}, "registered_name": None}


def _policy_name(policy: Any) -> Any:
    return (policy.get("config") or {}).get("name") if isinstance(policy, Mapping) else policy


def _custom_objects(model: Any) -> dict[str, Any]:
    """The classes and functions of the model's own layers that Keras does not know, by the names its config uses."""
    found: dict[str, Any] = {}
    for layer in model._flatten_layers():
        cls = type(layer)
        if not cls.__module__.startswith("keras."):
            found[cls.__name__] = cls
        for value in vars(layer).values():
            if isinstance(value, FunctionType) and not value.__module__.startswith("keras."):
                found[value.__name__] = value
    return found


@contextlib.contextmanager
def _own_code() -> Iterator[None]:
    """A model that is there has run its code already: Keras may make a Lambda layer's function again from its config.

    THE place of Keras's scope for that, whose public setting cannot be taken back.
    """
    from keras.src.saving.serialization_lib import SafeModeScope

    with SafeModeScope(safe_mode=False):
        yield


def _copy_weights(model: Any, twin: Any) -> None:
    """Copy every weight by cast, one at a time, so that no second float64 copy exists.

    Normalization computes with what finalize_state() made of its weights, so it is asked to make that again.
    """
    import keras

    if len(model.weights) != len(twin.weights):
        raise NoFloat64(f"the rebuilt model has {len(twin.weights)} weights, the model has {len(model.weights)}")
    for old, new in zip(model.weights, twin.weights, strict=True):
        if tuple(old.shape) != tuple(new.shape):
            raise NoFloat64(f"the rebuilt weight {new.path} has shape {tuple(new.shape)}, not {tuple(old.shape)}")
        if hasattr(old.value, "detach") and hasattr(new.value, "copy_"):
            new.value.detach().copy_(old.value.detach())  # torch casts without a copy between
            continue
        value = np.asarray(keras.ops.convert_to_numpy(old))
        new.assign(value.astype(str(new.dtype)))
    for layer in twin._flatten_layers():
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def packed(model: Any, tensors: list[Any]) -> Any:
    """The tensors in the structure that the model was made with (dict, list, single); a flat list where it has none."""
    import keras

    structure = getattr(model, "input", None)
    if isinstance(structure, Mapping | list | tuple):
        return keras.tree.pack_sequence_as(structure, tensors)
    return tensors[0] if len(tensors) == 1 else tensors


def _leaves(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Tensors of a nested structure with their place in it as the name."""
    if isinstance(value, Mapping):
        for key, part in sorted(value.items(), key=lambda item: str(item[0])):
            yield from _leaves(f"{prefix}.{key}" if prefix else str(key), part)
    elif isinstance(value, tuple | list):
        for index, part in enumerate(value):
            yield from _leaves(f"{prefix}.{index}" if prefix else f"output_{index}", part)
    elif value is not None:
        yield prefix or "output", value


def _array(tensor: Any) -> Array:
    import keras

    return plain(np.array(keras.ops.convert_to_numpy(tensor)))
