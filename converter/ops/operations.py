"""keras.ops operations that are activations or moves: the readings that belong to no op of their own."""

from __future__ import annotations

import re
from typing import Any

import onnx_ir as ir

from converter.ops.base import KERAS_ACTIVATIONS, Capture, Op, Refusal, keras_operation

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


class _Operations(Op, abstract=True):
    """No op of its own."""

    @keras_operation(*FUNCTIONS)
    @staticmethod
    def activation(g: Capture, operation: Any, x: ir.Value) -> Any:
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(operation).__name__).lower()
        row = KERAS_ACTIVATIONS.get(name)
        if row is None:
            raise Refusal(f"the activation {name!r} has no mapping.")
        return row(g, x)
