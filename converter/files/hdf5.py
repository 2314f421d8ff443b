"""HDF5 files as data: opened read-only, walked within bounds, refused where they reach outside themselves."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from converter.errors import BadInput
from converter.files.archives import FREE_TOTAL, MOST_TOTAL_EXPANSION, too_large

MOST_OBJECTS = 1_000_000
DEEPEST = 64
MOST_NAMES = 1_000_000
MOST_TEXT = 256 << 20
MOST_LOOSE_TEXT = 1 << 32
"""Names of variable length lie apart from their list, and many of them can be one and the same long text."""


@dataclass(frozen=True)
class Stored:
    """One dataset of the file: where it is and what it claims to hold."""

    path: str
    shape: tuple[int, ...]
    claimed: int = 0
    """Bytes once read."""

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@contextmanager
def open_h5(source: Any, label: str) -> Iterator[Any]:
    """Open a file (path or file object) that is checked as a whole first; HDF5's own errors become BadInput."""
    import h5py

    try:
        file = h5py.File(source, "r")
    except (OSError, ValueError, RuntimeError) as error:
        raise BadInput(
            f"{label}: expected an HDF5 file, but it cannot be opened ({error}). It may be truncated or no HDF5."
        ) from error
    try:
        yield file
    except (OSError, RuntimeError, KeyError) as error:
        raise BadInput(
            f"{label}: a part of the HDF5 file cannot be read ({error}). Copy or export the file again."
        ) from error
    finally:
        file.close()


def check_tree(file: Any, label: str) -> list[Stored]:
    """Walk the whole file without following links out of it; the numbers it holds, each dataset checked."""
    held = os.stat(file.filename).st_size
    try:
        return _walk(file, held, label)
    except (TypeError, ValueError, OverflowError) as error:  # h5py's word for links and types that it does not know
        raise BadInput(f"{label}: a part of the HDF5 file cannot be read ({error}). The file is damaged.") from error


def _walk(file: Any, held: int, label: str) -> list[Stored]:
    import h5py

    found: list[Stored] = []
    seen: set[int] = set()
    stored: dict[int, int] = {}
    queue: list[tuple[str, Any, int]] = [("", file["/"], 0)]
    while queue:
        prefix, group, depth = queue.pop()
        if depth > DEEPEST:
            raise BadInput(f"{label}: groups are nested deeper than {DEEPEST} at {prefix!r}; this is no model file.")
        address = h5py.h5o.get_info(group.id).addr
        if address in seen:
            continue
        seen.add(address)
        for name in group:
            path = f"{prefix}/{name}"
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                kind = "an external link to another file" if isinstance(link, h5py.ExternalLink) else "a soft link"
                raise BadInput(
                    f"{label}: {path!r} is {kind}. Expected every weight inside the file itself; "
                    "copy the data in (h5repack, or load and save the model where it was made)."
                )
            item = group[name]
            if isinstance(item, h5py.Group):
                queue.append((path, item, depth + 1))
            elif isinstance(item, h5py.Dataset):
                stored[h5py.h5o.get_info(item.id).addr] = item.id.get_storage_size()
                found.append(_check_dataset(item, path, held, label))
            if len(found) + len(seen) + len(queue) > MOST_OBJECTS:
                raise BadInput(f"{label}: more than {MOST_OBJECTS} objects; this is no model file.")
    if sum(stored.values()) > held:
        raise BadInput(f"{label}: its datasets claim {sum(stored.values())} stored bytes in a file of {held}.")
    claimed = sum(item.claimed for item in found)
    if claimed > FREE_TOTAL + MOST_TOTAL_EXPANSION * held:
        raise BadInput(
            f"{label}: its datasets claim {claimed} bytes in all, out of a file of {held}. "
            "It is damaged or hostile; repack it without compression if it is yours."
        )
    return [item for item in found if item.claimed >= 0]


def _check_dataset(item: Any, path: str, held: int, label: str) -> Stored:
    """One dataset: it keeps its bytes in this file, and it has as many as it claims."""
    if item.external or item.is_virtual:
        raise BadInput(f"{label}: {path!r} keeps its data in another file. Expected every weight inside this one.")
    if item.shape is None:
        return Stored(path, (0,))
    if not is_numbers(item.dtype):
        return Stored(path, tuple(item.shape), -1)  # text and records are never read
    claimed = math.prod(item.shape) * item.dtype.itemsize
    chunk = math.prod(item.chunks or (0,)) * item.dtype.itemsize
    stored = item.id.get_storage_size()
    whole = chunk > claimed and (too_large(chunk, held) or chunk > FREE_TOTAL + MOST_TOTAL_EXPANSION * held)
    if too_large(claimed, stored) or whole:
        raise BadInput(
            f"{label}: {path!r} claims the shape {tuple(item.shape)} ({max(claimed, chunk)} bytes), but the file "
            f"stores {stored} bytes for it. The file is damaged or was not made by Keras."
        )
    return Stored(path, tuple(int(size) for size in item.shape), claimed)


