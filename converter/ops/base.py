"""What an op is, and the registries that all ops enter by being defined.

One class stands for one ONNX operator (or one function of the domain `kconvert`). Its annotated fields are the
operator's attributes, with the spec's names and defaults; a field made by `operand` is one that ONNX passes as a
constant input. Methods say what the op becomes in each target; static methods marked `keras_layer` or
`keras_operation` say which Keras construct it is captured from, those marked `torch_operation` which of PyTorch's.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar, dataclass_transform

import numpy as np
import onnx_ir as ir

from converter.ops import schema
from converter.ops.records import Record, Ref
from converter.ops.schema import DOMAIN as DOMAIN
from converter.ops.schema import OPSET as OPSET
from converter.ops.schema import Dims as Dims
from converter.ops.schema import Type as Type

EXACT = "exact"
"""Key of a constant's meta under which its float64 numbers stand, where the graph holds them rounded."""

Perm = tuple[int, ...]
F = TypeVar("F", bound=Callable[..., Any])

REGISTRY: dict[tuple[str, str], type[Op]] = {}
KERAS_LAYERS: dict[str, Callable[..., Any]] = {}
KERAS_MASKS: dict[str, Callable[..., Any]] = {}
KERAS_OPERATIONS: dict[str, Callable[..., Any]] = {}
KERAS_ACTIVATIONS: dict[str, Callable[..., Any]] = {}
TORCH_OPERATIONS: dict[str, Callable[..., Any]] = {}
VETS: dict[tuple[str, str], Vet] = {}
"""('layer' or 'operation', name of the Keras class) -> what is refused of it by its options."""


