"""One `build()` function: layers and operations in call order, which variables hold their results, a line a step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import onnx_ir as ir

from converter.graph.graph import Place
from converter.ops.records import Block, Call, Infix, Ref, names_of, refs, rewritten, walk
from converter.write.expressions import Text, literal
from converter.write.names import Namespace, parameters
from converter.write.parts import parts_of, with_those_they_use

POSITIONAL = ("filters", "units", "kernel_size", "pool_size", "rate", "target_shape", "dims")
"""Arguments that are written without their names where they come first, as a person would."""

PARTS = parts_of("keras_parts.py")
STANDARD = {"math": "import math", "Any": "from typing import Any"}
LOCALS = frozenset({"keras", "layers", "model", "build", "ops", "math", "Any", *PARTS})


@dataclass(frozen=True)
class Built:
    """A layer with its name and all its settings, called on `inputs`."""

    name: str
    cls: str
    settings: Mapping[str, Any]
    inputs: tuple[Any, ...]
    shared: bool = False
    """Several calls of the layer: it is constructed once, before the first of them."""
    call: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of this call."""


@dataclass
class Step:
    """One assignment: an expression with layers in it, and the values that it gives (several: it is unpacked)."""

    record: Any
    outputs: tuple[ir.Value, ...]
    name: str = ""
    """What the variable is called; '' for one of no name of its own."""
    place: Place | None = None
    """The layer that it belongs to."""


def inlined(steps: list[Step], results: Sequence[ir.Value]) -> list[Step]:
    """The steps; an expression that one other expression of the same place reads, once, stands inside that one."""
    count = Counter(id(v) for step in steps for v in refs(step.record)) + Counter(id(v) for v in results)
    made: dict[int, Step] = {}
    for step in steps:
        record = step.record
        for value in refs(record) if _plain(record) else ():
            before = made.get(id(value))
            if before is None or not _plain(before.record) or count[id(value)] > 1 or not _together(before, step):
                continue
            del made[id(value)]
            record = _with(record, value, before.record)
        made[id(step.outputs[0])] = replace(step, record=record)
    return list(made.values())


def _with(record: Any, value: ir.Value, inner: Any) -> Any:
    """The record with an expression in the place of a value."""
    return rewritten(record, lambda part: inner if isinstance(part, Ref) and part.value is value else None)


def _plain(record: Any) -> bool:
    return not isinstance(record, (Block, Built, tuple))


def _together(one: Step, two: Step) -> bool:
    a, b = one.place, two.place
    alike = a is not None and b is not None and (a.path, a.call, a.scope) == (b.path, b.call, b.scope)
    return alike and len(one.outputs) == 1


