"""What Keras lacks for tests/skeleton_op.py."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("kconvert")
class Smooth(layers.Layer):
    """h = decay * h + x[:, t] @ kernel at every step that counts, else h as it was: all h, and the last one."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.supports_masking = True

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(shape[-1], self.units), name="kernel")
        self.decay = self.add_weight(shape=(self.units,), name="decay")

    def call(self, x: Any, mask: Any = None) -> Any:
        x = ops.matmul(x, self.kernel)
        h, steps = ops.zeros_like(x[:, 0]), []
        for t in range(x.shape[1]):
            after = self.decay * h + x[:, t]
            h = after if mask is None else ops.where(mask[:, t, None], after, h)
            steps.append(h)
        return ops.stack(steps, axis=1), h

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        return previous_mask, None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}
