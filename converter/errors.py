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


class ConvertError(Exception):
    """Any failure of a conversion; `exit_code` is what the command line exits with."""

    exit_code = 70


class UsageError(ConvertError):
    """The call is wrong: an unknown target, arguments that exclude each other, a missing shape."""

    exit_code = 2


@dataclass(frozen=True)
class Item:
    """One thing that has no mapping: where it is, what it is, why, and what the user can do."""

    where: str
    what: str
    why: str
    todo: str = ""

    def __str__(self) -> str:
        return f"{self.what} {self.where!r}: {self.why}" + (f" {self.todo}" if self.todo else "")


class Unsupported(ConvertError):
    """Some parts of the model have no mapping; `items` lists every one, found before anything was built."""

    exit_code = 3

    def __init__(self, items: Iterable[Item]) -> None:
        self.items = list(items)
        count = len(self.items)
        head = "1 part of the model is not supported" if count == 1 else f"{count} parts of the model are not supported"
        super().__init__("\n".join([head + ":", *(f"  - {item}" for item in self.items)]))


class BadInput(ConvertError):
    """The model file or object cannot be read, or its parts contradict each other."""

    exit_code = 4


class CannotWrite(ConvertError):
    """The output exists already, or its place cannot be written."""

    exit_code = 5


class NotEquivalent(ConvertError):
    """The converted model does not answer like its source."""

    exit_code = 1
