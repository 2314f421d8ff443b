"""A Keras layer without a row, opened: its call is traced with PyTorch's exporter and written into Keras's graph.

Layers inside it that have a row stay whole; every other one becomes a scope, and so a class of its own in what is
written. What can be opened: layers and models of the user's classes, Lambda, and functions given as activations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from converter import advice
from converter.capture import keras_nodes, torch_nodes, torch_walk
from converter.capture.keras_open_export import (
    SCOPE,
    CannotOpen,
    KeptCall,
    Slot,
    Spec,
    Traced,
    filled,
    layers_of,
    trace,
)
from converter.capture.keras_open_program import arithmetic_dtype, simplified
from converter.capture.keras_open_worker import Worker
from converter.capture.torch_graph import to_numpy
from converter.errors import Unsupported
from converter.graph.graph import Place
from converter.ops.base import KERAS_LAYERS, KERAS_OPENED, Refusal

TODO = "Write its call with keras.ops and layers, or map it by custom= (--custom)."
ONE_DTYPE = "Make it with dtype='float32': the weights stay what they are."
MOST_RETRIES = 8
OWN = frozenset({"_functional", "_layers", "_modules", "_tracker", "layers"})
"""Attributes in which Keras itself keeps layers."""


def opens(layer: Any) -> bool:
    """Whether a layer has no row and can do without: the user's own class, or function, or one that is listed."""
    cls = type(layer)
    if cls.__name__ == "Lambda":
        return True
    own = cls.__module__.split(".")[0] != "keras"
    return (own or cls.__name__ in KERAS_OPENED) and keras_nodes.row_name(layer) not in KERAS_LAYERS


def stays_whole(root: Any, opened: frozenset[int] = frozenset()) -> Callable[[Any], bool]:
    """Which layers inside `root` stay whole: those with a row, but for the ones at `opened` in layers_of(root)."""
    without = {id(layer) for i, layer in enumerate(layers_of(root)) if i in opened}

    def whole(layer: Any) -> bool:
        return not opens(layer) and keras_nodes.row_name(layer) in KERAS_LAYERS and id(layer) not in without

    return whole


class Kept(Exception):
    """A layer inside refused to be written whole; `layer` is its place in layers_of."""

    def __init__(self, layer: int, refusal: Refusal) -> None:
        super().__init__(refusal.why)
        self.layer = layer
        self.refusal = refusal


def write(
    g: Any,
    layer: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    scoped: bool = True,
) -> tuple[list[ir.Value], Any]:
    """Write `layer(*args, **kwargs)`, its tensors being values of the graph; what it gives, flat, and its structure.

    `scoped`: what it does is a class of its own in what is written; False for a function and for a whole model.
    Refusal where it cannot be traced or fixes a length that the graph leaves open; Unsupported with what has no row.
    """
    if getattr(layer, "compute_dtype", None) != getattr(layer, "variable_dtype", None):
        why = f"it computes in {layer.compute_dtype} and keeps its weights in {layer.variable_dtype}"
        raise Refusal(f"{why}, and a class of the user's own is opened in one dtype.", ONE_DTYPE)
    given, places = slotted((list(args), dict(kwargs)))
    specs = [spec(value, i) for i, value in enumerate(given)]
    opened: frozenset[int] = frozenset()
    last: Refusal | None = None
    for _ in range(MOST_RETRIES):
        try:
            found = traced(g, layer, places, specs, opened)
            return _Writing(g, layer, found, given, scoped).run(), found.outputs
        except (CannotOpen, Unsupported) as error:
            if last is not None and last.why == advice.TRAINING:
                raise last from error
            if isinstance(error, Unsupported):
                raise
            raise Refusal(f"{error}.", TODO) from error
        except Kept as kept:  # a layer inside whose row does not take its options is opened as well
            opened |= {kept.layer}
            last = kept.refusal
            if last.why == advice.TRAINING:
                inner = layers_of(layer)[kept.layer]
                last.inside = str(inner.name)
                g.note(f"{type(inner).__name__} {inner.name!r} inside is called with training=True, at inference too")
    raise last or Refusal("it cannot be opened.", TODO)


