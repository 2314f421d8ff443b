"""A PyTorch model captured into the graph: the calls of its exported program, each written by the row of its operation.

torch.export's own graph is walked as it is, not decomposed: it still holds dropout, batch_norm with its momentum,
flatten, and the path and class of the module around every call.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from converter import advice
from converter.capture import torch_nodes
from converter.capture.captured import Captured
from converter.errors import BadInput, Item, Unsupported, UsageError
from converter.graph.graph import GraphBuilder, Place, array, origin
from converter.ops import base
from converter.ops.base import TORCH_OPERATIONS, Op, Refusal
from converter.ops.pad import Pad


def to_numpy(tensor: Any) -> np.ndarray:
    """A tensor's numbers on the CPU, without a copy where they lie there."""
    import torch

    plain = tensor.detach().cpu()
    if plain.dtype == torch.bfloat16:
        import ml_dtypes

        made: np.ndarray = plain.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
        return made
    array_: np.ndarray = plain.resolve_conj().resolve_neg().numpy()
    return array_


class TorchGraph(GraphBuilder):
    """The builder that the torch_operation functions of ops/ write with."""

    def __init__(self, notes: list[Any]) -> None:
        super().__init__("model")
        self.to_numpy = to_numpy
        self.notes = notes
        self.lengths: dict[int, tuple[Any, ...]] = {}
        self.result: tuple[Any, ...] = ()
        self.alone: set[int] = set()

    def sizes(self, value: ir.Value) -> tuple[Any, ...]:
        """The lengths of a value: numbers, and torch's symbols for what is known at run time only."""
        return self.lengths.get(id(value)) or self.shape(value)

    def made(self) -> tuple[Any, ...]:
        """The lengths of what the operation at hand gives."""
        return self.result

    def frozen(self, value: ir.Value, number: float) -> bool:
        """Whether a value is a weight that is not trained and holds nothing but this number."""
        known, data = origin(value), array(value)
        return known is not None and not known.trainable and data is not None and bool((data == number).all())

    def statistics_kept(self) -> bool:
        """Whether the module at hand is a batch normalisation that keeps its statistics while the model trains."""
        return not self.place.trainable

    def pads(self, x: ir.Value) -> tuple[ir.Value, tuple[tuple[int, int], ...], float] | None:
        """What lies before a padding of the spatial axes that nothing else reads, the padded elements, their value."""
        node = x.producer()
        if node is None or node.op_type != "Pad" or id(x) not in self.alone or node.inputs[0] is None:
            return None
        op = base.of(node)
        if not isinstance(op, Pad) or (pairs := op.spatial_pairs()) is None:
            return None
        return node.inputs[0], pairs, float(op.constant_value or 0.0)

    def note(self, text: str) -> None:
        """Something the user should know about the module at hand."""
        self.notes.append((self.place.path or "the model", text))


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
    g = TorchGraph(notes)
    walk = _Walk(g, program)
    walk.run()
    if walk.items:
        raise Unsupported(walk.items)
    returned, structure = torch_nodes.outputs(program)
    if not returned:
        raise Unsupported([Item("forward", "output", "the model returns no tensor.")])
    for node in returned:
        value = walk.values.get(node.name)
        if value is None or node.name in walk.weights:
            raise Unsupported([Item(node.name, "output", "the model returns a weight, which no input reaches.")])
        g.graph.outputs.append(value)
    g.remove_unused()
    return Captured(g, structure, torch_nodes.inputs(program), notes, torch_nodes.packer(program))


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
        return torch_nodes.export(model, args or (), kwargs, dynamic, notes)
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BadInput(f"torch.export cannot trace the model with these example inputs: {first}") from error


