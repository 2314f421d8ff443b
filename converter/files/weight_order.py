"""Which array of an old file goes into which variable of a layer, and how it is turned on the way.

The rules are those of Keras 2's own loader for files of Keras 1 (kernel orders, flipped kernels of Theano, gates in
separate arrays) and for layers of CuDNN; nested models are stored flat, trainable weights first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from converter.files.repairs import Reading

Arrays = list[Any]


class StoredLayer(Protocol):
    """One layer of the file: its name, the names of its weights, their datasets."""

    @property
    def name(self) -> str: ...
    @property
    def weights(self) -> list[str]: ...
    @property
    def datasets(self) -> list[Any]: ...


@dataclass(frozen=True)
class Origin:
    """Who wrote the weights."""

    version: str
    backend: str | None

    @property
    def keras1(self) -> bool:
        return self.version.split(".")[0] in ("0", "1")

    @property
    def flipped(self) -> bool:
        """Theano convolves where the others correlate."""
        return self.backend == "theano"


@dataclass(frozen=True)
class Step:
    """Some datasets that become some variables."""

    variables: list[Any]
    datasets: list[Any]
    arrays: Callable[[Arrays], Arrays]


Plan = tuple[list[Step], list[str]]


def plan(source: StoredLayer, layer: Any, reading: Reading, origin: Origin) -> Plan:
    """What to do for one layer or nested model, and what does not fit."""
    if hasattr(layer, "layers"):
        return _nested(source, layer, reading, origin)
    return _leaf(source, layer, origin)


def _ordered(layer: Any) -> list[Any]:
    return [*layer.trainable_weights, *layer.non_trainable_weights]


def _last(name: str) -> str:
    return name.split("/")[-1].split(":")[0]


def _leaf(source: StoredLayer, layer: Any, origin: Origin) -> Plan:
    variables = _by_name(source, layer)
    turn = _turn(layer, [tuple(dataset.shape) for dataset in source.datasets], origin)
    if turn is not None:
        return [Step(_ordered(layer), source.datasets, turn)], []
    if len(variables) != len(source.datasets):
        names = ", ".join(source.weights)
        text = f"{len(variables)} weights in the model, {len(source.datasets)} in the file ({names})"
        return [], [f"layer {source.name!r} has {text}"]
    return _one_by_one(source, variables)


def _by_name(source: StoredLayer, layer: Any) -> list[Any]:
    """The layer's variables in the file's order: by name where both sides have the same names, else Keras's order."""
    ordered = _ordered(layer)
    mine = {variable.name: variable for variable in ordered}
    theirs = [_last(name) for name in source.weights]
    if len(mine) == len(ordered) and sorted(mine) == sorted(theirs):
        return [mine[name] for name in theirs]
    return ordered


def _one_by_one(source: StoredLayer, variables: list[Any]) -> Plan:
    steps, problems = [], []
    for variable, dataset, name in zip(variables, source.datasets, source.weights, strict=True):
        if tuple(variable.shape) != tuple(dataset.shape):
            problems.append(
                f"layer {source.name!r}: {variable.name!r} has the shape {tuple(variable.shape)} in the model, "
                f"{tuple(dataset.shape)} in the file ({name})"
            )
        steps.append(Step([variable], [dataset], list))
    return steps, problems


def _nested(source: StoredLayer, model: Any, reading: Reading, origin: Origin) -> Plan:
    """A nested model's flat list: by 'layer/weight' where these are unique on both sides, else by order."""
    leaves = _leaves(model, model.name)
    keyed = {f"{own_name(path, reading)}/{v.name}": (leaf, v) for path, leaf in leaves for v in leaf.weights}
    count = sum(len(leaf.weights) for _, leaf in leaves)
    theirs = [name.split(":")[0] for name in source.weights]
    if len(keyed) == count and len(set(theirs)) == len(theirs) and set(theirs) == set(keyed):
        flat = [keyed[name] for name in theirs]
    else:
        flat = [(leaf, v) for _, leaf in leaves for v in leaf.trainable_weights]
        flat += [(leaf, v) for _, leaf in leaves for v in leaf.non_trainable_weights]
    if len(flat) != len(source.datasets):
        text = f"layer {source.name!r} has {len(flat)} weights in the model, {len(source.datasets)} in the file"
        return [], [text]
    steps: list[Step] = []
    problems: list[str] = []
    for path, leaf in leaves:
        mine = [i for i, (owner, _) in enumerate(flat) if owner is leaf]
        part = _Part(path, [source.weights[i] for i in mine], [source.datasets[i] for i in mine])
        more, wrong = _leaf(part, leaf, origin)
        steps, problems = steps + more, problems + wrong
    return steps, problems


def own_name(path: str, reading: Reading) -> str:
    """The file's name of a nested layer, without the path of the model that holds it."""
    parent, _, name = path.rpartition("/")
    prefix = reading.names.get(parent, parent) + "/"
    file_path = reading.names.get(path, path)
    return file_path[len(prefix) :] if file_path.startswith(prefix) else name


