"""An ONNX graph in another float type: in float64 for onnx.reference, in float32 where a provider knows no other."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

from .compare import Array

_FLOATS = {"FLOAT": 1, "FLOAT16": 10, "DOUBLE": 11, "BFLOAT16": 16}
_WEIGHT = "kconvert.weight"
_SMALL = 4096  # constants of so many numbers are looked at one by one
# Selu's two, and what stands in formulas.
_NAMED = (1.6732632423543772, 1.0507009873554805, math.sqrt(2 / math.pi), math.pi, math.e, math.log(2), math.log(10))
_PLAIN = 10_000  # the largest product of a fraction's two numbers that makes it one that was meant
_DIGITS = 5  # a float32 that so many digits name is the number that they name


def floats_in(model: Any) -> set[str]:
    """The float types of a graph's initializers, inputs and outputs, by ONNX's names."""
    graph = model.graph
    found = {each.data_type for each in graph.initializer}
    found |= {each.type.tensor_type.elem_type for each in [*graph.input, *graph.output]}
    return {name for name, number in _FLOATS.items() if number in found}


def retyped(model: Any, to: str) -> Any:
    """A ModelProto of the same graph, its local functions inlined, in which every float is of type "DOUBLE" or "FLOAT".

    Widened constants that are no weights become the numbers that were meant, 0.1 and 1/3 and not their float32."""
    from onnx import inliner

    weights = {each.name for each in model.graph.value_info if any(p.key == _WEIGHT for p in each.metadata_props)}
    copy = inliner.inline_local_functions(model)
    _graph(copy.graph, _FLOATS[to], weights)
    return copy


def meant(value: float) -> float:
    """The number that a float32 stands for: a short decimal, a small fraction, its root, or else itself."""
    near = np.float32(value)
    decimal = _decimal(value)
    if decimal is not None:
        return decimal
    for number in _NAMED:
        if np.float32(number) == abs(near):
            return math.copysign(number, value)
    for power, back in ((1, lambda x: x), (2, math.sqrt)):
        part = Fraction(abs(value) ** power).limit_denominator(1000)
        if 0 < part.numerator * part.denominator <= _PLAIN:
            exact = math.copysign(back(float(part)), value)
            if np.float32(exact) == near:
                return exact
    return value


def _decimal(value: float) -> float | None:
    """The decimal of few digits that a float32 is; None where it is none."""
    if not math.isfinite(value) or value == 0:
        return value
    decimal = float(str(np.float32(value)))
    digits = f"{decimal:e}".split("e")[0].rstrip("0").replace(".", "").replace("-", "")
    return decimal if len(digits) <= _DIGITS else None


def _graph(graph: Any, to: int, weights: set[str]) -> None:
    for tensor in graph.initializer:
        _tensor(tensor, to, exact=tensor.name not in weights)
    for node in graph.node:
        _node(node, to)
    for values in (graph.input, graph.output, graph.value_info):
        _values(values, to)


def _node(node: Any, to: int) -> None:
    from onnx import numpy_helper

    for attribute in list(node.attribute):
        if attribute.HasField("t"):
            _tensor(attribute.t, to, exact=True)
        for tensor in attribute.tensors:
            _tensor(tensor, to, exact=True)
        for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
            _graph(graph, to, set())
        if attribute.name in ("to", "dtype") and attribute.i in _FLOATS.values():
            attribute.i = to
        if node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
            data = np.asarray(attribute.f if attribute.name == "value_float" else list(attribute.floats))
            node.attribute.remove(attribute)
            made = numpy_helper.from_array(_meant(data).astype(np.float64 if to == _FLOATS["DOUBLE"] else np.float32))
            new = node.attribute.add()
            new.name, new.type = "value", new.TENSOR
            new.t.CopyFrom(made)


def _values(values: Any, to: int) -> None:
    for value in values:
        kind = value.type.tensor_type
        if kind.elem_type in _FLOATS.values():
            kind.elem_type = to


def _tensor(tensor: Any, to: int, *, exact: bool) -> None:
    from onnx import numpy_helper

    if tensor.data_type not in _FLOATS.values() or tensor.data_type == to:
        return
    data = np.asarray(numpy_helper.to_array(tensor)).astype(np.float64)
    if to == _FLOATS["DOUBLE"] and exact and tensor.data_type == _FLOATS["FLOAT"]:
        data = _meant(data)
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(data.astype(np.float64 if to == _FLOATS["DOUBLE"] else np.float32), name))


def _meant(data: Array) -> Array:
    """A number of a formula is what it stands for; many numbers were typed as decimals, or computed in float32."""
    if data.size == 1:
        return np.full(data.shape, meant(float(data.reshape(-1)[0])))
    if data.size > _SMALL:
        return data
    decimals = [_decimal(float(each)) for each in data.reshape(-1)]
    known = [each for each in decimals if each is not None]
    return np.asarray(known, np.float64).reshape(data.shape) if len(known) == data.size else data
