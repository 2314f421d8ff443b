"""The command line on real files: what it writes, prints and exits with."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import h5py
import jsonschema
import keras
import numpy as np
import pytest

from tests import screens

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
    forms = [f"digits.{form}" for form in ("html", "json", "md", "xml")]
    options = [word for form in forms for word in ("--report", form)]
    done = kconvert(empty, FIXTURES / "digits_cnn.keras", "--to", "torch", "--inputs", npz, *options)
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stderr == ""
    assert sorted(p.name for p in empty.iterdir()) == [*forms, "digits_cnn.py", "digits_cnn.safetensors"]
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


# ---- in this process, which has the frameworks already


@pytest.fixture
def here(empty: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(empty)
    return empty


MLP = FIXTURES / "mlp.keras"
DIGITS = FIXTURES / "digits_cnn.keras"


def _arrays(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def _text(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


PIXELS = np.zeros((3, 64), "float32")
BAD_INPUTS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda d: d / "no.npz", "no.npz"),
    "a folder": (lambda d: d, ".npz"),
    "text": (lambda d: _text(d / "x.npz", "hello"), ".npz"),
    "broken": (lambda d: _text(d / "x.npy", "\x93NUMPY"), "x.npy"),
    "two names": (lambda d: _arrays(d / "x.npz", one=PIXELS, two=PIXELS), "pixels missing"),
    "rank": (lambda d: _arrays(d / "x.npz", pixels=PIXELS[0]), "x[None]"),
    "lengths": (lambda d: _arrays(d / "x.npz", pixels=PIXELS[:, :9]), "float32 (N, 64)"),
    "text in it": (lambda d: _arrays(d / "x.npz", pixels=np.array(["a"])), "numbers"),
}


@pytest.mark.parametrize("kind", BAD_INPUTS)
def test_inputs_that_do_not_fit_are_a_usage_error(kind: str, here: Path, tmp_path: Path) -> None:
    make, words = BAD_INPUTS[kind]
    code, out, err = screens.run(MLP, "--to", "torch", "--inputs", make(tmp_path), "--report", "r.json")
    assert (code, out) == (2, ""), err
    assert err.startswith("kconvert: ")
    assert words in err
    assert [path.name for path in here.iterdir()] == ["r.json"]
    assert json.loads((here / "r.json").read_text())["outcome"] == "usage"


def test_inputs_of_either_format_by_any_name(here: Path) -> None:
    np.save(here / "x.npy", np.random.default_rng(0).normal(size=(3, 64)).astype("float32"))
    np.savez(here / "y.npz", whatever=np.load(here / "x.npy"))
    for name in ("x.npy", "y.npz"):
        code, _, err = screens.run(MLP, "--to", "torch", "--inputs", name, "--force")
        assert (code, err) == (0, "")


def test_layout_of_the_inputs_is_no_verdict(here: Path) -> None:
    np.save(here / "x.npy", np.load(FIXTURES / "digits_cnn.npz")["image"].transpose(0, 3, 1, 2))
    code, _, err = screens.run(DIGITS, "--to", "torch", "--inputs", "x.npy")
    assert code == 2
    assert "x.transpose(0, 2, 3, 1) fits" in err


USAGE = [
    ["--device", "gpu"],
    ["--input", "1,64"],
    ["--input", "1,x"],
    ["--input", "0,64"],
    ["--arch-args", "{}"],
    ["--arch-args", "[1]"],
    ["--arch-args", "{"],
    ["--arch", "pkg.mod:make"],
    ["--seed", "-1"],
    ["--seed", "x"],
    ["-q", "-v"],
    ["--require-proof", "--no-verify"],
    ["--inputs", "x.npz", "--no-verify"],
    ["--report", "r.pdf"],
    ["--report", str(MLP.with_suffix(".json")), "-o", "x.h5"],
    *(["-o", f"x{suffix}"] for suffix in (".pt", ".pth", ".h5", ".hdf5", ".pb", ".tflite", ".zip", ".keras")),
]


@pytest.mark.parametrize("options", USAGE, ids=" ".join)
def test_options_that_cannot_be_are_refused_at_once(options: list[str], here: Path) -> None:
    reports = [] if "--report" in options else ["--report", "r.json"]
    code, out, err = screens.run(MLP, "--to", "torch", *options, *reports)
    assert (code, out) == (2, ""), err
    assert "Traceback" not in err
    assert list(here.iterdir()) == []


def test_device_without_a_device(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    code, _, err = screens.run(MLP, "--to", "torch", "--device", "cuda")
    assert code == 2
    assert "no CUDA device here" in err


def _not_there(folder: Path) -> list[object]:
    return [folder / "no.keras", "--to", "torch"]


def _empty_file(folder: Path) -> list[object]:
    (folder / "empty.h5").touch()
    return [folder / "empty.h5", "--to", "torch"]


def _unreadable(folder: Path) -> list[object]:
    """A file whose reading fails whoever asks."""
    (folder / "mem.h5").symlink_to("/proc/self/mem")
    return [folder / "mem.h5", "--to", "torch"]


def _lstm(folder: Path) -> list[object]:
    x = keras.Input((4, 4), name="x")
    keras.Model(x, keras.layers.Lambda(abs, name="code")(x)).save(folder / "net.keras")
    return [folder / "net.keras", "--to", "torch"]


def _in_the_way(folder: Path) -> list[object]:
    (folder / "net.py").touch()
    return [MLP, "--to", "torch", "-o", folder / "net.py"]


EXITS: dict[str, tuple[Callable[[Path], list[object]], int, str]] = {
    "not there": (_not_there, 4, "bad input"),
    "a folder": (lambda d: [d, "--to", "torch"], 4, "bad input"),
    "empty": (_empty_file, 4, "bad input"),
    "unreadable": (_unreadable, 4, "bad input"),
    "unsupported": (_lstm, 3, "unsupported"),
    "in the way": (_in_the_way, 5, "cannot write"),
    "no verification": (lambda d: [MLP, "--to", "torch", "--no-verify", "--force"], 0, "not verified"),
}


@pytest.mark.parametrize("kind", EXITS)
def test_reports_are_written_on_every_exit(kind: str, here: Path, tmp_path: Path) -> None:
    make, code, outcome = EXITS[kind]
    (here / "r.json").write_text("an older report is replaced")
    forms = [word for form in ("json", "xml", "md", "html") for word in ("--report", f"r.{form}")]
    asked = make(tmp_path)
    done, _, err = screens.run(*asked, *forms)
    assert done == code, err
    data = json.loads((here / "r.json").read_text())
    jsonschema.validate(data, json.loads((ROOT / "converter" / "report.schema.json").read_text()))
    assert (data["outcome"], data["exit_code"]) == (outcome, code)
    suite = ET.parse(here / "r.xml").getroot()  # noqa: S314  our own
    assert (suite.get("errors") != "0") == (code > 1)
    assert outcome.upper() in (here / "r.md").read_text() or code == 0
    assert outcome.upper() in (here / "r.html").read_text() or code == 0
    first = {form: (here / f"r.{form}").read_bytes() for form in ("json", "xml", "md", "html")}
    screens.run(*asked, *forms)
    assert first == {form: (here / f"r.{form}").read_bytes() for form in first}


def test_an_internal_error_is_reported_and_is_ours(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from converter import proof

    def broken(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(proof, "prove", broken)
    code, out, err = screens.run(MLP, "--to", "torch", "--report", "r.json", "--report", "r.xml")
    assert (code, out) == (70, "")
    assert "internal error: ZeroDivisionError: oops" in err
    data = json.loads((here / "r.json").read_text())
    assert (data["outcome"], data["error"], data["passed"]) == ("internal error", "ZeroDivisionError: oops", None)
    assert len(data["sha256"]) == 64
    assert sorted(path.name for path in here.iterdir()) == ["r.json", "r.xml"]


def test_a_report_that_cannot_be_written(here: Path) -> None:
    (here / "folder.json").mkdir()
    code, _, err = screens.run(MLP, "--to", "torch", "--report", "folder.json", "--report", "r.md")
    assert code == 5
    assert "folder.json" in err
    assert "CANNOT WRITE" in (here / "r.md").read_text()
    code, _, err = screens.run(here / "no.keras", "--to", "torch", "--report", "folder.json")
    assert code == 5
    assert err.count("folder.json") >= 1


def test_what_is_read_is_never_written_over(here: Path) -> None:
    shutil.copy(FIXTURES / "mlp.h5", here / "mlp.h5")
    _text(here / "mlp.py", "def make(): pass\n")
    code, _, err = screens.run("mlp.h5", "--to", "torch", "--arch", "mlp.py:make", "--force")
    assert code == 2
    assert "mlp.py is read and would be written over" in err
    assert (here / "mlp.py").read_text() == "def make(): pass\n"


ARCH = """
import sys
def make(fail=""):
    import keras
    if fail == "raise":
        raise ValueError("the user's own fault")
    if fail == "exit":
        sys.exit(3)
    return keras.Sequential([keras.Input((5,)), keras.layers.Dense(4, name="fc")])
