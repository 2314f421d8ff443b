"""The arguments of element-wise operations brought together: one dtype, one rank, numbers as constants."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from converter.ops.base import Capture, Op, Refusal, TorchCapture
from converter.ops.cast import Cast, all_in, promoted, promotion
from converter.ops.shape import Unsqueeze


def fold(g: Capture, op: Op, xs: Sequence[ir.Value]) -> ir.Value:
    """Two at a time, from the left."""
    return functools.reduce(lambda a, b: g.op(op, a, b), xs)


def merged(g: Capture, xs: Sequence[ir.Value]) -> list[ir.Value]:
    """The inputs of a merging layer in one dtype, those of lower rank with axes of length 1 behind the batch axis."""
    rank = max(len(g.shape(x)) for x in xs)
    raised = []
    for x in numbers_of(alike(g, xs)):
        missing = rank - len(g.shape(x))
        raised.append(g.op(Unsqueeze(axes=tuple(range(1, missing + 1))), x) if missing else x)
    return raised


def alike(g: Capture, xs: Sequence[ir.Value]) -> list[ir.Value]:
    """The values in one dtype: the widest of the floats; integers and truth values become the float beside them."""
    kinds = {x.dtype for x in xs if x.dtype is not None}
    if len(kinds) <= 1:
        return list(xs)
    to = _widest(kinds)
    return [x if x.dtype == to else g.op(Cast(to=int(to)), x) for x in xs]


def numbers_of(xs: list[ir.Value]) -> list[ir.Value]:
    """The values; Refusal for truth values, with which ONNX does not compute."""
    if any(x.dtype == ir.DataType.BOOL for x in xs):
        raise Refusal("it computes with truth values, which ONNX does not.", "Cast them to numbers before.")
    return xs


def _widest(kinds: set[ir.DataType]) -> ir.DataType:
    floats = {kind for kind in kinds if kind.is_floating_point()}
    if not floats:
        raise Refusal(f"it mixes the dtypes {', '.join(sorted(str(kind) for kind in kinds))}.")
    if len(floats) == 1:
        return next(iter(floats))
    return ir.DataType.DOUBLE if ir.DataType.DOUBLE in floats else ir.DataType.FLOAT


def narrow(xs: list[ir.Value]) -> list[ir.Value]:
    """The values; Refusal for those of int64, of which Keras's backends make different things."""
    if any(x.dtype == ir.DataType.INT64 for x in xs):
        raise Refusal("Keras's backends disagree on the dtype that it gives for int64.", "Cast them to int32.")
    return xs


def operands(g: Capture, *xs: Any) -> list[ir.Value]:
    """Arguments of a keras.ops operation: values as they are, numbers and arrays as constants of the values' dtype.

    An array has a dtype of its own, which takes part in the promotion; a number takes that of the values.
    """
    values = [x for x in xs if isinstance(x, ir.Value)]
    rest = [x for x in xs if not isinstance(x, ir.Value)]
    if any(_is_float(x) for x in rest) and not any(floating(v) for v in values):
        to = ir.DataType.from_numpy(np.dtype(g.setting("floatx")))
        values = [g.op(Cast(to=int(to)), v) for v in values]
    values = numbers_of(alike(g, values))
    plain = (bool, int, float, list, tuple)
    arrays = {ir.DataType.from_numpy(g.array(x).dtype) for x in rest if not isinstance(x, plain)}
    kinds = {a for a in arrays if a.is_floating_point()} | {v.dtype for v in values[:1] if v.dtype is not None}
    if floating(values[0]) and (wider := _widest(kinds)) not in (values[0].dtype, ir.DataType.DOUBLE):
        values = [g.op(Cast(to=int(wider)), v) for v in values]
    given = iter(values)
    return [next(given) if isinstance(x, ir.Value) else _constant(g, x, values[0]) for x in xs]


def numbers(g: TorchCapture, *xs: Any) -> list[ir.Value]:
    """Arguments of an aten operation that computes, in the dtype that PyTorch gives them; Refusal for truth values."""
    return numbers_of(promoted(g, *xs))


def reals(g: TorchCapture, *xs: Any) -> list[ir.Value]:
    """The same for an operation that gives floats of integers and truth values too: float32, PyTorch's default."""
    to = promotion(xs)
    return all_in(g, to if to.is_floating_point() else ir.DataType.FLOAT, *xs)


def floating(value: ir.Value) -> bool:
    """Whether a value holds floats."""
    return value.dtype is not None and value.dtype.is_floating_point()


def _is_float(x: Any) -> bool:
    return isinstance(x, float) or (hasattr(x, "dtype") and "float" in str(x.dtype))


def _constant(g: Capture, x: Any, like: ir.Value) -> ir.Value:
    if isinstance(x, (bool, int, float)):
        return g.constant(float(x) if floating(like) else x, like)
    if isinstance(x, (list, tuple)):
        data = np.asarray(x)
    else:
        data = g.array(x)
        if data.dtype == np.float64 and like.dtype != ir.DataType.DOUBLE:
            raise Refusal("it combines its input with an array in float64.", "Use an array in the model's dtype.")
    made = data.astype(like.dtype.numpy()) if like.dtype is not None else data
    return g.constant(made, like)
