"""The README's gates for CI, run as they are written: the GitHub Actions step and the pytest test."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import keras
import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def block(language: str) -> str:
    """The one block of this language in the README's section on CI."""
    section = README.split("\n## In CI\n", 1)[1].split("\n## ", 1)[0]
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert len(found) == 1
    return found[0]


def steps() -> list[str]:
    """The shell of each step, in order; a step that uses an action has none."""
    text = block("yaml")
    found = []
    for step in re.split(r"^ *- ", text, flags=re.MULTILINE)[1:]:
        many = re.search(r"run: \|\n(.*)", step, re.DOTALL)
        one = re.search(r"run: (?!\|)(.+)", step)
        found += [dedent(many.group(1))] if many else [one.group(1)] if one else []
    return found


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with a trained model, as the README's example has it, and `kconvert` on its path."""
    (tmp_path / "models").mkdir()
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "fixtures" / "digits_cnn.keras", tmp_path / "models" / "digits.keras")
    (tmp_path / "tests" / "test_export.py").write_text(block("python"))
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name, module in (("kconvert", "converter"), ("pytest", "pytest")):
        command = bin_ / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        command.chmod(0o755)
    return tmp_path


def shell(project: Path, script: str) -> subprocess.CompletedProcess[str]:
    """One step, as GitHub runs it: bash, and the first command that fails ends it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{project / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    environment["GITHUB_STEP_SUMMARY"] = str(project / "summary.md")
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def spoil(project: Path) -> None:
    """A model of which nothing is proven: no input moves its output."""
    x = keras.Input((8,), name="x")
    y = keras.layers.Dense(4, kernel_initializer="zeros", name="fc")(x)
    keras.Model(x, y).save(project / "models" / "digits.keras")


def test_the_actions_steps(project: Path) -> None:
    install, gate, summary = steps()
    assert install.startswith("pip install ")
    done = shell(project, gate)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (project / "export").iterdir()} == {"digits.py", "digits.safetensors"}
    assert {path.name for path in (project / "reports").iterdir()} == {"digits.json", "digits.md", "digits.xml"}
    assert shell(project, summary).returncode == 0
    assert "digits -> torch: equal" in (project / "summary.md").read_text()


def test_the_actions_steps_fail_where_nothing_is_proven(project: Path) -> None:
    spoil(project)
    _, gate, summary = steps()
    done = shell(project, gate)
    assert done.returncode == 1
    assert not (project / "export").exists()
    assert 'failures="1"' in (project / "reports" / "digits.xml").read_text()
    assert shell(project, summary).returncode == 0
    assert "WEAK EVIDENCE" in (project / "summary.md").read_text()


def test_the_pytest_test(project: Path) -> None:
    done = shell(project, "pytest -q -p no:cacheprovider tests/test_export.py")
    assert done.returncode == 0, done.stdout + done.stderr
    spoil(project)
    done = shell(project, "pytest -q -p no:cacheprovider tests/test_export.py")
    assert done.returncode == 1
    assert "WEAK EVIDENCE" in done.stdout