class _Walk:
    def __init__(self, g: TorchGraph, program: Any) -> None:
        self.g = g
        self.program = program
        self.values: dict[str, ir.Value | None] = {}
        self.weights = torch_nodes.weights(program)
        self.shared: dict[Any, Any] = {}
        self.memory = torch_nodes.memory(program)
        self.items: list[Item] = []
        self.refused: set[str] = set()

    def run(self) -> None:
        """Write every call; what cannot be written is kept in `items`."""
        for node in torch_nodes.inputs(self.program):
            shape = torch_nodes.shape_of(node) or ()
            lengths = [d if isinstance(d, int) else (f"{node.name}_{i}" if i else "N") for i, d in enumerate(shape)]
            kind = _kind(torch_nodes.dtype_of(node))
            if shape and isinstance(shape[0], int):
                why = f"the program has the fixed batch size {shape[0]}, and was compared with no other"
                self.g.notes.append((node.name, why))
            self._keep(node, self.g.input(node.name, lengths, kind))
        wholes = _wholes(self.program)
        for node in torch_nodes.calls(self.program):
            if node.name in wholes:
                if wholes[node.name] is not None:
                    self._call(node, *wholes[node.name])
                continue
            self._call(node, None, None)

    def _call(self, node: Any, whole: type[Op] | None, source: Any) -> None:
        """One call, or a module whose calls together are one op."""
        at = torch_nodes.where(node)
        name, in_place = torch_nodes.operation(node)
        kept = "FrozenBatchNorm" in at.cls
        place = Place(at.path, at.cls.rsplit(".", 1)[-1], at.call, not kept)
        self.g.result = torch_nodes.shape_of(node) or ()
        try:
            with self.g.at(place), self.g.role("" if at.builtin else name.partition(".")[0]):
                if whole is not None:
                    made = self.g.op(whole(), self._value(source))
                else:
                    row = TORCH_OPERATIONS.get(name) or activation(name)
                    if row is None:
                        raise Refusal("there is no mapping for this operation.", advice.of_torch(name))
                    made = row(self.g, *[self._value(v) for _, v in torch_nodes.arguments(node)])
        except Refusal as refusal:
            before: Any = node.args[0] if node.args else None
            if not (name.endswith("getitem>") and getattr(before, "name", "") in self.refused):
                self.items.append(Item(at.path or "forward", name, refusal.why, refusal.todo))
            self.refused.add(node.name)
            made = self._unknown(node)
        if in_place:
            self._overwrite(node, made)
        self._keep(node, made)

    def _keep(self, node: Any, made: Any) -> None:
        self.values[node.name] = made
        if isinstance(made, ir.Value):
            self.g.lengths[id(made)] = torch_nodes.shape_of(node) or ()
            if len(node.users) == 1:
                self.g.alone.add(id(made))

    def _overwrite(self, node: Any, made: Any) -> None:
        """Whatever is read later and shares the memory of what was overwritten has the new numbers."""
        before = self.values[node.args[0].name]
        order = {n.name: i for i, n in enumerate(self.program.graph.nodes)}
        for other in self.program.graph.nodes:
            if other.name == node.name or self.memory[other.name] != self.memory[node.name]:
                continue
            if not any(order[user.name] > order[node.name] for user in other.users):
                continue
            if self.values.get(other.name) is before:
                self.values[other.name] = made
            elif other.name in self.values:
                at = torch_nodes.where(node).path or "forward"
                why = "it changes a tensor in place of which a view is read later."
                self.items.append(Item(at, torch_nodes.operation(node)[0], why, "Use the form that is not in place."))

    def _value(self, argument: Any) -> Any:
        if isinstance(argument, tuple):
            return tuple(self._value(a) for a in argument)
        if not hasattr(argument, "op"):
            return argument
        if argument.name not in self.values and argument.name in self.weights:
            path, tensor = self.weights[argument.name]
            tensor = self.shared.setdefault(torch_nodes.storage(tensor), tensor)
            self._keep(argument, self.g.weight(tensor, path=path, trainable=bool(tensor.requires_grad)))
        value = self.values.get(argument.name)
        if value is None:
            raise Refusal(f"it reads {argument.name!r}, which is no tensor of the graph.")
        return value

    def _unknown(self, node: Any) -> ir.Value:
        """A stand-in for what a refused call would give, so that the walk can find everything else it must refuse."""
        shape = torch_nodes.shape_of(node) or ()
        kind = ir.DataType.FLOAT if not hasattr(node.meta.get("val"), "dtype") else None
        kind = kind or _kind(torch_nodes.dtype_of(node))
        lengths = [d if isinstance(d, int) else ir.SymbolicDim(None) for d in shape]
        return ir.Value(name=node.name, shape=ir.Shape(lengths), type=ir.TensorType(kind))


