"""What convert() hands out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from converter.errors import UsageError
from converter.graph import onnx_model
from converter.graph.duplicate import with_weights
from converter.graph.graph import GraphBuilder, Origin
from converter.made import remember
from converter.record import Record, attach
from converter.report import Report


@dataclass(frozen=True)
class WeightMap:
    """One weight's way: `target = source.transpose(axes)`, then what `transform` says; bit-exact but for that order."""

    source: str
    target: str
    axes: tuple[int, ...] | None = None
    transform: str = ""


class WeightMaps(list[WeightMap]):
    """Every weight's way, in the order of the target's state."""

    def to_json(self) -> str:
        """The list as JSON."""
        return json.dumps([asdict(entry) for entry in self], indent=2) + "\n"


@dataclass(frozen=True)
class Turn:
    """An input or output that the target has in its own axis order: `target = source.transpose(perm)`."""

    name: str
    kind: str
    index: int
    perm: tuple[int, ...]

    def __str__(self) -> str:
        spatial = "DHW"[-(len(self.perm) - 2) :]
        last, first = ["N", *spatial, "C"], ["N", "C", *spatial]
        before, after = (last, first) if self.perm[1] == len(self.perm) - 1 else (first, last)
        return f"{self.name}: {','.join(before)} -> {','.join(after)}"


def output_names(structure: Any, own: list[str], count: int) -> list[str]:
    """What the source calls its outputs: the keys of a dict, else its own names, or output, output_0, ...

    `structure` is what the source returns, with positions into its outputs in the place of tensors.
    """
    names = list(own) or [""] * count
    for path, position in _leaves(structure, ()):
        keyed = any(isinstance(part, str) for part in path)
        if keyed or not own:
            names[position] = ".".join(map(str, path)) if keyed else "_".join(["output", *map(str, path)])
    return names


def _leaves(structure: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], int]]:
    if isinstance(structure, Mapping):
        for key, part in structure.items():
            yield from _leaves(part, (*path, str(key)))
    elif isinstance(structure, (list, tuple)):
        for index, part in enumerate(structure):
            yield from _leaves(part, (*path, index))
    elif structure is not None:
        yield path, structure


@dataclass(frozen=True)
class Placed:
    """One weight of the target: its key ('conv1.weight', 'conv1/kernel'), its numbers, and where they come from."""

    key: str
    data: np.ndarray
    origin: Origin | None = None


