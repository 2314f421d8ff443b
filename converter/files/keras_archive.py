"""A .keras file as the same bytes for the same model: no time stamps, no addresses in memory, members in one order."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BEGINNING = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can state; every member has it."""


def settle(path: Path, members: Mapping[str, bytes | Path]) -> None:
    """Write the archive again, in place, without what Keras noted of the hour and of its own objects' addresses.

    `members` are added: bytes, or what a file holds.
    """
    aside = path.with_name(f"{path.name}.plain")
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(aside, "w") as after:
        for name in sorted(before.namelist()):
            info = _info(name)
            if name == "metadata.json":
                metadata = json.loads(before.read(name))
                metadata.pop("date_saved", None)
                after.writestr(info, json.dumps(metadata))
                continue
            if name == "config.json":
                after.writestr(info, json.dumps(numbered(json.loads(before.read(name)))))
                continue
            with before.open(name) as source, after.open(info, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, 1 << 22)
        for name, content in members.items():
            if isinstance(content, bytes):
                after.writestr(_info(name), content)
                continue
            with content.open("rb") as source, after.open(_info(name), "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, 1 << 22)
    os.replace(aside, path)


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, BEGINNING)
    info.external_attr = 0o644 << 16
    return info


def numbered(value: Any) -> Any:
    """A configuration with its `shared_object_id`s, which are addresses, counted in the order of their coming."""
    return _numbered(value, {})


def _numbered(value: Any, known: dict[Any, int]) -> Any:
    if isinstance(value, list):
        return [_numbered(part, known) for part in value]
    if not isinstance(value, dict):
        return value
    return {
        key: known.setdefault(part, len(known) + 1) if key == "shared_object_id" else _numbered(part, known)
        for key, part in value.items()
    }
