"""The pipeline on one screen: read, capture, settle, write, judge. The only module that knows every stage."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from converter import custom as custom_objects
from converter import frameworks, given, proof, record_back, record_keras, record_torch, rows, saving, sources, trained
from converter.conversion import Conversion, Placed, Turn, WeightMap, WeightMaps, output_names
from converter.dropped import dropped_of
from converter.errors import UsageError
from converter.files.outputs import Staged, room
from converter.graph import flatten, padding
from converter.graph import layout as layouts
from converter.graph.duplicate import duplicate
from converter.graph.graph import GraphBuilder, dynamic_axes
from converter.record import Record, Unfit
from converter.report import Remark, Report
from converter.request import check
from converter.sources import Source

Layout = Literal["native", "source"]


class Examples(NamedTuple):
    """What a PyTorch module is traced with."""

    inputs: Sequence[Any] | None = None
    kwargs: Mapping[str, Any] | None = None
    dynamic: Any = None


def convert(
    model: Any,
    to: str,
    *,
    layout: Layout = "native",
    inputs: Any = None,
    example_inputs: Sequence[Any] | None = None,
    example_kwargs: Mapping[str, Any] | None = None,
    dynamic: Any = None,
    custom: Mapping[str, Any] | None = None,
    arch: Any = None,
    arch_args: dict[str, Any] | None = None,
    trust: bool = False,
    verify: bool = True,
    device: str = "cpu",
    seed: int = 0,
    progress: Callable[[str], None] = lambda text: None,
) -> Conversion:
    """Convert a model and, with `verify`, prove that the result answers like its source.

    Args:
        model: a path (.keras, .h5, .pt2), a keras.Model, an nn.Module or an ExportedProgram.
        to: "torch", "keras" or "onnx".
        layout: "native" turns inputs and outputs of rank 4 and 5 into the target's axis order where their channel axis
            is that of a spatial layer; "source" leaves every input and output as the source has it.
        inputs: arrays to verify with, in the order of the model's inputs or by their names, or the array of a single
            input; random ones else.
        example_inputs: tensors that an nn.Module is traced with, or a single one; the first axis is the batch.
        example_kwargs: the same for its keyword arguments; they become inputs in the order of the module's signature.
        dynamic: which axes have any length, in the place of the batch: {"x": {0: "batch", 2: "H"}} or, in the order of
            the inputs, ({0: "batch", 2: "H"},); one name is one length everywhere, and torch.export's Dim will do.
        custom: classes and functions for the names in a Keras file, {"pkg>Name": class or function}; also by their
            import names, 'package.module:obj'.
        arch: for a file that holds weights only: a callable, or 'package.module:callable', that returns the model.
        arch_args: keyword arguments for `arch`.
        trust: run the code that a Keras file holds (Lambda), and import the modules that it names. Nothing of that is
            done without.
        verify: compare source, ONNX and target. An unequal target is no error: the report's `passed` is False.
        device: where the target is verified as well, "cpu" or "cuda".
        seed: of the random inputs.
        progress: is told what is being done, for long work.

    Raises:
        UsageError, Unsupported (all reasons at once, before anything is built), BadInput.
    """
    if type(device).__name__ == "device":  # torch.device, by its own name
        device = str(device)
    check(
        model,
        to,
        layout=layout,
        device=device,
        inputs=inputs,
        example_inputs=example_inputs,
        example_kwargs=example_kwargs,
        dynamic=dynamic,
        custom=custom,
        arch=arch,
        arch_args=arch_args,
        trust=trust,
        verify=verify,
        seed=seed,
    )
    if hasattr(example_inputs, "shape"):
        example_inputs = (example_inputs,)
    return run(
        Asked(model, to, layout, Examples(example_inputs, example_kwargs, dynamic), arch, arch_args, custom, trust),
        Proving(inputs, device, seed, progress) if verify else None,
    )


@dataclass(frozen=True)
class Asked:
    """What is converted, to what, and how."""

    model: Any
    to: str
    layout: Layout = "native"
    examples: Examples = field(default_factory=Examples)
    arch: Any = None
    arch_args: dict[str, Any] | None = None
    custom: Mapping[str, Any] | None = None
    trust: bool = False


@dataclass(frozen=True)
class Proving:
    """What the judge is told."""

    inputs: Any = None
    device: str = "cpu"
    seed: int = 0
    progress: Callable[[str], None] = lambda text: None
    own: bool = False
    """The process is ours and has computed nothing yet: the reference may be a copy of it."""


def run(asked: Asked, proving: Proving | None, output: Output | None = None) -> Conversion:
    """Read, capture, settle, write, judge; with an `output` write the files first, and judge what they hold."""
    if output is not None and output.path.suffix.lower() == ".onnx":
        asked = replace(asked, to="onnx")  # what is written is what is judged
    from_file = isinstance(asked.model, (str, os.PathLike)) and sources.kind_of(asked.model) == "keras"
    if from_file and asked.arch is None:
        told = [given.Told(*each) for each in rows.preview(asked.model, asked.custom, asked.trust).inputs]
        if told and proving is not None and proving.inputs is not None:
            given.match(told, proving.inputs)  # what does not fit is told before the frameworks are imported
    frameworks.before_torch()
    frameworks.choose_keras()
    if from_file or asked.to == "keras":
        frameworks.import_keras()
    if proving is not None:
        frameworks.check_device(proving.device)
    with room(), frameworks.unasked(), contextlib.ExitStack() as stack:
        worker = None
        if from_file and proving is not None:
            if proving.own:
                frameworks.import_all()
            worker = proof.start_worker(
                Path(asked.model), asked.arch, asked.arch_args, custom=asked.custom, trust=asked.trust, fork=proving.own
            )
        if worker is not None:
            stack.enter_context(worker)
        source = sources.read(asked.model, asked.arch, asked.arch_args, asked.custom, asked.trust)
        stack.enter_context(frameworks.room_for(source.layers))
        made = _made(source, asked)
        if output is not None:
            output.made = made
        staged = stack.enter_context(Staged(output.force)) if output is not None else None
        if output is not None and staged is not None:
            saving.stage(made, output.path, staged)
            saving.read_back(made)
        if proving is not None:
            asking = {"inputs": proving.inputs, "device": proving.device, "seed": proving.seed}
            proof.prove(made, source, worker, progress=proving.progress, **asking)
            trained.settle(made, source)
        if output is not None and staged is not None and output.wanted(made.report):
            staged.write(saving.reported(made, output.path))
            output.paths = staged.commit()
    return made


@dataclass
class Output:
    """Where the files go, and whether they are wanted once the report is there; `paths` is what was written."""

    path: Path
    force: bool = False
    wanted: Callable[[Report], bool] = lambda report: report.passed is not False
    paths: list[Path] = field(default_factory=list)
    made: Conversion | None = None
    """The conversion, as soon as there is one: what failed later has a report too."""


def _made(source: Source, asked: Asked) -> Conversion:
    """The conversion, nothing verified yet: by the source's record where it fits."""
    why: list[Remark] = []
    if asked.to == "keras" and source.kind == "torch" and source.record is not None:
        try:
            return record_back.made(source, asked.layout, _there)
        except Unfit as error:
            if asked.examples.inputs is None and not asked.examples.kwargs:
                raise UsageError(
                    f"The module's record is not used: {error}. So the module is traced, and for that it needs "
                    "example inputs: --input 1,3,224,224 for each input, in Python "
                    "example_inputs=(torch.zeros(1, 3, 224, 224),)."
                ) from error
            why.append(Remark("record", f"not used: {error}"))
    made = _converted(source, asked)
    made.report.notes += why
    return made


