"""A live nn.Module exported by torch.export, in eval mode, with what of its inputs may have any length."""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from converter import frameworks
from converter.errors import UsageError

Names = list[dict[int, str]]
"""For each tensor among the inputs, in order: the axes that have a name."""


def export(
    model: Any, args: Sequence[Any], kwargs: Mapping[str, Any] | None, dynamic: Any, notes: list[Any]
) -> tuple[Any, Names]:
    """The module as an ExportedProgram in eval mode, and the names of its inputs' axes.

    `dynamic` is torch.export's dynamic_shapes, for each argument or by name, in which a string names an axis and `...`
    is one of any length. Without it the batch is dynamic where it can be.
    """
    frameworks.before_torch()
    import torch

    given, named = _tensors(tuple(args)), _tensors(dict(kwargs or {}))
    with _eval_mode(model), torch.no_grad(), _quiet():
        try:
            bound = inspect.signature(model.forward).bind(*given, **named)
        except ValueError:  # a forward that Python cannot read the parameters of
            return torch.export.export(model, given, named, dynamic_shapes=dynamic or None, strict=False), []
        if dynamic is None:
            try:
                return _traced(model, bound, None, lambda tensor, axes: {0: ...} if tensor.ndim else {})
            except Exception as error:  # noqa: BLE001  export fails in many ways; the static one says which
                first = (str(error).strip().splitlines() or [type(error).__name__])[0]
                notes.append(f"the batch size is fixed to that of the example inputs: {first}")
        specs = _by_parameter(bound.signature.parameters, bound.arguments, dynamic or {})
        try:
            return _traced(model, bound, specs, lambda tensor, axes: axes)
        except Exception as error:  # of a class that is torch's own
            if "Constraints violated" not in str(error):
                raise
        # The model limits a length (a table of 512 positions), which a Dim alone does not allow.
        program, names = _traced(model, bound, specs, lambda tensor, axes: axes, limited=True)
        notes += _limits(program, names)
        return program, names


def _traced(
    model: Any,
    bound: inspect.BoundArguments,
    specs: Any,
    axes: Callable[[Any, dict[int, Any]], dict[int, Any]],
    limited: bool = False,
) -> tuple[Any, Names]:
    """The program for these arguments, with the axes of each tensor that `axes` makes of what is said of them;
    `limited`: axes with a name may have any length that the model allows."""
    import torch

    names: Names = []
    dims: dict[str, Any] = {}
    shapes = _each(bound.arguments, specs, lambda tensor, said: _dims(axes(tensor, said), dims, names, limited), None)
    wide = _each(bound.arguments, specs, lambda tensor, said: _widened(tensor, axes(tensor, said)), ...)
    full = inspect.BoundArguments(bound.signature, wide)
    program = torch.export.export(model, full.args, full.kwargs, dynamic_shapes=shapes, strict=False)
    return program, names


def _by_parameter(parameters: Mapping[str, inspect.Parameter], bound: Mapping[str, Any], dynamic: Any) -> Any:
    """What is said of each argument, by the name of the parameter that takes it."""
    if isinstance(dynamic, Mapping):
        return {name: _keywords(parameters[name], value, dynamic) for name, value in bound.items()}
    said = list(dynamic)
    found: dict[str, Any] = {}
    for name in bound:
        if parameters[name].kind == inspect.Parameter.VAR_POSITIONAL:
            nested = len(said) == 1 and isinstance(said[0], (tuple, list))
            nested = nested and any(isinstance(each, (Mapping, tuple, list)) for each in said[0])
            found[name] = said[0] if nested else said
            said = []
        else:
            found[name] = said.pop(0) if said else None
    if said:
        raise UsageError(f"dynamic: it says something of {len(said)} arguments more than forward is given.")
    return found


def _keywords(parameter: inspect.Parameter, value: Any, dynamic: Mapping[str, Any]) -> Any:
    if parameter.kind == inspect.Parameter.VAR_KEYWORD and parameter.name not in dynamic:
        return {name: dynamic.get(name) for name in value}
    return dynamic.get(parameter.name)


def _each(values: Any, specs: Any, do: Callable[[Any, dict[int, Any]], Any], other: Any) -> Any:
    """The structure of values with `do(tensor, what is said of its axes)` in the place of each tensor, and `other` in
    that of what is none; `...` leaves it."""
    if hasattr(values, "shape"):
        return do(values, dict(specs if isinstance(specs, Mapping) else enumerate(specs or ())))
    if isinstance(values, Mapping):
        return {key: _each(value, (specs or {}).get(key), do, other) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        said = list(specs or ()) + [None] * (len(values) - len(specs or ()))
        return type(values)([_each(value, each, do, other) for value, each in zip(values, said, strict=True)])
    return values if other is ... else other


def _limits(program: Any, names: Names) -> list[Any]:
    """For each name what the model allows of its length, where that ends."""
    from converter.capture import torch_nodes

    found: dict[str, str] = {}
    ranges = {str(symbol): limits for symbol, limits in program.range_constraints.items()}
    for node, named in zip(torch_nodes.inputs(program), names, strict=False):
        for axis, name in named.items():
            limits = ranges.get(str((torch_nodes.shape_of(node) or ())[axis]))
            if limits is not None and str(limits.upper).isdigit():
                found[name] = f"the model takes at most {limits.upper}"
    return list(found.items())


def _dims(axes: Mapping[int, Any], known: dict[str, Any], names: Names, limited: bool) -> dict[int, Any]:
    """What is said of a tensor's axes as torch's dimensions, one for each name; the names are kept."""
    import torch

    made, named = {}, {}
    for axis, what in axes.items():
        if isinstance(what, str):
            if not what.isidentifier():
                raise UsageError(f"dynamic: expected a name for an axis, received {what!r}.")
            what = known.setdefault(what, torch.export.Dim(what))
        made[axis] = torch.export.Dim.AUTO if what is ... else what
        name = getattr(what, "__name__", "")
        if what is not ... and name.isidentifier():
            named[axis] = name
            made[axis] = torch.export.Dim.DYNAMIC if limited else what
    names.append(named)
    return made


def _widened(tensor: Any, axes: Mapping[int, Any]) -> Any:
    """The tensor with two of what it has one of along an axis of any length: 1 would be taken for a constant."""
    import torch

    for axis, what in axes.items():
        if what is not None and not isinstance(what, int) and tensor.shape[axis] == 1:
            tensor = torch.cat([tensor, tensor], axis)
    return tensor


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's log of what it could not trace: that is an error, or a second try answers it."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.ERROR))
    try:
        yield
    finally:
        logging.disable(before)


def _tensors(values: Any) -> Any:
    """Arrays as tensors, and each tensor as one of its own: export takes one that is given twice for one input."""
    import numpy as np
    import torch
    from torch.utils import _pytree as tree

    def alone(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return torch.from_numpy(np.array(value, order="C"))
        return value.detach().clone() if isinstance(value, torch.Tensor) else value

    return tree.tree_map(alone, values)


@contextlib.contextmanager
def _eval_mode(model: Any) -> Iterator[None]:
    """Eval mode, and each submodule's flag as before on leaving."""
    flags = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in flags:
            module.training = training
