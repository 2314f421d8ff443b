"""Classes of PyTorch that are read as a whole: their rows, and what must be known of them to keep them so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import onnx_ir as ir

F = TypeVar("F", bound=Callable[..., Any])
Outputs = Callable[..., Any]
ReadOptions = Callable[[Sequence[tuple[str, dict[str, Any]]]], Mapping[str, Any] | None]


class Made(NamedTuple):
    """What a module gives: a shape, in which torch's symbols may stand, and torch's own dtype."""

    shape: Sequence[Any]
    dtype: Any


class TorchLeaf(Protocol):
    """A module as its row sees it: its class, its options by name, its weights by their names in the module."""

    @property
    def cls(self) -> str: ...
    @property
    def option(self) -> Callable[[str], Any]: ...
    @property
    def weights(self) -> Mapping[str, ir.Value]: ...


class TorchModule(NamedTuple):
    """How a class is read as a whole: `row(g, leaf, *args, **kwargs)` writes it.

    `outputs(module, *args, **kwargs)` says as Made what the call of a live module gives, in the structure that it gives
    it in; without it live modules are not kept whole. `options(calls)` reads the options off the calls in an exported
    program, (operation, arguments) each, or answers None; there the one result that is read outside is what the row
    gives.
    """

    row: Callable[..., Any]
    outputs: Outputs | None = None
    options: ReadOptions | None = None


TORCH_MODULES: dict[str, TorchModule] = {}


def torch_module(*names: str, outputs: Outputs | None = None, options: ReadOptions | None = None) -> Callable[[F], F]:
    """Mark a static method `capture(g, leaf, *args, **kwargs)` as the reading of these classes as a whole.

    A class of torch.nn is named 'GRU', one of another package 'package.module.Name', and a part that a generated file
    brings along 'kconvert>Name': such a class says `kconvert = "Name"`, and whoever changes it takes that line out.
    It is given the values of the tensors in forward's arguments. See TorchModule for `outputs` and `options`.
    """

    def mark(function: F) -> F:
        for name in names:
            if name in TORCH_MODULES:
                raise TypeError(f"the module {name!r} is captured twice")
            TORCH_MODULES[name] = TorchModule(function, outputs, options)
        return function

    return mark
