"""Pixel shuffle and its kin: elements move between channels and places."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from converter.ops.base import Builder, Function, Op, Refusal, TorchCapture, Type, View, there, torch_operation
from converter.ops.padding import batched
from converter.ops.records import Call, Module, Record
from converter.ops.shape import Reshape, Transpose


class DepthToSpace(Op):
    """(N, C * r * r, h, w) -> (N, C, h * r, w * r); CRD has a channel's r * r elements beside each other."""

    blocksize: int
    mode: str = "DCR"

    spatial = True

    def torch(self, n: View) -> Record:
        if self.mode != "CRD":
            raise LookupError("PyTorch's pixel shuffle has the channels in front")
        if n.own:
            return Module("nn.PixelShuffle", (self.blocksize,), inputs=(n.x(),))
        return Call("F.pixel_shuffle", (n.x(), self.blocksize))

    def keras(self, n: View) -> Record:
        height, width, channels = known(n)
        r = self.blocksize
        kept = channels // (r * r)
        split, order = ((kept, r, r), (0, 1, 4, 2, 5, 3)) if self.mode == "CRD" else ((r, r, kept), (0, 1, 3, 2, 4, 5))
        return moved_blocks(n, (height, width, *split), order, (height * r, width * r, kept))

    @torch_operation("pixel_shuffle.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, factor: int) -> ir.Value:
        batched(g.shape(x), 2)
        return g.op(DepthToSpace(blocksize=factor, mode="CRD"), x)


class PixelUnshuffle(Function):
    """(N, C, h * r, w * r) -> (N, C * r * r, h, w), the r * r elements of a channel beside each other."""

    factor: int

    spatial = True

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        ((n, c, *rest), kind) = there(types)[0]
        wide = c * self.factor**2 if isinstance(c, int) else None
        return (Type((n, wide, *(d // self.factor if isinstance(d, int) else None for d in rest)), kind),)

    def torch(self, n: View) -> Record:
        if n.own:
            return Module("nn.PixelUnshuffle", (self.factor,), inputs=(n.x(),))
        return Call("F.pixel_unshuffle", (n.x(), self.factor))

    def keras(self, n: View) -> Record:
        height, width, channels = known(n)
        r = self.factor
        split = (height // r, r, width // r, r, channels)
        return moved_blocks(n, split, (0, 1, 3, 5, 2, 4), (height // r, width // r, channels * r * r))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        (x,) = inputs
        _, c, h, w = (d or 0 for d in g.shape(x))
        r = self.factor
        split = g.op(Reshape(target=(0, c, h // r, r, w // r, r)), x)
        turned = g.op(Transpose(perm=(0, 1, 3, 5, 2, 4)), split)
        return g.op(Reshape(target=(0, c * r * r, h // r, w // r)), turned)

    @torch_operation("pixel_unshuffle.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, factor: int) -> ir.Value:
        batched(g.shape(x), 2)
        if None in g.shape(x)[1:]:
            raise Refusal("its image has a size that is known at run time only.", "Export it with fixed sizes.")
        return g.op(PixelUnshuffle(factor=factor), x)


class ChannelShuffle(Function):
    """(N, C, ...) with its channels in another order: the first of every group, the second of every group, ..."""

    groups: int

    spatial = True

    def torch(self, n: View) -> Record:
        if n.own:
            return Module("nn.ChannelShuffle", (self.groups,), inputs=(n.x(),))
        return Call("F.channel_shuffle", (n.x(), self.groups))

    def keras(self, n: View) -> Record:
        *sizes, channels = known(n)
        rank = len(sizes) + 1
        order = (*range(rank), rank + 1, rank)
        return moved_blocks(n, (*sizes, self.groups, channels // self.groups), order, (*sizes, channels))

    def body(self, g: Builder, *inputs: ir.Value) -> ir.Value:
        (x,) = inputs
        _, c, *sizes = (d or 0 for d in g.shape(x))
        turned = Transpose(perm=(0, 2, 1, *range(3, len(sizes) + 3)))
        split = g.op(Reshape(target=(0, self.groups, c // self.groups, *sizes)), x)
        return g.op(Reshape(target=(0, c, *sizes)), g.op(turned, split))

    @torch_operation("channel_shuffle.default", "native_channel_shuffle.default")
    @staticmethod
    def aten(g: TorchCapture, x: ir.Value, groups: int) -> ir.Value:
        if len(g.shape(x)) < 3 or None in g.shape(x)[1:]:
            raise Refusal("its input has a size that is known at run time only.", "Export it with fixed sizes.")
        return g.op(ChannelShuffle(groups=groups), x)


def known(n: View) -> tuple[int, ...]:
    """The lengths behind the batch, channels last."""
    lengths = n.shape()[1:]
    if None in lengths:
        raise LookupError("it moves elements of an image whose size is known at run time only")
    return tuple(d or 0 for d in lengths)


def moved_blocks(n: View, split: Sequence[int], order: Sequence[int], merged: Sequence[int]) -> Record:
    """x cut into blocks, their axes in another order, and merged again."""
    cut = Call("ops.reshape", (n.x(), (-1, *split)))
    return Call("ops.reshape", (Call("ops.transpose", (cut, tuple(order))), (-1, *merged)))
