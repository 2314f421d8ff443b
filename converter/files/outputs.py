"""Results on disk: written beside their place, renamed together at the end, never half there."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Self

from converter.errors import CannotWrite

Write = Callable[[Path], None]
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})


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


class Staged:
    """Files written beside their places; `commit()` renames all of them, leaving without it removes them.

    The files bear their final names, in a folder of their own, so that what a format says of its own name is right.
    Raises CannotWrite with the reason that the system gave.
    """

    def __init__(self, force: bool = False) -> None:
        self.force = force
        self._made: dict[Path, Path] = {}
        self._folders: list[Path] = []
        self._beside: dict[Path, Path] = {}
        self._done = False

    def write(self, files: Mapping[Path, Write]) -> None:
        """Write every file beside its place, in the order given; a later one may read an earlier one by `at`."""
        check_free(files, self.force)
        with self._told():
            for path, write in files.items():
                beside = self._folder(path.absolute().parent) / path.name
                self._made[path] = beside
                write(beside)

    def at(self, path: Path) -> Path:
        """Where the file of this place stands now."""
        return path if self._done else self._made[path]

    def commit(self) -> list[Path]:
        """Rename every file into its place, all of them or none; the places, in the order of writing.

        Without `force` nothing is replaced, not even what came there after the check.
        """
        before: dict[Path, Path | None] = {}
        with self._told():
            try:
                for number, (path, beside) in enumerate(self._made.items()):
                    before[path] = self._kept(path, number)
                    _place(beside, path, self.force)
                self._done = True
            except BaseException:
                self._take_back(before)
                raise
        self._clean()
        return list(self._made)

    def _kept(self, path: Path, number: int) -> Path | None:
        """A second name for what is replaced, so that it can come back; None where nothing is there."""
        if not self.force or not os.path.lexists(path):
            return None
        aside = self._beside[path.absolute().parent] / f"before_{number}_of_kconvert"
        try:
            os.link(path, aside, follow_symlinks=False)
        except OSError:  # a file system without links: it is away for a moment
            os.replace(path, aside)
        return aside

    def _take_back(self, before: Mapping[Path, Path | None]) -> None:
        """Every place as it was; a result that did not get there is still beside it."""
        for path, aside in before.items():
            with contextlib.suppress(OSError):
                if aside is not None:
                    os.replace(aside, path)
                elif not self._made[path].exists() or os.path.samefile(self._made[path], path):
                    path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._done:
            self._clean()
            with contextlib.suppress(OSError):
                for folder in reversed(self._folders):
                    folder.rmdir()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CannotWrite(f"The result cannot be written: {error}.") from error

    def _folder(self, folder: Path) -> Path:
        if folder not in self._beside:
            missing = [p for p in (folder, *folder.parents) if not p.exists()]
            for path in reversed(missing):
                path.mkdir()
                self._folders.append(path)
            beside = folder / f".kconvert_{secrets.token_hex(6)}"
            beside.mkdir()
            self._beside[folder] = beside
        return self._beside[folder]

    def _clean(self) -> None:
        with contextlib.suppress(OSError):
            for beside in self._beside.values():
                for left in beside.iterdir():
                    left.unlink()
                beside.rmdir()


def _place(beside: Path, path: Path, force: bool) -> None:
    """Give a result its name; FileExistsError where something has that name and `force` is not set."""
    if force:
        os.replace(beside, path)
        return
    try:
        os.link(beside, path)
    except OSError as error:
        if os.path.lexists(path):
            told = "it came there while the model was converted; pass --force (force=True) to replace it"
            raise FileExistsError(errno.EEXIST, told, str(path)) from error
        os.replace(beside, path)  # a file system without links


@contextlib.contextmanager
def room() -> Iterator[None]:
    """CannotWrite where a disk is full or may not be written to, be it for files that are only in passing."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise CannotWrite(f"There is no room to write: {error}. Temporary files lie where TMPDIR says.") from error


def write_all(files: Mapping[Path, Write], force: bool = False) -> list[Path]:
    """Write every file, then rename all of them into place; on any failure none is there."""
    with Staged(force) as staged:
        staged.write(files)
        return staged.commit()
