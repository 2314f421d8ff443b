"""Rows of tests/torch_rows.py: PyTorch operations on numbers, element by element, over axes, and those that make them.

What takes truth values or integers makes them of the input, and floats of its answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

aten = torch.ops.aten
Row = tuple[Callable[[Any, Tensor], Tensor], tuple[int, ...]]
SHAPE = (3, 4)
GRID = torch.tensor([0.5, -0.75])


def row(function: Callable[[Tensor], Any]) -> Row:
    """A function of the input."""
    return (lambda m, x: function(x)), SHAPE


def overloads(name: str, call: Callable[[Any, Tensor], Any], *which: str) -> dict[str, Row]:
    """Overloads of one operation, each called in the same way."""

    def one(overload: str) -> Row:
        return row(lambda x: call(getattr(getattr(aten, name), overload), x))

    return {f"{name}.{overload}": one(overload) for overload in which}


def each(names: str, call: Callable[[Any, Tensor], Any], overload: str = "default") -> dict[str, Row]:
    """Operations that are called in the same way."""
    return {key: made for name in names.split() for key, made in overloads(name, call, overload).items()}


def whole(x: Tensor) -> Tensor:
    """The input as integers between about -8 and 8."""
    return (x * 4.0).to(torch.int32)


def bits(x: Tensor) -> Tensor:
    """The input as integers that are not below 0."""
    return whole(x).abs()


FLOATS = "sin cos tan sinh cosh asinh arcsinh erf special_erf erfc special_erfc expm1 special_expm1 atan arctan "
ROUNDED = "floor ceil round trunc fix frac sign sgn neg negative abs absolute square exp2 special_exp2"

NUMBERS: dict[str, Row] = {
    **each(FLOATS + ROUNDED, lambda f, x: f(x)),
    **each("log log2 log10 log1p special_log1p sqrt rsqrt reciprocal", lambda f, x: f(x.abs() + 0.5)),
    **each("asin arcsin acos arccos atanh arctanh", lambda f, x: f(torch.tanh(x))),
    **each("acosh arccosh", lambda f, x: f(x.abs() + 1.5)),
    "round.decimals": row(lambda x: torch.round(x, decimals=1)),
    **each("add sub subtract mul multiply div divide", lambda f, x: f(x, 3.0), "Scalar"),
    **each("subtract multiply divide true_divide", lambda f, x: f(x, x.exp()), "Tensor"),
    **each("div divide", lambda f, x: f(x, x.exp(), rounding_mode="trunc"), "Tensor_mode"),
    **each("div divide", lambda f, x: f(x, 0.3, rounding_mode="floor"), "Scalar_mode"),
    "floor_divide.default": row(lambda x: x // x.exp()),
    "floor_divide.Scalar": row(lambda x: aten.floor_divide.Scalar(x, 0.3)),
    **overloads("fmod", lambda f, x: f(x, x.exp()), "Tensor"),
    **overloads("fmod", lambda f, x: f(x, 0.3), "Scalar"),
    **overloads("remainder", lambda f, x: f(x, x.exp()), "Tensor"),
    **overloads("remainder", lambda f, x: f(x, 0.3), "Scalar"),
    **overloads("remainder", lambda f, x: f(0.7, x.exp()), "Scalar_Tensor"),
    **overloads("pow", lambda f, x: f(x.exp(), x), "Tensor_Tensor"),
    **overloads("pow", lambda f, x: f(x, 3), "Tensor_Scalar"),
    **overloads("pow", lambda f, x: f(2.0, x), "Scalar"),
    **each("max min", lambda f, x: f(x, x.exp()), "other"),
    **each("atan2 arctan2 hypot", lambda f, x: f(x, x.cos())),
    **overloads("copysign", lambda f, x: f(x, x.cos()), "Tensor"),
    **overloads("copysign", lambda f, x: f(x, -1.0), "Scalar"),
    **overloads("lerp", lambda f, x: f(x, x.exp(), 0.3), "Scalar"),
    **overloads("lerp", lambda f, x: f(x, x.exp(), x.cos()), "Tensor"),
    **each("addcmul addcdiv", lambda f, x: f(x, x, x.exp(), value=0.5)),
}

COMPARED = "eq ne not_equal lt less le less_equal gt greater ge greater_equal"
LOGIC: dict[str, Row] = {
    **each(COMPARED, lambda f, x: f(x, x.exp() - 1.0).float(), "Tensor"),
    **each(COMPARED, lambda f, x: f(x, 0.25).float(), "Scalar"),
    **each("logical_and logical_or logical_xor", lambda f, x: f(x > 0, x > 0.5).float()),
    "logical_not.default": row(lambda x: torch.logical_not(x > 0).float()),
    **each("isnan isinf isposinf isneginf isfinite", lambda f, x: f(x / torch.relu(x)).float()),
    **each("bitwise_and bitwise_or bitwise_xor", lambda f, x: f(bits(x), whole(x * x)).float(), "Tensor"),
    **each("__and__ __or__ __xor__", lambda f, x: f(x > 0, x > 0.5).float(), "Tensor"),
    **each("bitwise_and bitwise_or bitwise_xor __and__ __or__ __xor__", lambda f, x: f(whole(x), 3).float(), "Scalar"),
    **each("bitwise_and bitwise_or bitwise_xor", lambda f, x: f(3, whole(x)).float(), "Scalar_Tensor"),
    "bitwise_not.default": row(lambda x: torch.bitwise_not(whole(x)).float()),
    **each("bitwise_left_shift bitwise_right_shift", lambda f, x: f(whole(x), bits(x)).float(), "Tensor"),
    **each("bitwise_left_shift bitwise_right_shift", lambda f, x: f(whole(x), 2).float(), "Tensor_Scalar"),
    **each("bitwise_left_shift bitwise_right_shift", lambda f, x: f(7, bits(x)).float(), "Scalar_Tensor"),
    **each("__lshift__ __rshift__", lambda f, x: f(whole(x), bits(x)).float(), "Tensor"),
    **each("__lshift__ __rshift__", lambda f, x: f(whole(x), 2).float(), "Scalar"),
}

CHOSEN: dict[str, Row] = {
    "where.self": row(lambda x: torch.where(x > 0, x, x.exp())),
    "where.ScalarOther": row(lambda x: torch.where(x > 0, x, 0.5)),
    "where.ScalarSelf": row(lambda x: torch.where(x > 0, 0.5, x)),
    "where.Scalar": row(lambda x: torch.where(x > 0, 1.0, 2.0) * x),
    "masked_fill.Scalar": row(lambda x: x.masked_fill(x > 0, 0.5)),
    "masked_fill.Tensor": row(lambda x: x.masked_fill(x > 0, torch.tensor(0.5))),
    "to.dtype": row(lambda x: x.to(torch.int32).to(torch.float32)),
    "to.device": row(lambda x: aten.to.device(x, "cpu", torch.int32).float()),
    "to.dtype_layout": row(lambda x: aten.to.dtype_layout(x, dtype=torch.int32, layout=torch.strided).float()),
    "to.other": row(lambda x: aten.to.other(whole(x), x)),
    "type_as.default": row(lambda x: whole(x).type_as(x)),
    "_to_copy.default": row(lambda x: aten._to_copy(x, dtype=torch.int32).float()),
}

AXES: dict[str, Row] = {
    **each("sum mean prod max min amax amin", lambda f, x: f(x)),
    "sum.dim_IntList": row(lambda x: x.sum(1)),
    "mean.dim": row(lambda x: x.mean(1, keepdim=True)),
    "prod.dim_int": row(lambda x: x.prod(1)),
    **each("max min", lambda f, x: f(x, 1)[0], "dim"),
    **each("argmax argmin", lambda f, x: f(x, 1).float()),
    **each("any all", lambda f, x: f(x > 0).float()),
    **each("any all", lambda f, x: f(x > 0, 1).float(), "dim"),
    **each("any all", lambda f, x: f(x > 0, [1], True).float(), "dims"),
    **each("var std", lambda f, x: f(x)),
    **each("var std", lambda f, x: f(x, [1]), "dim"),
    **each("var std", lambda f, x: f(x, [1], correction=0), "correction"),
    **each("var_mean std_mean", lambda f, x: sum(f(x, [1], correction=0)), "correction"),
    **each("var_mean", lambda f, x: sum(f(x, [1])), "dim"),
    **each("logsumexp special_logsumexp", lambda f, x: f(x, [1])),
    "linalg_vector_norm.default": row(lambda x: torch.linalg.vector_norm(x, 2, 1)),
    "norm.Scalar": row(lambda x: aten.norm.Scalar(x, 2)),
    "norm.ScalarOpt_dim": row(lambda x: aten.norm.ScalarOpt_dim(x, 3, [1])),
    **each("cumsum cumprod", lambda f, x: f(x, 1)),
    **each("softmax log_softmax", lambda f, x: f(x, 1), "int"),
    **each("_softmax _log_softmax", lambda f, x: f(x, 1, False)),
    "sort.default": row(lambda x: x.sort(1)[0]),
    "sort.stable": row(lambda x: torch.sort(x, dim=1, stable=True, descending=True)[0]),
    "argsort.default": row(lambda x: x.argsort(1).float()),
    "argsort.stable": row(lambda x: torch.argsort(x, dim=1, stable=True).float()),
    "topk.default": row(lambda x: x.topk(2, 1)[0]),
    **each("tril triu", lambda f, x: f(x.unsqueeze(1) * x.unsqueeze(2))),
    "eye.default": row(lambda x: x[:, :, None] * torch.eye(4)),
    "eye.m": row(lambda x: x + torch.eye(1, 4)),
}

BOUNDED: dict[str, Row] = {
    **each("clamp clip", lambda f, x: f(x, -0.5, 0.5)),
    **each("clamp clip", lambda f, x: f(x, x.cos() - 1.0, x.exp()), "Tensor"),
    **each("clamp_min clamp_max", lambda f, x: f(x, 0.25)),
    **each("clamp_min clamp_max", lambda f, x: f(x, x.cos()), "Tensor"),
    "nan_to_num.default": row(lambda x: torch.nan_to_num(x / torch.relu(x), 0.5, 2.0, -2.0)),
}

IMAGE, VOLUME = (2, 4, 6, 8), (2, 4, 5, 6, 8)
CORE_FORMS: dict[str, Row] = {
    "convolution.default": (
        lambda m, x: aten.convolution(x, m.conv2.weight, m.conv2.bias, [1, 2], [1, 0], [1, 1], False, [0, 0], 1),
        IMAGE,
    ),
    "native_layer_norm.default": (
        lambda m, x: aten.native_layer_norm(x, [4], m.fc.weight[0], m.fc.weight[1], 1e-5)[0],
        SHAPE,
    ),
    "native_group_norm.default": (
        lambda m, x: aten.native_group_norm(x, m.norm.weight, m.norm.bias, x.shape[0], 4, 48, 2, 1e-5)[0],
        IMAGE,
    ),
    "_native_batch_norm_legit_no_training.default": (
        lambda m, x: aten._native_batch_norm_legit_no_training(
            x, m.norm.weight, m.norm.bias, m.norm.running_mean, m.norm.running_var, 0.1, 1e-5
        )[0],
        IMAGE,
    ),
    "native_dropout.default": row(lambda x: aten.native_dropout(x, 0.3, False)[0] * 2.0),
    "_adaptive_avg_pool2d.default": (lambda m, x: aten._adaptive_avg_pool2d(m.conv2(x), [1, 1]), IMAGE),
    "_adaptive_avg_pool3d.default": (lambda m, x: aten._adaptive_avg_pool3d(m.conv3(x), [1, 1, 1]), VOLUME),
}

SAMPLED: dict[str, Row] = {
    "index_put.default": row(lambda x: aten.index_put(x, [x > 0], torch.tensor(0.5))),
    "diagonal.default": (lambda m, x: x.diagonal(1, 1, 2), (2, 4, 6)),
    "cdist.default": (lambda m, x: torch.cdist(x, x[:, :3].cos()), (2, 4, 6)),
    "_cdist_forward.default": (lambda m, x: aten._cdist_forward(x, x[:, :3].cos(), 3.0, None), (2, 4, 6)),
    "grid_sampler.default": (
        lambda m, x: F.grid_sample(x, torch.tanh(x[:, 0, :, :, None] * GRID), align_corners=False),
        IMAGE,
    ),
    "grid_sampler_2d.default": (
        lambda m, x: aten.grid_sampler_2d(x, torch.tanh(x[:, 0, :, :, None] * GRID), 0, 1, True),
        IMAGE,
    ),
    "col2im.default": (lambda m, x: F.fold(x, (4, 6), (2, 2), stride=(2, 2)), (2, 8, 6)),
}

ROWS: dict[str, Row] = {**SAMPLED, **CORE_FORMS, **NUMBERS, **LOGIC, **CHOSEN, **AXES, **BOUNDED}
