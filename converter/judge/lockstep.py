"""Two models run side by side: at each value that both have, the source waits until the target has come to it.

So one value is held at a time, and besides it what the target wants in another order, and what functions without a name
made, up to a bound: not the activations of a whole network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from .compare import Array
from .watch import Key

LOOSE_BYTES = 1 << 26
"""Of values without a counterpart by name that are held to be looked for."""


class Stopped(Exception):
    """The other side has ended; raised in the source's run to end it too."""


@dataclass
class Held:
    """A value of the source: its number in the order of the run, and the array."""

    number: int
    array: Array
    note: Any = None


@dataclass
class Exchange:
    """What the source's thread gives and the target's takes."""

    named: Collection[Key]
    bound: int = LOOSE_BYTES
    held: dict[Key, Held] = field(default_factory=dict)
    loose: dict[int, Held] = field(default_factory=dict)
    peak: int = 0
    """The most bytes that were held at a time."""
    _size: int = 0
    _loose_size: int = 0
    _wanted: Key | None = None
    _at: Key | None = None
    _done: bool = False
    _stopped: bool = False
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def give(self, key: Key, held: Held) -> None:
        """The source has come to a value that the target will ask for; returns when it may go on."""
        with self._changed:
            self.held[key] = held
            self._grow(held.array.nbytes)
            self._at = key
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._stopped or key not in self.held or self._wants_more())
            self._at = None
            if self._stopped:
                raise Stopped

    def give_loose(self, held: Held) -> None:
        """A value without a counterpart by name: held to be looked for while there is room, the oldest let go first."""
        with self._changed:
            self.loose[held.number] = held
            self._loose_size += held.array.nbytes
            self._grow(held.array.nbytes)
            while self._loose_size > self.bound and len(self.loose) > 1:
                self.drop(next(iter(self.loose)))
            if self._stopped:
                raise Stopped

    def take(self, key: Key) -> Held | None:
        """The target has come to this value; None where the source has ended without it."""
        with self._changed:
            self._wanted = key
            self._changed.notify_all()
            self._changed.wait_for(lambda: key in self.held or self._done)
            self._wanted = None
            return self.held.get(key)

    def release(self, key: Key) -> None:
        """The target has used the value."""
        with self._changed:
            held = self.held.pop(key, None)
            self._size -= held.array.nbytes if held is not None else 0
            self._at = None if self._at == key else self._at
            self._changed.notify_all()

    def drop(self, number: int) -> None:
        """A loose value is looked for no longer."""
        with self._changed:
            held = self.loose.pop(number, None)
            if held is not None:
                self._size -= held.array.nbytes
                self._loose_size -= held.array.nbytes

    def settled(self) -> None:
        """Wait until the source has come as far as it does without the target."""
        with self._changed:
            self._changed.wait_for(lambda: self._done or (self._at is not None and not self._wants_more()))

    def finish(self) -> None:
        """The source has ended."""
        with self._changed:
            self._done = True
            self._changed.notify_all()

    def stop(self) -> None:
        """The target has ended."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _grow(self, size: int) -> None:
        self._size += size
        self.peak = max(self.peak, self._size)

    def _wants_more(self) -> bool:
        return self._wanted is not None and self._wanted not in self.held


def side_by_side(exchange: Exchange, source: Callable[[], Any], target: Callable[[], Any]) -> tuple[Any, Any]:
    """(what `source` returns, run in a thread of its own; what `target` returns, run in this one).

    An error of the target's is raised, else one of the source's."""
    found: dict[str, Any] = {}

    def run() -> None:
        try:
            found["answer"] = source()
        except Stopped:
            pass
        except BaseException as error:  # noqa: BLE001  raised below, in the thread that asked
            found["error"] = error
        finally:
            exchange.finish()

    thread = threading.Thread(target=run, name="kconvert-source", daemon=True)
    thread.start()
    try:
        answer = target()
        # What the target never came to is let go, so that the source comes to its end.
        while thread.is_alive():
            exchange.settled()
            for key in list(exchange.held):
                exchange.release(key)
            thread.join(0.001)
    finally:
        exchange.stop()
        thread.join()
    if "error" in found:
        raise found["error"]
    return found.get("answer"), answer
