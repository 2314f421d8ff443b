"""safetensors written tensor by tensor: the library's own writer holds a second copy of every weight while it writes.

The format (github.com/huggingface/safetensors): eight bytes with the header's length, a JSON header with each tensor's
dtype, shape and offsets, then the numbers, little-endian and in C order.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

DTYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}


def save_tensors(
    path: Path, tensors: Sequence[tuple[str, np.ndarray]], metadata: Mapping[str, str] | None = None
) -> None:
    """Write arrays under their names, with words beside them; one array at a time is made contiguous."""
    header: dict[str, object] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    offset = 0
    ordered = sorted(tensors, key=lambda pair: (-pair[1].dtype.itemsize, pair[0]))
    for name, data in ordered:
        header[name] = {
            "dtype": DTYPES[str(data.dtype)],
            "shape": list(data.shape),
            "data_offsets": [offset, offset + data.nbytes],
        }
        offset += data.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for _, data in ordered:
            plain = np.ascontiguousarray(data.astype(data.dtype.newbyteorder("<"), copy=False))
            file.write(plain.reshape(-1).view(np.uint8).data)
