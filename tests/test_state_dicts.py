"""State dicts with --arch: read as data, matched strictly, in the file's dtypes, and converted like a live module."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from converter import convert, sources
from converter.errors import BadInput, UsageError
from tests import hostile

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.fc = nn.Linear(4, width)
        self.bn = nn.BatchNorm1d(width)
        self.out = nn.Linear(width, 3)

    def forward(self, x):
        return self.out(torch.relu(self.bn(self.fc(x))))
"""


class Net(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.fc = nn.Linear(4, width)
        self.bn = nn.BatchNorm1d(width)
        self.out = nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.out(torch.relu(self.bn(self.fc(x))))
        return y


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.b = nn.Linear(4, 4)
        self.b.weight = self.a.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.b(self.a(x))
        return y


def read(path: Path, arch: Any, **arguments: Any) -> sources.Source:
    return sources.read(path, arch, arguments)


SAVERS: dict[str, Callable[[dict[str, Any], Path], None]] = {
    "net.safetensors": safetensors.torch.save_file,
    "net.pt": torch.save,
    "net.pth": lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False),
}


@pytest.mark.parametrize("name", SAVERS)
def test_weights_convert_with_arch(name: str, tmp_path: Path) -> None:
    model = Net(6)
    SAVERS[name](model.state_dict(), tmp_path / name)
    (tmp_path / "net_code.py").write_text(NET)
    state = torch.random.get_rng_state()
    source = read(tmp_path / name, f"{tmp_path / 'net_code.py'}:Net", width=6)
    assert torch.equal(state, torch.random.get_rng_state())
    assert source.kind == "torch"
    assert source.repairs == []
    assert all(torch.equal(v, source.model.state_dict()[k]) for k, v in model.state_dict().items())
    made = convert(tmp_path / name, "keras", arch=Net, arch_args={"width": 6}, example_inputs=[torch.zeros(2, 4)])
    assert made.report.passed
    assert made.report.proof


