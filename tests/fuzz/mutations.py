"""Seeded damage to model files: bits, lengths, splices, fields of their JSON, the tables of HDF5."""

from __future__ import annotations

import io
import json
import random
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parent.parent.parent / "fixtures"
SOURCES = {
    "h5": ["mlp.h5", "mlp_tfkeras.h5", "digits_legacy.h5", "digits_cnn.h5"],
    "keras": ["mlp.keras", "digits_cnn.keras"],
    "pt2": ["mlp.pt2", "small_residual.pt2"],
    "npz": ["mlp.npz", "digits_legacy.npz"],
    "safetensors": ["mlp.pt2"],
}
"""The fixtures of every format; .safetensors are made of a program's weights."""
NUMBERS = [0, -1, 1, 2, 3, 255, 1 << 16, (1 << 31) - 1, 1 << 31, 1 << 40, (1 << 63) - 1, 1 << 64, 10**30, 0.5, 1e308]
TEXTS = ["", "a", "..", "../../x", "/etc/hostname", "C:\\x", "\x00", "'\"", "__class__", "é" * 50, "x" * 5000, "Lambda"]
CODE = ["__import__('os').system('true')", "os.system", "torch.load", "Symbol('s0')", "Pow(Integer(9), Integer(999))"]
SPECIAL = (b"\x00" * 8, b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\x00\x00\x00\x80", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n")
Damage = Callable[[random.Random, bytes], bytes]


def original(kind: str, index: int) -> bytes:
    """An undamaged file of a format."""
    name = SOURCES[kind][index % len(SOURCES[kind])]
    data = (FIXTURES / name).read_bytes()
    return _safetensors(data) if kind == "safetensors" else data


def mutated(kind: str, seed: int) -> tuple[str, bytes]:
    """What was done, and the damaged file."""
    rng = random.Random(f"{kind} {seed}")
    data = original(kind, rng.randrange(99))
    names = {"h5": H5, "keras": ZIP, "pt2": ZIP, "npz": ZIP, "safetensors": HEADER}[kind]
    name = rng.choice([*BYTES, *names, *names])
    damage = BYTES.get(name) or names[name]
    return name, damage(rng, data)


# bytes ------------------------------------------------------------------------------------------------------------


def _flip(rng: random.Random, data: bytes) -> bytes:
    found = bytearray(data)
    for _ in range(rng.choice([1, 2, 8, 64])):
        found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


def _flip_edges(rng: random.Random, data: bytes) -> bytes:
    """In the first or last bytes, where headers and directories are."""
    found = bytearray(data)
    for _ in range(rng.choice([1, 2, 8])):
        at = rng.randrange(min(2000, len(found)))
        found[at if rng.random() < 0.5 else -1 - at] ^= 1 << rng.randrange(8)
    return bytes(found)


def _truncate(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.choice([0, 1, 8, rng.randrange(len(data)), len(data) - 1, len(data) - rng.randrange(1, 99)])]


def _splice(rng: random.Random, data: bytes) -> bytes:
    """A piece of this or another file put over, or between."""
    other = original(rng.choice(list(SOURCES)), rng.randrange(99))
    length = rng.choice([4, 16, 256, 4096])
    start, at = rng.randrange(len(other)), rng.randrange(len(data))
    piece = other[start : start + length]
    return data[:at] + piece + data[at + (len(piece) if rng.random() < 0.7 else 0) :]


def _words(rng: random.Random, data: bytes) -> bytes:
    """Numbers overwritten by extreme ones."""
    found = bytearray(data)
    for _ in range(rng.choice([1, 2, 4])):
        word = rng.choice(SPECIAL)
        at = rng.randrange(max(1, min(len(found), rng.choice([256, 4096, len(found)])) - len(word)))
        found[at : at + len(word)] = word
    return bytes(found)


def _nothing(rng: random.Random, data: bytes) -> bytes:
    return data + bytes(rng.choice([0, 1, 100]))


