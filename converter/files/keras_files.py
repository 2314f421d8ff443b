"""Reading Keras files (.keras, .h5 of Keras 1, 2, tf.keras 2 and 3, weights with --arch) into a built Keras model.

A file is data: its configuration is JSON that is repaired and vetted here before Keras builds anything from it, its
weights are HDF5 datasets that are checked against the built shapes before anything is allocated.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converter.errors import BadInput, UsageError
from converter.files import h5_weights, hdf5
from converter.files.archives import Archive, open_zip, starts_with
from converter.files.config_tree import ConfigTree
from converter.files.json_text import parsed
from converter.files.keras_build import build_model
from converter.files.recognise import HDF5_START, later_hdf5
from converter.files.repairs import Reading, Repair
from converter.files.repairs_keras1 import looks_like_keras1
from converter.files.stand_in import hold_all
from converter.files.vetting import ByName
from converter.files.vetting_keras import KerasVetting

Json = Any
WEIGHTS = "model.weights.h5"
MOST_CONFIG = 256 << 20
DTYPES = frozenset({"float16", "bfloat16", "float32", "float64"})


@dataclass
class KerasFile:
    """What was read: the model with its weights, and how the file had to be understood."""

    model: Any
    repairs: list[Repair] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    compiled: dict[str, str] = field(default_factory=dict)
    keras_version: str = ""
    format: str = ""


@dataclass(frozen=True)
class Request:
    """What the caller asked for, checked."""

    path: Path
    allowed: Callable[[str], bool]
    custom: dict[str, Any]
    arch: Callable[..., Any] | None
    arch_args: Mapping[str, Any]
    dtype: str | None
    trust: bool = False

    @property
    def label(self) -> str:
        return str(self.path)


def read_keras(
    path: str | os.PathLike[str],
    *,
    allowed: Callable[[str], bool],
    custom: Mapping[str, Any] | None = None,
    arch: Callable[..., Any] | None = None,
    arch_args: Mapping[str, Any] | None = None,
    trust: bool = False,
    dtype: str | None = None,
) -> KerasFile:
    """Read a Keras file; `allowed` tells which layer classes have a mapping, `dtype` rebuilds the model in another one.

    Raises BadInput for what cannot be read and Unsupported with everything that has no mapping. Code in a file is run,
    and what it names imported, with `trust` alone; `custom` are the user's own classes and functions by name.
    """
    if dtype is not None and dtype not in DTYPES:
        raise UsageError(f"dtype: expected one of {', '.join(sorted(DTYPES))}, received {dtype!r}.")
    request = Request(Path(path), allowed, dict(custom or {}), arch, dict(arch_args or {}), dtype, trust)
    kind = container_of(request.path)
    try:
        return _read_zip(request) if kind == "zip" else _read_h5(request)
    except RecursionError as error:
        raise BadInput(f"{request.label}: the configuration is nested too deeply; Keras did not make it.") from error
    except BadInput as error:
        if request.label in str(error):
            raise
        raise BadInput(f"{request.label}: {error}") from error


def container_of(path: Path) -> str:
    """'zip' or 'h5', from the file's first bytes."""
    if path.is_dir():
        raise BadInput(f"{path}: expected a Keras file (.keras, .h5), received a directory.")
    start = starts_with(path, 8)
    if start.startswith(b"PK"):
        return "zip"
    if start == HDF5_START or later_hdf5(path):
        return "h5"
    found = "an empty file" if not start else f"a file that begins with {start!r}"
    raise BadInput(f"{path}: expected a Keras file (.keras is a zip, .h5 is HDF5), received {found}.")


def _read_zip(request: Request) -> KerasFile:
    """The .keras format: config.json, metadata.json and model.weights.h5 in a zip."""
    label = request.label
    with open_zip(request.path, label) as archive:
        config, metadata = config_of(archive, label)
        with tempfile.TemporaryDirectory(prefix="kconvert_") as folder:
            inner = Path(folder) / WEIGHTS
            with inner.open("wb") as target:
                archive.copy(WEIGHTS, target)
            return _finish_zip(request, config, metadata, inner)


