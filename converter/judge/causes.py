"""What is likely wrong with a layer: repairs tried on the layer alone, then what the numbers look like."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from . import roles
from .activations import formula, named
from .compare import Array, compare, magnitude
from .localise import Found, Pair
from .patterns import look
from .repairs import Case, Repair, repairs
from .trace import Value
from .ways import turns

_CLOSE = 1e-7
"""A repair that leaves no more than this has found the cause; float32 weights beside float64 ones leave some of it."""


@dataclass(frozen=True)
class Fault:
    """The first layer at which the two part. `before` are layers without a counterpart that may be meant as well."""

    layer: str
    kind: str
    target: str
    off: str
    cause: str = ""
    before: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "before": list(self.before)}

    def __str__(self) -> str:
        to = f" ({self.target!r} in the target)" if self.target and self.target != self.layer else ""
        cause = f"; likely cause: {self.cause}" if self.cause else ""
        more = f"; {', '.join(map(repr, self.before))} before it has no counterpart" if self.before else ""
        return f"{self.kind} {self.layer!r}{to} is the first layer that is off, {self.off}{cause}{more}"


def explain(pair: Pair, found: Found) -> Fault | None:
    """The fault, None where every layer and output is within its budget."""
    first = found.first
    if first is None:
        return None
    target = pair.target.parts.get(first.named.path) if first.named is not None else None
    missing = [value for value in found.between if value.key.path or value.near is not None]
    if target is None:  # an output, made by what has no counterpart
        return _nameless(pair, missing[0] if missing else first, found)
    alone = _Alone(pair, found, target)
    with np.errstate(all="ignore"):
        if missing and alone.equal(Repair("")):
            return _nameless(pair, missing[0], found)
        return _fault(first, found, alone.cause(), [value.label for value in missing])


def _nameless(pair: Pair, value: Value, found: Found) -> Fault:
    """A layer that has no module of its own: an activation, a sum, a pooling that a function does."""
    cause = ""
    wanted = value.array if value.array is not None else found.wanted
    part = pair.source.parts.get(value.key.path)
    act = getattr(getattr(part, "activation", None), "__name__", "")
    if value.near is not None and wanted is not None:
        maker, received, given = value.near
        is_ = formula(given, received) if given is not None else ""
        if act or is_:
            should = formula(given, wanted) if given is not None else ""
            cause = f"activation: {is_ or maker}, expected {should or act or value.kind}"
        else:
            cause = look(wanted, received) or f"the target's {maker} gives other numbers"
    elif act:
        cause = f"activation: nothing in the target has what {act} gives"
    elif wanted is not None and found.received is not None:
        cause = look(wanted, found.received)
    return _fault(value, found, cause, [])


def _fault(value: Value, found: Found, cause: str, before: Sequence[str]) -> Fault:
    diff = value.diff
    if diff is None and found.wanted is not None and found.received is not None:
        diff = compare("", found.wanted, found.received, 0.0)
    off = diff.reason if diff is not None and diff.max_abs is None else f"{_relative(diff):.1e} of its size"
    target = value.named.path if value.named is not None else ""
    return Fault(value.label, value.kind, target, off, cause, tuple(dict.fromkeys(before)))


def _relative(diff: Any) -> float:
    return float("nan") if diff is None or diff.max_rel is None else float(diff.max_rel)


class _Alone:
    """The target's layer by itself, on what the source's was given."""

    def __init__(self, pair: Pair, found: Found, target: Any) -> None:
        self.pair, self.found, self.target = pair, found, target
        first = found.first
        self.source = pair.source.parts.get(first.key.path) if first is not None else None
        linear = first is not None and first.named is not None and bool(first.named.part)
        self.plain: dict[str, Any] = {"activation": None} if linear else {}

    def cause(self) -> str:
        """What a repair or the numbers show."""
        found, pair = self.found, self.pair
        if found.wanted is None or found.received is None:
            return ""
        ours = pair.source.weights_of(self.source) if self.source is not None else {}
        theirs = pair.target.weights_of(self.target)
        case = Case(self.source, self.target, pair.target.framework, ours, theirs, found.flattened)
        as_it_is = self.equal(Repair(""))
        if not as_it_is:
            for repair in repairs(case):
                if self.equal(repair):
                    return self._named(repair)
        if as_it_is and not self.equal(Repair(""), known=True):
            if any(way.split for way in found.ways):
                return "Flatten order: its rows are in the source's order, and its input is in the other layout's"
            if any(way.perm for way in found.ways):
                return "axis order: its input is turned, and it takes it as the source has it"
        return (
            self.padding()
            or _masked(found)
            or named(found.inputs, found.wanted, found.received)
            or "; ".join(f"{name}: {is_}, expected {should}" for name, (is_, should) in self._settings().items())
            or look(found.wanted, found.received)
            or ("what is done to its input before it is given to it" if as_it_is else "")
        )

    def _settings(self) -> dict[str, tuple[Any, Any]]:
        return roles.settings(self.source, self.target, self.pair.target.framework)

    def _named(self, repair: Repair) -> str:
        """The cause; weights that are another layer's say whose."""
        if repair.cause.startswith("weights:"):
            for path, part in self.pair.source.parts.items():
                first = self.found.first
                if first is None or path == first.key.path:
                    continue
                for name, array in self.pair.source.weights_of(part).items():
                    theirs = self.pair.target.weights_of(self.target)
                    if any(
                        array.size == theirs[key].size > 1
                        and np.array_equal(np.sort(array, None), np.sort(theirs[key], None))
                        for key in repair.weights
                        if len(np.unique(theirs[key])) > 1
                    ):
                        return f"weights: it holds those of {path!r} ({name})"
        return repair.cause

    def equal(
        self,
        repair: Repair,
        wanted: Array | None = None,
        pads: list[tuple[int, int]] | None = None,
        *,
        known: bool = False,
    ) -> bool:
        """Whether the layer, so repaired, gives what the source's gives (or `wanted`); `known`: on its input as the
        target was seen to have it."""
        wanted = self.found.wanted if wanted is None else wanted
        if wanted is None or not self.found.inputs:
            return False
        tried = self._inputs(repair.pads, pads)
        for inputs, more in itertools.islice(tried, 1 if known else None):
            with contextlib.suppress(Exception):  # a repair that does not fit raises whatever the framework has for it
                settings = {**more, **repair.settings, **self.plain}
                made = self.pair.target.alone(self.target, inputs, repair.weights, settings)
                for perm in [None, *turns(made.ndim)]:
                    turned = made if perm is None else made.transpose(perm)
                    tol = _CLOSE * magnitude(wanted)
                    if turned.shape == wanted.shape and compare("", wanted, turned, tol).passed:
                        return True
        return False

    def _inputs(
        self, pads: tuple[int, int] | None, every: list[tuple[int, int]] | None
    ) -> Iterator[tuple[list[Array], dict[str, Any]]]:
        """The source's inputs as the target may want them: as it has them, turned, padded as the source pads; with the
        target's own padding off where they are padded."""
        pairs = [(x, way) for x, way in zip(self.found.inputs, self.found.ways, strict=True) if x.dtype.kind != "b"]
        inputs = [x for x, _ in pairs]  # a mask is no argument that both have in the same place
        ways = [way.to_target(x) for x, way in pairs]
        turned = [
            [x if x.ndim < 3 else np.ascontiguousarray(x.transpose(turns(x.ndim)[number])) for x in inputs]
            for number in range(2)
        ]
        first = self.pair.target.framework == "torch"
        for each in [ways, inputs, *(turned if any(x.ndim > 2 for x in inputs) else [])]:
            if pads is None and every is None:
                yield each, {}
            x = each[0]
            spatial = range(2, x.ndim) if first else range(1, x.ndim - 1)
            own = roles.pads_of(self.source, tuple(x.shape[axis] for axis in spatial))
            wanted = every or ([pads] * len(spatial) if pads is not None else own)
            if wanted is not None and len(wanted) == len(spatial):
                width = [(0, 0)] * x.ndim
                for axis, pair in zip(spatial, wanted, strict=True):
                    width[axis] = pair
                fill = -np.inf if "max" in type(self.target).__name__.lower() else 0.0
                off = {"padding": (0,) * len(spatial) if first else "valid"}
                plain = off if hasattr(self.target, "padding") else {}
                yield [np.pad(x, width, constant_values=fill), *each[1:]], plain

    def padding(self) -> str:
        """Whether the layer answers as it does here when its input is padded the other way round."""
        x = self.found.inputs[0] if self.found.inputs else np.zeros(0)
        own = roles.pads_of(self.source, x.shape[1:-1]) if x.ndim > 2 else None
        if own is not None and any(before != behind for before, behind in own):
            other = [(behind, before) for before, behind in own]
            if self.equal(Repair(""), self.found.received, other):
                return f"padding shifted by one: {other[0]} before and behind, expected {own[0]}"
        return ""


def _masked(found: Found) -> str:
    """Whether only the rows that a mask shortens are off."""
    wanted, received = found.wanted, found.received
    if wanted is None or received is None or wanted.shape != received.shape:
        return ""
    off = np.abs(wanted - received).reshape(len(wanted), -1).max(1) > _CLOSE * magnitude(wanted)
    for mask in found.inputs:
        if mask.dtype.kind == "b" and mask.ndim == 2 and len(mask) == len(wanted):
            short = ~mask.all(1)
            if off.any() and not off[~short].any():
                return "the mask is ignored: only rows that it shortens are off"
    return ""
