"""Random augmentation: at inference these layers give back their input, so the model does without them.

A layer with a dtype of its own turns integer images into floats all the same. Layers that compute at inference too
(AutoContrast, Equalization, ContrastLimitedAdaptiveHistogramEqualization) have no row here.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from converter.ops import refusals
from converter.ops.base import Capture, Op, Refusal, keras_layer
from converter.ops.cast import Cast

CASTING = (
    "AugMix",
    "CutMix",
    "RandAugment",
    "RandomElasticTransform",
    "RandomErasing",
    "RandomFlip",
    "RandomGaussianBlur",
    "RandomPerspective",
    "RandomRotation",
    "RandomSharpness",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
    "Solarization",
)
"""Layers that cast integer images to floats at inference."""

PASSING = (
    "MixUp",
    "RandomBrightness",
    "RandomColorDegeneration",
    "RandomColorJitter",
    "RandomContrast",
    "RandomGrayscale",
    "RandomHue",
    "RandomInvert",
    "RandomPosterization",
    "RandomSaturation",
)
"""Layers that give integer images back as they are."""


class _Augmentation(Op, abstract=True):
    """No op at all: readings that return their input."""

    @keras_layer(*CASTING)
    @staticmethod
    def casting(g: Capture, layer: Any, x: Any) -> ir.Value:
        value = _image(g, x)
        floating = value.dtype is None or value.dtype.is_floating_point()
        return value if floating else g.op(Cast(to=int(ir.DataType.FLOAT)), value)

    @keras_layer(*PASSING)
    @staticmethod
    def passing(g: Capture, layer: Any, x: Any) -> ir.Value:
        return _image(g, x)

    @keras_layer("RandomCrop", vet=refusals.same_size)
    @staticmethod
    def crop(g: Capture, layer: Any, x: Any) -> ir.Value:
        return _image(g, x)


def _image(g: Capture, x: Any) -> ir.Value:
    if not isinstance(x, ir.Value):
        raise Refusal("it is called on a dict of images and labels.", "Call it on the images alone.")
    g.note("it changes images while training only, and is left out; augment the data instead.")
    return x
