"""HDF5 files as data: opened read-only, walked within bounds, refused where they reach outside themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from converter.errors import BadInput

MOST_OBJECTS = 1_000_000
DEEPEST = 64
# Deflate packs at most about 1032 to 1; a dataset that claims more than that was never written.
MOST_EXPANSION = 1100
SMALL = 1 << 16


@dataclass(frozen=True)
class Stored:
    """One dataset of the file: where it is and what it claims to hold."""

    path: str
    shape: tuple[int, ...]

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
    """Walk the whole file without following links out of it; the datasets it holds, each checked."""
    import h5py

    found: list[Stored] = []
    seen: set[int] = set()
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
                found.append(_check_dataset(item, path, label))
            if len(found) + len(seen) + len(queue) > MOST_OBJECTS:
                raise BadInput(f"{label}: more than {MOST_OBJECTS} objects; this is no model file.")
    return found


def _check_dataset(item: Any, path: str, label: str) -> Stored:
    """One dataset: it keeps its bytes in this file, and it has as many as it claims."""
    if item.external or item.is_virtual:
        raise BadInput(f"{label}: {path!r} keeps its data in another file. Expected every weight inside this one.")
    if item.shape is None:
        return Stored(path, (0,))
    claimed = math.prod(item.shape) * item.dtype.itemsize
    stored = item.id.get_storage_size()
    if claimed > SMALL and claimed > MOST_EXPANSION * stored:
        raise BadInput(
            f"{label}: {path!r} claims the shape {tuple(item.shape)} ({claimed} bytes), but the file stores "
            f"{stored} bytes for it. The file is damaged or was not made by Keras."
        )
    return Stored(path, tuple(int(size) for size in item.shape))


def text_attribute(item: Any, name: str) -> str | None:
    """A text attribute, whichever way it was written; None where there is none."""
    value = item.attrs.get(name)
    if value is None:
        return None
    return _text(value)


def _text(value: Any) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def names_attribute(item: Any, name: str, label: str) -> list[str]:
    """A list of names, whole or in the pieces (`name0`, `name1`, ...) that Keras cuts long lists into."""
    parts: list[Any] = []
    if name in item.attrs:
        parts.append(item.attrs[name])
    else:
        while f"{name}{len(parts)}" in item.attrs:
            parts.append(item.attrs[f"{name}{len(parts)}"])
    names: list[str] = []
    for part in parts:
        if not hasattr(part, "__len__") or isinstance(part, (str, bytes)):
            raise BadInput(f"{label}: the attribute {name!r} of {item.name!r} is no list of names, but {part!r:.80}.")
        names.extend(_text(entry) for entry in part)
    return names


def member(group: Any, path: str, label: str) -> Any:
    """The group or dataset at a relative path; a file that names what it does not hold is refused."""
    item = group.get(path) if path else None
    if item is None:
        raise BadInput(f"{label}: {group.name!r} lists {path!r}, but the file does not hold it. The file is damaged.")
    return item


def array_of(dataset: Any) -> Any:
    """The numbers of one dataset, bfloat16 included."""
    import numpy as np

    values = np.asarray(dataset[()])
    if values.dtype.kind == "V" and values.dtype.itemsize == 2:
        import ml_dtypes

        values = values.view(ml_dtypes.bfloat16)
    if values.dtype.kind not in "fiub" and values.dtype.name != "bfloat16":
        raise BadInput(f"Dataset {dataset.name!r}: expected numbers, but it holds {dataset.dtype}.")
    return values
