"""The pipeline on one screen: read, capture, settle, build, judge. The only module that knows every stage."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from converter import frameworks, proof, sources
from converter.conversion import Conversion, Turn, WeightMap, WeightMaps
from converter.dropped import dropped_of
from converter.report import Report
from converter.request import check
from converter.saving import keras_files, onnx_files, torch_files
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
    arch: Any = None,
    arch_args: dict[str, Any] | None = None,
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
        example_inputs: tensors that an nn.Module is traced with; the first axis is the batch.
        example_kwargs: the same for its keyword arguments; they become inputs in the order of the module's signature.
        dynamic: torch.export's dynamic_shapes, in the place of a batch of any size.
        arch: for a file that holds weights only: a callable, or 'package.module:callable', that returns the model.
        arch_args: keyword arguments for `arch`.
        verify: compare source, ONNX and target. An unequal target is no error: the report's `passed` is False.
        device: where the target is verified as well, "cpu" or "cuda".
        seed: of the random inputs.
        progress: is told what is being done, for long work.

    Raises:
        UsageError, Unsupported (all reasons at once, before anything is built), BadInput.
    """
    check(
        model,
        to,
        layout=layout,
        device=device,
        inputs=inputs,
        example_inputs=example_inputs,
        example_kwargs=example_kwargs,
        dynamic=dynamic,
        arch=arch,
        arch_args=arch_args,
        verify=verify,
        seed=seed,
    )
    frameworks.before_torch()
    frameworks.choose_keras()
    from_file = isinstance(model, (str, os.PathLike)) and sources.kind_of(model) == "keras"
    worker = proof.start_worker(Path(model), arch, arch_args) if from_file and verify else None
    try:
        source = sources.read(model, arch, arch_args)
        build = _keras_to_torch if to == "torch" else _torch_to_keras if to == "keras" else _to_onnx
        with frameworks.room_for(source.layers):
            made = build(source, layout, Examples(example_inputs, example_kwargs, dynamic))
            made.report.dropped = dropped_of(source.model, source.compiled)
            made.report.sign(source.path)
            if verify:
                proof.prove(made, source, worker, inputs=inputs, device=device, seed=seed, progress=progress)
    finally:
        if worker is not None:
            worker.close()
    return made


def _keras_to_torch(source: Source, layout: Layout, examples: Examples) -> Conversion:
    from converter.build import to_torch, torch_load
    from converter.capture import from_keras
    from converter.graph import flatten, onnx_model, padding
    from converter.graph import layout as layouts

    captured = from_keras.capture(source.model, share=source.path is not None)
    g = captured.graph
    specs = proof.input_specs(g.graph.inputs)
    turns = [Turn(t.name, t.kind, t.index, t.perm) for t in layouts.settle(g, layout)]
    flatten.absorb(g)
    padding.fold(g)
    written = to_torch.write(
        g.graph, captured.outputs, [s.name for s in specs], f"{source.name}, converted from Keras by kconvert."
    )
    state = [(w.key, w.data) for w in written.weights]
    known = [w for w in written.weights if w.origin is not None]
    maps = WeightMaps(
        WeightMap(source.original(w.origin.path), w.key, w.origin.axes, w.origin.transform) for w in known if w.origin
    )
    report = Report(
        source.name,
        "torch",
        repairs=list(source.repairs),
        turns=[str(t) for t in turns],
        transposes=sum(node.op_type == "Transpose" for node in g.graph),
        warnings=proof.warnings_of(g.graph, source, written.weights),
        notes=captured.notes,
    )
    made = Conversion("torch", written.text, maps, report, turns)
    made.make_model = lambda: torch_load.load(written.text, state)
    made.make_onnx = lambda: onnx_model.proto(g)
    made.save_onnx = lambda path, beside: onnx_model.save(g, path, beside)
    made.large = onnx_model.size(g) >= onnx_model.LIMIT
    made.write = lambda path, force: torch_files(made, state, path, force)
    made.evidence = proof.Evidence(
        specs=specs,
        weights=[(w.key, g.sources[w.origin.path], w.origin.replay) for w in known if w.origin],
        to_numpy=g.to_numpy,
    )
    return made


def _to_onnx(source: Source, layout: Layout, examples: Examples) -> Conversion:
    from converter.capture import from_keras, from_torch
    from converter.graph import flatten, onnx_model, padding
    from converter.graph import layout as layouts

    is_keras = source.kind == "keras"
    if is_keras:
        captured = from_keras.capture(source.model, share=source.path is not None)
    else:
        captured = from_torch.capture(source.model, *examples)
    g = captured.graph
    specs = proof.input_specs(g.graph.inputs)
    layouts.settle(g, "source")
    flatten.absorb(g)
    padding.fold(g)
    warnings = proof.warnings_of(g.graph, source, [], "onnx")
    report = Report(source.name, "onnx", repairs=list(source.repairs), warnings=warnings)
    made = Conversion("onnx", "", WeightMaps(), report)
    made.make_onnx = lambda: onnx_model.proto(g)
    made.save_onnx = lambda path, beside: onnx_model.save(g, path, beside)
    made.large = onnx_model.size(g) >= onnx_model.LIMIT
    made.make_model = made.make_onnx
    made.write = lambda path, force: onnx_files(made, path, force)
    made.evidence = proof.Evidence(specs=specs, to_numpy=g.to_numpy)
    return made


def _torch_to_keras(source: Source, layout: Layout, examples: Examples) -> Conversion:
    from converter.build import keras_load, to_keras
    from converter.capture import from_torch
    from converter.graph import channels_last, flatten, onnx_model
    from converter.graph import layout as layouts

    captured = from_torch.capture(source.model, *examples)
    g = captured.graph
    specs = proof.input_specs(g.graph.inputs)
    channels_last.turn(g)
    turns = [Turn(t.name, t.kind, t.index, t.perm) for t in layouts.settle(g, layout, first=False)]
    flatten.absorb(g)
    written = to_keras.write(
        g.graph, captured.outputs, f"{source.name}, converted from PyTorch by kconvert.", source.name
    )
    state = [(w.layer, w.name, w.data) for w in written.weights]
    known = [w for w in written.weights if w.origin is not None]
    maps = WeightMaps(WeightMap(w.origin.path, w.key, w.origin.axes, w.origin.transform) for w in known if w.origin)
    report = Report(
        source.name,
        "keras",
        turns=[str(t) for t in turns],
        transposes=sum(node.op_type == "Transpose" for node in g.graph),
        warnings=proof.warnings_of(g.graph, source, written.weights, "keras"),
        notes=[*captured.notes, *written.notes],
    )
    made = Conversion("keras", written.text, maps, report, turns)

    def make_model() -> Any:
        with frameworks.room_for(source.layers):
            return keras_load.load(written.text, state)

    made.make_model = make_model
    made.make_onnx = lambda: onnx_model.proto(g)
    made.save_onnx = lambda path, beside: onnx_model.save(g, path, beside)
    made.large = onnx_model.size(g) >= onnx_model.LIMIT
    made.write = lambda path, force: keras_files(made, path, force)
    made.evidence = proof.Evidence(
        specs=specs,
        weights=[(w.key, g.sources[w.origin.path], w.origin.replay) for w in known if w.origin],
        to_numpy=g.to_numpy,
    )
    return made