BYTES: dict[str, Damage] = {
    "bits": _flip,
    "bits at the ends": _flip_edges,
    "truncation": _truncate,
    "splice": _splice,
    "words": _words,
    "appended": _nothing,
}


# JSON -------------------------------------------------------------------------------------------------------------


def _places(value: Any, found: list[tuple[Any, Any]]) -> None:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(entries):
        found.append((value, key))
        _places(inner, found)


def _json(rng: random.Random, data: bytes) -> bytes:
    """Some fields of a JSON text replaced, dropped, doubled or swapped."""
    root = {"root": json.loads(data)}
    for _ in range(rng.choice([1, 1, 2, 5])):
        places: list[tuple[Any, Any]] = []
        _places(root, places)
        holder, key = rng.choice(places)
        other_holder, other = rng.choice(places)
        values = [None, True, [], {}, [[]], rng.choice(NUMBERS), rng.choice(TEXTS), rng.choice(CODE)]
        move = rng.randrange(6)
        if move == 0 and holder is not root:
            holder.pop(key)
        elif move == 1 and isinstance(holder, dict) and holder is not root:
            holder[rng.choice(TEXTS + CODE)] = holder.pop(key)
        elif move == 2:
            holder[key] = json.loads(json.dumps(other_holder[other]))
        elif move == 3 and isinstance(holder[key], int):
            holder[key] = holder[key] + rng.choice([-1, 1, 1 << 20, -(1 << 20)])
        else:
            holder[key] = rng.choice(values)
    return json.dumps(root["root"]).encode()


def _text(rng: random.Random, data: bytes) -> bytes:
    """JSON edited, or nested without end."""
    if rng.random() < 0.05:
        return rng.choice([b"[" * 200_000, b'{"a":' * 100_000, b"9" * 10_000, b"", b"null", b"\xff\xfe"])
    return _json(rng, data)


# zips -------------------------------------------------------------------------------------------------------------


def _members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zip(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as archive:
        warnings.simplefilter("ignore")
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def _member(rng: random.Random, data: bytes) -> bytes:
    """One member damaged as a file of its own, with the sums of the zip right."""
    members = _members(data)
    texts = [name for name in members if name.endswith(".json")]
    name = rng.choice(texts if texts and rng.random() < 0.8 else list(members))
    if name.endswith(".json"):
        members[name] = _text(rng, members[name])
    elif name.endswith(".h5"):
        members[name] = H5[rng.choice(list(H5))](rng, members[name])
    elif members[name]:
        members[name] = BYTES[rng.choice(list(BYTES))](rng, members[name])
    return _zip(list(members.items()), rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))


def _directory(rng: random.Random, data: bytes) -> bytes:
    """Members dropped, doubled, renamed, swapped or added."""
    members = list(_members(data).items())
    at = rng.randrange(len(members))
    move = rng.randrange(5)
    if move == 0:
        members.pop(at)
    elif move == 1:
        members.append(members[at])
    elif move == 2:
        members[at] = (rng.choice(TEXTS).replace("\x00", "") or "x", members[at][1])
    elif move == 3:
        other = rng.randrange(len(members))
        members[at], members[other] = (members[at][0], members[other][1]), (members[other][0], members[at][1])
    else:
        members.append((rng.choice(TEXTS).replace("\x00", "") or "x", bytes(rng.choice([0, 10, 1 << 20]))))
    return _zip(members)


ZIP: dict[str, Damage] = {"member": _member, "member again": _member, "directory": _directory}


# HDF5 and safetensors ---------------------------------------------------------------------------------------------


