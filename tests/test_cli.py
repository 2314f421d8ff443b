"""The command line on real files: what it writes, prints and exits with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
FIXTURES = ROOT / "fixtures"


def kconvert(folder: Path, *arguments: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The command as a user runs it, in a folder of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
    return subprocess.run(
        [sys.executable, "-m", "converter", *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def refused(done: subprocess.CompletedProcess[str], code: int, folder: Path, *words: str) -> None:
    """A failure as the user should see it: its code, a message, no traceback, nothing written."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith(("kconvert: ", "Usage:"))
    for word in words:
        assert word in done.stderr
    assert sorted(p.name for p in folder.iterdir()) == []


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def test_digits_cnn(empty: Path) -> None:
    """The README's example: the same class for every test image, and the file stands alone."""
    npz = FIXTURES / "digits_cnn.npz"
    done = kconvert(empty, FIXTURES / "digits_cnn.keras", "--to", "torch", "--inputs", npz, "--report", "digits.json")
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stderr == ""
    assert sorted(p.name for p in empty.iterdir()) == ["digits.json", "digits_cnn.py", "digits_cnn.safetensors"]
    report = json.loads((empty / "digits.json").read_text())
    assert report["passed"]
    assert report["proof"]
    assert report["transposes"] == 0
    code = (
        "import sys\n"
        "for name in ('keras', 'tensorflow', 'onnx', 'converter', 'h5py'):\n    sys.modules[name] = None\n"
        "import numpy as np, torch, safetensors.torch\nfrom digits_cnn import Model\n"
        "model = Model()\nmodel.load_state_dict(safetensors.torch.load_file('digits_cnn.safetensors'))\n"
        f"data = np.load({str(npz)!r})\nimage = torch.from_numpy(data['image'].transpose(0, 3, 1, 2).copy())\n"
        "got = model.eval()(image).detach().numpy()\n"
        "assert (got.argmax(1) == data['output'].argmax(1)).all()\n"
        "assert np.abs(got - data['output']).max() < 1e-5\n"
    )
    alone = subprocess.run([sys.executable, "-c", code], cwd=empty, capture_output=True, text=True)
    assert alone.returncode == 0, alone.stderr
    shown = subprocess.run([sys.executable, "digits_cnn.py"], cwd=empty, capture_output=True, text=True)
    assert shown.stdout.strip() == "(1, 10)", shown.stderr
    again = kconvert(empty, FIXTURES / "digits_cnn.keras", "--to", "torch")
    assert again.returncode == 5
    assert "--force" in again.stderr


def test_directory_output_and_quiet(empty: Path) -> None:
    done = kconvert(empty, FIXTURES / "mlp.h5", "--to", "torch", "-o", "out/net", "--no-verify", "-q")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    written = sorted(p.name for p in (empty / "out/net").iterdir())
    assert written == ["model.py", "model.safetensors", "report.json"]
    assert json.loads((empty / "out/net/report.json").read_text())["passed"] is None


@pytest.mark.parametrize("name", ["net.pt2", "net.onnx"])
def test_file_outputs(empty: Path, name: str) -> None:
    done = kconvert(empty, FIXTURES / "mlp.keras", "--to", "torch", "-o", name, "--no-verify")
    assert done.returncode == 0, done.stderr
    data = np.load(FIXTURES / "mlp.npz")
    if name.endswith(".pt2"):
        import torch

        got = torch.export.load(empty / name).module()(torch.from_numpy(data["pixels"])).detach().numpy()
    else:
        import onnxruntime

        session = onnxruntime.InferenceSession(empty / name, providers=["CPUExecutionProvider"])
        got = session.run(None, {session.get_inputs()[0].name: data["pixels"]})[0]
    assert np.abs(got - data["output"]).max() < 1e-5


def test_stem_that_hides_a_module(empty: Path) -> None:
    shutil.copy(FIXTURES / "mlp.keras", empty / "torch.keras")
    done = kconvert(empty, "torch.keras", "--to", "torch", "--no-verify")
    assert done.returncode == 0, done.stderr
    assert (empty / "torch_model.py").exists()


