"""Convolutions. A kernel is (out, in / group, ...) in ONNX and torch, (..., in / group, out) in Keras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import onnx_ir as ir

from converter.ops.base import Capture, Dims, Op, Perm, TorchCapture, View, inverse, keras_layer, of, torch_operation
from converter.ops.pad_same import PadSame
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
from converter.ops.records import Call, Layer, Module, Record


def kernel_axes(rank: int) -> Perm:
    """Keras's (..., in, out) from... to ONNX's (out, in, ...): `onnx = keras.transpose(kernel_axes(rank))`."""
    return (rank - 1, rank - 2, *range(rank - 2))


def depthwise_axes(rank: int) -> Perm:
    """torch's (channels, 1, ...) to Keras's (..., channels, 1): `keras = torch.transpose(depthwise_axes(rank))`."""
    return (*range(2, rank), 0, 1)


class Conv(Op):
    """y[n, o, p] = bias[o] + sum over c, k of x[n, c, p * stride + k * dilation - pad] * weight[o, c, k]."""

    auto_pad: str = "NOTSET"
    dilations: tuple[int, ...]
    group: int = 1
    kernel_shape: tuple[int, ...]
    pads: tuple[int, ...] | None = None
    strides: tuple[int, ...]

    spatial = True
    kernels = (1, 2)
    reads: ClassVar[frozenset[str]] = frozenset({"B"})

    def pairs(self, sizes: Dims) -> tuple[tuple[int, int], ...] | None:
        """Padded elements per axis for the sizes; None where they depend on a size that is not known."""
        return sides(self.auto_pad, self.pads, sizes, self.kernel_shape, self.strides, self.dilations)

    @classmethod
    def complete(cls, found: dict[str, Any], shapes: Sequence[Dims]) -> dict[str, Any]:
        made = windows_of(found, shapes[1][2:])
        return {"dilations": (1,) * len(made["kernel_shape"])} | made

    def with_padding(self, pairs: tuple[tuple[int, int], ...], x: ir.Value) -> Op | None:
        pads = around(self, pairs)
        return None if pads is None else replace(self, pads=pads.onnx)

    def torch(self, n: View) -> Record:
        out, per_group = n.shape(1)[:2]
        pairs = self.pairs(n.shape()[2:])
        weights = {"weight": n.value(1)} | ({"bias": n.value(2)} if n.has(2) else {})
        settings: dict[str, Any] = {"kernel_size": scalar(self.kernel_shape)}
        if set(self.strides) != {1}:
            settings["stride"] = scalar(self.strides)
        x: Any = n.x()
        if pairs is None:
            x = Call("pad_same", (x, self.kernel_shape, self.strides, self.dilations))
        elif all(front == back for front, back in pairs) and self.padded_alike(n, pairs):
            if any(front for front, _ in pairs):
                settings["padding"] = scalar([front for front, _ in pairs])
        else:
            x = padded(x, pairs)
        if set(self.dilations) != {1}:
            settings["dilation"] = scalar(self.dilations)
        if self.group != 1:
            settings["groups"] = self.group
        if not n.has(2):
            settings["bias"] = False
        rank = len(self.kernel_shape)
        return Module(f"nn.Conv{rank}d", ((per_group or 0) * self.group, out), settings, weights, inputs=(x,))

    def padded_alike(self, n: View, pairs: tuple[tuple[int, int], ...]) -> bool:
        """Whether every call of the layer pads by these numbers; where not, one module can do without padding."""
        nodes = [use.node for use in n.value(1).uses() if use.node.op_type == "Conv"]
        calls = [(of(node), node.inputs[0]) for node in nodes]
        shapes = [(op, tuple(d if isinstance(d, int) else None for d in x.shape)) for op, x in calls if x and x.shape]
        return all(isinstance(op, Conv) and op.pairs(shape[2:]) == pairs for op, shape in shapes)

    def keras(self, n: View) -> Record:
        rank = len(self.kernel_shape)
        pairs = self.pairs(n.shape()[1:-1])
        wanted = [same(*w) for w in zip(n.shape()[1:-1], self.kernel_shape, self.strides, self.dilations, strict=True)]
        if set(self.strides) != {1} and set(self.dilations) != {1}:
            raise LookupError("a Keras convolution has strides or dilation, not both")
        x: Any = n.x()
        settings: dict[str, Any] = {"filters": n.shape(1)[0], "kernel_size": scalar(self.kernel_shape)}
        if set(self.strides) != {1}:
            settings["strides"] = scalar(self.strides)
        if pairs is None or (list(pairs) == wanted and any(p != (0, 0) for p in pairs)):
            settings["padding"] = "same"
        elif rank == 1 and pairs[0] == ((self.kernel_shape[0] - 1) * self.dilations[0], 0) and any(pairs[0]):
            settings["padding"] = "causal"
        elif any(p != (0, 0) for p in pairs):
            x = zero_padding(x, pairs)
        if set(self.dilations) != {1}:
            settings["dilation_rate"] = scalar(self.dilations)
        weights: dict[str, Any] = {"kernel": (n.value(1), inverse(kernel_axes(rank + 2)))}
        if n.has(2):
            weights["bias"] = (n.value(2), None)
        else:
            settings["use_bias"] = False
        alone = self.group == n.shape()[-1] == n.shape(1)[0]
        if self.group != 1 and alone and rank < 3 and len(set(self.strides)) == 1:
            del settings["filters"]
            weights["kernel"] = (n.value(1), depthwise_axes(rank + 2))
            return Layer(f"DepthwiseConv{rank}D", settings, weights, inputs=(x,), activates=True)
        if self.group != 1:
            settings["groups"] = self.group
        return Layer(f"Conv{rank}D", settings, weights, inputs=(x,), activates=True)

    @torch_operation("conv1d.default", "conv2d.default", "conv3d.default")
    @torch_operation("conv1d.padding", "conv2d.padding", "conv3d.padding")
    @staticmethod
    def aten(
        g: TorchCapture,
        x: ir.Value,
        weight: ir.Value,
        bias: ir.Value | None,
        stride: tuple[int, ...],
        padding: tuple[int, ...] | str,
        dilation: tuple[int, ...],
        groups: int,
    ) -> ir.Value:
        kernel = tuple(d or 0 for d in g.shape(weight)[2:])
        batched(g.shape(x), len(kernel))
        strides, rate = spread(stride, len(kernel)), spread(dilation, len(kernel))
        if isinstance(padding, str):
            pairs = resolve(padding, (None,) * len(kernel), kernel, strides, rate).pairs or ()
        else:
            pairs = tuple((p, p) for p in spread(padding, len(kernel)))
        before = g.pads(x)
        if before is not None and before[2] == 0:
            x = before[0]
            pairs = tuple((a + c, b + d) for (a, b), (c, d) in zip(pairs, before[1], strict=True))
        op = Conv(dilations=rate, group=groups, kernel_shape=kernel, pads=Pads(pairs).onnx, strides=strides)
        return g.op(op, x, weight, *([] if bias is None else [bias]))

    @staticmethod
    def windows(layer: Any, sizes: Dims, **given: Any) -> dict[str, Any]:
        """The attributes that a Keras layer's kernel_size, strides, padding and dilation_rate stand for."""
        kernel, strides, rate = tuple(layer.kernel_size), tuple(layer.strides), tuple(layer.dilation_rate)
        pads = resolve(given.pop("padding", layer.padding), sizes, kernel, strides, rate)
        found: dict[str, Any] = {"kernel_shape": kernel, "strides": strides, "dilations": rate}
        return found | given | ({"auto_pad": "SAME_UPPER"} if pads.pairs is None else {"pads": pads.onnx})

    @keras_layer("Conv1D", "Conv2D", "Conv3D")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        weights = [g.variable(layer.kernel, kernel_axes(len(layer.kernel.shape)))]
        if layer.use_bias:
            weights.append(g.variable(layer.bias))
        y = convolved(g, layer, g.first(layer, x), weights, layer.groups)
        return g.activate(layer.activation, g.last(layer, y))


def convolved(g: Capture, layer: Any, x: ir.Value, weights: list[ir.Value], group: int, role: str = "") -> ir.Value:
    """A Keras layer's windows over `x`, channels first."""
    found = Conv.windows(layer, g.shape(x)[2:], group=group)
    if "auto_pad" in found and set(found["dilations"]) != {1}:
        del found["auto_pad"]
        pad = PadSame(**{name: found[name] for name in ("dilations", "kernel_shape", "strides")})
        x = g.op(pad, x, role=role)
    return g.op(Conv(**found), x, *weights, role=role)
