"""The command's own processes: the judge as a copy of it, threads that sleep, frameworks that nobody needs left out."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import converter
from converter import frameworks
from converter.rows import preview

ROOT = Path(__file__).parent.parent
FIXTURES = ROOT / "fixtures"

FORKED = """
import os, time
import numpy as np
from converter.errors import BadInput
from converter.judge.runner import NoFloat64
from converter.judge.worker import Worker, WorkerFailed

with Worker("judge_factory:doubler", env={"KERAS_BACKEND": "numpy"}, fork=True) as worker:
    assert worker.ready()["backend"] == "numpy"
    assert os.environ.get("KERAS_BACKEND") != "numpy"
    x = np.arange(4, dtype=np.float32)
    assert np.array_equal(dict(worker.run32([x]))["y"], 2 * x)
    try:
        worker.run64([np.zeros(1)])
    except NoFloat64 as error:
        assert "cast in the way" in str(error)
    else:
        raise AssertionError("no float64 expected")
    folder = worker._folder
worker.close()
assert not folder.exists()
for factory, kwargs, kind, words in (
    ("refuses", {"path": "x.h5"}, BadInput, "x.h5 is no model"),
    ("breaks", {}, WorkerFailed, "ZeroDivisionError: oops"),
    ("dies", {}, WorkerFailed, "status 9"),
):
    with Worker(f"judge_factory:{factory}", kwargs, fork=True) as worker:
        try:
            worker.ready()
        except kind as error:
            assert words in str(error), error
        else:
            raise AssertionError(factory)
start = time.monotonic()
with Worker("judge_factory:hangs", timeout=1.0, fork=True) as worker:
    try:
        worker.ready()
    except WorkerFailed as error:
        assert "within 1 s" in str(error)
assert time.monotonic() - start < 10
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("no child is left")
"""

KILLED = """
import os, signal, sys, time
from converter.judge.worker import Worker

worker = Worker("judge_factory:hangs", fork=sys.argv[1] == "fork")
process = worker._process
print(process._process.pid if sys.argv[1] == "fork" else process.pid, flush=True)
time.sleep(0.5 if sys.argv[1] == "fork" else 2)
os.kill(os.getpid(), signal.SIGKILL)
"""


def run(code: str, *arguments: object, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), **env}
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "OPENBLAS_NUM_THREADS"):
        environment.pop(name, None)
    environment |= env
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the reference is always a process of its own")
def test_a_forked_reference_answers_fails_and_ends_as_a_spawned_one(tmp_path: Path) -> None:
    done = run(FORKED, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "no child is left"


LEFT_OUT = """
import os, sys, threading
from converter.cli import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    assert not stop.code, stop.code
loaded = {"tensorflow", "jax", "sklearn"} & {n for n, m in sys.modules.items() if m is not None}
print("loaded", sorted(loaded), "OMP", os.environ["OMP_NUM_THREADS"], os.environ["OMP_WAIT_POLICY"])
"""


def test_the_command_sleeps_while_it_waits_and_imports_what_it_needs(tmp_path: Path) -> None:
    command = (FIXTURES / "digits_cnn.keras", "--to", "torch", "-v")
    done = run(LEFT_OUT, *command, cwd=tmp_path, KERAS_BACKEND="torch")
    assert done.returncode == 0, done.stderr
    *screen, last = done.stdout.strip().splitlines()
    half = max(1, frameworks.cores() // 2)
    assert last == f"loaded [] OMP {half} PASSIVE"
    assert any(line.startswith("threads") and f"{half} a process" in line for line in screen)
    done = run(LEFT_OUT, *command, "--force", cwd=tmp_path, KERAS_BACKEND="torch", OMP_NUM_THREADS="3")
    assert done.stdout.strip().splitlines()[-1] == "loaded [] OMP 3 PASSIVE"


def test_a_device_that_torch_does_not_find_is_a_usage_error() -> None:
    import torch

    from converter.errors import UsageError

    with pytest.raises(UsageError, match="torch finds"):
        frameworks.check_device(f"cuda:{torch.cuda.device_count()}")
    frameworks.check_device("cpu")


REFUSED = """
import sys
from converter.cli import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    print(stop.code, sorted({"torch", "keras", "onnxruntime", "tensorflow"} & set(sys.modules)))
"""


def test_arrays_that_do_not_fit_are_refused_before_a_framework_is_imported(tmp_path: Path) -> None:
    np.savez(tmp_path / "turned.npz", image=np.zeros((2, 1, 8, 8), np.float32))
    np.savez(tmp_path / "named.npz", picture=np.zeros((2, 8), np.float32))
    for name in ("turned.npz", "named.npz"):
        command = (FIXTURES / "digits_cnn.keras", "--to", "torch", "--inputs", name)
        done = run(REFUSED, *command, cwd=tmp_path)
        assert done.stdout.strip() == "2 []", done.stderr
        assert "image float32 (N, 8, 8, 1)" in done.stderr


def test_a_dict_of_inputs_is_told_by_its_keys(tmp_path: Path) -> None:
    """The configuration tells what the model itself calls its inputs, in the order in which it takes them."""
    a, b = keras.Input((3,), name="a"), keras.Input((4,), name="b")
    model = keras.Model({"a": a, "b": b}, keras.layers.Concatenate()([b, a]))
    model.save(tmp_path / "two.keras")
    assert preview(tmp_path / "two.keras").inputs == [("a", (None, 3), "float32"), ("b", (None, 4), "float32")]
    arrays = {"a": np.ones((5, 3), np.float32), "b": np.zeros((5, 4), np.float32)}
    assert converter.convert(tmp_path / "two.keras", "torch", inputs=arrays).report.passed


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_the_judge_ends_with_a_parent_that_is_killed(how: str, tmp_path: Path) -> None:
    """Where it computes, it does not read its pipe, and would go on until it is done."""
    child = int(run(KILLED, how, cwd=tmp_path, TMPDIR=str(tmp_path)).stdout)
    command = Path(f"/proc/{child}/cmdline")
    end = time.monotonic() + 10
    while command.exists() and command.read_bytes():
        assert time.monotonic() < end, "the judge is still there"
        time.sleep(0.1)


TWICE = """
import sys
from converter import frameworks
frameworks.import_all()
print(frameworks.can_fork(), frameworks.can_fork())
frameworks.import_all()
print(frameworks.can_fork())
"""


def test_a_process_is_copied_once_and_before_it_computes(tmp_path: Path) -> None:
    """A second command in one process finds thread pools at work: its reference is a process of its own."""
    done = run(TWICE, cwd=tmp_path)
    assert done.stdout.split() == [str(sys.platform == "linux"), "False", "False"], done.stderr
