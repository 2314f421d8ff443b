"""What the api tells the judge: which inputs fit, which rungs there are, which weights belong together."""

from __future__ import annotations

import json
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from converter import frameworks, given, located
from converter.conversion import Conversion, Turn
from converter.errors import BadInput, ConvertError, UsageError
from converter.graph.graph import dims, symbols
from converter.judge.inputs import InputSet, InputSpec, fitting_inputs, given_inputs
from converter.judge.judge import judge
from converter.judge.run_ort import ort_runner
from converter.judge.runner import Boundary, Runner
from converter.judge.verdict import Verdict, compare_weights
from converter.judge.worker import Worker
from converter.ops import base
from converter.report import Report
from converter.sources import Source

BACKENDS = {"torch": "torch", "tensorflow": "TensorFlow"}
OTHERS = {"keras/torch": ("tensorflow",), "keras/tensorflow": ("torch",), "keras/jax": ("torch", "tensorflow")}
"""The backends that are asked where the one at hand gives no proof."""
Found = tuple[Verdict, list[str]]
"""What the judge found with one reference, and the inputs that it refused, in words."""
MOST_ELEMENTS = 1 << 28
"""Of one value in the graph, for one example: 2 GB in float64, and several examples are run at once."""


@dataclass
class Evidence:
    """What the judge needs besides the models: the inputs, and every weight's key, source and way."""

    specs: list[InputSpec] = field(default_factory=list)
    weights: list[tuple[str, Any, Callable[[np.ndarray], np.ndarray]]] = field(default_factory=list)
    to_numpy: Callable[[Any], np.ndarray] = np.asarray
    pack: Any = None
    """The arguments of a call of the source, where they are more than its inputs in a row."""
    alone: list[str] = field(default_factory=list)
    """Layers that the user gave a class for and whose own is not there."""
    given: bool = False
    """Whether what the user gave is written in the place of layers that this process has."""


def input_specs(inputs: Sequence[ir.Value]) -> list[InputSpec]:
    """The inputs as the source has them; ids stay below the vocabulary of the table that they look up."""
    specs = []
    for value in inputs:
        high = _vocabulary(value)
        low = None if high is None else 0.0
        dtype = str(value.dtype.numpy()) if value.dtype is not None else "float32"
        names = tuple(None if isinstance(d, int) else d for d in symbols(value))
        limit = None if high is None else float(high)
        specs.append(InputSpec(value.name or "x", dims(value), dtype, low, limit, names=names))
    return specs


def _vocabulary(value: ir.Value) -> int | None:
    """The number of rows of the smallest table that ids from this value look up."""
    found: list[int] = []
    ahead, seen = [value], {id(value)}
    while ahead:
        for use in ahead.pop().uses():
            cls = base.class_of(use.node)
            if cls is None:
                continue
            rows = base.of(use.node).vocabulary(
                tuple(dims(v) if v is not None else () for v in use.node.inputs), use.idx
            )
            if rows is not None:
                found.append(rows)
            elif cls.neutral or cls.keeps_ids:
                fresh = [out for out in use.node.outputs if id(out) not in seen]
                seen.update(map(id, fresh))
                ahead += fresh
    return min(found) if found else None


def _made_by(value: ir.Value) -> tuple[ir.Node | None, type[base.Op] | None]:
    node = value.producer()
    return node, None if node is None else base.class_of(node)


def warnings_of(graph: ir.Graph, source: Source, weights: Sequence[Any], target: str = "torch") -> list[str]:
    """What the user should know: what losses expect, weights that are no numbers.

    The target's losses are named: PyTorch's take logits, Keras's take what comes out by default, ONNX has none."""
    lines = []
    for value in graph.outputs:
        node, cls = _made_by(value)
        while node is not None and cls is not None and cls.keeps_ids and node.inputs[0] is not None:
            node, cls = _made_by(node.inputs[0])
        if target == "torch" and node is not None and cls is not None and cls.before_loss:
            name = node.metadata_props.get("kconvert.layer", "")
            lines.append(
                f"{name!r} ends in {cls.before_loss}: PyTorch's losses (cross_entropy, "
                "binary_cross_entropy_with_logits) expect the logits before it"
            )
    for weight in weights:
        if weight.data.dtype.kind == "f" and not np.isfinite(weight.data).all():
            count = int(np.size(weight.data) - np.count_nonzero(np.isfinite(weight.data)))
            lines.append(f"the weight {weight.key} holds {count} values that are NaN or infinite")
    return lines


def start_worker(
    path: Path,
    arch: Any,
    arch_args: dict[str, Any] | None,
    backend: str | None = None,
    *,
    custom: Mapping[str, Any] | None = None,
    trust: bool = False,
    fork: bool = False,
) -> Worker | None:
    """The reference process of a file; None where it could not be given what it needs.

    `fork`: this process is ours and has only imported so far; a copy of it saves importing everything once more.
    """
    if arch is not None and not isinstance(arch, str):
        return None
    try:
        json.dumps(arch_args)
    except TypeError:
        return None
    if not all(isinstance(given, str) for given in (custom or {}).values()):
        return None
    kwargs: dict[str, Any] = {"path": str(path.absolute()), "arch": arch, "arch_args": arch_args}
    kwargs |= {"custom": dict(custom), "trust": trust} if custom else {"trust": trust}
    chosen = backend or os.environ.get("KERAS_BACKEND") or "torch"
    env = {"KERAS_BACKEND": chosen, "CUDA_VISIBLE_DEVICES": ""}
    fork = fork and chosen == "torch" and frameworks.can_fork()
    return Worker("converter.reference:open_file", kwargs, {**frameworks.calm(), **env}, timeout=3600.0, fork=fork)


