"""A Keras file looked into as data: no framework is imported, nothing is built, all that has no mapping is listed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converter.errors import BadInput
from converter.files import hdf5, keras_files
from converter.files.archives import open_zip
from converter.files.config_tree import ConfigTree
from converter.files.json_text import parsed
from converter.files.nodes import leaves
from converter.files.repairs import Reading, Repair
from converter.files.vetting import CONTAINERS, Rows, Vetting

Json = Any


@dataclass
class Preview:
    """What a file's configuration tells of its model.

    `inputs` are (name, shape with batch, dtype), in the order in which Keras takes them, none where one does not tell
    its shape; `policies` are the dtypes and
    dtype policies of its layers. All of it is empty for files that hold weights alone (`config` is None).
    """

    format: str
    config: Mapping[str, Any] | None = None
    keras_version: str = ""
    inputs: list[tuple[str, tuple[int | None, ...], str]] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    policies: list[str] = field(default_factory=list)
    repairs: list[Repair] = field(default_factory=list)


def preview(
    path: str | os.PathLike[str], rows: Rows, custom: Mapping[str, Any] | None = None, trust: bool = False
) -> Preview:
    """Read the configuration, repair it and vet it.

    Raises BadInput for what cannot be read, and Unsupported with every class, function, dtype, mask and option without
    a mapping, as far as the configuration tells.
    """
    path = Path(path)
    try:
        kind = keras_files.container_of(path)
        found = _of_zip(path) if kind == "zip" else _of_h5(path)
        if found is None:
            return Preview("h5 weights")
        config, version, backend = found
        number = keras_files.major_of(version, 3 if kind == "zip" else keras_files.guess_major(config))
        reading = Reading(number, version, backend)
        model = ConfigTree(reading, Vetting(reading, rows, dict(custom or {}), trust), None, None).model(config)
    except RecursionError as error:
        raise BadInput(f"{path}: the configuration is nested too deeply; Keras did not make it.") from error
    except BadInput as error:
        raise error if str(path) in str(error) else BadInput(f"{path}: {error}") from error
    made = Preview("keras" if kind == "zip" else "h5", model, version, repairs=reading.repairs)
    made.policies = sorted(set(_policies(model)))
    if model["class_name"] in CONTAINERS:
        made.inputs, made.outputs = _inputs(model), _outputs(model)
    return made


def _of_zip(path: Path) -> tuple[Json, str, str | None]:
    label = str(path)
    with open_zip(path, label) as archive:
        config, metadata = keras_files.config_of(archive, label)
    version = metadata.get("keras_version")
    return config, version if isinstance(version, str) else "3", None


def _of_h5(path: Path) -> tuple[Json, str, str | None] | None:
    label = str(path)
    with hdf5.open_h5(path, label) as file:
        text = hdf5.text_attribute(file, "model_config")
        if text is None:
            return None
        version, backend = (hdf5.text_attribute(file, key) for key in ("keras_version", "backend"))
        weights = hdf5.group_of(file, "model_weights", label)
        if version is None and weights is not None:
            version = hdf5.text_attribute(weights, "keras_version")
    return parsed(text, f"{label}: model_config"), version or "", backend


def _policies(model: Json) -> Iterator[str]:
    stack = [model]
    while stack:
        layer = stack.pop()
        config = layer.get("config") if isinstance(layer, Mapping) else None
        if not isinstance(config, Mapping):
            continue
        if isinstance(config.get("layers"), list):
            stack.extend(config["layers"])
        elif isinstance(config.get("dtype"), str) and layer.get("class_name") != "InputLayer":
            yield config["dtype"]


def _inputs(model: Mapping[str, Any]) -> list[tuple[str, tuple[int | None, ...], str]]:
    layers = model["config"]["layers"]
    known = {part["config"].get("name"): part["config"] for part in layers if part["class_name"] == "InputLayer"}
    ends = model["config"].get("input_layers")
    if model["class_name"] == "Sequential":
        names = [(name, name) for name in list(known)[:1]]
    elif isinstance(ends, Mapping):  # a dict of inputs: its keys are what the model calls them
        names = [(key, leaf[0]) for key in sorted(ends, key=str) for leaf in leaves(ends[key])]
    else:
        names = [(leaf[0], leaf[0]) for leaf in leaves(ends)]
    found = []
    for name, layer in names:
        config = known.get(layer, {})
        shape = config.get("batch_shape")
        if isinstance(shape, list) and all(d is None or isinstance(d, int) for d in shape):
            found.append((str(name), tuple(shape), str(config.get("dtype") or "float32")))
    return found if len(found) == len(names) else []


def _outputs(model: Mapping[str, Any]) -> list[str]:
    layers = model["config"]["layers"]
    if model["class_name"] == "Sequential":
        return [str(layers[-1]["config"].get("name"))] if layers else []
    return [str(leaf[0]) for leaf in leaves(model["config"].get("output_layers"))]
