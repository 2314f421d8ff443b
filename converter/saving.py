"""Conversions on disk: what goes into which file, by the output's name; and the written files as the model again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from converter import frameworks
from converter.conversion import Conversion
from converter.files import record_members
from converter.files.keras_archive import settle
from converter.files.outputs import Staged, Write
from converter.files.tensors import save_tensors
from converter.proof import target_specs
from converter.report import Report
from converter.request import FILES, check_output
from converter.write.names import file_stem


def save(made: Conversion, path: Any, force: bool) -> list[Path]:
    """Write a conversion, whole or not at all."""
    where = Path(path)
    with Staged(force) as staged:
        stage(made, where, staged)
        staged.write(reported(made, where))
        return staged.commit()


def stage(made: Conversion, where: Path, staged: Staged) -> None:
    """Write the model's files beside their places, and note where they stand."""
    check_output(where, made.to)
    files = _files(made, where, staged)
    staged.write(files)
    made.written = {path.suffix: staged.at(path) for path in files}


def read_back(made: Conversion) -> None:
    """Make the live model from the files that were written, and from nothing else."""
    source, tensors, keras = (made.written.get(kind) for kind in (".py", ".safetensors", ".keras"))
    if source is not None and tensors is not None:
        from converter.write import torch_load

        made.make_model = lambda: torch_load.load_file(source, tensors)
        made._model = None  # the record may have had one made from memory
    elif keras is not None:
        from converter.write import keras_load

        made.make_model = lambda: keras_load.load_file(keras, made.depth)
        made._model = None


def reported(made: Conversion, where: Path) -> dict[Path, Write]:
    """A directory's report.json; of weights that were changed after the proof it says so, and claims nothing."""
    if where.suffix.lower() in FILES[made.to]:
        return {}
    text = report_of(made).to_json()
    return {where / "report.json": lambda p: _text(p, text)}


def report_of(made: Conversion) -> Report:
    """The report for the weights as they are now."""
    changed = made.changed() if made.to != "onnx" else []
    if not changed:
        return made.report
    why = f"{len(changed)} of {len(made.weights)} weights were changed after the proof, which is of those before"
    return replace(made.report, passed=None, proof=False, rests_on=f"nothing: {why}", warnings=[why])


def _files(made: Conversion, where: Path, staged: Staged) -> dict[Path, Write]:
    """The files that an output stands for, with what writes each."""
    check_output(where, made.to)
    kind = where.suffix.lower()
    files: dict[Path, Write] = {}
    if kind == ".pt2" and made.to == "torch":
        return {where: lambda p: _exported(made, p)}
    if kind == ".onnx" or made.to == "onnx":
        return _onnx(made, where if kind == ".onnx" else where / "model.onnx", staged)
    if made.to == "torch":
        source = where.with_suffix(".py") if kind in (".py", ".safetensors") else where / "model.py"
        files[source] = lambda p: _text(p, made.source)
        files[source.with_suffix(".safetensors")] = lambda p: _tensors(made, p)
        return files
    model = where if kind == ".keras" else where / "model.keras"
    files[model] = lambda p: _keras(made, p)
    files[model.with_suffix(".py")] = lambda p: _text(p, made.source)
    return files


def _onnx(made: Conversion, where: Path, staged: Staged) -> dict[Path, Write]:
    """One .onnx file; over 2 GB the weights lie in a .data file beside it."""
    if not made.large:
        return {where: lambda p: made.save_onnx(p, None)}
    data = where.with_suffix(".data")

    def together(path: Path) -> None:
        made.save_onnx(path, data.name)

    def beside(path: Path) -> None:
        if not path.exists():
            raise OSError(f"the weights of {where.name} were not written to {data.name}")

    return {where: together, data: beside}


def default_output(name: str, to: str, folder: Path) -> Path:
    """Where `kconvert path/net.h5` writes without -o: net.py (or net.keras, net.onnx) in the current folder."""
    suffix = {"torch": ".py", "keras": ".keras", "onnx": ".onnx"}[to]
    return folder / f"{file_stem(name)}{suffix}"


def files_of(output: Path, to: str) -> list[Path]:
    """The files that an output stands for."""
    kind = output.suffix.lower()
    pairs = {".py": ".safetensors", ".safetensors": ".py", ".keras": ".py"}
    if kind in FILES[to]:
        return [output, *([output.with_suffix(pairs[kind])] if kind in pairs else [])]
    names = {"torch": ["model.py", "model.safetensors"], "keras": ["model.keras", "model.py"], "onnx": ["model.onnx"]}
    return [output / name for name in [*names[to], "report.json"]]


def _text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _tensors(made: Conversion, path: Path) -> None:
    """The weights, and the record in the metadata."""
    found = made.record_of(None)
    save_tensors(path, made.arrays(), {record_members.KEY: found.text} if found is not None else {})


def _keras(made: Conversion, path: Path) -> None:
    """The live model as it is, or one made for the file where there is none or where training has left its marks."""
    model = made._model
    if made.rebuild is not None and (model is None or getattr(model, "compiled", False)):
        model = made.rebuild([data for _, data in made.arrays()])
    model.save(str(path))
    found = made.record_of(model)
    members: dict[str, bytes | Path] = {}
    if found is not None:
        members[record_members.JSON] = found.text.encode()
    aside = path.with_name(f"{path.name}.{record_members.TENSORS}")
    if found is not None and found.tensors:
        save_tensors(aside, list(found.tensors.items()))
        members[record_members.TENSORS] = aside
    settle(path, members)
    aside.unlink(missing_ok=True)


def _exported(made: Conversion, path: Path) -> None:
    """The program is saved under one name, which its archive repeats, whatever the file is called."""
    frameworks.before_torch()
    from converter.write.export_torch import exported, save_program

    save_program(exported(made.model, target_specs(made)), path)
