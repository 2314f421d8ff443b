"""Rows for keras.ops on numbers, element by element and over axes: unary.py to triangles.py in converter/ops/."""

from collections.abc import Callable
from typing import Any

from tests.cases import Case

SHAPE = (5, 4)
INSIDE = {"low": -0.9, "high": 0.9}
ABOVE = {"low": 0.6, "high": 2.4}


def one(name: str, **options: Any) -> Case:
    """A row with one operation of one tensor."""

    def make(keras: Any) -> Any:
        x = keras.Input(SHAPE, name="x")
        return keras.Model(x, getattr(keras.ops, name)(x))

    return Case(f"ops_{name}", make, **options)


def row(case_id: str, function: Callable[[Any, Any, Any], Any], integers: bool = False, **options: Any) -> Case:
    """A row with an expression of keras.ops and two tensors; truth values and integers become numbers."""

    def make(keras: Any) -> Any:
        kind = {"dtype": "int32"} if integers else {}
        x, y = keras.Input(SHAPE, name="x", **kind), keras.Input(SHAPE, name="y", **kind)
        return keras.Model([x, y], keras.ops.cast(function(keras.ops, x, y), keras.config.floatx()))

    return Case(f"ops_{case_id}", make, ids=9 if integers else 0, **options)


CASES: list[Case] = [
    *(one(name) for name in ("sin", "cos", "tan", "sinh", "cosh", "arctan", "arcsinh", "erf", "erfc")),
    *(one(name) for name in ("exp", "exp2", "expm1", "floor", "ceil", "round", "trunc", "sign")),
    *(one(name, **INSIDE) for name in ("arcsin", "arccos", "arctanh")),
    *(one(name, **ABOVE) for name in ("log", "log2", "log10", "log1p", "reciprocal")),
    one("arccosh", low=1.2, high=3.0),
    row("equal", lambda o, x, y: o.equal(x, y), integers=True),
    row("not_equal", lambda o, x, y: o.not_equal(x, y), integers=True),
    row("greater", lambda o, x, y: o.greater(x, y)),
    row("greater_equal", lambda o, x, y: o.greater_equal(x, 0.25)),
    row("less", lambda o, x, y: o.less(x, y)),
    row("less_equal", lambda o, x, y: o.less_equal(0.25, x)),
    row("logical_and", lambda o, x, y: o.logical_and(x > 0, y > 0)),
    row("logical_or", lambda o, x, y: o.logical_or(x > 0, y > 0)),
    row("logical_xor", lambda o, x, y: o.logical_xor(x > 0, y > 0)),
    row("logical_not", lambda o, x, y: o.logical_not(x > y)),
    row("isnan", lambda o, x, y: o.isnan(o.sqrt(x))),
    row("isinf", lambda o, x, y: o.isinf(x / o.relu(y))),
    row("isfinite", lambda o, x, y: o.isfinite(x / o.relu(y))),
    row("bitwise_and", lambda o, x, y: o.bitwise_and(x, y), integers=True),
    row("bitwise_or", lambda o, x, y: o.bitwise_or(x, y), integers=True),
    row("bitwise_xor", lambda o, x, y: o.bitwise_xor(x, y), integers=True),
    row("bitwise_not", lambda o, x, y: o.bitwise_not(x), integers=True),
    row("bitwise_invert", lambda o, x, y: o.bitwise_invert(x), integers=True),
    row("left_shift", lambda o, x, y: o.left_shift(x, y), integers=True),
    row("right_shift", lambda o, x, y: o.right_shift(x, y), integers=True),
    row("bitwise_left_shift", lambda o, x, y: o.bitwise_left_shift(x, y), integers=True),
    row("bitwise_right_shift", lambda o, x, y: o.bitwise_right_shift(x, y), integers=True),
    row("mod", lambda o, x, y: o.mod(x, y)),
    row("mod_number", lambda o, x, y: o.mod(x, -3), integers=True),
    row("fmod", lambda o, x, y: o.fmod(x, y)),
    row("floor_divide", lambda o, x, y: o.floor_divide(x, y)),
    row("floor_divide_number", lambda o, x, y: o.floor_divide(x, 4), integers=True),
    row("arctan2", lambda o, x, y: o.arctan2(x, y)),
    row("hypot", lambda o, x, y: o.hypot(x, y)),
    row("all", lambda o, x, y: o.all(x > y - 2.0, axis=1)),
    row("all_kept", lambda o, x, y: o.all(x > y - 2.0, axis=(1, 2), keepdims=True)),
    row("any_several", lambda o, x, y: o.any(x > y, axis=(-1, 1))),
    row("prod", lambda o, x, y: o.prod(x, axis=-1)),
    row("prod_several", lambda o, x, y: o.prod(x, axis=(1, 2), keepdims=True)),
    row("var", lambda o, x, y: o.var(x, axis=1)),
    row("var_kept", lambda o, x, y: o.var(x, axis=(1, 2), keepdims=True)),
    row("std", lambda o, x, y: o.std(x, axis=-1)),
    row("logsumexp", lambda o, x, y: o.logsumexp(x, axis=1)),
    row("argmax", lambda o, x, y: o.argmax(x, axis=-1)),
    row("argmin_kept", lambda o, x, y: o.argmin(x, axis=1, keepdims=True)),
    row("sort", lambda o, x, y: o.sort(x, axis=1)),
    row("argsort", lambda o, x, y: o.argsort(x, axis=-1)),
    row("top_k", lambda o, x, y: o.top_k(x, 2)[0]),
    row("top_k_places", lambda o, x, y: o.top_k(x, 3)[1]),
    row("cumsum", lambda o, x, y: o.cumsum(x, axis=1)),
    row("cumprod", lambda o, x, y: o.cumprod(x, axis=-1)),
    row("nan_to_num", lambda o, x, y: o.nan_to_num(x / o.relu(y), nan=0.5, posinf=2.0, neginf=-2.0)),
    row("tril", lambda o, x, y: o.tril(x)),
    row("triu", lambda o, x, y: o.triu(x, k=1)),
    row("concatenate", lambda o, x, y: o.concatenate([x, y, x], axis=1)),
    row("ones_like", lambda o, x, y: o.add(x, o.ones_like(y))),
    row("zeros_like", lambda o, x, y: o.maximum(x, o.zeros_like(y))),
]
