"""A subclassed Keras model, opened as a whole: what it takes is known from its build or from the user's examples."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from converter.capture import keras_dtypes, keras_nodes, keras_open, torch_nodes
from converter.capture.captured import Captured
from converter.capture.keras_open_export import CannotOpen, Slot, Spec, Traced, filled
from converter.errors import Item, Unsupported, UsageError
from converter.graph.graph import Place
from converter.ops.base import Refusal


def capture(g: Any, model: Any, examples: Sequence[Any] | None) -> Captured:
    """The whole model, written into `g`, a KerasGraph.

    UsageError where nothing tells what it takes, Unsupported where it cannot be opened.
    """
    args, kwargs, names, specs = _taken(model, examples)
    try:
        if examples is None:
            specs = _with_ids(g, model, args, kwargs, specs)
        values = [g.input(name, lengths, keras_dtypes.of(dtype)) for name, (lengths, dtype) in zip(names, specs)]
        given, named = filled((args, kwargs), values)
        with g.at(Place("", type(model).__name__, trainable=bool(model.trainable), local="")), g.reading(model):
            made, outputs = keras_open.write(g, model, given, named, scoped=False)
    except Refusal as refusal:
        raise Unsupported([Item(model.name, type(model).__name__, refusal.why, refusal.todo)]) from refusal
    g.graph.outputs.extend(made)
    g.remove_unused()
    g.opened(model.name, type(model).__name__)
    return Captured(g, _positions(outputs), [], g.notes, g.roads, Packing((args, kwargs), specs), g.alone)


def built(model: Any, examples: Sequence[Any]) -> None:
    """Build a model by a call on the user's examples: its weights are made then. UsageError where that call fails."""
    given = [keras_arrays(value) for value in examples]
    try:
        model(*given)
    except Exception as error:  # whatever the user's call raises
        raise UsageError(
            f"example_inputs: {type(model).__name__} {model.name!r} cannot be called with them: "
            f"{(str(error).strip().splitlines() or [type(error).__name__])[0]}"
        ) from error


def keras_arrays(value: Any) -> Any:
    """Tensors of Keras's backend for arrays and tensors of any kind, in the structure that they are given in."""
    import keras

    def tensor(leaf: Any) -> Any:
        plain = leaf.detach().cpu() if hasattr(leaf, "detach") else leaf
        return keras.ops.convert_to_tensor(np.asarray(plain))

    return keras.tree.map_structure(tensor, value)


def pack_of(model: Any) -> Any:
    """The packing of a model without a graph by what its build tells; None for one that has a graph."""
    if keras_nodes.functional(model) is not None:
        return None
    args, kwargs, _, specs = _taken(model, None)
    return Packing((args, kwargs), specs)


