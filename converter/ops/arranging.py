"""Ops that repeat elements or move them along an axis: tile, repeat, roll, windows, and parts of an axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from converter.ops.base import (
    Builder,
    Capture,
    Dims,
    Function,
    Op,
    Perm,
    Refusal,
    TorchCapture,
    Type,
    View,
    keras_operation,
    moved,
    operand,
    there,
    torch_operation,
)
from converter.ops.embedding import Gather, axis_of
from converter.ops.indexing import END, Expand, Slice, cut
from converter.ops.lengths import expanded
from converter.ops.pad import Pad
from converter.ops.records import Call, Method, Record
from converter.ops.shape import Concat, Reshape, Transpose, Unsqueeze

UNKNOWN = "along an axis whose length is known at run time only"
FIXED = "Export it with fixed sizes."
LENGTH = "Give the model's input that length."


class Tile(Op):
    """The whole tensor `repeats` times along each axis."""

    repeats: tuple[int, ...] = operand(1)

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        return Tile(repeats=tuple(self.repeats[p] for p in perm)), perm

    def torch(self, n: View) -> Record:
        return Method(n.x(), "repeat", self.repeats)

    def keras(self, n: View) -> Record:
        return Call("ops.tile", (n.x(), self.repeats))

    @torch_operation("repeat.default", "tile.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, repeats: tuple[Any, ...]) -> ir.Value:
        missing = len(repeats) - len(g.shape(x))
        repeats = (1,) * -missing + tuple(repeats)
        if missing > 0:
            x = g.op(Unsqueeze(axes=tuple(range(missing))), x)
        open_ = [i for i, r in enumerate(repeats) if not isinstance(r, int)]
        if any(g.shape(x)[axis] != 1 for axis in open_):
            raise Refusal("how often it repeats is known at run time only.", FIXED)
        fixed = tuple(1 if i in open_ else r for i, r in enumerate(repeats))
        x = g.op(Tile(repeats=fixed), x) if set(fixed) - {1} else x
        return expanded(g, x, g.made()) if open_ else x

    @keras_operation("Tile")
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        given = operation.repeats
        repeats = (given,) if isinstance(given, int) else tuple(given)
        missing = len(g.shape(x)) - len(repeats)
        if missing < 0 or any(not isinstance(r, int) for r in repeats) or (not missing and repeats[0] != 1):
            raise Refusal(f"repeats={given} makes another batch of it.", "Repeat along the axes behind the batch.")
        repeats = (1,) * missing + repeats
        return g.op(Tile(repeats=repeats), x) if set(repeats) - {1} else x


class RepeatInterleave(Function):
    """Every element `repeats` times in a row along `axis`."""

    axis: int
    repeats: int

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        (x,) = there(types)
        made = (d if i != self.axis or d is None else d * self.repeats for i, d in enumerate(x.shape))
        return (Type(tuple(made), x.dtype),)

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        return RepeatInterleave(axis=moved(self.axis, perm), repeats=self.repeats), perm

    def torch(self, n: View) -> Record:
        return Method(n.x(), "repeat_interleave", (self.repeats,), {"dim": self.axis})

    def keras(self, n: View) -> Record:
        return Call("ops.repeat", (n.x(), self.repeats), {"axis": self.axis})

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        return repeated(g, inputs[0], self.axis, self.repeats)

    @torch_operation("repeat_interleave.self_int")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, repeats: Any, dim: int | None, output_size: Any) -> ir.Value:
        if not isinstance(repeats, int):
            raise Refusal("how often it repeats is known at run time only.", FIXED)
        if dim is None:
            x, dim = g.op(Reshape(target=(-1,)), x), 0
        if g.shape(x)[axis_of(g, x, dim) :].count(None) > 1:
            raise Refusal(f"it repeats elements {UNKNOWN}, and behind it is another one.", FIXED)
        return g.op(RepeatInterleave(axis=axis_of(g, x, dim), repeats=repeats), x)

    @keras_operation("Repeat")
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value) -> ir.Value:
        if not isinstance(operation.repeats, int):
            raise Refusal("it repeats each element as often as an array says.", "Repeat all equally often.")
        axis = _behind_the_batch(g, x, operation.axis)
        if g.shape(x)[axis:].count(None) > 1:
            raise Refusal(f"it repeats elements {UNKNOWN}, and behind it is another one.", LENGTH)
        return g.op(RepeatInterleave(axis=axis, repeats=operation.repeats), x)


def repeated(g: Builder, x: ir.Value, axis: int, repeats: int) -> ir.Value:
    """Every element `repeats` times in a row along an axis, in plain ONNX."""
    shape = g.shape(x)
    to = [1] * (len(shape) + 1)
    to[axis + 1] = repeats
    wide = g.op(Expand(to=tuple(to)), g.op(Unsqueeze(axes=(axis + 1,)), x))
    rest = tuple(-1 if d is None else d for d in shape[axis + 1 :])
    length = shape[axis]
    return g.op(Reshape(target=(*(0,) * axis, -1 if length is None else length * repeats, *rest)), wide)


class Roll(Function):
    """The elements moved by `shifts` along `axes`; those that leave at one end come back at the other."""

    axes: tuple[int, ...]
    shifts: tuple[int, ...]

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        return Roll(axes=tuple(moved(a, perm) for a in self.axes), shifts=self.shifts), perm

    def torch(self, n: View) -> Record:
        return Call("torch.roll", (n.x(), self.shifts, self.axes))

    def keras(self, n: View) -> Record:
        one = len(self.axes) == 1
        settings = {"shift": self.shifts[0] if one else self.shifts, "axis": self.axes[0] if one else self.axes}
        return Call("ops.roll", (n.x(),), settings)

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        (x,) = inputs
        for axis, shift in zip(self.axes, self.shifts, strict=True):
            ends = (Slice(starts=(a,), ends=(b,), axes=(axis,), steps=(1,)) for a, b in ((-shift, END), (0, -shift)))
            x = g.op(Concat(axis=axis), *(g.op(end, x) for end in ends))
        return x

    @torch_operation("roll.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, shifts: tuple[int, ...], dims: tuple[int, ...]) -> ir.Value:
        if not dims:
            raise Refusal("it rolls the flattened tensor.", "Give it dims.")
        moves: dict[int, int] = {}
        for shift, dim in zip(shifts, dims, strict=True):
            axis = axis_of(g, x, dim)
            length = g.shape(x)[axis]
            if length is None or not isinstance(shift, int):
                raise Refusal(f"it rolls {UNKNOWN}.", FIXED)
            moves[axis] = (moves.get(axis, 0) + shift) % max(length, 1)
        kept = {axis: shift for axis, shift in moves.items() if shift}
        return g.op(Roll(axes=tuple(kept), shifts=tuple(kept.values())), x) if kept else x


class _Windows(Op, abstract=True):
    """Windows of an axis, as axes of their own: Gather with the places of each."""

    @torch_operation("unfold.default")
    @staticmethod
    def unfold(g: TorchCapture, x: ir.Value, dim: int, size: int, step: int) -> ir.Value:
        axis = axis_of(g, x, dim)
        length = g.shape(x)[axis]
        if length is None:
            raise Refusal(f"it takes windows {UNKNOWN}.", FIXED)
        starts = np.arange(0, length - size + 1, step)
        y = g.op(Gather(axis=axis), x, g.constant(starts[:, None] + np.arange(size)))
        rank = len(g.shape(y))
        order = [i for i in range(rank) if i != axis + 1] + [axis + 1]
        return g.op(Transpose(perm=tuple(order)), y) if order != sorted(order) else y

    @torch_operation("im2col.default")
    @staticmethod
    def columns(
        g: TorchCapture,
        x: ir.Value,
        kernel: tuple[int, ...],
        dilation: tuple[int, ...],
        padding: tuple[int, ...],
        stride: tuple[int, ...],
    ) -> ir.Value:
        _, channels, *sizes = g.sizes(x)
        if len(sizes) != 2 or any(not isinstance(d, int) for d in (channels, *sizes)):
            raise Refusal("it takes windows of images whose size is known at run time only.", FIXED)
        if any(padding):
            x = g.op(Pad(pads=(0, 0, *padding) * 2), x)
        for axis, (n, k, d, p, s) in enumerate(zip(sizes, kernel, dilation, padding, stride, strict=True)):
            starts = np.arange(0, n + 2 * p - d * (k - 1), s)
            x = g.op(Gather(axis=2 + 2 * axis), x, g.constant(np.arange(k)[:, None] * d + starts))
        x = g.op(Transpose(perm=(0, 1, 2, 4, 3, 5)), x)
        return g.op(Reshape(target=(0, channels * kernel[0] * kernel[1], -1)), x)


class _Parts(Op, abstract=True):
    """Several parts of an axis: a Slice for each."""

    @torch_operation("split.Tensor", "unsafe_split.Tensor")
    @staticmethod
    def split(g: TorchCapture, x: ir.Value, size: Any, dim: int) -> list[ir.Value]:
        return parts(g, x, axis_of(g, x, dim), lambda length: [size] * -(-length // size) if length else [0])

    @torch_operation("split_with_sizes.default", "split.sizes", "unsafe_split_with_sizes.default")
    @staticmethod
    def sized(g: TorchCapture, x: ir.Value, sizes: tuple[Any, ...], dim: int) -> list[ir.Value]:
        return parts(g, x, axis_of(g, x, dim), lambda _: list(sizes))

    @torch_operation("chunk.default", "unsafe_chunk.default")
    @staticmethod
    def chunk(g: TorchCapture, x: ir.Value, chunks: int, dim: int) -> list[ir.Value]:
        def lengths(length: int) -> list[int]:
            size = -(-length // chunks)
            return [size] * -(-length // size) if size else [0] * chunks

        return parts(g, x, axis_of(g, x, dim), lengths)

    @torch_operation("tensor_split.sections")
    @staticmethod
    def sections(g: TorchCapture, x: ir.Value, count: int, dim: int) -> list[ir.Value]:
        def lengths(length: int) -> list[int]:
            return [length // count + (i < length % count) for i in range(count)]

        return parts(g, x, axis_of(g, x, dim), lengths)

    @torch_operation("tensor_split.indices")
    @staticmethod
    def between(g: TorchCapture, x: ir.Value, places: Sequence[Any], dim: int) -> list[ir.Value]:
        axis = axis_of(g, x, dim)
        return [cut(g, x, axis, a, b, 1) for a, b in zip((0, *places), (*places, END), strict=True)]

    @torch_operation("unbind.int")
    @staticmethod
    def unbind(g: TorchCapture, x: ir.Value, dim: int) -> list[ir.Value]:
        axis = axis_of(g, x, dim)
        length = g.shape(x)[axis]
        if length is None:
            raise Refusal(f"it gives one tensor for each element {UNKNOWN}.", FIXED)
        return [g.op(Gather(axis=axis, indices=i), x) for i in range(length)]

    @torch_operation("stack.default")
    @staticmethod
    def stack(g: TorchCapture, tensors: Sequence[ir.Value], dim: int) -> ir.Value:
        axis = dim % (len(g.shape(tensors[0])) + 1)
        raised = [g.op(Unsqueeze(axes=(axis,)), x) for x in tensors]
        return g.op(Concat(axis=axis), *raised) if len(raised) > 1 else raised[0]

    @keras_operation("Split")
    @staticmethod
    def splits(g: Capture, operation: Any, x: ir.Value) -> list[ir.Value]:
        axis, given = _behind_the_batch(g, x, operation.axis), operation.indices_or_sections
        length = g.shape(x)[axis]
        if length is None:
            raise Refusal(f"it cuts {UNKNOWN}.", LENGTH)
        places = [length // given * i for i in range(1, given)] if isinstance(given, int) else [int(i) for i in given]
        ends = [min(max(i + length if i < 0 else i, 0), length) for i in (*places, length)]
        return [
            g.op(Slice(starts=(a,), ends=(max(a, b),), axes=(axis,), steps=(1,)), x)
            for a, b in zip((0, *ends[:-1]), ends, strict=True)
        ]

    @keras_operation("Unstack")
    @staticmethod
    def unstack(g: Capture, operation: Any, x: ir.Value) -> list[ir.Value]:
        axis = _behind_the_batch(g, x, operation.axis)
        length = g.shape(x)[axis]
        if length is None:
            raise Refusal(f"it gives one tensor for each element {UNKNOWN}.", LENGTH)
        return [g.op(Gather(axis=axis, indices=i), x) for i in range(length)]


def _behind_the_batch(g: Capture, x: ir.Value, axis: int | None) -> int:
    rank = len(g.shape(x))
    if axis is None or axis % rank == 0:
        raise Refusal(f"axis={axis} goes through the batch.", "Name an axis behind it.")
    return axis % rank


def parts(g: TorchCapture, x: ir.Value, axis: int, lengths: Any) -> list[ir.Value]:
    """`x` cut along an axis into parts; `lengths` tells theirs of the whole one's."""
    whole = g.shape(x)[axis]
    if whole is None:
        raise Refusal(f"it cuts {UNKNOWN}.", FIXED)
    made, start = [], 0
    for length in lengths(whole):
        if not isinstance(length, int):
            raise Refusal("the lengths of its parts are known at run time only.", FIXED)
        made.append(cut(g, x, axis, start, start + length, 1))
        start += length
    return made
