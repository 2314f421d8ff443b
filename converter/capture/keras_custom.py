"""A Keras layer written as the PyTorch class or function that the user gave for it (custom=): its forward, exported."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import onnx_ir as ir

from converter import advice, custom_torch
from converter.capture import keras_open, torch_leaves, torch_nodes, torch_walk
from converter.capture.keras_open_export import ALIKE, LENGTHS, ROUND, examples, filled, quiet
from converter.capture.torch_graph import to_numpy
from converter.errors import UsageError
from converter.graph.graph import Place
from converter.ops.base import Refusal

TODO = "Give a class or function that torch.export can trace with these inputs."


def given_for(custom: Mapping[str, Any], layer: Any) -> tuple[str, Any] | None:
    """(name, what the user gave) for a layer of the user's own class, by its registered name, its class's, or as Lambda
    its own; None where there is none."""
    import keras

    cls = type(layer)
    stands = getattr(cls, "kconvert_given", None)
    if stands is not None:
        return stands[0], stands[1]
    if cls.__module__.split(".")[0] == "keras" and cls.__name__ != "Lambda":
        return None
    names = [keras.saving.get_registered_name(cls), cls.__name__]
    names = [layer.name, "<lambda>"] if cls.__name__ == "Lambda" else names
    found = next(((name, custom[name]) for name in names if name in custom), None)
    if found is not None and found[1] is getattr(layer, "function", None):
        return None  # the layer has been built around it
    return found


def write(g: Any, layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any], name: str, given: Any) -> Any:
    """Write `layer(*args, **kwargs)` as what was given for it; what it gives, in its structure.

    UsageError where the layer's weights do not fit the module, Refusal where it cannot be traced.
    """
    import keras

    if kwargs.get("training") is True:
        raise Refusal(advice.TRAINING, advice.NO_TRAINING)
    if not isinstance(given, type):
        return _function(g, layer, args, kwargs, name, given)
    stands = hasattr(type(layer), "kconvert_given")
    kwargs = {key: value for key, value in kwargs.items() if key != "training" and value is not None}
    slots, slotted = keras_open.slotted((list(args), kwargs))
    specs = [keras_open.spec(value, i) for i, value in enumerate(slots)]
    first = tuple(n if isinstance(n, int) else None for n in specs[0][0]) if specs else None
    module = custom_torch.made(given, _config(layer), name, first)
    if custom_torch.is_lazy(module):
        tensors, _ = examples(specs, LENGTHS)
        positional, named = filled(slotted, tensors)
        module(*positional, **named)
    held = vars(layer)["held"] if stands else _named(layer)
    places = custom_torch.fill(module, [(each, tuple(v.shape)) for each, v in held], g.place.path)
    if custom_torch.in_order(module, [each for each, _ in held]):
        g.note(f"its {len(held)} weights went to {type(module).__name__} in their order, for their names do not tell")
    with torch_leaves.kept(module) as calls:
        program = _program(module, slotted, specs)
    keras_open.check_lengths(program, specs, TODO)
    root: Place = g.place

    def weight(path: str, tensor: Any) -> ir.Value:
        place = places.get(path)
        if place is None:
            constant: ir.Value = g.constant(to_numpy(tensor))
            return constant
        source, variable = held[place.weight]
        told = path.replace(".", "/") if source.rsplit("/", 1)[-1].isdigit() else source
        with g.at(Place(root.path, "")):
            made: ir.Value = g.weight(
                variable, place.axes, path=f"{root.path}/{told}", trainable=place.trained and bool(layer.trainable)
            )
        return made

    where = _scoped(program, root, type(module).__name__ if isinstance(given, type) else "")
    made = torch_walk.write(g, program, slots, root, weight, where=where, kept=calls)
    _, structure = torch_nodes.outputs(program)
    return keras.tree.map_structure(lambda i: made[i], structure)


def _function(g: Any, layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any], name: str, given: Any) -> Any:
    """A function in the place of a layer without weights, opened."""
    if layer.weights:
        raise UsageError(
            f"custom[{name!r}]: a function has no place for the {len(layer.weights)} weights of {g.place.path!r}. "
            "Give a class of PyTorch."
        )
    options = custom_torch.options(given, _config(layer))
    plain = {key: value for key, value in kwargs.items() if key != "training" and value is not None}
    whole = functools.partial(given, **options) if options else given
    made, structure = keras_open.write(g, whole, args, plain, scoped=False)
    return filled(structure, made)


def _config(layer: Any) -> dict[str, Any]:
    """The options that a layer was made with."""
    if hasattr(type(layer), "kconvert_given"):
        return dict(vars(layer)["data"])
    return dict(layer.arguments or {}) if type(layer).__name__ == "Lambda" else dict(layer.get_config())


def _named(layer: Any) -> list[tuple[str, Any]]:
    """The weights of a live layer by the attributes that lead to them."""
    found: dict[int, tuple[str, Any]] = {}
    for path, holder in keras_open.attributes(layer):
        for variable in holder.variables:
            found[id(variable)] = (f"{path}/{variable.name}" if path else str(variable.name), variable)
    return [found[id(variable)] for variable in layer.weights]


def _program(module: Any, slotted: Any, specs: Sequence[Any]) -> Any:
    """The module exported; Refusal with what torch says."""
    import torch

    args, kwargs = slotted
    signature = inspect.signature(module.forward)
    first = ""
    for lengths in (LENGTHS, ROUND, ALIKE):
        tensors, dynamic = examples(specs, lengths)
        given, named = filled((args, kwargs), tensors)
        axes, named_axes = filled((args, kwargs), dynamic)
        try:
            shapes = dict(signature.bind(*axes, **named_axes).arguments)
        except TypeError as error:
            raise Refusal(f"its forward{signature} does not take what the layer is given: {error}.", TODO) from error
        try:
            with torch.no_grad(), quiet():
                return torch.export.export(module, tuple(given), named, dynamic_shapes=shapes, strict=False)
        except Exception as error:  # noqa: BLE001  of a class that is torch's own, or of the user's code
            first = first or (str(error).strip().splitlines() or [type(error).__name__])[0]
    raise Refusal(f"torch.export cannot trace what was given for it: {first}.", TODO)


def _scoped(program: Any, root: Place, cls: str) -> Any:
    """Where a node stands: in a class of the module's name, and in the modules inside of it."""
    found = torch_nodes.modules(program)
    name = root.path.rsplit("/", 1)[-1]
    scope = root.scope + (f"{name}#{root.call}@{cls}/" if cls else "")

    def where(node: Any) -> torch_nodes.Where:
        at = found(node)
        inside = at.path.replace(".", "/")
        place = replace(
            root,
            path=f"{root.path}/{inside}" if inside else root.path,
            cls=at.cls.rsplit(".", 1)[-1] if inside else root.cls,
            call=at.call if inside else root.call,
            scope=scope + at.scope,
            local=None if inside or not cls else "",
        )
        return replace(at, place=place)

    return where
