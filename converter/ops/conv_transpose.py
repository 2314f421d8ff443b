"""Transposed convolutions. A kernel is (in, out / group, ...) in ONNX and torch, (..., out, in) in Keras.

TensorFlow defines the layer as the gradient of a convolution whose output it is given: with K the kernel's reach, a
'valid' output has (n - 1) * stride + max(K, stride) elements, a 'same' output n * stride. Keras's output_padding p says
it otherwise: (n - 1) * stride + K + p, and (n - 1) * stride + K % 2 + p. What 'same' leaves out is split as in the
convolution: the smaller half in front.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import onnx_ir as ir

from converter.ops.base import Capture, Dims, Op, TorchCapture, View, inverse, keras_layer, torch_operation
from converter.ops.conv import kernel_axes
from converter.ops.padding import batched, pairs_of, scalar, spread, windows_of
from converter.ops.records import Index, Layer, Module, Record


def borders(kernel: int, stride: int, dilation: int, padding: str, extra: int | None) -> tuple[int, int, int]:
    """For one axis: elements left out in front, left out behind, and added behind."""
    reach = (kernel - 1) * dilation + 1
    if padding == "valid":
        return 0, 0, max(stride - reach, 0) if extra is None else extra
    total = reach - (stride if extra is None else reach % 2 + extra)
    if total < 0:
        return 0, 0, -total
    return total // 2, total - total // 2, 0


class ConvTranspose(Op):
    """y[n, o, p] = bias[o] + sum of x[n, c, q] * weight[c, o, k] where q * stride + k * dilation - pad = p."""

    auto_pad: str = "NOTSET"
    dilations: tuple[int, ...]
    group: int = 1
    kernel_shape: tuple[int, ...]
    output_padding: tuple[int, ...] | None = None
    output_shape: tuple[int, ...] | None = None
    pads: tuple[int, ...] | None = None
    strides: tuple[int, ...]

    spatial = True
    kernels = (1, 2)
    reads: ClassVar[frozenset[str]] = frozenset({"B"})

    @classmethod
    def complete(cls, found: dict[str, Any], shapes: Sequence[Dims]) -> dict[str, Any]:
        made = windows_of(found, shapes[1][2:])
        made = {"dilations": (1,) * len(made["kernel_shape"])} | made
        way, wanted = made.pop("auto_pad", "NOTSET"), made.pop("output_shape", None)
        if way == "VALID":
            made["pads"] = None
        if way in ("NOTSET", "VALID") and wanted is None:
            return made
        sizes = shapes[0][2:]
        if wanted is not None and None in sizes:
            raise LookupError("output_shape needs an input size that is known before run time")
        extra = made.get("output_padding") or (0,) * len(sizes)
        axes = zip(sizes, made["kernel_shape"], made["strides"], made["dilations"], extra, strict=True)
        # a window reaches s * (n - 1) + (k - 1) * d + 1 elements; 'same' keeps s * n of them, whatever n is
        over = [(k - 1) * d + 1 - s + e + (0 if wanted is None else s * (n or 0)) for n, k, s, d, e in axes]
        if wanted is not None:
            over = [more - length for more, length in zip(over, wanted[-len(sizes) :], strict=True)]
        if min(over) < 0:
            raise LookupError("its output is longer than what its windows reach")
        small, large = [n // 2 for n in over], [n - n // 2 for n in over]
        made["pads"] = (*small, *large) if way == "SAME_UPPER" else (*large, *small)
        return made

    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Elements left out in front and behind, per axis."""
        return pairs_of(self.pads or (0, 0) * len(self.kernel_shape))

    def extra(self) -> tuple[int, ...]:
        """Elements added behind, per axis."""
        return self.output_padding or (0,) * len(self.kernel_shape)

    def torch(self, n: View) -> Record:
        width, per_group = n.shape(1)[:2]
        rank = len(self.kernel_shape)
        settings: dict[str, Any] = {"kernel_size": scalar(self.kernel_shape)}
        if set(self.strides) != {1}:
            settings["stride"] = scalar(self.strides)
        if any(front for front, _ in self.pairs()):
            settings["padding"] = scalar([front for front, _ in self.pairs()])
        more = [extra + front - back for (front, back), extra in zip(self.pairs(), self.extra(), strict=True)]
        if max(more) > 0:
            settings["output_padding"] = scalar([max(m, 0) for m in more])
        if self.group != 1:
            settings["groups"] = self.group
        if not n.has(2):
            settings["bias"] = False
        if set(self.dilations) != {1}:
            settings["dilation"] = scalar(self.dilations)
        weights = {"weight": n.value(1)} | ({"bias": n.value(2)} if n.has(2) else {})
        args = (width, (per_group or 0) * self.group)
        made = Module(f"nn.ConvTranspose{rank}d", args, settings, weights, inputs=(n.x(),))
        if min(more) >= 0:
            return made
        return Index(made, (slice(None), slice(None), *(slice(None, m) if m < 0 else slice(None) for m in more)))

    def keras(self, n: View) -> Record:
        rank = len(self.kernel_shape)
        if set(self.strides) != {1} and set(self.dilations) != {1}:
            raise LookupError("a Keras transposed convolution has strides or dilation, not both")
        padding, extra, cropped = self.spelled()
        settings: dict[str, Any] = {"filters": n.shape(1)[1], "kernel_size": scalar(self.kernel_shape)}
        if set(self.strides) != {1}:
            settings["strides"] = scalar(self.strides)
        if padding != "valid":
            settings["padding"] = padding
        if extra is not None:
            settings["output_padding"] = scalar(extra)
        if set(self.dilations) != {1}:
            settings["dilation_rate"] = scalar(self.dilations)
        if self.group != 1:
            raise LookupError("a Keras transposed convolution has no groups")
        weights: dict[str, Any] = {"kernel": (n.value(1), inverse(kernel_axes(rank + 2)))}
        if n.has(2):
            weights["bias"] = (n.value(2), None)
        else:
            settings["use_bias"] = False
        made = Layer(f"Conv{rank}DTranspose", settings, weights, inputs=(n.x(),), activates=True)
        if not any(n for pair in cropped for n in pair):
            return made
        return Index(made, (slice(None), *(slice(front or None, -back or None) for front, back in cropped)))

    def spelled(self) -> tuple[str, tuple[int, ...] | None, list[tuple[int, int]]]:
        """Keras's padding and output_padding that give these borders, and what is left out of what they give."""
        windows = list(zip(self.kernel_shape, self.strides, self.dilations, strict=True))
        wanted = [(front, back, extra) for (front, back), extra in zip(self.pairs(), self.extra(), strict=True)]
        for padding in ("valid", "same"):
            if [borders(*w, padding, None) for w in windows] == wanted:
                return padding, None, []
            found = []
            for window, want in zip(windows, wanted, strict=True):
                fits = [e for e in range(window[1]) if borders(*window, padding, e) == want]
                found.extend(fits[:1])
            if len(found) == len(windows):
                return padding, tuple(found), []
        more = [max(extra - back, 0) for _, back, extra in wanted]
        least = [borders(*window, "valid", None)[2] for window in windows]
        cropped = [
            (front, max(back - extra, 0) + max(own - added, 0) * (not any(more)))
            for (front, back, extra), own, added in zip(wanted, least, more, strict=True)
        ]
        return "valid", tuple(more) if any(more) else None, cropped

    @torch_operation("conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input")
    @staticmethod
    def aten(
        g: TorchCapture,
        x: ir.Value,
        weight: ir.Value,
        bias: ir.Value | None,
        stride: tuple[int, ...],
        padding: tuple[int, ...],
        output_padding: tuple[int, ...],
        groups: int,
        dilation: tuple[int, ...],
    ) -> ir.Value:
        kernel = tuple(d or 0 for d in g.shape(weight)[2:])
        rank = len(kernel)
        batched(g.shape(x), rank)
        extra = spread(output_padding, rank)
        op = ConvTranspose(
            dilations=spread(dilation, rank),
            group=groups,
            kernel_shape=kernel,
            output_padding=extra if any(extra) else None,
            pads=spread(padding, rank) * 2,
            strides=spread(stride, rank),
        )
        return g.op(op, x, weight, *([] if bias is None else [bias]))

    @keras_layer("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        x = g.first(layer, x)
        kernel, strides, rate = tuple(layer.kernel_size), tuple(layer.strides), tuple(layer.dilation_rate)
        given = layer.output_padding or (None,) * len(kernel)
        axes = zip(kernel, strides, rate, given, strict=True)
        found = [borders(k, s, d, layer.padding, extra) for k, s, d, extra in axes]
        op = ConvTranspose(
            dilations=rate,
            kernel_shape=kernel,
            output_padding=tuple(extra for _, _, extra in found) if any(extra for _, _, extra in found) else None,
            pads=(*(front for front, _, _ in found), *(back for _, back, _ in found)),
            strides=strides,
        )
        weights = [g.variable(layer.kernel, kernel_axes(len(layer.kernel.shape)))]
        if layer.use_bias:
            weights.append(g.variable(layer.bias))
        return g.activate(layer.activation, g.last(layer, g.op(op, x, *weights)))
