"""What can go wrong, one class a kind, each with the exit code of the command line.

ConvertError                70  an internal error; everything below is the user's to act on
|-- UsageError               2  the call itself is wrong
|-- Unsupported              3  a layer, an option or an operation without a mapping (`.items`: all of them)
|-- BadInput                 4  the file or model cannot be read, or is not what it claims
|-- CannotWrite              5  the output cannot be written
`-- NotEquivalent            1  the converted model does not answer like its source
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

NAMED = 3
"""So many places are named one by one; of more, the first is named and the rest counted."""


class ConvertError(Exception):
    """Any failure of a conversion; `exit_code` is what the command line exits with."""

    exit_code = 70
    outcome = "internal error"


class UsageError(ConvertError):
    """The call is wrong: an unknown target, arguments that exclude each other, a missing shape."""

    exit_code = 2
    outcome = "usage"


@dataclass(frozen=True)
class Item:
    """One thing that has no mapping: where it is, what it is, why, and what the user can do."""

    where: str
    what: str
    why: str
    todo: str = ""

    def __str__(self) -> str:
        return f"{self.what} {self.where!r}: {self.why}" + (f" {self.todo}" if self.todo else "")


def kinds_of(items: Iterable[Item]) -> list[str]:
    """One line for each kind of refusal: what, how often and where, why, and what to do; in the order of the model."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for item in items:
        groups.setdefault((item.what, item.why, item.todo), []).append(item.where)
    lines = []
    for (what, why, todo), places in groups.items():
        if len(places) > NAMED:
            where = f": {len(places)} calls, first in {places[0]!r}"
        else:
            where = " " + ", ".join(map(repr, places))
        lines.append(f"{what}{where}: {why}" + (f" {todo}" if todo else ""))
    return lines


class Unsupported(ConvertError):
    """Some parts of the model have no mapping; `items` lists every one, found before anything was built.

    The message has a line for each kind of them, `heading` and `kinds`.
    """

    exit_code = 3
    outcome = "unsupported"

    def __init__(self, items: Iterable[Item]) -> None:
        self.items = list(items)
        self.kinds = kinds_of(self.items)
        count = len(self.items)
        head = "1 part of the model is not supported" if count == 1 else f"{count} parts of the model are not supported"
        few = len(self.kinds)
        self.heading = head + (f", of {few} kind{'s' * (few > 1)}:" if few < count else ":")
        super().__init__("\n".join([self.heading, *(f"  - {line}" for line in self.kinds)]))


class BadInput(ConvertError):
    """The model file or object cannot be read, or its parts contradict each other."""

    exit_code = 4
    outcome = "bad input"


class CannotWrite(ConvertError):
    """The output exists already, or its place cannot be written."""

    exit_code = 5
    outcome = "cannot write"


class NotEquivalent(ConvertError, AssertionError):
    """The converted model does not answer like its source; to a runner of tests, an assertion that failed."""

    exit_code = 1
    outcome = "not equal"