def config_of(archive: Archive, label: str) -> tuple[Json, dict[str, Json]]:
    """The configuration and the metadata in a .keras file; BadInput where a part of the format is missing."""
    missing = [name for name in ("config.json", WEIGHTS) if name not in archive]
    if missing:
        raise BadInput(
            f"{label}: expected a .keras file with config.json and {WEIGHTS}, but the zip has no {', '.join(missing)}."
        )
    config = parsed(archive.read_text("config.json", MOST_CONFIG), f"{label}: config.json")
    has = "metadata.json" in archive
    found = parsed(archive.read_text("metadata.json", MOST_CONFIG), label) if has else {}
    return config, found if isinstance(found, dict) else {}


def _finish_zip(request: Request, config: Json, metadata: dict[str, Json], inner: Path) -> KerasFile:
    version = metadata.get("keras_version")
    version = version if isinstance(version, str) else "3"
    label = f"{request.label}: {WEIGHTS}"
    with hdf5.open_h5(inner, label) as file:
        stored = hdf5.check_tree(file, label)
    reading = Reading(major_of(version, 3), version)
    model = _build(request, config, reading, stored, keras3=True)
    h5_weights.load_keras3(str(inner), model, label)
    with hdf5.open_h5(inner, label) as file:
        hold_all(file, model)
    compiled = _compiled(config.get("compile_config") if isinstance(config, dict) else None)
    return KerasFile(model, reading.repairs, reading.names, compiled, version, "keras")


def _read_h5(request: Request) -> KerasFile:
    """HDF5: a whole model, or weights alone."""
    label = request.label
    with hdf5.open_h5(request.path, label) as file:
        stored = [item for item in hdf5.check_tree(file, label) if not item.path.startswith("/optimizer_weights/")]
        text = hdf5.text_attribute(file, "model_config")
        if text is not None:
            return _read_whole_h5(request, file, parsed(text, f"{label}: model_config"), stored)
        group = file if "layer_names" in file.attrs or "layer_names0" in file.attrs else None
        if group is None and "model_weights" in file:
            group = file["model_weights"]
        keras3 = group is None and any(name in file for name in ("layers", "_layer_checkpoint_dependencies", "vars"))
        if group is None and not keras3:
            raise BadInput(
                f"{label}: expected a Keras model, but the file has neither a model_config nor weights that Keras "
                f"wrote (it holds {', '.join(sorted(map(str, file))[:8]) or 'nothing'})."
            )
        if request.arch is None:
            raise BadInput(
                f"{label}: the file holds weights alone, without the model. "
                "Pass --arch package.module:function (arch= in Python), a function that builds the model."
            )
        version = hdf5.text_attribute(group if group is not None else file, "keras_version") or ""
        reading = Reading(major_of(version, 3 if keras3 else 1), version)
        model = _from_arch(request)
        if not keras3:
            h5_weights.load_legacy(group, model, reading, label, by_order=True)
            return KerasFile(model, reading.repairs, {}, {}, version, "h5 weights")
        h5_weights.check_shapes(model, stored, label, strict=not request.custom)
    _load_weights_only(request.path, model, label)
    return KerasFile(model, reading.repairs, {}, {}, version, "weights.h5")


def _load_weights_only(path: Path, model: Any, label: str) -> None:
    """Keras insists on the ending .weights.h5; a link of that name serves where the file has another one."""
    with tempfile.TemporaryDirectory(prefix="kconvert_") as folder:
        link = Path(folder) / WEIGHTS
        link.symlink_to(path.resolve())
        h5_weights.load_keras3(str(link), model, label)


