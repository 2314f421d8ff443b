"""What two answers that should be one look like beside each other: turned, shifted, off at the borders, by a bias."""

from __future__ import annotations

import itertools

import numpy as np

from .compare import Array, magnitude

_CLOSE = 1e-7


def look(wanted: Array, received: Array) -> str:
    """What the difference looks like; '' where it looks like nothing known."""
    if wanted.shape != received.shape:
        if sorted(wanted.shape) == sorted(received.shape):
            return f"axis order: the shape is {received.shape}, expected {wanted.shape}"
        return f"the shape is {received.shape}, expected {wanted.shape}: its stride, dilation, size or padding"
    if wanted.dtype.kind != "f" or not wanted.size:
        return ""
    if not np.isfinite(received).all():
        return "NaN or infinity" if np.isfinite(wanted).all() else ""
    if not np.isfinite(wanted).all():
        return ""
    tol = _CLOSE * magnitude(wanted)
    return (
        _order(wanted, received, tol)
        or _shift(wanted, received, tol)
        or _borders(wanted, received, tol)
        or _bias(wanted, received, tol)
    )


def _order(wanted: Array, received: Array, tol: float) -> str:
    if not np.allclose(np.sort(wanted, None), np.sort(received, None), rtol=0, atol=tol):
        return ""
    for perm in itertools.islice(itertools.permutations(range(wanted.ndim)), 1, 24):
        turned = received.transpose(perm)
        if turned.shape == wanted.shape and np.allclose(turned, wanted, rtol=0, atol=tol):
            return f"axis order: equal when transposed {perm}"
    return "the same numbers in another order: axis order, Flatten or Reshape"


def _shift(wanted: Array, received: Array, tol: float) -> str:
    for axis in range(1, wanted.ndim):
        length = wanted.shape[axis]
        if length < 3:
            continue
        for one, two in ((wanted, received), (received, wanted)):
            ahead, behind = np.take(one, range(1, length), axis), np.take(two, range(length - 1), axis)
            # What came in at the other border differs.
            inner = tuple(slice(1, -1) if n > 3 and i else slice(None) for i, n in enumerate(ahead.shape))
            if ahead[inner].size and np.allclose(ahead[inner], behind[inner], rtol=0, atol=tol) and ahead[inner].any():
                return f"padding shifted by one along axis {axis}"
    return ""


def _borders(wanted: Array, received: Array, tol: float) -> str:
    if wanted.ndim < 3:
        return ""
    inner = tuple(slice(None) if i in (0, wanted.ndim - 1) else slice(1, -1) for i in range(wanted.ndim))
    if wanted[inner].size and np.allclose(wanted[inner], received[inner], rtol=0, atol=tol):
        return "padding: only the borders are off"
    return ""


def _bias(wanted: Array, received: Array, tol: float) -> str:
    gap = received - wanted
    if np.allclose(gap, gap.reshape(-1)[0], rtol=0, atol=tol):
        return f"{gap.reshape(-1)[0]:.3g} is added to all of it"
    axes = tuple(range(gap.ndim - 1))
    if gap.ndim > 1 and gap[..., 0].size > 1 and (np.ptp(gap, axis=axes) <= 2 * tol).all():
        return "its bias: a constant for each channel is added"
    scale = float(np.vdot(wanted, received) / np.vdot(wanted, wanted)) if wanted.any() else 0.0
    if scale and np.allclose(scale * wanted, received, rtol=0, atol=tol):
        return f"a factor of {scale:.6g}"
    return ""
