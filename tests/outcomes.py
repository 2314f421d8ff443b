"""What the support tables rest on: every row of tests/cases there and back, every PyTorch operation, as it ran.

`python -m tests.outcomes` runs all of it and writes converter/support.json, tests/cases/one_way.json and the README's
table; tests/test_support.py runs it again and compares.
"""

from __future__ import annotations

import collections
import json
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import torch

import converter
from converter import support
from converter.errors import ConvertError
from converter.ops import base
from converter.record import ATTRIBUTE
from tests.cases import ONE_WAY, Case, all_cases
from tests.test_ops import build, flat, inputs_of
from tests.torch_rows import ROWS, Fn, program

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
OTHER_VERSIONS = {"Abs", "Mish"}
"""Rows of keras.ops that this version of Keras makes no nodes of: abs makes Absolute, mish is a function alone."""
CLOSE = 2e-5
"""Largest difference in float32, relative to the largest answer."""


@dataclass
class Ran:
    """How one case fared: its rows of Keras, whether it came back, why not, the ONNX operators that it was written in.

    `forth`: what PyTorch answers is the same; `same`: it came back and answers the same; `lost`: the layer classes that
    did not come back.
    """

    rows: dict[str, set[str]]
    forth: bool = False
    same: bool = False
    lost: set[str] = field(default_factory=set)
    why: str = ""
    operators: set[tuple[str, str]] = field(default_factory=set)

    @property
    def size(self) -> int:
        """How many rows the case shows."""
        return sum(map(len, self.rows.values()))


def rows_of(model: Any) -> dict[str, set[str]]:
    """The layers, activations and operations of a model, by name, those inside others too."""
    found: dict[str, set[str]] = {"layers": set(), "activations": set(), "operations": set()}
    stack = list(getattr(model, "operations", None) or model.layers)
    while stack:
        part = stack.pop()
        if hasattr(part, "layers"):
            stack += getattr(part, "operations", None) or part.layers
            continue
        kind = "layers" if isinstance(part, keras.Layer) else "operations"
        found[kind].add(type(part).__name__)
        stack += [part.layer] if isinstance(getattr(part, "layer", None), keras.Layer) else []
        activation = getattr(part, "activation", None)
        if isinstance(activation, keras.Layer):
            stack.append(activation)
        elif callable(activation):
            found["activations"].add(activation.__name__)
    found["layers"].discard("InputLayer")
    return found


def classes(model: Any) -> collections.Counter[str]:
    """How many layers of each class."""
    found: collections.Counter[str] = collections.Counter()
    stack = list(model.layers)
    while stack:
        layer = stack.pop()
        if hasattr(layer, "layers"):
            stack += layer.layers
            continue
        found[type(layer).__name__] += 1
        stack += [layer.layer] if isinstance(getattr(layer, "layer", None), keras.Layer) else []
    del found["InputLayer"]
    return found


def run(case: Case) -> Ran:
    """The case there and back in float32: one batch, one size."""
    model = build(case)
    there = converter.convert(model, "torch", verify=False)
    ran = Ran(rows_of(model), operators=operators(there.onnx))
    turns = {(t.kind, t.index): t.perm for t in there.turns}
    arrays = inputs_of(case, model, 2, case.sizes[0], "float32")
    expected = flat(model(arrays if len(arrays) > 1 else arrays[0], training=False))
    wanted = [turned(y, turns, "output", i) for i, y in enumerate(expected)]
    given = [torch.from_numpy(np.ascontiguousarray(turned(a, turns, "input", i))) for i, a in enumerate(arrays)]
    with torch.no_grad():
        got = flat(there.model(*given))
    ran.forth = len(got) == len(wanted) and all(map(close, got, wanted))
    vars(there.model).pop(ATTRIBUTE, None)  # without the record: what is read is the PyTorch model
    try:
        back = converter.convert(there.model, "keras", example_inputs=tuple(given), verify=False)
    except ConvertError as error:
        items = getattr(error, "items", None)
        ran.why = f"{items[0].what}: {items[0].why}" if items else str(error).split("\n")[0]
    else:
        got = answers(back, [t.numpy() for t in given])
        final = {t.index: t.perm for t in back.turns if t.kind == "output"}
        wanted = [y.transpose(final.get(i, range(y.ndim))) for i, y in enumerate(wanted)]
        ran.same = all(map(close, got, wanted)) and len(got) == len(wanted)
        ran.lost = set(classes(model) - classes(back.model))
        ran.why = "" if ran.same else "it answers otherwise."
        if ran.same and ran.lost:
            ran.why = f"it comes back without {', '.join(sorted(ran.lost))}."
    return ran


def turned(array: Any, turns: dict[tuple[str, int], Any], kind: str, index: int) -> Any:
    return array.transpose(turns.get((kind, index), range(array.ndim)))


