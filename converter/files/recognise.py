"""What kind of file a path is, by its first bytes and its name, without importing a framework."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

from converter.errors import BadInput, Item, Unsupported, UsageError
from converter.files.archives import open_zip, starts_with

Format = Literal["keras", "h5", "pt2", "torch weights", "safetensors"]
HDF5_START = b"\x89HDF\r\n\x1a\n"
KERAS_ENDINGS = (".keras", ".h5", ".hdf5", ".hdf", ".he5")
WEIGHTS_ENDINGS = (".pt", ".pth", ".bin", ".ckpt")
MODELS = ".keras, .h5, .pt2, or a file of weights (.safetensors, .pt, .pth, .weights.h5) with --arch"
LATEST_BLOCK = 1 << 20
"""HDF5 allows a block of the user's before its own start, of 512 bytes and powers of two of that."""


def recognise(path: Path) -> Format:
    """The format of a model file.

    Raises BadInput where it is not there or is none, UsageError for code, Unsupported for formats that are not read.
    """
    if path.is_dir():
        raise _folder(path)
    start = starts_with(path, 16)
    suffix = path.suffix.lower()
    if suffix == ".py":
        raise UsageError(
            f"{path}: this is code, and a model is converted from data. "
            f"Pass its file of weights, with --arch {path}:CLASS for the code."
        )
    if suffix == ".onnx":
        raise Unsupported([Item(str(path), "the ONNX file", "reading ONNX files is not there yet.", _models())])
    if suffix in (".pb", ".tflite", ".mlmodel", ".pdmodel"):
        raise Unsupported([Item(str(path), f"the {suffix} file", "this format is not read.", _models())])
    found = _by_content(path, start)
    if found is None and suffix == ".safetensors":
        return "safetensors"  # its reader says what is wrong with it
    if found is None:
        raise BadInput(f"{path}: expected {MODELS}; {_seen(path, start)}")
    return found


def _by_content(path: Path, start: bytes) -> Format | None:
    if start.startswith(HDF5_START) or (path.suffix.lower() in KERAS_ENDINGS and later_hdf5(path)):
        return "h5"
    if start.startswith(b"PK"):
        return _zipped(path)
    if path.suffix.lower() == ".safetensors" or re.match(rb'.{8}\{\s*"', start, re.DOTALL):
        return "safetensors"
    if start[:1] == b"\x80" and start[1:2] <= b"\x05":
        return "torch weights"  # an old one, pickles one after the other
    return None


def later_hdf5(path: Path) -> bool:
    """Whether HDF5 begins behind a block of the user's."""
    with path.open("rb") as file:
        size, offset = file.seek(0, os.SEEK_END), 512
        while offset < size and offset <= LATEST_BLOCK:
            file.seek(offset)
            if file.read(8) == HDF5_START:
                return True
            offset *= 2
    return False


def _zipped(path: Path) -> Format | None:
    """Which zip it is: the suffix where that is a model's own, else the members."""
    suffix = path.suffix.lower()
    if suffix == ".keras":
        return "keras"
    with open_zip(path, str(path)) as archive:
        inner = {name.split("/", 1)[-1] for name in archive.names}
        if "config.json" in archive and any(name.endswith(".h5") for name in archive.names):
            return "keras"
        if inner & {"archive_format", "models/model.json", "serialized_exported_program.json"} or suffix == ".pt2":
            return "pt2"
        if "data.pkl" in inner:
            return "torch weights"
        if archive.names and all(name.endswith(".npy") for name in archive.names):
            raise UsageError(f"{path}: this .npz holds arrays; pass them with --inputs, and a model file as MODEL.")
    return None


def _folder(path: Path) -> Exception:
    """What to say of a folder."""
    if (path / "saved_model.pb").exists():
        why = "reading SavedModel folders is not there yet."
        return Unsupported([Item(str(path), "the SavedModel", why, "Save the model as .keras or .h5.")])
    if (path / "config.json").exists() and (path / "model.weights.h5").exists():
        return BadInput(f"{path}: Keras saved this model unzipped. Zip the folder's content into a .keras file.")
    return BadInput(f"{path}: expected {MODELS}; received a folder, which holds no SavedModel either.")


def _seen(path: Path, start: bytes) -> str:
    if not start:
        return "received an empty file."
    if start.startswith(b"PK"):
        return "received a zip with other members."
    return f"received a file named {path.suffix or path.name!r} that begins with {start[:8]!r}."


def _models() -> str:
    return f"Expected {MODELS}."
