"""Pooling: a window slides and gives its largest or its mean element."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from converter.ops.base import (
    Builder,
    Capture,
    Dims,
    Op,
    TorchCapture,
    View,
    class_of,
    keras_layer,
    of,
    operands_of,
    torch_operation,
)
from converter.ops.elementwise import Mul
from converter.ops.padding import (
    Pads,
    around,
    batched,
    padded,
    resolve,
    same,
    scalar,
    sides,
    spread,
    windows_of,
    zero_padding,
)
from converter.ops.pool_windows import counted, counts, divided, numbers_of, windows
from converter.ops.records import Call, Layer, Module, Record


class _Pool(Op, abstract=True):
    """(N, C, ...) -> (N, C, ...); padding never enters the result."""

    auto_pad: str = "NOTSET"
    ceil_mode: int = 0
    kernel_shape: tuple[int, ...]
    dilations: tuple[int, ...] | None = None
    pads: tuple[int, ...] | None = None
    strides: tuple[int, ...]

    spatial = True
    kind: ClassVar[str]

    def rate(self) -> tuple[int, ...]:
        """Dilations."""
        return self.dilations or (1,) * len(self.kernel_shape)

    @classmethod
    def complete(cls, found: dict[str, Any], shapes: Sequence[Dims]) -> dict[str, Any]:
        return windows_of(found, ())

    def pairs(self, sizes: Dims) -> tuple[tuple[int, int], ...] | None:
        """Padded elements per axis for the sizes; None where they depend on a size that is not known."""
        return sides(self.auto_pad, self.pads, sizes, self.kernel_shape, self.strides, self.rate())

    def keras(self, n: View) -> Record:
        rank = len(self.kernel_shape)
        sizes = n.shape()[1:-1]
        pairs = self.pairs(sizes)
        wanted = [same(*w) for w in zip(sizes, self.kernel_shape, self.strides, self.rate(), strict=True)]
        if self.ceil_mode or set(self.rate()) != {1}:
            raise LookupError("Keras's pooling has no ceil_mode and no dilation")
        settings: dict[str, Any] = {"pool_size": scalar(self.kernel_shape)}
        if self.strides != self.kernel_shape:
            settings["strides"] = scalar(self.strides)
        x: Any = n.x()
        if pairs is None or (list(pairs) == wanted and any(p != (0, 0) for p in pairs) and not self.counts_padding()):
            settings["padding"] = "same"
        elif any(p != (0, 0) for p in pairs):
            x = zero_padding(x, pairs) if self.zeros_are_padding(n.value(0)) else self.surrounded(x, pairs)
        return Layer(f"{self.kind}Pooling{rank}D", settings, inputs=(x,))

    def around(self, pairs: tuple[tuple[int, int], ...]) -> Pads | None:
        """The padding with more around it, where torch's pooling takes that: half of the window at most."""
        pads = around(self, pairs)
        small = pads is not None and all(2 * a <= k for a, k in zip(pads.onnx, self.kernel_shape * 2, strict=True))
        return pads if small else None

    def hanging(self, pairs: tuple[tuple[int, int], ...] | None) -> None:
        """LookupError for windows over the end where torch has others: its padding is alike on both sides."""
        alike = pairs is not None and all(
            a == b and 2 * a <= k for (a, b), k in zip(pairs, self.kernel_shape, strict=True)
        )
        if self.ceil_mode and (not alike or self.counts_padding()):
            raise LookupError(f"its last windows hang over the end (ceil_mode), with the padding {pairs}")

    def counts_padding(self) -> bool:
        """Whether padded elements count as zeros."""
        return False

    def zeros_are_padding(self, x: ir.Value) -> bool:
        """Whether zeros around the input give the same as padding."""
        return self.counts_padding()

    def surrounded(self, x: Record, pairs: tuple[tuple[int, int], ...]) -> Record:
        """`x` with what stands for padding around it in Keras, where zeros do not."""
        raise LookupError(f"padding {pairs} is not 'same', and zeros in its place could change the result")

    def ceiled(self, sizes: Dims) -> tuple[int, ...] | None:
        """The padding with which torch's ceil_mode has just these windows, None where no padding does.

        With ceil_mode the last window may hang over the end, but has to start inside.
        """
        pairs = self.pairs(sizes)
        reaches = [(k - 1) * d + 1 for k, d in zip(self.kernel_shape, self.rate(), strict=True)]
        if pairs is None:
            fits = all(n is None and s > 1 and r <= 2 for n, s, r in zip(sizes, self.strides, reaches, strict=True))
            return (0,) * len(sizes) if fits else None
        for n, s, r, k, (front, back) in zip(sizes, self.strides, reaches, self.kernel_shape, pairs, strict=True):
            if n is None or 2 * front > k:
                return None
            steps = -(-(n + 2 * front - r) // s) + 1
            steps -= (steps - 1) * s >= n + front
            if steps != (n + front + back - r) // s + 1:
                return None
        return tuple(front for front, _ in pairs)

    @staticmethod
    def windows(layer: Any, sizes: Dims) -> dict[str, Any]:
        """The attributes that a Keras layer's pool_size, strides and padding stand for."""
        kernel, strides = tuple(layer.pool_size), tuple(layer.strides)
        pads = resolve(layer.padding, sizes, kernel, strides, (1,) * len(kernel))
        found: dict[str, Any] = {"kernel_shape": kernel, "strides": strides}
        return found | ({"auto_pad": "SAME_UPPER"} if pads.pairs is None else {"pads": pads.onnx})

    def window_settings(self) -> dict[str, Any]:
        """kernel_size and stride, as torch takes them."""
        settings: dict[str, Any] = {"kernel_size": scalar(self.kernel_shape)}
        if self.strides != self.kernel_shape:
            settings["stride"] = scalar(self.strides)
        return settings


class MaxPool(_Pool):
    """The largest element of each window."""

    storage_order: int = 0
    """The order of the second output, which no form has."""

    kind: ClassVar[str] = "Max"
    nonnegative: ClassVar[str] = "kept"

    def zeros_are_padding(self, x: ir.Value) -> bool:
        return nonnegative(x)

    def surrounded(self, x: Record, pairs: tuple[tuple[int, int], ...]) -> Record:
        return Call("ops.pad", (x, ((0, 0), *pairs, (0, 0))), {"constant_values": float("-inf")})

    def with_padding(self, pairs: tuple[tuple[int, int], ...], x: ir.Value) -> Op | None:
        pads = self.around(pairs)
        return replace(self, pads=pads.onnx) if pads is not None and nonnegative(x) else None

    def torch(self, n: View) -> Record:
        rank = len(self.kernel_shape)
        pairs = self.pairs(n.shape()[2:])
        self.hanging(pairs)
        settings = self.window_settings()
        x: Any = n.x()
        ceiled = self.ceiled(n.shape()[2:])
        if pairs is not None and all(a == b and 2 * a <= k for (a, b), k in zip(pairs, self.kernel_shape, strict=True)):
            if any(a for a, _ in pairs):
                settings["padding"] = scalar([a for a, _ in pairs])
        elif ceiled is not None:
            settings |= {"padding": scalar(ceiled)} if any(ceiled) else {}
            settings["ceil_mode"] = True
        elif pairs is None:
            x = Call("pad_same", (x, self.kernel_shape, self.strides, self.rate()), {"value": float("-inf")})
        else:
            x = padded(x, pairs, float("-inf"))
        if set(self.rate()) != {1}:
            settings["dilation"] = scalar(self.rate())
        if self.ceil_mode:
            settings["ceil_mode"] = True
        return Module(f"nn.MaxPool{rank}d", (), settings, inputs=(x,))

    @keras_layer("MaxPooling1D", "MaxPooling2D", "MaxPooling3D")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        x = g.first(layer, x)
        return g.last(layer, g.op(MaxPool(**_Pool.windows(layer, g.shape(x)[2:])), x))

    @torch_operation("max_pool1d.default", "max_pool2d.default", "max_pool3d.default")
    @staticmethod
    def aten(
        g: TorchCapture,
        x: ir.Value,
        kernel_size: tuple[int, ...],
        stride: tuple[int, ...],
        padding: tuple[int, ...],
        dilation: tuple[int, ...],
        ceil_mode: bool,
    ) -> ir.Value:
        batched(g.shape(x), len(kernel_size))
        numbers_of(x)
        before = g.pads(x)
        first: tuple[tuple[int, int], ...] = ()
        if before is not None and (before[2] == float("-inf") or (before[2] == 0 and nonnegative(before[0]))):
            x, first, _ = before
        rank = len(g.shape(x)) - 2
        rate = spread(dilation, rank)
        found = windows(g, x, kernel_size, stride, padding, rate, first, ceil_mode)
        return g.op(MaxPool(**found, dilations=rate if set(rate) != {1} else None), x)


class _WithPlaces(Op, abstract=True):
    """Pooling that tells the places of the largest elements too: these have no mapping, the elements have."""

    @torch_operation("max_pool1d_with_indices.default")
    @torch_operation("max_pool2d_with_indices.default", "max_pool3d_with_indices.default")
    @staticmethod
    def aten(g: TorchCapture, *given: Any) -> tuple[ir.Value, None]:
        return MaxPool.aten(g, *given), None


class AveragePool(_Pool):
    """The mean of each window; padded elements count as zeros with `count_include_pad`, and not at all without."""

    count_include_pad: int = 0

    kind: ClassVar[str] = "Average"
    nonnegative: ClassVar[str] = "kept"

    def with_padding(self, pairs: tuple[tuple[int, int], ...], x: ir.Value) -> Op | None:
        pads = None if any(self.pads or ()) else self.around(pairs)
        return replace(self, pads=pads.onnx, count_include_pad=1) if pads is not None else None

    def counts_padding(self) -> bool:
        return bool(self.count_include_pad)

    def torch(self, n: View) -> Record:
        rank = len(self.kernel_shape)
        pairs = self.pairs(n.shape()[2:])
        if set(self.rate()) != {1}:
            raise LookupError(f"torch's AvgPool{rank}d has no dilation")
        self.hanging(pairs)
        settings = self.window_settings()
        ceiled = None if self.count_include_pad else self.ceiled(n.shape()[2:])
        if pairs is not None and all(a == b and 2 * a <= k for (a, b), k in zip(pairs, self.kernel_shape, strict=True)):
            if any(a for a, _ in pairs):
                settings["padding"] = scalar([a for a, _ in pairs])
                settings["count_include_pad"] = bool(self.count_include_pad)
            if self.ceil_mode:
                settings["ceil_mode"] = True
        elif ceiled is not None:
            settings |= {"padding": scalar(ceiled)} if any(ceiled) else {}
            settings |= {"ceil_mode": True, "count_include_pad": False}
        elif not self.count_include_pad and self.is_same(n.shape()[2:]):
            return Call("average_pool_same", (n.x(), self.kernel_shape, self.strides))
        elif self.count_include_pad and pairs is not None:
            return Module(f"nn.AvgPool{rank}d", (), settings, inputs=(padded(n.x(), pairs),))
        else:
            raise LookupError(f"torch's AvgPool{rank}d has no padding {pairs}")
        return Module(f"nn.AvgPool{rank}d", (), settings, inputs=(n.x(),))

    def is_same(self, sizes: Dims) -> bool:
        """Whether the padding is what 'same' is for the sizes."""
        windows = zip(sizes, self.kernel_shape, self.strides, self.rate(), strict=True)
        return self.auto_pad == "SAME_UPPER" or self.pairs(sizes) == tuple(same(*w) for w in windows)

    @keras_layer("AveragePooling1D", "AveragePooling2D", "AveragePooling3D")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        x = g.first(layer, x)
        return g.last(layer, g.op(AveragePool(**_Pool.windows(layer, g.shape(x)[2:])), x))

    def opened(self, g: Builder, *inputs: Any) -> ir.Value:
        """Windows over zeros, and each mean over the elements that count in the place of all."""
        x: ir.Value = inputs[0]
        sizes = g.shape(x)[1:-1]
        pairs = self.pairs(sizes)
        if pairs is None or self.ceil_mode or None in sizes or set(self.rate()) != {1}:
            raise LookupError("its windows depend on a size that is known at run time only")
        found: np.ndarray = np.ones(())
        for k, s, n, (front, back) in zip(self.kernel_shape, self.strides, sizes, pairs, strict=True):
            count = ((n or 0) + front + back - k) // s + 1
            found = found[..., None] * counted(k, s, count, front, (0, n or 0))
        wide = replace(self, count_include_pad=1)
        return divided(g, g.op(wide, x), self.kernel_shape, found[None, ..., None])

    @torch_operation("avg_pool1d.default")
    @staticmethod
    def aten1(
        g: TorchCapture,
        x: ir.Value,
        kernel_size: tuple[int, ...],
        stride: tuple[int, ...],
        padding: tuple[int, ...],
        ceil_mode: bool,
        count_include_pad: bool,
    ) -> ir.Value:
        return AveragePool.aten(g, x, kernel_size, stride, padding, ceil_mode, count_include_pad, None)

    @torch_operation("avg_pool2d.default", "avg_pool3d.default")
    @staticmethod
    def aten(
        g: TorchCapture,
        x: ir.Value,
        kernel_size: tuple[int, ...],
        stride: tuple[int, ...],
        padding: tuple[int, ...],
        ceil_mode: bool,
        count_include_pad: bool,
        divisor_override: int | None,
    ) -> ir.Value:
        batched(g.shape(x), len(kernel_size))
        numbers_of(x)
        rank = len(g.shape(x)) - 2
        if divisor_override is not None:
            found = windows(g, x, kernel_size, stride, padding, (1,) * rank, (), ceil_mode)
            means = g.op(AveragePool(**found, count_include_pad=int(any(found["pads"]))), x)
            return g.op(Mul(), means, g.constant(math.prod(found["kernel_shape"]) / divisor_override, like=means))
        found = windows(g, x, kernel_size, stride, padding, (1,) * rank, (), False)
        if ceil_mode and found != (wide := windows(g, x, kernel_size, stride, padding, (1,) * rank, (), True)):
            whole = g.op(AveragePool(**wide, count_include_pad=1), x)
            return divided(g, whole, wide["kernel_shape"], counts(g, x, wide, found, count_include_pad))
        included = int(count_include_pad and any(found["pads"]))
        return g.op(AveragePool(**found, count_include_pad=included), x)


def nonnegative(value: ir.Value) -> bool:
    """Whether no element can be below 0, by how the value is made: relu and the like, and what keeps the sign.

    Then zeros around it never are the largest of a window that holds an element of it.
    """
    stack, seen = [value], set()
    while stack:
        value = stack.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        node = value.producer()
        if value.const_value is not None:
            if not bool((value.const_value.numpy() >= 0).all()):
                return False
            continue
        if node is None or class_of(node) is None:
            return False
        op = of(node)
        if op.nonnegative_when() == "kept":
            known = operands_of(op)
            stack.extend(v for i, v in enumerate(node.inputs) if v is not None and i not in known)
        elif not op.nonnegative_when():
            return False
    return True
