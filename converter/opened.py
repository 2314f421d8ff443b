"""One of two models that are compared: a file, a folder, a live model or a conversion, with what is known of it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from converter import frameworks, sources
from converter.conversion import Conversion
from converter.errors import BadInput, UsageError
from converter.judge.inputs import InputSpec
from converter.judge.run_ort import ort_runner
from converter.judge.runner import Boundary, Runner
from converter.judge.watch import Side
from converter.made import Made, how

MEMBERS = ("model.py", "model.keras", "model.onnx")
"""The models that a report beside them is about."""
_FLOATS = {1: "float32", 10: "float16", 11: "float64", 16: "bfloat16"}
_OTHERS = {2: "uint8", 3: "int8", 5: "int16", 6: "int32", 7: "int64", 9: "bool"}


@dataclass
class Opened:
    """A model. `model` of ONNX is the path or the bytes; `specs` are its inputs where it tells them; `told` are the
    turns that the report beside it names; `made` says how this process made it, if it did."""

    kind: Literal["keras", "torch", "onnx"]
    model: Any
    name: str
    path: Path | None = None
    specs: list[InputSpec] | None = None
    told: list[str] | None = None
    made: Made | None = None
    repairs: Sequence[Any] = field(default_factory=tuple)
    pack: Any = None

    @property
    def module(self) -> Any:
        """What is called: the module of an exported program, else the model."""
        return self.model.module() if hasattr(self.model, "graph_signature") else self.model

    @property
    def layers(self) -> int:
        """About how many it has."""
        return 0 if self.kind == "onnx" else sources.Source(self.kind, self.model, self.name).layers

    def runner(self, boundary: Boundary | None = None, device: str = "cpu") -> Runner:
        """The model as one of the judge's rungs."""
        boundary = boundary or Boundary()
        if self.kind == "onnx":
            return ort_runner(self.model, boundary=boundary, double=True)
        if self.kind == "keras":
            from converter.judge.run_keras import keras_runner

            return keras_runner(self.model, boundary=boundary, pack=self.pack)
        from converter.judge.run_torch import torch_runner

        name = "torch" if device == "cpu" else f"torch on {device}"
        return torch_runner(self.module, name=name, device=device, boundary=boundary, pack=self.pack)

    def side(self, *, double: bool) -> Side | None:
        """The model to be watched layer by layer, in float64 or as it is; None where it has no layers, or no twin."""
        if self.kind == "onnx":
            return None
        if self.kind == "keras":
            from converter.judge.run_keras import rebuild
            from converter.judge.watch_keras import keras_side

            with frameworks.room_for(self.layers):
                twin = rebuild(self.model, pack=self.pack)[0] if double else self.model
            return None if twin is None else keras_side(twin, double=double, pack=self.pack)
        from converter.judge.run_torch import double_copy
        from converter.judge.runner import NoFloat64
        from converter.judge.watch_torch import torch_side

        try:
            module = self.with_modules()
            return torch_side(double_copy(module) if double else module, pack=self.pack, double=double)
        except NoFloat64:
            return None

    def with_modules(self) -> Any:
        """A module whose parts are modules: of an exported program, the ones that it was exported from."""
        if not hasattr(self.model, "graph_signature"):
            return self.model
        import torch

        return torch.export.unflatten(self.model)


def opened(value: Any) -> Opened:
    """A path or live model, or a Conversion for what it made. Raises what reading raises, UsageError for the rest."""
    frameworks.before_torch()
    frameworks.choose_keras()
    if isinstance(value, Conversion):
        return _conversion(value)
    if isinstance(value, (str, os.PathLike)):
        return _file(Path(value))
    onnx = sys.modules.get("onnx")
    if onnx is not None and isinstance(value, onnx.ModelProto):
        return Opened("onnx", value.SerializeToString(), value.graph.name or "onnx", specs=_of_onnx(value))
    return _live(sources.kind_of(value), value, str(getattr(value, "name", "") or type(value).__name__))


def _conversion(made: Conversion) -> Opened:
    name = made.report.source
    if made.to == "onnx":
        return replace(opened(made.onnx), name=name)
    return _live("keras" if made.to == "keras" else "torch", made.model, name)


def _live(kind: Literal["keras", "torch"], model: Any, name: str, path: Path | None = None) -> Opened:
    if kind == "keras":
        frameworks.import_keras()
    specs = _of_keras(model) if kind == "keras" else _of_program(model)
    return Opened(kind, model, name, path, specs, made=how(model))