def traced(g: Any, layer: Any, places: Any, specs: Sequence[Spec], opened: frozenset[int] = frozenset()) -> Traced:
    """The layer's program, traced here or in the graph's worker; CannotOpen where it cannot be."""
    import keras

    args, kwargs = places
    if keras.backend.backend() == "torch":
        return trace(layer, args, kwargs, specs, stays_whole(layer, opened))
    worker: Worker = g.worker()
    return worker.trace(layer, args, kwargs, specs, opened)


def slotted(structure: Any) -> tuple[list[ir.Value], Any]:
    """The values of a structure in a row, and the structure with Slots in their places."""
    values: list[ir.Value] = []

    def slot(part: Any) -> Any:
        if isinstance(part, ir.Value):
            values.append(part)
            return Slot(len(values) - 1)
        if isinstance(part, Mapping):
            return {key: slot(value) for key, value in part.items()}
        return type(part)(slot(value) for value in part) if isinstance(part, (list, tuple)) else part

    made = slot(structure)
    return values, made


def spec(value: ir.Value, index: int) -> Spec:
    lengths: list[int | str] = []
    for axis, length in enumerate(value.shape.dims if value.shape is not None else ()):
        known = length if isinstance(length, int) else getattr(length, "value", None)
        lengths.append(known if known is not None else ("N" if axis == 0 else f"{index}:{axis}"))
    return tuple(lengths), str(value.dtype.numpy()) if value.dtype is not None else "float32"


def check_lengths(program: Any, specs: Sequence[Spec], todo: str = TODO) -> None:
    """Refusal where tracing has fixed a length that is open."""
    for node, (lengths, _) in zip(torch_nodes.inputs(program), specs, strict=True):
        for axis, (made, wanted) in enumerate(zip(torch_nodes.shape_of(node) or (), lengths, strict=True)):
            if isinstance(wanted, str) and isinstance(made, int):
                which = "the batch" if axis == 0 else f"axis {axis}"
                raise Refusal(f"its code fixes {which} of an input, which the model leaves open.", todo)


@dataclass(frozen=True)
class _Inner:
    """A layer inside, as it is called by Keras and by the attribute that holds it."""

    layer: Any
    path: str
    local: str


class _Writing:
    def __init__(self, g: Any, layer: Any, traced: Traced, given: list[ir.Value], scoped: bool) -> None:
        self.g = g
        self.root: Place = g.place
        self.traced = traced
        self.given = given
        self.scoped = scoped
        self.layers = _inner(layer)
        self.variables = list(getattr(layer, "variables", ()))
        self.owners = _owners([each.layer for each in self.layers])
        self.results: dict[int, list[Any]] = {}

    def run(self) -> list[ir.Value]:
        """Write the program."""
        program = self.traced.program
        check_lengths(program, self.traced.specs)
        simplified(program)
        return torch_walk.write(
            self.g, program, self.given, self.root, self._weight, where=self._where, leaf=self._kept
        )

    # Where a node stands ---------------------------------------------------------------------------------------------

    def _where(self, node: Any) -> torch_nodes.Where:
        stack = (node.meta.get("custom") or {}).get(SCOPE, "")
        place = self._place(stack, own=False)
        return torch_nodes.Where(place.path, place.cls, place.call, place.scope, place)

    def _place(self, stack: str, own: bool) -> Place:
        """The place of a node by the calls around it; `own`: the last of them is the layer that the node is."""
        root = self.root
        calls = [(int(part.partition("#")[0]), int(part.partition("#")[2])) for part in stack.split("/") if part]
        if not calls:
            calls = [(0, 0)] if self.layers else []
        parts = []
        for index, call in calls[:-1] if own else calls:
            inner = self.layers[index]
            if index == 0:
                if self.scoped:
                    parts.append(_part(root.path.rsplit("/", 1)[-1], root.call, inner.layer))
            else:
                parts.append(_part(inner.local, call, inner.layer))
        scope = root.scope + "".join(parts)
        if not calls:
            return Place(root.path, root.cls, root.call, root.trainable, scope, root.local)
        last, call = calls[-1]
        inner = self.layers[last]
        path = "/".join(filter(None, [root.path, inner.path]))
        trainable = bool(getattr(inner.layer, "trainable", True))
        cls = type(inner.layer).__name__
        return Place(path, cls, root.call if last == 0 else call, trainable, scope, inner.local if own else "")

    # What the walk asks for ------------------------------------------------------------------------------------------

    def _kept(self, name: str, attributes: Mapping[str, Any], values: Sequence[Any]) -> Any:
        """One result of a layer that stayed whole, which is written by its row when the first one is asked for."""
        import keras

        number, output = attributes["number"], attributes["output"]
        if number in self.results:
            return self.results[number][output]
        call: KeptCall = self.traced.kept[number]
        args, kwargs = filled((call.args, call.kwargs), values)
        layer = self.layers[call.layer].layer
        try:
            with self.g.at(self._place(call.stack, own=True)), self.g.whole():
                made = self.g.write_layer(self.g, layer, tuple(args), kwargs)
        except Refusal as refusal:
            raise Kept(call.layer, refusal) from refusal
        self.results[number] = [leaf for leaf in keras.tree.flatten(made) if leaf is not None]
        return self.results[number][output]

    def _weight(self, path: str, tensor: Any) -> ir.Value:
        """The initializer of a variable, under the name of the layer that it belongs to; a constant of all else."""
        number = self.traced.variables.get(path)
        if number is None:
            data = to_numpy(tensor)
            dtype = arithmetic_dtype(self.traced.program, path) if data.ndim == 0 else ""
            constant: ir.Value = self.g.constant(data.astype(dtype) if dtype else data)
            return constant
        variable = self.variables[number]
        owner = self.owners.get(id(variable), 0)
        whole = "/".join(filter(None, [self.root.path, self.layers[owner].path]))
        with self.g.at(Place(whole, "")), self.g.reading(self.layers[owner].layer):
            made: ir.Value = self.g.variable(variable)
        return made


