"""What the rows of PyTorch's operations write with: any GraphBuilder, and what torch knows of the values in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from converter.errors import Item, Unsupported
from converter.graph.graph import GraphBuilder, array, ir_shape, origin
from converter.ops import base
from converter.ops.base import Dims, Op, Perm
from converter.ops.pad import Pad

Weight = Callable[[str, Any], ir.Value]
"""(state-dict name, tensor) -> the initializer that holds it."""


def to_numpy(tensor: Any) -> np.ndarray:
    """A tensor's numbers on the CPU, without a copy where they lie there."""
    import torch

    plain = tensor.detach().cpu()
    if plain.dtype == torch.bfloat16:
        import ml_dtypes

        made: np.ndarray = plain.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
        return made
    array_: np.ndarray = plain.resolve_conj().resolve_neg().numpy()
    return array_


def kind(name: str) -> ir.DataType:
    """The element type by torch's name, 'float32'; Unsupported where ONNX has none."""
    try:
        return ir.DataType.from_numpy(np.dtype(name))
    except TypeError as error:
        raise Unsupported([Item("forward", name, "there is no mapping for this dtype.")]) from error


class TorchGraph:
    """A GraphBuilder, PyTorch's or one that Keras's walk has begun, as the torch_operation functions of ops/ see it."""

    def __init__(self, builder: GraphBuilder) -> None:
        self.builder = builder
        self.lengths: dict[int, tuple[Any, ...]] = {}
        self.names: dict[str, str] = {}
        self.sources: dict[str, tuple[ir.Value, int]] = {}
        self.results: list[tuple[tuple[Any, ...], str]] = []
        self.alone: set[int] = set()

    # What every builder does -----------------------------------------------------------------------------------------

    def op(self, op: Op, *inputs: ir.Value | None, role: str = "", **facts: str) -> ir.Value:
        """Write one node of the module at hand and return its output."""
        return self.builder.op(op, *inputs, role=role, **facts)

    def several(self, op: Op, *inputs: ir.Value | None, role: str = "", **facts: str) -> tuple[ir.Value, ...]:
        """Write one node of the module at hand and return all its outputs."""
        return self.builder.several(op, *inputs, role=role, **facts)

    def constant(self, data: Any, like: ir.Value | None = None) -> ir.Value:
        """An initializer that is no weight of the source; `like` gives a float its dtype."""
        return self.builder.constant(data, like)

    def nested(self, name: str) -> GraphBuilder:
        """A builder for a graph that is to be an attribute."""
        return self.builder.nested(name)

    def shape(self, value: ir.Value) -> Dims:
        """The value's shape; None for a length known at run time only."""
        return self.builder.shape(value)

    def symbols(self, value: ir.Value) -> tuple[int | str | None, ...]:
        """The value's shape with the names of the lengths that are known at run time only."""
        return self.builder.symbols(value)

    def reshaped(self, value: ir.Value, shape: tuple[int, ...]) -> ir.Value:
        """A constant, reshaped once and for all."""
        return self.builder.reshaped(value, shape)

    def transposed(self, value: ir.Value, perm: Perm) -> ir.Value:
        """A constant, transposed once and for all."""
        return self.builder.transposed(value, perm)

    # What torch knows ------------------------------------------------------------------------------------------------

    def sizes(self, value: ir.Value) -> tuple[Any, ...]:
        """The lengths of a value: numbers, and torch's symbols for what is known at run time only."""
        return self.lengths.get(id(value)) or self.shape(value)

    def sized(self, value: ir.Value, lengths: tuple[Any, ...]) -> None:
        """Remember the lengths of a value."""
        self.lengths[id(value)] = lengths
        self._named(value, lengths)
        if value.const_value is not None:
            return
        for axis, length in enumerate(lengths):
            known = self.sources.get(str(length))
            if not isinstance(length, int) and (known is None or len(lengths) <= max(3, len(self.shape(known[0])))):
                self.sources[str(length)] = (value, axis)

    def _named(self, value: ir.Value, lengths: tuple[Any, ...]) -> None:
        """Give the axes of a value the names of their lengths, which are those of the inputs."""
        if value.shape is None or len(value.shape) != len(lengths):
            return
        names = list(self.symbols(value))
        for axis, length in enumerate(lengths):
            if isinstance(length, int):
                continue
            name = names[axis]
            if isinstance(name, str):
                self.names.setdefault(str(length), name)
            elif name is None:
                names[axis] = self.names.get(str(length))
        value.shape = ir_shape(names)

    def source(self, length: Any) -> tuple[ir.Value, int] | None:
        """A computed value with an axis of this length, which is a symbol of torch: the last one of few axes."""
        return self.sources.get(str(length))

    def made(self, index: int = 0) -> tuple[Any, ...]:
        """The lengths of what the operation at hand gives, of its result `index` where it gives several."""
        return self.results[index][0] if index < len(self.results) else ()

    def made_dtype(self, index: int = 0) -> ir.DataType:
        """The element type of what the operation at hand gives."""
        return kind(self.results[index][1])

    def frozen(self, value: ir.Value, number: float) -> bool:
        """Whether a value is a weight that is not trained and holds nothing but this number."""
        known, data = origin(value), array(value)
        return known is not None and not known.trainable and data is not None and bool((data == number).all())

    def statistics_kept(self) -> bool:
        """Whether the module at hand is a batch normalisation that keeps its statistics while the model trains."""
        return not self.builder.place.trainable

    def pads(self, x: ir.Value) -> tuple[ir.Value, tuple[tuple[int, int], ...], float] | None:
        """What lies before a padding of the spatial axes that nothing else reads, the padded elements, their value."""
        node = x.producer()
        if node is None or node.op_type != "Pad" or id(x) not in self.alone or node.inputs[0] is None:
            return None
        op = base.of(node)
        if not isinstance(op, Pad) or (pairs := op.spatial_pairs()) is None:
            return None
        return node.inputs[0], pairs, float(op.constant_value or 0.0)

    def note(self, text: str) -> None:
        """Something the user should know about the module at hand."""
        self.builder.notes.append((self.builder.place.path or "the model", text))
