"""Weights from HDF5 into a built Keras model: the layouts of Keras 1, 2, tf.keras 2 and Keras 3's own .h5.

Layers are found by their names in the file (by their order where a weights-only file has other names), weights within
a layer by name where the names say it and else in Keras's order: trainable first. Everything is counted and compared
before a single value is set, and all that does not fit is listed at once.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from converter.errors import BadInput
from converter.files import weight_order
from converter.files.hdf5 import Stored, array_of, dataset, member, names_attribute, text_attribute
from converter.files.repairs import Reading

SHOWN = 20


@dataclass(frozen=True)
class Group:
    """One layer of the file with its weights, in the file's order."""

    name: str
    weights: list[str]
    datasets: list[Any]


def load_legacy(group: Any, model: Any, reading: Reading, label: str, by_order: bool) -> None:
    """Set every weight of `model` from a group with `layer_names` and `weight_names`."""
    version = text_attribute(group, "keras_version") or ("1" if reading.major == 1 else reading.version)
    backend = text_attribute(group, "backend") or reading.backend
    stored = [g for g in _groups(group, label) if g.weights]
    stored = _held(stored, model, reading)
    layers = [layer for layer in model.layers if layer.weights and not hasattr(type(layer), "kconvert_given")]
    pairs = _pair(stored, layers, reading, label, by_order)
    problems: list[str] = []
    plans = []
    for source, layer in pairs:
        plan, problem = weight_order.plan(source, layer, reading, weight_order.Origin(version, backend))
        plans.append(plan)
        problems.extend(problem)
    top = _top_level(group, label)
    if top:
        problems.append(f"weights of the model itself ({', '.join(top[:5])}), which have no place in a converted model")
    fail_if(problems, label)
    for plan in plans:
        for step in plan:
            arrays = step.arrays([array_of(stored) for stored in step.datasets])
            for variable, array in zip(step.variables, arrays, strict=True):
                variable.assign(array)
    finalise(model)


def _held(stored: list[Group], model: Any, reading: Reading) -> list[Group]:
    """The groups that are not those of layers which stand in for a class that is not there: these hold them as is."""
    standing = {reading.names.get(x.name, x.name): x for x in model.layers if hasattr(type(x), "kconvert_given")}
    for group in stored:
        if group.name in standing:
            names = [name.removeprefix(f"{group.name}/").partition(":")[0] for name in group.weights]
            standing[group.name].hold(list(zip(names, map(array_of, group.datasets), strict=True)))
    return [group for group in stored if group.name not in standing]


def _groups(group: Any, label: str) -> list[Group]:
    found = []
    for name in names_attribute(group, "layer_names", label):
        inner = member(group, name, label)
        weights = names_attribute(inner, "weight_names", label)
        found.append(Group(name, weights, [dataset(inner, weight, label) for weight in weights]))
    return found


def _top_level(group: Any, label: str) -> list[str]:
    if "top_level_model_weights" not in group:
        return []
    return names_attribute(group["top_level_model_weights"], "weight_names", label)


def _pair(
    stored: list[Group], layers: list[Any], reading: Reading, label: str, by_order: bool
) -> list[tuple[Group, Any]]:
    """Layers of the file and of the model: by name, or one after the other."""
    names = {reading.names.get(layer.name, layer.name): layer for layer in layers}
    here = {group.name for group in stored}
    if here == set(names):
        return [(group, names[group.name]) for group in stored]
    if by_order and len(stored) == len(layers):
        reading.log("weights-by-order", label, "the file's layers have other names than the model's: matched by order")
        return list(zip(stored, layers, strict=True))
    problems = [f"layer {name!r} of the model has no weights in the file" for name in names if name not in here]
    problems += [f"layer {name!r} of the file is not in the model" for name in sorted(here - set(names))]
    if by_order:
        problems.append(f"{len(layers)} layers with weights in the model, {len(stored)} in the file")
    fail_if(problems, label)
    return []


def check_sizes(model: Any, stored: list[Stored], label: str) -> None:
    """Before anything is allocated: the model may not hold more numbers than the file."""
    weights = model.weights
    wanted = sum(_size(weight.shape) for weight in weights)
    held = sum(item.size for item in stored)
    if wanted > held:
        largest = max(weights, key=lambda weight: _size(weight.shape))
        raise BadInput(
            f"{label}: the configuration claims {wanted} numbers in {len(weights)} weights (the largest is "
            f"{largest.path!r} with the shape {tuple(largest.shape)}), but the file holds {held}. "
            "It is damaged, or its parts belong to different models."
        )


def check_shapes(model: Any, stored: list[Stored], label: str, strict: bool) -> None:
    """Keras 3's layout of weights: every shape of the model is in the file, and (strict) none besides."""
    wanted = Counter(tuple(weight.shape) for weight in model.weights)
    held = Counter(item.shape for item in stored if _is_weight(item.path))
    names: dict[tuple[int, ...], list[str]] = {}
    for weight in model.weights:
        names.setdefault(tuple(weight.shape), []).append(weight.path)
    problems = [
        f"{count} weight(s) of the shape {shape}, such as {names[shape][0]!r}, are in the model but not in the file"
        for shape, count in (wanted - held).items()
    ]
    if strict or problems:
        problems += [
            f"{count} weight(s) of the shape {shape} are in the file but not in the model"
            for shape, count in (held - wanted).items()
        ]
    fail_if(problems, label)


def _is_weight(path: str) -> bool:
    parts = path.strip("/").split("/")
    other = {"optimizer", "metrics", "_metrics", "loss", "_loss_tracker", "_compile_metrics", "compile_metrics"}
    return parts[0] not in other and "seed_generator" not in parts


def load_keras3(path: str, model: Any, label: str) -> None:
    """Keras's own loading for Keras's own layout."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # Keras warns where it would skip a weight
        try:
            with _no_copies():
                model.load_weights(path)
        except (ValueError, KeyError, TypeError, OSError, AttributeError, UserWarning) as error:
            raise BadInput(f"{label}: Keras cannot load the weights into the model: {str(error)[:800]}") from error


@contextlib.contextmanager
def _no_copies() -> Iterator[None]:
    """On the torch backend, assign an array without the copy that Keras makes first; elsewhere nothing changes."""
    import keras

    usual = keras.Variable.assign

    def assign(variable: Any, value: Any) -> Any:
        held = variable.value
        plain = isinstance(value, np.ndarray) and value.dtype.kind in "fiub"
        if not plain or not hasattr(held, "detach") or value.shape != tuple(held.shape):
            return usual(variable, value)
        import torch

        held.detach().copy_(torch.from_numpy(value))
        return value

    keras.Variable.assign = assign
    try:
        yield
    finally:
        keras.Variable.assign = usual


def finalise(model: Any) -> None:
    """Layers that derive tensors from their weights (Normalization) do so again."""
    for layer in every_layer(model):
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def every_layer(model: Any) -> list[Any]:
    """The layers of a model and of the models nested in it."""
    found: list[Any] = []
    for layer in model.layers:
        found.extend(every_layer(layer) if hasattr(layer, "layers") else [layer])
    return found


def fail_if(problems: list[str], label: str) -> None:
    """One error for all that does not fit."""
    if not problems:
        return
    lines = [f"  - {problem}" for problem in problems[:SHOWN]]
    if len(problems) > SHOWN:
        lines.append(f"  - and {len(problems) - SHOWN} more")
    last = "Expected the weights of this very model; check the file, or --arch."
    raise BadInput("\n".join([f"{label}: the weights do not fit the model:", *lines, last]))


def _size(shape: Any) -> int:
    size = 1
    for extent in shape:
        size *= int(extent)
    return size