def is_numbers(dtype: Any) -> bool:
    """Whether a dataset holds numbers, or bfloat16 as two bytes each; no text, references, records or arrays."""
    plain = dtype.subdtype is None and dtype.names is None
    return plain and (dtype.kind in "fiub" or (dtype.kind == "V" and dtype.itemsize == 2))


def group_of(file: Any, name: str, label: str) -> Any:
    """A group of the file's own root; None where there is none. Links are never followed."""
    import h5py

    link = file.get(name, getlink=True)
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        raise BadInput(f"{label}: {name!r} is a link to another place. Expected every weight inside the file itself.")
    return member(file, name, label)


def text_attribute(item: Any, name: str) -> str | None:
    """A text attribute, whichever way it was written; None where there is none."""
    value = _attribute(item, name, 1, MOST_TEXT)
    if value is None:
        return None
    return _text(value)


def _attribute(item: Any, name: str, most: int, most_bytes: int) -> Any:
    """An attribute's value, its size checked before it is read; None where there is none."""
    import h5py

    if name not in item.attrs:
        return None
    where = f"The attribute {name!r} of {item.name!r}"
    try:
        known = item.attrs.get_id(name)
        count = math.prod(known.shape or ())
        if count and not isinstance(known.get_type(), h5py.h5t.TypeStringID):  # an empty list bears any type
            raise BadInput(f"{where} is no text; this is no model file.")
        size = count * known.get_type().get_size()
        if count > most or size > most_bytes:
            raise BadInput(f"{where} claims {count} entries in {size} bytes; this is no model file.")
        if count > 1 and known.get_type().is_variable_str():
            loose = os.stat(item.file.filename).st_size
            if count * loose > MOST_LOOSE_TEXT and count * _outside(item.file) > MOST_LOOSE_TEXT:
                raise BadInput(f"{where} lists {count} texts of any length, out of a file of {loose} bytes.")
        return item.attrs[name]
    except (TypeError, ValueError, OSError, RuntimeError) as error:
        raise BadInput(f"{where} cannot be read ({error}). The file is damaged.") from error


def _outside(file: Any) -> int:
    """The bytes of the file that belong to no dataset."""
    sizes: list[int] = []
    file.visititems(lambda _, item: sizes.append(item.id.get_storage_size()) if hasattr(item, "chunks") else None)
    return max(0, int(os.stat(file.filename).st_size) - sum(sizes))


def _text(value: Any) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def names_attribute(item: Any, name: str, label: str) -> list[str]:
    """A list of names, whole or in the pieces (`name0`, `name1`, ...) that Keras cuts long lists into."""
    parts: list[Any] = []
    if name in item.attrs:
        parts.append(_attribute(item, name, MOST_NAMES, MOST_TEXT))
    else:
        while f"{name}{len(parts)}" in item.attrs:
            parts.append(_attribute(item, f"{name}{len(parts)}", MOST_NAMES, MOST_TEXT))
    names: list[str] = []
    for part in parts:
        if not hasattr(part, "__len__") or isinstance(part, (str, bytes)):
            raise BadInput(f"{label}: the attribute {name!r} of {item.name!r} is no list of names, but {part!r:.80}.")
        names.extend(_text(entry) for entry in part)
    return names


def member(group: Any, path: str, label: str) -> Any:
    """The group at a relative path; a file that names what it does not hold is refused."""
    return _member(group, path, label, "a group")


def dataset(group: Any, path: str, label: str) -> Any:
    """The dataset at a relative path, which holds numbers."""
    item = _member(group, path, label, "a dataset")
    if item.shape is None or not is_numbers(item.dtype):
        raise BadInput(f"{label}: dataset {item.name!r}: expected numbers, but it holds {str(item.dtype)[:80]}.")
    return item


def _member(group: Any, path: str, label: str, kind: str) -> Any:
    import h5py

    item = group.get(path) if path else None
    if item is None:
        raise BadInput(f"{label}: {group.name!r} lists {path!r}, but the file does not hold it. The file is damaged.")
    if not isinstance(item, h5py.Group if kind == "a group" else h5py.Dataset):
        raise BadInput(f"{label}: {item.name!r}: expected {kind}, but it is none. The file is damaged.")
    return item


def array_of(dataset: Any) -> Any:
    """The numbers of one dataset in this machine's byte order, bfloat16 included."""
    import numpy as np

    if not is_numbers(dataset.dtype):
        raise BadInput(f"Dataset {dataset.name!r}: expected numbers, but it holds {str(dataset.dtype)[:80]}.")
    values = np.asarray(dataset[()])
    if values.dtype.kind == "V":
        import ml_dtypes

        values = values.view(ml_dtypes.bfloat16)
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))
