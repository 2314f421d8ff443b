"""Parts: small functions and classes whose source text is copied into a generated file, with those that they use.

They stand in files of their own, which are read as text and never imported.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Part:
    """One function or class: its source, the parts it uses, and the names it takes from the file's imports."""

    source: str
    parts: tuple[str, ...]
    imports: frozenset[str]


@functools.cache
def parts_of(file: str) -> dict[str, Part]:
    """The parts of a file beside this one, by name."""
    text = (Path(__file__).parent / file).read_text(encoding="utf-8")
    tree = ast.parse(text)
    lines = text.splitlines()
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, (ast.Import, ast.ImportFrom)) and getattr(node, "module", "") != "__future__"
        for alias in node.names
    }
    defined = {node.name: node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    found = {}
    for name, node in defined.items():
        first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
        read = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)} - {name}
        used = tuple(other for other in defined if other in read)
        found[name] = Part("\n".join(lines[first - 1 : node.end_lineno]), used, frozenset(read & imported))
    return found


def with_those_they_use(wanted: Iterable[str], parts: dict[str, Part]) -> list[str]:
    """The names in order, each behind the parts that it uses."""
    made: list[str] = []
    for name in wanted:
        made += [n for n in (*with_those_they_use(parts[name].parts, parts), name) if n not in made]
    return made
