"""The one place that reads torch.export's internals: a program's calls, weights and module paths, as data.

Public are `torch.export.export`, the program's graph and its signature; `nn_module_stack`, the call number '@1' in its
keys, and the fake tensors in `meta["val"]` are what torch.onnx itself builds on.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from converter import frameworks
from converter.graph.graph import Place

VIEWS = frozenset(
    {"view", "view_as", "reshape", "reshape_as", "flatten", "unflatten", "squeeze", "unsqueeze", "expand", "expand_as"}
    | {"transpose", "permute", "t", "movedim", "swapaxes", "select", "slice", "narrow", "split", "chunk", "unbind"}
    | {"contiguous", "detach", "alias", "to", "diagonal", "unfold"}
    | {"dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"}
)
"""Operations whose result may share its memory with their first argument."""


@dataclass(frozen=True)
class Where:
    """The module that a call stands in: its path, its class with module, which call of it this is."""

    path: str
    cls: str
    call: int
    place: Place | None = None
    """All that is known of it, where another walk has found the place."""

    @property
    def builtin(self) -> bool:
        """Whether the class is one of torch.nn: then the call is what the module is for."""
        return self.cls.startswith("torch.nn.")


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


def where(node: Any) -> Where:
    """The innermost module that a call stands in."""
    stack = (node.meta.get("nn_module_stack") or {}).items()
    entries = [(key, entry) for key, entry in stack if isinstance(entry, tuple) and len(entry) == 2]
    if not entries:
        return Where("", "", 0)
    key, (path, cls) = entries[-1]
    _, _, call = str(key).rpartition("@")
    name = cls if isinstance(cls, str) else f"{cls.__module__}.{cls.__qualname__}"
    return Where(path.partition("@")[0], name, int(call) if call.isdigit() and "@" in str(key) else 0)


def weights(program: Any) -> dict[str, tuple[str, Any]]:
    """Placeholder -> (state-dict name, tensor), for parameters, buffers and tensors that forward itself makes."""
    signature = program.graph_signature
    found: dict[str, tuple[str, Any]] = {}
    first: dict[Any, str] = {}
    for path, tensor in program.state_dict.items():
        first.setdefault(storage(tensor), path)
    for table in (signature.inputs_to_parameters, signature.inputs_to_buffers):
        for placeholder, path in table.items():
            state = program.state_dict if path in program.state_dict else program.constants
            found[placeholder] = (first.get(storage(state[path]), path), state[path])
    for placeholder, path in signature.inputs_to_lifted_tensor_constants.items():
        found[placeholder] = (path, program.constants[path])
    return found


def storage(tensor: Any) -> Any:
    """What two tensors have in common that are one: the same memory in the same order; an empty one is alone."""
    if not tensor.numel():
        return id(tensor)
    return (
        tensor.untyped_storage().data_ptr(),
        tensor.storage_offset(),
        tuple(tensor.shape),
        tensor.stride(),
        tensor.dtype,
    )


def inputs(program: Any) -> list[Any]:
    """The placeholders of the user's tensors, in order."""
    names = [name for name in program.graph_signature.user_inputs if isinstance(name, str)]
    found = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    return [found[name] for name in names if shape_of(found[name]) is not None] if names else []


