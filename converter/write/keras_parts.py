"""Small functions that Keras has no layer and no operation for: graphs of keras.ops, on symbolic tensors as on others.

The text of those that a model needs is copied into its source, with the parts that they use. A .keras file holds what
they did, and loads without them.
"""

from __future__ import annotations

from typing import Any

from keras import ops


def pad_edge(x: Any, pads: tuple[tuple[int, int], ...]) -> Any:
    """x with its outermost elements repeated; `pads` has (in front, behind) for each axis."""
    for axis, (front, back) in enumerate(pads):
        before = (slice(None),) * axis
        parts = [ops.repeat(x[(*before, slice(0, 1))], front, axis=axis)] if front else []
        parts += [x, *([ops.repeat(x[(*before, slice(-1, None))], back, axis=axis)] if back else [])]
        x = ops.concatenate(parts, axis=axis) if len(parts) > 1 else x
    return x


def pad_reflect(x: Any, pads: tuple[tuple[int, int], ...]) -> Any:
    """x mirrored at its outermost elements; `pads` has (in front, behind) for each axis."""
    for axis, (front, back) in enumerate(pads):
        before = (slice(None),) * axis
        parts = [ops.flip(x[(*before, slice(1, front + 1))], axis=axis)] if front else []
        parts += [x, *([ops.flip(x[(*before, slice(-back - 1, -1))], axis=axis)] if back else [])]
        x = ops.concatenate(parts, axis=axis) if len(parts) > 1 else x
    return x
