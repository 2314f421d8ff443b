"""Zip files as data: vetted as a whole before a member is read, and never more bytes than a member claims.

The one place for .keras, .pt2, .pt and .npz alike. Names stay inside the archive, each is there once, none is a link;
sizes are bounded against the bytes that the file really holds, so that no member is a bomb.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from converter.errors import BadInput, ConvertError

MOST_MEMBERS = 100_000
MOST_DIRECTORY = 64 << 20
MOST_NAME = 1024
# Deflate packs at most about 1032 to 1; a member that claims more than that was never written.
MOST_EXPANSION = 1100
SMALL = 1 << 16
# What an honest archive may hold in all: weights hardly shrink, so a hundredfold is generous; a small one may be zeros.
MOST_TOTAL_EXPANSION = 100
FREE_TOTAL = 256 << 20
# JSON becomes many times its bytes in memory, and packs twentyfold at best where it is a model's.
FREE_TEXT = 16 << 20
MOST_TEXT_EXPANSION = 60
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 0x1
BLOCK = 1 << 22
READING = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)
"""What zipfile raises on damaged archives."""


@dataclass
class Archive:
    """An open zip whose directory was vetted; every read is bounded by what the directory says."""

    label: str
    file: zipfile.ZipFile
    members: dict[str, zipfile.ZipInfo] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return name in self.members

    @property
    def names(self) -> list[str]:
        """The members in the directory's order, folders left out."""
        return list(self.members)

    def size(self, name: str) -> int:
        """The bytes that a member claims, uncompressed."""
        return self.members[name].file_size

    def read(self, name: str, most: int) -> bytes:
        """A member's bytes; BadInput where it claims more than `most`."""
        if self.size(name) > most:
            raise BadInput(f"{self.label}: {name} claims {self.size(name)} bytes; expected at most {most}.")
        return b"".join(self.blocks(name))

    def read_text(self, name: str, most: int) -> bytes:
        """A member that is parsed: bounded against its packed bytes as well."""
        packed = self.members[name].compress_size
        if self.size(name) > FREE_TEXT and self.size(name) > MOST_TEXT_EXPANSION * packed:
            claim = f"{name} claims {self.size(name)} bytes of text out of {packed}"
            raise BadInput(f"{self.label}: {claim}. The file is damaged or hostile.")
        return self.read(name, most)

    def copy(self, name: str, target: IO[bytes]) -> None:
        """Write a member's bytes to an open file, block by block."""
        for block in self.blocks(name):
            target.write(block)

    def blocks(self, name: str) -> Iterator[bytes]:
        """A member's bytes in blocks; BadInput where there are more or fewer than claimed."""
        left = self.size(name)
        try:
            with self.file.open(self.members[name]) as source:
                while block := source.read(min(BLOCK, left + 1)):
                    left -= len(block)
                    if left < 0:
                        break
                    yield block
        except ConvertError:
            raise
        except READING as error:
            raise _damaged(self.label, f"{name}: {error}") from error
        if left:
            raise _damaged(self.label, f"{name} holds other than the {self.size(name)} bytes that it claims")


@contextmanager
def open_zip(path: Path, label: str) -> Iterator[Archive]:
    """Open a zip for reading, its directory vetted; BadInput says what is wrong with it."""
    try:
        held = path.stat().st_size
        _check_directory(path, held, label)
        file = zipfile.ZipFile(path)
    except FileNotFoundError as error:
        raise BadInput(f"{label}: no such file. Check the path.") from error
    except READING as error:
        raise _damaged(label, str(error)) from error
    with file:
        yield Archive(label, file, _vetted(file.infolist(), held, label))


def _damaged(label: str, what: str) -> BadInput:
    return BadInput(f"{label}: the zip cannot be read ({what}). It may be truncated; copy it again.")


def _check_directory(path: Path, held: int, label: str) -> None:
    """Bound the size of the directory before zipfile makes an object of each of its entries."""
    with path.open("rb") as file:
        file.seek(max(0, held - (1 << 16) - 22))
        tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    size = struct.unpack_from("<L", tail, end + 12)[0] if 0 <= end <= len(tail) - 22 else 0
    wide = tail.rfind(b"PK\x06\x06", 0, max(end, 0))
    if size == 0xFFFFFFFF and 0 <= wide <= len(tail) - 56:
        size = struct.unpack_from("<Q", tail, wide + 40)[0]
    if size > MOST_DIRECTORY:
        raise BadInput(f"{label}: the zip's directory claims {size} bytes; expected at most {MOST_DIRECTORY}.")


def _vetted(infos: list[zipfile.ZipInfo], held: int, label: str) -> dict[str, zipfile.ZipInfo]:
    if len(infos) > MOST_MEMBERS:
        raise BadInput(f"{label}: the zip has {len(infos)} members; expected at most {MOST_MEMBERS}.")
    found: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.orig_filename
        _check_name(name, label)
        _check_kind(info, label)
        if name in found:
            raise BadInput(f"{label}: the zip holds {name!r} twice. Expected each member once.")
        found[name] = info
    packed = sum(info.compress_size for info in infos)
    if packed > held:
        raise BadInput(f"{label}: the members of the zip claim {packed} packed bytes, but the file has {held}.")
    total = sum(info.file_size for info in infos)
    if total > FREE_TOTAL + MOST_TOTAL_EXPANSION * held:
        raise BadInput(
            f"{label}: the members of the zip claim {total} bytes in all, out of a file of {held}. "
            "It is damaged or hostile; pack it again without compression if it is yours."
        )
    return {name: info for name, info in found.items() if not name.endswith("/")}


def _check_name(name: str, label: str) -> None:
    parts = name.removesuffix("/").split("/")
    bad = not name or len(name) > MOST_NAME or re.search(r"[\\\x00-\x1f\x7f]", name) or re.match(r"[A-Za-z]:", name)
    if bad or any(part in ("", ".", "..") for part in parts):
        raise BadInput(
            f"{label}: the zip has a member named {name[:200]!r}. Expected relative paths that stay inside the archive."
        )


def _check_kind(info: zipfile.ZipInfo, label: str) -> None:
    """A plain file (or folder), not encrypted, stored or deflated, no larger than its packed bytes can hold."""
    name = info.orig_filename
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a symbolic link" if kind == stat.S_IFLNK else "a special file"
        raise BadInput(f"{label}: the member {name!r} of the zip is {what}. Expected plain files.")
    if info.flag_bits & ENCRYPTED:
        raise BadInput(f"{label}: the member {name!r} of the zip is encrypted. Expected plain files; unpack it first.")
    if info.compress_type not in METHODS:
        raise BadInput(
            f"{label}: the member {name!r} is packed by method {info.compress_type}; expected stored or deflated."
        )
    stored = info.compress_type == zipfile.ZIP_STORED
    if info.file_size != info.compress_size if stored else too_large(info.file_size, info.compress_size):
        raise BadInput(
            f"{label}: {name} claims {info.file_size} bytes out of {info.compress_size}; the zip is damaged or hostile."
        )


def too_large(claimed: int, packed: int) -> bool:
    """Whether so many bytes cannot come out of so few packed ones."""
    return claimed > SMALL and claimed > MOST_EXPANSION * packed


def starts_with(path: Path, count: int) -> bytes:
    """A file's first bytes; BadInput where it is no file that can be read."""
    try:
        if path.exists() and not path.is_file():
            what = "a folder" if path.is_dir() else "no plain file"
            raise BadInput(f"{path}: expected a file, but this is {what}.")
        with path.open("rb") as file:
            return file.read(count)
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file. Check the path.") from error
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror or os.strerror(error.errno or 0)}).") from error