def prove(
    made: Conversion,
    source: Source,
    worker: Worker | None,
    *,
    inputs: Any,
    device: str,
    seed: int,
    progress: Callable[[str], None] = lambda text: None,
) -> None:
    """Judge a conversion and put what was found into its report."""
    evidence: Evidence = made.evidence
    _check_room(made, source)
    reference = _reference(source, None if evidence.given else worker, evidence.pack)
    own = None if inputs is None else _given(evidence.specs, inputs)
    weights = compare_weights(_pairs(made)) if made.to != "onnx" else None

    shown: list[InputSet] = []

    def ask(runner: Runner) -> Found:
        sets, refused = (own, []) if own is not None else fitting_inputs(evidence.specs, seed, runner.refuses)
        if not sets and source.kind == "torch":
            why = refused[0] if refused else "there are none"
            raise UsageError(f"The module answers no inputs of its examples' shapes and dtypes: {why}.")
        hops = _hops(made, device, Path(folder))
        shown[:] = sets[:1]
        return judge(runner, hops, sets, seed=seed, weights=weights, progress=progress), refused

    # Overflows and what Keras remarks of a model are no news here; whoever makes errors of warnings has no other proof.
    with (
        warnings.catch_warnings(action="ignore"),
        np.errstate(all="ignore"),
        tempfile.TemporaryDirectory(prefix="kconvert_") as folder,
    ):
        others = OTHERS.get(reference.backend, ()) if source.kind == "keras" else ()
        try:
            answer: Found | UsageError = ask(reference)
        except UsageError as error:
            if not others:
                raise
            answer = error
        told: list[str] = []
        for backend in others:
            if isinstance(answer, UsageError) or not answer[0].passed or _lacks_float64(answer[0]):
                answer = _asked_again(answer, ask, source, told, reference.backend, backend)
    if isinstance(answer, UsageError):
        raise answer
    verdict, notes = answer[0], answer[1] + told
    if verdict.passed is False and made.to != "onnx" and shown:
        progress("the layer at which they part")
        located.of_conversion(verdict, made, source, _boundary(made.turns), shown)
    before = made.report
    made.report = Report.from_verdict(
        verdict,
        source=before.source,
        target=before.target,
        repairs=before.repairs,
        turns=before.turns,
        dynamic=before.dynamic,
        roads=before.roads,
        transposes=_counted(made, shown, before.transposes) if made.to == "torch" else before.transposes,
        dropped=before.dropped,
        trainable=before.trainable,
        warnings=before.warnings,
        notes=[*before.notes, *notes],
        versions=before.versions,
        sha256=before.sha256,
        seed=seed,
        policy=before.policy,
    )
    if evidence.alone:
        made.report.nothing_to_compare(evidence.alone)


def _check_room(made: Conversion, source: Source) -> None:
    """What the judge would run fits into a machine, as far as lengths are known: a file can claim any without weights.

    Raises BadInput that names the largest."""
    values = [] if made.graph is None else [*made.graph.graph.inputs]
    values += [out for node in (made.graph.graph if made.graph is not None else ()) for out in node.outputs]
    sizes = [(math.prod(n for n in dims(v) if n is not None), v) for v in values if v.shape is not None]
    most, value = max(sizes, key=lambda pair: pair[0], default=(0, None))
    if value is not None and most > MOST_ELEMENTS:
        raise BadInput(
            f"{source.path or source.name}: {value.name!r} has the shape {dims(value)}: {most:,} numbers for a single "
            f"example, and at most {MOST_ELEMENTS:,} are computed here. Expected a model that can be run; "
            "--no-verify (verify=False) converts it without running it."
        )


def _hops(made: Conversion, device: str, folder: Path) -> list[Runner]:
    """The rungs after the source, in the order of the road."""
    boundary = _boundary(made.turns)
    hops = []
    double = made.to == "onnx"
    hops.append(ort_runner(_written(made, folder), boundary=_boundary(made.onnx_turns), double=double))
    if made.to == "torch":
        from converter.judge.run_torch import torch_runner

        hops.append(torch_runner(made.model, boundary=boundary))
        if ".pt2" in made.written:
            hops.append(_program(made.written[".pt2"], boundary))
        if device != "cpu":
            hops.append(torch_runner(made.model, name=f"torch on {device}", device=device, boundary=boundary))
    elif made.to == "keras":
        from converter.judge.run_keras import keras_runner

        hops.append(keras_runner(made.model, boundary=boundary))
    return hops