def packer(program: Any) -> Callable[[Sequence[Any]], tuple[Sequence[Any], Mapping[str, Any]]]:
    """The tensors of `inputs` -> forward's arguments by position and by name, in the lists and dicts that it takes them
    in; None and plain numbers are those that the program was traced with."""
    from torch.utils import _pytree as tree

    tensors = {node.name for node in inputs(program)}
    given = list(program.graph_signature.user_inputs)

    def pack(values: Sequence[Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        left = iter(values)
        leaves = [next(left) if isinstance(each, str) and each in tensors else each for each in given]
        args, named = tree.tree_unflatten(leaves, program.call_spec.in_spec)
        return args, named

    return pack


def outputs(program: Any) -> tuple[list[Any], Any]:
    """The nodes that are returned, and the structure of what forward returns, with positions into them; None stays."""
    from torch.utils import _pytree as tree

    returned = next(node for node in program.graph.nodes if node.op == "output").args[0]
    skipped = len(returned) - len(program.graph_signature.user_outputs)
    nodes: list[Any] = []
    leaves: list[Any] = []
    for item in returned[skipped:]:
        if hasattr(item, "op"):
            leaves.append(len(nodes))
            nodes.append(item)
        else:
            leaves.append(None)
    order: list[int] = []
    structure = _sorted(tree.tree_unflatten(leaves, program.call_spec.out_spec), order)
    return [nodes[i] for i in order], structure


def _sorted(structure: Any, order: list[int]) -> Any:
    """A structure of positions, numbered anew with dict keys in sorted order, as Keras has them."""
    if isinstance(structure, Mapping):
        return {key: _sorted(structure[key], order) for key in sorted(structure, key=str)}
    if isinstance(structure, (list, tuple)):
        return tuple(_sorted(part, order) for part in structure)
    if structure is None:
        return None
    order.append(structure)
    return len(order) - 1


def calls(program: Any) -> list[Any]:
    """The nodes that compute tensors, in order; sizes, checks and assertions are left out."""
    return [n for n in program.graph.nodes if n.op == "call_function" and _makes_tensors(n)]


def _makes_tensors(node: Any) -> bool:
    value = node.meta.get("val")
    if isinstance(value, (tuple, list)):
        return any(hasattr(v, "shape") for v in value)
    return hasattr(value, "shape")


def shape_of(node: Any) -> tuple[Any, ...] | None:
    """The lengths of a node's tensor: numbers, or torch's symbols for what is known at run time; None for no tensor."""
    value = node.meta.get("val")
    return tuple(_length(d) for d in value.shape) if hasattr(value, "shape") else None


def _length(length: Any) -> Any:
    """A symbol that tracing has found to be a number, as that number."""
    if isinstance(length, int):
        return length
    known = length.node.maybe_as_int()
    return length if known is None else known


def results(node: Any) -> list[tuple[tuple[Any, ...], str]]:
    """The lengths and the element type of every tensor that a node gives, ((), '') for what is none."""
    value = node.meta.get("val")
    given = value if isinstance(value, (tuple, list)) else [value]
    return [(tuple(map(_length, v.shape)), _dtype(v)) if hasattr(v, "shape") else ((), "") for v in given]


def picks(node: Any) -> bool:
    """Whether a node takes one of the results of an operation that gives several."""
    return node.op == "call_function" and node.target is operator.getitem


def dtype_of(node: Any) -> str:
    """The element type of a node's tensor, 'float32'."""
    return _dtype(node.meta["val"])


def _dtype(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def operation(node: Any) -> tuple[str, bool]:
    """('relu.default', in place?) of aten, or the full name of anything else."""
    name = str(node.target)
    if not name.startswith("aten."):
        return name, False
    base, _, overload = name.removeprefix("aten.").partition(".")
    in_place = base.endswith("_") and not base.endswith("__")
    return f"{base.rstrip('_') if in_place else base}.{overload}", in_place


def arguments(node: Any) -> list[tuple[str, Any]]:
    """Every argument of aten's schema, in its order, defaults filled in; sizes are numbers or torch's symbols."""
    found: list[tuple[str, Any]] = []
    for i, parameter in enumerate(node.target._schema.arguments):
        if i < len(node.args):
            value = node.args[i]
        elif parameter.name in node.kwargs:
            value = node.kwargs[parameter.name]
        else:
            value = parameter.default_value
        found.append((parameter.name, _sizes(value)))
    return found


def _sizes(value: Any) -> Any:
    """Nodes that compute a size replaced by the size."""
    if isinstance(value, (list, tuple)):
        return tuple(_sizes(v) for v in value)
    if hasattr(value, "op") and hasattr(value, "meta") and not _makes_tensors(value):
        value = value.meta.get("val")
    return _length(value) if hasattr(value, "node") and not hasattr(value, "op") else value


def memory(program: Any) -> dict[str, str]:
    """Node -> the first node of those that may share its memory."""
    found: dict[str, str] = {}
    for node in program.graph.nodes:
        source: Any = node.args[0] if node.op == "call_function" and node.args else None
        name, in_place = operation(node)
        shares = in_place or name.partition(".")[0] in VIEWS
        found[node.name] = found[source.name] if shares and hasattr(source, "op") else node.name
    return found
