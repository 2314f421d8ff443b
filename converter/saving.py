"""Conversions on disk: what goes into which file, by the output's name."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from converter import frameworks
from converter.build.names import file_stem
from converter.conversion import Conversion
from converter.errors import UsageError
from converter.files.outputs import Write, write_all
from converter.files.tensors import save_tensors
from converter.proof import target_specs

FILES = (".py", ".pt2", ".onnx", ".keras")


def torch_files(made: Conversion, state: Sequence[tuple[str, np.ndarray]], path: Any, force: bool) -> list[Path]:
    """`net.py` and `net.safetensors` by the name of either, `net.pt2`, `net.onnx`, or a directory and its report."""
    where = Path(path)
    kind = where.suffix.lower()
    if kind == ".pt2":
        return write_all({where: lambda p: _exported(made, p)}, force)
    if kind == ".onnx":
        return onnx_files(made, where, force)
    if kind == ".keras":
        raise UsageError(f"{where}: a PyTorch model is written as .py, .pt2 or .onnx, or into a directory.")
    files: dict[Path, Write] = {}
    pair = kind in (".py", ".safetensors")
    source, folder = (where.with_suffix(".py"), None) if pair else (where / "model.py", where)
    files[source] = lambda p: _text(p, made.source)
    files[source.with_suffix(".safetensors")] = lambda p: save_tensors(p, state)
    if folder is not None:
        files[folder / "report.json"] = lambda p: _text(p, made.report.to_json())
    return write_all(files, force)


def keras_files(made: Conversion, path: Any, force: bool) -> list[Path]:
    """`net.keras` with net.py beside it, `net.onnx`, or a directory with model.keras, model.py and the report."""
    where = Path(path)
    kind = where.suffix.lower()
    if kind == ".onnx":
        return onnx_files(made, where, force)
    if kind in (".py", ".pt2"):
        raise UsageError(f"{where}: a Keras model is written as .keras or .onnx, or into a directory.")
    files: dict[Path, Write] = {}
    model, folder = (where, None) if kind == ".keras" else (where / "model.keras", where)
    files[model] = lambda p: made.model.save(str(p))
    files[model.with_suffix(".py")] = lambda p: _text(p, made.source)
    if folder is not None:
        files[folder / "report.json"] = lambda p: _text(p, made.report.to_json())
    return write_all(files, force)


def onnx_files(made: Conversion, path: Any, force: bool) -> list[Path]:
    """One .onnx file; over 2 GB the weights lie in a .data file beside it."""
    where = Path(path)
    report: dict[Path, Write] = {}
    if where.suffix.lower() != ".onnx":
        report[where / "report.json"] = lambda p: _text(p, made.report.to_json())
        where = where / "model.onnx"

    save = made.save_onnx
    if save is None:
        raise UsageError(f"{where}: this conversion has no ONNX graph.")
    if not made.large:
        return write_all({where: lambda p: save(p, None), **report}, force)
    data = where.with_suffix(".data")
    with tempfile.TemporaryDirectory(
        prefix=".kconvert", dir=next(p for p in where.absolute().parents if p.is_dir())
    ) as d:
        aside = Path(d)
        save(aside / where.name, data.name)
        files: dict[Path, Write] = {where: lambda p: os.replace(aside / where.name, p)}
        files[data] = lambda p: os.replace(aside / data.name, p)
        return write_all({**files, **report}, force)


def default_output(name: str, to: str, folder: Path) -> Path:
    """Where `kconvert path/net.h5` writes without -o: net.py (or net.keras, net.onnx) in the current folder."""
    suffix = {"torch": ".py", "keras": ".keras", "onnx": ".onnx"}[to]
    return folder / f"{file_stem(name)}{suffix}"


def files_of(output: Path, to: str) -> list[Path]:
    """The files that an output stands for."""
    kind = output.suffix.lower()
    if kind in (".py", ".safetensors"):
        return [output.with_suffix(".py"), output.with_suffix(".safetensors")]
    if kind in FILES:
        return [output, output.with_suffix(".py")] if kind == ".keras" else [output]
    names = {"torch": ["model.py", "model.safetensors"], "keras": ["model.keras", "model.py"], "onnx": ["model.onnx"]}
    return [output / name for name in [*names[to], "report.json"]]


def _text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _exported(made: Conversion, path: Path) -> None:
    frameworks.before_torch()
    import torch

    from converter.build.export_torch import exported

    torch.export.save(exported(made.model, target_specs(made)), str(path))
