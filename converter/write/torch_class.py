"""The classes of a generated file; scopes that differ in numbers alone share one class and pass the numbers."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
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
    container: str = ""
    """No class of its own: an nn.Sequential, nn.ModuleList or nn.ModuleDict of what is below it."""
    line: Assign | None = None
    """The line of the class around it that constructs this one."""

    @property
    def sequential(self) -> bool:
        """Whether it is called as a whole, its members one after the other."""
        return self.container == "nn.Sequential"

    @property
    def plain(self) -> bool:
        """Whether the members' names are their positions."""
        return [line.attribute for line in self.init] == [str(i) for i in range(len(self.init))]

    def take(self, name: str) -> str:
        """The attribute for a name; in a container it is a key, as it is."""
        if not self.container:
            return self.attributes.take(name)
        taken = {line.attribute for line in self.init}
        numbered = itertools.chain([name], (f"{name}_{i}" for i in itertools.count(2)))
        return next(each for each in numbered if each not in taken)

    def index(self, name: str) -> str:
        """How a member of the container is read: '[0]', '["3"]'."""
        if self.container == "nn.ModuleDict":
            return f"[{literal(name)}]"
        return f"[{[line.attribute for line in self.init].index(name) if self.sequential else int(name)}]"

    def lines(self, path: str = "") -> list[tuple[str, Assign]]:
        """The lines of __init__, those inside containers too, with what is read for each: 'downsample_0'."""
        found = []
        for line in self.init:
            found.append((f"{path}{line.attribute}", line))
            if line.scope is not None and line.scope.container:
                found += line.scope.lines(f"{path}{line.attribute}_")
        return found


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
            if not members[0].container:
                made.append(_shared(members, names, text))
    made.append(_class(root.name, root.init, root.forward, [], text))
    return made


def _signature(scope: ClassText) -> Any:
    if scope.container:
        return scope.prefix
    lines = [(path, a.cls, len(a.args), tuple(a.kwargs), tuple(a.after)) for path, a in scope.lines()]
    return tuple(lines), tuple(scope.forward)


def _shared(members: list[ClassText], names: Namespace, text: Text) -> str:
    """One class for scopes of one signature; the numbers that differ become parameters of its __init__."""
    name = _numbered(names, members[0].name)
    free = Namespace(parameters() | {"self"})
    chosen: dict[tuple[Any, ...], str] = {}
    made: dict[int, Assign] = {}
    passed: list[dict[str, Any]] = [{} for _ in members]
    every = [[line for _, line in member.lines()] for member in members]
    for i, (path, line) in enumerate(members[0].lines()):
        args, kwargs = list(line.args), dict(line.kwargs)
        slots: list[tuple[Any, Any]] = [(args, j) for j in range(len(args))] + [(kwargs, k) for k in kwargs]
        for where, key in slots:
            values = tuple((lines[i].args if where is args else lines[i].kwargs)[key] for lines in every)
            if all(repr(v) == repr(values[0]) for v in values):
                continue
            if values not in chosen:
                label = _label(path, line, key, where is args)
                chosen[values] = free.take(label)
                for given, value in zip(passed, values, strict=True):
                    given[chosen[values]] = value
            where[key] = Literal(chosen[values])
        made[id(line)] = Assign(line.attribute, line.cls, tuple(args), kwargs, line.after, line.scope)
    for member, given in zip(members, passed, strict=True):
        member.name = name
        _construct(member, name, given)
    kinds = [(label, _kind(passed[0][label])) for label in passed[0]]
    return _class(name, _remade(members[0].init, made), members[0].forward, kinds, text)


def _remade(init: list[Assign], made: dict[int, Assign]) -> list[Assign]:
    """Lines with those that were made for them in their places, inside containers too."""
    found = []
    for line in init:
        fresh = made[id(line)]
        if line.scope is not None and line.scope.container:
            fresh.scope = replace(line.scope, init=_remade(line.scope.init, made))
        found.append(fresh)
    return found


def _construct(member: ClassText, name: str, given: dict[str, Any]) -> None:
    """Tell the parent's line which class it constructs, and with what."""
    if member.line is not None:
        member.line.cls = name
        member.line.kwargs = given


def _label(path: str, line: Assign, key: Any, positional: bool) -> str:
    """'_1_conv', 0 -> 'conv1_in'."""
    words = [word for word in path.split("_") if word]
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


def _made(line: Assign, text: Text, width: int) -> list[str]:
    """The call that constructs a line's attribute; of a container, with those of its members."""
    scope = line.scope
    if scope is None or not scope.container:
        return _call(line.cls, text.each(line.args, line.kwargs), "", width)
    names = [each.attribute for each in scope.init]
    members = [_made(each, text, width - 16) for each in scope.init]
    if scope.container == "nn.ModuleDict":
        heads, around = [f"{literal(name)}: " for name in names], ["{", "}"]
    elif scope.sequential and not scope.plain:
        heads, around = [f"({literal(name)}, " for name in names], ["OrderedDict(", "    [", "    ]", ")"]
        members = [[*lines[:-1], f"{lines[-1]})"] for lines in members]
    else:
        heads, around = [""] * len(names), [] if scope.sequential else ["[", "]"]
    half = len(around) // 2
    inner = []
    for head, lines in zip(heads, members, strict=True):
        inner += [f"{head}{lines[0]}", *lines[1:-1], lines[-1]][: len(lines)]
        inner[-1] += ","
    indent = "    " * (half + 1)
    body = [*(f"    {line}" for line in around[:half]), *(f"{indent}{line}" for line in inner)]
    return [f"{scope.container}(", *body, *(f"    {line}" for line in around[half:]), ")"]


def _after(name: str, line: Assign) -> list[str]:
    """What follows a line, and the lines inside it that no class of theirs has."""
    found = [f"{name}.{after}" for after in line.after]
    if line.scope is not None and line.scope.container:
        for each in line.scope.init:
            found += _after(f"{name}{line.scope.index(each.attribute)}", each)
    return found


def _assign(line: Assign, text: Text) -> list[str]:
    name = f"self.{line.attribute}"
    arguments = text.each(line.args, line.kwargs)
    if line.cls == "buffer":
        zeros = f"torch.zeros({', '.join(arguments)})"
        made = [f"{name}: torch.Tensor", f'self.register_buffer("{line.attribute}", {zeros})']
    elif line.cls == "nn.Parameter":
        made = [f"{name} = nn.Parameter(torch.zeros({', '.join(arguments)}))"]
    elif line.scope is not None and line.scope.container:
        made = _made(line, text, WIDTH - 8)
        made[0] = f"{name} = {made[0]}"
    else:
        made = _call(f"{name} = {line.cls}", arguments, "", WIDTH - 8)
    return [*made, *_after(name, line)]