def test_usage(empty: Path) -> None:
    refused(kconvert(empty, FIXTURES / "mlp.keras"), 2, empty, "--to")
    refused(kconvert(empty, FIXTURES / "mlp.keras", "--to", "mxnet"), 2, empty)
    refused(kconvert(empty, FIXTURES / "mlp.keras", "--to", "keras"), 2, empty, "already")
    refused(kconvert(empty, FIXTURES / "mlp.keras", "--to", "torch", "--report", "x.pdf"), 2, empty, ".json")


def test_bad_files(empty: Path, tmp_path: Path) -> None:
    """Missing, a directory, empty, truncated, a zip and an .h5 that no Keras wrote."""
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "empty.h5").touch()
    whole = (FIXTURES / "mlp.h5").read_bytes()
    (bad / "cut.h5").write_bytes(whole[: len(whole) // 2])
    whole = (FIXTURES / "mlp.keras").read_bytes()
    (bad / "cut.keras").write_bytes(whole[: len(whole) // 2])
    with zipfile.ZipFile(bad / "other.keras", "w") as file:
        file.writestr("hello.txt", "hello")
    with h5py.File(bad / "no_config.h5", "w") as file:
        file["x"] = [1.0]
    (bad / "folder.keras").mkdir()
    for name in ("missing.keras", "folder.keras", "empty.h5", "cut.h5", "cut.keras", "other.keras", "no_config.h5"):
        refused(kconvert(empty, bad / name, "--to", "torch"), 4, empty, name)


def test_unsupported_are_all_listed(empty: Path, tmp_path: Path) -> None:
    x = keras.Input((4, 4), name="x")
    y = keras.layers.LSTM(3, return_sequences=True, name="one")(x)
    y = keras.layers.Lambda(lambda t: t, name="two")(y)
    keras.Model(x, keras.layers.GRU(3, name="three")(y)).save(tmp_path / "net.keras")
    done = kconvert(empty, tmp_path / "net.keras", "--to", "torch")
    refused(done, 3, empty, "'one'", "'two'", "'three'")


def test_nan_weights_are_converted_and_reported(empty: Path, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="fc")])
    kernel = np.ones((3, 2), "float32")
    kernel[0, 0] = np.nan
    model.layers[0].set_weights([kernel, np.zeros(2, "float32")])
    model.save(tmp_path / "nan.keras")
    done = kconvert(empty, tmp_path / "nan.keras", "--to", "torch", "--keep-going")
    assert "NaN" in done.stdout
    assert (empty / "nan.safetensors").exists()


def test_unwritable_output(empty: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    done = kconvert(empty, FIXTURES / "mlp.keras", "--to", "torch", "-o", tmp_path / "file" / "net.py")
    refused(done, 5, empty)


def test_hostile_names(empty: Path, tmp_path: Path) -> None:
    """Text in a file never becomes code, and odd names convert."""
    hostile = 'x"); __import__("os").system("touch pwned") #'
    names = [
        hostile,
        "class",
        "train",
        "type",
        "T",
        "training",
        "forward",
        "émile",
        "1st",
        "a.b",
        "a_b",
        "self",
        "torch",
    ]
    x = keras.Input((5,), name="x")
    y = x
    for i, _ in enumerate(names):
        y = keras.layers.Dense(5, name=f"layer{i}")(y)
    keras.Model(x, y, name="net").save(tmp_path / "net.h5")
    with h5py.File(tmp_path / "net.h5", "r+") as file:
        config = json.loads(file.attrs["model_config"])
        text = json.dumps(config)
        for i, name in reversed(list(enumerate(names))):
            text = text.replace(json.dumps(f"layer{i}"), json.dumps(name))
        file.attrs["model_config"] = text
        group = file["model_weights"]
        for i, name in reversed(list(enumerate(names))):
            safe = name.replace("/", "_")
            group.move(f"layer{i}", safe)
        group.attrs["layer_names"] = [n.encode() for n in names]
    done = kconvert(empty, tmp_path / "net.h5", "--to", "torch")
    assert done.returncode == 0, done.stderr + done.stdout
    ran = subprocess.run([sys.executable, "net.py"], cwd=empty, capture_output=True, text=True)
    assert ran.stdout.strip() == "(1, 5)", ran.stderr
    assert not (empty / "pwned").exists()
