"""Modules that are kept whole: in a live model their forward is one node of the program, for the time of
the export; in a program that was exported before they are a region, from the first to the last call of the module."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from converter.capture import torch_activations, torch_nodes
from converter.ops.torch_modules import TORCH_MODULES, Made, TorchModule

KEPT = "kconvert::Module"


@dataclass(frozen=True)
class Slot:
    """The place of a tensor among the arguments of a call."""

    index: int


@dataclass(frozen=True)
class Call:
    """One call of a module that is kept whole: the module, its arguments with Slots, the names of its weights."""

    module: Any
    args: Any
    kwargs: Any
    tensors: int
    weights: tuple[str, ...]

    def written(self, g: Any, inputs: Sequence[Any]) -> Any:
        """What the row of the module's class makes of the values of its tensors and weights."""
        row = TORCH_MODULES[row_name(self.module)].row
        weights = dict(zip(self.weights, inputs[self.tensors :], strict=True))
        leaf = Leaf(type(self.module).__name__, functools.partial(getattr, self.module), weights)
        args, kwargs = _filled((self.args, self.kwargs), inputs)
        return _flat(row(g, leaf, *args, **kwargs))


@dataclass(frozen=True)
class Leaf:
    """The module as its row sees it."""

    cls: str
    option: Callable[[str], Any]
    weights: Mapping[str, ir.Value]


def _filled(structure: Any, values: Sequence[Any]) -> Any:
    if isinstance(structure, Slot):
        return values[structure.index]
    if isinstance(structure, Mapping):
        return {key: _filled(value, values) for key, value in structure.items()}
    if isinstance(structure, (list, tuple)):
        return type(structure)([_filled(value, values) for value in structure])
    return structure


def _flat(made: Any) -> tuple[Any, ...]:
    """The values of a nested result in order."""
    if isinstance(made, (list, tuple)):
        return tuple(value for each in made for value in _flat(each))
    return (made,)


def row_name(module: Any) -> str:
    """What rows in ops/ call the class of a live module, see `torch_module`."""
    cls = type(module)
    part = vars(cls).get("kconvert")
    return f"kconvert>{part}" if isinstance(part, str) else _named(f"{cls.__module__}.{cls.__qualname__}")


def _named(cls: str) -> str:
    return cls.rsplit(".", 1)[-1] if cls.startswith("torch.nn.") else cls


# In a live model ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def kept(model: Any) -> Iterator[list[Call]]:
    """The modules with a row have a forward that is one node, until the end of the block; the calls are listed."""
    calls: list[Call] = []
    changed: list[Any] = []
    try:
        for module in model.modules():
            known = TORCH_MODULES.get(row_name(module))
            if known is not None and known.outputs is not None and "forward" not in vars(module):
                changed.append(module)
                vars(module)["forward"] = _one_node(module, known, calls)
        yield calls
    finally:
        for module in changed:
            del vars(module)["forward"]


def _one_node(module: Any, known: TorchModule, calls: list[Call]) -> Callable[..., Any]:
    import torch.onnx.ops
    from torch.utils import _pytree as tree

    @functools.wraps(module.forward)
    def forward(*args: Any, **kwargs: Any) -> Any:
        leaves, spec = tree.tree_flatten((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        slots = iter(range(len(tensors)))
        marked = [Slot(next(slots)) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
        weights = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        shapes = known.outputs(module, *args, **kwargs) if known.outputs is not None else None
        flat, made = tree.tree_flatten(shapes, is_leaf=lambda each: isinstance(each, Made))
        arguments, named = tree.tree_unflatten(marked, spec)
        calls.append(Call(module, arguments, named, len(tensors), tuple(weights)))
        results = torch.onnx.ops.symbolic_multi_out(
            KEPT,
            [*tensors, *weights.values()],
            {"index": len(calls) - 1},
            dtypes=[each.dtype for each in flat],
            shapes=[each.shape for each in flat],
            version=1,
        )
        return tree.tree_unflatten(list(results), made)

    return forward


# In a program ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Region:
    """The calls of one call of a module, of which one result is read outside."""

    name: str
    options: Mapping[str, Any]
    inputs: tuple[Any, ...]
    weights: Mapping[str, Any]

    def written(self, g: Any, value: Callable[[Any], Any]) -> Any:
        """What the row of the module's class makes of it."""
        weights = {name: value(node) for name, node in self.weights.items()}
        leaf = Leaf(self.name, self.options.get, weights)
        return _rows()[self.name].row(g, leaf, *(value(node) for node in self.inputs))


@functools.cache
def _activations() -> dict[str, TorchModule]:
    """The activations without arguments whose function torch writes out."""

    def module(cls: Any) -> TorchModule:
        return TorchModule(lambda g, leaf, x: g.op(cls(), x), None, lambda calls: {})

    return {name: module(cls) for name, cls in torch_activations.modules().items()}


def _rows() -> dict[str, TorchModule]:
    return {**_activations(), **TORCH_MODULES}


def regions(graph: Any, weights: Mapping[str, tuple[str, Any]]) -> dict[str, Region | None]:
    """The calls that belong to a module which is kept whole: the last -> the region, the others -> None."""
    rows = _rows()
    groups: dict[tuple[str, str, int], list[Any]] = {}
    for node in torch_nodes.calls(graph):
        at = torch_nodes.where(node)
        if _named(at.cls) in rows:
            groups.setdefault((at.path, at.cls, at.call), []).append(node)
    found: dict[str, Region | None] = {}
    for (path, cls, _), nodes in groups.items():
        name = _named(cls)
        read = rows[name].options
        options = None if read is None else read([(str(n.target), dict(torch_nodes.arguments(n))) for n in nodes])
        names = {node.name for node in nodes}
        sources = {a.name: a for node in nodes for a in node.all_input_nodes if a.name not in names}
        inputs = tuple(a for key, a in sources.items() if key not in weights and torch_nodes.shape_of(a) is not None)
        outside = [node for node in nodes if any(user.name not in names for user in node.users)]
        if options is None or outside != nodes[-1:]:
            continue
        mine = {weights[key][0].removeprefix(f"{path}."): a for key, a in sources.items() if key in weights}
        found |= dict.fromkeys(names)
        found[nodes[-1].name] = Region(name, options, inputs, mine)
    return found
