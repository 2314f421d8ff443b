"""A process that imported tensorflow first converts in both directions; which backend Keras gets where none is chosen.

A process without tensorflow: test_minimal.py.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from converter.frameworks import WRITTEN

FIXTURES = Path(__file__).parent.parent / "fixtures"

BOTH = """
import json, sys
import converter
there = converter.convert(sys.argv[1] + "/digits_cnn.keras", "torch")
back = converter.convert(sys.argv[1] + "/mlp.pt2", "keras")
import torch
live = converter.convert(there.model, "keras", example_inputs=(torch.zeros(1, 1, 8, 8),))
torch.export.export(there.model, (torch.zeros(2, 1, 8, 8),))
import keras
print(json.dumps({
    "passed": [made.report.passed and made.report.proof for made in (there, back, live)],
    "backend": keras.backend.backend(),
    "tensorflow": "tensorflow" in sys.modules,
    "triton": sys.modules.get("triton", 0) is not None,
}))
"""

HIDDEN = """
import json, sys
from converter import frameworks
frameworks.before_torch()
print(json.dumps({"hidden": "triton" in sys.modules and sys.modules["triton"] is None}))
"""


def needs(package: str) -> None:
    """Skip where the package is missing; it is not imported here, in the process that runs the tests."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


def run(script: str, home: Path, keras_json: str = "") -> dict[str, object]:
    """The script's last line, from a process in which nothing chooses a Keras backend but `keras_json`."""
    env = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    env |= {"KERAS_HOME": str(home), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    env["PYTHONPATH"] = str(FIXTURES.parent)
    if keras_json:
        (home / "keras.json").write_text(keras_json)
    command = [sys.executable, "-W", "ignore", "-c", script, str(FIXTURES)]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=600)
    assert ran.returncode == 0, f"exit {ran.returncode}\n{ran.stderr[-4000:]}"
    found: dict[str, object] = json.loads(ran.stdout.splitlines()[-1])
    return found


@pytest.mark.tensorflow
def test_tensorflow_first(tmp_path: Path) -> None:
    """`import triton` behind tensorflow would end the process; Keras stays on tensorflow, which its user works with."""
    needs("tensorflow")
    found = run("import tensorflow\n" + BOTH, tmp_path)
    assert found["passed"] == [True, True, True]
    assert found["backend"] == "tensorflow"


@pytest.mark.parametrize("first", ["", "import triton", "import torch"])
def test_triton(first: str, tmp_path: Path) -> None:
    """Hidden only where tensorflow is there and triton is not: only then importing it would end the process."""
    there = "import sys, types\nsys.modules['tensorflow'] = types.ModuleType('tensorflow')\n"
    hidden = run(f"{first}\n{'' if first == 'import torch' else there}{HIDDEN}", tmp_path)["hidden"]
    assert hidden is (first == "")


CHOSEN = """
import json, os, sys
from converter import frameworks
frameworks.choose_keras()
print(json.dumps({"backend": os.environ.get("KERAS_BACKEND", "")}))
"""


@pytest.mark.parametrize(
    "keras_json, backend",
    [
        ("", "torch"),
        (json.dumps(WRITTEN), "torch"),
        ('{"backend": "jax"}', ""),
        ('{"backend": "tensorflow"}', ""),
        ("not json", "torch"),
    ],
)
def test_backend(keras_json: str, backend: str, tmp_path: Path) -> None:
    """No keras.json, the one that Keras writes by itself, choices of the user (left to Keras), a damaged one."""
    assert run(CHOSEN, tmp_path, keras_json) == {"backend": backend}


LIVE = """
import json, sys
import keras
import converter
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
made = converter.convert(model, "torch", verify={verify})
made.model
seen = ["tensorflow" in sys.modules]
keras.saving.serialize_keras_object(model)  # Keras looks for TensorFlow itself, and may still
print(json.dumps([*seen, "tensorflow" in sys.modules]))
"""


@pytest.mark.tensorflow
@pytest.mark.parametrize("verify", [False, True])
def test_a_conversion_in_a_user_s_process_imports_no_tensorflow(tmp_path: Path, verify: bool) -> None:
    """Keras asks of each value that it serialises whether it is TensorFlow's: seconds, and the order of imports."""
    env = {**os.environ, "KERAS_BACKEND": "torch", "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", LIVE.format(verify=verify)]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [False, True]