class Refusal(Exception):
    """Raised by a capture: this layer or option has no mapping. `why` and `todo` go to the user."""

    def __init__(self, why: str, todo: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.todo = todo
        self.inside = ""
        """The class of the layer inside the layer at hand that is refused, '' for that layer itself."""


class Given(NamedTuple):
    """A tensor among the arguments of a call, as far as a configuration tells of it: its lengths, with the batch."""

    shape: Dims
    dtype: str


Options = Callable[[str], Any]
"""A layer's options by name, of a live layer or of a file's configuration; None for what is not there."""

Vet = Callable[[Options, Sequence[Any]], Refusal | None]
"""What is refused of a layer by its options and, where they are known, the arguments of its call (tensors `Given`).

It is asked before a framework is imported, for files, and again before the layer is captured.
"""


class View(Protocol):
    """One node as an op sees it when it answers with source."""

    own: bool
    """True where the node is the layer itself; False for an activation argument, padding and the like."""
    trainable: bool
    """The layer's trainable flag."""
    training: dict[str, str]
    """Training facts that ONNX has no attribute for, by name, as text."""

    @property
    def outputs(self) -> int: ...
    def x(self, index: int = 0) -> Ref: ...
    def all(self) -> tuple[Ref | None, ...]: ...
    def has(self, index: int) -> bool: ...
    def value(self, index: int) -> ir.Value: ...
    def shape(self, index: int = 0) -> Dims: ...
    def out_shape(self, index: int = 0) -> Dims: ...
    def array(self, index: int) -> np.ndarray | None: ...
    def real(self, index: int) -> bool: ...


class Builder(Protocol):
    """What a function body writes nodes with."""

    def op(self, op: Op, *inputs: ir.Value | None, role: str = "", **facts: str) -> ir.Value: ...
    def several(self, op: Op, *inputs: ir.Value | None, role: str = "", **facts: str) -> tuple[ir.Value, ...]: ...
    def constant(self, data: Any, like: ir.Value | None = None) -> ir.Value: ...
    def shape(self, value: ir.Value) -> Dims: ...
    def symbols(self, value: ir.Value) -> tuple[int | str | None, ...]: ...


class Capture(Builder, Protocol):
    """What the reading of a Keras layer writes nodes with."""

    def variable(self, variable: Any, axes: Perm | None = None) -> ir.Value: ...
    def array(self, variable: Any) -> np.ndarray: ...
    def reshaped(self, value: ir.Value, shape: tuple[int, ...]) -> ir.Value: ...
    def activate(self, activation: Any, x: ir.Value, own: bool = False) -> ir.Value: ...
    def first(self, layer: Any, x: ir.Value) -> ir.Value: ...
    def last(self, layer: Any, y: ir.Value) -> ir.Value: ...
    def wrapped(self, layer: Any, *inputs: ir.Value) -> Any: ...
    def setting(self, name: str) -> Any: ...
    def note(self, text: str) -> None: ...


class TorchCapture(Builder, Protocol):
    """What the reading of a PyTorch operation writes nodes with."""

    def sizes(self, value: ir.Value) -> tuple[Any, ...]: ...
    def made(self, index: int = 0) -> tuple[Any, ...]: ...
    def made_dtype(self, index: int = 0) -> ir.DataType: ...
    def source(self, length: Any) -> tuple[ir.Value, int] | None: ...
    def frozen(self, value: ir.Value, number: float) -> bool: ...
    def statistics_kept(self) -> bool: ...
    def reshaped(self, value: ir.Value, shape: tuple[int, ...]) -> ir.Value: ...
    def transposed(self, value: ir.Value, perm: Perm) -> ir.Value: ...
    def pads(self, x: ir.Value) -> tuple[ir.Value, tuple[tuple[int, int], ...], float] | None: ...
    def note(self, text: str) -> None: ...


def takes(name: str, argument: str) -> bool:
    """Whether the row of a Keras layer takes this argument of the layer's call, by keyword.

    `masks` stands for the masks that lie beside the tensors of the first argument, None where there is none.
    """
    if name not in KERAS_LAYERS:
        return False
    found = inspect.signature(KERAS_LAYERS[name]).parameters.get(argument)
    return found is not None and found.kind == inspect.Parameter.KEYWORD_ONLY


def operand(index: int, default: Any = dataclasses.MISSING, dtype: str = "") -> Any:
    """A field that ONNX passes as constant input `index`; floats in the first input's dtype, or in `dtype`."""
    return dataclasses.field(default=default, metadata={"operand": index, "dtype": dtype})


def keras_layer(*names: str, vet: Vet | None = None) -> Callable[[F], F]:
    """Mark a static method `capture(g, layer, *inputs)` as the reading of these Keras layer classes."""
    return _mark("layer", names, vet)


def keras_mask(*names: str) -> Callable[[F], F]:
    """Mark a static method `mask(g, layer, inputs, masks)` as what these Keras layer classes make of masks.

    `inputs` are the tensors of the first argument, `masks` what lies beside them; it gives the mask beside the output
    or None. Classes without one hand on the mask of their input, as keras.Layer does.
    """
    return _mark("mask", names)


def keras_operation(*names: str, vet: Vet | None = None) -> Callable[[F], F]:
    """Mark a static method `capture(g, *args, **kwargs)` as the reading of these keras.ops operations."""
    return _mark("operation", names, vet)


def keras_activation(*names: str) -> Callable[[F], F]:
    """Mark a static method `capture(g, x)` as the reading of these functions of keras.activations."""
    return _mark("activation", names)


def torch_operation(*names: str) -> Callable[[F], F]:
    """Mark a static method `capture(g, *args)` as the reading of these aten operations, 'conv2d.default'.

    It is given every argument of aten's schema in the schema's order, defaults filled in. What works in place
    ('relu_.default') is read by the row of the name without '_'.
    """
    return _mark("torch", names)


def _mark(kind: str, names: Sequence[str], vet: Vet | None = None) -> Callable[[F], F]:
    if vet is not None:
        VETS.update({(kind, name): vet for name in names})

    def mark(function: F) -> F:
        marks = getattr(function, "__captures__", ())
        function.__captures__ = (*marks, *((kind, name) for name in names))  # type: ignore[attr-defined]
        return function

    return mark


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(operand,))
class Op:
    """One operator with its attributes; instances are values, compared by their fields."""

    domain: ClassVar[str] = ""
    neutral: ClassVar[bool] = False
    """Element by element: transposing the inputs transposes the output and changes nothing else."""
    spatial: ClassVar[bool] = False
    """The op fixes where the channel axis is: (N, C, ...) as in ONNX and PyTorch."""
    abstract: ClassVar[bool] = True

    def __init_subclass__(cls, abstract: bool = False) -> None:
        dataclasses.dataclass(frozen=True, kw_only=True)(cls)
        cls.abstract = abstract
        key = (cls.domain, cls.__name__)
        if not abstract:
            if key in REGISTRY:
                raise TypeError(f"{key} is registered twice")
            REGISTRY[key] = cls
        tables = {
            "layer": KERAS_LAYERS,
            "mask": KERAS_MASKS,
            "operation": KERAS_OPERATIONS,
            "activation": KERAS_ACTIVATIONS,
            "torch": TORCH_OPERATIONS,
        }
        for member in vars(cls).values():
            for kind, name in getattr(member, "__captures__", ()):
                if name in tables[kind]:
                    raise TypeError(f"the {kind} {name!r} is captured twice")
                tables[kind][name] = member.__func__ if isinstance(member, staticmethod) else member

    # What the op becomes -------------------------------------------------------------------------------------------

    def torch(self, n: View) -> Record:
        """The op as PyTorch source."""
        raise LookupError(f"{type(self).__name__} has no PyTorch form")

    def keras(self, n: View) -> Record:
        """The op as Keras 3 source, channels last."""
        raise LookupError(f"{type(self).__name__} has no Keras form")

    def body(self, g: Builder, *inputs: Any) -> ir.Value | tuple[ir.Value, ...]:
        """A function of the domain `kconvert` spelled in plain ONNX; an optional input that is not there is None."""
        raise LookupError(f"{type(self).__name__} is plain ONNX and has no body")

    def opened(self, g: Builder, *inputs: Any) -> ir.Value | tuple[ir.Value, ...]:
        """The op in plainer ones, channels last, for where Keras has no form of it."""
        if self.spatial:
            raise LookupError(f"{type(self).__name__} does not say what it is made of, channels last")
        return self.body(g, *inputs)

    # What the op does to shapes and layouts ------------------------------------------------------------------------

    def shape(self, *shapes: Dims) -> Dims:
        """The output's shape for the inputs' shapes; None is a length known at run time only."""
        return shapes[0]

    def dtype(self, *dtypes: ir.DataType) -> ir.DataType:
        """The output's element type."""
        return dtypes[0]

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        """What the op gives for inputs of these types; None is an optional input that is not there.

        Plain ONNX: what ONNX infers, with the constant operands that the fields hold. A function gives what its first
        input is, and says so itself where that is not true.
        """
        kinds = [t for t in types if t is not None]
        if self.domain or type(self).shape is not Op.shape or type(self).dtype is not Op.dtype:
            return (Type(self.shape(*(t.shape for t in kinds)), self.dtype(*(t.dtype for t in kinds))),)
        inputs = [None if t is None else schema.Given(t.shape, int(t.dtype)) for t in types]
        for index, content in operands_of(self).items():
            data = np.asarray(content)
            inputs.extend([None] * (index + 1 - len(inputs)))
            kind = data.dtype.newbyteorder("=") if data.dtype.kind == "f" else np.dtype(np.int64)
            made = data.astype(kind)
            inputs[index] = schema.Given(data.shape, int(ir.DataType.from_numpy(kind)), schema.numbers(made))
        found = schema.infer(type(self).__name__, attributes(self), inputs, self.count(), {})
        return tuple(Type(_dims(each.shape), ir.DataType(each.dtype)) for each in found)

    def count(self) -> int:
        """How many outputs a node of plain ONNX has: those that the schema requires, and no optional one."""
        return schema.outputs(type(self).__name__)

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        """The op on the transposed input, and how its output is transposed; None where no single op does that.

        `perm` is the argument of the transposition that the input went through, `shape` the input's shape before it.
        """
        return (self, perm) if self.neutral else None

    def with_padding(self, pairs: tuple[tuple[int, int], ...], x: ir.Value) -> Op | None:
        """The op on `x` that does what it does on `x` behind zeros; None where no single op does that.

        `pairs` are the zeros per spatial axis, (in front, behind).
        """
        return None

    absorbs_units: ClassVar[bool] = False
    """The op ends an order of units: it contracts them with a weight."""

    def unit_axes(self, index: int) -> dict[int, int] | None:
        """For (N, units) at input `index`: the constants with an axis of units, and which; None: not unit-wise.

        Element-wise ops say it by `neutral`: their constants have the units last.
        """
        return {i: -1 for i in range(8) if i != index} if self.neutral else None

    def vocabulary(self, shapes: tuple[Dims, ...], index: int) -> int | None:
        """For an input `index` that holds ids: the rows of the table that they look up; None for other inputs."""
        return None

    def units_made(self) -> dict[int, int] | None:
        """For an op that contracts to (N, units): the constant inputs with an axis of these units, and which."""
        return None

    @classmethod
    def targets(cls) -> tuple[bool, bool]:
        """Whether the class has a PyTorch form and a Keras form."""
        return cls.torch is not Op.torch, cls.keras is not Op.keras


