"""Two arrays -> Diff: shapes, dtype kinds, NaN and infinity masks, then values. Numpy alone."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_NOTHING = "nothing compared: it "
_KINDS = {"f": "float", "i": "integer", "u": "integer", "b": "boolean", "c": "complex", "U": "text", "S": "text"}


@dataclass(frozen=True)
class Diff:
    """How far `candidate` is from `reference`; `tol` is absolute, and None figures were not measured."""

    name: str
    passed: bool
    reason: str = ""
    tol: float = 0.0
    max_abs: float | None = None
    max_rel: float | None = None  # max_abs over the largest magnitude of the reference
    worst: tuple[int, ...] | None = None
    rms: float | None = None
    snr_db: float | None = None
    argmax: float | None = None  # share of equal argmax along the last axis
    ulp: float | None = None  # max_abs in steps of the coarser dtype at the largest magnitude
    equal: float | None = None  # share of equal elements
    scale: float = 0.0
    elements: int = 0
    nan: int = 0
    inf: int = 0

    @property
    def nothing(self) -> str:
        """Why there was nothing to compare, though both sides have the same; '' where there was."""
        if self.passed or not self.reason.startswith(_NOTHING):
            return ""
        return self.reason.removeprefix(_NOTHING)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; infinities as text, since JSON has none."""
        data = asdict(self)
        data["worst"] = None if self.worst is None else list(self.worst)
        return {key: str(v) if isinstance(v, float) and not math.isfinite(v) else v for key, v in data.items()}

    def __str__(self) -> str:
        if self.max_abs is None:
            return f"{self.name}  {'ok' if self.passed else 'FAIL'}  {self.reason}".rstrip()
        at = f" at {self.worst}" if self.worst is not None else ""
        text = f"{self.name}  {'ok' if self.passed else 'FAIL'}  max_abs {self.max_abs:.1e}{at}  tol {self.tol:.1e}"
        return f"{text}  {self.reason}" if self.reason else text


def plain(array: Array) -> Array:
    """As numpy computes with it: bfloat16, which numpy has by extension only, as float32, exactly."""
    array = np.asarray(array)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def narrow(array: Array) -> Array:
    """The array in bfloat16."""
    import ml_dtypes

    return array.astype(ml_dtypes.bfloat16)


def magnitude(values: Array) -> float:
    """The largest finite magnitude in `values`; 0.0 where there is none."""
    if values.dtype.kind not in "fiucb" or values.size == 0:
        return 0.0
    sizes = np.abs(values.astype(_wide(values)))
    finite = np.isfinite(sizes)
    return float(sizes.max(initial=0.0, where=finite))


def compare(name: str, reference: Array, candidate: Array, tol: float, *, share: float = 1.0) -> Diff:
    """Judge one output. Floats by `tol` (absolute); integers, booleans and text by the `share` of equal elements."""
    reference, candidate = plain(reference), plain(candidate)
    kinds = [_KINDS.get(part.dtype.kind) for part in (reference, candidate)]
    if reference.shape != candidate.shape:
        return Diff(name, False, f"shape {list(candidate.shape)}, expected {list(reference.shape)}", tol)
    if None in kinds or kinds[0] != kinds[1]:
        return Diff(name, False, f"dtype {candidate.dtype}, expected {reference.dtype}", tol)
    if reference.size == 0:
        return Diff(name, False, f"{_NOTHING}is empty {list(reference.shape)}", tol)
    if kinds[0] == "text":
        return _by_share(name, reference == candidate, share)
    if kinds[0] in ("integer", "boolean"):
        diff = _by_share(name, reference == candidate, share)
        gap = np.abs(reference.astype(np.float64) - candidate.astype(np.float64))
        return _with(diff, max_abs=float(gap.max()), worst=_place(gap), scale=magnitude(reference))
    return _by_value(name, reference, candidate, tol)


def _by_share(name: str, same: Any, share: float) -> Diff:
    equal = float(np.mean(same))
    passed = equal >= share
    reason = "" if passed else f"{equal:.4%} of the elements are equal, expected {share:.4%}"
    return Diff(name, passed, reason, equal=equal, elements=int(np.size(same)))


def _by_value(name: str, reference: Array, candidate: Array, tol: float) -> Diff:
    """Floats: NaN, +inf and -inf in the same places, and no finite element off by more than `tol`."""
    nan = int(np.isnan(reference).sum())
    inf = int(np.isinf(reference).sum())
    for label, mask in (("NaN", np.isnan), ("infinity", np.isinf)):
        wrong = mask(reference) != mask(candidate)
        if wrong.any():
            reason = f"{label} differs in {int(wrong.sum())} of {wrong.size} elements"
            return Diff(name, False, reason, tol, worst=_place(wrong), elements=wrong.size, nan=nan, inf=inf)
    infinite = np.isinf(reference)
    if (reference[infinite] != candidate[infinite]).any():
        return Diff(name, False, "infinity differs in sign", tol, elements=reference.size, nan=nan, inf=inf)
    finite = np.isfinite(reference)
    if not finite.any():
        return Diff(name, False, f"{_NOTHING}has no finite number", tol, nan=nan, inf=inf)

    wide = _wide(reference)
    left = np.where(finite, reference, 0).astype(wide)
    right = np.where(finite, candidate, 0).astype(wide)
    gap = np.abs(left - right)
    worst = float(gap.max())
    scale = float(np.abs(left).max())
    count = int(finite.sum())
    noise, signal = float(np.sum(gap**2)), float(np.sum(np.abs(left) ** 2))
    step = max(_step(reference, scale), _step(candidate, scale))
    failed = not (worst <= tol)
    return Diff(
        name,
        not failed,
        f"max_rel {_ratio(worst, scale):.1e}, SNR {_decibel(signal, noise):.0f} dB" if failed else "",
        tol,
        max_abs=worst,
        max_rel=_ratio(worst, scale),
        worst=_place(gap),
        rms=math.sqrt(noise / count),
        snr_db=_decibel(signal, noise),
        argmax=_argmax(left, right),
        ulp=worst / step,
        equal=float(np.mean(left[finite] == right[finite])),
        scale=scale,
        elements=count,
        nan=nan,
        inf=inf,
    )


def _wide(values: Array) -> type[np.complex128 | np.float64]:
    return np.complex128 if values.dtype.kind == "c" else np.float64


def _place(gap: Any) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(gap)), gap.shape))


def _ratio(part: float, whole: float) -> float:
    if whole > 0:
        return part / whole
    return 0.0 if part == 0 else math.inf


def _decibel(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def _step(values: Array, scale: float) -> float:
    """The distance of neighbouring numbers of this dtype at `scale`."""
    kind = np.dtype(values.real.dtype).type
    return float(np.spacing(kind(max(scale, float(np.finfo(kind).tiny)))))


def _argmax(left: Array, right: Array) -> float | None:
    if left.ndim < 2 or left.shape[-1] < 2 or left.dtype.kind == "c":
        return None
    return float(np.mean(left.argmax(-1) == right.argmax(-1)))


def _with(diff: Diff, **figures: Any) -> Diff:
    return Diff(**{**{field: getattr(diff, field) for field in diff.__dataclass_fields__}, **figures})
