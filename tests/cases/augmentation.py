"""Rows for converter/ops/augmentation.py: random layers do nothing at inference."""

from collections.abc import Callable
from typing import Any

from tests.cases import Case, unary

SHAPE = (7, 6, 3)
FIRST = (3, 7, 6)

LAYERS: dict[str, Callable[..., Any]] = {
    "AugMix": lambda L, **o: L.AugMix(**o),
    "CutMix": lambda L, **o: L.CutMix(**o),
    "MixUp": lambda L, **o: L.MixUp(**o),
    "RandAugment": lambda L, **o: L.RandAugment(**o),
    "RandomBrightness": lambda L, **o: L.RandomBrightness(0.3, **o),
    "RandomColorDegeneration": lambda L, **o: L.RandomColorDegeneration(0.3, **o),
    "RandomColorJitter": lambda L, **o: L.RandomColorJitter(brightness_factor=0.3, contrast_factor=0.2, **o),
    "RandomContrast": lambda L, **o: L.RandomContrast(0.3, **o),
    "RandomCrop": lambda L, **o: L.RandomCrop(7, 6, **o),
    "RandomElasticTransform": lambda L, **o: L.RandomElasticTransform(**o),
    "RandomErasing": lambda L, **o: L.RandomErasing(**o),
    "RandomFlip": lambda L, **o: L.RandomFlip(**o),
    "RandomGaussianBlur": lambda L, **o: L.RandomGaussianBlur(**o),
    "RandomGrayscale": lambda L, **o: L.RandomGrayscale(**o),
    "RandomHue": lambda L, **o: L.RandomHue(0.3, **o),
    "RandomInvert": lambda L, **o: L.RandomInvert(**o),
    "RandomPerspective": lambda L, **o: L.RandomPerspective(**o),
    "RandomPosterization": lambda L, **o: L.RandomPosterization(4, **o),
    "RandomRotation": lambda L, **o: L.RandomRotation(0.2, **o),
    "RandomSaturation": lambda L, **o: L.RandomSaturation(0.3, **o),
    "RandomSharpness": lambda L, **o: L.RandomSharpness(0.3, **o),
    "RandomShear": lambda L, **o: L.RandomShear(0.2, 0.2, **o),
    "RandomTranslation": lambda L, **o: L.RandomTranslation(0.2, 0.2, **o),
    "RandomZoom": lambda L, **o: L.RandomZoom(0.2, **o),
    "Solarization": lambda L, **o: L.Solarization(0.3, 0.2, **o),
}


def _with_conv(name: str, dtype: str | None = None) -> Case:
    def make(keras: Any) -> Any:
        x = keras.Input(SHAPE, name="x", dtype=dtype)
        y = LAYERS[name](keras.layers)(x)
        return keras.Model(x, keras.layers.Conv2D(4, 3)(y))

    return Case(f"augmentation_{name.lower()}_conv_{dtype or 'float'}", make, transposes=0, ids=255 if dtype else 0)


CASES: list[Case] = [
    *[unary(f"augmentation_{name.lower()}", SHAPE, make) for name, make in LAYERS.items()],
    *[
        unary(
            f"augmentation_{name.lower()}_first",
            FIRST,
            lambda L, name=name: LAYERS[name](L, data_format="channels_first"),
        )
        for name in ("RandomBrightness", "RandomCrop", "RandomFlip", "RandomRotation", "RandomZoom")
    ],
    _with_conv("RandomFlip"),
    _with_conv("RandomFlip", "uint8"),
    _with_conv("RandomRotation", "int32"),
]
