"""The support tables are what ran: every case there and back, every PyTorch operation, every ONNX operator written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from converter import support
from converter.capture import torch_activations
from converter.ops import base
from tests import outcomes
from tests.cases import ONE_WAY
from tests.torch_rows import ROWS

ROOT = Path(__file__).parent.parent
UPDATE = "`python -m tests.outcomes` runs everything again and writes what came out."


@pytest.fixture(scope="module")
def found() -> tuple[dict[str, Any], dict[str, str]]:
    return outcomes.outcomes()


def test_tables_are_what_ran(found: tuple[dict[str, Any], dict[str, str]]) -> None:
    stored = json.loads(support.DATA.read_text())
    for kind in support.TABLES:
        assert stored[kind] == found[0][kind], f"what the table {kind!r} says is not what came out. {UPDATE}"


def test_cases_come_back_or_say_why(found: tuple[dict[str, Any], dict[str, str]]) -> None:
    """Both ways: a case that has a reason must not come back, a case without one must."""
    stored = json.loads(ONE_WAY.read_text())
    assert sorted(set(found[1]) - set(stored)) == [], f"these do not come back any more. {UPDATE}"
    assert sorted(set(stored) - set(found[1])) == [], f"these come back, and say that they do not. {UPDATE}"


def test_every_keras_row_becomes_torch() -> None:
    rows = [row for kind, _ in support.KINDS for row in support.outcomes()["keras"][kind].items()]
    assert [name for name, ran in rows if ran["torch"] != "yes"] == []


def test_every_torch_row_is_run() -> None:
    written_out = ("logsigmoid", "tanhshrink")
    functions = {f"{name}.default" for name in torch_activations.functions() if name not in written_out}
    wholes = {f"nn.{name}" for name in torch_activations.modules()}
    assert set(ROWS) == set(base.TORCH_OPERATIONS) | functions - {"softsign.default"} | wholes


@pytest.mark.parametrize("kind", support.TABLES)
def test_table_is_printed_without_a_framework(kind: str) -> None:
    code = (
        "import sys; from converter import support; support.main();"
        "assert not {'torch', 'keras', 'numpy', 'onnx_ir'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, f"--{kind}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == support.table(kind) + "\n"
    assert len(done.stdout.splitlines()) > 50


def test_readme_is_up_to_date() -> None:
    text = (ROOT / "README.md").read_text()
    assert outcomes.written_readme(text) == text, UPDATE


def test_unknown_table() -> None:
    with pytest.raises(ValueError, match="keras, torch, onnx"):
        support.table("jax")
