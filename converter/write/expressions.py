"""Records into the source of either target: every literal through repr, every name through the writer's tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import onnx_ir as ir

from converter.ops.records import Call, Do, For, If, Index, Infix, Literal, Local, Method, Prefix, Ref, Set, Size

PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "//": 2, "%": 2, "@": 2, "**": 3, "&": 0.5, "|": 0.3}
COMPARE = {"<", "<=", ">", ">=", "==", "!="}
UNARY = 2.5


class Text:
    """Renders expressions; `name_of` answers for values, `used` is told of every function that is called."""

    def __init__(self, name_of: Callable[[ir.Value], str], used: Callable[[str], None]) -> None:
        self._name_of = name_of
        self._used = used
        self.locals: dict[str, str] = {}
        """What the variables of the Block at hand are called."""

    def expr(self, record: Any, tight: float = 0) -> str:
        """The source of a record or literal; `tight` is the precedence of what stands around it."""
        match record:
            case Ref(value):
                return self._bracketed(self._name_of(value), tight)
            case Local(name):
                return self.locals[name]
            case Literal(text):
                self._used(text)
                return text
            case Size(of, axis):
                return f"{self.expr(of, 9)}.shape[{axis}]"
            case Call(function, args, kwargs):
                self._used(function)
                return f"{function}({self.arguments(args, kwargs)})"
            case Method(of, name, args, kwargs):
                return f"{self.expr(of, 9)}.{name}({self.arguments(args, kwargs)})"
            case Infix(sign, left, right):
                level = 0.1 if sign in COMPARE else PRECEDENCE[sign]
                first = level + 0.05 if sign == "**" or sign in COMPARE else level
                text = f"{self.expr(left, first)} {sign} {self.expr(right, level + 0.05)}"
                return f"({text})" if tight > level else text
            case Prefix(sign, of):
                text = f"{sign}{self.expr(of, UNARY)}"
                return f"({text})" if tight > UNARY else text
            case Index(of, items):
                return f"{self.expr(of, 9)}[{', '.join(self._subscript(i) for i in items)}]"
            case tuple() | list():
                open_, close = ("(", ")") if isinstance(record, tuple) else ("[", "]")
                inner = ", ".join(self.expr(r) for r in record)
                return f"{open_}{inner}{',' if isinstance(record, tuple) and len(record) == 1 else ''}{close}"
        text = literal(record)
        return f"({text})" if tight > UNARY and text.startswith("-") else text

    def statements(self, steps: Iterable[Any]) -> Iterator[str]:
        """The lines of a Block's statements."""
        for step in steps:
            match step:
                case Set(target, value, kind):
                    yield f"{self._target(target)}{f': {kind}' if kind else ''} = {self.expr(value)}"
                case Do(value):
                    yield self.expr(value)
                case For(target, over, body):
                    yield f"for {self._target(target)} in {self.expr(over)}:"
                    yield from self._indented(body)
                case If(test, body, otherwise):
                    yield f"if {self.expr(test)}:"
                    yield from self._indented(body)
                    if otherwise:
                        yield "else:"
                        yield from self._indented(otherwise)
                case _:
                    raise TypeError(f"{type(step).__name__} is no statement")

    def _indented(self, body: Iterable[Any]) -> Iterator[str]:
        return (f"    {line}" for line in self.statements(body))

    def _target(self, target: Local | tuple[Local, ...]) -> str:
        return ", ".join(self.locals[each.name] for each in (target if isinstance(target, tuple) else (target,)))

    def arguments(self, args: Any, kwargs: Any) -> str:
        """The inside of a call's parentheses."""
        return ", ".join(self.each(args, kwargs))

    def each(self, args: Any, kwargs: Any) -> list[str]:
        """A call's arguments, one by one."""
        return [*(self.expr(a) for a in args), *(f"{k}={self.expr(v)}" for k, v in kwargs.items())]

    def _subscript(self, item: Any) -> str:
        if isinstance(item, slice):
            bounds = ["" if b is None else self.expr(b) for b in (item.start, item.stop)]
            return ":".join([*bounds, *([self.expr(item.step)] if item.step is not None else [])])
        return "..." if item is Ellipsis else self.expr(item)

    @staticmethod
    def _bracketed(text: str, tight: float) -> str:
        return f"({text})" if tight and text.startswith("-") else text


def literal(value: Any) -> str:
    """A Python literal: numbers, strings and None; repr is the only road for text."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, str) and not set(value) & {"'", '"'}:
        return f'"{repr(value)[1:-1]}"'
    if isinstance(value, (bool, int, float, str)) or value is None:
        return repr(value)
    if value is Ellipsis:
        return "..."
    if hasattr(value, "item"):
        return literal(value.item())
    raise TypeError(f"{value!r} has no source form")
