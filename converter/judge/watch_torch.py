"""A PyTorch module watched: every module's answer by forward hooks, and what functions outside of them make."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .compare import Array
from .keep64_torch import kept64
from .run_torch import Pack, exact_torch, torch_callable
from .taps import Outputs
from .watch import Calls, Emit, Key, Seen, Side, leaves, told

_OPEN = ("torch.nn.modules.container", "torch.nn.modules.transformer")
_DULL = frozenset(["__get__", "size", "dim", "detach", "numel", "stride", "is_floating_point", "item", "to", "clone"])
"""What makes no value, or the same one."""


def torch_side(model: Any, *, pack: Pack | None = None, double: bool = True) -> Side:
    """A Side from a module in the precision that it is in; `double`: it is a float64 twin."""

    def watched(emit: Emit) -> Callable[[Sequence[Array]], Outputs]:
        run = torch_callable(model, pack=pack, double=double)

        def call(arrays: Sequence[Array]) -> Outputs:
            with watching(model, emit):
                return run(arrays)

        return call

    @contextlib.contextmanager
    def around() -> Iterator[None]:
        with exact_torch(), kept64() if double else contextlib.nullcontext():
            yield

    return Side("torch", {p: m for p, m in model.named_modules() if p}, watched, _array, _weights, _alone, around)


def _alone(part: Any, inputs: Sequence[Array], weights: Mapping[str, Array], settings: Mapping[str, Any]) -> Array:
    import torch

    twin = copy.deepcopy(part).eval() if weights or settings else part
    for name, value in weights.items():
        owner = twin.get_submodule(name.rpartition(".")[0])
        getattr(owner, name.rpartition(".")[2]).data = torch.from_numpy(np.ascontiguousarray(value))
    for name, value in settings.items():
        setattr(twin, name, value)
    with exact_torch():
        result = twin(*[torch.from_numpy(np.array(x)) for x in inputs])
    return _array(leaves(result, _is_tensor)[0])


def is_whole(module: Any) -> bool:
    """Whether nothing inside is looked at: PyTorch's own modules, but no containers."""
    home = type(module).__module__
    return home.startswith("torch.nn.") and not home.startswith(_OPEN)


@contextlib.contextmanager
def watching(model: Any, emit: Emit) -> Iterator[None]:
    """While this is open, `emit` is told of every value; the hooks are gone on leaving."""
    from torch.overrides import TorchFunctionMode

    calls = Calls()

    class Mode(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            # A function, a method, or an operator of an exported program: softmax, or softmax.int.
            name = str(getattr(func, "__name__", "")).split(".")[0]
            if calls.inside or calls.busy or name in _DULL:
                return result
            given = tuple(leaves([args, kwargs], _is_tensor))
            with calls.quiet():
                return told(
                    result, _is_tensor, lambda i, tensor: emit(Seen(Key("", 0, i), name, True, tensor, given)), _tensor
                )

    def enter(module: Any, args: Any, kwargs: Any) -> None:
        calls.inside += is_whole(module)

    def leave(path: str) -> Any:
        def hook(module: Any, args: Any, kwargs: Any, result: Any) -> Any:
            whole = is_whole(module)
            calls.inside -= whole
            if calls.inside:
                return None
            number = calls.next(path)
            given = tuple(leaves([args, kwargs], _is_tensor))
            with calls.quiet():
                new = told(
                    result,
                    _is_tensor,
                    lambda i, tensor: emit(Seen(Key(path, number, i), type(module).__name__, whole, tensor, given)),
                    _tensor,
                )
            return None if new is result else new

        return hook

    handles = []
    try:
        for path, module in model.named_modules():
            if path:
                handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
                handles.append(module.register_forward_hook(leave(path), with_kwargs=True))
        with Mode():
            yield
    finally:
        for handle in handles:
            handle.remove()


def _weights(part: Any) -> dict[str, Array]:
    found = dict(part.named_parameters())
    found |= dict(part.named_buffers())
    return {name: _array(tensor) for name, tensor in found.items()}


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _tensor(array: Array, like: Any) -> Any:
    import torch

    return torch.from_numpy(array.copy()).to(like.dtype).to(like.device)


def _array(tensor: Any) -> Array:
    array: Array = tensor.detach().cpu().numpy()
    return array.copy()
