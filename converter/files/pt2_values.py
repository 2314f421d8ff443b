"""The values of a .pt2's model.json, each read by its type and built anew: names, numbers, sizes, arguments."""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from converter.errors import BadInput
from converter.files import pt2_expressions

Json = Any
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,499}")
PATH = re.compile(r"(?!__)[\w\-]{1,200}(\.(?!__)[\w\-]{1,200}){0,63}")
WORD = re.compile(r"[\w .,:;/\-+@#]{0,200}")
RESERVED = frozenset({"self", "torch", "math", "operator", "_operator", "pytree", "fx_pytree"})
"""Names of the text that torch.fx writes, besides those of Python."""
ITEMSIZE = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 2,
    7: 4,
    8: 8,
    9: 4,
    10: 8,
    11: 16,
    12: 1,
    13: 2,
    28: 2,
    29: 1,
    30: 1,
    31: 1,
    32: 1,
    33: 1,
    34: 4,
    35: 8,
}
"""torch's scalar types as the file numbers them, with their bytes."""
DEVICES = frozenset({"cpu", "cuda", "mps", "xpu", "hpu", "npu"})
LARGEST = 1 << 40
MOST_BYTES = 1 << 42
MOST_AXES = 64
MOST_ENTRIES = 1_000_000
LONGEST = 100_000
SPECIAL = ("Infinity", "-Infinity", "NaN")


@dataclass
class Values:
    """Readers of one file; `devices` collects those that were named besides the CPU."""

    label: str
    devices: set[str] = field(default_factory=set)

    def refuse(self, where: str, expected: str, value: Json) -> BadInput:
        """What to raise for a value that is not as torch.export writes it."""
        return BadInput(
            f"{self.label}: {where}: expected {expected}, received {value!r:.120}. "
            "The file is damaged or was not written by torch.export.save."
        )

    def table(self, value: Json, where: str) -> dict[str, Json]:
        """An object."""
        if not isinstance(value, dict):
            raise self.refuse(where, "an object", value)
        return value

    def rows(self, value: Json, where: str) -> list[Json]:
        """A list of bounded length."""
        if not isinstance(value, list) or len(value) > MOST_ENTRIES:
            raise self.refuse(where, "a list", value)
        return value

    def one(self, value: Json, where: str) -> tuple[str, Json]:
        """An object with one key, which is how the file writes alternatives."""
        if not isinstance(value, dict) or len(value) != 1:
            raise self.refuse(where, "an object with one key", value)
        return next(iter(value.items()))

    def flag(self, value: Json, where: str) -> bool:
        """True or False."""
        if not isinstance(value, bool):
            raise self.refuse(where, "true or false", value)
        return value

    def whole(self, value: Json, where: str, low: int = -(1 << 63), high: int = (1 << 63) - 1) -> int:
        """A whole number within bounds."""
        if type(value) is not int or not low <= value <= high:
            raise self.refuse(where, f"a whole number from {low} to {high}", value)
        return value

    def number(self, value: Json, where: str) -> float | str:
        """A float; infinities and NaN may be words."""
        if type(value) in (int, float):
            try:
                return float(value)
            except OverflowError:
                pass
        if value in SPECIAL and isinstance(value, str):
            return value
        raise self.refuse(where, "a number", value)

    def text(self, value: Json, where: str) -> str:
        """Text of bounded length."""
        if not isinstance(value, str) or len(value) > LONGEST:
            raise self.refuse(where, "text", value)
        return value

    def word(self, value: Json, where: str) -> str:
        """Text that torch pastes between quotes of the code that it writes."""
        if not isinstance(value, str) or not WORD.fullmatch(value):
            raise self.refuse(where, "a plain word", value)
        return value

    def name(self, value: Json, where: str) -> str:
        """A name that torch.fx writes into code as it is."""
        good = isinstance(value, str) and NAME.fullmatch(value)
        if not good or keyword.iskeyword(value) or value in RESERVED:
            raise self.refuse(where, "a name (letters, digits, underscores)", value)
        return cast(str, value)

    def path(self, value: Json, where: str) -> str:
        """The path of a weight, names joined by dots."""
        if not isinstance(value, str) or not PATH.fullmatch(value):
            raise self.refuse(where, "the path of a weight such as block.0.weight", value)
        return value

    def named(self, value: Json, where: str) -> dict[str, Json]:
        """{"name": ...}."""
        return {"name": self.name(self.table(value, where).get("name"), where)}

    def dtype(self, value: Json, where: str) -> int:
        """The number of a scalar type."""
        if type(value) is not int or value not in ITEMSIZE:
            raise self.refuse(where, "the number of a dtype", value)
        return value

    def device(self, value: Json, where: str) -> dict[str, Json]:
        """Every device is the CPU here; the others are remembered."""
        kind = self.table(value, where).get("type")
        if not isinstance(kind, str) or kind not in DEVICES:
            raise self.refuse(where, f"one of the devices {', '.join(sorted(DEVICES))}", kind)
        if kind != "cpu":
            self.devices.add(kind)
        return {"type": "cpu", "index": None}

    def expression(self, value: Json, where: str, hint: str | None) -> dict[str, Json]:
        """A symbolic size with its example."""
        value = self.table(value, where)
        text = pt2_expressions.checked(value.get("expr_str"), f"{self.label}: {where}")
        if value.get("hint") is None:
            return {"expr_str": text, "hint": None}
        kind, example = self.one(value["hint"], where)
        if kind != hint:
            raise self.refuse(where, f"a hint {hint}", kind)
        if kind == "as_int":
            return {"expr_str": text, "hint": {kind: self.whole(example, where, high=LARGEST)}}
        return {
            "expr_str": text,
            "hint": {kind: self.flag(example, where) if kind == "as_bool" else self.number(example, where)},
        }

    def size(self, value: Json, where: str) -> dict[str, Json]:
        """A length, number or symbol."""
        kind, inner = self.one(value, where)
        if kind == "as_int":
            return {kind: self.whole(inner, where, 0, LARGEST)}
        if kind == "as_expr":
            return {kind: self.expression(inner, where, "as_int")}
        raise self.refuse(where, "a length", kind)

    def symbolic(self, value: Json, where: str, plain: str) -> dict[str, Json]:
        """A size, float or truth value of the graph: a number or an expression."""
        kind, inner = self.one(value, where)
        if kind == "as_expr":
            return {kind: self.expression(inner, where, plain)}
        if kind != plain:
            raise self.refuse(where, f"{plain} or as_expr", kind)
        return {kind: PLAIN[plain](self, inner, where)}

    def tensor(self, value: Json, where: str) -> dict[str, Json]:
        """What a tensor is: dtype, sizes, strides, offset, all bounded; layouts other than strided are refused."""
        value = self.table(value, where)
        sizes = [self.size(n, where) for n in self.rows(value.get("sizes"), where)]
        strides = [self.size(n, where) for n in self.rows(value.get("strides"), where)]
        dtype = self.dtype(value.get("dtype"), where)
        if len(sizes) != len(strides) or len(sizes) > MOST_AXES:
            raise self.refuse(where, f"as many strides as sizes, at most {MOST_AXES}", len(strides))
        fixed = math.prod(n.get("as_int", 1) for n in sizes) * ITEMSIZE[dtype]
        if fixed > MOST_BYTES:
            raise self.refuse(where, f"a tensor of at most {MOST_BYTES} bytes", fixed)
        if value.get("layout") != 7:
            raise self.refuse(where, "a strided tensor (layout 7)", value.get("layout"))
        return {
            "dtype": dtype,
            "sizes": sizes,
            "requires_grad": self.flag(value.get("requires_grad"), where),
            "device": self.device(value.get("device"), where),
            "strides": strides,
            "storage_offset": self.size(value.get("storage_offset"), where),
            "layout": 7,
        }

    def either(self, value: Json, where: str, plain: str) -> dict[str, Json]:
        """A value of the graph by its name, or a plain one."""
        kind, inner = self.one(value, where)
        if kind == "as_name":
            return {kind: self.name(inner, where)}
        if kind != plain:
            raise self.refuse(where, f"as_name or {plain}", kind)
        return {kind: PLAIN[plain](self, inner, where)}

    def optional(self, value: Json, where: str) -> dict[str, Json]:
        """A tensor or None."""
        kind, inner = self.one(value, where)
        if kind == "as_none":
            return {kind: True}
        if kind != "as_tensor":
            raise self.refuse(where, "a tensor or none", kind)
        return {kind: self.named(inner, where)}

    def complex(self, value: Json, where: str) -> dict[str, Json]:
        """A complex number."""
        value = self.table(value, where)
        return {part: self.number(value.get(part), where) for part in ("real", "imag")}

    def argument(self, value: Json, where: str) -> dict[str, Json]:
        """One argument of a call: data and names of the graph, never an object, an operator or a graph."""
        kind, inner = self.one(value, where)
        read = ARGUMENTS.get(kind)
        if read is None:
            raise self.refuse(where, "tensors, numbers, text or sizes", kind)
        return {kind: read(self, inner, where)}


