"""A .keras file as the same bytes for the same model: no time stamps, no addresses in memory, members in one order."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

BEGINNING = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can state; every member has it."""


def without_dates(path: Path) -> None:
    """Write the archive again, in place, without what Keras noted of the hour and of its own objects' addresses."""
    aside = path.with_name(f"{path.name}.plain")
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(aside, "w") as after:
        for name in sorted(before.namelist()):
            info = zipfile.ZipInfo(name, BEGINNING)
            info.external_attr = 0o644 << 16
            if name == "metadata.json":
                metadata = json.loads(before.read(name))
                metadata.pop("date_saved", None)
                after.writestr(info, json.dumps(metadata))
                continue
            if name == "config.json":
                after.writestr(info, json.dumps(_numbered(json.loads(before.read(name)), {})))
                continue
            with before.open(name) as source, after.open(info, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, 1 << 22)
    os.replace(aside, path)


def _numbered(value: Any, known: dict[Any, int]) -> Any:
    """A configuration with its `shared_object_id`s, which are addresses, counted in the order of their coming."""
    if isinstance(value, list):
        return [_numbered(part, known) for part in value]
    if not isinstance(value, dict):
        return value
    return {
        key: known.setdefault(part, len(known) + 1) if key == "shared_object_id" else _numbered(part, known)
        for key, part in value.items()
    }