thing = 3
"""


@pytest.mark.parametrize(
    ("arch", "arguments", "words"),
    [
        ("own:make", {"fail": "raise"}, "ValueError: the user's own fault"),
        ("own:make", {"fail": "exit"}, "SystemExit"),
        ("own:make", {"nonsense": 1}, "nonsense"),
        ("own:thing", {}, "callable"),
        ("own:missing", {}, "missing"),
        ("no_such_module:make", {}, "no_such_module"),
        ("fails:make", {}, "ZeroDivisionError"),
        ("no_such.py:make", {}, "no_such.py"),
    ],
)
def test_what_the_user_s_code_raises_is_not_ours(
    arch: str, arguments: dict[str, Any], words: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _text(here / "own.py", ARCH)
    _text(here / "fails.py", "1 / 0\n")
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4, name="fc")])
    model.save_weights(here / "net.weights.h5")
    monkeypatch.syspath_prepend(str(here))
    monkeypatch.delitem(sys.modules, "own", raising=False)
    asked = ("net.weights.h5", "--to", "torch", "--arch", arch, "--arch-args", json.dumps(arguments))
    code, out, err = screens.run(*asked, "--report", "r.json")
    assert (code, out) == (2, ""), err
    assert words in err
    assert json.loads((here / "r.json").read_text())["outcome"] == "usage"


def test_advice_fits_the_target(here: Path) -> None:
    for source, to in ((FIXTURES / "mlp.pt2", "keras"), (MLP, "onnx")):
        code, out, err = screens.run(source, "--to", to)
        assert (code, err) == (0, "")
        assert "PyTorch's losses" not in out


def test_the_readme_shows_the_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    code, out, _ = screens.run("--help")
    assert code == 0
    assert f"```text\n{out}```" in (ROOT / "README.md").read_text()


def test_support(here: Path) -> None:
    shown = {kind: screens.run("support", *kind.split())[1] for kind in ("", "--torch", "--onnx")}
    assert "| Dense |" in shown[""]
    assert "conv2d" in shown["--torch"]
    assert "Conv" in shown["--onnx"]
    assert screens.run("./support", "--to", "torch")[0] == 4


# ---- what only a process of its own shows


def test_a_reader_that_has_seen_enough_and_a_full_disk(here: Path) -> None:
    command = [sys.executable, "-m", "converter", str(MLP), "--to", "torch", "--no-verify", "--force"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
    assert (process.returncode, err) == (0, "")
    if Path("/dev/full").exists():
        with open("/dev/full", "w") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=environment, text=True)
        assert done.returncode == 5
        assert "cannot be printed" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise there")
def test_ctrl_c_leaves_nothing(here: Path) -> None:
    command = [sys.executable, "-m", "converter", str(MLP), "--to", "torch", "--report", "r.json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as process:
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in err
    assert out == ""
    assert [path.name for path in here.iterdir() if not path.name.startswith(".")] == []


NOISE = r"""
import os, sys, warnings
def make(fail=False):
    import keras
    os.write(2, b"noise of C code\n")
    print("noise of Python code", file=sys.stderr)
    warnings.warn("noise of a warning")
    if fail:
        os.abort()
    return keras.Sequential([keras.Input((5,)), keras.layers.Dense(4, name="fc")])
