"""Arrays from .npz and .npy files, as data: nothing in them is unpickled, and no shape is larger than its bytes."""

from __future__ import annotations

import io
import math
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np

from converter.errors import BadInput, UsageError
from converter.files.archives import Archive, open_zip, starts_with

MOST_BYTES = 1 << 40
NPY_START = b"\x93NUMPY"
KINDS = "biufcSU"
"""Kinds of dtype that are numbers or text: no objects, no records."""


def read_arrays(path: Path | str) -> dict[str, np.ndarray] | np.ndarray:
    """The arrays of an .npz by name, or the one of an .npy; the file's first bytes say which it is.

    Raises UsageError that says what was expected and what was found.
    """
    where = Path(path)
    try:
        start = starts_with(where, 8)
        if start.startswith(b"PK"):
            return read_npz(where)
        if start.startswith(NPY_START):
            with where.open("rb") as file:
                return _array(file, where.stat().st_size, str(where))
    except BadInput as error:
        raise UsageError(f"Arrays are read from .npz and .npy files. {error}") from error
    found = "is empty" if not start else f"begins with {start!r}"
    if start[:1] == b"\x80":
        found = "holds a pickle, which is never loaded: save the arrays with numpy.savez"
    raise UsageError(f"{where}: expected an .npz (numpy.savez) or .npy file, but this one {found}.")


def read_npz(path: Path | str) -> dict[str, np.ndarray]:
    """The arrays of an .npz by name."""
    try:
        with open_zip(Path(path), str(path)) as archive:
            other = [name for name in archive.names if not name.endswith(".npy")]
            if other or not archive.names:
                held = ", ".join(other[:5]) or "nothing"
                raise UsageError(f"{path}: expected an .npz with arrays (.npy) alone, but the zip holds {held}.")
            return {name.removesuffix(".npy"): _member(archive, name) for name in archive.names}
    except BadInput as error:
        raise UsageError(f"Arrays are read from .npz and .npy files. {error}") from error


def _member(archive: Archive, name: str) -> np.ndarray:
    data = archive.read(name, MOST_BYTES)
    return _array(io.BytesIO(data), len(data), f"{archive.label}: {name}")


def _array(file: IO[bytes], held: int, label: str) -> np.ndarray:
    """One array in numpy's own format; its header is compared with the bytes that follow before any is read."""
    shape, fortran, dtype = _header(file, label)
    if dtype.hasobject:
        raise UsageError(f"{label}: holds Python objects, which are never unpickled. Save numbers (dtype=float32).")
    if dtype.kind not in KINDS:
        raise UsageError(f"{label}: expected an array of numbers or text, but its dtype is {str(dtype)[:80]}.")
    if not dtype.itemsize and dtype.kind in "SU":  # numpy would make room for one character each
        raise UsageError(f"{label}: its dtype {dtype} holds nothing. The file is damaged.")
    wanted, left = math.prod(shape) * dtype.itemsize, held - file.tell()
    if wanted != left:
        raise UsageError(
            f"{label}: claims the shape {shape} of {dtype}, {wanted} bytes, but {left} follow. The file is damaged."
        )
    try:
        data = bytearray(file.read(wanted))
        flat = np.frombuffer(data, dtype, math.prod(shape)) if wanted else np.empty(shape, dtype)
        return flat.reshape(shape, order="F" if fortran else "C")
    except (ValueError, OSError) as error:
        raise UsageError(f"{label}: the array cannot be read ({error}).") from error


def _header(file: IO[bytes], label: str) -> tuple[tuple[int, ...], bool, Any]:
    """Shape, order and dtype; numpy parses the header as a literal, which runs nothing."""
    try:
        version = np.lib.format.read_magic(file)
        read: Any = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read is None:
            raise UsageError(f"{label}: expected numpy's array format 1.0 or 2.0, received {version}.")
        shape, fortran, dtype = read(file)
    except UsageError:
        raise
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError, EOFError, OSError, TokenError) as error:
        raise UsageError(f"{label}: expected an array of numpy's, but its header is damaged ({error}).") from error
    if any(n < 0 for n in shape):
        raise UsageError(f"{label}: claims the shape {shape}; lengths are never negative. The file is damaged.")
    return tuple(int(n) for n in shape), bool(fortran), dtype
