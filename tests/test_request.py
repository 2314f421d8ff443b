"""What is refused of a call before a framework is imported, and what is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import pytest
import torch

import converter
from converter import request
from converter.errors import UsageError
from converter.request import check, dynamic_of, shape_of

ROOT = Path(__file__).parent.parent

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"to": "mxnet"}, "expected one of"),
    ({"to": "keras"}, "already"),
    ({"layout": "NCHW"}, "layout"),
    ({"device": "gpu"}, "named 'cuda'"),
    ({"device": "cuda:"}, "cuda:N"),
    ({"device": "CUDA"}, "cuda:N"),
    ({"device": 0}, "cuda:N"),
    ({"device": "cuda", "to": "onnx"}, "CPU alone"),
    ({"device": "cuda", "to": "keras", "model": "net.pt2"}, "CPU alone"),
    ({"seed": -1}, "seed"),
    ({"seed": 1.5}, "seed"),
    ({"seed": None}, "seed"),
    ({"example_inputs": [1]}, "knows its inputs"),
    ({"example_inputs": [1], "model": "net.pt2", "to": "keras"}, "knows its inputs"),
    ({"example_kwargs": {}}, "knows its inputs"),
    ({"dynamic": {}}, "knows its inputs"),
    ({"arch_args": {}}, "missing"),
    ({"arch": "pkg.mod:make"}, "holds its model"),
    ({"arch": "pkg.mod:make", "model": "net.pt2", "to": "keras"}, "holds its model"),
    ({"arch": "make", "model": "net.h5"}, "package.module:callable"),
    ({"arch": ":make", "model": "net.h5"}, "package.module:callable"),
    ({"arch": 3, "model": "net.h5"}, "a callable"),
    ({"arch": "a:b", "arch_args": [1], "model": "net.h5"}, "by name"),
    ({"require_proof": True, "verify": False}, "--require-proof"),
    ({"keep_going": True, "verify": False}, "--keep-going"),
    ({"inputs": [1], "verify": False}, "--inputs"),
    *(({"output": f"x{suffix}"}, suffix) for suffix in (".pt", ".pth", ".h5", ".hdf5", ".pb", ".tflite", ".zip")),
    ({"output": "x.keras"}, ".safetensors"),
    ({"output": "X.PT"}, ".pt"),
    ({"output": "x.py", "to": "onnx"}, ".onnx"),
    ({"output": "x.safetensors", "to": "onnx"}, ".onnx"),
    ({"output": "x.pt2", "model": "net.pt2", "to": "keras"}, ".keras or .onnx"),
    ({"output": "x.py", "model": "net.pt2", "to": "keras"}, ".keras or .onnx"),
]
TAKEN: list[dict[str, Any]] = [
    {},
    {"to": "onnx"},
    {"model": "net.pt2", "to": "keras", "output": "x.keras"},
    *({"output": f"x{suffix}"} for suffix in (".py", ".safetensors", ".pt2", ".onnx", "", ".d", ".v1")),
    {"to": "onnx", "output": Path("x.onnx")},
    {"arch": "pkg.mod:make", "arch_args": {"n": 1}, "model": "net.h5"},
    {"arch": "dir/net.py:Net", "model": "net.h5"},
    {"inputs": [1], "require_proof": True, "keep_going": True, "seed": 7},
]


FILES = {"net.keras": "mlp.keras", "net.h5": "mlp.h5", "net.pt2": "mlp.pt2"}


def asked(**changed: Any) -> None:
    model, to = changed.pop("model", "net.keras"), changed.pop("to", "torch")
    check(ROOT / "fixtures" / FILES[model], to, **changed)


@pytest.mark.parametrize(("call", "words"), REFUSED)
def test_refused(call: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        asked(**call)
    assert words in str(caught.value)


@pytest.mark.parametrize("call", TAKEN)
def test_taken(call: dict[str, Any]) -> None:
    asked(**call)


def test_nothing_is_imported_for_it() -> None:
    code = (
        "import sys\nfrom converter.errors import UsageError\nfrom converter.request import check\n"
        "check('fixtures/mlp.keras', 'torch', output='x.py')\n"
        "try:\n    check('fixtures/mlp.keras', 'torch', device='cuda')\nexcept UsageError:\n    pass\n"
        "heavy = {'torch', 'keras', 'tensorflow', 'onnx', 'onnx_ir', 'onnxruntime', 'numpy', 'h5py'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_python_calls_are_asked_the_same() -> None:
    x = keras.Input((3,), name="x")
    model = keras.Model(x, keras.layers.Dense(2)(x))
    with pytest.raises(UsageError, match="named 'cuda'"):
        converter.convert(model, "torch", device="gpu")
    with pytest.raises(UsageError, match="knows its inputs"):
        converter.convert(model, "torch", example_inputs=(torch.zeros(1, 3),))
    with pytest.raises(UsageError, match="live model"):
        converter.convert(model, "torch", arch=lambda: model)
    made = converter.convert(model, "torch", verify=False)
    with pytest.raises(UsageError, match="safetensors"):
        made.save("x.pt")
    with pytest.raises(UsageError, match="onnx"):
        converter.convert(model, "onnx", verify=False).save("x.py")


def test_code_is_traced_with_example_inputs(tmp_path: Path) -> None:
    module = torch.nn.Linear(3, 2)
    with pytest.raises(UsageError, match="--input 1,3,224,224"):
        converter.convert(module, "keras")
    torch.save(module.state_dict(), tmp_path / "net.pt")
    with pytest.raises(UsageError, match="needs example inputs"):
        check(tmp_path / "net.pt", "keras", arch="pkg.mod:Net")
    with pytest.raises(UsageError, match="--arch"):
        check(tmp_path / "net.pt", "keras", example_inputs=[1])
    check(tmp_path / "net.pt", "keras", arch="pkg.mod:Net", example_inputs=[1])
    check(module, "keras", example_kwargs={"input": 1})


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(UsageError, match="no CUDA device here"):
        asked(device="cuda:0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(request.metadata, "version", lambda name: "2.9.0+cpu")
    assert "without CUDA" in request.no_cuda()
    monkeypatch.setattr(request.metadata, "version", lambda name: "2.9.0+rocm6.3")
    assert request.no_cuda() == ""

    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(request.metadata, "version", lambda name: "2.9.0")
    monkeypatch.setattr(request.ctypes, "CDLL", missing)
    if sys.platform != "darwin":
        assert "driver" in request.no_cuda()
    monkeypatch.setattr(request.ctypes, "CDLL", lambda name: None)
    if sys.platform != "darwin":
        assert request.no_cuda() == ""


@pytest.mark.parametrize(
    "text",
    ["", "x", "1,", "batch=,3", "batch=2=3,x", "0,3", "1,-1", "1,3:float31", "1,3:object", "1e3", "99999,99999"],
)
def test_shapes_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--input"):
        shape_of(text)


def test_shapes() -> None:
    assert shape_of("1,3,32,32") == ((1, 3, 32, 32), "float32")
    assert shape_of("2,16:int64") == ((2, 16), "int64")
    assert shape_of("batch=2,3,H=224,W=224") == ((2, 3, 224, 224), "float32")


def test_names_of_axes() -> None:
    assert dynamic_of(["1,3", "2,4:int64"]) is None
    assert dynamic_of(["batch=2,3,H=32", "2,4"]) == [{0: "batch", 2: "H"}, {0: ...}]
    for texts, words in ((["a b=2"], "a name"), (["class=2"], "a name"), (["L=2,L=3"], "one name is one length")):
        with pytest.raises(UsageError, match=words):
            dynamic_of(texts)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ({"example_inputs": {"input": torch.zeros(1, 3)}}, "example_kwargs"),
        ({"example_inputs": "x"}, "received str"),
        ({"example_inputs": 3}, "received int"),
        ({"example_inputs": ()}, "missing a required argument"),
        ({"example_inputs": (torch.zeros(1, 3), torch.zeros(1, 3))}, "too many positional"),
        ({"example_inputs": torch.zeros(0, 3)}, "empty"),
        ({"example_inputs": (torch.zeros(0, 3),)}, "empty"),
        ({"example_kwargs": [torch.zeros(1, 3)]}, "by the names"),
        ({"example_kwargs": {"nope": torch.zeros(1, 3)}}, "do not fit"),
        ({"example_inputs": (torch.zeros(1, 3),), "verify": "no"}, "True or False"),
        ({"example_inputs": (torch.zeros(1, 3),), "verify": None}, "True or False"),
    ],
)
def test_example_inputs_that_no_call_could_take(call: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        converter.convert(torch.nn.Linear(3, 2), "keras", **call)


def test_one_example_is_given_without_a_tuple_and_a_device_as_torch_has_it() -> None:
    made = converter.convert(
        torch.nn.Linear(3, 2), "onnx", example_inputs=torch.zeros(1, 3), device=torch.device("cpu"), verify=False
    )
    assert made.onnx.graph.input[0].name == "input"


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_what_is_no_model_is_told_so() -> None:
    with pytest.raises(UsageError, match="a layer alone"):
        converter.convert(keras.layers.Dense(2), "torch")
    traced = torch.jit.trace(torch.nn.ReLU(), torch.zeros(1, 2))
    with pytest.raises(UsageError, match="compiled already"):
        converter.convert(traced, "keras", example_inputs=torch.zeros(1, 2))


def test_a_module_is_not_what_makes_one(tmp_path: Path) -> None:
    module = torch.nn.Linear(3, 2)
    torch.save(module.state_dict(), tmp_path / "net.pt")
    with pytest.raises(UsageError, match="Linear itself"):
        converter.convert(tmp_path / "net.pt", "keras", arch=module, example_inputs=torch.zeros(1, 3))


@pytest.mark.parametrize("name", ["json.py", "torch.py", "a/numpy.safetensors"])
def test_no_file_is_written_that_hides_a_module(name: str) -> None:
    with pytest.raises(UsageError, match="in the place of the module"):
        asked(output=name)
    asked(output=Path(name).with_suffix(""))
    asked(output=Path(name).with_suffix(".onnx"))
