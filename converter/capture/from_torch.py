"""A PyTorch model captured into the graph: the calls of its exported program, each written by the row of its operation.

torch.export's own graph is walked as it is, not decomposed: it still holds dropout, batch_norm with its momentum,
flatten, and the path and class of the module around every call.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir

from converter.capture import torch_export, torch_nodes, torch_walk
from converter.capture.captured import Captured
from converter.capture.torch_graph import kind, to_numpy
from converter.errors import BadInput, Item, Unsupported, UsageError
from converter.graph.graph import GraphBuilder, Place


def capture(
    model: Any,
    example_inputs: Sequence[Any] | None = None,
    example_kwargs: Mapping[str, Any] | None = None,
    dynamic: Any = None,
) -> Captured:
    """Capture an nn.Module, exported with its example inputs, or an ExportedProgram.

    The first axis of every example is the batch; `dynamic` replaces that by torch.export's dynamic_shapes.
    Raises Unsupported with every call that has no mapping, UsageError without example inputs.
    """
    notes: list[Any] = []
    program = model if not _is_module(model) else _exported(model, example_inputs, example_kwargs, dynamic, notes)
    returned, structure = torch_nodes.outputs(program)
    if not returned:
        raise Unsupported([Item("forward", "output", "the model returns no tensor.")])
    g = GraphBuilder("model")
    g.to_numpy = to_numpy
    g.notes = notes
    given = [_input(g, node) for node in torch_nodes.inputs(program)]
    for node, value in zip(returned, torch_walk.write(g, program, given, Place("", "")), strict=True):
        if value.const_value is not None:
            raise Unsupported([Item(node.name, "output", "the model returns a weight, which no input reaches.")])
        g.graph.outputs.append(value)
    g.remove_unused()
    return Captured(g, structure, torch_nodes.inputs(program), notes, torch_nodes.packer(program))


def _input(g: GraphBuilder, node: Any) -> ir.Value:
    """The graph's input for a placeholder; lengths that are known at run time only have names."""
    shape = torch_nodes.shape_of(node) or ()
    lengths = [d if isinstance(d, int) else (f"{node.name}_{i}" if i else "N") for i, d in enumerate(shape)]
    if shape and isinstance(shape[0], int):
        why = f"the program has the fixed batch size {shape[0]}, and was compared with no other"
        g.notes.append((node.name, why))
    return g.input(node.name, lengths, kind(torch_nodes.dtype_of(node)))


def _is_module(model: Any) -> bool:
    import torch

    return isinstance(model, torch.nn.Module)


def _exported(
    model: Any, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None, dynamic: Any, notes: list[Any]
) -> Any:
    if args is None and not kwargs:
        raise UsageError(
            "A live nn.Module is traced, and for that it needs example inputs: "
            "convert(model, 'keras', example_inputs=(torch.zeros(1, 3, 224, 224),))."
        )
    try:
        bound = inspect.signature(model.forward).bind(*(args or ()), **(kwargs or {}))
        if kwargs:  # in the order of the signature; what it has no name for follows
            kwargs = {name: kwargs[name] for name in [*bound.arguments, *kwargs] if name in kwargs}
    except TypeError as error:
        raise UsageError(
            f"The example inputs do not fit forward{inspect.signature(model.forward)}: {error}. They are given in its "
            "order, or by name in example_kwargs."
        ) from error
    except ValueError:
        pass  # a forward that Python cannot read the parameters of: export knows better
    try:
        return torch_export.export(model, args or (), kwargs, dynamic, notes)
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BadInput(f"torch.export cannot trace the model with these example inputs: {first}") from error
