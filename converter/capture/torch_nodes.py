"""The one place that reads torch.export's internals: a program's calls, weights and module paths, as data.

Public are `torch.export.export`, the program's graph and its signature; `nn_module_stack`, the call number '@1' in its
keys, and the fake tensors in `meta["val"]` are what torch.onnx itself builds on.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from converter.graph.graph import Place


@dataclass(frozen=True)
class Where:
    """The module that a call stands in: its path, its class with module, which call of it this is."""

    path: str
    cls: str
    call: int
    scope: str = ""
    """The calls of the modules around it, 'encoder#0/layers.1#0/', as Place has it."""
    place: Place | None = None
    """All that is known of it, where another walk has found the place."""

    @property
    def builtin(self) -> bool:
        """Whether the class is one of torch.nn: then the call is what the module is for."""
        return self.cls.startswith("torch.nn.")


def where(node: Any) -> Where:
    """The innermost module that a call stands in."""
    stack = _stack(node)
    return Where(*stack[-1]) if stack else Where("", "", 0)


def _stack(node: Any) -> list[tuple[str, str, int]]:
    """Path, class and call of every module around a call, from the outermost one."""
    found = []
    for key, entry in (node.meta.get("nn_module_stack") or {}).items():
        if isinstance(entry, tuple) and len(entry) == 2 and not str(key).startswith("_empty"):
            path, cls = entry
            _, _, call = str(key).rpartition("@")
            name = cls if isinstance(cls, str) else f"{cls.__module__}.{cls.__qualname__}"
            number = int(call) if call.isdigit() and "@" in str(key) else 0
            found.append((path.partition("@")[0], name, number))
    return found


def modules(program: Any) -> Callable[[Any], Where]:
    """The innermost module around a call with the scope that it stands in.

    A scope is every module that has others inside, and every class that is not torch's own: its calls are its body.
    """
    graphs = [m.graph for m in program.graph_module.modules() if hasattr(m, "graph")]
    outer = {path for graph in graphs for node in graph.nodes for path, _, _ in _stack(node)[:-1]}

    def found(node: Any) -> Where:
        at = where(node)
        around = [(path, call) for path, cls, call in _stack(node) if path in outer or not cls.startswith("torch.nn.")]
        scope, before = "", ""
        for path, call in around:
            if path:
                inner = path.removeprefix(f"{before}.") if before else path
                scope += f"{inner.replace('/', '_').replace('#', '_')}#{call}/"
                before = path
        return replace(at, scope=scope)

    return found


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


def constants(program: Any) -> dict[str, Any]:
    """Placeholder -> tensor, for the tensors that forward itself makes of numbers."""
    lifted = program.graph_signature.inputs_to_lifted_tensor_constants
    return {placeholder: program.constants[path] for placeholder, path in lifted.items()}


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


def calls(graph: Any) -> list[Any]:
    """The nodes that compute tensors, in order; sizes, checks and assertions are left out."""
    return [n for n in graph.nodes if n.op == "call_function" and _makes_tensors(n)]


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


def works_in_place(node: Any) -> bool:
    """Whether a call changes its first argument."""
    return operation(node)[1]


def symbolic(node: Any) -> tuple[str, dict[str, Any], list[Any]] | None:
    """The name, attributes and inputs of a module that was kept whole as one of torch.onnx.ops' symbolic operations."""
    if not str(node.target).startswith("onnx_symbolic."):
        return None
    inputs, name = node.args[:2]
    given = node.kwargs
    pools = {"i": given["attr_ints"], "f": given["attr_floats"], "s": given["attr_strs"]}
    found: dict[str, Any] = {}
    for key, kind, (start, end) in zip(given["attr_keys"], given["attr_types"], given["attr_pos"], strict=True):
        values = list(pools[kind[0]][start:end])
        found[key] = tuple(values) if kind.endswith("s") and len(kind) > 1 else values[0]
    return f"{given.get('domain', '')}::{name}", found, list(inputs)
