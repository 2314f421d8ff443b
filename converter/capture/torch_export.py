"""A live nn.Module exported by torch.export, in eval mode, with what of its inputs may have any length."""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from converter import frameworks


def export(model: Any, args: Sequence[Any], kwargs: Mapping[str, Any] | None, dynamic: Any, notes: list[Any]) -> Any:
    """The module as an ExportedProgram in eval mode; the batch is dynamic where it can be."""
    frameworks.before_torch()
    import torch

    given, named = _tensors(tuple(args)), _tensors(dict(kwargs or {}))
    with _eval_mode(model), torch.no_grad(), _quiet():
        if dynamic is None:
            try:
                # A batch of 1 would be taken for a constant.
                wide, wide_named = _twice(given), _twice(named)
                shapes = _by_name(model, _batches(wide), _batches(wide_named))
                return torch.export.export(model, wide, wide_named, dynamic_shapes=shapes, strict=False)
            except Exception as error:  # noqa: BLE001  export fails in many ways; the static one says which
                first = (str(error).strip().splitlines() or [type(error).__name__])[0]
                notes.append(f"the batch size is fixed to that of the example inputs: {first}")
        return torch.export.export(model, given, named, dynamic_shapes=dynamic or None, strict=False)


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


def _twice(values: Any) -> Any:
    """Every tensor whose first axis has length 1, twice along it."""
    import torch
    from torch.utils import _pytree as tree

    def wide(value: Any) -> Any:
        alone = isinstance(value, torch.Tensor) and value.ndim > 0 and value.shape[0] == 1
        return torch.cat([value, value]) if alone else value

    return tree.tree_map(wide, values)


def _batches(values: Any) -> Any:
    import torch
    from torch.utils import _pytree as tree

    def axis(value: Any) -> Any:
        return {0: torch.export.Dim.AUTO} if isinstance(value, torch.Tensor) and value.ndim > 0 else None

    return tree.tree_map(axis, values)


def _by_name(model: Any, args: Any, kwargs: Any) -> Any:
    """Dynamic axes as export wants them: by the names of forward's parameters."""
    if not kwargs:
        return args
    bound = inspect.signature(model.forward).bind(*args, **kwargs)
    return dict(bound.arguments)


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