def _program(path: Path, boundary: Boundary) -> Runner:
    """The .pt2 file that was written; its numbers are float32 wherever export has made constants of them."""
    import torch

    from converter.judge.run_torch import torch_runner

    made = torch_runner(torch.export.load(path).module(), name=".pt2 file", boundary=boundary)
    return replace(made, open64=None, why_no_64="an exported program computes in the dtypes that it was traced with")


def _lacks_float64(verdict: Verdict) -> bool:
    """No proof, and for want of the reference's float64: another backend may have it."""
    return not verdict.proof and bool(verdict.rungs) and bool(verdict.rungs[0].note)


def _asked_again(
    first: Found | UsageError,
    ask: Callable[[Runner], Found],
    source: Source,
    notes: list[str],
    asked: str,
    backend: str,
) -> Found | UsageError:
    """The same question with another of Keras's backends, where that is installed and answers better.

    Keras's backends do not always agree (average pooling and transposed convolution with uneven 'same' padding, for
    instance), TensorFlow has no channels-first convolution on CPU, and none computes every layer in float64. Which one
    was the reference is reported.
    """
    name = BACKENDS[backend]
    if PathFinder.find_spec(backend) is None:  # hidden from imports here, it may still be there for another process
        return first
    with tempfile.TemporaryDirectory(prefix="kconvert_") as folder:
        path = source.path
        arch = source.arch
        if path is None:
            path, arch = Path(folder) / "model.keras", None
            try:
                source.model.save(path)
            except Exception as error:  # noqa: BLE001  a model that Keras cannot save is still one that was converted
                notes.append(f"not asked again with Keras on {name}: Keras cannot save the model ({error})")
                return first
        second_worker = start_worker(path, arch, source.arch_args, backend, custom=source.custom, trust=source.trust)
        if second_worker is None:
            return first
        with second_worker:
            try:
                second = ask(second_worker.runner("keras source"))
            except ConvertError as error:
                notes.append(f"asked again with Keras on {name}, which failed: {error}")
                return first
    known = None if isinstance(first, UsageError) else first[0]
    if not second[0].passed or (known is not None and known.passed and not second[0].proof):
        return first
    if known is None or not known.sets:
        notes.append(f"the reference is Keras on {name}; {asked} answers no input that was tried")
    elif not known.passed:
        notes.append(f"the reference is Keras on {name}; {asked} answers differently ({known.broken})")
    else:
        notes.append(f"the reference is Keras on {name}, where this model computes in float64 throughout")
    return second


def _reference(source: Source, worker: Worker | None, pack: Any) -> Runner:
    if source.kind == "torch":
        from converter.judge.run_torch import torch_runner

        model = source.model
        module = model.module() if hasattr(model, "graph_signature") else model
        return torch_runner(module, name="torch source", pack=pack)
    if worker is not None:
        return worker.runner("keras source")
    from converter.judge.run_keras import keras_runner

    return replace(keras_runner(source.model, pack=pack), name="keras source")


def _given(specs: list[InputSpec], inputs: Any) -> list[InputSet]:
    """The user's own inputs, and the same back to front."""
    cast = given.match(specs, inputs)
    return [given_inputs(cast), given_inputs([np.flip(a, 0).copy() for a in cast], "given, reversed")]


def _boundary(turns: Sequence[Turn]) -> Boundary:
    perms = {(t.kind, t.index): t.perm for t in turns}

    def row(kind: str) -> tuple[Any, ...]:
        count = max((t.index for t in turns if t.kind == kind), default=-1) + 1
        return tuple(perms.get((kind, i)) for i in range(count))

    back = tuple(None if p is None else base.inverse(p) for p in row("output"))
    return Boundary(row("input"), back)


def _written(made: Conversion, folder: Path) -> str:
    """The graph as an ONNX file with its weights beside it, which no process has to hold a copy of."""
    if ".onnx" in made.written:
        return str(made.written[".onnx"])
    path = folder / "model.onnx"
    if not path.exists():
        made.save_onnx(path, f"{path.stem}.data")
    return str(path)


def _pairs(made: Conversion) -> list[tuple[str, np.ndarray, Any, np.ndarray]]:
    evidence: Evidence = made.evidence
    state = made.arrays_of(made.model) if made.arrays_of is not None else {}
    return [
        (key, np.asarray(evidence.to_numpy(source)), replay, state[key]) for key, source, replay in evidence.weights
    ]


def target_specs(made: Conversion) -> list[InputSpec]:
    """The inputs as the target has them, turned where layout native turned them."""
    perms = {t.index: t.perm for t in made.turns if t.kind == "input"}
    specs: list[InputSpec] = []
    for i, spec in enumerate(made.evidence.specs):
        perm = perms.get(i)
        specs.append(spec if perm is None else replace(spec, shape=tuple(spec.shape[p] for p in perm)))
    return specs


def _counted(made: Conversion, sets: Sequence[InputSet], planned: int | None) -> int | None:
    """Transpositions while the target runs; what was planned where it answers no input."""
    from converter.write.torch_moves import run_time_transposes

    try:
        return run_time_transposes(made.model, _boundary(made.turns).to_target(sets[0].arrays))
    except Exception:  # noqa: BLE001  a target that cannot run is the judge's to tell
        return planned
