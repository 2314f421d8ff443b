"""What the user handed in: which framework it belongs to, and how a file is read."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from converter import custom as custom_objects
from converter import frameworks
from converter.errors import UsageError
from converter.files import record_members
from converter.files.recognise import recognise
from converter.record import Record, attached
from converter.report import Remark

KINDS: dict[str, Literal["keras", "torch"]] = {
    "keras": "keras",
    "h5": "keras",
    "pt2": "torch",
    "torch weights": "torch",
    "safetensors": "torch",
}
"""The framework of every format that is read."""


@dataclass
class Source:
    """A model with what is known of it."""

    kind: Literal["keras", "torch"]
    model: Any
    name: str
    path: Path | None = None
    repairs: Sequence[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    compiled: dict[str, str] = field(default_factory=dict)
    arch: Any = None
    arch_args: dict[str, Any] | None = None
    custom: Mapping[str, Any] | None = None
    trust: bool = False
    record: Record | None = None
    """What a conversion that made this model left for the way back."""

    @property
    def layers(self) -> int:
        """How many layers and operations the model has, those of nested models too; of a PyTorch model, modules."""
        if self.kind == "keras":
            return keras_size(self.model)
        nodes = getattr(getattr(self.model, "graph", None), "nodes", None)
        return sum(1 for _ in (self.model.modules() if nodes is None else nodes))

    def original(self, path: str) -> str:
        """A weight's or layer's path in the file's own names."""
        parts = path.split("/")
        for length in range(len(parts), 0, -1):
            renamed = self.names.get("/".join(parts[:length]))
            if renamed is not None:
                return "/".join([renamed, *parts[length:]])
        return path


def keras_size(model: Any) -> int:
    """How many layers and operations a Keras model has, those of nested models too."""
    inner = [layer for layer in getattr(model, "layers", ()) if hasattr(layer, "layers")]
    return len(getattr(model, "operations", ())) + sum(map(keras_size, inner))


def kind_of(model: Any) -> Literal["keras", "torch"]:
    """The framework of a model, by its file or its class; imports nothing that is not there already.

    Raises what recognise() raises for a path that is no model file, and UsageError for any other object.
    """
    if isinstance(model, (str, os.PathLike)):
        return KINDS[recognise(Path(model))]
    keras, torch = sys.modules.get("keras"), sys.modules.get("torch")
    if keras is not None and isinstance(model, keras.Model):
        return "keras"
    if keras is not None and isinstance(model, keras.layers.Layer):
        raise UsageError(
            "Expected a keras.Model, received a layer alone. Give it an input: keras.Sequential([keras.Input(shape), "
            "layer])."
        )
    if torch is not None and isinstance(model, torch.jit.ScriptModule):
        raise UsageError(
            "A TorchScript module is compiled already, and torch.export does not trace it. Pass the nn.Module that it "
            "was made of."
        )
    if torch is not None and isinstance(model, torch.nn.Module):
        return "torch"
    if torch is not None and "torch.export" in sys.modules and isinstance(model, torch.export.ExportedProgram):
        return "torch"
    raise UsageError(
        "Expected a path (.keras, .h5, .pt2), a keras.Model, an nn.Module or an ExportedProgram, "
        f"received {type(model).__module__}.{type(model).__qualname__}."
    )


def check_arch(model: Any, arch: Any) -> None:
    """UsageError for a file of weights without `arch`, and for `arch` with what holds its model itself."""
    if hasattr(arch, "state_dict") and not isinstance(arch, type):
        raise UsageError(
            f"arch: expected what makes the model, received a {type(arch).__name__} itself, which would be changed. "
            "Pass its class, or a function that returns it."
        )
    if not isinstance(model, (str, os.PathLike)):
        if arch is not None:
            raise UsageError("arch goes with a file that holds weights only, and a live model was given.")
        return
    found = recognise(Path(model))
    if found in ("torch weights", "safetensors") and arch is None:
        raise UsageError(
            f"{model}: a file of weights holds no model. Pass --arch package.module:callable or --arch FILE.py:Class "
            "(arch= in Python), which makes the nn.Module of these weights, and --input with the shape of its input."
        )
    if found in ("pt2", "keras") and arch is not None:
        raise UsageError(f"{model}: --arch goes with a file that holds weights only, and a .{found} holds its model.")


