"""What an op is, and the registries that all ops enter by being defined.

One class stands for one ONNX operator (or one function of the domain `kconvert`). Its annotated fields are the
operator's attributes, with the spec's names (see `attribute_of`) and defaults; a field made by `operand` is one that
ONNX passes as a constant input. Methods say what the op becomes in each target; static methods marked `keras_layer` or
`keras_operation` say which Keras construct it is captured from, those marked `torch_operation` which of PyTorch's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, dataclass_transform

import numpy as np
import onnx_ir as ir

from converter.ops import schema
from converter.ops.axes import Perm as Perm
from converter.ops.axes import broadcast as broadcast
from converter.ops.axes import channels_first as channels_first
from converter.ops.axes import channels_last as channels_last
from converter.ops.axes import inverse as inverse
from converter.ops.axes import moved as moved
from converter.ops.captures import KERAS_ACTIVATIONS as KERAS_ACTIVATIONS
from converter.ops.captures import KERAS_LAYERS as KERAS_LAYERS
from converter.ops.captures import KERAS_MASKS as KERAS_MASKS
from converter.ops.captures import KERAS_OPENED as KERAS_OPENED
from converter.ops.captures import KERAS_OPERATIONS as KERAS_OPERATIONS
from converter.ops.captures import TORCH_OPERATIONS as TORCH_OPERATIONS
from converter.ops.captures import VETS as VETS
from converter.ops.captures import Given as Given
from converter.ops.captures import Options as Options
from converter.ops.captures import Refusal as Refusal
from converter.ops.captures import Vet as Vet
from converter.ops.captures import keras_activation as keras_activation
from converter.ops.captures import keras_layer as keras_layer
from converter.ops.captures import keras_mask as keras_mask
from converter.ops.captures import keras_operation as keras_operation
from converter.ops.captures import takes as takes
from converter.ops.captures import torch_operation as torch_operation
from converter.ops.records import Record, Ref
from converter.ops.schema import DOMAIN as DOMAIN
from converter.ops.schema import OPSET as OPSET
from converter.ops.schema import Dims as Dims
from converter.ops.schema import Type as Type

EXACT = "exact"
"""Key of a constant's meta under which its float64 numbers stand, where the graph holds them rounded."""

LAST = "kconvert.last"
"""Metadata of a node of a spatial op that reads and gives channels last."""

REGISTRY: dict[tuple[str, str], type[Op]] = {}


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
    def nested(self, name: str) -> Any: ...
    def shape(self, value: ir.Value) -> Dims: ...
    def symbols(self, value: ir.Value) -> tuple[int | str | None, ...]: ...


class Capture(Builder, Protocol):
    """What the reading of a Keras layer writes nodes with."""

    def variable(self, variable: Any, axes: Perm | None = None) -> ir.Value: ...
    def array(self, variable: Any) -> np.ndarray: ...
    def reshaped(self, value: ir.Value, shape: tuple[int, ...]) -> ir.Value: ...
    def transposed(self, value: ir.Value, perm: Perm) -> ir.Value: ...
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


def operand(index: int, default: Any = dataclasses.MISSING, dtype: str = "", computed: bool = False) -> Any:
    """A field that ONNX passes as constant input `index`; floats in the first input's dtype, or in `dtype`.

    With `computed` the input may be a computed one as well, for which the field is its default.
    """
    return dataclasses.field(default=default, metadata={"operand": index, "dtype": dtype, "computed": computed})


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(operand,))
class Op:
    """One operator with its attributes; instances are values, compared by their fields."""

    domain: ClassVar[str] = ""
    neutral: ClassVar[bool] = False
    """Element by element: transposing the inputs transposes the output and changes nothing else."""
    spatial: ClassVar[bool] = False
    """The op fixes where the channel axis is: (N, C, ...) as in ONNX and PyTorch."""
    keeps_ids: ClassVar[bool] = False
    """What comes out are numbers that came in, ids still."""
    nonnegative: ClassVar[str] = ""
    """'always': no element is below 0; 'kept': none is where none of the values that come in has one."""
    before_loss: ClassVar[str] = ""
    """What it is called, for an op at the end of which PyTorch's losses want the logits before it."""
    kernels: ClassVar[tuple[int, ...]] = ()
    """Inputs that are weights, which have no layout, also where they are computed."""
    refuses: ClassVar[Mapping[str, str]] = {}
    """Attributes and inputs of the operator that no field stands for, and what the op does not do because of it."""
    reads: ClassVar[frozenset[str]] = frozenset()
    """Optional inputs of the operator that the op takes as values, by the schema's names: biases, states."""
    abstract: ClassVar[bool] = True

    def __init_subclass__(cls, abstract: bool = False) -> None:
        dataclasses.dataclass(frozen=True, kw_only=True)(cls)
        cls.abstract = abstract
        if vars(cls).keys() & {"shape", "dtype"}:
            raise TypeError(f"{cls.__name__}: what an op gives is said by outputs(), not by shape() and dtype()")
        key = (cls.domain, cls.__name__)
        if taken := {f.name for f in dataclasses.fields(cls)} & vars(Op).keys():  # type: ignore[arg-type]
            raise TypeError(f"{cls.__name__}: every op has a {sorted(taken)} of its own, see attribute_of()")
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

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        """What the op gives for inputs of these types; None is an optional input that is not there.

        Plain ONNX: what ONNX infers, with the constant operands that the fields hold. A function gives what its first
        input is, broadcast with the others where it is `neutral`; where that is not true it says so itself.
        """
        if self.domain:
            (first,) = first_of(types)
            return (Type(broadcast(*(t.shape for t in there(types))), first.dtype) if self.neutral else first,)
        inputs = [None if t is None else schema.Given(tuple(map(_symbol, t.shape)), int(t.dtype)) for t in types]
        for index, content in operands_of(self).items():
            data = np.asarray(content)
            inputs.extend([None] * (index + 1 - len(inputs)))
            kind = data.dtype if data.dtype.kind == "f" else np.dtype(np.int64)
            known = schema.numbers(data.astype(kind))
            inputs[index] = schema.Given(data.shape, int(ir.DataType.from_numpy(kind)), known)
        found = schema.infer(type(self).__name__, attributes(self), inputs, self.count(), {})
        named = any(isinstance(d, ir.SymbolicDim) for t in there(types) for d in t.shape)
        return tuple(Type(_dims(each.shape, named), ir.DataType(each.dtype)) for each in found)

    def count(self) -> int:
        """How many outputs a node of plain ONNX has: those that the schema requires, and no optional one."""
        return schema.outputs(type(self).__name__)

    def nonnegative_when(self) -> str:
        """`nonnegative`, as the op's settings have it."""
        return self.nonnegative

    @classmethod
    def complete(cls, found: dict[str, Any], shapes: Sequence[Dims]) -> dict[str, Any]:
        """The fields of a node, with those that ONNX leaves to the shapes of its inputs: all axes, a kernel's size."""
        return found

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
    given = {attribute_of(name): content for name in names if (content := getattr(op, name)) is not None}
    return [schema.attribute(cls.domain, cls.__name__, name, content) for name, content in given.items()]