def _file(path: Path) -> Opened:
    code = path / "model.py" if path.is_dir() else path.with_suffix(".py")
    if (path.is_dir() or path.suffix.lower() == ".safetensors") and code.is_file():
        raise UsageError(f"{path}: its model is made by {code}, which would be run. Name it, and it is.")
    suffix, told = path.suffix.lower(), _turns_beside(path)
    name = sources.name_of(path)
    if suffix == ".onnx":
        if not path.is_file():
            raise BadInput(f"{path}: no such file. Check the path.")
        return Opened("onnx", str(path), name, path, _of_onnx(_graph(path)), told)
    if suffix == ".py":
        return replace(_generated(path, name), told=told)
    source = sources.read(path, None, None)
    return replace(_live(source.kind, source.model, name, path), told=told, repairs=source.repairs)


def _generated(path: Path, name: str) -> Opened:
    """The module of a generated file: code that its user names, with the weights beside it."""
    code, weights = path.with_suffix(".py"), path.with_suffix(".safetensors")
    for each in (code, weights):
        if not each.is_file():
            raise BadInput(
                f"{each}: no such file. A written PyTorch model is {code.name} with {weights.name} beside it."
            )
    from converter.write import torch_load

    try:
        model = torch_load.load_file(code, weights)
    except Exception as error:  # whatever a file that is not ours raises when it is run
        raise BadInput(f"{code}: expected a file that kconvert has written; {type(error).__name__}: {error}") from error
    return _live("torch", model, name, path)


def _turns_beside(path: Path) -> list[str] | None:
    """The turns that the report of a written folder names; None where there is no such report."""
    try:
        data = json.loads((path.parent / "report.json").read_text(encoding="utf-8"))
        if path.name in MEMBERS and str(data["schema"]).startswith("kconvert-report/"):
            return [str(turn) for turn in data["turns"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None


def _graph(path: Path) -> Any:
    import onnx

    try:
        return onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf has its own classes
        raise BadInput(f"{path}: expected an ONNX file; {type(error).__name__}: {error}") from error


def _of_onnx(model: Any) -> list[InputSpec]:
    specs = []
    for each in model.graph.input:
        kind = each.type.tensor_type
        shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)
        dtype = {**_FLOATS, **_OTHERS}.get(kind.elem_type, "float32")
        specs.append(InputSpec(each.name, shape, dtype))
    return specs


def _of_keras(model: Any) -> list[InputSpec] | None:
    """The inputs; ids stay below the rows of every table in the model."""
    import keras

    inputs = getattr(model, "inputs", None)
    if not inputs:
        return None
    tables = [part for part in model._flatten_layers() if isinstance(part, keras.layers.Embedding)]
    rows = min((int(part.input_dim) for part in tables), default=None)
    looked_up = {id(part.input) for part in tables if _has_one_input(part)}
    specs = []
    for each in inputs:
        dtype = str(each.dtype)
        ids = rows is not None and (id(each) in looked_up or "int" in dtype)
        bounds = (0.0, float(rows)) if ids and rows is not None else (None, None)
        specs.append(InputSpec(each.name, tuple(each.shape), "int64" if ids else dtype, *bounds))
    return specs


def _has_one_input(part: Any) -> bool:
    try:
        return part.input is not None
    except (AttributeError, ValueError):
        return False


def _of_program(model: Any) -> list[InputSpec] | None:
    """The inputs of an exported program; None for a module, which does not tell them."""
    if not hasattr(model, "graph_signature"):
        return None
    values = {node.name: node.meta.get("val") for node in model.graph.nodes if node.op == "placeholder"}
    specs = []
    for name in model.graph_signature.user_inputs:
        value = values.get(str(name))
        if value is None or not hasattr(value, "shape"):
            return None
        shape = tuple(n if isinstance(n, int) else None for n in value.shape)
        rows = [node.args[0].meta["val"].shape[0] for node in model.graph.nodes if "aten.embedding" in str(node.target)]
        dtype = str(value.dtype).removeprefix("torch.")
        high = float(min(rows)) if rows and "int" in dtype else None
        specs.append(InputSpec(str(name), shape, dtype, 0.0 if high else None, high))
    return specs


Sides = tuple[Side, Side, bool]


def sides_of(one: Opened, two: Opened) -> Sides | None:
    """Both models to be watched, and whether in float64; None where one of them has no layers."""
    if "onnx" in (one.kind, two.kind):
        return None
    left, right = one.side(double=True), two.side(double=True)
    if left is not None and right is not None:
        return left, right, True
    left, right = one.side(double=False), two.side(double=False)
    return None if left is None or right is None else (left, right, False)
