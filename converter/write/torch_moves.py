"""How many transpositions a module does when it runs: counted while it does, call by call."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

MOVES = frozenset({"permute", "transpose", "movedim", "moveaxis", "swapaxes", "swapdims", "t", "adjoint"})
VIEWS = ("T", "mT", "H", "mH")


def run_time_transposes(model: Any, arrays: Sequence[np.ndarray]) -> int:
    """Transpositions of data in one forward pass on these inputs; those of weights alone are none of the data's."""
    import torch
    from torch.overrides import TorchFunctionMode

    weights = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    getters = {getattr(torch.Tensor, name).__get__ for name in VIEWS}
    found: list[str] = []

    class Count(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = getattr(func, "__name__", "")
            moved = args[0] if args else None
            if (name in MOVES or func in getters) and id(moved) not in weights and not _same_order(moved, func, args):
                found.append(name)
            if name == "einsum" and args and isinstance(args[0], str) and _only_permutes(args[0]):
                found.append(name)
            return func(*args, **(kwargs or {}))

    with torch.no_grad(), Count():
        model(*[torch.from_numpy(np.array(array)) for array in arrays])
    return len(found)


def _same_order(moved: Any, func: Any, args: Any) -> bool:
    """A transposition of one axis, or one that names every axis where it is."""
    if getattr(moved, "ndim", 2) < 2:
        return True
    if getattr(func, "__name__", "") != "permute":
        return False
    axes = args[1] if len(args) == 2 and isinstance(args[1], (tuple, list)) else args[1:]
    return [int(axis) % moved.ndim for axis in axes] == list(range(moved.ndim))


def _only_permutes(equation: str) -> bool:
    """'abc->cab': one operand, the same letters in another order."""
    match = re.fullmatch(r"\s*([A-Za-z]+)\s*->\s*([A-Za-z]+)\s*", equation)
    return match is not None and match[1] != match[2] and sorted(match[1]) == sorted(match[2])
