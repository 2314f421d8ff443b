"""The record: what the other framework has no place for travels with a conversion, so that the way back is exact.

It is JSON beside a few tensors, the same bytes for the same input: `kconvert` in the metadata of a .safetensors file,
the members `kconvert.json` and `kconvert.safetensors` of a .keras file, `_kconvert` of the live model. A .pt2 and an
.onnx file have none: they hold no source text and no layers that a record could belong to. Each part says, by a hash,
what it belongs to, and is used where that still fits; without a record the canonical form is written.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SCHEMA = "kconvert-record/1"
ATTRIBUTE = "_kconvert"
"""Where a live model has its record."""


class Unfit(Exception):
    """A record, or a part of it, that is not of this model any more; the message says why."""


@dataclass(frozen=True)
class Record:
    """A record as it travels: its text, and the tensors that the target has no place for, by the source's names."""

    text: str
    tensors: Mapping[str, np.ndarray] = field(default_factory=dict)


def write(source: str, target: str, parts: Mapping[str, Any]) -> str:
    """The record's text: which framework the model came from and which it became, and the parts."""
    return canonical({"schema": SCHEMA, "from": source, "to": target, **parts})


def canonical(value: Any) -> str:
    """JSON without blanks, in the order that the value has."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def digest(value: Any) -> str:
    """The sha256 of plain data, however its dicts are ordered and its tuples are spelled."""
    text = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of_arrays(arrays: Iterable[np.ndarray]) -> str:
    """The sha256 of the numbers of several arrays, their dtypes and their shapes."""
    import numpy as np

    found = hashlib.sha256()
    for data in arrays:
        found.update(f"{data.dtype.name}{list(data.shape)}".encode())
        found.update(np.ascontiguousarray(data).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def digest_of_source(text: str) -> str:
    """The sha256 of what Python source does: its layout, comments, docstrings and `__main__` block do not count."""
    body = [node for node in ast.parse(text).body if not _is_main(node)]
    return digest(_plain(body))


def _is_main(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"


def _plain(node: Any) -> Any:
    """A syntax tree as lists; fields that are empty are left out, as versions of Python differ in which they have."""
    if isinstance(node, list):
        return [_plain(part) for part in node if not _is_text(part)]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [[name, _plain(value)] for name, value in ast.iter_fields(node) if value is not None and value != []]
    return [type(node).__name__, *fields]


def _is_text(node: Any) -> bool:
    """A docstring, or another text that is a statement of its own."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def attach(model: Any, found: Record | None) -> None:
    """Give a live model its record."""
    if found is not None:
        setattr(model, ATTRIBUTE, found)


def attached(model: Any) -> Record | None:
    """The record that a live model was given."""
    found = getattr(model, "__dict__", {}).get(ATTRIBUTE)
    return found if isinstance(found, Record) else None
