"""What is supported, as it ran: `python -m converter.support [--torch | --onnx]` prints a table as Markdown.

The tables are read from support.json, which the tests write from what they executed and compare with it.
"""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "support.json"
KINDS = (("layers", "layer"), ("activations", "activation"), ("operations", "keras.ops"))
TABLES = ("keras", "torch", "onnx")


@functools.cache
def outcomes() -> dict[str, Any]:
    """What came out, by table."""
    found: dict[str, Any] = json.loads(DATA.read_text(encoding="utf-8"))
    return found


def table(kind: str = "keras") -> str:
    """One of the three tables.

    'keras': what becomes PyTorch and whether it comes back from there; 'torch': the operations of PyTorch and whether
    they become Keras; 'onnx': the operators that are written, and from which framework's models.
    """
    if kind not in TABLES:
        raise ValueError(f"expected one of {', '.join(TABLES)}, received {kind!r}")
    found = outcomes()[kind]
    if kind == "torch":
        head = ["PyTorch", "ONNX", "Keras"]
        rows = [[name, "yes", why if why == "yes" else f"no: {why}"] for name, why in sorted(found.items())]
    elif kind == "onnx":
        head, rows = ["ONNX operator", "written from"], [[name, sources] for name, sources in sorted(found.items())]
    else:
        head = ["Keras", "kind", "PyTorch", "and back"]
        ran = [(name, word, ran) for key, word in KINDS for name, ran in sorted(found[key].items())]
        rows = [[name, word, ways["torch"], ways["back"]] for name, word, ways in ran]
    lines = [head, ["---"] * len(head), *([_cell(entry) for entry in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> None:
    """Print the table that the command line asks for."""
    kinds = [word.removeprefix("--") for word in sys.argv[1:]]
    if len(kinds) > 1 or any(kind not in TABLES for kind in kinds):
        sys.exit("usage: python -m converter.support [--keras | --torch | --onnx]")
    print(table(*kinds))


if __name__ == "__main__":
    main()
