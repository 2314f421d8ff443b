"""A pickle looked at opcode by opcode, without building what it says: how much work its tuples would be to hash."""

from __future__ import annotations

import pickletools
from typing import Any

MARK = object()
KEPT = ("PUT", "BINPUT", "LONG_BINPUT")
READ = ("GET", "BINGET", "LONG_BINGET")
PAIRS = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def heaviest_tuple(data: bytes) -> int:
    """The most parts that one tuple has, parts of parts counted each time that they are read.

    A tuple that holds another one twice, which does the same, doubles with every step; as the key of a dict it is
    hashed part by part, which no time is enough for. Damaged pickles are looked at up to where they break.
    """
    stack: list[Any] = []
    memo: dict[int, int] = {}
    heaviest = 1
    try:
        for opcode, argument, _ in pickletools.genops(data):
            name = opcode.name
            if name == "MARK":
                stack.append(MARK)
            elif name in ("TUPLE", *PAIRS):
                parts = _to_mark(stack) if name == "TUPLE" else [stack.pop() for _ in range(PAIRS[name])]
                stack.append(1 + sum(part for part in parts if isinstance(part, int)))
                heaviest = max(heaviest, stack[-1])
            elif name in KEPT or name == "MEMOIZE":
                place = len(memo) if name == "MEMOIZE" else int(argument or 0)
                memo[place] = stack[-1] if isinstance(stack[-1], int) else 1
            elif name in READ:
                stack.append(memo.get(int(argument or 0), 1))
            else:
                before = [each.name for each in opcode.stack_before]
                if "mark" in before:
                    _to_mark(stack)
                    before = before[: before.index("mark")]
                del stack[len(stack) - len(before) :]
                stack += [1] * len(opcode.stack_after)
    except (ValueError, IndexError, UnicodeDecodeError):
        pass
    return heaviest


def _to_mark(stack: list[Any]) -> list[Any]:
    """What stands above the last mark, taken off with it."""
    parts = []
    while (part := stack.pop()) is not MARK:
        parts.append(part)
    return parts