def _part(name: str, call: int, layer: Any) -> str:
    """One call in a scope; a class of the user's gives its name to what is written."""
    from converter.capture import keras_nodes

    plain = keras_nodes.functional(layer) is not None
    return f"{name}#{call}/" if plain else f"{name}#{call}@{type(layer).__name__}/"


def _owners(layers: Sequence[Any]) -> dict[int, int]:
    """Variable -> the innermost layer that has it."""
    found: dict[int, int] = {}
    sizes = [len(layer.variables) for layer in layers]
    for i, layer in enumerate(layers):
        for variable in layer.variables:
            if id(variable) not in found or sizes[i] <= sizes[found[id(variable)]]:
                found[id(variable)] = i
    return found


def _inner(root: Any) -> list[_Inner]:
    """Every layer of layers_of(root): its path behind the root by Keras's names, and its name by attributes."""
    layers = layers_of(root)
    known: dict[int, tuple[str, str]] = {id(root): ("", "")}
    ahead = [root] if layers else []
    while ahead:
        holder = ahead.pop()
        path = known[id(holder)][0]
        taken: set[str] = set()
        for inner in holder._layers:
            if id(inner) in known:
                continue
            local = _attribute(holder, inner) or str(inner.name)
            name = str(inner.name) if inner.name not in taken else local
            taken.add(name)
            known[id(inner)] = (f"{path}/{name}" if path else name, local)
            ahead.append(inner)
    return [_Inner(layer, *known.get(id(layer), (str(getattr(layer, "name", "")), ""))) for layer in layers]


def _attribute(holder: Any, inner: Any) -> str:
    """The attribute of a layer that holds another one, 'blocks_0' in a list; '' where there is none.

    Of a functional model the layers' own names say more.
    """
    from converter.capture import keras_nodes

    if keras_nodes.functional(holder) is not None:
        return ""
    held = {**vars(holder), **(vars(holder).get("_modules") or {})}  # Keras on torch keeps them where torch does
    names = {name: value for name, value in held.items() if name not in OWN and not name.startswith(("__", "_self_"))}
    for name, value in names.items():
        if value is inner:
            return str(name).lstrip("_")
    for name, value in names.items():
        entries: Any = value.items() if isinstance(value, Mapping) else ()
        entries = enumerate(value) if isinstance(value, (list, tuple)) else entries
        for key, entry in entries:
            if entry is inner:
                return f"{name.lstrip('_')}_{key}"
    return ""


def attributes(root: Any) -> list[tuple[str, Any]]:
    """A layer and every layer inside it with the attributes that lead to it, holders before what they hold."""
    found: list[tuple[str, Any]] = []
    ahead = [("", root)]
    while ahead:
        path, holder = ahead.pop(0)
        found.append((path, holder))
        for inner in holder._layers:
            name = _attribute(holder, inner) or str(inner.name)
            ahead.append((f"{path}/{name}" if path else name, inner))
    return found
