"""Source records: how an op says what it becomes, before any text is written.

An op answers with records, never with framework objects. One writer per target turns records into text, so
formatting, naming and escaping live in one place each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import onnx_ir as ir


@dataclass(frozen=True)
class Ref:
    """A value of the graph: a local variable, a parameter or buffer, or a small literal constant."""

    value: ir.Value


@dataclass(frozen=True)
class Size:
    """The run-time length of one axis: `x.shape[axis]`."""

    of: Any
    axis: int


@dataclass(frozen=True)
class Call:
    """A function call in forward: `F.pad(x, (0, 1, 0, 1))`. A name without a dot is a part (see `parts`)."""

    function: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """A method call on an expression: `x.flatten(1)`."""

    of: Any
    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Infix:
    """A binary operator: `a + b`."""

    sign: str
    left: Any
    right: Any


@dataclass(frozen=True)
class Prefix:
    """An operator in front: `-x`, `~mask`."""

    sign: str
    of: Any


@dataclass(frozen=True)
class Index:
    """A subscription: `x[:, :, 1:-1]`, `pair[0]`. A slice is a `slice`, a whole axis `slice(None)`, ids a record."""

    of: Any
    items: tuple[Any, ...]


@dataclass(frozen=True)
class Literal:
    """Source that stands as it is; only for text that the converter itself wrote, never text from a model."""

    text: str


@dataclass(frozen=True)
class Module:
    """What is constructed once and called in forward: `nn.Conv2d(3, 8, kernel_size=(3, 3))`.

    `weights` maps the module's own state names to initializers of the graph; `frozen` names parameters of the
    module that the source does not train (they have no weight in it, or one that is fixed); `fill` gives those without
    an initializer their value. `inputs` are the arguments of the call.
    """

    cls: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, ir.Value] = field(default_factory=dict)
    fill: Mapping[str, Any] = field(default_factory=dict)
    frozen: frozenset[str] = frozenset()
    buffers: frozenset[str] = frozenset({"running_mean", "running_var", "num_batches_tracked"})
    inputs: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Layer:
    """A Keras layer: `layers.Conv2D(8, (3, 3))`; `weights` maps its weight names to initializer and axes.

    An axes of None copies the array as it is; the pair (value, axes) means `array.transpose(axes)`.
    """

    cls: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, tuple[ir.Value, tuple[int, ...] | None]] = field(default_factory=dict)
    fill: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[Any, ...] = ()
    trainable: bool = True
    call: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the call, beside `inputs`."""
    activates: bool = False
    """It has an argument `activation`, which it applies last."""


@dataclass(frozen=True)
class Local:
    """A variable of a Block; the writer gives it this name, numbered where the name is taken."""

    name: str


@dataclass(frozen=True)
class Set:
    """`h = x[:, 0]`, or `h, c = self.cell(h, c)` for a tuple of targets; `kind` is written as its annotation."""

    target: Local | tuple[Local, ...]
    value: Any
    kind: str = ""


@dataclass(frozen=True)
class Do:
    """An expression that stands alone: `steps.append(h)`."""

    value: Any


@dataclass(frozen=True)
class For:
    """`for t in range(5):` with its body."""

    target: Local | tuple[Local, ...]
    over: Any
    body: tuple[Any, ...]


@dataclass(frozen=True)
class If:
    """`if test:` with its body, and that of `else:` where there is one."""

    test: Any
    body: tuple[Any, ...]
    otherwise: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Block:
    """Statements (Set, Do, For, If), and the expression that the node gives once they have run.

    It is a node's whole answer, never a part of another record.
    """

    steps: tuple[Any, ...]
    result: Any


Record = (
    Ref
    | Size
    | Call
    | Method
    | Infix
    | Prefix
    | Index
    | Literal
    | Local
    | Module
    | Layer
    | Block
    | tuple["Record", ...]
)
"""An answer in tuple form stands for a node with as many outputs."""

_OUTSIDE = frozenset({"weights", "fill"})
"""Fields that hold what a module or layer is made of, which no expression reads."""


def walk(record: Any) -> Iterator[Any]:
    """A record and all that stand in it, what is written first first."""
    yield record
    for part in _parts(record):
        yield from walk(part)


def refs(record: Any) -> list[ir.Value]:
    """The values that a record reads, as often as it reads them, in order."""
    return [part.value for part in walk(record) if isinstance(part, Ref)]


def names_of(block: Block) -> list[str]:
    """The variables of a Block, in order."""
    return list(dict.fromkeys(part.name for part in walk(block) if isinstance(part, Local)))


def rewritten(record: Any, change: Callable[[Any], Any]) -> Any:
    """The record with each part in the place of which `change` gives something; what it gives is left as it is."""
    made = change(record)
    if made is not None:
        return made
    if isinstance(record, (tuple, list)):
        return type(record)(rewritten(part, change) for part in record)
    if isinstance(record, Mapping):
        return {key: rewritten(part, change) for key, part in record.items()}
    if isinstance(record, slice):
        return slice(*(rewritten(part, change) for part in _parts(record)))
    if is_dataclass(record) and not isinstance(record, (Ref, type)):
        names = [f.name for f in fields(record) if f.name not in _OUTSIDE]
        return replace(record, **{name: rewritten(getattr(record, name), change) for name in names})
    return record


def _parts(record: Any) -> list[Any]:
    if isinstance(record, (tuple, list)):
        return list(record)
    if isinstance(record, Mapping):
        return list(record.values())
    if isinstance(record, slice):
        return [record.start, record.stop, record.step]
    if is_dataclass(record) and not isinstance(record, (Ref, type)):
        return [getattr(record, f.name) for f in fields(record) if f.name not in _OUTSIDE]
    return []