def _h5_text(rng: random.Random, data: bytes) -> bytes:
    """The configuration edited, other attributes replaced; structure edited where there is no configuration."""
    import h5py
    import numpy as np

    buffer = io.BytesIO(data)
    with h5py.File(buffer, "r+") as file:
        if "model_config" in file.attrs and rng.random() < 0.8:
            text = file.attrs["model_config"]
            config = text if isinstance(text, bytes) else text.encode()
            _set(file, "model_config", _text(rng, config))
        else:
            holders = [file]
            file.visititems(lambda _, item: holders.append(item))
            holder = rng.choice([h for h in holders if len(h.attrs)] or holders)
            name = rng.choice(list(holder.attrs) or ["a"])
            _set(holder, name, rng.choice([7, "x", b"", [], [b"a", b"b"], ["é"], np.zeros((2, 2)), rng.choice(TEXTS)]))
    return buffer.getvalue()


def _set(holder: Any, name: str, value: Any) -> None:
    if name in holder.attrs:
        del holder.attrs[name]
    try:
        holder.attrs[name] = value
    except (ValueError, TypeError, OSError, RuntimeError):
        holder.attrs[name] = 0


def _h5_tree(rng: random.Random, data: bytes) -> bytes:
    """A dataset or group replaced by one of another shape, type or kind."""
    import h5py
    import numpy as np

    buffer = io.BytesIO(data)
    with h5py.File(buffer, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        name = rng.choice(names)
        moves: list[Any] = [
            lambda: file.create_dataset(name, data=np.zeros(rng.choice([(), (0,), (3,), (1, 1, 1), (1 << 18,)]))),
            lambda: file.create_dataset(name, (1 << 40,), "f4", chunks=(1 << 10,)),
            lambda: file.create_dataset(name, data=["a", "b"]),
            lambda: file.create_dataset(name, (4,), "i8"),
            lambda: file.create_dataset(name, data=np.full((4, 4), np.nan)),
            lambda: file.create_group(name),
            lambda: file.__setitem__(name, h5py.SoftLink("/")),
            lambda: file.__setitem__(name, h5py.ExternalLink("/etc/hostname", "/")),
            lambda: file.__setitem__(name, file["/"]),
            lambda: None,
        ]
        del file[name]
        rng.choice(moves)()
    return buffer.getvalue()


def _h5_tables(rng: random.Random, data: bytes) -> bytes:
    """Bits of the first block and of whatever follows one of HDF5's own marks."""
    found = bytearray(data)
    marks = [b"TREE", b"HEAP", b"SNOD", b"OHDR", b"GCOL", b"BTHD", b"FRHP", b"OCHK"]
    places = [0]
    for mark in marks:
        at = found.find(mark)
        while at >= 0 and len(places) < 4000:
            places.append(at)
            at = found.find(mark, at + 1)
    for _ in range(rng.choice([1, 2, 6])):
        at = rng.choice(places) + rng.randrange(256)
        if at < len(found):
            found[at] = rng.choice([0, 255, found[at] ^ (1 << rng.randrange(8))])
    return bytes(found)


H5: dict[str, Damage] = {"attributes": _h5_text, "tree": _h5_tree, "tables": _h5_tables}


def _header(rng: random.Random, data: bytes) -> bytes:
    size = int.from_bytes(data[:8], "little")
    text = _text(rng, data[8 : 8 + size])
    told = len(text) if rng.random() < 0.9 else rng.choice([0, 1, 1 << 20, 1 << 40, (1 << 64) - 1])
    return told.to_bytes(8, "little") + text + data[8 + size :]


HEADER: dict[str, Damage] = {"header": _header, "header again": _header}


def _safetensors(program: bytes) -> bytes:
    """The weights of the mlp as a .safetensors."""
    members = _members(program)
    config = json.loads(members["mlp/data/weights/model_weights_config.json"])["config"]
    names = {5: "I64", 7: "F32"}
    header: dict[str, Any] = {}
    body = b""
    for path, entry in config.items():
        data = members[f"mlp/data/weights/{entry['path_name']}"]
        shape = [n["as_int"] for n in entry["tensor_meta"]["sizes"]]
        offsets = [len(body), len(body) + len(data)]
        header[path] = {"dtype": names[entry["tensor_meta"]["dtype"]], "shape": shape, "data_offsets": offsets}
        body += data
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body
