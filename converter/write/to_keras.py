"""The settled graph as the source of a functional Keras model, and its weights. The text is the model."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from converter.errors import Item, Unsupported
from converter.graph.graph import Origin, array, dims, origin
from converter.ops import base
from converter.ops.records import Block, Call, Index, Infix, Layer, Ref, Size, refs, rewritten, walk
from converter.write.keras_calls import FLOATS, NodeCall, called, dtype_of, float_of, folded, wanted
from converter.write.keras_text import PARTS, BuildText, Built, Step, inlined
from converter.write.keras_tied import reversible
from converter.write.names import identifier, operation_names

HALVING = re.compile(
    "arctan2|average|ceil|cumprod|cumsum|dot|expm1|floor|hypot|logaddexp|matmul|maximum|minimum|norm|prod|tensordot|var"
)
"""Operations of Keras that make float32 of float64, where the backend is torch or JAX."""
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


class _Writer:
    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self.missing: list[Item] = []
        self.notes: list[Any] = []
        self.weights: list[Weight] = []
        self.taken: set[str] = set()
        self.reserved: frozenset[str] = frozenset()
        self.frozen: list[tuple[str, str]] = []
        self.paths: dict[str, str] = {}
        self.untied: list[tuple[str, int]] = []
        self.readers: dict[str, str] = {}
        self.names: dict[Any, str] = {}
        self.settings: dict[str, dict[str, Any]] = {}
        self.counts: Counter[Any] = Counter()
        self.steps: list[Step] = []
        self.loose: dict[int, ir.Value] = {}
        self.zero: ir.Value | None = None

    def source(self, outputs: Any, title: str, name: str) -> KerasSource:
        """Write everything."""
        calls = reversible([call for node in self.graph if (call := self._call(node)) is not None])
        if any(not isinstance(call.record, Layer) or _reads_constants(call.record) for call in calls):
            self.reserved = operation_names()
        inputs = []
        for value in self.graph.inputs:
            if not dims(value):
                why = "it is a single number, and a Keras input has a batch axis."
                self.missing.append(Item(value.name or "x", "input", why, "Keep it as a constant of the module."))
            inputs.append((self._name(value.name or "x", "input"), value, dims(value)[1:], dtype_of(value)))
        results = list(self.graph.outputs)
        if any(array(value) is not None for value in results):
            self.missing.append(Item("forward", "output", "it returns a constant."))
        self.counts = Counter(key for call in calls for key in call.keys.values())
        for call in folded(calls, results, self.counts):
            self._step(call)
        if self.missing:
            raise Unsupported(self.missing)
        results = self._returned(results)
        if any(
            dtype_of(value) == "float64" for step in self.steps for value in step.outputs if value.dtype is not None
        ):
            self.notes.append(
                "the model is float64: Keras on TensorFlow runs it so, on torch and JAX partly in float32"
            )
        self.steps = inlined(self.steps, results)
        own = {part.cls for step in self.steps for part in walk(step.record) if isinstance(part, Built)} & PARTS.keys()
        if own:
            named = ", ".join(sorted(own))
            self.notes.append(f"the source defines {named}: the .keras file loads only after `import` of model.py")
        text = BuildText(title, identifier(name, "model"), inputs, self.steps, outputs, results, self.frozen).text()
        sizes = {(weight.layer, weight.name): int(weight.data.size) for weight in self.weights}
        why = "is frozen in the source, which a .keras file does not keep"
        frozen = [(f"{layer}/{weight} {why}", sizes[layer, weight]) for layer, weight in self.frozen]
        return KerasSource(text, self.weights, self.paths, self.notes, self.untied, frozen)

    # Nodes into steps ----------------------------------------------------------------------------------------------

    def _call(self, node: ir.Node) -> NodeCall | None:
        cls = base.class_of(node)
        where = node.metadata_props.get("kconvert.layer") or "forward"
        why = "this operator has no Keras form."
        if cls is not None and cls.targets()[1]:
            try:
                return called(node)
            except LookupError as error:
                why = f"{error.args[0]}."
        self.missing.append(Item(where, node.op_type, why))
        return None

    def _step(self, call: NodeCall) -> None:
        """The assignment of a node, and before it those of the layers and weights that it reads."""
        try:
            record = self._lowered(call, call.record)
            if dtype_of(call.output) == "float64":
                record = _doubled(record, call)
        except LookupError as error:
            where = call.view.place.path or "forward"
            self.missing.append(Item(where, call.view.node.op_type, f"{error.args[0]}."))
            return
        self.steps.append(Step(record, call.outputs, place=call.view.place))

    def _lowered(self, call: NodeCall, record: Any) -> Any:
        """The record with its layers named, its sizes known, and every constant a number or the output of a layer."""
        named = sorted((p for p in walk(record) if isinstance(p, Layer)), key=lambda p: not p.weights)
        main = self._layer_name(call, named[0]) if named and named[0] is not record else ""

        def lower(part: Any) -> Any:
            match part:
                case Ref(value) if array(value) is not None:
                    return self._constant(call, value)
                case Size(Ref(value), axis):
                    return self._length(value, axis)
                case Layer():
                    return self._built(call, part, main)
            return None

        return rewritten(record, lower)

    def _length(self, value: ir.Value, axis: int) -> int:
        length = dims(value)[axis]
        if length is None:
            raise LookupError(
                f"it reads the length of axis {axis} of {value.name!r}, which a Keras graph does not know; "
                "give that axis a fixed length with --input"
            )
        return length

    def _built(self, call: NodeCall, layer: Layer, main: str) -> Built:
        """A layer as the text constructs and calls it; a layer among its inputs gets a step of its own."""
        name = self._layer_name(call, layer, main)
        inputs = []
        for given in layer.inputs:
            if isinstance(given, Layer) and not isinstance(call.record, Block):
                made = ir.Value(name=name)
                self.steps.append(Step(self._built(call, given, name), (made,)))
                inputs.append(Ref(made))
            elif isinstance(given, Ref) and array(given.value) is not None:
                inputs.append(self._weight(call, given.value))
            else:
                inputs.append(self._lowered(call, given))
        settings = {**layer.kwargs, **self.settings[name]}
        several = self.counts[call.keys[id(layer)]] > 1 or isinstance(call.record, Block)
        return Built(name, layer.cls, settings, tuple(inputs), several, layer.call)

    def _layer_name(self, call: NodeCall, layer: Layer, main: str = "") -> str:
        """The name of a layer, new where its key is; with its weights and settings."""
        key = call.keys[id(layer)]
        if key not in self.names:
            role = "pad" if layer.cls.startswith("ZeroPadding") else layer.cls.lower()
            self.names[key] = name = self._name(f"{main}_{role}" if main else wanted(call, layer))
            if not main:
                self.paths[name] = call.view.place.path
            self.settings[name] = self._weights(name, call, layer)
        return self.names[key]

    def _returned(self, results: list[ir.Value]) -> list[ir.Value]:
        """An input that is returned goes through an Identity layer."""
        given = {id(v) for v in self.graph.inputs}
        kept = []
        for value in results:
            if id(value) in given:
                made = ir.Value(name="identity")
                layer = Built(self._name("identity"), "Identity", _policy(dtype_of(value)), (Ref(value),))
                self.steps.append(Step(layer, (made,)))
                value = made
            kept.append(value)
        return kept

    # Constants and loose parameters --------------------------------------------------------------------------------

    def _constant(self, call: NodeCall, value: ir.Value) -> Any:
        """A number as it is; several, and parameters of the source, as the row of a table."""
        data = value.meta.get(base.EXACT, array(value))
        ranks = [len(dims(v)) for v in call.view.node.inputs if v is not None and array(v) is None]
        number = np.asarray(data).item() if data.size == 1 and origin(value) is None else None
        exact = value.dtype != ir.DataType.DOUBLE or number is None or float(np.float32(number)) == number
        if number is not None and exact and data.ndim <= max(ranks, default=0):
            return number
        return self._weight(call, value)

    def _weight(self, call: NodeCall, value: ir.Value) -> Ref:
        """What belongs to no layer: the one row of an Embedding, which is trained, saved and loaded as any weight.

        Row 0 is looked up by a zero that is made from the model's first input: a layer needs one that is symbolic.
        """
        if id(value) in self.loose:
            return Ref(self.loose[id(value)])
        data, known = array(value), origin(value)
        if data is None:
            raise LookupError(f"the weight {value.name!r} has no numbers")
        whole = data.dtype.kind in "iub"
        if whole and data.size and np.abs(data.astype(np.int64)).max() > 2**24:
            raise LookupError("it reads a table of integers beyond 2**24, and Keras's tables hold floats")
        own = known.path.replace("/", "_") if known is not None else f"{call.view.place.path or 'model'}_constant"
        name = self._name(own)
        table = data.reshape(1, -1).astype(np.float32) if whole else data.reshape(1, -1)
        kept = known.then("R", table.shape) if known is not None and known.path and data.shape != table.shape else known
        if whole:
            kept = None  # a table of floats is no copy of it
        trainable = known is not None and known.trainable and not whole
        self.weights.append(Weight(name, "embeddings", table, kept, trainable))
        self._read(name, known, table.size if trainable else 0)
        self.paths[name] = known.path.rpartition(".")[0] if known is not None else call.view.place.path
        settings = {"input_dim": 1, "output_dim": int(table.size), **_policy(str(table.dtype))}
        record: Any = Built(
            name, "Embedding", settings if trainable else {**settings, "trainable": False}, (self._zero(),)
        )
        if data.ndim != 1:
            record = Call("ops.reshape", (record, data.shape))
        if whole:
            record = Call("ops.cast", (record, str(data.dtype)))
        made = ir.Value(name=name, shape=ir.Shape(data.shape), type=ir.TensorType(ir.DataType.from_numpy(data.dtype)))
        self.steps.append(Step(record, (made,), identifier(name)))
        self.loose[id(value)] = made
        return Ref(made)

    def _zero(self) -> Ref:
        """The id of the only row of a table: 0, for a batch of any size."""
        if self.zero is None:
            first = self.graph.inputs[0]
            rank = len(dims(first))
            column = Index(Ref(first), (slice(None), *[0] * (rank - 1))) if rank > 1 else Ref(first)
            self.zero = ir.Value(name="zero", shape=ir.Shape([]), type=ir.TensorType(ir.DataType.INT32))
            zeros = Call("ops.zeros_like", (column,), {"dtype": "int32"})
            self.steps.append(Step(Call("ops.sum", (zeros,)), (self.zero,), "zero"))
        return Ref(self.zero)

    # Names and weights ---------------------------------------------------------------------------------------------

    def _name(self, wanted: str, kind: str = "layer") -> str:
        """A free name; not one that Keras gives to an operation of its own, 'add' or 'add_1'."""
        stem = re.sub(r"[^0-9A-Za-z_\-]", "_", wanted) or "layer"
        if re.sub(r"_\d+$", "", stem) in self.reserved:
            stem = f"{stem}_{kind}"
        name, number = stem, 2
        while name in self.taken:
            name, number = f"{stem}_{number}", number + 1
        self.taken.add(name)
        return name

    def _read(self, name: str, known: Origin | None, trained: int) -> None:
        """A weight of the source gets a home; the second one of the same weight is told of, with what it trains."""
        first = name if known is None else self.readers.setdefault(known.path, name)
        if first != name and known is not None:
            why = f"shares {known.path!r} with {first}; in Keras each has its own and trains it"
            self.untied.append((f"{name} {why}", trained))
            self.notes.append((name, why))

    def _weights(self, name: str, call: NodeCall, record: Layer) -> dict[str, Any]:
        """Register a layer's weights; what its constructor must be told of them: trainable, dtype."""
        made: list[Weight] = []
        for key, (value, axes) in record.weights.items():
            data, known = array(value), origin(value)
            if data is None:
                raise Unsupported([Item(call.view.place.path, record.cls, f"its {key} is computed, not a weight.")])
            if axes is not None:
                data, known = data.transpose(axes), known.then("T", axes) if known is not None else None
            trainable = key not in STATISTICS and known is not None and known.trainable
            made.append(Weight(name, key, data, known, trainable))
            self._read(name, known, data.size if trainable and record.trainable else 0)
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
        dtypes = {str(w.data.dtype) for w in made} or {float_of(call)}
        if len(dtypes) > 1:
            why = f"its weights have the dtypes {', '.join(sorted(dtypes))}."
            raise Unsupported([Item(call.view.place.path, record.cls, why)])
        return {**settings, **_policy(dtypes.pop())}


def _doubled(record: Any, call: NodeCall) -> Any:
    """An expression of float64 that stays it: Keras makes float32 of some, on the backends of torch and JAX."""
    ranks = [len(dims(v)) for v in call.view.node.inputs[:2] if v is not None]
    if min(ranks, default=0) > 1:
        equation = "...ij,...jk->...ik"
        record = rewritten(
            record,
            lambda p: (
                Call("ops.einsum", (equation, p.left, p.right)) if isinstance(p, Infix) and p.sign == "@" else None
            ),
        )
    halves = isinstance(record, Call) and HALVING.fullmatch(record.function.removeprefix("ops.")) is not None
    return Call("ops.cast", (record, "float64")) if halves else record


def _reads_constants(record: Any) -> bool:
    return any(array(value) is not None for value in refs(record))


def _policy(dtype: str) -> dict[str, Any]:
    """The dtype argument of a layer that computes in this dtype; none for float32, and integers pass as they are."""
    return {"dtype": dtype} if dtype in FLOATS - {"float32"} else {}
