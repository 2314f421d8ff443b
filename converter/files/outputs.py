"""Results on disk: written beside their place, renamed together at the end, never half there."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from converter.errors import CannotWrite

Write = Callable[[Path], None]


def check_free(paths: Mapping[Path, Write] | list[Path], force: bool) -> None:
    """Raise CannotWrite where something stands in the way; nothing is touched.

    A symbolic link counts as what it is: it is never written through, and with `force` the link itself is replaced.
    """
    for path in paths:
        try:
            _check_place(path, force)
        except (OSError, ValueError) as error:
            raise CannotWrite(f"{str(path)[:300]!r} cannot be written: {error}.") from error
    twice = [path for path, count in Counter(path.absolute() for path in paths).items() if count > 1]
    if twice:
        raise CannotWrite(f"{twice[0]} is asked for twice, as two different results.")


def _check_place(path: Path, force: bool) -> None:
    if path.is_dir():
        raise CannotWrite(f"Expected a file name for the result, received {path}, which is a directory.")
    there = os.path.lexists(path)
    if path.exists() and not path.is_file():
        raise CannotWrite(f"{path} is no plain file (a device, pipe or socket), and results are never written there.")
    if there and not force:
        kind = "is a symbolic link" if path.is_symlink() else "exists already"
        raise CannotWrite(f"{path} {kind}. Pass --force (force=True) to replace it, or another output.")
    folder = next(p for p in path.absolute().parents if os.path.lexists(p))
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise CannotWrite(f"{path} cannot be written: {folder} is no folder that you may write to.")


def write_all(files: Mapping[Path, Write], force: bool = False) -> list[Path]:
    """Write every file, then rename all of them into place; on any failure none is there.

    Raises CannotWrite with the reason that the system gave.
    """
    check_free(files, force)
    made: list[tuple[Path, Path]] = []
    folders: list[Path] = []
    try:
        for path, write in files.items():
            folders += _folders(path.absolute().parent)
            beside = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
            made.append((beside, path))
            write(beside)
        for beside, path in made:
            os.replace(beside, path)
    except OSError as error:
        _forget(made, folders)
        raise CannotWrite(f"The result cannot be written: {error}.") from error
    except BaseException:
        _forget(made, folders)
        raise
    return list(files)


def _folders(folder: Path) -> Iterator[Path]:
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    for path in reversed(missing):
        path.mkdir()
        yield path


def _forget(made: list[tuple[Path, Path]], folders: list[Path]) -> None:
    with contextlib.suppress(OSError):
        for beside, _ in made:
            beside.unlink(missing_ok=True)
        for folder in reversed(folders):
            folder.rmdir()