def _there(model: Any, name: str, layout: Layout) -> Conversion:
    """A Keras model once more the way that it went to PyTorch."""
    return _converted(Source("keras", model, name), Asked(model, "torch", layout))


def _converted(source: Source, asked: Asked) -> Conversion:
    """The conversion by the graph."""
    captured = _captured(source, asked.examples)
    g = captured.graph
    g.output_names = output_names(captured.outputs, g.output_names, len(g.graph.outputs))
    specs = proof.input_specs(g.graph.inputs)
    report = Report(
        source.name,
        asked.to,
        repairs=list(source.repairs),
        dropped=dropped_of(source.model, source.compiled),
        notes=list(captured.notes),
    )
    made = Conversion(asked.to, "", WeightMaps(), report)
    made.evidence = proof.Evidence(specs=specs, to_numpy=g.to_numpy, pack=captured.pack, alone=captured.alone)
    made.evidence.given = not captured.alone and any(each["road"] == "custom=" for each in captured.roads)
    written: Sequence[Any] = ()
    if asked.to == "keras":
        plain = duplicate(g)  # Keras has another axis order; ONNX's is made where it is asked for
        made.make_graph = lambda: (plain, _settled(plain, asked.layout))
        written = _as_keras(made, g, captured.outputs, source, asked.layout)
    else:
        made.turns = turns = _settled(g, asked.layout)
        made.make_graph = lambda: (g, turns)
        if asked.to == "torch":
            written = _as_torch(made, g, captured.outputs, source)
            recorded = record_keras.write(source.model, made.source, asked.layout, turns)
            made.make_record = lambda _: None if recorded is None else Record(recorded)
        else:
            made.make_model = lambda: made.onnx
    report.turns = [str(turn) for turn in made.turns]
    own = {name.rsplit(">", 1)[-1] for name in source.custom or ()}
    report.roads = [{**each, "road": "custom="} if each["class"] in own else each for each in captured.roads]
    report.dynamic = dynamic_axes(g.graph.inputs)
    report.transposes = sum(node.op_type == "Transpose" for node in g.graph)
    report.warnings = proof.warnings_of(g.graph, source, written, asked.to)
    report.sign(source.path)
    made.weights = [Placed(w.key, w.data, w.origin) for w in written]
    known = [w for w in made.weights if w.origin is not None]
    made.retrained += trained.unread(source, {w.origin.path for w in known if w.origin is not None}, g.sources)
    made.mapping = WeightMaps(
        WeightMap(source.original(w.origin.path), w.key, w.origin.axes, w.origin.transform) for w in known if w.origin
    )
    made.evidence.weights = [(w.key, g.sources[w.origin.path], w.origin.replay) for w in known if w.origin]
    return made


