"""Changes of dtype: casts, PyTorch's promotion of several dtypes to one, and the choice between two values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from converter.ops.base import (
    Builder,
    Capture,
    Op,
    Refusal,
    TorchCapture,
    View,
    keras_operation,
    torch_operation,
)
from converter.ops.records import Call, Literal, Method, Module, Record


class Cast(Op):
    """The same numbers in the dtype `to`, one of onnx_ir.DataType.

    A float dtype stands for one that the model computes in: the written module follows `.double()` and `.half()`.
    """

    to: int
    saturate: int = 1

    neutral: ClassVar[bool] = True

    def unit_axes(self, index: int) -> dict[int, int] | None:
        return {}

    def torch(self, n: View) -> Record:
        to = ir.DataType(self.to)
        if to.is_floating_point():
            like = {"like": np.zeros((), to.numpy())}
            args = () if to == ir.DataType.FLOAT else (Literal(f"torch.{to.numpy()}"),)
            return Module("ToFloat", args, fill=like, buffers=frozenset(like), inputs=(n.x(),))
        return Method(n.x(), "to", (Literal(f"torch.{to.numpy()}"),))

    def keras(self, n: View) -> Record:
        return Call("ops.cast", (n.x(), str(ir.DataType(self.to).numpy())))

    @keras_operation("Cast")
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value, *rest: Any, **options: Any) -> ir.Value:
        name = str(operation.dtype)
        try:
            to = ir.DataType.from_numpy(np.dtype(name))
        except TypeError as error:
            raise Refusal(f"there is no mapping for a cast to {name}.") from error
        return x if x.dtype == to else g.op(Cast(to=int(to)), x)

    @torch_operation("to.dtype")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, dtype: Any, *memory: Any) -> ir.Value:
        return cast(g, x, dtype_of(dtype))

    @torch_operation("to.device")
    @staticmethod
    def moved(g: TorchCapture, x: ir.Value, device: Any, dtype: Any, *memory: Any) -> ir.Value:
        return cast(g, x, dtype_of(dtype))

    @torch_operation("_to_copy.default", "to.dtype_layout")
    @staticmethod
    def copied(g: TorchCapture, x: ir.Value, dtype: Any, layout: Any, *memory: Any) -> ir.Value:
        if layout is not None and str(layout) != "torch.strided":
            raise Refusal(f"the layout {layout} has no mapping.", "Use dense tensors.")
        return cast(g, x, dtype_of(dtype))

    @torch_operation("type_as.default", "to.other")
    @staticmethod
    def alike(g: TorchCapture, x: ir.Value, other: ir.Value, *memory: Any) -> ir.Value:
        return cast(g, x, other.dtype)


class Where(Op):
    """Elements of x where the condition is true, of y elsewhere: inputs are (condition, x, y)."""

    neutral: ClassVar[bool] = True

    def torch(self, n: View) -> Record:
        return Call("torch.where", (n.x(0), n.x(1), n.x(2)))

    def keras(self, n: View) -> Record:
        made = Call("ops.where", (n.x(0), n.x(1), n.x(2)))
        dtype = n.value(1).dtype
        if dtype is None or any(n.array(i) is None for i in (1, 2)):
            return made
        return Call("ops.cast", (made, str(dtype.numpy())))  # of two numbers Keras makes its default float

    @torch_operation("where.self", "where.ScalarOther", "where.ScalarSelf", "where.Scalar")
    @staticmethod
    def aten(g: TorchCapture, condition: ir.Value, x: Any, other: Any) -> ir.Value:
        return g.op(Where(), truth(g, condition), *promoted(g, x, other))

    @torch_operation("masked_fill.Scalar", "masked_fill.Tensor")
    @staticmethod
    def filled(g: TorchCapture, x: ir.Value, mask: ir.Value, value: Any) -> ir.Value:
        return g.op(Where(), mask, in_dtype(g, value, x), x)


# PyTorch's dtypes --------------------------------------------------------------------------------------------------


def cast(g: Builder, x: ir.Value, to: ir.DataType | None) -> ir.Value:
    """The value in a dtype; as it is where it has that dtype or none is asked for."""
    return x if to is None or x.dtype == to else g.op(Cast(to=int(to)), x)


def dtype_of(dtype: Any) -> ir.DataType | None:
    """torch.float32 as ONNX names it, by what it is called; None stays. Refusal for what numpy has no name for."""
    if dtype is None:
        return None
    name = str(dtype).removeprefix("torch.")
    try:
        return ir.DataType.BFLOAT16 if name == "bfloat16" else ir.DataType.from_numpy(np.dtype(name))
    except TypeError as error:
        raise Refusal(f"there is no mapping for the dtype {name}.", "Use floats, integers or truth values.") from error


def computing(g: TorchCapture, x: ir.Value, dtype: Any) -> ir.Value:
    """The value in the dtype that an operation is asked to compute in; Refusal for halves made of wider floats."""
    to = dtype_of(dtype)
    if to in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16) and x.dtype != to:
        raise Refusal(f"it computes in {dtype}, which every framework rounds in its own way.", "Compute in float32.")
    return cast(g, x, to)


def truth(g: TorchCapture, x: ir.Value) -> ir.Value:
    """A value as truth values: whether it is not 0."""
    return cast(g, x, ir.DataType.BOOL)


def in_dtype(g: TorchCapture, x: Any, like: ir.Value) -> ir.Value:
    """A value or a number in the dtype of another value."""
    if isinstance(x, ir.Value):
        return cast(g, x, like.dtype)
    return _number(g, x, like.dtype or ir.DataType.FLOAT)


def promoted(g: TorchCapture, *xs: Any) -> list[ir.Value]:
    """Arguments of an aten operation in the dtype that PyTorch computes in; numbers are constants of that dtype."""
    return all_in(g, promotion(xs), *xs)


def all_in(g: TorchCapture, to: ir.DataType, *xs: Any) -> list[ir.Value]:
    """Values and numbers in one dtype."""
    return [cast(g, x, to) if isinstance(x, ir.Value) else _number(g, x, to) for x in xs]


def promotion(xs: Sequence[Any]) -> ir.DataType:
    """The dtype that PyTorch computes in, for tensors and numbers together.

    Truth values < integers < floats. Tensors with axes decide; one without axes, and after it a number, counts only
    where it is of a higher kind than all before it. A number is int64, or float32 as PyTorch's default is.
    """
    tensors = [x for x in xs if isinstance(x, ir.Value) and x.dtype is not None]
    wide = [x.dtype for x in tensors if x.shape is None or len(x.shape)]
    scalar = [x.dtype for x in tensors if x.shape is not None and not len(x.shape)]
    plain = [_dtype_of_number(x) for x in xs if not isinstance(x, ir.Value)]
    found: ir.DataType | None = None
    for kinds in (wide, scalar, plain):
        if not kinds:
            continue
        widest = _widest([kind for kind in kinds if kind is not None])
        if found is None or _height(widest) > _height(found):
            found = widest
    if found is None:
        raise Refusal("it computes with nothing.")
    return found


def _widest(kinds: Sequence[ir.DataType]) -> ir.DataType:
    highest = max(_height(kind) for kind in kinds)
    kinds = [kind for kind in kinds if _height(kind) == highest]
    if {ir.DataType.FLOAT16, ir.DataType.BFLOAT16} <= set(kinds):
        kinds = [*kinds, ir.DataType.FLOAT]
    if highest == FLOATING:
        return max(kinds, key=lambda kind: kind.itemsize)
    return ir.DataType.from_numpy(np.result_type(*(kind.numpy() for kind in kinds)))


FLOATING = 2
"""The height of floats above integers (1) and truth values (0)."""


def _height(kind: ir.DataType) -> int:
    return 0 if kind == ir.DataType.BOOL else FLOATING if kind.is_floating_point() else 1


def _dtype_of_number(x: Any) -> ir.DataType:
    if isinstance(x, bool):
        return ir.DataType.BOOL
    if isinstance(x, (int, float)):
        return ir.DataType.INT64 if isinstance(x, int) else ir.DataType.FLOAT
    if isinstance(x, complex):
        raise Refusal("it computes with a complex number.", "Use real numbers.")
    raise Refusal("it reads a size that is known at run time only.", "Export it with fixed sizes.")


def _number(g: TorchCapture, x: Any, to: ir.DataType) -> ir.Value:
    _dtype_of_number(x)
    exact = bool(x) if to == ir.DataType.BOOL else float(x) if to.is_floating_point() else int(x)
    return g.constant(exact, ir.Value(name="like", type=ir.TensorType(to)))