def known_class(name: str) -> bool:
    """Whether a Keras class has a row in ops/."""
    from converter.ops.base import KERAS_LAYERS, KERAS_OPENED, KERAS_OPERATIONS

    if name.startswith("keras.ops."):
        return name.removeprefix("keras.ops.") in KERAS_OPERATIONS
    return name in KERAS_LAYERS or name in KERAS_OPENED or name == "InputLayer"


def named(spec: str, option: str) -> Any:
    """The object that 'package.module:name' or 'FILE.py:name' names in an option; the user asked for its import."""
    module, _, name = spec.rpartition(":")
    if not module or not name:
        raise UsageError(f"{option}: expected package.module:callable or FILE.py:Class, received {spec!r}.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = _from_file(Path(module)) if module.endswith(".py") else importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # whatever the user's code raises when it is imported
        raise UsageError(f"{option} {spec!r} cannot be imported: {_told(error)}.") from error
    return found


def importable(spec: str) -> Callable[..., Any]:
    """The callable that --arch names, which tells errors of its own as the user's."""
    found = named(spec, "--arch")
    if not callable(found):
        raise UsageError(
            f"--arch {spec!r}: expected a callable that returns the model, received {type(found).__name__}."
        )

    def made(**arguments: Any) -> Any:
        try:
            return found(**arguments)
        except (Exception, SystemExit) as error:
            raise UsageError(f"--arch {spec!r} was called with {arguments} and raised {_told(error)}.") from error

    return made


def _told(error: BaseException) -> str:
    """An error of the user's code: its class, its message, and the line that raised it."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({last.filename}, line {last.lineno})"


def _from_file(path: Path) -> Any:
    """The module of a Python file, which may import its neighbours."""
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    folder = str(path.absolute().parent)
    name = f"kconvert_arch_{path.stem}"
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", "") == str(path.absolute()):
        return known
    spec = importlib.util.spec_from_file_location(name, path.absolute())
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    if folder not in sys.path:
        sys.path.append(folder)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def name_of(path: Path) -> str:
    """What a model's file is called, in characters that every file can hold: names of files may be any bytes."""
    return path.stem.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def read(
    model: Any,
    arch: Any,
    arch_args: dict[str, Any] | None,
    custom: Mapping[str, Any] | None = None,
    trust: bool = False,
) -> Source:
    """Read a file, or take a live model as it is; `custom` and `trust` are for a Keras file's own classes and code."""
    check_arch(model, arch)
    kind = kind_of(model)
    if not isinstance(model, (str, os.PathLike)):
        name = str(getattr(model, "name", "") or type(model).__name__)
        return Source(kind, model, name, compiled=_compiled(model), custom=custom, record=attached(model))
    path = Path(model)
    made = importable(arch) if isinstance(arch, str) else arch
    if kind == "torch":
        frameworks.before_torch()
        from converter.files import state_dicts_torch, torch_files

        if made is None:
            program, repairs = torch_files.load_program(path)
            return Source("torch", program, name_of(path), path, repairs)
        module, repairs = state_dicts_torch.load(path, recognise(path), made, arch_args or {})
        found = record_members.of_safetensors(path) if recognise(path) == "safetensors" else None
        kept = Record(*found) if found is not None else None
        return Source("torch", module, name_of(path), path, repairs, arch=arch, arch_args=arch_args, record=kept)
    from converter.files.keras_files import read_keras

    objects = custom_objects.objects(custom)
    file = read_keras(path, allowed=known_class, custom=objects, arch=made, arch_args=arch_args, trust=trust)
    repairs = [Remark(r.where, r.text) for r in file.repairs]
    found = record_members.of_keras(path) if file.format == "keras" else None
    kept = Record(*found) if found is not None else None
    made_of = {"arch": arch, "arch_args": arch_args, "custom": custom, "trust": trust}
    return Source("keras", file.model, name_of(path), path, repairs, file.names, file.compiled, record=kept, **made_of)


def _compiled(model: Any) -> dict[str, str]:
    """What compile() set on a live Keras model."""
    found: dict[str, str] = {}
    optimizer, loss = getattr(model, "optimizer", None), getattr(model, "loss", None)
    if optimizer is not None and getattr(model, "compiled", False):
        found["optimizer"] = type(optimizer).__name__
    if loss is not None and getattr(model, "compiled", False):
        found["loss"] = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    return found
