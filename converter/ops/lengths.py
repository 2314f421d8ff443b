"""Lengths that are known at run time only, read off another tensor that has them: neither ONNX's Shape nor a number is
needed, which a functional Keras model could not have."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from converter.ops.base import (
    Builder,
    Capture,
    Function,
    Refusal,
    TorchCapture,
    Type,
    View,
    keras_operation,
    torch_operation,
)
from converter.ops.cast import Cast
from converter.ops.elementwise import Add, Mul, Sub
from converter.ops.embedding import Gather
from converter.ops.indexing import Expand
from converter.ops.records import Call, Index, Infix, Literal, Method, Record, Size
from converter.ops.shape import Unsqueeze
from converter.ops.sizes import counted, size

FIXED = "Give that axis a number instead of a name in --input (example_inputs, dynamic)."


class Positions(Function):
    """0, 1, 2, ... as many as the input is long along one axis."""

    axis: int

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        return (Type((_of(types, 0).shape[self.axis],), ir.DataType.INT64),)

    def body(self, g: Builder, *inputs: Any) -> ir.Value:
        return counted(g, 0, size(g, inputs[0], self.axis))

    def torch(self, n: View) -> Record:
        ones = Method(n.x(), "new_ones", (Size(n.x(), self.axis),), {"dtype": Literal("torch.int64")})
        return Infix("-", Method(ones, "cumsum", (0,)), 1)

    def keras(self, n: View) -> Record:
        ones = Call("ops.ones_like", (_line(n, 0, self.axis),), {"dtype": "int64"})
        return Infix("-", Call("ops.cumsum", (ones,)), 1)


class Length(Function):
    """How long the input is along one axis, a number."""

    axis: int

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        return (Type((), ir.DataType.INT64),)

    def body(self, g: Builder, *inputs: Any) -> ir.Value:
        return size(g, inputs[0], self.axis)

    def torch(self, n: View) -> Record:
        return Size(n.x(), self.axis)

    def keras(self, n: View) -> Record:
        return Call("ops.sum", (Call("ops.ones_like", (_line(n, 0, self.axis),), {"dtype": "int64"}),))


class ExpandLike(Function):
    """An axis of length 1 repeated as often as the second input is long along its axis `at`."""

    axis: int
    at: int

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        x, like = _of(types, 0), _of(types, 1)
        lengths = list(x.shape)
        lengths[self.axis] = like.shape[self.at]
        return (Type(tuple(lengths), x.dtype),)

    def body(self, g: Builder, *inputs: Any) -> ir.Value:
        places = counted(g, 0, size(g, inputs[1], self.at))
        return g.op(Gather(axis=self.axis), inputs[0], g.op(Sub(), places, places))

    def torch(self, n: View) -> Record:
        lengths: list[Any] = [-1] * len(n.shape())
        lengths[self.axis] = Size(n.x(1), self.at)
        number = n.array(0)
        if number is not None and number.size == 1:  # which stands in the source as a literal
            sizes = tuple(1 if d == -1 else d for d in lengths)
            return Method(n.x(1), "new_full", (sizes, number.item()), {"dtype": Literal(f"torch.{number.dtype}")})
        return Method(n.x(), "expand", tuple(lengths))

    def keras(self, n: View) -> Record:
        behind = len(n.shape()) - 1 - self.axis
        before = self.axis if n.array(0) is not None else 0  # a literal has no axes
        kind = str(n.value(0).dtype.numpy()) if n.value(0).dtype is not None else "float32"  # type: ignore[union-attr]
        zeros: Any = Call("ops.zeros_like", (_line(n, 1, self.at),), {"dtype": kind})
        if behind or before:
            zeros = Index(zeros, (*[None] * before, slice(None), *[None] * behind))
        return Call("ops.logical_or", (n.x(), zeros)) if kind == "bool" else Infix("+", n.x(), zeros)


class FirstLike(Function):
    """Along one axis as many elements, from the first, as the second input is long along its axis `at`."""

    axis: int
    at: int

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        return ExpandLike(axis=self.axis, at=self.at).outputs(*types)

    def body(self, g: Builder, *inputs: Any) -> ir.Value:
        return g.op(Gather(axis=self.axis), inputs[0], counted(g, 0, size(g, inputs[1], self.at)))

    def torch(self, n: View) -> Record:
        return Method(n.x(), "narrow", (self.axis, 0, Size(n.x(1), self.at)))

    def keras(self, n: View) -> Record:
        ones = Call("ops.ones_like", (_line(n, 1, self.at),), {"dtype": "int32"})
        return Call("ops.take", (n.x(), Infix("-", Call("ops.cumsum", (ones,)), 1)), {"axis": self.axis})


def _line(n: View, index: int, axis: int) -> Record:
    """One element of every other axis of an input: what is left has the length of this one."""
    rank = len(n.shape(index))
    return Index(n.x(index), tuple(slice(None) if i == axis else 0 for i in range(rank))) if rank > 1 else n.x(index)


def _of(types: tuple[Type | None, ...], index: int) -> Type:
    found = types[index]
    if found is None:
        raise ValueError(f"input {index} is missing")
    return found


# PyTorch's rows ----------------------------------------------------------------------------------------------------


def expanded(g: TorchCapture, x: ir.Value, sizes: tuple[Any, ...]) -> ir.Value:
    """`x` broadcast to these sizes, which may be symbols."""
    if len(sizes) > len(g.shape(x)):
        x = g.op(Unsqueeze(axes=tuple(range(len(sizes) - len(g.shape(x))))), x)
    before = g.sizes(x)
    # Only an axis of length 1 is ever repeated: any other one has the wanted length, under whichever symbol.
    same = [str(a) == str(b) or not (isinstance(a, int) and a == 1) for a, b in zip(before, sizes, strict=True)]
    fixed = tuple(b if isinstance(b, int) and not kept else 1 for b, kept in zip(sizes, same, strict=True))
    if any(d != 1 for d in fixed):
        x = g.op(Expand(to=fixed), x)
    for axis, (length, kept) in enumerate(zip(sizes, same, strict=True)):
        if not kept and not isinstance(length, int):
            like, at = source(g, length)
            x = g.op(ExpandLike(axis=axis, at=at), x, like)
    return x


def source(g: TorchCapture, length: Any) -> tuple[ir.Value, int]:
    """A tensor that is as long along an axis as a symbol says; Refusal where there is none."""
    found = g.source(length)
    if found is None:
        raise Refusal(f"it takes the length {length}, which is known at run time only and which no tensor has.", FIXED)
    return found


def filled(g: TorchCapture, number: Any, sizes: tuple[Any, ...]) -> ir.Value:
    """One number everywhere, in the dtype of what the operation at hand gives."""
    if not isinstance(number, (bool, int, float)):
        raise Refusal("its number is known at run time only.", FIXED)
    known = tuple(d if isinstance(d, int) else 1 for d in sizes)
    made = g.constant(np.full(known, number).astype(g.made_dtype().numpy()))
    return expanded(g, made, sizes)


class _Made(Function, abstract=True):
    """No op of its own: rows of what makes tensors of a shape."""

    @torch_operation("expand.default", "expand_as.default", "broadcast_to.default")
    @staticmethod
    def expand(g: TorchCapture, x: ir.Value, *given: Any) -> ir.Value:
        return expanded(g, x, g.made())

    @torch_operation("copy.default")
    @staticmethod
    def copy(g: TorchCapture, x: ir.Value, y: ir.Value, non_blocking: bool) -> ir.Value:
        y = y if y.dtype == g.made_dtype() else g.op(Cast(to=int(g.made_dtype())), y)
        return expanded(g, y, g.made())

    @torch_operation("fill.Scalar", "full.default", "full_like.default", "new_full.default")
    @staticmethod
    def full(g: TorchCapture, first: Any, second: Any, *given: Any) -> ir.Value:
        return filled(g, given[0] if isinstance(first, ir.Value) and _has_size(second) else second, g.made())

    @torch_operation("fill.Tensor")
    @staticmethod
    def fill(g: TorchCapture, x: ir.Value, value: ir.Value) -> ir.Value:
        return _Made.copy(g, x, value, False)

    @torch_operation("zeros.default", "zeros_like.default", "new_zeros.default", "zero.default")
    @torch_operation("empty.memory_format", "empty_like.default", "new_empty.default")
    @staticmethod
    def zeros(g: TorchCapture, *given: Any) -> ir.Value:
        return filled(g, 0, g.made())

    @torch_operation("ones.default", "ones_like.default", "new_ones.default")
    @staticmethod
    def ones(g: TorchCapture, *given: Any) -> ir.Value:
        return filled(g, 1, g.made())

    @keras_operation("ZerosLike", "OnesLike")
    @staticmethod
    def alike(g: Capture, operation: Any, x: ir.Value, dtype: Any = None) -> ir.Value:
        kind = x.dtype if operation.dtype is None else ir.DataType.from_numpy(np.dtype(str(operation.dtype)))
        number = int(type(operation).__name__ == "OnesLike")
        known = tuple(1 if d is None else d for d in g.shape(x))
        made = g.constant(np.full(known, number).astype((kind or ir.DataType.FLOAT).numpy()))
        for axis, length in enumerate(g.shape(x)):
            if length is None:
                made = g.op(ExpandLike(axis=axis, at=axis), made, x)
        return made

    @torch_operation("scalar_tensor.default")
    @staticmethod
    def scalar(g: TorchCapture, number: Any, *given: Any) -> ir.Value:
        return filled(g, number, ())

    @torch_operation("arange.default")
    @staticmethod
    def arange(g: TorchCapture, end: Any, *given: Any) -> ir.Value:
        return counting(g, 0, end, 1)

    @torch_operation("arange.start")
    @staticmethod
    def arange_from(g: TorchCapture, start: Any, end: Any, *given: Any) -> ir.Value:
        return counting(g, start, end, 1)

    @torch_operation("arange.start_step")
    @staticmethod
    def arange_by(g: TorchCapture, start: Any, end: Any, step: Any, *given: Any) -> ir.Value:
        return counting(g, start, end, step)


def _has_size(argument: Any) -> bool:
    return isinstance(argument, (tuple, list))


def counting(g: TorchCapture, start: Any, end: Any, step: Any) -> ir.Value:
    """start, start + step, ... up to, and without, end."""
    kind = g.made_dtype()
    if all(isinstance(n, (int, float)) for n in (start, end, step)):
        return g.constant(np.arange(start, end, step).astype(kind.numpy()))
    if not isinstance(start, (int, float)) or not isinstance(step, (int, float)):
        raise Refusal("it counts from a number, or in steps, that are known at run time only.", FIXED)
    like, at = source(g, g.made()[0])
    places = g.op(Positions(axis=at), like)
    if kind != ir.DataType.INT64:
        places = g.op(Cast(to=int(kind)), places)
    places = places if step == 1 else g.op(Mul(), places, g.constant(step, places))
    return places if start == 0 else g.op(Add(), places, g.constant(start, places))


def first(g: TorchCapture, x: ir.Value, axis: int, end: Any) -> ir.Value:
    """Along one axis as many elements, from the first, as a symbol says."""
    like, at = source(g, end)
    return g.op(FirstLike(axis=axis, at=at), x, like)
