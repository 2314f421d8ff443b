"""Images read at points of a grid, images laid together from patches, and distances between points."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from converter.ops.base import Builder, Function, Op, Refusal, TorchCapture, Type, View, operand, there, torch_operation
from converter.ops.elementwise import Abs, Pow, Sub
from converter.ops.records import Call, Record
from converter.ops.reduce import ReduceMax, ReduceSum
from converter.ops.shape import Unsqueeze
from converter.ops.statistics import ReduceL2

MODES = {"linear": "bilinear", "nearest": "nearest", "cubic": "bicubic"}
BORDERS = ("zeros", "border", "reflection")


class GridSample(Op):
    """(N, C, H, W) read at the points (N, h, w, 2) of a grid in [-1, 1], (x, y) each: (N, C, h, w)."""

    align_corners: int = 0
    mode: str = "linear"
    padding_mode: str = "zeros"

    spatial: ClassVar[bool] = True

    def torch(self, n: View) -> Record:
        settings: dict[str, Any] = {"mode": MODES[self.mode], "padding_mode": self.padding_mode}
        return Call("F.grid_sample", (n.x(0), n.x(1)), {**settings, "align_corners": bool(self.align_corners)})

    @torch_operation("grid_sampler.default", "grid_sampler_2d.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, grid: ir.Value, mode: int, padding: int, align_corners: bool) -> ir.Value:
        if len(g.shape(x)) != 4:
            raise Refusal(f"it samples an input of {len(g.shape(x))} axes.", "Sample images.")
        given = {"mode": tuple(MODES)[mode], "padding_mode": BORDERS[padding]}
        return g.op(GridSample(align_corners=int(align_corners), **given), x, grid)


class Col2Im(Op):
    """(N, C * patch, places): patches of images laid together, added up where they overlap: (N, C, *image_shape)."""

    dilations: tuple[int, ...] | None = None
    pads: tuple[int, ...] | None = None
    strides: tuple[int, ...] | None = None
    image_shape: tuple[int, ...] = operand(1)
    block_shape: tuple[int, ...] = operand(2)

    def torch(self, n: View) -> Record:
        rank = len(self.block_shape)
        begin, end = (self.pads or (0,) * rank * 2)[:rank], (self.pads or (0,) * rank * 2)[rank:]
        if begin != end or rank != 2:
            raise LookupError("F.fold lays images together, with the same border on both sides")
        given = {"dilation": self.dilations, "padding": begin if any(begin) else None, "stride": self.strides}
        kept = {
            key: value for key, value in given.items() if value is not None and set(value) != {int(key != "padding")}
        }
        return Call("F.fold", (n.x(), self.image_shape, self.block_shape), kept)

    @torch_operation("col2im.default")
    @staticmethod
    def aten(
        g: TorchCapture, x: ir.Value, size: Any, kernel: Any, dilation: Any, padding: Any, stride: Any
    ) -> ir.Value:
        if len(g.shape(x)) != 3 or not all(isinstance(d, int) for d in size):
            raise Refusal("its patches have no batch axis, or its size is known at run time only.", "Give it both.")
        op = Col2Im(
            dilations=tuple(dilation),
            pads=tuple(padding) * 2,
            strides=tuple(stride),
            image_shape=tuple(size),
            block_shape=tuple(kernel),
        )
        return g.op(op, x)


class Distances(Function):
    """(..., n, k), (..., m, k) -> (..., n, m): how far n points are from m others, (sum of |a - b|^p)^(1/p)."""

    p: float = 2.0

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        a, b = there(types)
        return (Type((*a.shape[:-1], b.shape[-2]), a.dtype),)

    def torch(self, n: View) -> Record:
        return Call("torch.cdist", (n.x(0), n.x(1)), {} if self.p == 2.0 else {"p": self.p})

    def keras(self, n: View) -> Record:
        away = Call("ops.subtract", tuple(Call("ops.expand_dims", (n.x(i), -2 - i)) for i in (0, 1)))
        size = Call("ops.absolute", (away,))
        if np.isinf(self.p):
            return Call("ops.max", (size,), {"axis": -1})
        if self.p == 1.0:
            return Call("ops.sum", (size,), {"axis": -1})
        if self.p == 2.0:
            return Call("ops.sqrt", (Call("ops.sum", (Call("ops.square", (away,)),), {"axis": -1}),))
        total = Call("ops.sum", (Call("ops.power", (size, self.p)),), {"axis": -1})
        return Call("ops.power", (total, 1.0 / self.p))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        rank = len(g.shape(inputs[0]))
        a, b = g.op(Unsqueeze(axes=(rank - 1,)), inputs[0]), g.op(Unsqueeze(axes=(rank - 2,)), inputs[1])
        away = g.op(Sub(), a, b)
        last = {"axes": (rank,), "keepdims": 0}
        if self.p == 2.0:
            return g.op(ReduceL2(**last), away)  # type: ignore[arg-type]
        size = g.op(Abs(), away)
        if np.isinf(self.p):
            return g.op(ReduceMax(**last), size)  # type: ignore[arg-type]
        power = g.op(Pow(), size, g.constant(self.p, like=size))
        return g.op(Pow(), g.op(ReduceSum(**last), power), g.constant(1.0 / self.p, like=size))  # type: ignore[arg-type]

    @torch_operation("cdist.default", "_cdist_forward.default")
    @staticmethod
    def aten(g: TorchCapture, a: ir.Value, b: ir.Value, p: float, compute_mode: int | None) -> ir.Value:
        if not p or len(g.shape(a)) != len(g.shape(b)):
            raise Refusal(
                f"p={p} of shapes {g.shape(a)} and {g.shape(b)} has no mapping.", "Use p above 0, and one rank."
            )
        return g.op(Distances(p=float(p)), a, b)
