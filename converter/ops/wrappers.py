"""Layers around another layer."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from converter.ops.base import Capture, Op, keras_layer


class _Spectral(Op, abstract=True):
    """No op at all: at inference SpectralNormalization calls its layer with the kernel that it has stored.

    In training Keras divides the stored kernel by its largest singular value before every step, by power iteration from
    a stored vector; torch's spectral_norm keeps the undivided kernel instead, which is another training.
    """

    @keras_layer("SpectralNormalization")
    @staticmethod
    def layer(g: Capture, layer: Any, x: ir.Value) -> ir.Value:
        g.note("SpectralNormalization is converted for inference: training does not normalise the kernel any further.")
        made: ir.Value = g.wrapped(layer.layer, x)
        return made
