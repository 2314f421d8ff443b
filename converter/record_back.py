"""From PyTorch back to the Keras model that it was: the configuration of the record, with the weights of now.

The rebuilt model is converted once more, the way that the module came, and what that writes is compared with the
module, bit by bit: a record that tells a tale is not used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from converter import proof, record, record_keras
from converter.conversion import Conversion, Placed, Turn, WeightMap, WeightMaps
from converter.graph.graph import Origin
from converter.ops import base
from converter.record import Unfit
from converter.report import Report
from converter.sources import Source

COUNTER = "num_batches_tracked"
USED = "config restored from the record"
Layout = Literal["native", "source"]
Convert = Callable[[Any, str, Layout], Conversion]
"""(Keras model, name, layout) -> its conversion to PyTorch, nothing verified."""


def made(source: Source, layout: Layout, convert: Convert) -> Conversion:
    """The conversion of a PyTorch source to the Keras model that it came from; Unfit where it is that no more."""
    from converter.write import keras_load, torch_load

    rebuilt = record_keras.rebuild(source, layout)
    now = torch_load.arrays_of(source.model)
    _assign(rebuilt.model, convert(rebuilt.model, source.name, rebuilt.layout), now)
    there = convert(rebuilt.model, source.name, rebuilt.layout)
    if rebuilt.belongs and record.digest_of_source(there.source) != rebuilt.belongs:
        raise Unfit("its configuration becomes another source text")
    ways = _ways(there, now)
    if [(t.kind, t.index, t.perm) for t in there.turns] != [(t.kind, t.index, t.perm) for t in rebuilt.turns]:
        raise Unfit("its inputs and outputs have another axis order than it says")
    paths = _paths(there, rebuilt.model)
    report = Report(source.name, "keras", repairs=list(source.repairs), notes=[USED])
    if not rebuilt.exact:
        report.notes.append("this version of Keras writes the config of the record differently")
    back = Conversion("keras", rebuilt.text, WeightMaps(), report)
    back.turns = [Turn(t.name, t.kind, t.index, base.inverse(t.perm)) for t in there.turns]
    back.evidence = proof.Evidence(specs=proof.target_specs(there))
    back.depth = source.layers
    back.rebuild = lambda arrays: keras_load.load_in_order(rebuilt.text, arrays, back.depth)
    arrays = keras_load.arrays_in_order(rebuilt.model)
    back.make_model = lambda: keras_load.load_in_order(rebuilt.text, arrays, back.depth)
    back.arrays_of = lambda model: dict(zip(paths, keras_load.arrays_in_order(model), strict=True))
    graph = there.graph
    if graph is not None:
        back.make_graph = lambda: (graph, [])
    for path, data in zip(paths, arrays, strict=True):
        back.weights.append(Placed(path, data, Origin(path, True)))
        if path not in ways:
            continue
        key, origin = ways[path]
        back.mapping.append(_entry(key, path, origin, data.shape))
        back.evidence.weights.append((path, now[key], lambda given, o=origin, shape=data.shape: o.undo(given, shape)))
    report.turns = [str(turn) for turn in back.turns]
    report.transposes = 0
    report.warnings = proof.warnings_of(graph.graph, source, back.weights, "keras") if graph is not None else []
    report.sign(source.path)
    return back


def _assign(model: Any, there: Conversion, now: dict[str, np.ndarray]) -> None:
    """Give the Keras model the module's numbers, each by the way that it came, backwards."""
    wanted = {weight.key: (weight.data.shape, weight.data.dtype) for weight in there.weights}
    held = {key: (data.shape, data.dtype) for key, data in now.items()}
    if wanted != held:
        strange = next(key for key in [*wanted, *held] if wanted.get(key) != held.get(key))
        raise Unfit(f"{strange} is not what its configuration becomes")
    sources = _sources(there)
    for weight in there.weights:
        if weight.origin is not None:
            variable = sources[weight.origin.path]
            undone = weight.origin.undo(now[weight.key], tuple(variable.shape))
            variable.assign(np.array(undone, order="C", copy=True))


def _sources(there: Conversion) -> dict[str, Any]:
    graph = there.graph
    return {} if graph is None else graph.sources


def _ways(there: Conversion, now: dict[str, np.ndarray]) -> dict[str, tuple[str, Origin]]:
    """Keras's path of each weight -> the module's key, and the way from there to here; all numbers are the same."""
    found = {}
    for weight in there.weights:
        same = np.array_equal(_bits(weight.data), _bits(now[weight.key]))
        if not same and not weight.key.endswith(COUNTER):
            raise Unfit(f"{weight.key} holds numbers that its configuration has no place for")
        if weight.origin is not None:
            found[weight.origin.path] = weight.key, weight.origin
    return found


def _bits(data: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(data).reshape(-1).view(np.uint8)


def _paths(there: Conversion, model: Any) -> list[str]:
    """A name for every weight of the model, in its order: that of the capture, or the variable's own."""
    known = {id(variable): path for path, variable in _sources(there).items()}
    return [known.get(id(variable), str(variable.path)) for variable in model.weights]


def _entry(key: str, path: str, origin: Origin, shape: tuple[int, ...]) -> WeightMap:
    """The mapping's line for the way back."""
    if origin.axes is not None and len(origin.steps) == 1:
        return WeightMap(key, path, base.inverse(origin.axes))
    return WeightMap(key, path, None, f"undone: {origin.transform}" if origin.steps else "")