def answers(made: Any, arrays: list[Any]) -> list[Any]:
    """What a converted Keras model answers to arrays in its source's order."""
    turns = {t.index: t.perm for t in made.turns if t.kind == "input"}
    given = [a.transpose(turns.get(i, range(a.ndim))) for i, a in enumerate(arrays)]
    return flat(made.model(given if len(given) > 1 else given[0], training=False))


def close(one: Any, other: Any) -> bool:
    if one.shape != other.shape or one.size == 0:
        return False
    difference = np.abs(one.astype(np.float64) - other.astype(np.float64)).max()
    return bool(difference <= CLOSE * max(float(np.abs(other).max()), 1e-30))


def operators(model: onnx.ModelProto) -> set[tuple[str, str]]:
    """(domain, operator) of everything that a model calls, the bodies of its functions included."""
    nodes: Iterable[Any] = [*model.graph.node, *(n for f in model.functions for n in f.node)]
    return {(node.domain, node.op_type) for node in nodes}


def keras_outcomes(ran: dict[str, Ran]) -> dict[str, dict[str, dict[str, str]]]:
    """For each row of Keras whether it becomes PyTorch and comes back: 'yes' in every case, 'n of m cases', or ''.

    A layer comes back as its class, an activation or an operation as anything that answers the same. Of the cases that
    show a row, those count for the way back that show the fewest others beside it.
    """
    tables = {
        "layers": base.KERAS_LAYERS,
        "activations": base.KERAS_ACTIVATIONS,
        "operations": base.KERAS_OPERATIONS,
    }
    made: dict[str, dict[str, dict[str, str]]] = {}
    for kind, table in tables.items():
        made[kind] = {}
        for name in sorted(set(table) - OTHER_VERSIONS if kind == "operations" else table):
            shown = [r for r in ran.values() if name in r.rows[kind]]
            fewest = min((r.size for r in shown), default=0)
            alone = [r.same and name not in r.lost for r in shown if r.size == fewest]
            made[kind][name] = {"torch": share([r.forth for r in shown]), "back": share(alone)}
    return made


def share(good: list[bool]) -> str:
    """'yes' for all of at least one, '' for none."""
    if not any(good):
        return ""
    return "yes" if all(good) else f"{sum(good)} of {len(good)} cases"


def torch_outcomes() -> tuple[dict[str, str], set[tuple[str, str]]]:
    """For each row of PyTorch: 'yes', or why it does not become Keras; and the ONNX operators that it is written in."""
    made: dict[str, str] = {}
    written: set[tuple[str, str]] = set()
    for name, (function, shape) in ROWS.items():
        module = Fn(function).eval()
        example = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        if name not in program(module, example):
            raise ValueError(f"the row of {name} in tests/torch_rows.py does not call it: {program(module, example)}")
        written |= operators(converter.convert(module, "onnx", example_inputs=(example,), verify=False).onnx)
        try:
            back = converter.convert(module, "keras", example_inputs=(example,), verify=False, layout="source")
        except ConvertError as error:
            made[name] = error.items[0].why if hasattr(error, "items") else str(error).split("\n")[0]
            continue
        with torch.no_grad():
            same = close(answers(back, [example.numpy()])[0], module(example).numpy())
        made[name] = "yes" if same else "it answers otherwise."
    return made, written


def outcomes() -> tuple[dict[str, Any], dict[str, str]]:
    """The content of converter/support.json and of tests/cases/one_way.json."""
    ran = {case.id: run(case) for case in all_cases()}
    torch_rows, from_torch = torch_outcomes()
    from_keras = {op for r in ran.values() for op in r.operators}
    written = {
        f"{domain}.{name}" if domain else name: " and ".join(
            source for source, found in (("Keras", from_keras), ("PyTorch", from_torch)) if (domain, name) in found
        )
        for domain, name in sorted(from_keras | from_torch)
    }
    tables = {"keras": keras_outcomes(ran), "torch": torch_rows, "onnx": written}
    return tables, {name: r.why for name, r in sorted(ran.items()) if r.why}


def written_readme(text: str) -> str:
    """The README with the table between its marks."""
    start, end = "<!-- support table -->\n", "<!-- end of the support table -->"
    pattern = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
    return pattern.sub(lambda _: f"{start}\n{support.table()}\n\n{end}", text)


def main() -> None:
    """Run everything and write what came out."""
    logging.disable()
    tables, one_way = outcomes()
    support.DATA.write_text(json.dumps(tables, indent=1, sort_keys=True) + "\n")
    ONE_WAY.write_text(json.dumps(one_way, indent=0) + "\n")
    support.outcomes.cache_clear()
    README.write_text(written_readme(README.read_text()))


if __name__ == "__main__":
    main()
