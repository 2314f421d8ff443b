"""The settled graph as the source of a functional Keras model, and its weights. The text is the model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from converter.build.keras_text import BuildText, Step
from converter.build.names import identifier
from converter.build.view import NodeView
from converter.errors import Item, Unsupported
from converter.graph.graph import Origin, array, dims, origin
from converter.ops import base
from converter.ops.records import Layer, Ref

ACTIVATED = frozenset(
    f"{kind}{rank}D"
    for rank in (1, 2, 3)
    for kind in ("Conv", "DepthwiseConv", "SeparableConv")
) | {f"Conv{rank}DTranspose" for rank in (1, 2, 3)} | {"Dense", "EinsumDense"}
"""Layers with an `activation` argument that is applied last."""

STATISTICS = frozenset({"moving_mean", "moving_variance"})


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
    notes: list[str]


def write(graph: ir.Graph, outputs: Any, title: str, name: str) -> KerasSource:
    """The file for a graph that is settled channels last.

    `outputs` is the structure of what the source returns, with positions into the graph's outputs. Raises Unsupported
    with every node that has no Keras form.
    """
    return _Writer(graph).source(outputs, title, name)


@dataclass
class _Call:
    """A node with its record, ready to be named; `pads` are layers that stand before it."""

    view: NodeView
    record: Layer
    key: Any
    output: ir.Value


class _Writer:
    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self.missing: list[Item] = []
        self.notes: list[str] = []
        self.weights: dict[str, Weight] = {}
        self.taken: set[str] = set()
        self.frozen: list[tuple[str, str]] = []
        self.paths: dict[str, str] = {}

    def source(self, outputs: Any, title: str, name: str) -> KerasSource:
        """Write everything."""
        inputs = []
        for value in self.graph.inputs:
            dtype = str(value.dtype.numpy()) if value.dtype is not None else "float32"
            inputs.append((self._name(value.name or "x"), value, dims(value)[1:], dtype))
        calls = [call for node in self.graph if (call := self._call(node)) is not None]
        results = list(self.graph.outputs)
        self._check(calls, results)
        calls = _folded(calls, results)
        counts = Counter(call.key for call in calls)
        names: dict[Any, str] = {}
        steps: list[Step] = []
        for call in calls:
            if call.key not in names:
                names[call.key] = self._name(_wanted(call.view, call.record))
                self.paths[names[call.key]] = call.view.place.path
                self._weights(names[call.key], call)
            steps += self._steps(names[call.key], call, counts[call.key] > 1)
        steps, results = self._returned(steps, results)
        self._tied(names)
        text = BuildText(title, identifier(name, "model"), inputs, steps, outputs, results, self.frozen).text()
        return KerasSource(text, list(self.weights.values()), self.paths, self.notes)

    # Nodes into calls ----------------------------------------------------------------------------------------------

    def _call(self, node: ir.Node) -> _Call | None:
        cls = base.class_of(node)
        where = node.metadata_props.get("kconvert.layer") or "forward"
        if cls is None or not cls.targets()[1]:
            self.missing.append(Item(where, node.op_type, "this operator has no Keras layer."))
            return None
        view = NodeView(node)
        try:
            record = view.record("keras")
        except LookupError as error:
            self.missing.append(Item(where, node.op_type, f"{str(error)[:1].lower()}{str(error)[1:]}."))
            return None
        if not isinstance(record, Layer):
            self.missing.append(Item(where, node.op_type, "this operator has no Keras layer."))
            return None
        weights = tuple(sorted((k, id(v), axes) for k, (v, axes) in record.weights.items()))
        whole = view.own or weights
        key = (view.place.path, record.cls, repr(sorted(record.kwargs.items())), weights) if whole else id(node)
        return _Call(view, record, key, node.outputs[0])

    def _check(self, calls: list[_Call], results: Sequence[ir.Value]) -> None:
        for call in calls:
            if any(array(v) is not None for v in _values(call.record)):
                where = call.view.place.path or "forward"
                self.missing.append(Item(where, call.view.node.op_type, "no Keras layer reads a constant or a free parameter here."))
        if any(array(value) is not None for value in results):
            self.missing.append(Item("forward", "output", "it returns a constant."))
        if self.missing:
            raise Unsupported(self.missing)

    def _steps(self, name: str, call: _Call, shared: bool) -> list[Step]:
        """The layer's step, and before it those of the layers that its record has as inputs."""
        before: list[Step] = []
        inputs: list[ir.Value] = []
        for given in call.record.inputs:
            if isinstance(given, Ref):
                inputs.append(given.value)
                continue
            made = ir.Value(name=f"{name}_pad")
            values = _values(given)
            before.append(Step(self._name(f"{name}_pad"), given.cls, dict(given.kwargs), values, made))
            inputs.append(made)
        kwargs = dict(call.record.kwargs)
        if name in self.fixed:
            kwargs["trainable"] = False
        dtype = self.dtypes.get(name) or _dtype(call.output)
        if dtype != "float32":
            kwargs["dtype"] = dtype
            for step in before:
                step.kwargs["dtype"] = dtype
        return [*before, Step(name, call.record.cls, kwargs, inputs, call.output, shared)]

    def _returned(self, steps: list[Step], results: list[ir.Value]) -> tuple[list[Step], list[ir.Value]]:
        """An input that is returned goes through an Identity layer."""
        given = {id(v) for v in self.graph.inputs}
        kept = []
        for value in results:
            if id(value) in given:
                made = ir.Value(name="identity")
                steps.append(Step(self._name("identity"), "Identity", {}, [value], made))
                value = made
            kept.append(value)
        return steps, kept

    # Names and weights ---------------------------------------------------------------------------------------------

    @property
    def fixed(self) -> set[str]:
        """Layers that are frozen as a whole."""
        return self._fixed

    _fixed: set[str]

    def _name(self, wanted: str) -> str:
        stem = re.sub(r"[^0-9A-Za-z_\-]", "_", wanted) or "layer"
        name, number = stem, 2
        while name in self.taken:
            name, number = f"{stem}_{number}", number + 1
        self.taken.add(name)
        return name
