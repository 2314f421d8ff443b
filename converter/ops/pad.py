"""Padding as an op of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from converter.ops.base import Builder, Dims, Op, Perm, Refusal, TorchCapture, View, operand, torch_operation
from converter.ops.embedding import Gather
from converter.ops.indexing import END, Slice
from converter.ops.padding import pairs_of, torch_pads, zero_padding
from converter.ops.records import Call, Record


class Pad(Op):
    """The input with elements added around every axis; `pads` has those in front of each axis, then those behind."""

    mode: str = "constant"
    pads: tuple[int, ...] = operand(1)
    constant_value: float | None = operand(2, default=None)
    axes: tuple[int, ...] | None = operand(3, default=None)

    nonnegative: ClassVar[str] = "kept"

    @classmethod
    def complete(cls, found: dict[str, Any], shapes: Sequence[Dims]) -> dict[str, Any]:
        rank, axes = len(shapes[0]), found.pop("axes", None)
        if axes is not None:
            pairs = dict(zip((a % rank for a in axes), pairs_of(found["pads"]), strict=True))
            every = [pairs.get(i, (0, 0)) for i in range(rank)]
            found["pads"] = (*(a for a, _ in every), *(b for _, b in every))
        return found

    def nonnegative_when(self) -> str:
        return self.nonnegative if (self.constant_value or 0) >= 0 else ""

    def pairs(self) -> tuple[tuple[int, int], ...]:
        """(front, back) for every axis."""
        return pairs_of(self.pads)

    def spatial_pairs(self) -> tuple[tuple[int, int], ...] | None:
        """(front, back) for the axes behind the channels, padded with one number; None for any other padding."""
        pairs = self.pairs()
        return pairs[2:] if self.mode == "constant" and pairs[:2] == ((0, 0), (0, 0)) else None

    def permuted(self, perm: Perm, shape: Dims) -> tuple[Op, Perm] | None:
        pairs = [self.pairs()[p] for p in perm]
        pads = (*(a for a, _ in pairs), *(b for _, b in pairs))
        return Pad(mode=self.mode, pads=pads, constant_value=self.constant_value), perm

    def torch(self, n: View) -> Record:
        pairs = list(self.pairs())
        self.known(n)
        while len(pairs) > 1 and pairs[0] == (0, 0):
            del pairs[0]
        mode = {"edge": "replicate", "wrap": "circular"}.get(self.mode, self.mode)
        settings: dict[str, Any] = {} if mode == "constant" else {"mode": mode}
        if self.constant_value:
            settings["value"] = self.constant_value
        return Call("F.pad", (n.x(), torch_pads(pairs)), settings)

    def known(self, n: View) -> None:
        """LookupError for what torch pads by constants only: the first axes, and more than three."""
        rank = len(n.shape())
        behind = rank - next((i for i, pair in enumerate(self.pairs()) if any(pair)), rank - 1)
        if self.mode != "constant" and not (behind <= 3 and rank in (behind + 1, behind + 2)):
            raise LookupError(f"torch does not pad {behind} of {rank} axes with {self.mode!r}")
        if min(self.pads) < 0 and self.mode != "constant":
            raise LookupError(f"it takes elements away and pads with {self.mode!r}")

    def keras(self, n: View) -> Record:
        pairs = self.pairs()
        if min(self.pads) < 0:
            raise LookupError(f"Keras does not pad by a negative number, {pairs}")
        inner = {pairs[0], pairs[-1]} == {(0, 0)} and len(pairs) in (3, 4, 5)
        if self.mode != "constant" or self.constant_value or not inner:
            if self.mode == "edge" or (self.mode == "reflect" and len(pairs) > 4):
                return Call(f"pad_{self.mode}", (n.x(), pairs))  # not every backend of Keras pads so
            if self.mode not in ("constant", "reflect"):
                raise LookupError(f"Keras does not pad with {self.mode!r}")
            mode = {} if self.mode == "constant" else {"mode": self.mode}
            value = {"constant_values": self.constant_value} if self.constant_value else {}
            return Call("ops.pad", (n.x(), pairs), {**mode, **value})
        made: Record = zero_padding(n.x(), pairs[1:-1])
        return made

    def opened(self, g: Builder, *inputs: Any) -> ir.Value:
        """Elements taken by their places, an axis after the other."""
        x: ir.Value = inputs[0]
        for axis, pair in enumerate(self.pairs()):
            length = g.shape(x)[axis]
            if pair == (0, 0):
                continue
            if self.mode == "constant" or length is None:
                raise LookupError(f"Keras has no layer that pads by {self.pairs()} with {self.mode}")
            places = np.pad(np.arange(length), pair, mode=self.mode)  # type: ignore[call-overload]
            x = g.op(Gather(axis=axis), x, g.constant(places))
        return x

    @torch_operation("pad.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, pad: tuple[Any, ...], mode: str, value: float | None) -> ir.Value:
        if any(not isinstance(p, int) for p in pad):
            raise Refusal("it pads by a number that is known at run time only.", "Export it with fixed sizes.")
        rank = len(g.shape(x))
        behind = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
        pairs = [(0, 0)] * (rank - len(behind)) + behind[::-1]
        for axis, (front, back) in enumerate(pairs):
            if front < 0 or back < 0:  # padding by a negative number leaves elements out
                ends = (max(-front, 0), min(back, 0) or END)
                x = g.op(Slice(starts=ends[:1], ends=ends[1:], axes=(axis,), steps=(1,)), x)
        pairs = [(max(front, 0), max(back, 0)) for front, back in pairs]
        if not any(n for pair in pairs for n in pair):
            return x
        pads = (*(a for a, _ in pairs), *(b for _, b in pairs))
        named = {"replicate": "edge", "circular": "wrap"}.get(mode, mode)
        return g.op(Pad(mode=named, pads=pads, constant_value=float(value) if value else None), x)

    @torch_operation("constant_pad_nd.default")
    @staticmethod
    def constant(g: TorchCapture, x: ir.Value, pad: tuple[Any, ...], value: float) -> ir.Value:
        return Pad.aten(g, x, pad, "constant", value)

    @torch_operation("reflection_pad1d.default", "reflection_pad2d.default", "reflection_pad3d.default")
    @staticmethod
    def reflected(g: TorchCapture, x: ir.Value, pad: tuple[Any, ...]) -> ir.Value:
        return Pad.aten(g, x, pad, "reflect", None)

    @torch_operation("replication_pad1d.default", "replication_pad2d.default", "replication_pad3d.default")
    @staticmethod
    def replicated(g: TorchCapture, x: ir.Value, pad: tuple[Any, ...]) -> ir.Value:
        return Pad.aten(g, x, pad, "replicate", None)
