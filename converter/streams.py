"""Standard output and error of the command line: the frameworks' chatter is kept off, what goes wrong is not lost."""

from __future__ import annotations

import faulthandler
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from converter.errors import CannotWrite, ConvertError

MOST = 20000
"""So many characters of what the frameworks said are shown behind an internal error."""


def fill() -> None:
    """Open into nothing what the caller has closed of the three streams, or the next file gets the number of one."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r+", encoding="utf-8"))  # noqa: SIM115  open to the end


@contextmanager
def quiet(progress: bool) -> Iterator[Callable[[str], None]]:
    """Keep what is written to standard error, by Python or by C code, for an error that is not one of ours.

    Yields what shows the stage at hand: one line on the terminal, nothing where standard error is none. A process that
    crashes says where on the real standard error.
    """
    if os.environ.get("KCONVERT_TRACEBACK") or not _is_own_stderr():
        yield lambda text: None
        return
    sys.stderr.flush()
    real = os.dup(2)
    crashes = not faulthandler.is_enabled()
    with tempfile.TemporaryFile() as kept, os.fdopen(real, "w", encoding="utf-8", errors="replace") as out:
        show = progress and out.isatty()
        if crashes:
            faulthandler.enable(out, all_threads=False)
        os.dup2(kept.fileno(), 2)
        try:
            yield _status(out) if show else lambda text: None
        except Exception as error:
            if not isinstance(error, ConvertError) or type(error).outcome == "internal error":
                sys.stderr.flush()
                kept.seek(0)
                out.write(kept.read().decode("utf-8", "replace")[-MOST:])
            raise
        finally:
            sys.stderr.flush()
            os.dup2(real, 2)
            if crashes:
                faulthandler.disable()
            if show:
                out.write("\r\x1b[K")


def show(lines: Sequence[str], style: str = "") -> None:
    """Print the lines, the first in a colour where standard output is a terminal.

    A reader that has closed the pipe has seen enough. Raises CannotWrite where the lines cannot be written.
    """
    lines = [printable(line) for line in lines]
    colour = {"good": "1;32", "bad": "1;31", "open": "1;33"}.get(style)
    if colour and sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        lines = [f"\x1b[{colour}m{lines[0]}\x1b[0m", *lines[1:]]
    try:
        for line in lines:
            sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _close_stdout()
    except OSError as error:
        _close_stdout()
        raise CannotWrite(f"The report cannot be printed: {error}.") from error


def printable(text: str) -> str:
    """Text without the control characters that a model's names may hold, in letters that standard output can write."""
    plain = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return plain.encode(encoding, "replace").decode(encoding)


def _is_own_stderr() -> bool:
    try:
        return sys.stderr.fileno() == 2
    except (AttributeError, OSError, ValueError):
        return False


def _status(out: TextIO) -> Callable[[str], None]:
    def say(text: str) -> None:
        out.write(f"\r\x1b[K{text[:70]} ...")
        out.flush()

    return say


def _close_stdout() -> None:
    """Python flushes standard output once more at its end: into nothing."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)