def _leaves(model: Any, prefix: str) -> list[tuple[str, Any]]:
    """The layers of a nested model, each once, with their paths."""
    found: dict[int, tuple[str, Any]] = {}
    for layer in model.layers:
        path = f"{prefix}/{layer.name}"
        for entry in _leaves(layer, path) if hasattr(layer, "layers") else [(path, layer)]:
            found.setdefault(id(entry[1]), entry)
    return list(found.values())


@dataclass(frozen=True)
class _Part:
    """The weights of one layer inside a nested model."""

    name: str
    weights: list[str]
    datasets: list[Any]


def _turn(layer: Any, shapes: list[tuple[int, ...]], origin: Origin) -> Callable[[Arrays], Arrays] | None:
    """How the arrays of this layer are turned; None where they are right as they are."""
    kind = type(layer).__name__
    wanted = [tuple(variable.shape) for variable in _ordered(layer)]
    turns: list[Callable[[Arrays], Arrays]] = []
    if kind in ("LSTM", "GRU") and len(shapes) == 3 and len(wanted) == 3 and shapes != wanted:
        turns.append(_from_cudnn(kind, layer.units, shapes, wanted))
    if kind in ("LSTM", "GRU") and len(shapes) in (9, 12) and len(wanted) == 3:
        turns.append(_join_gates(kind, len(shapes)))
    if kind in ("Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose") and shapes:
        if origin.keras1:
            turns.append(_keras1_kernel(kind, layer, shapes[0]))
        if origin.flipped:
            turns.append(_flip)
    turns = [turn for turn in turns if turn is not _same]
    if not turns:
        return None

    def run(arrays: Arrays) -> Arrays:
        for turn in turns:
            arrays = turn(arrays)
        return _shaped(arrays, wanted, layer.name)

    return run


def _shaped(arrays: Arrays, wanted: list[tuple[int, ...]], name: str) -> Arrays:
    from converter.errors import BadInput

    got = [tuple(array.shape) for array in arrays]
    if got != wanted:
        raise BadInput(f"Layer {name!r}: expected weights of the shapes {wanted}, the file's (turned) have {got}.")
    return arrays


def _same(arrays: Arrays) -> Arrays:
    return arrays


def _keras1_kernel(kind: str, layer: Any, shape: tuple[int, ...]) -> Callable[[Arrays], Arrays]:
    """Keras 1 stored 'th' kernels as (filters, channels, ...), Conv1D with a dummy axis."""
    import numpy as np

    first = layer.data_format == "channels_first"
    axes: tuple[int, ...] | None = None
    if kind == "Conv1D":
        size = layer.kernel_size[0]
        old = len(shape) == 4 and (shape[:2] != (size, 1) or shape[3] != layer.filters)

        def conv1d(arrays: Arrays) -> Arrays:
            kernel = np.transpose(arrays[0], (2, 3, 1, 0)) if old else arrays[0]
            return [kernel[:, 0, :, :] if kernel.ndim == 4 else kernel, *arrays[1:]]

        return conv1d
    if kind == "Conv2D" and first:
        axes = (2, 3, 1, 0)
    if kind == "Conv2DTranspose":
        axes = (2, 3, 0, 1) if first else (0, 1, 3, 2)
    if kind == "Conv3D" and first:
        axes = (2, 3, 4, 1, 0)
    if axes is None:
        return _same
    turned = axes
    return lambda arrays: [np.transpose(arrays[0], turned), *arrays[1:]]


def _flip(arrays: Arrays) -> Arrays:
    """Kernels of Theano, mirrored along every spatial axis."""
    import numpy as np

    kernel = arrays[0]
    return [np.flip(kernel, axis=tuple(range(kernel.ndim - 2))).copy(), *arrays[1:]]


def _join_gates(kind: str, count: int) -> Callable[[Arrays], Arrays]:
    """Keras 1 kept one array a gate: GRU z, r, h; LSTM i, c, f, o (now i, f, c, o)."""
    import numpy as np

    gates = (0, 3, 6) if kind == "GRU" else (0, 6, 3, 9)
    if count != 3 * len(gates):
        return _same
    return lambda arrays: [np.concatenate([arrays[gate + part] for gate in gates], axis=-1) for part in range(3)]


def _from_cudnn(
    kind: str, units: int, shapes: list[tuple[int, ...]], wanted: list[tuple[int, ...]]
) -> Callable[[Arrays], Arrays]:
    """CuDNN layers keep transposed kernels and two biases."""
    import numpy as np

    gates = 4 if kind == "LSTM" else 3
    if shapes[2] != (2 * gates * units,):
        return _same

    def turn(arrays: Arrays) -> Arrays:
        kernel, recurrent, bias = arrays
        parts = [part.T.reshape(part.shape, order="F") for part in np.hsplit(kernel, gates)]
        inner = [part.T for part in np.hsplit(recurrent, gates)]
        both = bias.reshape(2, -1)
        return [np.hstack(parts), np.hstack(inner), both.sum(axis=0) if kind == "LSTM" else both]

    return turn