def _kind(name: str) -> ir.DataType:
    try:
        return ir.DataType.from_numpy(np.dtype(name))
    except TypeError as error:
        raise Unsupported([Item("forward", name, "there is no mapping for this dtype.")]) from error


# Activations: captured by what their classes say they become ------------------------------------------------------


def activation(name: str) -> Callable[..., ir.Value] | None:
    """The row for an activation whose class names the torch function; the inverse of its `settings()`.

    `Elu(alpha=a).settings()` is {'alpha': a}, so aten.elu(x, alpha=a) is Elu(alpha=a); other arguments must have the
    schema's defaults.
    """
    cls = _functions().get(name.removesuffix(".default"))
    if cls is None or not name.endswith(".default"):
        return None
    return functools.partial(_activation, cls, name)


def _activation(cls: type[Op], name: str, g: TorchGraph, x: ir.Value, *values: Any) -> ir.Value:
    import torch

    if x.dtype is not None and not x.dtype.is_floating_point():
        raise Refusal(f"as an activation of {x.dtype.name} numbers it has no mapping.", "Cast them to floats before.")
    schema = getattr(torch.ops.aten, name.partition(".")[0]).default._schema
    settings = settings_of(cls)
    fixed = _settings(cls)
    found: dict[str, Any] = {}
    for parameter, value in zip(schema.arguments[1:], values, strict=True):
        if parameter.name in settings:
            found[settings[parameter.name]] = value
        elif value != fixed.get(parameter.name, parameter.default_value):
            raise Refusal(f"{parameter.name}={value!r} has no mapping.")
    return g.op(cls(**found), x)


@functools.cache
def _functions() -> dict[str, type[Op]]:
    """torch's function -> the class that becomes it."""
    named = {cls: str(getattr(cls, "function", "")) for cls in base.REGISTRY.values() if hasattr(cls, "module")}
    return {function.rsplit(".", 1)[-1]: cls for cls, function in named.items() if function}


def _settings(cls: type[Op], **fields: Any) -> dict[str, Any]:
    made: Any = cls(**fields)
    return dict(made.settings()) if hasattr(made, "settings") else {}


def settings_of(cls: type[Op]) -> dict[str, str]:
    """torch's argument -> the field of the op, read off `settings()` with a value that stands nowhere else."""
    found: dict[str, str] = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        mark: Any = "mark" if field.type == "str" else 0.7071067811865476
        given = _settings(cls, **{field.name: mark})
        found |= {key: field.name for key, value in given.items() if value == mark}
    return found


@functools.cache
def _modules() -> dict[str, type[Op]]:
    """torch module -> the activation that it is, for those without arguments whose function torch writes out."""
    import torch

    found: dict[str, type[Op]] = {}
    for name, cls in _functions().items():
        module = str(getattr(cls, "module", ""))
        if module and name not in dir(torch.ops.aten) and not hasattr(torch.ops.aten, name) and not settings_of(cls):
            found[module.removeprefix("nn.")] = cls
    return found


def _wholes(program: Any) -> dict[str, Any]:
    """The calls of modules that are one op but leave several nodes: the last -> (class, input), the others -> None."""
    groups: dict[tuple[str, str, int], list[Any]] = {}
    for node in torch_nodes.calls(program):
        at = torch_nodes.where(node)
        if at.builtin and at.cls.rsplit(".", 1)[-1] in _modules():
            groups.setdefault((at.path, at.cls, at.call), []).append(node)
    found: dict[str, Any] = {}
    for (_, cls, _), nodes in groups.items():
        names = {node.name for node in nodes}
        sources = {a.name: a for n in nodes for a in n.all_input_nodes if a.name not in names}
        if len(sources) == 1:
            found |= dict.fromkeys(names)
            found[nodes[-1].name] = (_modules()[cls.rsplit(".", 1)[-1]], next(iter(sources.values())))
    return found