class Function(Op, abstract=True):
    """An op of the domain `kconvert`: a layer that no single ONNX operator can say."""

    domain: ClassVar[str] = DOMAIN


def fields(op: type[Op]) -> dict[str, dataclasses.Field[Any]]:
    """The fields of an op class by name."""
    return {f.name: f for f in dataclasses.fields(op)}  # type: ignore[arg-type]


def attributes(op: Op) -> list[ir.Attr]:
    """The attributes that the op's fields stand for, as ONNX types them."""
    cls = type(op)
    names = [name for name, spec in fields(cls).items() if "operand" not in spec.metadata]
    given = {name: content for name in names if (content := getattr(op, name)) is not None}
    return [schema.attribute(cls.domain, cls.__name__, name, content) for name, content in given.items()]


def operands_of(op: Op) -> dict[int, Any]:
    """The constant inputs that the op's fields stand for, by the place of the input."""
    places = {name: s.metadata["operand"] for name, s in fields(type(op)).items() if "operand" in s.metadata}
    return {index: content for name, index in places.items() if (content := getattr(op, name)) is not None}


def kind_of(op: type[Op], index: int) -> str:
    """The dtype of the constant that a field holds for an input; '' for that of the first input."""
    found = [s.metadata["dtype"] for s in fields(op).values() if s.metadata.get("operand") == index]
    return str(found[0])


