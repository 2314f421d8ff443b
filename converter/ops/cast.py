"""Changes of dtype."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from converter.ops.base import Capture, Op, Refusal, View, keras_operation
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

    @keras_operation("Cast")
    @staticmethod
    def operation(g: Capture, operation: Any, x: ir.Value, *rest: Any, **options: Any) -> ir.Value:
        name = str(operation.dtype)
        try:
            to = ir.DataType.from_numpy(np.dtype(name))
        except TypeError as error:
            raise Refusal(f"there is no mapping for a cast to {name}.") from error
        return x if x.dtype == to else g.op(Cast(to=int(to)), x)


class Where(Op):
    """Elements of x where the condition is true, of y elsewhere: inputs are (condition, x, y)."""

    neutral: ClassVar[bool] = True

    def torch(self, n: View) -> Record:
        return Call("torch.where", n.all())
