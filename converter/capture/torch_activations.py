"""PyTorch's activations, captured by what their classes in ops/ say of their arguments (`args`), read backwards."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import onnx_ir as ir

from converter.ops import base
from converter.ops.base import Op, Refusal, TorchCapture


def activation(name: str) -> Callable[..., ir.Value] | None:
    """The row for an activation whose class names the torch function.

    `LeakyRelu.args` is {"alpha": "negative_slope"}, so aten.leaky_relu(x, a) is LeakyRelu(alpha=a); other
    arguments must have the values in `fixed`, or the schema's defaults.
    """
    cls = functions().get(name.removesuffix(".default"))
    if cls is None or not name.endswith(".default"):
        return None
    return functools.partial(_activation, cls, name)


def _activation(cls: type[Op], name: str, g: TorchCapture, x: ir.Value, *values: Any) -> ir.Value:
    import torch

    if x.dtype is not None and not x.dtype.is_floating_point():
        raise Refusal(f"as an activation of {x.dtype.name} numbers it has no mapping.", "Cast them to floats before.")
    schema = getattr(torch.ops.aten, name.partition(".")[0]).default._schema
    settings = settings_of(cls)
    fixed = getattr(cls, "fixed", {})
    found: dict[str, Any] = {}
    for parameter, value in zip(schema.arguments[1:], values, strict=True):
        if parameter.name in settings:
            found[settings[parameter.name]] = value
        elif value != fixed.get(parameter.name, parameter.default_value):
            raise Refusal(f"{parameter.name}={value!r} has no mapping.")
    return g.op(cls(**found), x)


@functools.cache
def functions() -> dict[str, type[Op]]:
    """torch's function -> the class that becomes it."""
    named = {cls: str(getattr(cls, "function", "")) for cls in base.REGISTRY.values() if hasattr(cls, "module")}
    return {function.rsplit(".", 1)[-1]: cls for cls, function in named.items() if function}


def settings_of(cls: type[Op]) -> dict[str, str]:
    """torch's argument -> the field of the op that means the same."""
    return {argument: field for field, argument in getattr(cls, "args", {}).items()}


@functools.cache
def modules() -> dict[str, type[Op]]:
    """torch module -> the activation that it is, for those without arguments whose function torch writes out."""
    import torch

    found: dict[str, type[Op]] = {}
    for name, cls in functions().items():
        module = str(getattr(cls, "module", ""))
        if module and name not in dir(torch.ops.aten) and not hasattr(torch.ops.aten, name) and not settings_of(cls):
            found[module.removeprefix("nn.")] = cls
    return found
