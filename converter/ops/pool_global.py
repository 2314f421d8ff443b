"""Pooling whose windows follow from the input's size: over everything, or a fixed number of windows."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from converter.ops.base import (
    Builder,
    Capture,
    Function,
    Op,
    Refusal,
    TorchCapture,
    Type,
    View,
    keras_layer,
    there,
    torch_operation,
)
from converter.ops.cast import Cast, Where
from converter.ops.compare import GreaterOrEqual, Less
from converter.ops.elementwise import Div
from converter.ops.indexing import Squeeze
from converter.ops.padding import batched, scalar
from converter.ops.pool import AveragePool, MaxPool
from converter.ops.pool_windows import numbers_of
from converter.ops.records import Layer, Module, Record
from converter.ops.reduce import ReduceMax, ReduceMean, ReduceSum
from converter.ops.shape import Unsqueeze
from converter.ops.sizes import counted, minus, over, plus, size, times


class _GlobalPooling(Op, abstract=True):
    """No op of its own: a reduction over the spatial axes."""

    @keras_layer("GlobalAveragePooling1D")
    @staticmethod
    def average_of_steps(g: Capture, layer: Any, x: ir.Value, *, mask: ir.Value | None = None) -> ir.Value:
        if mask is None:
            return _GlobalPooling.average(g, layer, x)
        kind = Cast(to=int(x.dtype or ir.DataType.FLOAT))
        steps = _spatial(layer, 3)
        truth = mask if mask.dtype == ir.DataType.BOOL else g.op(Cast(to=int(ir.DataType.BOOL)), mask, role="mask")
        truth = g.op(Unsqueeze(axes=(3 - steps[0],)), truth, role="mask")
        kept = g.op(Where(), truth, x, g.constant(0.0, like=x), role="masked")
        total, count = (g.op(ReduceSum(axes=steps, keepdims=1), v) for v in (kept, g.op(kind, truth, role="mask")))
        mean = g.op(Div(), total, count)
        return mean if layer.keepdims else g.op(Squeeze(axes=steps), mean)

    @keras_layer("GlobalAveragePooling2D", "GlobalAveragePooling3D")
    @staticmethod
    def average(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        return g.op(ReduceMean(axes=_spatial(layer, len(g.shape(x))), keepdims=int(layer.keepdims)), x)

    @keras_layer("GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D")
    @staticmethod
    def largest(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        return g.op(ReduceMax(axes=_spatial(layer, len(g.shape(x))), keepdims=int(layer.keepdims)), x)


def _spatial(layer: Any, rank: int) -> tuple[int, ...]:
    return tuple(range(2, rank)) if layer.data_format == "channels_first" else tuple(range(1, rank - 1))


class _Adaptive(Function, abstract=True):
    """(N, C, ...) -> (N, C, *output_size); window i of m over n elements is i * n // m to ceil((i + 1) * n / m)."""

    output_size: tuple[int, ...]

    spatial = True
    kind: ClassVar[str]

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        (x,) = there(types)
        return (Type((*x.shape[:2], *self.output_size), x.dtype),)

    def torch(self, n: View) -> Record:
        name = f"nn.Adaptive{self.kind}Pool{len(self.output_size)}d"
        return Module(name, (scalar(self.output_size),), inputs=(n.x(),))

    def keras(self, n: View) -> Record:
        kind = {"Avg": "Average"}.get(self.kind, self.kind)
        settings = {"output_size": scalar(self.output_size)}
        return Layer(f"Adaptive{kind}Pooling{len(self.output_size)}D", settings, inputs=(n.x(),))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        (x,) = inputs
        for i, count in enumerate(self.output_size):
            x = self.along(g, x, i + 2, count)
        return x

    def along(self, g: Builder, x: ir.Value, axis: int, count: int) -> ir.Value:
        """`count` windows along one axis: the elements outside of each are replaced, then each is reduced."""
        n = size(g, x, axis)
        behind = len(g.shape(x)) - axis - 1
        starts = times(g, counted(g, 0, count), n)
        ends = over(g, plus(g, plus(g, starts, n), count - 1), count)
        after = tuple(range(1, behind + 2))
        first, last = (g.op(Unsqueeze(axes=after), v) for v in (over(g, starts, count), ends))
        at = counted(g, 0, n)
        if behind:
            at = g.op(Unsqueeze(axes=tuple(range(1, behind + 1))), at)
        windows = g.op(Unsqueeze(axes=(axis,)), x)
        outside = g.constant(np.asarray(self.ignored()), like=x)
        kept = g.op(Where(), g.op(GreaterOrEqual(), at, first), windows, outside)
        kept = g.op(Where(), g.op(Less(), at, last), kept, outside)
        return self.reduced(g, kept, axis + 1, minus(g, last, first))

    def ignored(self) -> float:
        """What stands for an element outside of the window."""
        raise LookupError(f"{type(self).__name__} does not say what it ignores")

    def reduced(self, g: Builder, windows: ir.Value, axis: int, lengths: ir.Value) -> ir.Value:
        """Each window as one element; `lengths` has the axis with length 1."""
        raise LookupError(f"{type(self).__name__} does not say how it reduces")