@dataclass(repr=False)
class Conversion:
    """A converted model.

    `model` is an nn.Module, a keras.Model or an onnx.ModelProto; `source` the text that builds it ('' for ONNX);
    `mapping` every weight's way; `report` what was found out; `turns` the inputs and outputs in another axis order.
    """

    to: str
    source: str
    mapping: WeightMaps
    report: Report
    turns: list[Turn] = field(default_factory=list)
    weights: list[Placed] = field(default_factory=list)
    """The target's weights as they were judged."""
    make_model: Callable[[], Any] | None = None
    arrays_of: Callable[[Any], dict[str, np.ndarray]] | None = None
    """The live model's weights by key."""
    make_graph: Callable[[], tuple[GraphBuilder, list[Turn]]] | None = None
    """Makes the graph in the middle, channels first, as ONNX's spatial operators are, and what was turned for it."""
    written: dict[str, Path] = field(default_factory=dict)
    """The files that were written, by suffix, while they are judged: what is judged is what is written."""
    evidence: Any = None
    """What the judge needs besides the models."""
    retrained: list[tuple[str, int]] = field(default_factory=list)
    """Why other numbers train than in the source: a sentence, and how many more."""
    thawed: list[tuple[str, int]] = field(default_factory=list)
    """The same of what a .keras file does not keep."""
    rebuild: Callable[[list[np.ndarray]], Any] | None = None
    """Makes another live model from weights in the order of `weights`."""
    make_record: Callable[[Any], Record | None] | None = None
    """Makes the record, which a record of a Keras target's layers needs the live model for."""
    depth: int = 0
    """About how many layers there are, for frameworks that go through a model by recursion."""
    _model: Any = None
    _record: Record | None = None
    _graph: tuple[GraphBuilder, list[Turn]] | None = None

    def __repr__(self) -> str:
        verdict = {True: "equal", False: "not equal", None: "not verified"}[self.report.passed]
        return f"<Conversion of {self.report.source!r} to {self.to}: {verdict}>"

    @property
    def model(self) -> Any:
        """The live model; made at the first reading."""
        if self._model is None and self.make_model is not None:
            self._model = self.make_model()
            known = [(w.origin.path, w.key, w.origin.replay) for w in self.weights if w.origin is not None]
            remember(self._model, known, self.turns)
            attach(self._model, self.record_of(self._model))
        return self._model

    def record_of(self, model: Any) -> Record | None:
        """What the target has no place for; `model` is a live one where the target is Keras."""
        if self._record is None and self.make_record is not None:
            self._record = self.make_record(model)
        return self._record

    @property
    def graph(self) -> GraphBuilder | None:
        """The graph in the middle; made at the first reading."""
        return self._settled()[0]

    @property
    def onnx_turns(self) -> list[Turn]:
        """The inputs and outputs that the ONNX graph has in another axis order than the source."""
        return self._settled()[1]

    def _settled(self) -> tuple[GraphBuilder | None, list[Turn]]:
        if self._graph is None:
            if self.make_graph is None:
                return None, []
            self._graph = self.make_graph()
        return self._graph

    @property
    def onnx(self) -> Any:
        """The graph in the middle as onnx.ModelProto, with the weights as they are now.

        Over 2 GB it raises ValueError and names save("x.onnx").
        """
        return onnx_model.proto(self.plain_graph())

    @property
    def large(self) -> bool:
        """The graph's weights do not fit into a ModelProto."""
        return self.graph is not None and onnx_model.size(self.graph) >= onnx_model.LIMIT

    def save_onnx(self, path: Path, beside: str | None) -> None:
        """Write the graph to a path, its weights to a file of this name beside it (None: into the one file)."""
        onnx_model.save(self.plain_graph(), path, beside)

    def plain_graph(self) -> GraphBuilder:
        """The graph with the live model's weights, where these were changed after the conversion."""
        if self.graph is None:
            raise ValueError("this conversion has no ONNX graph")
        changed = self.changed()
        return with_weights(self.graph, self._sources(changed)) if changed else self.graph

    def arrays(self) -> list[tuple[str, np.ndarray]]:
        """The target's weights as they are now, in the order of the target's state.

        Raises UsageError where the live model was given other weights than its source text makes.
        """
        if self._model is None or self.arrays_of is None:
            return [(weight.key, weight.data) for weight in self.weights]
        live = self.arrays_of(self._model)
        problems = [f"{w.key}: it is gone" for w in self.weights if w.key not in live]
        problems += [f"{key}: the source text does not make it" for key in live.keys() - {w.key for w in self.weights}]
        for weight in self.weights:
            now = live.get(weight.key)
            if now is not None and (now.shape, now.dtype) != (weight.data.shape, weight.data.dtype):
                was = f"{weight.data.dtype} {list(weight.data.shape)}"
                problems.append(f"{weight.key}: expected {was}, it is {now.dtype} {list(now.shape)}")
        if problems:
            listed = "; ".join(sorted(problems)[:5])
            raise UsageError(
                f"The model was changed in more than its numbers since it was converted ({listed}), and the source "
                "text would not build it. Save it with its framework's own means."
            )
        return [(weight.key, live[weight.key]) for weight in self.weights]

    def changed(self) -> list[str]:
        """The keys of the weights that are not those that were judged, fine-tuned for instance."""
        return [w.key for w, (_, now) in zip(self.weights, self.arrays(), strict=True) if not _same_bits(w.data, now)]

    def save(self, path: Any, *, force: bool = False) -> list[Any]:
        """Write to a file (.py, .safetensors, .pt2, .onnx, .keras) or a directory; returns the paths that were written.

        The weights are written as they are now; where they were changed after the proof, the report that is written
        says that it is of others.
        """
        from converter.saving import save

        return save(self, path, force)

    def _sources(self, changed: list[str]) -> dict[str, np.ndarray]:
        """Source path -> the source's own array, for weights that were changed."""
        now = dict(self.arrays())
        known = {weight.key: weight.origin for weight in self.weights}
        lost = [key for key in changed if known[key] is None and not key.endswith("num_batches_tracked")]
        if lost:
            raise UsageError(
                f"{', '.join(lost[:5])}: constants of the source that were changed since the conversion; the ONNX "
                "graph has no place for that. Export the model with torch.onnx."
            )
        sources = self.graph.sources if self.graph is not None else {}
        return {
            origin.path: origin.undo(now[key], tuple(int(d) for d in sources[origin.path].shape))
            for key in changed
            if (origin := known[key]) is not None
        }


def _same_bits(one: np.ndarray, two: np.ndarray) -> bool:
    """Bit by bit: a NaN is the same NaN."""
    left, right = np.ascontiguousarray(one).reshape(-1), np.ascontiguousarray(two).reshape(-1)
    return np.array_equal(left.view(np.uint8), right.view(np.uint8))
