"""Nothing in a file runs, reaches outside of it or takes more memory than it can hold; each hostile file is refused."""

from __future__ import annotations

import ast
import contextlib
import errno
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from converter import convert, rows, sources
from converter.errors import BadInput, CannotWrite, ConvertError, Unsupported, UsageError
from converter.files import json_text, pt2_program, state_dicts_torch
from converter.files.arrays import read_arrays
from converter.files.outputs import Staged, write_all
from converter.files.pickle_stream import heaviest_tuple
from converter.files.pt2_expressions import checked
from converter.files.pt2_values import Values
from converter.files.safetensors_header import read_header
from converter.report import sha256_of
from tests import hostile

FIXTURES = hostile.FIXTURES


def read(path: Path) -> Any:
    """The model of a file and, of a program, its module."""
    model = sources.read(path, None, None).model
    return model.module() if hasattr(model, "graph_signature") else model


# .pt2 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", hostile.RUNNING)
def test_nothing_in_a_pt2_runs(name: str, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    path = hostile.RUNNING[name](tmp_path / "evil.pt2", marker)
    refused = ""
    try:
        read(path)(torch.zeros(4, 64))
    except ConvertError as error:
        refused = str(error)
    assert not marker.exists()
    if name not in ("sample inputs", "guards"):  # these two are left out of what torch is handed
        assert "evil.pt2" in refused


@pytest.mark.parametrize("make", [hostile.factory, hostile.enumeration])
def test_nothing_in_a_pt2_is_imported(
    make: Callable[[Path, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil_module_of_a_file.py").write_text("list = list\nKind = {'a': 'a'}\n")
    monkeypatch.syspath_prepend(tmp_path)
    refused = pytest.raises(BadInput, match=r"evil\.pt2") if make is hostile.enumeration else contextlib.nullcontext()
    with refused:  # a defaultdict is read as a dict
        read(make(tmp_path / "evil.pt2", "evil_module_of_a_file"))
    assert "evil_module_of_a_file" not in sys.modules


def test_a_pt2_with_evil_sample_inputs_converts_without_them(tmp_path: Path) -> None:
    path = hostile.sample_inputs(tmp_path / "evil.pt2", tmp_path / "ran")
    made = convert(path, "keras")
    assert made.report.passed
    assert not (tmp_path / "ran").exists()


def _node(program: Any) -> Any:
    return program["graph_module"]["graph"]["nodes"][1]


def _claim(program: Any, name: str = "pixels") -> Any:
    return program["graph_module"]["graph"]["tensor_values"][name]


def _argument(kind: str, value: Any) -> Callable[[Any], None]:
    return lambda program: _node(program)["inputs"].append({"name": "x", "arg": {kind: value}, "kind": 2})


def _constant_text(program: Any) -> None:
    module = program["graph_module"]
    module["graph"]["inputs"][-1] = {"as_string": '\'"); print("x'}
    module["signature"]["input_specs"][-1] = {"constant_input": {"name": "pixels", "value": {"as_string": "'\""}}}


def _key(program: Any) -> None:
    leaf = {"type": None, "context": None, "children_spec": []}
    inner = {"type": "builtins.dict", "context": json.dumps(['"); print("x']), "children_spec": [leaf]}
    args = {"type": "builtins.tuple", "context": "null", "children_spec": [inner]}
    kwargs = {"type": "builtins.dict", "context": "[]", "children_spec": []}
    spec = {"type": "builtins.tuple", "context": "null", "children_spec": [args, kwargs]}
    program["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = json.dumps([1, spec])


def _ranges(program: Any) -> None:
    program["range_constraints"] = {"u99999999999": {"min_val": 0, "max_val": 5}}


def _file(program: Any) -> None:
    _node(program).update(
        target="torch.ops.aten.from_file.default",
        inputs=[{"name": "filename", "arg": {"as_string": "/etc/hostname"}, "kind": 1}],
    )


def _memory(program: Any) -> None:
    _node(program).update(
        target="torch.ops.aten.zeros.default",
        inputs=[{"name": "size", "arg": {"as_ints": [1 << 20, 1 << 20]}, "kind": 1}],
    )


PROGRAMS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "target of torch": (lambda p: _node(p).update(target="torch.load"), "torch.ops.aten"),
    "target of a module of torch": (lambda p: _node(p).update(target="torch.serialization.os.mkdir"), "torch.ops.aten"),
    "target of operator": (lambda p: _node(p).update(target="_operator.methodcaller"), "torch.ops.aten"),
    "target of math": (lambda p: _node(p).update(target="math.__loader__.load_module"), "torch.ops.aten"),
    "target of an extension": (lambda p: _node(p).update(target="#x:y"), "torch.ops.aten"),
    "overload that is none": (lambda p: _node(p).update(target="torch.ops.aten.relu.overloads"), "no operation"),
    "operation that is none": (lambda p: _node(p).update(target="torch.ops.aten.evil.default"), "no operation"),
    "operator as argument": (_argument("as_operator", "torch.load"), "expected tensors"),
    "graph as argument": (_argument("as_graph", {"name": "x", "graph": {}}), "expected tensors"),
    "object as argument": (_argument("as_custom_obj", {"name": "x", "class_fqn": "y"}), "expected tensors"),
    "file": (_file, "torch.ops.aten"),
    "memory": (_memory, "elements"),
    "text input": (_constant_text, "plain word"),
    "key of an input": (_key, "plain word"),
    "symbol without end": (_ranges, "symbols such as s0"),
    "size of an input": (lambda p: _claim(p)["sizes"].__setitem__(1, {"as_int": 1 << 39}), "bytes"),
    "size of a value": (lambda p: _claim(p, "relu")["sizes"].__setitem__(1, {"as_int": 1 << 62}), "whole number"),
    "weight that is another": (lambda p: _claim(p, "p_fc1_weight")["sizes"].__setitem__(0, {"as_int": 9}), "another"),
    "weight without bytes": (
        lambda p: p["graph_module"]["signature"]["input_specs"][0]["parameter"].update(parameter_name="other.weight"),
        "does not hold",
    ),
    "verifier": (lambda p: p.update(verifiers=["EDGE"]), "ATEN"),
    "no program": (lambda p: p.clear(), "graph_module"),
    "nodes": (lambda p: p["graph_module"]["graph"].update(nodes={"a": 1}), "a list"),
    "future": (lambda p: p["schema_version"].update(major=99), "schema version"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_that_are_refused(name: str, tmp_path: Path) -> None:
    edit, said = PROGRAMS[name]
    with pytest.raises(BadInput, match=r"evil\.pt2") as caught:
        read(hostile.with_program(tmp_path / "evil.pt2", edit))
    assert said in str(caught.value)


def test_operations_of_other_libraries_are_unsupported(tmp_path: Path) -> None:
    def edit(program: Any) -> None:
        for node in program["graph_module"]["graph"]["nodes"][:2]:
            node["target"] = f"torch.ops.mine.{node['name']}.default"

    with pytest.raises(Unsupported) as caught:
        read(hostile.with_program(tmp_path / "evil.pt2", edit))
    assert [item.what for item in caught.value.items] == ["mine.linear.default", "mine.relu.default"]


EXPRESSIONS = [
    "__import__('os').getpid()",
    "Symbol('s0').__class__",
    "Symbol('__import__')",
    "[x for x in (1,)]",
    "(lambda: 1)()",
    "s0 if s0 else s1",
    "E + 1",
    "S('1')",
    "Symbol('s0', name='x')",
    "Pow(Integer(10), Integer(1000000000))",
    "Pow(Integer(10), Add(Symbol('s0'), Mul(Integer(-1), Symbol('s0')), Integer(1000000000)))",
    "Pow(Pow(Pow(Pow(Integer(9), Integer(16)), Integer(16)), Integer(16)), Integer(16))",
    "LShift(Integer(1), Integer(1000000000))",
    "9**9**9**9",
    "(" * 5000,
    "-" * 5000 + "s0",
    "+".join(["s0"] * 5000),
    "f'{s0}'",
    "s0.bit_length()",
    "Integer(s0=1)",
    "",
    "Rational(1, 3) % ((s3 ** 16 + Pow(s3, -1)) ** 16)",  # multiplied out: minutes
    "Mod(s0, Mul(" + ", ".join(f"Add(Symbol('s{i}'), Symbol('s{i + 1}'))" for i in range(12)) + "))",
]


@pytest.mark.parametrize("text", EXPRESSIONS, ids=range(len(EXPRESSIONS)))
def test_expressions_that_are_refused(text: str) -> None:
    with pytest.raises(BadInput, match="expression of sizes"):
        checked(text, "x")


@pytest.mark.parametrize(
    "text",
    [
        "Symbol('s77', positive=True, integer=True)",
        "Mul(Integer(24), Symbol('s23', integer=True), FloorDiv(Add(Symbol('s0'), Integer(-1)), Integer(2)))",
        "Max(Integer(1), Pow(Symbol('s27'), Integer(2)))",
        "Pow(Symbol('s27'), Rational(1, 2))",
        "GreaterThan(Symbol('u0', integer=True), Integer(0))",
        "And(Ne(Mod(Symbol('s0'), Integer(2)), Integer(0)), true)",
        "IntTrueDiv(Integer(8), ToFloat(Float('0.5', precision=53)))",
        "2 * s0 + 1",
        "s0 // 2 - -3",
    ],
)
def test_expressions_of_sizes_stay(text: str) -> None:
    assert checked(text, "x") == text


def test_expression_in_a_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expression of sizes"):
        read(hostile.with_expression(tmp_path / "evil.pt2", "Pow(Integer(10), Integer(10000000000))"))


def _sizes(*sizes: int, strides: tuple[int, ...] = (), offset: int = 0) -> Callable[[hostile.Members, Any], None]:
    def edit(members: hostile.Members, config: Any) -> None:
        meta = config["fc1.weight"]["tensor_meta"]
        meta["sizes"] = [{"as_int": n} for n in sizes]
        meta["strides"] = [{"as_int": n} for n in strides]
        meta["storage_offset"] = {"as_int": offset}

    return edit


def _empty(members: hostile.Members, config: Any) -> None:
    members[f"mlp/data/weights/{config['fc1.weight']['path_name']}"] = b""


def _elsewhere(members: hostile.Members, config: Any) -> None:
    config["fc1.weight"]["path_name"] = "../../models/model.json"


@pytest.mark.parametrize(
    "edit",
    [
        _sizes(1 << 39, 1, strides=(0, 0)),
        _sizes(64, 64, strides=(64, 2)),
        _sizes(64, 64, strides=(64, 1), offset=1),
        _sizes(64, 64, strides=(-64, 1), offset=4000),
        _empty,
        _elsewhere,
    ],
    ids=["wide", "strides", "offset", "backwards", "empty", "elsewhere"],
)
def test_weights_that_claim_what_is_not_there(edit: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"evil\.pt2"):
        read(hostile.with_config(tmp_path / "evil.pt2", "weights", edit))


@pytest.mark.parametrize(
    ("member", "said"),
    [
        ("mlp/data/aotinductor/model/a.so", "machine code"),
        ("mlp/models/other.json", "several models"),
        ("mlp/data/executorch/a.pte", "ExecuTorch"),
        ("mlp/data/constants/custom_obj_0", "pickled objects"),
        ("mlp/data/other", "not known"),
        ("serialized_exported_program.json", "torch 2.7"),
    ],
)
def test_pt2_of_other_kinds(member: str, said: str, tmp_path: Path) -> None:
    path = hostile.rewritten(FIXTURES / "mlp.pt2", tmp_path / "a.pt2", lambda m: m.update({member: b"{}"}))
    with pytest.raises(BadInput, match=said):
        read(path)


def test_deep_programs(tmp_path: Path) -> None:
    deep = b'{"a":' * 100_000
    path = hostile.rewritten(FIXTURES / "mlp.pt2", tmp_path / "a.pt2", lambda m: m.update({hostile.MODEL: deep}))
    with pytest.raises(BadInput, match="JSON"):
        read(path)


@pytest.mark.parametrize("ending", ["keras", "pt2"])
def test_text_that_unpacks_without_end(ending: str, tmp_path: Path) -> None:
    name = "config.json" if ending == "keras" else hostile.MODEL
    members = hostile.zip_members(FIXTURES / f"mlp.{ending}") | {name: b"[" + b"[]," * (8 << 20) + b"0]"}
    with zipfile.ZipFile(tmp_path / f"evil.{ending}", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    with pytest.raises(BadInput, match="bytes of text"):
        sources.read(tmp_path / f"evil.{ending}", None, None)


def test_pipes_and_devices_are_no_models(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "net.keras")
    for path in (tmp_path / "net.keras", Path("/dev/zero")):
        with pytest.raises(BadInput, match="no plain file"):
            convert(path, "torch")
        with pytest.raises(UsageError, match="no plain file"):
            read_arrays(path)
        assert sha256_of(path) == ""


# zips and HDF5 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["keras", "pt2", "npz"])
@pytest.mark.parametrize("name", hostile.ZIPS)
def test_zips_that_are_refused(name: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"evil.{ending}"
    with pytest.warns(UserWarning, match="Duplicate") if name == "twice" else contextlib.nullcontext():
        hostile.ZIPS[name](FIXTURES / f"mlp.{ending}", path)
    before = set(os.listdir(tmp_path))
    with pytest.raises(
        UsageError if ending == "npz" else BadInput, match=rf"evil\.{ending}.*(zip|member|claim|packed)"
    ):
        read_arrays(path) if ending == "npz" else sources.read(path, None, None)
    assert set(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("name", hostile.HDF5)
def test_hdf5_that_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "evil.h5"
    hostile.HDF5[name](path)
    with pytest.raises(BadInput, match=r"evil\.h5"):
        sources.read(path, None, None)


@pytest.mark.parametrize("name", hostile.HARMLESS)
def test_hdf5_with_odd_parts_is_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.h5"
    hostile.HARMLESS[name](path)
    assert sources.read(path, None, None).kind == "keras"


def test_big_endian_weights_are_read(tmp_path: Path) -> None:
    def turn(group: Any, name: str) -> None:
        data = hostile.kernel_of(FIXTURES / "mlp.h5")
        group.create_dataset(name, data=data, dtype=">f4")

    hostile.edited_kernel(tmp_path / "big.h5", turn)
    weights = [
        sources.read(path, None, None).model.get_weights() for path in (tmp_path / "big.h5", FIXTURES / "mlp.h5")
    ]
    assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))


@pytest.mark.parametrize(
    "damage", [{"config": 1 << 40}, {"registered_name": ["a"]}, {"module": {}}, {"class_name": 7}, {"config": None}]
)
def test_layers_that_are_none(damage: dict[str, Any], tmp_path: Path) -> None:
    def edit(members: hostile.Members) -> None:
        config = {"module": "keras", "class_name": "Sequential", "config": {"name": "s", "layers": []}}
        members["config.json"] = json.dumps(config | damage).encode()

    with pytest.raises(BadInput, match=r"evil\.keras"):
        sources.read(hostile.rewritten(FIXTURES / "mlp.keras", tmp_path / "evil.keras", edit), None, None)


# arrays -----------------------------------------------------------------------------------------------------------


def _npy(path: Path, shape: str, dtype: str = "<f4", data: bytes = b"") -> Path:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    head = text.ljust(118 - 1).encode() + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data)
    return path


def test_arrays(tmp_path: Path) -> None:
    values = {"a": np.arange(6.0).reshape(2, 3), "b": np.asfortranarray(np.ones((2, 3), "i8")), "c": np.empty((0, 4))}
    np.savez(tmp_path / "x.npz", **values)
    found = read_arrays(tmp_path / "x.npz")
    assert isinstance(found, dict)
    assert list(found) == ["a", "b", "c"]
    for name, value in values.items():
        assert found[name].dtype == value.dtype
        assert np.array_equal(found[name], value)
    np.save(tmp_path / "x.npy", values["a"])
    assert np.array_equal(np.asarray(read_arrays(tmp_path / "x.npy")), values["a"])


def test_arrays_that_are_refused(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    objects = np.empty(1, object)
    objects[0] = hostile.Runs(marker)
    np.save(tmp_path / "objects.npy", objects)
    np.savez(tmp_path / "objects.npz", a=objects)
    (tmp_path / "pickle.npy").write_bytes(b"\x80\x04.")
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "text.npz").write_text("a,b")
    (tmp_path / "cut.npz").write_bytes((FIXTURES / "mlp.npz").read_bytes()[:-40])
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as archive:
        archive.writestr("a.txt", "x")
    _npy(tmp_path / "claims.npy", "(1000000, 1000000)")
    _npy(tmp_path / "minus.npy", "(-1, 4)", data=bytes(16))
    _npy(tmp_path / "code.npy", "__import__('os').getpid()")
    _npy(tmp_path / "deep.npy", "(" * 60)
    _npy(tmp_path / "more.npy", "(2,)", data=bytes(16))
    _npy(tmp_path / "wide.npy", f"({1 << 45},)", "|S0")
    names = ["objects.npy", "objects.npz", "pickle.npy", "empty.npz", "text.npz", "cut.npz", "other.npz", "claims.npy"]
    for name in [*names, "wide.npy", "minus.npy", "code.npy", "deep.npy", "more.npy", "missing.npz", "."]:
        with pytest.raises(UsageError):
            read_arrays(tmp_path / name)
    assert not marker.exists()


# state dicts ------------------------------------------------------------------------------------------------------


class Grows:
    """An object that weights_only makes by a call, as large as the file says."""

    def __reduce__(self) -> tuple[Any, ...]:
        return bytearray, (1 << 20,)


@pytest.mark.parametrize("zipped", [True, False])
def test_state_dicts_that_make_room_by_calls(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"weight": torch.zeros(2), "x": Grows()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(BadInput, match="bytearray besides tensors"):
        sources.read(path, lambda: torch.nn.Linear(2, 1), None)


def test_a_pickle_of_lists_without_end(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + b"]" * (20 << 20))
    with pytest.raises(BadInput, match=r"claims .* bytes of text"):
        sources.read(path, lambda: torch.nn.Linear(2, 1), None)


# text and sizes in a configuration --------------------------------------------------------------------------------


def _layers(*layers: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    made = [{"module": "keras.layers", "class_name": c, "config": {"name": c, **k}} for c, k in layers]
    return {"module": "keras", "class_name": "Sequential", "config": {"name": "m", "layers": made}}


def test_sizes_that_no_weight_bounds(tmp_path: Path) -> None:
    entry = ("InputLayer", {"batch_shape": [None, 1000], "dtype": "float32"})
    for name, config in {
        "input": _layers(("InputLayer", {"batch_shape": [None, 2_000_000_000]}), ("ReLU", {})),
        "repeat": _layers(entry, ("RepeatVector", {"n": 2_000_000})),
    }.items():
        path = hostile.without_weights(tmp_path / f"{name}.keras", config)
        with pytest.raises(BadInput, match=r"numbers for a single example.*no-verify"):
            convert(path, to="torch")


def test_half_characters_in_a_configuration(tmp_path: Path) -> None:
    config = _layers(("InputLayer", {"batch_shape": [None, 4]}), ("ReLU", {"name": "a\ud800"}))
    path = hostile.without_weights(tmp_path / "a.keras", config)
    with pytest.raises(BadInput, match="half a character"):
        convert(path, to="torch")


def test_json_of_more_values_than_any_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_text, "MOST_VALUES", 100)
    assert json_text.parsed("[" + "[]," * 20 + "[]]", "x")
    with pytest.raises(BadInput, match="more than 100 values"):
        json_text.parsed("[" + "[]," * 200 + "[]]", "x")


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of a JSON value with each of its keys."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


@pytest.mark.parametrize("odd", [[[]], {"a": []}, 7, "\ud800"], ids=repr)
def test_any_value_of_a_program_may_be_another(odd: Any) -> None:
    """Refused or read, never a fault of ours."""
    with zipfile.ZipFile(FIXTURES / "mlp.pt2") as archive:
        program = json.loads(archive.read(hostile.MODEL))
    refused = 0
    for holder, key in list(_places(program)):
        kept, holder[key] = holder[key], odd
        try:
            pt2_program.vetted(json.dumps(program).encode(), "x")
        except (BadInput, Unsupported):
            refused += 1
        holder[key] = kept
    assert refused > 100


@pytest.mark.parametrize("kind", [["cpu"], {"cpu": 1}])
def test_devices_that_are_no_words(kind: Any) -> None:
    with pytest.raises(BadInput, match="one of the devices"):
        Values("x").device({"type": kind}, "weight")


def test_a_preview_follows_no_link(tmp_path: Path) -> None:
    """A pipe at the end of an external link would be waited on without end."""
    path = tmp_path / "a.h5"
    shutil.copy(FIXTURES / "mlp.h5", path)
    with h5py.File(path, "r+") as file:
        del file["model_weights"], file.attrs["keras_version"]
        file["model_weights"] = h5py.ExternalLink("other.h5", "/x")
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other.create_group("x").attrs["keras_version"] = "2.1.0"
    with pytest.raises(BadInput, match="a link to another place"):
        rows.preview(path)


def test_names_of_files_may_be_any_bytes(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b'/a\xff"""\nimport os\n.keras'))
    shutil.copy(FIXTURES / "mlp.keras", path)
    made = convert(path, to="torch", verify=False)
    assert made.save(tmp_path / "m.py")
    assert not [node for node in ast.walk(ast.parse(made.source)) if "os" in getattr(node, "names", ())]
    assert "\nimport os" not in made.source


# safetensors ------------------------------------------------------------------------------------------------------


def _tensor(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


HEADERS: dict[str, tuple[Any, bytes, int | None]] = {
    "length": ({"a": _tensor()}, bytes(8), 1 << 60),
    "no json": (b"{nothing}", b"", None),
    "deep": (b'{"a":' * 50_000, b"", None),
    "a list": ([1], b"", None),
    "twice": (
        b'{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}',
        b"x",
        None,
    ),
    "dtype": ({"a": _tensor("O")}, bytes(8), None),
    "shape": ({"a": _tensor(shape=(1 << 40,))}, bytes(8), None),
    "negative": ({"a": _tensor(shape=(-2,))}, bytes(8), None),
    "floats": ({"a": _tensor(shape=(2.0,))}, bytes(8), None),
    "offsets": ({"a": _tensor(offsets=(8, 16))}, bytes(8), None),
    "backwards": ({"a": _tensor(offsets=(8, 0))}, bytes(8), None),
    "overlap": ({"a": _tensor(), "b": _tensor(offsets=(4, 12))}, bytes(12), None),
    "hole": ({"a": _tensor(), "b": _tensor(offsets=(12, 20))}, bytes(20), None),
    "rest": ({"a": _tensor()}, bytes(9), None),
    "truncated": ({"a": _tensor()}, bytes(7), None),
    "metadata": ({"__metadata__": {"a": [1]}, "a": _tensor()}, bytes(8), None),
    "half a character": (b'{"\\ud800":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}', b"x", None),
    "half of UTF-8": (b'{"\xed\xa0\x80":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}', b"x", None),
}


@pytest.mark.parametrize("name", HEADERS)
def test_safetensors_headers(name: str, tmp_path: Path) -> None:
    header, data, length = HEADERS[name]
    with pytest.raises(BadInput, match=r"a\.safetensors"):
        read_header(hostile.safetensors(tmp_path / "a.safetensors", header, data, length))


def test_a_good_header(tmp_path: Path) -> None:
    header = {"__metadata__": {"format": "pt"}, "b": _tensor(offsets=(4, 12)), "a": _tensor("U8", (2, 2), (0, 4))}
    entries, metadata = read_header(hostile.safetensors(tmp_path / "a.safetensors", header, bytes(12)))
    assert [(e.name, e.shape) for e in entries] == [("a", (2, 2)), ("b", (2,))]
    assert metadata == {"format": "pt"}


# what a path is ---------------------------------------------------------------------------------------------------


def test_every_path_has_its_own_message(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("x = 1\n")
    (tmp_path / "net.onnx").write_bytes(b"\x08\x07")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"\x08")
    (tmp_path / "folder").mkdir()
    (tmp_path / "unzipped").mkdir()
    (tmp_path / "unzipped" / "config.json").write_text("{}")
    (tmp_path / "unzipped" / "model.weights.h5").write_bytes(b"")
    (tmp_path / "net.h5").write_text("no HDF5")
    (tmp_path / "net.txt").write_text("nothing")
    (tmp_path / "net.pt").write_bytes(b"\x80\x02}q\x00.")
    (tmp_path / "net.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    expected = {
        "net.py": (UsageError, "--arch"),
        "net.onnx": (Unsupported, "ONNX"),
        "saved": (Unsupported, "SavedModel"),
        "folder": (BadInput, "folder"),
        "unzipped": (BadInput, "unzipped"),
        "net.h5": (BadInput, "begins with"),
        "net.txt": (BadInput, "begins with"),
        "missing.keras": (BadInput, "no such file"),
        "net.pt": (UsageError, "--arch"),
        "net.safetensors": (UsageError, "--arch"),
    }
    for name, (kind, said) in expected.items():
        for target in ("keras", "torch"):
            if name in ("net.pt", "net.safetensors") and target == "torch":
                continue  # the framework is the target's own
            with pytest.raises(kind, match=said) as caught:
                convert(tmp_path / name, target)
            assert "already" not in str(caught.value)


def test_files_are_known_by_their_bytes(tmp_path: Path) -> None:
    for name, kind in [("mlp.h5", "keras"), ("mlp.keras", "keras"), ("mlp.pt2", "torch")]:
        (tmp_path / "model.bin").write_bytes((FIXTURES / name).read_bytes())
        assert sources.kind_of(tmp_path / "model.bin") == kind
        assert sources.read(tmp_path / "model.bin", None, None).kind == kind
        with pytest.raises(UsageError, match="already"):
            convert(tmp_path / "model.bin", kind)


def test_early_refusals_import_no_framework(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("x = 1\n")
    (tmp_path / "net.pt").write_bytes(b"\x80\x02}q\x00.")
    code = (
        "import sys\nfrom converter import sources\nfrom converter.errors import UsageError\n"
        f"for name in ('net.py', 'net.pt'):\n    path = {str(tmp_path)!r} + '/' + name\n"
        "    try:\n        sources.read(path, None, None)\n"
        "    except UsageError:\n        continue\n    raise SystemExit(name)\n"
        "found = {'torch', 'keras', 'tensorflow', 'h5py', 'onnx'} & set(sys.modules)\nassert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=FIXTURES.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# results ----------------------------------------------------------------------------------------------------------


def _write(text: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(text) and None


def test_results_never_go_through_links(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link.json"
    target.write_text("mine")
    link.symlink_to(target)
    with pytest.raises(CannotWrite, match="symbolic link"):
        write_all({link: _write("x")})
    write_all({link: _write("x")}, force=True)
    assert (link.read_text(), link.is_symlink(), target.read_text()) == ("x", False, "mine")


def test_dangling_links_stand_in_the_way(tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(CannotWrite, match="symbolic link"):
        write_all({link: _write("x")})
    assert link.is_symlink()
    (tmp_path / "folder").symlink_to(tmp_path / "gone")
    with pytest.raises(CannotWrite, match="no folder"):
        write_all({tmp_path / "folder" / "a.json": _write("x")})


def test_devices_and_pipes_are_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "null.json").symlink_to("/dev/null")
    for name in ("pipe.json", "null.json"):
        with pytest.raises(CannotWrite, match="no plain file"):
            write_all({tmp_path / name: _write("x")}, force=True)
    assert sorted(os.listdir(tmp_path)) == ["null.json", "pipe.json"]


def test_one_path_for_two_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CannotWrite, match="twice"):
        write_all({tmp_path / "a.json": _write("x"), Path("a.json"): _write("y")})
    assert os.listdir(tmp_path) == []


def _two(folder: Path, text: str) -> dict[Path, Callable[[Path], None]]:
    return {folder / name: _write(text) for name in ("a.py", "b.safetensors")}


@pytest.mark.parametrize("fault", [OSError(errno.EIO, "broken"), KeyboardInterrupt()])
@pytest.mark.parametrize("there", [True, False])
def test_all_results_or_none(
    there: bool, fault: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if there:
        write_all(_two(tmp_path, "old"))
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    usual = os.replace

    def fails(source: Any, target: Any) -> None:
        if Path(target) == tmp_path / "b.safetensors" and Path(source).name == "b.safetensors":
            raise fault
        usual(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", fails)
        with pytest.raises((CannotWrite, KeyboardInterrupt)):
            write_all(_two(tmp_path, "new"), force=True)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before
    write_all(_two(tmp_path, "new"), force=True)
    assert {path.read_text() for path in tmp_path.iterdir()} == {"new"}


def test_what_came_meanwhile_is_kept(tmp_path: Path) -> None:
    """Two runs into one place: the second finds the files of the first, and mixes nothing."""
    with Staged() as staged:
        staged.write(_two(tmp_path, "second"))
        (tmp_path / "b.safetensors").write_text("first")
        with pytest.raises(CannotWrite, match="while the model was converted"):
            staged.commit()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"b.safetensors": "first"}


def test_a_full_disk_is_no_fault_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("converter.files.archives.Archive.copy", full)
    with pytest.raises(CannotWrite, match=r"no room to write.*TMPDIR"):
        convert(FIXTURES / "mlp.keras", to="torch", verify=False)


def test_a_signal_leaves_nothing_behind(tmp_path: Path) -> None:
    code = f"""
import os, signal, time
from pathlib import Path
from converter import cli
from converter.files.outputs import Staged
def stop(*_):
    with Staged() as staged:
        staged.write({{Path("new/m.py"): lambda path: path.write_text("half")}})
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
cli._convert = stop
cli.main([{str(FIXTURES / "mlp.keras")!r}, "--to", "torch", "-o", "new/m.py", "--no-verify"])
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert run.returncode == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


def test_a_state_dict_s_keys_are_no_endless_tuples(tmp_path: Path) -> None:
    """A tuple that holds the one before twice: as a key it is hashed two to the sixtieth times."""
    doubled = b"\x80\x02})" + b"q\x00h\x00\x86" * 60 + b"K\x01s."
    start = time.monotonic()
    assert heaviest_tuple(doubled) > 1 << 59
    torch.save({"weight": torch.zeros(2, 3), "betas": (0.9, (0.5, 0.1))}, tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(tmp_path / "new.pt", "w") as made:
        for name in plain.namelist():
            data = plain.read(name)
            if name.endswith("data.pkl"):
                assert heaviest_tuple(data) < 100
                data = doubled
            made.writestr(name, data)
    (tmp_path / "old.pt").write_bytes(doubled)
    for name in ("new.pt", "old.pt"):
        with pytest.raises(BadInput, match="tuples of tuples"):
            state_dicts_torch.load(tmp_path / name, "torch weights", lambda: torch.nn.Linear(3, 2), {})
    assert time.monotonic() - start < 10
