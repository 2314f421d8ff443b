"""A .pt2 (torch.export.save) vetted as data, and the clean copy of it that torch is handed.

torch.export.load unpickles sample inputs that weights_only refuses, payloads marked `use_pickle`, opaque and custom
objects and the .pt members of older files, and runs what data/aotinductor holds. The copy has none of these: raw
weights compared with what they claim, the program of pt2_program.py, and sample inputs of our own.
"""

from __future__ import annotations

import json
import math
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converter.errors import BadInput
from converter.files import pt2_program
from converter.files.archives import Archive, open_zip
from converter.files.json_text import parsed
from converter.files.pt2_program import Program
from converter.files.pt2_values import ITEMSIZE, Json, Values

MODEL = "models/model.json"
CONFIGS = {
    "weights": "data/weights/model_weights_config.json",
    "constants": "data/constants/model_constants_config.json",
}
ALLOWED = re.compile(
    r"archive_format|archive_version|byteorder|\.data/(version|serialization_id)|\.format_version|\.storage_alignment"
    r"|models/model\.json|data/weights/(model_weights_config\.json|weight_\d{1,7})"
    r"|data/constants/(model_constants_config\.json|tensor_\d{1,7})|data/sample_inputs/model\.pt|extra/.*"
)
TRUE = {
    r"data/aotinductor/.*": "it holds machine code that AOTInductor compiled, which is never run",
    r"data/executorch/.*": "it holds a program of ExecuTorch, which is not read",
    r"models/.*": "it holds several models; save each by itself with torch.export.save",
    r"data/(weights|constants)/.*\.pt": "it was written by an older torch as a pickle, which is never loaded; "
    "load and save it with a newer torch where it was made",
    r"data/constants/(custom|opaque)_obj_.*": "it holds pickled objects, which are never loaded",
}
"""Members that other files have, and what is said of them."""
OLD = frozenset({"serialized_exported_program.json", "serialized_state_dict.pt", "serialized_state_dict.json"})
MOST_PROGRAM = 1 << 30
MOST_CONFIG = 256 << 20
MOST_VIEW = 1 << 28


@dataclass(frozen=True)
class Payload:
    """One tensor of the state: its member, whether it is a parameter, what it is."""

    member: str
    is_param: bool
    meta: dict[str, Json]


@dataclass
class Pt2:
    """A vetted file: its program, its tensors, the members that hold them."""

    program: Program
    payloads: dict[str, dict[str, Payload]] = field(default_factory=dict)


def read_pt2(path: Path, label: str, use: Callable[[Archive, Pt2], Any]) -> Any:
    """Vet a .pt2 without torch, and hand the open archive with what was found to `use`."""
    with open_zip(path, label) as whole:
        archive, version = _layout(whole, label)
        if version not in ("0", "1"):
            raise BadInput(f"{label}: expected a .pt2 archive of version 0 or 1, received {version[:20]!r}.")
        program = pt2_program.vetted(archive.read_text(MODEL, MOST_PROGRAM), label)
        found = Pt2(program)
        for part, config in CONFIGS.items():
            if config not in archive:
                raise BadInput(f"{label}: the archive has no {config}. It is damaged or written by an older torch.")
            found.payloads[part] = _payloads(archive, part, config, label)
        _agree(found, label)
        return use(archive, found)


def _layout(whole: Archive, label: str) -> tuple[Archive, str]:
    """The archive without the name of its root folder, every member one that torch.export.save writes."""
    if OLD & set(whole.names):
        raise BadInput(
            f"{label}: it was written by torch 2.7 or older, whose files are pickles and never loaded. "
            "Load it with that torch and save it with torch 2.9 or newer."
        )
    roots = {name.split("/", 1)[0] for name in whole.names}
    root = next(iter(roots), "")
    if len(roots) != 1 or f"{root}/archive_format" not in whole:
        raise BadInput(
            f"{label}: expected a program saved by torch.export.save, but the zip holds "
            f"{', '.join(whole.names[:5]) or 'nothing'}."
        )
    members = {name.split("/", 1)[1]: info for name, info in whole.members.items() if "/" in name}
    archive = Archive(label, whole.file, members)
    for name in members:
        told = next((text for pattern, text in TRUE.items() if re.fullmatch(pattern, name)), None)
        if ALLOWED.fullmatch(name):
            continue
        raise BadInput(f"{label}: {told or 'its place is not known in a .pt2'} ({name[:200]}).")
    if archive.read("archive_format", 64).strip() != b"pt2":
        raise BadInput(f"{label}: expected archive_format pt2; this is no program saved by torch.export.save.")
    if MODEL not in archive:
        raise BadInput(f"{label}: the archive holds no {MODEL}. It is damaged.")
    if "byteorder" in archive and archive.read("byteorder", 64).strip() != b"little":
        raise BadInput(f"{label}: the weights are not in little-endian order, which is the one that is read.")
    version = archive.read("archive_version", 64) if "archive_version" in archive else b"0"
    return archive, version.decode("ascii", errors="replace").strip()


