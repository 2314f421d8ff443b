"""The grammar of sizes in a .pt2: torch hands such text to sympy.sympify, which evaluates it.

What passes is parsed with Python's own parser, compared node by node with the lists below, bounded in length, depth
and in the size of the numbers that it can come to, and written out anew from the tree.
"""

from __future__ import annotations

import ast
import math
import re

from converter.errors import BadInput

LONGEST = 20_000
DEEPEST = 60
MOST_BITS = 2048
MOST_POWER = 16
MOST_TERMS = 512
"""Terms of an expression when it is multiplied out, which sympy does for remainders and common divisors."""
SYMBOL = re.compile(r"(?:s|u|zf|zuf)\d{1,6}")
"""How torch names a size: backed, unbacked, and the same of floats."""
NUMBER = re.compile(r"-?\d{1,40}(\.\d{0,40})?(e[+-]?\d{1,3})?")
WORDS = frozenset({"true", "false", "oo", "int_oo"})
FLAGS = frozenset(
    {"positive", "negative", "nonnegative", "nonpositive", "integer", "real", "finite", "nonzero", "zero"}
)
"""What sympy's Symbol is told of a size."""
FUNCTIONS = frozenset(
    {
        *(
            "Add",
            "Mul",
            "Pow",
            "Mod",
            "Max",
            "Min",
            "Abs",
            "floor",
            "ceiling",
            "And",
            "Or",
            "Not",
            "Integer",
            "Rational",
        ),
        *("Eq", "Ne", "Lt", "Le", "Gt", "Ge", "Equality", "Unequality", "LessThan", "GreaterThan"),
        *("StrictLessThan", "StrictGreaterThan", "FloorDiv", "CeilDiv", "CleanDiv", "PythonMod", "ModularIndexing"),
        *("Where", "PowByNatural", "FloatPow", "FloatTrueDiv", "IntTrueDiv", "TruncToFloat", "TruncToInt"),
        *("RoundToInt", "RoundDecimal", "CeilToInt", "FloorToInt", "ToFloat", "LShift", "RShift", "Identity"),
        "IsNonOverlappingAndDenseIndicator",
    }
)
POWERS = frozenset({"Pow", "PowByNatural", "FloatPow", "LShift", "RShift"})
PRODUCTS = frozenset(
    {
        *("Mul", "Mod", "PythonMod", "ModularIndexing"),
        *("FloorDiv", "CeilDiv", "CleanDiv", "IntTrueDiv", "FloatTrueDiv"),
    }
)
OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod)
COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)


def checked(text: object, where: str) -> str:
    """The same expression, written out anew from its tree; BadInput for whatever is no arithmetic of sizes."""
    if not isinstance(text, str) or len(text) > LONGEST:
        raise BadInput(f"{where}: expected an expression of sizes, received {text!r:.80}.")
    try:
        tree = ast.parse(text, mode="eval")
        _bits(tree.body, 0)
        _terms(tree.body)
        return ast.unparse(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError, _Refused) as error:
        raise BadInput(
            f"{where}: {text[:200]!r} is no expression of sizes ({str(error)[:200]}). "
            "Expected symbols such as s0, whole numbers and their arithmetic; nothing else is ever evaluated."
        ) from error


class _Refused(Exception):
    """What the grammar does not have."""


def _bits(node: ast.expr, depth: int) -> int:
    """An upper bound of the bits of whatever the expression can come to with its symbols kept; refuses the rest."""
    if depth > DEEPEST:
        raise _Refused(f"nested deeper than {DEEPEST}")
    found = _leaf(node)
    if found is None:
        found = _compound(node, depth + 1)
    if found > MOST_BITS:
        raise _Refused("its numbers grow too large")
    return found


def _leaf(node: ast.expr) -> int | None:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
        return int(node.value).bit_length() if isinstance(node.value, int) else 64
    if isinstance(node, ast.Name):
        if node.id not in WORDS and not SYMBOL.fullmatch(node.id):
            raise _Refused(f"the name {node.id!r}")
        return 1
    return None


