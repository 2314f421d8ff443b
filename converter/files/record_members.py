"""The record in model files, read as data: bounded, JSON of the known schema, tensors by a vetted header."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converter.errors import BadInput
from converter.files.archives import Archive, open_zip
from converter.files.json_text import parsed
from converter.files.safetensors_header import ITEMSIZE, read_header

if TYPE_CHECKING:
    import numpy as np

KEY = "kconvert"
JSON = f"{KEY}.json"
TENSORS = f"{KEY}.safetensors"
MOST_RECORD = 64 << 20
"""Bytes of a record's text; a network of a thousand layers has one."""
MOST_TENSORS = 4 << 30
DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
Found = tuple[str, dict[str, "np.ndarray"]]


def of_safetensors(path: Path) -> Found | None:
    """The record in the metadata of a .safetensors file, which holds no tensors beside the model's own."""
    _, metadata = read_header(path)
    text = metadata.get(KEY)
    return None if text is None else (text, {})


def of_keras(path: Path) -> Found | None:
    """The record in the members of a .keras file."""
    label = str(path)
    with open_zip(path, label) as archive:
        if JSON not in archive:
            return None
        text = archive.read_text(JSON, MOST_RECORD).decode("utf-8", "replace")
        return text, _tensors(archive, label) if TENSORS in archive else {}


def _tensors(archive: Archive, label: str) -> dict[str, np.ndarray]:
    if archive.size(TENSORS) > MOST_TENSORS:
        raise BadInput(f"{label}: {TENSORS} claims {archive.size(TENSORS)} bytes; expected at most {MOST_TENSORS}.")
    with tempfile.TemporaryDirectory(prefix="kconvert_") as folder:
        inner = Path(folder) / TENSORS
        with inner.open("wb") as target:
            archive.copy(TENSORS, target)
        return read_tensors(inner)


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .safetensors file; its header is vetted before anything is read."""
    import numpy as np

    found: dict[str, np.ndarray] = {}
    entries, _ = read_header(path)
    with path.open("rb") as file:
        for entry in entries:
            file.seek(entry.start)
            data = np.frombuffer(bytearray(file.read(entry.stop - entry.start)), _dtype(entry.dtype))
            found[entry.name] = data.reshape(entry.shape)
    return found


def _dtype(name: str) -> np.dtype[Any]:
    import numpy as np

    if name == "BF16":
        import ml_dtypes

        half: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return half
    made: np.dtype[Any] = np.dtype(DTYPES[name])
    return made.newbyteorder("<") if ITEMSIZE[name] > 1 else made


def vetted(text: str, schema: str, source: str, target: str) -> dict[str, Any]:
    """The record's parts; BadInput where it is too large, no JSON, of another schema or between other frameworks."""
    what = "the record"
    if len(text) > MOST_RECORD:
        raise BadInput(f"{what} has {len(text)} characters; expected at most {MOST_RECORD}.")
    found = parsed(text, what)
    if not isinstance(found, dict):
        raise BadInput(f"{what}: expected a JSON object, received {type(found).__name__}.")
    if found.get("schema") != schema:
        raise BadInput(f"{what} has the schema {str(found.get('schema'))[:60]!r}; this version reads {schema!r}.")
    if (found.get("from"), found.get("to")) != (source, target):
        came = f"{str(found.get('from'))[:20]!r} to {str(found.get('to'))[:20]!r}"
        raise BadInput(f"{what} is of a conversion from {came}; expected {source!r} to {target!r}.")
    return found
