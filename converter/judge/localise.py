"""Which layer it is: each one's error on its own and in the whole run, the two models running side by side.

In the first run the target goes on with the source's value at each layer that both have, so that a layer's error is its
own, with all that stands between it and the layers before; in the second it goes on with its own values."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .compare import Array, Diff, compare, magnitude
from .lockstep import LOOSE_BYTES, Exchange, Held, side_by_side
from .runner import Boundary
from .taps import Outputs, split
from .trace import Trace, Value, is_float, same_bits
from .watch import LINEAR, Key, Seen, Side
from .ways import Way, fit


@dataclass
class Layer:
    """One layer of the source and its counterpart: how far off they are, relative to the size of the source's value."""

    name: str
    kind: str
    target: str
    own: float | str | None
    accumulated: float | str | None
    passed: bool
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        keys = ("name", "kind", "target", "own", "accumulated", "passed", "reason")
        return {key: getattr(self, key) for key in keys}


@dataclass
class Found:
    """What the two runs have shown. `first` is the value at which they part, `between` what stands before it and has no
    counterpart; `peak` is the most bytes of values that were held at a time."""

    layers: list[Layer] = field(default_factory=list)
    first: Value | None = None
    between: list[Value] = field(default_factory=list)
    outputs: list[Diff] = field(default_factory=list)
    inputs: list[Array] = field(default_factory=list)
    ways: list[Way] = field(default_factory=list)
    wanted: Array | None = None
    received: Array | None = None
    trace: Trace = field(default_factory=Trace)
    flattened: list[tuple[int, ...]] = field(default_factory=list)
    peak: int = 0


@dataclass
class Pair:
    """Source and target with what is known of how they belong together: paths, the boundary, the budget of a layer.

    `bound` are the bytes of values without a name that may be held, `seconds` what all runs together may take."""

    source: Side
    target: Side
    paths: dict[str, str]
    boundary: Boundary = field(default_factory=Boundary)
    limit: float = 1e-10
    bound: int = LOOSE_BYTES
    seconds: float = float("inf")
    ends: float = float("inf")

    def check_time(self) -> None:
        """Raise where it has taken too long."""
        if time.monotonic() > self.ends:
            raise TimeoutError(f"it took more than {self.seconds:g} s")


def localise(pair: Pair, arrays: Sequence[Array]) -> Found:
    """Run both on these inputs, as the source has them, and compare layer by layer. Raises what the models raise."""
    pair.ends = time.monotonic() + pair.seconds
    with pair.source.around(), pair.target.around():
        return _localised(pair, arrays)


def _localised(pair: Pair, arrays: Sequence[Array]) -> Found:
    ours = _seen(pair.source, arrays)
    theirs = _seen(pair.target, pair.boundary.to_target(arrays))
    names = _counterparts(pair, ours, theirs)
    forced = _Run(pair, names, force=True)
    forced.go(arrays)
    free = _Run(pair, names, force=False)
    free.go(arrays)
    found = forced.found
    accumulated = {value.number: value.diff for value in free.trace.values if value.diff is not None}
    for value in forced.trace.values:
        if value.diff is None:
            continue
        after = accumulated.get(value.number)
        found.layers.append(
            Layer(
                value.key.path + (f" ({LINEAR})" if value.key.part else "") + _which(value.key),
                value.kind,
                value.named.path if value.named is not None else "",
                _off(value.diff),
                None if after is None else _off(after),
                value.diff.passed or bool(value.diff.nothing),
                "" if value.diff.passed else value.diff.reason,
            )
        )
    found.flattened = forced.flattened
    found.peak = max(forced.exchange.peak, free.exchange.peak)
    return found


def _which(key: Key) -> str:
    told = [f"call {key.call + 1}"] * bool(key.call) + [f"output {key.index + 1}"] * bool(key.index)
    return f" [{', '.join(told)}]" if told else ""


def _off(diff: Diff) -> float | str | None:
    if diff.max_rel is None:
        return None if diff.nothing else diff.reason
    return diff.max_rel if np.isfinite(diff.max_rel) else str(diff.max_rel)


def _seen(side: Side, arrays: Sequence[Array]) -> dict[Key, bool]:
    """Every value that bears a layer's name, and whether its layer is whole; nothing is kept of the numbers."""
    found: dict[Key, bool] = {}

    def emit(seen: Seen) -> None:
        if seen.key.path and is_float(seen.tensor):
            found[seen.key] = seen.whole

    side.watched(emit)(arrays)
    return found


def _counterparts(pair: Pair, ours: dict[Key, bool], theirs: dict[Key, bool]) -> dict[Key, Key]:
    """The target's key -> the source's. A layer with an activation of its own meets one without before that."""
    found: dict[Key, Key] = {}
    for key, whole in ours.items():
        path = pair.paths.get(key.path)
        if path is None:
            continue
        full, before = Key(path, key.call, key.index), Key(path, key.call, key.index, LINEAR)
        if key.part:
            other = before if before in theirs else full if theirs.get(full) else None
        else:
            folded = Key(key.path, key.call, key.index, LINEAR) in ours
            if before in theirs:
                other = full if folded else before if whole else full
            else:
                other = None if folded and theirs.get(full) else full
        if other is not None and other in theirs:
            found[other] = key
    return found


