"""The classes of a generated file; scopes that differ in numbers alone share one class and pass the numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from converter.ops.records import Literal
from converter.write.expressions import Text, literal
from converter.write.names import Namespace, module_attributes, parameters

WIDTH = 120


@dataclass
class Assign:
    """One line of __init__: what an attribute is constructed from; `scope` for a nested class."""

    attribute: str
    cls: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    after: list[str]
    scope: ClassText | None = None


@dataclass
class ClassText:
    """One class to be: its name, where its instance stands (`encoder.`), and its two methods."""

    name: str
    prefix: str
    attribute: str = ""
    attributes: Namespace = field(default_factory=lambda: Namespace(module_attributes()))
    init: list[Assign] = field(default_factory=list)
    forward: list[str] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)
    """What forward reads of `self`, in order."""
    sequential: bool = False
    """No class of its own: an nn.Sequential of the classes below it."""
    line: Assign | None = None
    """The line of the class around it that constructs this one."""


def merged(scopes: list[ClassText], root: ClassText, text: Text, reserved: frozenset[str]) -> list[str]:
    """The classes' text, the root last; `scopes` come with the innermost first, `reserved` names are taken."""
    names = Namespace(parameters() | reserved | {root.name})
    groups: dict[Any, list[ClassText]] = {}
    made: list[str] = []
    depths = sorted({s.prefix.count(".") for s in scopes}, reverse=True)
    for depth in depths:
        groups.clear()
        for scope in (s for s in scopes if s.prefix.count(".") == depth):
            groups.setdefault(_signature(scope), []).append(scope)
        for members in groups.values():
            if not members[0].sequential:
                made.append(_shared(members, names, text))
    made.append(_class(root.name, root.init, root.forward, [], text))
    return made


def _signature(scope: ClassText) -> Any:
    if scope.sequential:
        return scope.prefix
    lines = [(a.attribute, a.cls, len(a.args), tuple(a.kwargs), tuple(a.after)) for a in scope.init]
    return tuple(lines), tuple(scope.forward)


def _shared(members: list[ClassText], names: Namespace, text: Text) -> str:
    """One class for scopes of one signature; the numbers that differ become parameters of its __init__."""
    name = _numbered(names, members[0].name)
    first = members[0]
    free = Namespace(parameters() | {"self"})
    chosen: dict[tuple[Any, ...], str] = {}
    init: list[Assign] = []
    passed: list[dict[str, Any]] = [{} for _ in members]
    for i, line in enumerate(first.init):
        args, kwargs = list(line.args), dict(line.kwargs)
        slots: list[tuple[Any, Any]] = [(args, j) for j in range(len(args))] + [(kwargs, k) for k in kwargs]
        for where, key in slots:
            values = tuple((m.init[i].args if where is args else m.init[i].kwargs)[key] for m in members)
            if all(repr(v) == repr(values[0]) for v in values):
                continue
            if values not in chosen:
                label = _label(line, key, where is args)
                chosen[values] = free.take(label)
                for given, value in zip(passed, values, strict=True):
                    given[chosen[values]] = value
            where[key] = Literal(chosen[values])
        init.append(Assign(line.attribute, line.cls, tuple(args), kwargs, line.after, line.scope))
    for member, given in zip(members, passed, strict=True):
        member.name = name
        _construct(member, name, given)
    kinds = [(label, _kind(passed[0][label])) for label in passed[0]]
    return _class(name, init, first.forward, kinds, text)


def _construct(member: ClassText, name: str, given: dict[str, Any]) -> None:
    """Tell the parent's line which class it constructs, and with what."""
    if member.line is not None:
        member.line.cls = name
        member.line.kwargs = given


def _label(line: Assign, key: Any, positional: bool) -> str:
    """'_1_conv', 0 -> 'conv1_in'."""
    words = [word for word in line.attribute.split("_") if word]
    if len(words) > 1 and words[0].isdigit():
        words = [words[1] + words[0], *words[2:]]
    if positional and line.cls.startswith(("nn.Conv", "nn.Linear")):
        key = ("in", "out")[key]
    elif positional:
        key = "size" if len(line.args) == 1 else key
    return "_".join([*words, str(key)])


def _kind(value: Any) -> str:
    if isinstance(value, tuple):
        return f"tuple[{', '.join(_kind(v) for v in value)}]"
    return type(value).__name__


def _numbered(names: Namespace, stem: str) -> str:
    """ConvBlock, ConvBlock2, ConvBlock3."""
    number = 1
    while not names.free(stem if number == 1 else f"{stem}{number}"):
        number += 1
    return names.take(stem if number == 1 else f"{stem}{number}")


def _class(name: str, init: list[Assign], forward: list[str], given: list[tuple[str, str]], text: Text) -> str:
    head = _call("    def __init__", ["self", *(f"{label}: {kind}" for label, kind in given)], " -> None:", WIDTH)
    lines = [f"class {name}(nn.Module):", *head, "        super().__init__()"]
    for line in init:
        lines += [f"        {made}" for made in _assign(line, text)]
    lines += ["", *(f"    {line}" for line in forward)] if forward else []
    return "\n".join(lines)


def _call(head: str, arguments: list[str], tail: str, width: int) -> list[str]:
    """A call on one line, or with a line for each argument where it would be too long."""
    flat = f"{head}({', '.join(arguments)}){tail}"
    if len(flat) <= width:
        return [flat]
    indent = head[: len(head) - len(head.lstrip())]
    return [f"{head}(", *(f"{indent}    {argument}," for argument in arguments), f"{indent}){tail}"]


def _members(line: Assign, text: Text) -> list[str]:
    """What an nn.Sequential holds: each name with the call that constructs it."""
    made: list[str] = []
    for each in line.scope.init if line.scope is not None else []:
        head = f"            ({literal(each.attribute)}, {each.cls}"
        made += _call(head, text.each(each.args, each.kwargs), "),", WIDTH - 8)
    return made


def _assign(line: Assign, text: Text) -> list[str]:
    name = f"self.{line.attribute}"
    arguments = text.each(line.args, line.kwargs)
    if line.cls == "buffer":
        zeros = f"torch.zeros({', '.join(arguments)})"
        made = [f"{name}: torch.Tensor", f'self.register_buffer("{line.attribute}", {zeros})']
    elif line.cls == "nn.Parameter":
        made = [f"{name} = nn.Parameter(torch.zeros({', '.join(arguments)}))"]
    elif line.scope is not None and line.scope.sequential:
        made = [f"{name} = nn.Sequential(", "    OrderedDict(", "        ["]
        made += [*_members(line, text), "        ]", "    )", ")"]
    else:
        made = _call(f"{name} = {line.cls}", arguments, "", WIDTH - 8)
    return [*made, *(f"{name}.{after}" for after in line.after)]
