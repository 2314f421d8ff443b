"""House rules as tests: which room imports what, how long files are, what is public, what the README promises."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import keras
import pytest

import converter
from converter.ops import base
from converter.support import table
from tests.cases import all_cases

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "converter"
FILES = sorted(PACKAGE.rglob("*.py"))
FRAMEWORKS = {"torch", "keras", "tensorflow", "onnxruntime", "tf_keras", "jax"}
STAGES = {"files", "capture", "write", "judge"}


def imports(path: Path) -> Iterator[str]:
    """Absolute names of everything a file imports, inside functions too."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            stem = node.module or ""
            if node.level:
                stem = ".".join([*package[: len(package) - node.level + 1], *([stem] if stem else [])])
            yield stem
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def names(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=names)
def test_length(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", FILES, ids=names)
def test_no_junk_drawers(path: Path) -> None:
    assert path.stem not in {"utils", "helpers", "misc", "common", "manager"}


@pytest.mark.parametrize("stage", sorted(STAGES | {"graph", "ops"}))
def test_stages_do_not_know_each_other(stage: str) -> None:
    allowed = {"graph": {"ops"}, "ops": set(), "judge": set(), "files": set()}.get(stage, {"graph", "ops"})
    for path in sorted((PACKAGE / stage).rglob("*.py")):
        rooms = {name.split(".")[1] for name in imports(path) if name.startswith("converter.")}
        foreign = rooms & ((STAGES | {"graph", "ops"}) - {stage} - allowed)
        assert not foreign, f"{path} imports {foreign}"


def top_level(path: Path) -> Iterator[str]:
    """The modules of the package that a file imports when it is imported itself."""
    for node in ast.parse(path.read_text()).body:
        found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in found:
            parts = name.split(".")
            homes = [
                ROOT.joinpath(*parts[:count]).with_suffix(".py") for count in (len(parts), len(parts) - 1) if count
            ]
            yield from (names(home) for home in homes if home.exists())


def circle(edges: dict[str, set[str]]) -> list[str]:
    """What is left when everything that imports nothing of what is left is taken away, again and again."""
    left = {name: set(read) - {name} for name, read in edges.items()}
    while leaves := {name for name, read in left.items() if not read & left.keys()}:
        left = {name: read for name, read in left.items() if name not in leaves}
    return sorted(left)


def test_imports_have_no_circle() -> None:
    modules = {names(path): set(top_level(path)) for path in FILES}
    assert sum(map(len, modules.values())) > 500, "the imports are found"
    assert not circle(modules)
    rooms: dict[str, set[str]] = {}
    for path in FILES:
        if path.parent != PACKAGE:
            stem = path.relative_to(PACKAGE).parts[0]
            read = {name.split(".")[1] for name in imports(path) if name.startswith("converter.")}
            rooms.setdefault(stem, set()).update(read)
    assert rooms.keys() == STAGES | {"graph", "ops"}
    assert not circle(rooms)


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]


@pytest.mark.parametrize("path", [*(PACKAGE / "ops").rglob("*.py"), *(PACKAGE / "graph").rglob("*.py")], ids=names)
def test_facts_and_graph_import_no_framework(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & FRAMEWORKS


@pytest.mark.parametrize("path", FILES, ids=names)
def test_frameworks_are_never_imported_at_start(path: Path) -> None:
    """Only files of parts, whose text is generated code and which nobody imports, import a framework."""
    if path.name in ("torch_parts.py", "keras_parts.py"):
        return
    tops = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.Import | ast.ImportFrom)]
    found = {alias.name for n in tops if isinstance(n, ast.Import) for alias in n.names}
    found |= {n.module or "" for n in tops if isinstance(n, ast.ImportFrom) and not n.level}
    assert not {name.split(".")[0] for name in found} & FRAMEWORKS


def test_private_framework_imports_stand_in_one_place() -> None:
    """One file holds the float64 patch and name counters of Keras, one what an export changes, each with its reason."""
    private = {
        names(path)
        for path in FILES
        for name in imports(path)
        if name.startswith(("keras.src", "torch._", "torch.onnx._internal"))
    }
    assert private <= {"converter/judge/run_keras.py", "converter/capture/keras_open_export.py"}


def test_public_names() -> None:
    assert converter.__all__ == sorted(converter.__all__)
    assert all(hasattr(converter, name) for name in converter.__all__)


def test_readme_has_the_support_table() -> None:
    assert table() in (ROOT / "README.md").read_text()


def test_every_captured_layer_has_a_case() -> None:
    """A row of tests/cases shows every Keras layer that has a mapping; activations stand in the rows' text."""
    found = set()
    for case in all_cases():
        layers = list(case.make(keras).layers)
        while layers:
            layer = layers.pop()
            found.add(type(layer).__name__)
            layers += [*getattr(layer, "layers", []), *([layer.layer] if hasattr(layer, "layer") else [])]
    text = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    assert sorted(set(base.KERAS_LAYERS) - found) == []
    assert [name for name in base.KERAS_ACTIVATIONS if name not in text] == []


def test_help_imports_no_framework() -> None:
    code = (
        "import sys\nfrom converter.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        "heavy = {'torch', 'keras', 'tensorflow', 'onnx', 'onnx_ir', 'onnxruntime', 'numpy', 'h5py'}\n"
        "loaded = heavy & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
