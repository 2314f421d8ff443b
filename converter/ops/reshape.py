"""Reshapes to several lengths that are known at run time only: around axes of length 1, or read off other tensors."""

from __future__ import annotations

from typing import Any, ClassVar

import onnx_ir as ir

from converter.ops.base import Builder, Function, Refusal, TorchCapture, Type, View
from converter.ops.indexing import Squeeze
from converter.ops.records import Method, Record, Size
from converter.ops.shape import Reshape, Unsqueeze, alike, fixed
from converter.ops.sizes import shaped


class ReshapeLike(Function):
    """The same elements in axes of these lengths: a number, -1 for what is left, or 0 for the length of axis `at` of
    input `of`, which may be the first."""

    lengths: tuple[int, ...]
    of: tuple[int, ...]
    at: tuple[int, ...]

    nonnegative: ClassVar[str] = "kept"
    keeps_ids: ClassVar[bool] = True

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        (x, *_) = types
        if x is None:
            raise ValueError("it reshapes its first input")
        made: list[Any] = []
        for length, of, at in zip(self.lengths, self.of, self.at, strict=True):
            like = types[of]
            made.append(length if length > 0 else None if length < 0 or like is None else like.shape[at])
        return (Type(tuple(made), x.dtype),)

    def body(self, g: Builder, *inputs: Any) -> ir.Value:
        lengths = [length or (inputs[of], at) for length, of, at in zip(self.lengths, self.of, self.at, strict=True)]
        return shaped(g, inputs[0], lengths)

    def torch(self, n: View) -> Record:
        lengths = [length or Size(n.x(of), at) for length, of, at in zip(self.lengths, self.of, self.at, strict=True)]
        return Method(n.x(), "reshape", tuple(lengths))

    def opened(self, g: Builder, *inputs: Any) -> Any:
        raise LookupError(KEPT)

    def keras(self, n: View) -> Record:
        raise LookupError(KEPT)


KEPT = (
    "it keeps several lengths that are known at run time only, and a Keras graph reads none. Give all but one of them "
    "a number instead of a name in --input (example_inputs, dynamic)"
)


def reshaped(g: TorchCapture, x: ir.Value, before: tuple[Any, ...], after: tuple[Any, ...]) -> ir.Value:
    """`x` with these lengths, several of which are torch's symbols: axes of length 1 go first and come last."""
    gone = tuple(i for i, d in enumerate(before) if d == 1)
    fresh = tuple(i for i, d in enumerate(after) if d == 1)
    core, wanted = tuple(d for d in before if d != 1), tuple(d for d in after if d != 1)
    target = fixed(core, wanted)
    if target is None:
        return _read_off(g, x, before, after)
    x = g.op(Squeeze(axes=gone), x) if gone else x
    if not all(alike(a, b) for a, b in zip(core, wanted, strict=False)) or len(core) != len(wanted):
        x = g.op(Reshape(target=target), x)
    return g.op(Unsqueeze(axes=fresh), x) if fresh else x


def _read_off(g: TorchCapture, x: ir.Value, before: tuple[Any, ...], after: tuple[Any, ...]) -> ir.Value:
    inputs: list[ir.Value] = [x]
    lengths, of, at = [], [], []
    for length in after:
        number, like, axis = length, x, 0
        if not isinstance(length, int):
            own = [i for i, d in enumerate(before) if alike(d, length)]
            found = (x, own[0]) if own else g.source(length)
            number = -1 if found is None else 0
            like, axis = found or (x, 0)
        if not any(each is like for each in inputs):
            inputs.append(like)
        lengths.append(number)
        of.append(next(i for i, each in enumerate(inputs) if each is like))
        at.append(axis)
    if lengths.count(-1) > 1:
        symbols = ", ".join(str(d) for d in after if not isinstance(d, int))
        raise Refusal(
            f"it makes axes of several lengths that are known at run time only ({symbols}).",
            "Give all but one of them a number instead of a name in --input (example_inputs, dynamic).",
        )
    return g.op(ReshapeLike(lengths=tuple(lengths), of=tuple(of), at=tuple(at)), *inputs)