def _payloads(archive: Archive, part: str, config: str, label: str) -> dict[str, Payload]:
    """Every tensor of a config, compared with the bytes of its member before anything is allocated."""
    values = Values(f"{label}: {config}")
    table = values.table(parsed(archive.read_text(config, MOST_CONFIG), values.label), config)
    found: dict[str, Payload] = {}
    dtypes: dict[str, int] = {}
    for name, entry in values.table(table.get("config"), "config").items():
        path = values.path(name, "a weight")
        entry = values.table(entry, path)
        if entry.get("use_pickle") is not False:
            raise BadInput(f"{label}: {path!r} is stored as a pickle, which is never loaded. Save plain tensors.")
        file = values.text(entry.get("path_name"), path)
        member = f"data/{part}/{file}"
        if member not in archive or not ALLOWED.fullmatch(member):
            raise BadInput(f"{label}: {path!r} lies in {file[:200]!r}, which the archive does not hold.")
        meta = values.tensor(entry.get("tensor_meta"), path)
        if dtypes.setdefault(member, meta["dtype"]) != meta["dtype"]:
            raise BadInput(f"{label}: {member} is said to hold numbers of two dtypes. The file is damaged.")
        _fits(meta, archive.size(member), f"{label}: {path!r}")
        is_param = values.flag(entry.get("is_param"), path)
        found[path] = Payload(member, is_param, meta)
    return found


def _fits(meta: Mapping[str, Json], held: int, label: str) -> None:
    """Sizes, strides and offset reach no further than the bytes."""
    parts = [*meta["sizes"], *meta["strides"], meta["storage_offset"]]
    if any("as_int" not in n for n in parts):
        raise BadInput(f"{label} has symbolic sizes; a weight's are numbers.")
    sizes, strides = ([n["as_int"] for n in meta[key]] for key in ("sizes", "strides"))
    itemsize = ITEMSIZE[meta["dtype"]]
    count = math.prod(sizes)
    reach = meta["storage_offset"]["as_int"] + sum((n - 1) * s for n, s in zip(sizes, strides, strict=True)) + 1
    if held % itemsize or (count and reach * itemsize > held):
        raise BadInput(
            f"{label} claims the shape {tuple(sizes)} with strides {tuple(strides)}, but the file stores {held} bytes "
            "for it. It is damaged, or was exported without its weights."
        )
    if count * itemsize > held + MOST_VIEW:
        raise BadInput(f"{label} claims the shape {tuple(sizes)}, {count * itemsize} bytes, out of {held} in the file.")


def _agree(found: Pt2, label: str) -> None:
    """Every weight that the graph takes is there, and is what the graph says of it."""
    for (kind, path), claim in found.program.weights.items():
        places = ("constants",) if kind == "tensor_constant" else ("weights", "constants")
        payload = next((found.payloads[p][path] for p in places if path in found.payloads[p]), None)
        if payload is None:
            raise BadInput(f"{label}: the program takes the {kind} {path!r}, which the file does not hold.")
        if claim.get("dtype") != payload.meta["dtype"] or claim.get("sizes") != payload.meta["sizes"]:
            raise BadInput(
                f"{label}: {path!r} is another tensor in the graph than in the file "
                f"({_told(claim)} and {_told(payload.meta)}). The file is damaged."
            )


def _told(meta: Mapping[str, Json]) -> str:
    return f"dtype {meta.get('dtype')}, sizes {[next(iter(n.values())) for n in meta.get('sizes', [])]}"[:200]


def write_copy(archive: Archive, found: Pt2, target: Path, sample_inputs: bytes) -> None:
    """The clean copy: what was vetted, written anew, and the raw bytes of the weights."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as file:

        def put(name: str, data: bytes | str) -> None:
            file.writestr(f"model/{name}", data)

        put("archive_format", "pt2")
        put("archive_version", "0")
        put(".data/version", "6\n")
        put("byteorder", "little")
        put(MODEL, json.dumps(found.program.json))
        put("data/sample_inputs/model.pt", sample_inputs)
        for part, config in CONFIGS.items():
            payloads = found.payloads[part]
            entries = {
                path: {
                    "path_name": payload.member.rsplit("/", 1)[-1],
                    "is_param": payload.is_param,
                    "use_pickle": False,
                    "tensor_meta": payload.meta,
                }
                for path, payload in payloads.items()
            }
            put(config, json.dumps({"config": entries}))
            for member in dict.fromkeys(payload.member for payload in payloads.values()):
                with file.open(f"model/{member}", "w", force_zip64=True) as out:
                    archive.copy(member, out)
