"""One `build()` function: layers in call order, which variables hold their results, one line a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from converter.write.expressions import Text, literal
from converter.write.names import Namespace, parameters

POSITIONAL = ("filters", "units", "kernel_size", "pool_size", "rate", "target_shape", "dims")
"""Arguments that are written without their names where they come first, as a person would."""

LOCALS = frozenset({"keras", "layers", "model", "build"})


@dataclass
class Step:
    """One call of one layer."""

    layer: str
    cls: str
    kwargs: dict[str, Any]
    inputs: list[ir.Value]
    output: ir.Value
    shared: bool = False
    """Several calls of the layer: it is constructed once, before the first of them."""


@dataclass
class BuildText:
    """What `build()` is written from."""

    title: str
    model: str
    inputs: list[tuple[str, ir.Value, tuple[int | None, ...], str]]
    steps: list[Step]
    outputs: Any
    results: list[ir.Value]
    frozen: list[tuple[str, str]] = field(default_factory=list)
    """(layer, weight) that are frozen while the rest of their layer is trained."""

    def text(self) -> str:
        """The file."""
        lines = self._lines()
        body = "\n".join(f"    {line}" for line in lines)
        return (
            f'"""{_doc(self.title)}"""\n\nimport keras\nfrom keras import layers\n\n\n'
            f"def build() -> keras.Model:\n{body}\n\n\n"
            'if __name__ == "__main__":\n'
            "    from pathlib import Path\n\n"
            "    model = build()\n"
            '    model.load_weights(Path(__file__).with_suffix(".keras"))\n'
            "    model.summary()\n"
        )

    def _lines(self) -> list[str]:
        space = Namespace(parameters() | LOCALS)
        names: dict[int, str] = {}
        lines = []
        for name, value, shape, dtype in self.inputs:
            names[id(value)] = space.take(name, "x")
            kind = "" if dtype == "float32" else f", dtype={literal(dtype)}"
            lines.append(f"{names[id(value)]} = keras.Input({literal_of(shape)}{kind}, name={literal(name)})")
        given = list(names.values())
        known = {step.layer: space.take(step.layer) for step in self.steps if step.shared}
        last = {id(value): i for i, step in enumerate(self.steps) for value in step.inputs}
        last |= {id(value): len(self.steps) for value in self.results}
        fixed = set(given) | set(known.values())
        live = dict.fromkeys(fixed, len(self.steps))
        made: set[str] = set()
        for i, step in enumerate(self.steps):
            arguments = [names[id(v)] for v in step.inputs]
            dying = [names[id(v)] for v in step.inputs if last[id(v)] == i and names[id(v)] not in fixed]
            for name in dying:
                live.pop(name, None)
            target = _target(dying, live, fixed)
            names[id(step.output)] = target
            if id(step.output) in last:
                live[target] = last[id(step.output)]
            call = step.layer and known.get(step.layer)
            if call and call not in made:
                lines.append(f"{call} = {_constructed(step)}")
                made.add(call)
            inside = arguments[0] if len(arguments) == 1 else f"[{', '.join(arguments)}]"
            lines.append(f"{target} = {call or _constructed(step)}({inside})")
        inputs = given[0] if len(given) == 1 else f"[{', '.join(given)}]"
        outputs = _structure(self.outputs, [names[id(v)] for v in self.results])
        model = f"keras.Model({inputs}, {outputs}, name={literal(self.model)})"
        if not self.frozen:
            return [*lines, f"return {model}"]
        fixes = [f"model.get_layer({literal(layer)}).{weight}.trainable = False" for layer, weight in self.frozen]
        return [*lines, f"model = {model}", *fixes, "return model"]


def _target(dying: Sequence[str], live: Mapping[str, int], fixed: set[str]) -> str:
    """'x' where it is free, else the variable that ends here, else 'y'."""
    if "x" not in live:
        return "x"
    for name in dying:
        if name not in live:
            return name
    return Namespace(set(live) | fixed | parameters() | LOCALS).take("y")


def _constructed(step: Step) -> str:
    parts: list[str] = []
    leading = True
    for key, value in step.kwargs.items():
        leading = leading and (key in POSITIONAL or (step.cls, key) == ("Activation", "activation"))
        parts.append(literal_of(value) if leading else f"{key}={literal_of(value)}")
    return f"layers.{step.cls}({', '.join([*parts, f'name={literal(step.layer)}'])})"


def _structure(outputs: Any, names: list[str]) -> str:
    if isinstance(outputs, int):
        return names[outputs]
    if isinstance(outputs, Mapping):
        pairs = (f"{literal(k)}: {_structure(v, names)}" for k, v in outputs.items() if v is not None)
        return "{" + ", ".join(pairs) + "}"
    return "[" + ", ".join(_structure(v, names) for v in outputs if v is not None) + "]"


def literal_of(value: Any) -> str:
    """Numbers, strings, None and tuples of them."""
    return Text(lambda _: "", lambda _: None).expr(value)


def _doc(text: str) -> str:
    return " ".join(text.replace("\\", "/").replace('"', "'").split())
