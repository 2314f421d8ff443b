"""Pooling: a window slides and gives its largest or its mean element."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from converter.ops.base import Capture, Dims, Op, View, keras_layer
from converter.ops.padding import length, padded, pairs_of, resolve, same, scalar
from converter.ops.records import Call, Layer, Module, Record


class _Pool(Op, abstract=True):
    """(N, C, ...) -> (N, C, ...); padding never enters the result."""

    auto_pad: str = "NOTSET"
    ceil_mode: int = 0
    kernel_shape: tuple[int, ...]
    pads: tuple[int, ...] | None = None
    strides: tuple[int, ...]

    spatial = True

    def rate(self) -> tuple[int, ...]:
        """Dilations."""
        return (1,) * len(self.kernel_shape)

    def pairs(self, sizes: Dims) -> tuple[tuple[int, int], ...] | None:
        """Padded elements per axis for the sizes; None where they depend on a size that is not known."""
        if self.auto_pad == "NOTSET":
            return pairs_of(self.pads or (0, 0) * len(self.kernel_shape))
        return resolve("same", sizes, self.kernel_shape, self.strides, self.rate()).pairs

    def shape(self, *shapes: Dims) -> Dims:
        x = shapes[0]
        pairs = self.pairs(x[2:])
        if pairs is None:
            return (*x[:2], *(None if n is None else -(-n // s) for n, s in zip(x[2:], self.strides, strict=True)))
        windows = zip(x[2:], self.kernel_shape, self.strides, self.rate(), pairs, strict=True)
        return (*x[:2], *(length(*w, ceil=bool(self.ceil_mode)) for w in windows))

    def keras(self, n: View) -> Record:
        rank = len(self.kernel_shape)
        sizes = n.shape()[1:-1]
        pairs = self.pairs(sizes)
        wanted = [same(*w) for w in zip(sizes, self.kernel_shape, self.strides, self.rate(), strict=True)]
        kind = "Max" if isinstance(self, MaxPool) else "Average"
        padding = "same" if pairs is None or any(p != (0, 0) for p in pairs) else "valid"
        if pairs is not None and padding == "same" and list(pairs) != wanted:
            raise LookupError(f"padding {pairs} is neither 'valid' nor 'same'")
        settings = {"pool_size": self.kernel_shape, "strides": self.strides, "padding": padding}
        return Layer(f"{kind}Pooling{rank}D", settings, inputs=(n.x(),))

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

    dilations: tuple[int, ...] | None = None
    storage_order: int = 0

    def rate(self) -> tuple[int, ...]:
        return self.dilations or super().rate()

    def torch(self, n: View) -> Record:
        rank = len(self.kernel_shape)
        pairs = self.pairs(n.shape()[2:])
        settings = self.window_settings()
        x: Any = n.x()
        if pairs is None:
            x = Call("pad_same", (x, self.kernel_shape, self.strides, self.rate()), {"value": float("-inf")})
        elif all(a == b and 2 * a <= k for (a, b), k in zip(pairs, self.kernel_shape, strict=True)):
            if any(a for a, _ in pairs):
                settings["padding"] = scalar([a for a, _ in pairs])
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