def _read_whole_h5(request: Request, file: Any, config: Json, stored: list[hdf5.Stored]) -> KerasFile:
    label = request.label
    if "model_weights" not in file:
        raise BadInput(f"{label}: expected the weights in the group 'model_weights', but the file does not have it.")
    group = file["model_weights"]
    version = hdf5.text_attribute(file, "keras_version") or hdf5.text_attribute(group, "keras_version") or ""
    backend = hdf5.text_attribute(file, "backend") or hdf5.text_attribute(group, "backend")
    reading = Reading(major_of(version, guess_major(config)), version, backend)
    model = _build(request, config, reading, stored, keras3=False)
    h5_weights.load_legacy(group, model, reading, label, by_order=False)
    training = hdf5.text_attribute(file, "training_config")
    compiled = _compiled(parsed(training, f"{label}: training_config") if training else None)
    return KerasFile(model, reading.repairs, reading.names, compiled, version, "h5")


def _build(request: Request, config: Json, reading: Reading, stored: list[hdf5.Stored], keras3: bool) -> Any:
    """Repair, vet, build with shapes alone, compare with the file, allocate."""
    label = request.label
    if request.arch is not None:
        reading.log("arch", label, "the model comes from --arch; the file's own configuration is not used")
        model = _from_arch(request)
        if keras3:
            h5_weights.check_shapes(model, stored, label, strict=not request.custom)
        return model
    vetting = KerasVetting(reading, ByName(request.allowed), request.custom, request.trust)
    numbers = sum(item.size for item in stored)
    tree = ConfigTree(reading, vetting, request.dtype, numbers)
    repaired = tree.model(config)

    def check(model: Any) -> None:
        h5_weights.check_sizes(model, stored, label)
        if keras3:
            h5_weights.check_shapes(model, stored, label, strict=not request.custom)

    return build_model(repaired, request.custom, check, label, request.trust)


def _from_arch(request: Request) -> Any:
    """The model that the user's own function builds."""
    import keras

    if request.arch is None:
        raise BadInput(f"{request.label}: no --arch was given.")
    with _float_policy(request.dtype):
        model = request.arch(**request.arch_args)
    if not isinstance(model, keras.Model):
        raise UsageError(f"--arch: expected a function that returns a keras.Model, not a {type(model).__name__}.")
    if not model.built:
        raise UsageError(f"--arch: the model {model.name!r} is not built. Give it an Input or call its build(shape).")
    return model


@contextmanager
def _float_policy(dtype: str | None) -> Iterator[None]:
    """Layers that name no dtype of their own are made in this one."""
    import keras

    if dtype is None:
        yield
        return
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def major_of(version: str, otherwise: int) -> int:
    """1, 2 or 3 from the version that the file names."""
    match = re.match(r"\s*(\d+)", version)
    number = int(match.group(1)) if match else otherwise
    return min(max(number, 1), 3)


def guess_major(config: Json) -> int:
    """The dialect where the file does not tell a version."""
    if isinstance(config, dict) and "module" in config:
        return 3
    inner = config.get("config") if isinstance(config, dict) else None
    layers = inner.get("layers") if isinstance(inner, dict) else inner
    return 1 if looks_like_keras1(layers if isinstance(layers, list) else []) else 2


def _compiled(config: Json) -> dict[str, str]:
    """What compile() had set, by name; it is told to the user and not converted."""
    if not isinstance(config, dict):
        return {}
    optimizer = config.get("optimizer", config.get("optimizer_config"))
    found = {"optimizer": optimizer, "loss": config.get("loss"), "metrics": config.get("metrics")}
    return {key: text for key, value in found.items() if (text := _named(value))}


def _named(value: Json) -> str:
    """A short name for an optimizer, a loss, or a structure of them."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        inner = value.get("config")
        if "class_name" in value:
            if isinstance(inner, str):
                return inner
            own = inner.get("name") if isinstance(inner, dict) else None
            name = str(value["class_name"]).rsplit(">", 1)[-1]
            return str(own) if name in ("function", "MeanMetricWrapper", "LossFunctionWrapper") and own else name
        return ", ".join(f"{key}: {text}" for key, entry in value.items() if (text := _named(entry)))
    if isinstance(value, list):
        return ", ".join(text for entry in value if (text := _named(entry)))
    return ""
