"""keras.ops operations that are activations or moves: the readings that belong to no op of their own."""

from __future__ import annotations

import re
from typing import Any

import onnx_ir as ir

from converter.ops import refusals
from converter.ops.activations import Clip
from converter.ops.base import KERAS_ACTIVATIONS, Capture, Op, Refusal, keras_operation
from converter.ops.operands import alike, floating
from converter.ops.pad import Pad
from converter.ops.shape import Concat, Unsqueeze

FUNCTIONS = (
    "HardSigmoid",
    "HardSilu",
    "HardTanh",
    "LogSigmoid",
    "Mish",
    "Relu",
    "Relu6",
    "Selu",
    "Sigmoid",
    "Silu",
    "Softplus",
    "Softsign",
    "Tanh",
)
"""Classes of keras.ops that do what the function of keras.activations with the same name does, without options."""


SIGNED = frozenset({ir.DataType.INT8, ir.DataType.INT16, ir.DataType.INT32, ir.DataType.INT64})


class _Operations(Op, abstract=True):
    """No op of its own."""

    @keras_operation(*FUNCTIONS)
    @staticmethod
    def activation(g: Capture, operation: Any, x: ir.Value) -> Any:
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(operation).__name__).lower()
        row = KERAS_ACTIVATIONS.get(name)
        if row is None:
            raise Refusal(f"the activation {name!r} has no mapping.")
        if not floating(x) and (name != "relu" or x.dtype not in SIGNED):
            raise Refusal(f"{name} of {x.dtype} numbers has no mapping.", "Cast them to floats before.")
        return row(g, x)

    @keras_operation("Clip", vet=refusals.two_numbers)
    @staticmethod
    def clip(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        bounds = (operation.x_min, operation.x_max)
        return g.op(Clip(min=float(bounds[0]), max=float(bounds[1])), x)

    @keras_operation("Stack", vet=refusals.only_tensors)
    @staticmethod
    def stack(g: Capture, operation: Any, xs: Any) -> ir.Value:
        axis = int(operation.axis) % (len(g.shape(xs[0])) + 1)
        raised = [g.op(Unsqueeze(axes=(axis,)), x) for x in alike(g, xs)]
        return g.op(Concat(axis=axis), *raised) if len(raised) > 1 else raised[0]

    @keras_operation("Pad", vet=refusals.number_around)
    @staticmethod
    def pad(g: Capture, operation: Any, x: ir.Value, constant_values: Any = None) -> ir.Value:
        value = 0.0 if constant_values is None else constant_values
        pairs = [(int(a), int(b)) for a, b in operation.pad_width]
        if len(pairs) == 1:
            pairs *= len(g.shape(x))
        pads = (*(a for a, _ in pairs), *(b for _, b in pairs))
        return g.op(Pad(pads=pads, constant_value=float(value) if value else None), x)
