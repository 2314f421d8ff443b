"""An op as a newcomer would add it: two outputs, a mask, a loop over time. tests/test_skeleton_rows.py loads it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from converter.ops.base import Builder, Capture, Function, Op, Type, View, keras_layer, keras_mask, there
from converter.ops.cast import Where
from converter.ops.elementwise import Add, Mul
from converter.ops.embedding import Gather
from converter.ops.linear import MatMul
from converter.ops.records import Layer, Module, Record
from converter.ops.shape import Transpose, Unsqueeze
from converter.ops.torch_modules import Made, TorchLeaf, torch_module


class Scan(Op):
    """A graph that runs once for each step along the first axis of its last inputs."""

    body_: ir.Graph
    num_scan_inputs: int

    def count(self) -> int:
        return len(self.body_.outputs)


def made(module: Any, x: Any, mask: Any = None) -> Any:
    """What the module gives, as torch has it."""
    batch, length, units = x.shape[0], x.shape[1], module.weight.shape[1]
    return Made((batch, length, units), x.dtype), Made((batch, units), x.dtype)


class Smooth(Function):
    """h = decay * h + x[:, t] @ weight at every step that counts, else h as it was: all h, and the last one.

    Inputs are x (batch, length, features), weight (features, units), decay (units,), and a mask (batch, length).
    """

    def outputs(self, *types: Type | None) -> tuple[Type, ...]:
        x, weight = there(types)[:2]
        units = weight.shape[1]
        return Type((*x.shape[:2], units), x.dtype), Type((x.shape[0], units), x.dtype)

    def torch(self, n: View) -> Record:
        weights = {"weight": n.value(1), "decay": n.value(2)}
        return Module("Smooth", n.shape(1), weights=weights, inputs=(n.x(), n.x(3)) if n.has(3) else (n.x(),))

    def keras(self, n: View) -> Record:
        weights = {"kernel": (n.value(1), None), "decay": (n.value(2), None)}
        return Layer(
            "Smooth", {"units": n.shape(1)[1]}, weights, inputs=(n.x(),), call={"mask": n.x(3)} if n.has(3) else {}
        )

    def body(self, g: Builder, *inputs: Any) -> tuple[ir.Value, ...]:
        x, weight, decay, mask = (*inputs, None)[:4]
        over = [g.op(Transpose(perm=(1, 0, 2)), g.op(MatMul(), x, weight))]
        first = g.op(Gather(axis=0), over[0], g.constant(np.int64(0)))
        zeros = g.op(Where(), g.constant(True), g.constant(0.0, like=x), first)
        step = g.nested("step")
        h, drive = (step.input(name, g.symbols(zeros), x.dtype) for name in ("h", "drive"))
        after = step.op(Add(), step.op(Mul(), h, decay), drive)
        if mask is not None:
            over.append(g.op(Unsqueeze(axes=(2,)), g.op(Transpose(perm=(1, 0)), mask)))
            after = step.op(Where(), step.input("counts", (g.symbols(zeros)[0], 1), ir.DataType.BOOL), after, h)
        step.graph.outputs.extend([after, after])
        last, steps = g.several(Scan(body_=step.graph, num_scan_inputs=len(over)), zeros, *over)
        return g.op(Transpose(perm=(1, 0, 2)), steps), last

    @keras_layer("kconvert>Smooth")
    @staticmethod
    def smooth(g: Capture, layer: Any, x: ir.Value, *, mask: ir.Value | None = None) -> Any:
        return g.op(Smooth(), x, g.variable(layer.kernel), g.variable(layer.decay), mask)

    @keras_mask("kconvert>Smooth")
    @staticmethod
    def of_steps(g: Capture, layer: Any, inputs: Any, masks: Any) -> Any:
        return masks[0], None

    @torch_module("kconvert>Smooth", "tests.skeleton_torch_parts.Bare", outputs=made)
    @staticmethod
    def whole(g: Any, leaf: TorchLeaf, x: ir.Value, mask: ir.Value | None = None) -> Any:
        return g.op(Smooth(), x, leaf.weights["weight"], leaf.weights["decay"], mask)
