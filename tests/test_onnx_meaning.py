"""An op means ONNX: whatever a node says is honoured or refused by both targets, never ignored.

Each row is a node as ONNX has it, written by hand; onnxruntime says what it means.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch

from converter.errors import Unsupported
from converter.graph import channels_last, flatten, layout, padding
from converter.graph.duplicate import duplicate
from converter.graph.graph import GraphBuilder, ir_shape
from converter.graph.onnx_model import proto
from converter.ops import schema
from converter.write import keras_load, to_keras, to_torch, torch_load

RNG = np.random.default_rng(0)


def drawn(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def whole(*numbers: int) -> np.ndarray:
    return np.asarray(numbers, np.int64)


@dataclass
class Row:
    """A node; `given` are computed inputs by place, `held` constant ones. A target that refuses says this of it."""

    op: str
    given: dict[int, np.ndarray]
    held: dict[int, np.ndarray] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    torch: str = ""
    keras: str = ""
    outputs: int = 1

    @property
    def id(self) -> str:
        said = "-".join(f"{k}={v}" for k, v in self.attributes.items())
        shapes = "-".join("x".join(map(str, a.shape)) for a in (*self.given.values(), *self.held.values()))
        return f"{self.op}-{said}-{shapes}".replace(" ", "")

    def graph(self) -> GraphBuilder:
        """The node alone; the first axis of what is computed is the batch."""
        g = GraphBuilder()
        values: list[ir.Value | None] = [None] * (1 + max([*self.given, *self.held]))
        for place, data in self.given.items():
            kind = ir.DataType.from_numpy(data.dtype)
            values[place] = g.input(f"x{place}", ("N", *data.shape[1:]) if data.ndim else (), kind)
        for place, data in self.held.items():
            values[place] = g.constant(data)
        attributes = [schema.attribute("", self.op, k, v) for k, v in self.attributes.items()]
        known = [None if v is None else schema.given(v) for v in values]
        made = schema.infer(self.op, attributes, known, self.outputs, {})
        node = ir.Node("", self.op, values, attributes, num_outputs=self.outputs, name="node")
        for i, (out, each) in enumerate(zip(node.outputs, made, strict=True)):
            out.name, out.shape, out.type = f"y{i}", ir_shape(each.shape), ir.TensorType(ir.DataType(each.dtype))
        g.graph.append(node)
        g.graph.outputs.append(node.outputs[0])
        return g


X, IMAGE = drawn(2, 3, 8), drawn(2, 3, 9, 8)
KERNEL, ODD = drawn(4, 3, 3, 3), drawn(4, 3, 2, 4)
UP = drawn(3, 4, 3, 3)
M = drawn(2, 5)
NONE = "no mapping"

ROWS = [
    Row("Conv", {0: IMAGE}, {1: KERNEL}),
    Row("Conv", {0: IMAGE}, {1: KERNEL}, {"auto_pad": "VALID", "strides": [2, 1]}),
    Row("Conv", {0: IMAGE}, {1: ODD, 2: drawn(4)}, {"auto_pad": "SAME_UPPER"}),
    Row("Conv", {0: IMAGE}, {1: ODD}, {"auto_pad": "SAME_LOWER"}),
    Row("Conv", {0: IMAGE}, {1: KERNEL}, {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    Row("ConvTranspose", {0: IMAGE}, {1: UP}),
    Row("ConvTranspose", {0: IMAGE}, {1: UP}, {"auto_pad": "VALID", "strides": [2, 2]}),
    Row("ConvTranspose", {0: IMAGE}, {1: UP}, {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    Row("ConvTranspose", {0: IMAGE}, {1: UP}, {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    Row(
        "ConvTranspose",
        {0: IMAGE},
        {1: UP},
        {"output_shape": [18, 17], "strides": [2, 2]},
    ),
    Row("ConvTranspose", {0: drawn(2, 3, 9)}, {1: UP[..., 0]}, {"output_shape": [18], "strides": [2]}),
    Row(
        "ConvTranspose",
        {0: drawn(2, 3, 9)},
        {1: drawn(3, 4, 3)},
        {"output_shape": [20], "strides": [2]},
        torch="longer",
        keras="longer",
    ),
    Row("MaxPool", {0: IMAGE}, {}, {"kernel_shape": [2, 2]}),
    Row("MaxPool", {0: IMAGE}, {}, {"kernel_shape": [2, 3], "strides": [2, 2], "auto_pad": "VALID"}),
    Row("MaxPool", {0: IMAGE}, {}, {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    Row(
        "MaxPool",
        {0: IMAGE},
        {},
        {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
    ),
    Row("MaxPool", {0: IMAGE}, {}, {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, keras="ceil_mode"),
    Row("MaxPool", {0: IMAGE}, {}, {"kernel_shape": [2, 2], "dilations": [2, 1]}, keras="dilation"),
    Row("MaxPool", {0: IMAGE}, {}, {"kernel_shape": [2, 2]}, outputs=2, torch="optional outputs", keras="optional"),
    Row("AveragePool", {0: IMAGE}, {}, {"kernel_shape": [2, 2]}),
    Row("AveragePool", {0: IMAGE}, {}, {"kernel_shape": [2, 3], "strides": [2, 2], "auto_pad": "VALID"}),
    Row(
        "AveragePool", {0: drawn(2, 3, 9, 7)}, {}, {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}
    ),
    Row("AveragePool", {0: IMAGE}, {}, {"kernel_shape": [3, 3], "pads": [1, 0, 1, 0]}, keras="is not 'same'"),
    Row("AveragePool", {0: IMAGE}, {}, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    Row(
        "AveragePool",
        {0: IMAGE},
        {},
        {"kernel_shape": [2, 2], "dilations": [2, 2]},
        torch="no dilation",
        keras="dilation",
    ),
    Row("AveragePool", {0: IMAGE}, {}, {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, keras="ceil_mode"),
    Row("Gemm", {0: M}, {1: drawn(3, 5), 2: drawn(3)}, {"transB": 1}),
    Row("Gemm", {0: M}, {1: drawn(3, 5), 2: drawn(3)}, {"transB": 1, "alpha": 2.0, "beta": 0.5}),
    Row("Gemm", {0: M}, {1: drawn(3, 5), 2: drawn(3)}, {"transB": 1, "beta": 0.0}),
    Row("Gemm", {0: M}, {1: drawn(5, 3)}),
    Row("Gemm", {0: M}, {1: drawn(5, 3), 2: drawn(1)}),
    Row("Gemm", {0: M, 1: drawn(2, 3)}, {}, {"transA": 1}),
    Row("Gemm", {0: M, 1: drawn(2, 5), 2: drawn(2, 2)}, {}, {"transB": 1, "alpha": -1.0}),
    Row("Gather", {0: X, 1: whole(1, 0)}, {}, {"axis": 0}),
    Row("Gather", {0: X, 1: whole(2, 0)}, {}, {"axis": 1}),
    Row("Gather", {0: X}, {1: whole(2, 0)}, {"axis": -1}),
    Row("Gather", {1: whole(2, 0)}, {0: drawn(4, 3)}),
    Row("Flatten", {0: IMAGE}),
    Row("Flatten", {0: IMAGE}, {}, {"axis": 2}),
    Row("Flatten", {0: IMAGE}, {}, {"axis": -1}),
    Row("Flatten", {0: IMAGE}, {}, {"axis": 0}),
    Row("Flatten", {0: IMAGE}, {}, {"axis": 4}),
    Row("Reshape", {0: X}, {1: whole(0, 4, -1)}),
    Row("Reshape", {0: X}, {1: whole(-1, 6)}, {"allowzero": 1}, torch=NONE, keras=NONE),
    Row("Transpose", {0: X}, {}, {"perm": [0, 2, 1]}),
    Row("Unsqueeze", {0: X}, {1: whole(-1)}),
    Row("Unsqueeze", {0: X}, {1: whole(1, -2)}),
    Row("Squeeze", {0: drawn(2, 1, 3, 1)}, {1: whole(-1)}),
    Row("Squeeze", {0: drawn(2, 1, 3, 1)}, {1: whole(1, 3)}),
    Row("Slice", {0: X}, {1: whole(1, 0), 2: whole(3, 2**62)}, {}, keras=""),
    Row("Slice", {0: X}, {1: whole(1), 2: whole(-1), 3: whole(-1), 4: whole(2)}),
    Row("Slice", {0: X}, {1: whole(-1), 2: whole(-(2**40)), 3: whole(2), 4: whole(-1)}),
    Row(
        "Slice",
        {0: X},
        {1: whole(5), 2: whole(1), 3: whole(2), 4: whole(-2)},
        torch="goes backwards",
        keras="goes backwards",
    ),
    Row("Slice", {0: X, 1: whole(1)}, {2: whole(3), 3: whole(1)}, torch="it is computed", keras="it is computed"),
    Row("Expand", {0: drawn(2, 1, 3)}, {1: whole(1, 4, 1)}),
    Row("Expand", {0: drawn(2, 1, 1)}, {1: whole(4)}, keras="it expands"),
    Row("Pad", {0: IMAGE}, {1: whole(1, 2, 0, 1), 3: whole(2, -1)}),
    Row("Pad", {0: IMAGE}, {1: whole(0, 0, 1, 2, 0, 0, 2, 1), 2: np.float32(1.5)}),
    Row("Pad", {0: IMAGE}, {1: whole(0, 0, 1, 2, 0, 0, 2, 1)}, {"mode": "reflect"}),
    Row("Pad", {0: IMAGE}, {1: whole(0, 0, 1, 2, 0, 0, 2, 1)}, {"mode": "wrap"}, keras="'wrap'"),
    Row("Pad", {0: IMAGE}, {1: whole(0, 0, -1, 2, 0, 0, 2, 1)}, keras="negative"),
    Row("Pad", {0: X}, {1: whole(1, 1, 1, 0, 0, 0)}, {"mode": "edge"}, torch="does not pad 3 of 3 axes"),
    Row("ReduceSum", {0: IMAGE}, {1: whole(-1, 1)}, {"keepdims": 0}),
    Row("ReduceMean", {0: IMAGE}),
    Row("ReduceMax", {0: IMAGE}, {}, {"noop_with_empty_axes": 1}, torch=NONE, keras=NONE),
    Row("ReduceSumSquare", {0: IMAGE}, {1: whole(1, 2)}),
    Row("Max", {0: M, 1: drawn(2, 5), 2: drawn(2, 5)}),
    Row("Min", {0: M, 1: drawn(2, 5)}, {2: drawn(5), 3: drawn(1)}),
    Row("Max", {0: M}),
    Row("Clip", {0: M}, {1: np.float32(-0.5)}),
    Row("Clip", {0: M, 1: np.float32(-0.5)}, torch="it is computed", keras="it is computed"),
    Row("Dropout", {0: M}, {1: np.float32(0.5), 2: np.asarray(True)}, torch=NONE, keras=NONE),
    Row("Selu", {0: M}, {}, {"alpha": 2.0}, torch="has no alpha", keras="does not take"),
    Row("LeakyRelu", {0: M}, {}, {"alpha": 0.3}),
    Row("Elu", {0: M}, {}, {"alpha": 0.3}),
    Row("ThresholdedRelu", {0: M}, {}, {"alpha": 0.3}),
    Row("HardSigmoid", {0: M}, {}, {"alpha": 0.3, "beta": 0.4}),
    Row("Gelu", {0: M}, {}, {"approximate": "tanh"}),
    Row("Shrink", {0: M}, {}, {"bias": 0.2, "lambd": 0.4}, torch="no shrink", keras="no shrink"),
    Row("Softmax", {0: X}, {}, {"axis": 1}),
    Row("LogSoftmax", {0: X}, {}, {"axis": 1}),
    Row("Concat", {0: X, 1: drawn(2, 3, 2)}, {}, {"axis": -1}),
    Row("Resize", {0: IMAGE}, {2: np.float32([1, 1, 2, 2])}, {"mode": "linear"}),
    Row("Resize", {0: IMAGE}, {2: np.float32([1, 1, 2, 2])}, torch="three ways", keras="three ways"),
    Row(
        "Resize",
        {0: IMAGE},
        {2: np.float32([1, 1, 2, 2])},
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
        torch="three ways",
        keras="three ways",
    ),
    Row("Resize", {0: IMAGE}, {2: np.float32([1, 1, 1.5, 2])}, {"mode": "linear"}, torch="three ways", keras="three"),
    Row("Resize", {0: IMAGE}, {3: whole(2, 3, 18, 16)}, {"mode": "linear"}, torch="three ways", keras="three ways"),
    Row(
        "BatchNormalization",
        {0: IMAGE},
        {1: drawn(3), 2: drawn(3), 3: drawn(3), 4: np.abs(drawn(3))},
        {"training_mode": 1},
        outputs=3,
        torch=NONE,
        keras=NONE,
    ),
    Row("IsInf", {0: np.float32([[1, np.inf], [-np.inf, np.nan]])}, {}, {"detect_negative": 0}, keras=""),
    Row("Mod", {0: M, 1: np.abs(M) + 1}, {}, {"fmod": 1}),
]


def expected(row: Row) -> np.ndarray:
    """What onnxruntime makes of the node."""
    model = proto(duplicate(row.graph()))
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {f"x{i}": np.asarray(a) for i, a in row.given.items()})[0]


def as_torch(row: Row) -> np.ndarray:
    g = duplicate(row.graph())
    layout.settle(g, "source")
    flatten.absorb(g)
    padding.fold(g)
    written = to_torch.write(g.graph, 0, [v.name or "" for v in g.graph.inputs], "A node.")
    model = torch_load.load(written.text, [(w.key, w.data) for w in written.weights])
    with torch.no_grad():
        return model(*[torch.from_numpy(np.array(a)) for a in row.given.values()]).numpy()


def as_keras(row: Row) -> np.ndarray:
    import keras

    g = duplicate(row.graph())
    channels_last.turn(g)
    layout.settle(g, "source", first=False)
    flatten.absorb(g)
    written = to_keras.write(g.graph, 0, "A node.", "node")
    model = keras_load.load(written.text, [(w.layer, w.name, w.data) for w in written.weights], 10)
    arrays = [np.asarray(a) for a in row.given.values()]
    return keras.ops.convert_to_numpy(model(arrays if len(arrays) > 1 else arrays[0], training=False))


@pytest.mark.parametrize("target", ["torch", "keras"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_node_is_honoured_or_refused(row: Row, target: str) -> None:
    convert, why = (as_torch, row.torch) if target == "torch" else (as_keras, row.keras)
    if why:
        with pytest.raises((Unsupported, LookupError), match=why):
            convert(row)
        return
    want, have = expected(row), convert(row)
    assert have.shape == want.shape
    assert have.dtype == want.dtype
    if want.dtype.kind == "f":
        np.testing.assert_allclose(have, want, rtol=2e-5, atol=2e-6)
    else:
        np.testing.assert_array_equal(have, want)
