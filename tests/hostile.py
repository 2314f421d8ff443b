"""Archives that an attacker would send, made from the fixtures: nothing hostile lies in the repository.

What would run, if it ran, makes a folder (`marker`); nothing here harms anybody.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

FIXTURES = Path(__file__).parent.parent / "fixtures"
Members = dict[str, bytes]
MODEL = "mlp/models/model.json"
WEIGHTS = "mlp/data/weights/model_weights_config.json"
CONSTANTS = "mlp/data/constants/model_constants_config.json"


class Runs:
    """An object whose unpickling makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.marker,)


def code(marker: Path) -> str:
    """An expression whose evaluation makes a folder."""
    return f"__import__('os').mkdir({str(marker)!r})"


def saved(value: Any) -> bytes:
    """What torch.save writes."""
    import torch

    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def rewritten(source: Path, target: Path, edit: Callable[[Members], None]) -> Path:
    """A zip whose members were edited."""
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    edit(members)
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return target


def with_program(target: Path, edit: Callable[[Any], None], fixture: str = "mlp") -> Path:
    """The .pt2 fixture whose models/model.json was edited."""

    def change(members: Members) -> None:
        name = f"{fixture}/models/model.json"
        program = json.loads(members[name])
        edit(program)
        members[name] = json.dumps(program).encode()

    return rewritten(FIXTURES / f"{fixture}.pt2", target, change)


def with_expression(target: Path, text: str) -> Path:
    """The batch of the input is an expression."""
    hint = {"as_int": 4}

    def edit(program: Any) -> None:
        tensor = program["graph_module"]["graph"]["tensor_values"]["pixels"]
        tensor["sizes"][0] = {"as_expr": {"expr_str": text, "hint": hint}}

    return with_program(target, edit)


def with_config(target: Path, part: str, edit: Callable[[Members, Any], None]) -> Path:
    """The configuration of the weights or constants was edited, members besides."""
    name = WEIGHTS if part == "weights" else CONSTANTS

    def change(members: Members) -> None:
        table = json.loads(members[name])
        edit(members, table["config"])
        members[name] = json.dumps(table).encode()

    return rewritten(FIXTURES / "mlp.pt2", target, change)


# .pt2 files that run what they hold when torch.export.load reads them, or when their module is made -------------------


def sample_inputs(target: Path, marker: Path) -> Path:
    """Sample inputs that weights_only refuses: torch falls back to a whole pickle."""
    name = "mlp/data/sample_inputs/model.pt"
    return rewritten(FIXTURES / "mlp.pt2", target, lambda m: m.update({name: saved(Runs(marker))}))


def expression(target: Path, marker: Path) -> Path:
    """A size that sympy evaluates."""
    return with_expression(target, code(marker))


def pickled_weight(target: Path, marker: Path) -> Path:
    """A weight marked `use_pickle`."""

    def edit(members: Members, config: Any) -> None:
        config["fc1.weight"]["use_pickle"] = True
        members[f"mlp/data/weights/{config['fc1.weight']['path_name']}"] = saved(Runs(marker))

    return with_config(target, "weights", edit)


