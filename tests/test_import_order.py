"""A process that imported tensorflow first, and one that has none: both convert, in both directions."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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

WITHOUT = """
import sys
for name in ("tensorflow", "tf_keras", "tf2onnx", "onnx2torch"):
    sys.modules[name] = None
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


@pytest.mark.tensorflow
def test_keras_on_tensorflow_first(tmp_path: Path) -> None:
    """Keras is imported before us, on the backend that it has by default."""
    needs("tensorflow")
    found = run("import keras\n" + BOTH, tmp_path)
    assert found["passed"] == [True, True, True]
    assert found["backend"] == "tensorflow"


def test_no_tensorflow(tmp_path: Path) -> None:
    """Where nothing chooses a backend, conversion takes torch and imports no tensorflow."""
    found = run(WITHOUT + BOTH.replace('"tensorflow" in sys.modules', 'sys.modules.get("tensorflow") is not None'), tmp_path)
    assert found["passed"] == [True, True, True]
    assert found["backend"] == "torch"
    assert found["tensorflow"] is False


CHOSEN = """
import json
from converter import frameworks
frameworks.choose_keras()
import keras
print(json.dumps({"backend": keras.backend.backend()}))
"""


@pytest.mark.parametrize(
    "keras_json, backend",
    [
        ("", "torch"),
        ('{"floatx": "float32", "epsilon": 1e-07, "backend": "tensorflow", "image_data_format": "channels_last"}', "torch"),
        ('{"backend": "torch", "floatx": "float32"}', "torch"),
    ],
)
def test_backend_where_none_is_chosen(keras_json: str, backend: str, tmp_path: Path) -> None:
    """No keras.json, the one that Keras writes by itself, and one with a choice."""
    assert run(CHOSEN, tmp_path, keras_json) == {"backend": backend}


def test_choice_of_the_user_stays(tmp_path: Path) -> None:
    needs("jax")
    assert run(CHOSEN, tmp_path, '{"backend": "jax"}') == {"backend": "jax"}