"""


def test_standard_error_is_for_us_alone_and_a_crash_is_told(here: Path) -> None:
    _text(here / "own.py", NOISE)
    keras.Sequential([keras.Input((5,)), keras.layers.Dense(4, name="fc")]).save_weights(here / "net.weights.h5")
    asked = ("net.weights.h5", "--to", "torch", "--arch", "own:make", "--no-verify")
    done = kconvert(here, *asked)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("net.weights -> torch: not verified")
    done = kconvert(here, *asked, "--force", "--arch-args", '{"fail": true}')
    assert done.returncode == -signal.SIGABRT
    assert "Aborted" in done.stderr
    assert "own.py" in done.stderr


def test_files_of_the_current_folder_are_no_modules(empty: Path) -> None:
    for name in ("json", "click", "torch", "keras", "numpy"):
        (empty / f"{name}.py").write_text("raise SystemExit('imported')\n")
    done = kconvert(empty, FIXTURES / "mlp.h5", "--to", "torch", "--no-verify", "-o", "net.py")
    assert done.returncode == 0, done.stderr


def test_closed_streams(empty: Path) -> None:
    command = [sys.executable, "-m", "converter", str(FIXTURES / "mlp.h5"), "--to", "torch", "--no-verify"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&-', "sh", *command], cwd=empty, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (empty / "mlp.safetensors").exists()


@pytest.mark.parametrize(("backend", "settings"), [("nonsense", "{}"), ("torch", '{"floatx": "float99"}')])
def test_keras_that_cannot_be_imported_is_the_users_matter(empty: Path, backend: str, settings: str) -> None:
    home = empty.parent / "home"
    home.mkdir()
    (home / "keras.json").write_text(settings)
    env = {"KERAS_BACKEND": backend, "KERAS_HOME": str(home)}
    done = kconvert(empty, FIXTURES / "mlp.h5", "--to", "torch", env=env)
    refused(done, 2, empty, "Keras cannot be imported", "keras.json")


def test_a_report_that_cannot_be_written_is_told_once(empty: Path) -> None:
    (empty.parent / "r.json").mkdir()
    done = kconvert(empty, FIXTURES / "mlp.h5", "--to", "torch", "--report", empty.parent / "r.json")
    refused(done, 5, empty, "which is a directory")
    assert len(done.stderr.splitlines()) == 1
