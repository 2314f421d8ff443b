"""The header of a .safetensors file, vetted: every tensor has its own bytes, and as many as its shape says."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converter.errors import BadInput
from converter.files.archives import starts_with
from converter.files.json_text import parsed

MOST_HEADER = 100 << 20
MOST_AXES = 64
ITEMSIZE = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U64": 8,
    "U32": 4,
    "U16": 2,
    "U8": 1,
    "BOOL": 1,
}


@dataclass(frozen=True)
class Entry:
    """One tensor: dtype as safetensors names it, shape, and where its bytes lie in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def read_header(path: Path) -> tuple[list[Entry], dict[str, str]]:
    """The tensors in the order of their bytes, and the metadata; BadInput for a file that claims more than it holds."""
    label = str(path)
    length = starts_with(path, 8)
    held = path.stat().st_size
    size = struct.unpack("<Q", length)[0] if len(length) == 8 else 0
    if not 2 <= size <= min(MOST_HEADER, held - 8):
        raise BadInput(
            f"{label}: expected a .safetensors file, whose first eight bytes are the length of its header, but they "
            f"say {size} in a file of {held}. It is truncated or no .safetensors."
        )
    with path.open("rb") as file:
        file.seek(8)
        text = file.read(size)
    table = parsed(text, f"{label}: the header", lambda pairs: _once(pairs, label))
    if not isinstance(table, dict):
        raise BadInput(f"{label}: expected a JSON object as header, received {type(table).__name__}.")
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise BadInput(f"{label}: expected words as __metadata__, received {metadata!r:.80}.")
    entries = sorted((_entry(name, value, 8 + size, label) for name, value in table.items()), key=_place)
    end = 8 + size
    for entry in entries:
        if entry.start != end:
            what = "overlaps the one before it" if entry.start < end else "leaves bytes unused before it"
            raise BadInput(f"{label}: {entry.name!r} {what}. The file is damaged or hostile.")
        end = entry.stop
    if end != held:
        raise BadInput(f"{label}: its tensors end at byte {end}, but the file has {held}. It is truncated or damaged.")
    return entries, metadata


def _place(entry: Entry) -> tuple[int, int]:
    return entry.start, entry.stop


def _once(pairs: list[tuple[str, Any]], label: str) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadInput(f"{label}: the header names a tensor twice. The file is damaged or hostile.")
    return found


def _entry(name: str, value: Any, base: int, label: str) -> Entry:
    def refuse(expected: str, received: Any) -> BadInput:
        what = f"{label}: {name[:200]!r}: expected {expected}, received {received!r:.80}"
        return BadInput(f"{what}. The file is damaged.")

    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise refuse("dtype, shape and data_offsets", value)
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEMSIZE:
        raise refuse(f"one of the dtypes {', '.join(ITEMSIZE)}", dtype)
    for numbers, count in ((shape, None), (offsets, 2)):
        whole = isinstance(numbers, list) and all(type(n) is int and 0 <= n < 1 << 63 for n in numbers)
        if not whole or len(numbers) > MOST_AXES or count not in (None, len(numbers)):
            raise refuse("lengths and offsets as whole numbers", numbers)
    wanted, held = math.prod(shape) * ITEMSIZE[dtype], offsets[1] - offsets[0]
    if wanted != held:
        raise refuse(f"{wanted} bytes for the shape {tuple(shape)} of {dtype}", held)
    return Entry(name, dtype, tuple(shape), base + offsets[0], base + offsets[1])