def pickled_constant(target: Path, marker: Path) -> Path:
    """A constant marked `use_pickle`."""

    def edit(members: Members, config: Any) -> None:
        config["c"] = {"path_name": "tensor_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
        members["mlp/data/constants/tensor_0"] = saved(Runs(marker))

    return with_config(target, "constants", edit)


def opaque_constant(target: Path, marker: Path) -> Path:
    """A constant that is no tensor."""

    def edit(members: Members, config: Any) -> None:
        config["c"] = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
        members["mlp/data/constants/opaque_obj_0"] = pickle.dumps(Runs(marker))

    return with_config(target, "constants", edit)


def old_weights(target: Path, marker: Path) -> Path:
    """Weights as older versions of torch wrote them."""
    name = "mlp/data/weights/model.pt"
    return rewritten(FIXTURES / "mlp.pt2", target, lambda m: m.update({name: saved(Runs(marker))}))


def guards(target: Path, marker: Path) -> Path:
    """Guards, which torch writes into a function and executes when the module is made."""
    return with_program(target, lambda program: program.update(guards_code=[f"{code(marker)} is None"]))


def value_name(target: Path, marker: Path) -> Path:
    """The name of an input, which torch.fx writes into the head of a function."""
    text = f"pixels={code(marker)}"
    old = json.dumps("pixels")

    def change(members: Members) -> None:
        members[MODEL] = members[MODEL].replace(old.encode(), json.dumps(text).encode())

    return rewritten(FIXTURES / "mlp.pt2", target, change)


def weight_path(target: Path, marker: Path) -> Path:
    """The path of a weight, which torch.fx writes into the body of a function."""
    text = f'fc1.training"), getattr(__import__("os"), "mkdir")({str(marker)!r}), ("'  # a dot would part the path

    def change(members: Members) -> None:
        for name in (MODEL, WEIGHTS):
            members[name] = members[name].replace(b'"fc1.weight"', json.dumps(text).encode())

    return rewritten(FIXTURES / "mlp.pt2", target, change)


def factory(target: Path, module: str) -> Path:
    """The structure of the outputs holds a defaultdict, whose factory is imported."""
    context = {"default_factory_module": module, "default_factory_name": "list", "dict_context": ["a"]}
    return _with_outputs(target, "collections.defaultdict", context)


def enumeration(target: Path, module: str) -> Path:
    """The structure of the outputs holds a key that is an enum, whose module is imported."""
    context = json.dumps([{"__enum__": True, "fqn": f"{module}:Kind", "name": "a"}])
    return _with_outputs(target, "builtins.dict", context)


def _with_outputs(target: Path, kind: str, context: Any) -> Path:
    leaf = {"type": None, "context": None, "children_spec": []}

    def edit(program: Any) -> None:
        signature = program["graph_module"]["module_call_graph"][0]["signature"]
        signature["out_spec"] = json.dumps([1, {"type": kind, "context": context, "children_spec": [leaf]}])

    return with_program(target, edit)


RUNNING: dict[str, Callable[[Path, Path], Path]] = {
    "sample inputs": sample_inputs,
    "expression": expression,
    "pickled weight": pickled_weight,
    "pickled constant": pickled_constant,
    "opaque constant": opaque_constant,
    "old weights": old_weights,
    "guards": guards,
    "value name": value_name,
    "weight path": weight_path,
}
"""Makers of .pt2 files that make the folder `marker` when torch reads them, makes their module or calls it."""


# zips -------------------------------------------------------------------------------------------------------------


def zip_members(source: Path) -> Members:
    """The members of a fixture."""
    with zipfile.ZipFile(source) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _extra(name: str, data: bytes = b"x", **attributes: Any) -> Callable[[Path, Path], None]:
    def make(source: Path, target: Path) -> None:
        with zipfile.ZipFile(target, "w") as archive:
            for member, content in zip_members(source).items():
                archive.writestr(member, content)
            info = zipfile.ZipInfo(name.replace("FIRST", next(iter(zip_members(source)))))
            for key, value in attributes.items():
                setattr(info, key, value)
            archive.writestr(info, data)

    return make


def _patched(old: bytes, new: bytes, offset: int, width: int, value: int) -> Callable[[Path, Path], None]:
    """Numbers in the last entry of the directory overwritten."""
    del old, new

    def make(source: Path, target: Path) -> None:
        data = bytearray(source.read_bytes())
        entry = data.rfind(b"PK\x01\x02")
        data[entry + offset : entry + offset + width] = value.to_bytes(width, "little")
        target.write_bytes(data)

    return make


ZIPS: dict[str, Callable[[Path, Path], None]] = {
    "absolute": _extra("/tmp/evil"),
    "parent": _extra("a/../../evil"),
    "backslash": _extra("a\\..\\evil"),
    "drive": _extra("C:evil"),
    "twice": _extra("FIRST"),
    "link": _extra("link", b"/etc/passwd", external_attr=(stat.S_IFLNK | 0o777) << 16, create_system=3),
    "pipe": _extra("pipe", b"", external_attr=(stat.S_IFIFO | 0o777) << 16, create_system=3),
    "bomb": _extra("bomb", bytes(400 << 20), compress_type=zipfile.ZIP_DEFLATED),
    "method": _extra("packed", b"x" * 99, compress_type=zipfile.ZIP_BZIP2),
    "claims": _patched(b"", b"", 24, 4, 1 << 31),
    "encrypted": _patched(b"", b"", 8, 2, 1),
}
"""Makers of zips from an honest one; every reader refuses each."""


# HDF5 -------------------------------------------------------------------------------------------------------------


def _h5(edit: Callable[[h5py.File], None]) -> Callable[[Path], None]:
    def make(target: Path) -> None:
        target.write_bytes((FIXTURES / "mlp.h5").read_bytes())
        with h5py.File(target, "r+") as file:
            edit(file)

    return make


def _kernel(file: h5py.File) -> tuple[h5py.Group, str]:
    """The group and the name of the first kernel."""
    found: list[str] = []
    file["model_weights"].visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    path = next(name for name in found if "kernel" in name)
    head, _, tail = path.rpartition("/")
    return file["model_weights"][head], tail


def _replace(make: Callable[[h5py.Group, str], Any]) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        group, name = _kernel(file)
        del group[name]
        make(group, name)

    return edit


def kernel_of(path: Path) -> Any:
    """The first kernel of a file."""
    with h5py.File(path) as file:
        group, name = _kernel(file)
        return group[name][()]


def edited_kernel(target: Path, make: Callable[[h5py.Group, str], Any]) -> Path:
    """mlp.h5 with something else in the place of its first kernel."""
    _h5(_replace(make))(target)
    return target


def _virtual(group: h5py.Group, name: str) -> None:
    layout = h5py.VirtualLayout((64, 64), "f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (64, 64))
    group.create_virtual_dataset(name, layout)


def _cycle(file: h5py.File) -> None:
    file["model_weights"]["again"] = file["/"]


def _deep(file: h5py.File) -> None:
    group = file
    for _ in range(200):
        group = group.create_group("g")


def _many_bombs(file: h5py.File) -> None:
    for i in range(12):
        file.create_dataset(
            f"d{i}", (1 << 23,), "f4", chunks=(1 << 20,), compression="gzip", data=np.zeros(1 << 23, "f4")
        )


def _text(group: h5py.Group, name: str) -> None:
    group.create_dataset(name, data=["a" * 100] * 64, dtype=h5py.string_dtype())


def _named(group: h5py.Group, name: str) -> None:
    group[name] = np.dtype("f4")


def _chunk(group: h5py.Group, name: str) -> None:
    """One chunk of a gigabyte for a small weight, packed into a megabyte; its reader makes room for all of it."""
    side = 1 << 14
    made = group.create_dataset(name, (64, 64), "f4", chunks=(side, side), maxshape=(None, None), compression=9)
    packer = zlib.compressobj(9)
    zeros = bytes(side * side // 16)
    made.id.write_direct_chunk((0, 0), b"".join([*(packer.compress(zeros) for _ in range(64)), packer.flush()]))


def _lists(file: h5py.File) -> None:
    """Entries that are lists of any length, of which many can be one and the same."""
    kind = h5py.vlen_dtype(np.dtype("u1"))
    entries = np.empty(4, kind)
    entries[:] = [np.zeros(8 + i, "u1") for i in range(4)]
    file["model_weights"].attrs.create("layer_names", entries, dtype=kind)


HDF5: dict[str, Callable[[Path], None]] = {
    "external link": _h5(
        _replace(lambda group, name: group.__setitem__(name, h5py.ExternalLink("/etc/hostname", "/x")))
    ),
    "soft link": _h5(_replace(lambda group, name: group.__setitem__(name, h5py.SoftLink("/model_weights")))),
    "external storage": _h5(
        _replace(lambda g, n: g.create_dataset(n, (64, 64), "f4", external=[("/etc/hostname", 0, 16384)]))
    ),
    "virtual": _h5(_replace(_virtual)),
    "claims": _h5(
        _replace(lambda g, n: g.create_dataset(n, (1 << 20, 1 << 20), "f4", chunks=(1, 1 << 10), compression=9))
    ),
    "text": _h5(_replace(_text)),
    "opaque": _h5(_replace(lambda g, n: g.create_dataset(n, (64, 64), np.dtype("V64")))),
    "records": _h5(_replace(lambda g, n: g.create_dataset(n, (64, 64), np.dtype([("a", "f4"), ("b", "i8")])))),
    "named type": _h5(_replace(_named)),
    "group": _h5(_replace(lambda g, n: g.create_group(n))),
    "references": _h5(_replace(lambda g, n: g.create_dataset(n, (64, 64), h5py.ref_dtype))),
    "deep": _h5(_deep),
    "bombs": _h5(_many_bombs),
    "a chunk": _h5(_replace(_chunk)),
    "lists": _h5(_lists),
    "names": _h5(lambda file: file["model_weights"].attrs.__setitem__("layer_names", 7)),
    "config": _h5(lambda file: file.attrs.__setitem__("model_config", "[" * 200_000)),
    "config record": _h5(lambda file: file.attrs.__setitem__("model_config", np.zeros(3, np.dtype([("a", "f4")])))),
}
"""Makers of .h5 files; the reader refuses each."""
HARMLESS: dict[str, Callable[[Path], None]] = {
    "cycle": _h5(_cycle),
    "comment": _h5(lambda f: f.create_dataset("t", data="x")),
}
"""Makers of .h5 files with odd parts that no weight is read from; they are read as they were."""


def safetensors(target: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    """A .safetensors with a header of one's own."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    target.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return target


def without_weights(target: Path, config: Any) -> Path:
    """A .keras file of a configuration alone, whose weights are none."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_group("layers")
        file.create_group("vars")
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.0"}))
        archive.writestr("model.weights.h5", buffer.getvalue())
    return target