def says_outputs(op: type[Op]) -> bool:
    """Whether the class says itself what its outputs are, for ONNX cannot infer them."""
    by_hand = (op.outputs is not Op.outputs, op.shape is not Op.shape, op.dtype is not Op.dtype)
    return bool(op.domain) or any(by_hand)


def _dims(shape: Sequence[int | str | None]) -> Dims:
    return tuple(d if isinstance(d, int) else None for d in shape)


def first_of(types: Sequence[Type | None]) -> tuple[Type]:
    """The output of an op that gives what its first input is."""
    if not types or types[0] is None:
        raise ValueError("the op has no first input")
    return (types[0],)


def class_of(node: ir.Node) -> type[Op] | None:
    """The op class of a node, None where there is none."""
    return REGISTRY.get((node.domain, node.op_type))


def of(node: ir.Node) -> Op:
    """The node decoded: its attributes and constant operands as fields."""
    cls = REGISTRY[(node.domain, node.op_type)]
    found: dict[str, Any] = {}
    for name, spec in fields(cls).items():
        index = spec.metadata.get("operand")
        if index is not None:
            value = node.inputs[index] if index < len(node.inputs) else None
            if value is not None and value.const_value is not None:
                array = value.meta.get(EXACT, value.const_value.numpy())
                found[name] = array.item() if array.ndim == 0 else tuple(array.tolist())
        elif name in node.attributes:
            raw = node.attributes[name].value
            found[name] = tuple(raw) if isinstance(raw, (list, tuple)) else raw
    return cls(**found)


def moved(axis: int, perm: Perm) -> int:
    """Where an axis of the original stands after the transposition."""
    return perm.index(axis % len(perm))


def inverse(perm: Perm) -> Perm:
    """The transposition that undoes `perm`."""
    return tuple(perm.index(i) for i in range(len(perm)))


def channels_first(rank: int) -> Perm:
    """(N, ..., C) -> (N, C, ...)."""
    return (0, rank - 1, *range(1, rank - 1))


def channels_last(rank: int) -> Perm:
    """(N, C, ...) -> (N, ..., C)."""
    return (0, *range(2, rank), 1)


def broadcast(*shapes: Dims) -> Dims:
    """The shape that the shapes broadcast to; an unknown length wins over 1."""
    rank = max(len(s) for s in shapes)
    padded = [(1,) * (rank - len(s)) + tuple(s) for s in shapes]
    result: list[int | None] = []
    for lengths in zip(*padded, strict=True):
        known = [d for d in lengths if d is not None and d != 1]
        result.append(known[0] if known else (None if None in lengths else 1))
    return tuple(result)
