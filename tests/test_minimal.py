"""Both directions in a process where tensorflow, tf2onnx, onnx2torch and tf-keras cannot be imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BLOCK = "import sys\nfor name in ('tensorflow', 'tf2onnx', 'onnx2torch', 'tf_keras'):\n    sys.modules[name] = None\n"


def run(code: str, folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_HOME": str(folder)}
    environment.pop("KERAS_BACKEND", None)
    done = subprocess.run(
        [sys.executable, "-c", BLOCK + code], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_keras_file_to_torch(tmp_path: Path) -> None:
    run(
        "import converter\n"
        f"made = converter.convert({str(ROOT / 'fixtures/digits_cnn.keras')!r}, 'torch')\n"
        "assert made.report.passed and made.report.proof, str(made.report)\n"
        "assert 'tensorflow' not in [n for n, m in sys.modules.items() if m is not None]\n",
        tmp_path,
    )


def test_program_to_keras(tmp_path: Path) -> None:
    run(
        "import converter\n"
        f"made = converter.convert({str(ROOT / 'fixtures/mlp.pt2')!r}, 'keras')\n"
        "assert made.report.passed and made.report.proof, str(made.report)\n",
        tmp_path,
    )