def _compound(node: ast.expr, depth: int) -> int:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        return _bits(node.operand, depth)
    if isinstance(node, ast.BinOp) and isinstance(node.op, OPERATORS):
        return _bits(node.left, depth) + _bits(node.right, depth) + 1
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return _power([node.left, node.right], depth)
    if isinstance(node, ast.Compare) and all(isinstance(op, COMPARISONS) for op in node.ops):
        return max(_bits(part, depth) for part in [node.left, *node.comparators])
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _call(node.func.id, node, depth)
    raise _Refused(f"{type(node).__name__} at {ast.unparse(node)[:60]!r}")


def _call(name: str, node: ast.Call, depth: int) -> int:
    if name in ("Symbol", "Float"):
        return _quoted(name, node)
    if name not in FUNCTIONS or node.keywords:
        raise _Refused(f"the function {name!r}")
    if name in POWERS:
        return _power(node.args, depth)
    return sum(_bits(argument, depth) for argument in node.args) + len(node.args)


def _terms(node: ast.expr) -> int:
    """An upper bound of the terms of an expression that is multiplied out; refuses the rest."""
    kind = node.op if isinstance(node, ast.BinOp) else None
    name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
    parts = [part for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr)]
    if name in ("Symbol", "Float"):
        return 1
    counts = [_terms(part) for part in (parts[1:] if name else parts)]
    if isinstance(kind, ast.Pow) or name in POWERS:
        exponent = _number(parts[-1])
        found = int(counts[0] ** (MOST_POWER if exponent is None else max(1, math.ceil(abs(exponent)))))
    elif isinstance(kind, ast.Mult | ast.Div | ast.FloorDiv | ast.Mod) or name in PRODUCTS:
        found = math.prod(counts)
    else:
        found = sum(counts) or 1
    if found > MOST_TERMS:
        raise _Refused(f"more than {MOST_TERMS} terms")
    return found


def _quoted(name: str, node: ast.Call) -> int:
    """Symbol('s0', integer=True) and Float('0.5', precision=53), the only places for text."""
    text = node.args[0].value if len(node.args) == 1 and isinstance(node.args[0], ast.Constant) else None
    pattern = SYMBOL if name == "Symbol" else NUMBER
    if not isinstance(text, str) or not pattern.fullmatch(text):
        raise _Refused(f"{name} of {text!r:.60}")
    for keyword in node.keywords:
        value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
        known = keyword.arg in FLAGS and isinstance(value, bool)
        precise = name == "Float" and keyword.arg in ("precision", "dps") and type(value) is int and 0 < value <= 256
        if not known and not precise:
            raise _Refused(f"{name} with {keyword.arg}")
    return 1 if name == "Symbol" else 256


def _power(arguments: list[ast.expr], depth: int) -> int:
    """A power or shift: the exponent is a small number, or an expression that cannot come to a large one."""
    if len(arguments) != 2:
        raise _Refused("a power without base and exponent")
    base, number = _bits(arguments[0], depth), _number(arguments[1])
    if number is None:
        bits = _bits(arguments[1], depth)
        if bits > 10:
            raise _Refused("an exponent that can grow")
        return int((base + 1) << bits)
    if abs(number) > MOST_POWER:
        raise _Refused(f"the exponent {number}")
    return (base + 1) * (int(abs(number)) + 1)


def _number(node: ast.expr) -> float | None:
    """The value of a plain number, or of Integer(2) and Rational(1, 2); None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        return float(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _number(node.operand)
        return None if inner is None else -inner
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Integer", "Rational"):
        values = [_number(argument) for argument in node.args]
        if values and values[0] is not None and len(values) <= 2:
            return abs(values[0]) + 1 if len(values) == 2 else values[0]
    return None