def _captured(source: Source, examples: Examples) -> Any:
    if source.kind == "keras":
        from converter.capture import from_keras

        given_for = custom_objects.of_torch(source.custom)
        return from_keras.capture(source.model, source.path is not None, examples.inputs, given_for)
    from converter.capture import from_torch

    return from_torch.capture(source.model, *examples)


def _settled(g: GraphBuilder, layout: Layout) -> list[Turn]:
    """The graph channels first, as ONNX and PyTorch have it."""
    turns = [Turn(t.name, t.kind, t.index, t.perm) for t in layouts.settle(g, layout)]
    flatten.absorb(g)
    padding.fold(g)
    return turns


def _as_torch(made: Conversion, g: GraphBuilder, outputs: Any, source: Source) -> Sequence[Any]:
    from converter.write import to_torch, torch_load

    title = f"{source.name}, converted from Keras by kconvert."
    names = [s.name for s in made.evidence.specs]
    found, written = None, None
    if source.record is not None:
        try:
            found = record_torch.read(source)
            settled = duplicate(g)
            fewer = found.freeze(settled)
            written = to_torch.write(settled.graph, outputs, names, title, found.kept)
            made.report.notes += found.told(written.weights)
            made.retrained += found.retrained(written.weights, fewer)
        except (Unfit, LookupError, ValueError) as error:  # what contradicts itself cannot be written so
            made.report.notes.append(Remark("record", f"not used: {error}"))
            written = None
    if written is None:
        written = to_torch.write(duplicate(g).graph, outputs, names, title)
    text, weights = written.text, written.weights
    made.source = text
    made.make_model = lambda: torch_load.load(text, [(w.key, w.data) for w in weights])
    made.arrays_of = torch_load.arrays_of
    return weights


def _as_keras(made: Conversion, g: GraphBuilder, outputs: Any, source: Source, layout: Layout) -> Sequence[Any]:
    from converter.graph import channels_last, opened, regroup
    from converter.write import keras_calls, keras_load, to_keras

    regroup.split_early(g)
    channels_last.turn(g)
    made.turns = [Turn(t.name, t.kind, t.index, t.perm) for t in layouts.settle(g, layout, first=False)]
    flatten.absorb(g)
    regroup.join(g)
    opened.open_ops(g, keras_calls.lacks)
    written = to_keras.write(g.graph, outputs, f"{source.name}, converted from PyTorch by kconvert.", source.name)
    made.source = written.text
    made.depth = source.layers
    made.rebuild = lambda arrays: keras_load.load(
        written.text, [(w.layer, w.name, data) for w, data in zip(written.weights, arrays, strict=True)], made.depth
    )
    rebuild = made.rebuild
    made.make_model = lambda: rebuild([w.data for w in written.weights])
    made.arrays_of = keras_load.arrays_of
    made.report.notes += written.notes
    state = record_torch.state_of(source.model, {w.origin.path for w in written.weights if w.origin is not None})
    keys = {w.key: w.origin.path for w in written.weights if w.origin is not None}
    made.make_record = lambda model: record_torch.write(state, written.layers, keys, model)
    made.retrained += written.untied
    made.thawed = written.frozen
    return written.weights
