"""The settled graph as the source of a functional Keras model, and its weights. The text is the model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from converter.errors import Item, Unsupported
from converter.graph.graph import Origin, array, dims, origin
from converter.ops import base
from converter.ops.records import Layer, Ref
from converter.write.keras_text import BuildText, Step
from converter.write.names import identifier
from converter.write.view import NodeView

ACTIVATED = (
    frozenset(f"{kind}{rank}D" for rank in (1, 2, 3) for kind in ("Conv", "DepthwiseConv", "SeparableConv"))
    | {f"Conv{rank}DTranspose" for rank in (1, 2, 3)}
    | {"Dense", "EinsumDense"}
)
"""Layers with an `activation` argument that is applied last."""

STATISTICS = frozenset({"moving_mean", "moving_variance"})
FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})


@dataclass(frozen=True)
class Weight:
    """One weight of one layer: its numbers in Keras's axis order, and where they come from (None: a constant)."""

    layer: str
    name: str
    data: np.ndarray
    origin: Origin | None
    trainable: bool

    @property
    def key(self) -> str:
        """'conv1/kernel'."""
        return f"{self.layer}/{self.name}"


@dataclass
class KerasSource:
    """A generated file: its text, its weights, the paths of the source's modules by layer name, and what to tell."""

    text: str
    weights: list[Weight]
    layers: dict[str, str]
    notes: list[Any]
    untied: list[tuple[str, int]] = field(default_factory=list)
    """For each parameter that several layers share in the source, and of which each has its own here: a sentence, and
    how many numbers train more than there; 0 where it does not train."""
    frozen: list[tuple[str, int]] = field(default_factory=list)
    """The same for each weight that is frozen while its layer is trained, which a .keras file does not keep."""


def write(graph: ir.Graph, outputs: Any, title: str, name: str) -> KerasSource:
    """The file for a graph that is settled channels last.

    `outputs` is the structure of what the source returns, with positions into the graph's outputs. Raises Unsupported
    with every node that has no Keras form.
    """
    return _Writer(graph).source(outputs, title, name)


@dataclass(frozen=True)
class _Call:
    """A node with its record; calls with the same key are calls of one layer."""

    view: NodeView
    record: Layer
    key: Any
    output: ir.Value


class _Writer:
    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self.missing: list[Item] = []
        self.notes: list[Any] = []
        self.weights: list[Weight] = []
        self.taken: set[str] = set()
        self.frozen: list[tuple[str, str]] = []
        self.paths: dict[str, str] = {}
        self.untied: list[tuple[str, int]] = []
        self.readers: dict[str, str] = {}

    def source(self, outputs: Any, title: str, name: str) -> KerasSource:
        """Write everything."""
        inputs = []
        for value in self.graph.inputs:
            if not dims(value):
                why = "it is a single number, and a Keras input has a batch axis."
                self.missing.append(Item(value.name or "x", "input", why, "Keep it as a constant of the module."))
            inputs.append((self._name(value.name or "x"), value, dims(value)[1:], _dtype(value)))
        calls = [call for node in self.graph if (call := self._call(node)) is not None]
        results = list(self.graph.outputs)
        self._check(calls, results)
        counts = Counter(call.key for call in calls)
        calls = _folded(calls, results, counts)
        names: dict[Any, str] = {}
        settings: dict[str, dict[str, Any]] = {}
        steps: list[Step] = []
        for call in calls:
            if call.key not in names:
                names[call.key] = self._name(_wanted(call))
                self.paths[names[call.key]] = call.view.place.path
                settings[names[call.key]] = self._weights(names[call.key], call)
            steps += self._steps(names[call.key], call, settings[names[call.key]], counts[call.key] > 1)
        results = self._returned(steps, results)
        if any(step.kwargs.get("dtype") == "float64" for step in steps):
            self.notes.append(
                "the model is float64: Keras on TensorFlow runs it so, on torch and JAX partly in float32"
            )
        text = BuildText(title, identifier(name, "model"), inputs, steps, outputs, results, self.frozen).text()
        sizes = {(weight.layer, weight.name): int(weight.data.size) for weight in self.weights}
        why = "is frozen in the source, which a .keras file does not keep"
        frozen = [(f"{layer}/{weight} {why}", sizes[layer, weight]) for layer, weight in self.frozen]
        return KerasSource(text, self.weights, self.paths, self.notes, self.untied, frozen)

    # Nodes into calls ----------------------------------------------------------------------------------------------

    def _call(self, node: ir.Node) -> _Call | None:
        cls = base.class_of(node)
        where = node.metadata_props.get("kconvert.layer") or "forward"
        why = "this operator has no Keras layer."
        if cls is not None and cls.targets()[1]:
            view = NodeView(node)
            try:
                record = view.record("keras")
                if isinstance(record, Layer):
                    return _Call(view, record, _key(view, record, node), node.outputs[0])
            except LookupError as error:
                why = f"{error.args[0]}."
        self.missing.append(Item(where, node.op_type, why))
        return None

    def _check(self, calls: list[_Call], results: Sequence[ir.Value]) -> None:
        for call in calls:
            if any(array(v) is not None for v in _values(call.record)):
                where, what = call.view.place.path or "forward", call.view.node.op_type
                self.missing.append(Item(where, what, "no Keras layer reads a constant or a loose parameter here."))
        if any(array(value) is not None for value in results):
            self.missing.append(Item("forward", "output", "it returns a constant."))
        if self.missing:
            raise Unsupported(self.missing)

    def _steps(self, name: str, call: _Call, settings: dict[str, Any], shared: bool) -> list[Step]:
        """The layer's step, and before it those of the layers that its record has as inputs."""
        before: list[Step] = []
        inputs: list[ir.Value] = []
        for given in call.record.inputs:
            if isinstance(given, Ref):
                inputs.append(given.value)
                continue
            role = "reshape" if given.cls == "Reshape" else "pad"
            made = ir.Value(name=f"{name}_{role}")
            kept = {k: v for k, v in settings.items() if k == "dtype"}
            before.append(Step(self._name(f"{name}_{role}"), given.cls, {**given.kwargs, **kept}, _values(given), made))
            inputs.append(made)
        kwargs = {**call.record.kwargs, **settings}
        return [*before, Step(name, call.record.cls, kwargs, inputs, call.output, shared)]

    def _returned(self, steps: list[Step], results: list[ir.Value]) -> list[ir.Value]:
        """An input that is returned goes through an Identity layer."""
        given = {id(v) for v in self.graph.inputs}
        kept = []
        for value in results:
            if id(value) in given:
                made = ir.Value(name="identity")
                steps.append(Step(self._name("identity"), "Identity", _policy(_dtype(value)), [value], made))
                value = made
            kept.append(value)
        return kept

    # Names and weights ---------------------------------------------------------------------------------------------

    def _name(self, wanted: str) -> str:
        stem = re.sub(r"[^0-9A-Za-z_\-]", "_", wanted) or "layer"
        name, number = stem, 2
        while name in self.taken:
            name, number = f"{stem}_{number}", number + 1
        self.taken.add(name)
        return name

    def _weights(self, name: str, call: _Call) -> dict[str, Any]:
        """Register a layer's weights; what its constructor must be told of them: trainable, dtype."""
        record, made = call.record, []
        for key, (value, axes) in record.weights.items():
            data, known = array(value), origin(value)
            if data is None:
                raise Unsupported([Item(call.view.place.path, record.cls, f"its {key} is computed, not a weight.")])
            if axes is not None:
                data, known = data.transpose(axes), known.then("T", axes) if known is not None else None
            trainable = key not in STATISTICS and known is not None and known.trainable
            made.append(Weight(name, key, data, known, trainable))
            first = name if known is None else self.readers.setdefault(known.path, name)
            if first != name and known is not None:
                why = f"shares {known.path!r} with {first}; in Keras each has its own and trains it"
                self.untied.append((f"{name} {why}", data.size if trainable and record.trainable else 0))
                self.notes.append((name, why))
        self.weights += made
        trained = [w for w in made if w.name not in STATISTICS]
        frozen = [w.name for w in trained if not w.trainable]
        settings: dict[str, Any] = {}
        if not record.trainable or (frozen and len(frozen) == len(made)):
            settings["trainable"] = False
        elif frozen:
            self.frozen += [(name, key) for key in frozen]
            self.notes.append(
                (
                    name,
                    f"{' and '.join(frozen)} frozen, as in the source, and the rest is not; a .keras file does not "
                    "keep that, so after loading one set their `trainable` to False again (the last lines of model.py)",
                )
            )
        dtypes = {str(w.data.dtype) for w in made} or {_dtype(call.output)}
        if len(dtypes) > 1:
            why = f"its weights have the dtypes {', '.join(sorted(dtypes))}."
            raise Unsupported([Item(call.view.place.path, record.cls, why)])
        return {**settings, **_policy(dtypes.pop())}