@dataclass(frozen=True)
class Packing:
    """The graph's inputs in a row -> the arguments of the model's call."""

    arguments: Any
    specs: Sequence[Spec]

    def __call__(self, values: Sequence[Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Positional and named arguments."""
        args, kwargs = filled(self.arguments, values)
        return tuple(args), kwargs

    def zeros(self) -> list[np.ndarray]:
        """Inputs to build a model of this class with: two examples, lengths that are open being 3."""
        lengths = [[2 if n == "N" else 3 if isinstance(n, str) else n for n in shape] for shape, _ in self.specs]
        return [np.zeros(shape, dtype) for shape, (_, dtype) in zip(lengths, self.specs, strict=True)]


def _taken(model: Any, examples: Sequence[Any] | None) -> tuple[Any, Any, list[str], list[Spec]]:
    """Positional and named arguments with Slots, and name, lengths and dtype of each tensor."""
    if not model.built:
        raise UsageError(
            f"{type(model).__name__} {model.name!r} is not built, so its weights do not exist yet. Call it once on an "
            "input, or its build(input_shape), before it is converted; or pass example_inputs=(array,)."
        )
    signature = inspect.signature(model.call).parameters
    parameters = [name for name in signature if name not in ("training", "mask")]
    build = model.get_build_config() or {}
    shapes = build.get("shapes_dict") or {}
    if not shapes and build.get("input_shape") is not None:
        shapes = {f"{parameters[0] if parameters else 'inputs'}_shape": build["input_shape"]}
    if examples is not None:
        given = dict(zip(parameters, examples, strict=False))
        if len(given) != len(examples):
            raise UsageError(f"example_inputs: the model's call takes {parameters}, and {len(examples)} are given.")
    else:
        given = {key.removesuffix("_shape"): shape for key, shape in shapes.items()}
    needed = [p for p in parameters if p not in given and _required(signature[p])]
    if not given or needed:
        what = f" as {', '.join(needed)}" if given else ""
        raise UsageError(
            f"{type(model).__name__} {model.name!r} does not tell what it takes{what}. Pass example_inputs=(array,), "
            f"in the order of its call's parameters ({', '.join(parameters)})."
        )
    names: list[str] = []
    specs: list[Spec] = []

    def slot(path: tuple[Any, ...], leaf: Any) -> Slot:
        keyed = [str(part) for part in path[1:]]
        names.append("_".join(keyed) if keyed and not keyed[-1].isdigit() else "_".join([str(path[0]), *keyed]))
        specs.append(_spec_of(leaf, names[-1], model))
        return Slot(len(names) - 1)

    made = {name: _mapped((name,), value, slot) for name, value in given.items()}
    first = parameters[: len(made)]
    if list(made) == first:
        return list(made.values()), {}, names, specs
    return [], made, names, specs


def _required(parameter: inspect.Parameter) -> bool:
    named = parameter.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return named and parameter.default is inspect.Parameter.empty


def _mapped(path: tuple[Any, ...], value: Any, slot: Callable[[tuple[Any, ...], Any], Slot]) -> Any:
    """The structure of shapes or arrays with a Slot for each, dict keys in sorted order as Keras has them."""
    if isinstance(value, Mapping):
        return {key: _mapped((*path, key), value[key], slot) for key in sorted(value, key=str)}
    shape = isinstance(value, (list, tuple)) and all(part is None or isinstance(part, int) for part in value)
    if isinstance(value, (list, tuple)) and not shape:
        return [_mapped((*path, i), part, slot) for i, part in enumerate(value)]
    return slot(path, value)


def _spec_of(leaf: Any, name: str, model: Any) -> Spec:
    """Of a shape, or of an example: the batch is dynamic, and whatever the build left open."""
    if isinstance(leaf, (list, tuple)):
        shape, dtype = tuple(leaf), str(model.compute_dtype)
    else:
        import keras

        shape, dtype = tuple(int(length) for length in leaf.shape), keras.backend.standardize_dtype(leaf.dtype)
        dtype = str(model.compute_dtype) if "float" in dtype else dtype  # as Keras casts it
    lengths = [f"{name}_{i}" if length is None else int(length) for i, length in enumerate(shape)]
    return ("N", *lengths[1:]) if lengths else (), dtype


def _with_ids(g: Any, model: Any, args: Any, kwargs: Any, specs: list[Spec]) -> list[Spec]:
    """Whole numbers for the inputs that nothing but tables and casts to whole numbers reads."""
    try:
        traced: Traced = keras_open.traced(g, model, (args, kwargs), specs)
    except CannotOpen as error:
        raise Refusal(f"{error}.", keras_open.TODO) from error
    tables = {i for i, call in enumerate(traced.kept) if call.cls == "Embedding"}
    found = []
    for node, (lengths, dtype) in zip(torch_nodes.inputs(traced.program), specs, strict=True):
        ids = bool(node.users) and all(_takes_ids(user, tables) for user in node.users)
        found.append((lengths, "int32" if ids else dtype))
    return found


def _takes_ids(user: Any, tables: set[int]) -> bool:
    name = str(user.target)
    if name.startswith("onnx_symbolic."):
        return user.kwargs["attr_ints"][0] in tables
    if name.startswith(("aten._assert", "aten.sym_size")):
        return True
    made = str(getattr(user.meta.get("val"), "dtype", ""))
    if name.startswith("aten.to.") and "float" in made:
        return all(_takes_ids(reader, tables) for reader in user.users)
    return name.startswith(("aten.to.", "aten._to_copy.")) and "int" in made


def _positions(outputs: Any) -> Any:
    """Slots as their numbers; dict keys in sorted order, lists as tuples."""
    if isinstance(outputs, Slot):
        return outputs.index
    if isinstance(outputs, Mapping):
        return {key: _positions(outputs[key]) for key in sorted(outputs, key=str)}
    return tuple(_positions(part) for part in outputs) if isinstance(outputs, (list, tuple)) else outputs
