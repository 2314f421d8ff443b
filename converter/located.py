"""Where two models part: their layers paired, run side by side, and what was found put into the verdict."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from converter.conversion import Conversion
from converter.errors import UsageError
from converter.joined import Joined
from converter.judge.causes import explain
from converter.judge.gradients import Trained, judge_gradients, of_keras, of_torch
from converter.judge.inputs import InputSet
from converter.judge.localise import Pair, localise
from converter.judge.pairing import pair, plain
from converter.judge.roles import expected, matched
from converter.judge.runner import Boundary, attempt, widen
from converter.judge.verdict import Verdict
from converter.judge.watch import Side
from converter.made import how
from converter.opened import Opened, sides_of
from converter.sources import Source

DOUBLE, PARTLY, SINGLE = 1e-10, 1e-7, 1e-4
"""How far a layer may be off on its own, relative to the size of its answer: in float64, in float64 on a backend whose
constants are float32 numbers (a slope of 0.2 is 3e-9 off there), in float32."""
SECONDS = 300.0
"""At most so long is looked for the layer; a conversion that failed is not held up without end."""
Way = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Paired:
    """`paths` are the source's layers with their counterparts; `weights` (source's name, target's name, how its numbers
    go over); `entries` the same with the arrays, where this process knows each way to the bit."""

    paths: dict[str, str] = field(default_factory=dict)
    weights: list[tuple[str, str, Way]] = field(default_factory=list)
    entries: list[tuple[str, np.ndarray, Way, np.ndarray]] = field(default_factory=list)


def pair_up(one: Opened, two: Opened) -> Paired:
    """The layers and weights that belong together: as converted, by names, by sizes."""
    if "onnx" in (one.kind, two.kind):
        return Paired()
    ours, theirs = _parts(one), _parts(two)
    mine, other = _weights(one, ours), _weights(two, theirs)
    known: list[tuple[str, str, Way]] = []
    if two.made is not None:
        known = [(path, key, way) for path, key, way in two.made.weights if path in mine and key in other]
    paths = pair(list(ours), list(theirs), _names(one, two), (_sizes(ours, one), _sizes(theirs, two)))
    entries = []
    for path, key, way in known:
        made, _ = attempt(lambda path=path, way=way: way(mine[path]()))  # type: ignore[misc]
        if made is not None:
            entries.append((key, mine[path](), way, other[key]()))
    complete = len(entries) == len(two.made.weights) if two.made is not None else False
    weights = known if complete else list(_ways(paths, mine, other))
    return Paired(paths, weights, entries if complete else [])


def _names(one: Opened, two: Opened) -> list[tuple[str, str]]:
    """The mapping's names of weights, whichever of the two was made of the other."""
    if two.made is not None:
        return [(path, key) for path, key, _ in two.made.weights]
    if one.made is not None:
        return [(key, path) for path, key, _ in one.made.weights]
    return []


def _parts(each: Opened) -> dict[str, Any]:
    if each.kind == "keras":
        from converter.judge.watch_keras import parts

        return dict(parts(each.model))
    return {path: module for path, module in each.with_modules().named_modules() if path}


def _weights(each: Opened, parts: dict[str, Any]) -> dict[str, Callable[[], np.ndarray]]:
    """Every weight by the name that mappings use, and what reads it."""
    found: dict[str, Callable[[], np.ndarray]] = {}
    if each.kind == "keras":
        import keras

        for path, part in parts.items():
            for weight in getattr(part, "weights", ()):
                name = weight.path.rpartition("/")[2]

                def read(weight: Any = weight) -> np.ndarray:
                    return np.array(keras.ops.convert_to_numpy(weight))

                found.setdefault(f"{path}/{name}", read)
                found.setdefault(weight.path, read)
        return found
    model = each.with_modules()
    for name, tensor in [*model.named_parameters(remove_duplicate=False), *model.named_buffers()]:

        def copy(tensor: Any = tensor) -> np.ndarray:
            plain_ = tensor.detach().cpu()
            return np.array((plain_.float() if "bfloat16" in str(plain_.dtype) else plain_).numpy())

        found[name] = copy
    return found


def _sizes(parts: dict[str, Any], each: Opened) -> Callable[[str], tuple[int, ...]]:
    def sizes(path: str) -> tuple[int, ...]:
        part = parts[path]
        if each.kind == "keras":
            own = [int(np.prod(w.shape)) for w in getattr(part, "weights", ())]
        else:
            tensors = [*part.parameters(recurse=False), *part.buffers(recurse=False)]
            own = [tensor.numel() for tensor in tensors if tensor.is_floating_point()]
        return tuple(sorted(own))

    return sizes