Read = Callable[[Values, Json, str], Any]


def _several(read: Read) -> Read:
    return lambda values, value, where: [read(values, entry, where) for entry in values.rows(value, where)]


def _sym(plain: str) -> Read:
    return lambda values, value, where: values.either(value, where, plain)


PLAIN: dict[str, Read] = {
    "as_int": lambda values, value, where: values.whole(value, where),
    "as_float": lambda values, value, where: values.number(value, where),
    "as_bool": lambda values, value, where: values.flag(value, where),
}
ARGUMENTS: dict[str, Read] = {
    **PLAIN,
    "as_none": lambda values, value, where: True,
    "as_tensor": Values.named,
    "as_tensors": _several(Values.named),
    "as_nested_tensors": _several(_several(Values.named)),
    "as_optional_tensor": Values.optional,
    "as_optional_tensors": _several(Values.optional),
    "as_ints": _several(PLAIN["as_int"]),
    "as_floats": _several(PLAIN["as_float"]),
    "as_bools": _several(PLAIN["as_bool"]),
    "as_int_lists": _several(_several(PLAIN["as_int"])),
    "as_float_lists": _several(_several(PLAIN["as_float"])),
    "as_string": Values.text,
    "as_strings": _several(Values.text),
    "as_sym_int": _sym("as_int"),
    "as_sym_ints": _several(_sym("as_int")),
    "as_sym_float": _sym("as_float"),
    "as_sym_floats": _several(_sym("as_float")),
    "as_sym_bool": _sym("as_bool"),
    "as_sym_bools": _several(_sym("as_bool")),
    "as_scalar_type": Values.dtype,
    "as_memory_format": lambda values, value, where: values.whole(value, where, 1, 4),
    "as_layout": lambda values, value, where: values.whole(value, where, 7, 7),
    "as_device": Values.device,
    "as_complex": Values.complex,
}
