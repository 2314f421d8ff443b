"""Elements overwritten where a mask is true, or by ids: `x[mask] = 0`, `x[i, j] = y`."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from converter.ops.base import Op, Refusal, TorchCapture, torch_operation
from converter.ops.cast import Where, in_dtype
from converter.ops.elementwise import Add
from converter.ops.gathering import ScatterND
from converter.ops.shape import Reshape, Unsqueeze


class _Assigned(Op, abstract=True):
    """No op of its own."""

    @torch_operation("index_put.default")
    @staticmethod
    def masked(
        g: TorchCapture, x: ir.Value, given: Sequence[ir.Value | None], values: ir.Value, accumulate: bool
    ) -> ir.Value:
        found = [(axis, mask) for axis, mask in enumerate(given) if mask is not None]
        if len(found) != 1 or found[0][1].dtype != ir.DataType.BOOL:
            return ScatterND.aten(g, x, given, values, accumulate)
        axis, mask = found[0]
        size = [d for d in g.shape(values) if d != 1]
        if size:
            why = f"it spreads values of shape {g.shape(values)} over the elements of a mask, one after the other."
            raise Refusal(why, "Use torch.where with values of the tensor's own shape.")
        behind = len(g.shape(x)) - axis - len(g.shape(mask))
        if behind:
            rank = len(g.shape(mask))
            mask = g.op(Unsqueeze(axes=tuple(range(rank, rank + behind))), mask)
        number = in_dtype(g, values, x)
        if g.shape(number):
            number = g.op(Reshape(target=(1,)), number)
        return g.op(Where(), mask, g.op(Add(), x, number) if accumulate else number, x)