def _ways(
    paths: dict[str, str], mine: dict[str, Callable[[], np.ndarray]], other: dict[str, Callable[[], np.ndarray]]
) -> Any:
    """Weights of layers that belong together, by the usual order of axes, or of rows where another is equal."""
    for one, two in paths.items():
        ours = {key: read() for key, read in mine.items() if plain(key.rpartition("/")[0]) == plain(one)}
        ours |= {key: read() for key, read in mine.items() if "/" not in key and key.rpartition(".")[0] == one}
        theirs = {key: read() for key, read in other.items() if key.rpartition("/")[0] == two}
        theirs |= {key: read() for key, read in other.items() if "/" not in key and key.rpartition(".")[0] == two}
        short = {_last(key): key for key in ours}
        long = {_last(key): key for key in theirs}
        found = matched({n: ours[k] for n, k in short.items()}, {n: theirs[k] for n, k in long.items()})
        for left, right in found.items():
            array, wanted = ours[short[left]], theirs[long[right]]
            if array.dtype.kind == "f" and expected(array, right, wanted.shape) is not None:
                yield short[left], long[right], _way(array, right, wanted)


def _last(key: str) -> str:
    return key.replace("/", ".").rpartition(".")[2]


def _way(array: np.ndarray, name: str, target: np.ndarray) -> Way:
    shape = target.shape
    usual = expected(array, name, shape)
    if usual is None or np.array_equal(usual, target) or usual.ndim != 2:
        return lambda data: np.asarray(expected(data, name, shape))
    for axis in (0, 1):
        # A flatten before it may have another order: its rows are the same, elsewhere.
        one, two = np.moveaxis(usual, axis, 0), np.moveaxis(target, axis, 0)
        left, right = np.lexsort(one.T), np.lexsort(two.T)
        if np.array_equal(one[left], two[right]):
            order = left[np.argsort(right)]
            return lambda data: np.take(np.asarray(expected(data, name, shape)), order, axis)
    return lambda data: np.asarray(expected(data, name, shape))


def settle(
    verdict: Verdict, one: Opened, two: Opened, joined: Joined, paired: Paired, sets: Sequence[InputSet]
) -> None:
    """Compare layer by layer and say in the verdict what was found: never raises for what a model does."""
    found, why = attempt(lambda: _located(verdict, one, two, joined, paired, sets))
    if found is None and why:
        verdict.notes.append(f"not compared layer by layer: {why}")


def _limit(source: Side, target: Side, double: bool) -> float:
    if not double:
        return SINGLE
    backend = getattr(sys.modules.get("keras"), "backend", None)
    on_torch = backend is None or "keras" not in (source.framework, target.framework) or backend.backend() == "torch"
    return DOUBLE if on_torch else PARTLY


def _located(
    verdict: Verdict, one: Opened, two: Opened, joined: Joined, paired: Paired, sets: Sequence[InputSet]
) -> bool:
    sides = sides_of(one, two)
    if sides is None:
        return True
    source, target, double = sides
    couple = Pair(
        source, joined.side(target), paired.paths, joined.boundary, _limit(source, target, double), seconds=SECONDS
    )
    for each in sets:
        arrays = [widen(x) for x in each.arrays] if double else each.arrays
        found = localise(couple, arrays)
        verdict.layers = [layer.to_dict() for layer in found.layers]
        verdict.held = found.peak
        fault = explain(couple, found)
        if fault is not None and verdict.passed:
            verdict.notes.append(f"the answers are equal, and yet: {fault}")
        elif fault is not None:
            verdict.fault = {**fault.to_dict(), "text": str(fault)}
            break
        if verdict.passed is not False:
            break
    if not double:
        verdict.notes.append("the layers were compared in float32: one of the two models has no float64 twin")
    return True


def of_conversion(
    verdict: Verdict, made: Conversion, source: Source, boundary: Boundary, sets: Sequence[InputSet]
) -> None:
    """The same for a conversion whose source and target are not equal."""
    one = Opened(source.kind, source.model, source.name, pack=made.evidence.pack)
    two = Opened("torch" if made.to == "torch" else "keras", made.model, source.name, made=how(made.model))
    settle(verdict, one, two, Joined(boundary), pair_up(one, two), sets)


def _trained(each: Opened) -> Trained:
    if each.kind == "keras":
        import keras

        from converter.judge.run_keras import rebuild

        twin, why = rebuild(each.model)
        if twin is None:
            raise UsageError(f"gradients: they are compared in float64, and {why}.")
        return Trained("keras", f"keras/{keras.backend.backend()}", of_keras(twin))
    from converter.judge.run_torch import double_copy

    return Trained("torch", "torch", of_torch(double_copy(each.with_modules()), each.pack))


def gradients(
    verdict: Verdict, one: Opened, two: Opened, joined: Joined, paired: Paired, arrays: list[np.ndarray]
) -> None:
    """Compare the gradients. Raises UsageError where a model has no float64 twin, or none of its own."""
    wide = [widen(x) for x in arrays]
    turned = joined.boundary.to_target(wide)

    def like_outputs(weights: list[np.ndarray]) -> list[np.ndarray]:
        made = []
        for x, perm in itertools.zip_longest(weights, joined.boundary.outputs[: len(weights)]):
            made.append(x if perm is None else np.transpose(x, np.argsort(perm)))
        return [made[joined.outputs.index(j)] for j in range(len(made))] if len(joined.outputs) == len(made) else made

    ordered = [turned[i] for i in joined.inputs] if joined.inputs else turned
    judge_gradients(verdict, _trained(one), _trained(two), paired.weights, (wide, ordered), like_outputs)
