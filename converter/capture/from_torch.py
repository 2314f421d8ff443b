"""A PyTorch model captured into the graph: the calls of its exported program, each written by the row of its operation.

torch.export's own graph is walked as it is, not decomposed: it still holds dropout, batch_norm with its momentum,
flatten, and the path and class of the module around every call.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir

from converter.capture import torch_export, torch_leaves, torch_nodes, torch_walk
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

    The first axis of every example is the batch; `dynamic` replaces that, as torch_export.export takes it.
    Raises Unsupported with every call that has no mapping, UsageError without example inputs.
    """
    notes: list[Any] = []
    program: Any = model
    names: torch_export.Names = []
    calls: list[torch_leaves.Call] = []
    if _is_module(model):
        with torch_leaves.kept(model) as calls:
            program, names = _exported(model, example_inputs, example_kwargs, dynamic, notes)
    returned, structure = torch_nodes.outputs(program)
    if not returned:
        raise Unsupported([Item("forward", "output", "the model returns no tensor.")])
    g = GraphBuilder("model")
    g.to_numpy = to_numpy
    g.notes = notes
    given = _inputs(g, torch_nodes.inputs(program), names)
    made = torch_walk.write(g, program, given, Place("", ""), kept=calls)
    for node, value in zip(returned, made, strict=True):
        if value.const_value is not None:
            raise Unsupported([Item(node.name, "output", "the model returns a weight, which no input reaches.")])
        g.graph.outputs.append(value)
    g.remove_unused()
    return Captured(g, structure, torch_nodes.inputs(program), notes, pack=torch_nodes.packer(program))


def _inputs(g: GraphBuilder, nodes: Sequence[Any], names: torch_export.Names) -> list[ir.Value]:
    """The graph's inputs for the placeholders. Lengths that are known at run time only have names: what torch says of
    the lengths counts, not what was asked for."""
    shapes = [torch_nodes.shape_of(node) or () for node in nodes]
    known: dict[str, str] = {}
    for shape, named in zip(shapes, names, strict=False):
        known |= {str(shape[axis]): name for axis, name in named.items() if str(shape[axis]) not in known}
    made = []
    for node, shape in zip(nodes, shapes, strict=True):
        for axis, length in enumerate(shape):
            if not isinstance(length, int):
                batch = axis == 0 and "N" not in known.values()
                known.setdefault(str(length), "N" if batch else f"{node.name}_{axis}")
        if shape and isinstance(shape[0], int):
            why = f"the program has the fixed batch size {shape[0]}, and was compared with no other"
            g.notes.append((node.name, why))
        lengths = [d if isinstance(d, int) else known[str(d)] for d in shape]
        made.append(g.input(node.name, lengths, kind(torch_nodes.dtype_of(node))))
    return made


def _is_module(model: Any) -> bool:
    import torch

    return isinstance(model, torch.nn.Module)


def _exported(
    model: Any, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None, dynamic: Any, notes: list[Any]
) -> tuple[Any, torch_export.Names]:
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
    except UsageError:
        raise
    except Exception as error:
        first, *rest = str(error).strip().splitlines() or [type(error).__name__]
        told = " ".join([first, *(line.strip() for line in rest if line.strip().startswith("- "))][:4])
        raise BadInput(f"torch.export cannot trace the model with these example inputs: {told}") from error