class KerasText(Text):
    """The dialect of Keras: layers are constructed where they are called, KerasTensors have no `==`."""

    def __init__(self, name_of: Callable[[ir.Value], str], known: Mapping[str, str], used: Callable[[str], None]):
        super().__init__(name_of, used)
        self._known = known

    def expr(self, record: Any, tight: float = 0) -> str:
        match record:
            case Built(inputs=inputs, call=call):
                self._used(record.cls if record.cls in PARTS else "layers.")
                inside = self.expr(inputs[0]) if len(inputs) == 1 else f"[{', '.join(self.expr(i) for i in inputs)}]"
                inside = ", ".join([inside, *(f"{key}={self.expr(value)}" for key, value in call.items())])
                return f"{self._known.get(record.name) or self.constructed(record)}({inside})"
            case Infix("==", left, right):
                return self.expr(Call("ops.equal", (left, right)), tight)
        return super().expr(record, tight)

    def constructed(self, layer: Built) -> str:
        """`layers.Dense(3, name="fc")`."""
        parts: list[str] = []
        leading = True
        for key, value in layer.settings.items():
            leading = leading and (key in POSITIONAL or (layer.cls, key) == ("Activation", "activation"))
            parts.append(self.expr(value) if leading else f"{key}={self.expr(value)}")
        home = "" if layer.cls in PARTS else "layers."
        return f"{home}{layer.cls}({', '.join([*parts, f'name={literal(layer.name)}'])})"


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
        used: dict[str, None] = {}
        lines = self._lines(lambda name: used.setdefault(name))
        body = "\n".join(f"    {line}" for line in lines)
        parts = with_those_they_use([name for name in used if name in PARTS], PARTS)
        modules = {name.split(".")[0] for name in used if "." in name}.union(*(PARTS[name].imports for name in parts))
        imported = ", ".join(name for name in ("layers", "ops") if name in modules)
        imports = "".join(f"{line}\n" for name, line in STANDARD.items() if name in modules)
        imports += "\nimport keras\n" if imports else "import keras\n"
        imports += f"from keras import {imported}\n" if imported else ""
        sources = "".join(f"{PARTS[name].source}\n\n\n" for name in parts)
        return (
            f'"""{_doc(self.title)}"""\n\n{imports}\n\n{sources}'
            f"def build() -> keras.Model:\n{body}\n\n\n"
            'if __name__ == "__main__":\n'
            "    from pathlib import Path\n\n"
            "    model = build()\n"
            '    model.load_weights(Path(__file__).with_suffix(".keras"))\n'
            "    model.summary()\n"
        )

    def _lines(self, used: Callable[[str], None]) -> list[str]:
        space = Namespace(parameters() | LOCALS)
        names: dict[int, str] = {}
        lines = []
        for name, value, shape, dtype in self.inputs:
            names[id(value)] = space.take(name, "x")
            kind = "" if dtype == "float32" else f", dtype={literal(dtype)}"
            lines.append(f"{names[id(value)]} = keras.Input({literal_of(shape)}{kind}, name={literal(name)})")
        given = list(names.values())
        shared = {part.name: part for step in self.steps for part in walk(step.record) if _shared(part)}
        known = {name: space.take(name) for name in shared}
        reads = [refs(step.record) for step in self.steps]
        last = {id(value): i for i, values in enumerate(reads) for value in values}
        last |= {id(value): len(self.steps) for value in self.results}
        fixed = set(given) | set(known.values())
        live = dict.fromkeys(fixed, len(self.steps))
        text = KerasText(lambda value: names[id(value)], known, used)
        made: set[str] = set()
        for i, step in enumerate(self.steps):
            for part in walk(step.record):
                if _shared(part) and part.name not in made:
                    made.add(part.name)
                    lines.append(f"{known[part.name]} = {text.constructed(part)}")
            if isinstance(step.record, Block):
                taken = Namespace(set(live) | fixed | parameters() | LOCALS)
                text.locals = {name: taken.take(name) for name in names_of(step.record)}
                lines += text.statements(step.record.steps)
            written = text.expr(step.record.result if isinstance(step.record, Block) else step.record)
            dying = [n for v in reads[i] if last[id(v)] == i and (n := names[id(v)]) not in fixed]
            for name in dying:
                live.pop(name, None)
            targets = []
            for value in step.outputs:
                if len(step.outputs) > 1 and id(value) not in last:
                    targets.append("_")
                    continue
                names[id(value)] = target = _target(step.name, dying, live, fixed)
                targets.append(target)
                if step.name:
                    fixed.add(target)
                if id(value) in last:
                    live[target] = last[id(value)]
            lines.append(f"{', '.join(targets)} = {written}")
        inputs = given[0] if len(given) == 1 else f"[{', '.join(given)}]"
        outputs = _structure(self.outputs, [names[id(v)] for v in self.results])
        model = f"keras.Model({inputs}, {outputs}, name={literal(self.model)})"
        if not self.frozen:
            return [*lines, f"return {model}"]
        fixes = [f"model.get_layer({literal(layer)}).{weight}.trainable = False" for layer, weight in self.frozen]
        return [*lines, f"model = {model}", *fixes, "return model"]


def _shared(part: Any) -> bool:
    return isinstance(part, Built) and part.shared


def _target(wanted: str, dying: Sequence[str], live: Mapping[str, int], fixed: set[str]) -> str:
    """The name that is wanted; else 'x' where it is free, else the variable that ends here, else 'y'."""
    if not wanted and "x" not in live:
        return "x"
    for name in dying:
        if not wanted and name not in live:
            return name
    return Namespace(set(live) | fixed | parameters() | LOCALS).take(wanted or "y")


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