class _AdaptiveAten(Op, abstract=True):
    """torch's adaptive pooling: a reduction for one window, equal windows where the size divides, else as they come."""

    @torch_operation("adaptive_avg_pool1d.default", "adaptive_avg_pool2d.default", "adaptive_avg_pool3d.default")
    @torch_operation("_adaptive_avg_pool2d.default", "_adaptive_avg_pool3d.default")
    @staticmethod
    def average(g: TorchCapture, x: ir.Value, output_size: tuple[Any, ...]) -> ir.Value:
        sizes = windows_of(g, x, output_size)
        if set(sizes) == {1}:
            return g.op(ReduceMean(axes=tuple(range(2, len(g.shape(x)))), keepdims=1), x)
        equal = equal_windows(g, x, sizes)
        return g.op(AveragePool(**equal) if equal else AdaptiveAveragePool(output_size=sizes), x)

    @torch_operation("adaptive_max_pool1d.default", "adaptive_max_pool2d.default", "adaptive_max_pool3d.default")
    @staticmethod
    def largest(g: TorchCapture, x: ir.Value, output_size: tuple[Any, ...]) -> tuple[ir.Value, None]:
        sizes = windows_of(g, x, output_size)
        if set(sizes) == {1}:
            return g.op(ReduceMax(axes=tuple(range(2, len(g.shape(x)))), keepdims=1), x), None
        equal = equal_windows(g, x, sizes)
        return g.op(MaxPool(**equal) if equal else AdaptiveMaxPool(output_size=sizes), x), None


def windows_of(g: TorchCapture, x: ir.Value, output_size: tuple[Any, ...]) -> tuple[int, ...]:
    """How many windows each spatial axis has."""
    batched(g.shape(x), len(output_size))
    numbers_of(x)
    found = tuple(m if m is not None else n for n, m in zip(g.shape(x)[2:], output_size, strict=True))
    if any(not isinstance(m, int) for m in found):
        raise Refusal("how many windows it has is known at run time only.", "Export it with fixed sizes.")
    return tuple(int(m or 0) for m in found)


def equal_windows(g: TorchCapture, x: ir.Value, sizes: tuple[int, ...]) -> dict[str, Any]:
    """The attributes of a pooling whose windows are these, {} where they are not equal."""
    known = g.shape(x)[2:]
    if any(n is None or n % m for n, m in zip(known, sizes, strict=True)):
        return {}
    kernel = tuple((n or 0) // m for n, m in zip(known, sizes, strict=True))
    return {"kernel_shape": kernel, "strides": kernel}


class AdaptiveMaxPool(_Adaptive):
    """The largest element of each window."""

    kind: ClassVar[str] = "Max"

    def ignored(self) -> float:
        return float("-inf")

    def reduced(self, g: Builder, windows: ir.Value, axis: int, lengths: ir.Value) -> ir.Value:
        return g.op(ReduceMax(axes=(axis,), keepdims=0), windows)

    @keras_layer("AdaptiveMaxPooling1D", "AdaptiveMaxPooling2D", "AdaptiveMaxPooling3D")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        op = AdaptiveMaxPool(output_size=tuple(int(n) for n in layer.output_size))
        return g.last(layer, g.op(op, g.first(layer, x)))


class AdaptiveAveragePool(_Adaptive):
    """The mean of each window."""

    kind: ClassVar[str] = "Avg"

    def ignored(self) -> float:
        return 0.0

    def reduced(self, g: Builder, windows: ir.Value, axis: int, lengths: ir.Value) -> ir.Value:
        total = g.op(ReduceSum(axes=(axis,), keepdims=1), windows)
        return g.op(Squeeze(axes=(axis,)), g.op(Div(), total, g.op(Cast(to=int(windows.dtype or 1)), lengths)))

    @keras_layer("AdaptiveAveragePooling1D", "AdaptiveAveragePooling2D", "AdaptiveAveragePooling3D")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        op = AdaptiveAveragePool(output_size=tuple(int(n) for n in layer.output_size))
        return g.last(layer, g.op(op, g.first(layer, x)))
