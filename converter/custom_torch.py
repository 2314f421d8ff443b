"""The user's own PyTorch class or function in the place of a Keras layer: made of its config, filled with its weights.

Weights go by the names of the modules that hold them, and inside one module by name or in order; where the names say
nothing, all of them in order. A kernel of torch.nn's own layers is turned as Keras's is.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from converter.errors import UsageError

COUNTER = "num_batches_tracked"
SAME = {"kernel": "weight", "gamma": "weight", "beta": "bias", "embeddings": "weight"} | {
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
"""What Keras calls a weight, and torch.nn."""
TURNED = {"Linear": 2, "Conv1d": 3, "Conv2d": 4, "Conv3d": 5}
"""The rank of a kernel that Keras has with its channels behind, and torch.nn in front."""


class Filled(NamedTuple):
    """Which weight goes to a place in a module, and its axes there; `trained`: the place is a parameter."""

    weight: int
    axes: tuple[int, ...] | None
    trained: bool


def made(given: Any, config: Mapping[str, Any], name: str, shape: Sequence[int | None] | None = None) -> Any:
    """The user's module of a layer's config, as far as its signature takes it; for a function, one that calls it.

    `shape` is that of its input, for a signature that takes `input_shape`.
    """
    import torch

    taken = options(given, {"input_shape": shape, **config} if shape is not None else config)
    if isinstance(given, type):
        try:
            module = given(**taken)
        except Exception as error:  # whatever the user's class raises
            raise UsageError(
                f"custom[{name!r}]: {given.__name__} cannot be made of the layer's config {taken}: {error}"
            ) from error
        return module.eval()

    class Function(torch.nn.Module):
        """A function as a module."""

        def forward(self, *tensors: Any) -> Any:
            return given(*tensors, **taken)

    return Function()


def options(given: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a layer's config a class or function takes by name; a function's first argument is a tensor."""
    parameters = list(inspect.signature(given).parameters.values())[0 if isinstance(given, type) else 1 :]
    taken = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return {key: value for key, value in config.items() if key in taken}


def is_lazy(module: Any) -> bool:
    """Whether it has weights whose shapes its first call settles."""
    from torch.nn.parameter import is_lazy

    return any(is_lazy(tensor) for tensor in (*module.parameters(), *module.buffers()))


def places(module: Any) -> dict[str, tuple[Any, bool]]:
    """Name -> (tensor, whether it is a parameter), for all that holds weights, in the module's order."""
    found = {name: (tensor, True) for name, tensor in module.named_parameters()}
    kept = set(module.state_dict())
    buffers = {name: tensor for name, tensor in module.named_buffers() if name in kept and not name.endswith(COUNTER)}
    return found | {name: (tensor, False) for name, tensor in buffers.items() if tensor.is_floating_point()}


def fill(module: Any, weights: Sequence[tuple[str, tuple[int, ...]]], where: str) -> dict[str, Filled]:
    """Which of a layer's weights, (name, shape) in its order, goes where; UsageError where they do not fit."""
    wanted = places(module)
    pairs = _by_name(list(wanted), [name for name, _ in weights])
    if pairs is None and len(wanted) == len(weights):
        pairs = dict(zip(wanted, range(len(weights)), strict=True))
    shown = ", ".join(f"{name} {list(shape)}" for name, shape in weights) or "none"
    takes = ", ".join(f"{name} {list(tensor.shape)}" for name, (tensor, _) in wanted.items()) or "none"
    told = f"The layer's weights are {shown}; the module takes {takes}."
    if pairs is None:
        raise UsageError(f"custom: {where!r} has {len(weights)} weights for {len(wanted)} of {_kind(module)}'s. {told}")
    found: dict[str, Filled] = {}
    for name, index in pairs.items():
        tensor, trained = wanted[name]
        axes = _axes(module, name, weights[index][1], tuple(tensor.shape))
        if axes == ():
            source = f"{weights[index][0]} {list(weights[index][1])}"
            raise UsageError(f"custom: {where!r}: {source} does not fit {name} {list(tensor.shape)}. {told}")
        found[name] = Filled(index, axes, trained)
    return found


def in_order(module: Any, names: Sequence[str]) -> bool:
    """Whether nothing but their order says which weight goes where."""
    return len(names) > 1 and _by_name(list(places(module)), names) is None


def _kind(module: Any) -> str:
    return type(module).__name__


def _axes(module: Any, name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...] | None:
    """The axes of a weight in its place; None where they stay, () where it does not fit."""
    holder, _, last = name.rpartition(".")
    owner = module.get_submodule(holder)
    rank = TURNED.get(type(owner).__name__) if type(owner).__module__.startswith("torch.nn.") else None
    if last == "weight" and rank == len(shape):
        turn = (rank - 1, rank - 2, *range(rank - 2))
        if tuple(shape[axis] for axis in turn) == wanted:
            return turn
    return None if shape == wanted else ()


def _by_name(wanted: Sequence[str], names: Sequence[str]) -> dict[str, int] | None:
    """Place -> weight by the modules that hold them; None where the names do not say."""
    there, here = _groups(wanted, "."), _groups(names, "/")
    if set(there) != set(here) or any(len(there[key]) != len(here[key]) for key in there):
        return None
    found: dict[str, int] = {}
    for key, inside in there.items():
        known = {SAME.get(last, last): index for last, index in here[key]}
        exact = {last for last, _ in inside} == set(known) and len(known) == len(inside)
        plain = dict(here[key])
        own = {last for last, _ in inside} == set(plain)
        order = [index for _, index in here[key]]
        for number, (last, place) in enumerate(inside):
            found[wanted[place]] = plain[last] if own else known[last] if exact else order[number]
    return {name: found[name] for name in wanted}


def _groups(names: Sequence[str], mark: str) -> dict[str, list[tuple[str, int]]]:
    """The names by what holds them, 'blocks_0' for 'blocks.0.weight', with their places."""
    found: dict[str, list[tuple[str, int]]] = {}
    for place, name in enumerate(names):
        holder, _, last = name.rpartition(mark)
        key = "_".join(part for part in re.split(r"[./_]", holder) if part not in ("", "vars"))
        found.setdefault(key, []).append((last, place))
    return found
