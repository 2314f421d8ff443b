"""What ONNX's own schemas say of an op: the types of its attributes, its inputs, and by inference its outputs."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx.defs
import onnx.helper
import onnx.shape_inference
import onnx_ir as ir

OPSET = 23
DOMAIN = "kconvert"
SMALL = 64
"""Elements of a constant input whose numbers inference is told: shapes, axes, scales."""

Dims = tuple[int | None, ...]


class Type(NamedTuple):
    """What a value is: its lengths, None where one is known at run time only, and its element type."""

    shape: Dims
    dtype: ir.DataType


class Given(NamedTuple):
    """An input as inference is told of it: a string names a length that is known at run time only."""

    shape: tuple[int | str | None, ...]
    dtype: int
    data: bytes = b""
    """The numbers of a small constant, as a serialised TensorProto."""


@functools.cache
def of(name: str) -> onnx.defs.OpSchema | None:
    """The schema of an operator of ONNX's own domain; None where there is no such operator."""
    try:
        return onnx.defs.get_schema(name, OPSET)
    except onnx.defs.SchemaError:
        return None


@functools.cache
def default(name: str, attribute: str) -> Any:
    """What an attribute is where a node does not say it; None where it is nothing, or there is no such attribute."""
    schema = of(name)
    known = schema.attributes.get(attribute) if schema is not None else None
    content = (
        onnx.helper.get_attribute_value(known.default_value) if known is not None and known.default_value.name else None
    )
    content = content.decode() if isinstance(content, bytes) else content
    return tuple(content) if isinstance(content, list) else content


@functools.cache
def plain_inputs(name: str) -> int:
    """How many inputs every node has; with one of any number, more than a node can have."""
    schema = of(name)
    if schema is None:
        return 0
    variadic = any(each.option == onnx.defs.OpSchema.FormalParameterOption.Variadic for each in schema.inputs)
    return schema.max_input if variadic else schema.min_input


@functools.cache
def input_name(name: str, index: int) -> str:
    """What the schema calls an input; '' for one that there is not."""
    schema = of(name)
    names = [each.name for each in schema.inputs] if schema is not None else []
    return names[index] if index < len(names) else ""


@functools.cache
def outputs(name: str) -> int:
    """How many outputs a node has that asks for none of the optional ones."""
    schema = of(name)
    return max(schema.min_output, 1) if schema is not None else 1


def attribute(domain: str, op: str, name: str, content: Any) -> ir.Attr:
    """One attribute, of the type that the schema says; by its content for a function."""
    schema = of(op) if domain == "" else None
    kind = None
    if schema is not None and name in schema.attributes:
        kind = ir.AttributeType[schema.attributes[name].type.name]  # type: ignore[attr-defined]
    elif isinstance(content, (list, tuple)) and not content:
        kind = ir.AttributeType.INTS
    elif isinstance(content, bool):
        content = int(content)
    return ir.convenience.convert_attribute(name, content, kind)


def given(value: ir.Value) -> Given:
    """A value of the graph as inference is told of it."""
    if value.shape is None or value.dtype is None:
        raise ValueError(f"the value {value.name!r} has no shape or no dtype")
    shape = tuple(d if isinstance(d, int) else d.value for d in value.shape.dims)
    tensor = value.const_value
    if tensor is None or tensor.size > SMALL or len(shape) > 1:
        return Given(shape, int(value.dtype))
    return Given(shape, int(value.dtype), numbers(tensor.numpy()))


def numbers(array: np.ndarray) -> bytes:
    """An array as a serialised TensorProto."""
    made: bytes = ir.to_proto(ir.Tensor(np.asarray(array, order="C"))).SerializeToString()
    return made


class Refused(ValueError):
    """ONNX refuses the inputs of a node: their dtypes, or their shapes."""


def infer(
    op: str, attributes: Sequence[ir.Attr], inputs: Sequence[Given | None], count: int, outer: Mapping[str, Given]
) -> list[Given]:
    """The outputs of a node of ONNX's own domain; `outer` are the values that graphs among its attributes capture.

    Raises Refused where ONNX refuses the inputs, ValueError where it cannot say how many axes an output has.
    """
    return list(_infer(op, tuple(map(_Content, attributes)), tuple(inputs), count, tuple(outer.items())))


PLAIN = frozenset(
    getattr(ir.AttributeType, name) for name in ("INT", "FLOAT", "STRING", "INTS", "FLOATS", "STRINGS")
)
"""Attributes whose values are compared as they are."""


class _Content:
    """An attribute, compared by what it holds."""

    def __init__(self, attribute: ir.Attr) -> None:
        self.attribute = attribute
        value = attribute.value
        plain = tuple(value) if isinstance(value, (list, tuple)) else value
        held = plain if attribute.type in PLAIN else self.proto.SerializeToString()
        self.key = (attribute.name, attribute.type, held)

    @property
    def proto(self) -> Any:
        """The attribute as ONNX has it."""
        return ir.to_proto(self.attribute)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Content) and self.key == other.key


@functools.lru_cache(maxsize=4096)
def _infer(
    op: str,
    attributes: tuple[_Content, ...],
    inputs: tuple[Given | None, ...],
    count: int,
    outer: tuple[tuple[str, Given], ...],
) -> tuple[Given, ...]:
    schema = of(op)
    if schema is None:
        raise ValueError(f"ONNX has no operator {op} in opset {OPSET}")
    known = {f"in{i}": each for i, each in enumerate(inputs) if each is not None}
    node = onnx.NodeProto(op_type=op, input=[f"in{i}" if f"in{i}" in known else "" for i in range(len(inputs))])
    node.output.extend(f"out{i}" for i in range(count))
    node.attribute.extend(each.proto for each in attributes)
    types = {name: _type(each) for name, each in (*known.items(), *outer)}
    data = {name: onnx.TensorProto.FromString(each.data) for name, each in known.items() if each.data}
    opsets = [onnx.OperatorSetIdProto(domain=domain, version=v) for domain, v in (("", OPSET), (DOMAIN, 1))]
    try:
        found = onnx.shape_inference.infer_node_outputs(schema, node, types, data, opset_imports=opsets)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        raise Refused(f"ONNX refuses the inputs of {op}: {error}") from error
    return tuple(_given(op, i, found.get(f"out{i}")) for i in range(count))


def _type(each: Given) -> onnx.TypeProto:
    made = onnx.TypeProto()
    made.tensor_type.elem_type = each.dtype
    made.tensor_type.shape.SetInParent()
    for length in each.shape:
        dim = made.tensor_type.shape.dim.add()
        if isinstance(length, int):
            dim.dim_value = length
        elif length is not None:
            dim.dim_param = length
    return made


def _given(op: str, index: int, made: onnx.TypeProto | None) -> Given:
    if made is None or not made.tensor_type.HasField("shape"):
        raise ValueError(f"ONNX cannot say how many axes output {index} of {op} has")
    return Given(tuple(_lengths(made)), made.tensor_type.elem_type)


def _lengths(made: onnx.TypeProto) -> Iterator[int | str | None]:
    for dim in made.tensor_type.shape.dim:
        yield dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