def _policy(dtype: str) -> dict[str, Any]:
    """The dtype argument of a layer that computes in this dtype; none for float32, and integers pass as they are."""
    return {"dtype": dtype} if dtype in FLOATS - {"float32"} else {}


def _key(view: NodeView, record: Layer, node: ir.Node) -> Any:
    """Calls with the same key are calls of one layer: a module that is called several times."""
    weights = tuple(sorted((k, id(v), str(axes)) for k, (v, axes) in record.weights.items()))
    if not view.own and not weights:
        return id(node)
    # Modules that have every weight in common are one layer.
    learned = any(origin(v) is not None for v, _ in record.weights.values())
    path = "" if learned else view.place.path
    return path, record.cls, record.trainable, repr(sorted(record.kwargs.items())), weights


def _wanted(call: _Call) -> str:
    """The layer's name: the module's path, and behind it what is done there where the module is not just that."""
    path, role = call.view.place.path, call.view.role
    if call.view.own or call.record.weights:
        return path or call.record.cls.lower()
    role = call.record.cls.lower() if role in ("spatial", "boundary", "layout") else role
    return f"{path}_{role}" if path else role


def _folded(calls: list[_Call], results: Sequence[ir.Value], counts: Mapping[Any, int]) -> list[_Call]:
    """An activation function that alone reads a layer with an `activation` argument becomes that argument."""
    kept: dict[int, _Call] = {}
    for call in calls:
        values = _values(call.record)
        name = call.record.kwargs.get("activation") if call.record.cls == "Activation" and not call.view.own else None
        before = kept.get(id(values[0])) if len(values) == 1 else None
        alone = before is not None and len(before.output.uses()) == 1 and not any(before.output is v for v in results)
        if before is None or not isinstance(name, str) or not alone:
            kept[id(call.output)] = call
        elif before.record.cls in ACTIVATED and "activation" not in before.record.kwargs and counts[before.key] == 1:
            del kept[id(before.output)]
            record = replace(before.record, kwargs={**before.record.kwargs, "activation": name})
            kept[id(call.output)] = replace(before, record=record, output=call.output)
        else:
            kept[id(call.output)] = call
    return list(kept.values())


def _values(record: Layer) -> list[ir.Value]:
    """The graph's values that a record reads, those of the layers inside it too."""
    found: list[ir.Value] = []
    for given in record.inputs:
        found += [given.value] if isinstance(given, Ref) else _values(given)
    return found


def _dtype(value: ir.Value) -> str:
    return str(value.dtype.numpy()) if value.dtype is not None else "float32"