def attribute_of(field: str) -> str:
    """The attribute that a field stands for: `body_` is Scan's `body`, a name that every op has for its own."""
    return field.removesuffix("_")


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
    return bool(op.domain) or op.outputs is not Op.outputs


def _symbol(length: Any) -> int | str | None:
    return length.value if isinstance(length, ir.SymbolicDim) else length


def _dims(shape: Sequence[int | str | None], named: bool) -> Dims:
    """Lengths; those with a name as onnx-ir's symbols, where the inputs had such."""
    made: Any = [d if isinstance(d, int) else ir.SymbolicDim(d) if named else None for d in shape]
    return tuple(made)


def first_of(types: Sequence[Type | None]) -> tuple[Type]:
    """The output of an op that gives what its first input is."""
    if not types or types[0] is None:
        raise ValueError("the op has no first input")
    return (types[0],)


def there(types: Sequence[Type | None]) -> list[Type]:
    """The inputs that are there."""
    return [t for t in types if t is not None]


def class_of(node: ir.Node) -> type[Op] | None:
    """The op class of a node, None where there is none."""
    return REGISTRY.get((node.domain, node.op_type))


def of(node: ir.Node) -> Op:
    """The node decoded: its attributes and constant operands as fields.

    Raises LookupError, with the reason, where the node asks for something that the class has no field for.
    """
    cls = class_of(node)
    if cls is None:
        raise LookupError(f"there is no mapping for the operator {node.op_type}")
    declared = fields(cls)
    names = {attribute_of(name): name for name, spec in declared.items() if "operand" not in spec.metadata}
    found: dict[str, Any] = {}
    for name, attribute in node.attributes.items():
        raw = attribute.value
        content = tuple(raw) if isinstance(raw, (list, tuple)) else raw
        if name in names:
            found[names[name]] = content
        elif cls.domain or content != schema.default(cls.__name__, name):
            raise LookupError(_asks(cls, name, f"{name}={content!r}"))
    places = {spec.metadata["operand"]: name for name, spec in declared.items() if "operand" in spec.metadata}
    for index, value in enumerate(node.inputs):
        if value is None or (index not in places and (cls.domain or index < schema.plain_inputs(cls.__name__))):
            continue
        formal = schema.input_name(cls.__name__, index)
        if index not in places:
            if formal not in cls.reads:
                raise LookupError(_asks(cls, formal, formal or f"{index + 1} inputs"))
        elif value.const_value is not None:
            array = value.meta.get(EXACT, value.const_value.numpy())
            found[places[index]] = array.item() if array.ndim == 0 else tuple(array.tolist())
        elif not declared[places[index]].metadata["computed"]:
            raise LookupError(f"{cls.__name__} takes a constant for {formal}, and here it is computed")
    if cls.complete is not Op.complete:
        shapes = [() if v is None or v.shape is None else _dims(schema.given(v).shape, False) for v in node.inputs]
        if LAST in node.metadata_props and shapes and shapes[0]:
            shapes[0] = (shapes[0][0], shapes[0][-1], *shapes[0][1:-1])
        found = cls.complete(found, shapes)
    return cls(**found)


def _asks(cls: type[Op], name: str, what: str) -> str:
    why = cls.refuses.get(name, "")
    return f"{cls.__name__} with {what} has no mapping" + (f": {why}" if why else "")