class _Run:
    """Both models side by side, once."""

    def __init__(self, pair: Pair, names: dict[Key, Key], *, force: bool) -> None:
        self.pair, self.names, self.force = pair, names, force
        self.ours = {source: target for target, source in names.items()}
        self.exchange = Exchange(set(self.ours), pair.bound)
        self.trace = Trace()
        self.found = Found(trace=self.trace)
        self.flattened: list[tuple[int, ...]] = []
        self.way: Way | None = None

    def go(self, arrays: Sequence[Array]) -> None:
        pair = self.pair
        mine, theirs = side_by_side(
            self.exchange,
            lambda: pair.source.watched(self.give)(arrays),
            lambda: pair.target.watched(self.take)(pair.boundary.to_target(arrays)),
        )
        if self.force:
            self._outputs(split(mine)[0], split(pair.boundary.to_source(theirs))[0])

    def give(self, seen: Seen) -> None:
        """The source has made a value."""
        value = self.trace.add(seen)
        self.trace.linear(value)
        if not is_float(seen.tensor):
            value.good = True  # ids and masks are compared by what is made of them
            return
        shape = tuple(seen.tensor.shape)
        for tensor in seen.inputs:
            before = tuple(tensor.shape)
            if len(shape) == 2 and len(before) > 2 and before not in self.flattened:
                self.flattened.append(tuple(int(n) for n in before))
        if seen.key in self.ours:
            value.named = self.ours[seen.key]
            held = Held(value.number, self.pair.source.to_numpy(seen.tensor), seen.inputs)
            self.exchange.give(seen.key, held)
        elif self.force:
            self.exchange.give_loose(Held(value.number, self.pair.source.to_numpy(seen.tensor)))

    def take(self, seen: Seen) -> Array | None:
        """The target has made a value; what it goes on with, where that is another."""
        self.pair.check_time()
        key = self.names.get(seen.key) if seen.key.path else None
        if key is None:
            if self.force and is_float(seen.tensor):
                self._look(seen)
            return None
        held = self.exchange.take(key)
        if held is None:
            return None
        try:
            return self._compared(held, seen)
        finally:
            self.exchange.release(key)

    def _compared(self, held: Held, seen: Seen) -> Array | None:
        value = self.trace.values[held.number]
        array = self.pair.target.to_numpy(seen.tensor)
        way, diff = fit(value.label, held.array, array, self.pair.limit, self.flattened, self.way)
        value.way, value.diff = way, diff
        value.good = diff.passed or bool(diff.nothing)
        self.way = way if way is not None and way.perm is not None else self.way
        first = self.found.first
        if self.force and not value.good and (first is None or value.number < first.number):
            self.found.first = value
            self.found.inputs = [self.pair.source.to_numpy(tensor) for tensor in held.note]
            self.found.ways = [self.trace.way_of(tensor) for tensor in held.note]
            self.found.wanted = held.array
            self.found.received = array if way is None else way.to_source(array)
        if not self.force or way is None or not np.isfinite(held.array).all():
            return None
        return way.to_target(held.array)

    def _look(self, seen: Seen) -> None:
        """Whether the target's value is one of the source's that have no counterpart by name."""
        self.exchange.settled()
        if not self.exchange.loose:
            return
        size = int(np.prod(seen.tensor.shape))
        fitting = [held for held in self.exchange.loose.values() if held.array.size == size]
        if not fitting:
            return
        array = self.pair.target.to_numpy(seen.tensor)
        for held in fitting:
            value = self.trace.values[held.number]
            way, diff = fit(value.label, held.array, array, self.pair.limit, self.flattened)
            if diff.passed:
                value.good, value.way = True, way
                self.exchange.drop(held.number)
            elif way is not None and value.near is None:
                value.near = (seen.key.path or seen.kind, way.to_source(array), self._given(seen, way))

    def _given(self, seen: Seen, way: Way) -> Array | None:
        """What the target's function was given, where that is one tensor of the same shape."""
        given = [tensor for tensor in seen.inputs if is_float(tensor)]
        if len(given) != 1 or tuple(given[0].shape) != tuple(seen.tensor.shape):
            return None
        return way.to_source(self.pair.target.to_numpy(given[0]))

    def _outputs(self, mine: Outputs, theirs: Outputs) -> None:
        """The models' own answers, when every layer was given the source's values."""
        found = self.found
        found.outputs = [
            compare(name, a, b, self.pair.limit * magnitude(a)) for (name, a), (_, b) in zip(mine, theirs, strict=False)
        ]
        for number, held in self.exchange.loose.items():
            self.trace.values[number].array = held.array
        if found.first is None:
            for (_, array), diff, (_, other) in zip(mine, found.outputs, theirs, strict=False):
                if not diff.passed and not diff.nothing:
                    made = [v for v in self.trace.values if v.array is not None and same_bits(v.array, array)]
                    found.first = made[0] if made else None
                    found.wanted, found.received = array, other
                    break
        if found.first is not None:
            found.between = self.trace.before(found.first)