def test_command_line(tmp_path: Path) -> None:
    torch.save(
        {"epoch": 3, "model_state_dict": {f"module.{k}": v for k, v in Net().state_dict().items()}}, tmp_path / "n.pt"
    )
    (tmp_path / "code.py").write_text(NET.replace("class Net", "from beside import nothing\n\n\nclass Net"))
    (tmp_path / "beside.py").write_text("nothing = None\n")
    command = [sys.executable, "-m", "converter", str(tmp_path / "n.pt"), "--to", "keras", "--input", "2,4"]
    command += ["-o", str(tmp_path / "out.keras"), "--report", str(tmp_path / "r.json"), "--no-verify"]
    arch = ["--arch", f"{tmp_path / 'code.py'}:Net", "--arch-args", '{"width": 8}']
    done = subprocess.run([*command, *arch], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    repairs = json.loads((tmp_path / "r.json").read_text())["repairs"]
    assert any("'model_state_dict'" in text and "epoch" in text for text in repairs)
    assert any("'module.'" in text for text in repairs)
    done = subprocess.run([*command, "--force"], capture_output=True, text=True)
    assert (done.returncode, "holds no model" in done.stderr) == (2, True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_the_module_takes_the_dtype_of_the_file(dtype: torch.dtype, tmp_path: Path) -> None:
    safetensors.torch.save_file(Net().to(dtype).state_dict(), tmp_path / "n.safetensors")
    source = read(tmp_path / "n.safetensors", Net)
    floats = [t for t in source.model.state_dict().values() if t.is_floating_point()]
    assert {t.dtype for t in floats} == {dtype}
    assert source.model.bn.num_batches_tracked.dtype == torch.int64
    assert source.model.eval()(torch.zeros(2, 4, dtype=dtype)).dtype == dtype


def test_mixed_dtypes_stay_mixed(tmp_path: Path) -> None:
    state = Net().state_dict()
    state["out.weight"] = state["out.weight"].double()
    torch.save(state, tmp_path / "n.pt")
    source = read(tmp_path / "n.pt", Net)
    assert source.model.out.weight.dtype == torch.float64
    assert source.model.fc.weight.dtype == torch.float32
    assert source.repairs == ["out.weight: in float64, as its file is"]


def test_all_that_does_not_fit_is_listed_at_once(tmp_path: Path) -> None:
    state = Net().state_dict()
    del state["fc.bias"], state["bn.num_batches_tracked"]  # older files have no counters
    state["other.weight"] = torch.zeros(2)
    state["out.weight"] = torch.zeros(3, 9)
    state["out.bias"] = torch.zeros(3, dtype=torch.int64)
    torch.save(state, tmp_path / "n.pt")
    with pytest.raises(BadInput) as caught:
        read(tmp_path / "n.pt", Net)
    lines = str(caught.value).splitlines()
    assert lines[1:-1] == [
        "  - missing in the file: fc.bias (8,)",
        "  - out.weight: (3, 9) in the file, (3, 8) in the module",
        "  - out.bias: torch.int64 in the file, torch.float32 in the module",
        "  - not in the module: other.weight (2,)",
    ]


def test_tied_weights(tmp_path: Path) -> None:
    model = Tied()
    safetensors.torch.save_model(model, str(tmp_path / "n.safetensors"))  # which leaves one of the two out
    source = read(tmp_path / "n.safetensors", Tied)
    assert source.model.a.weight is source.model.b.weight
    assert torch.equal(source.model.a.weight, model.a.weight)
    assert len(source.repairs) == 1
    state = model.state_dict()
    state["b.weight"] = torch.zeros(4, 4)
    torch.save(state, tmp_path / "n.pt")
    with pytest.raises(BadInput, match="one weight in the module"):
        read(tmp_path / "n.pt", Tied)


def test_pickles_and_code_are_refused(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    torch.save(Net(), tmp_path / "module.pt")
    torch.save({"state_dict": Net().state_dict(), "x": hostile.Runs(marker)}, tmp_path / "evil.pt")
    torch.save(hostile.Runs(marker), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"a": 1}, tmp_path / "numbers.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "module.pt").read_bytes()[:-60])
    names = ["constants.pkl", "data.pkl", "code/__torch__.py"]
    hostile.rewritten(
        tmp_path / "list.pt", tmp_path / "script.pt", lambda m: m.update({f"list/{n}": b"x" for n in names})
    )
    said = {
        "module.pt": "Net as a pickle",
        "evil.pt": "as a pickle",
        "old.pt": "as a pickle",
        "list.pt": "holds a list",
        "numbers.pt": r"a \(int\)",
        "cut.pt": "zip",
        "script.pt": "TorchScript",
    }
    for name, text in said.items():
        with pytest.raises(BadInput, match=text):
            read(tmp_path / name, Net)
    assert not marker.exists()


def test_arch_that_is_no_arch(tmp_path: Path) -> None:
    torch.save(Net().state_dict(), tmp_path / "n.pt")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    for arch, text in [
        ("nothing", "package.module:callable"),
        ("no_such_module:Net", "cannot be imported"),
        (f"{tmp_path}/missing.py:Net", "no file"),
        (f"{tmp_path}/broken.py:Net", "ZeroDivisionError"),
        ("tests.test_state_dicts:NET", "callable"),
        (lambda: 1, "nn.Module"),
        (lambda: 1 / 0, "ZeroDivisionError"),
        (lambda: nn.LazyLinear(3), "lazy"),
        (lambda **kw: Net(**kw, other=1), "TypeError"),
    ]:
        with pytest.raises(UsageError, match=text):
            read(tmp_path / "n.pt", arch)
    with pytest.raises(UsageError, match="holds its model"):
        read(hostile.FIXTURES / "mlp.pt2", Net)


def test_an_error_of_the_users_code_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("def make(n=1):\n    raise RuntimeError('no such width')\n")
    torch.save(Net().state_dict(), tmp_path / "n.pt")
    with pytest.raises(UsageError) as caught:
        convert(tmp_path / "n.pt", "keras", arch=f"{tmp_path / 'net.py'}:make", example_inputs=[torch.zeros(2, 4)])
    assert str(caught.value).count("raised") == 1
    assert "no such width" in str(caught.value)
    assert "locals" not in str(caught.value)
