"""How PyTorch's programs are read: into any graph, modules by their paths, several results, memory, ops in parts."""

from __future__ import annotations

import keras
import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from torch import Tensor, nn

from converter.capture import torch_walk
from converter.capture.from_keras import KerasGraph, capture_layer
from converter.graph.graph import Place, place_of
from converter.graph.onnx_model import proto

L = keras.layers


class Small(nn.Module):
    """Two modules and a function."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.relu(self.conv(x)).mean((2, 3))
        return self.fc(pooled)


def test_a_program_is_written_into_a_graph_that_keras_began() -> None:
    dense = L.Dense(3)
    dense.build((None, 3, 8, 5))
    program = torch.export.export(Small().eval(), (torch.zeros(4, 3, 8, 3),), strict=False)
    g = KerasGraph("model", False, capture_layer)
    x = g.input("x", ["N", 3, 8, 5], ir.DataType.FLOAT)
    with g.at(Place("dense", "Dense")):
        y = capture_layer(g, dense, (x,), {})
    made = torch_walk.write(g, program, [y], Place("custom", "Custom"))
    assert [v.dtype for v in made] == [ir.DataType.FLOAT]
    g.graph.outputs.extend(made)
    given = np.random.default_rng(0).normal(size=(4, 3, 8, 5)).astype(np.float32)
    session = onnxruntime.InferenceSession(proto(g).SerializeToString(), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"x": given})
    want = program.module()(torch.from_numpy(keras.ops.convert_to_numpy(dense(given))))
    np.testing.assert_allclose(got, want.detach().numpy(), rtol=1e-5, atol=1e-6)
    assert {place_of(node).path for node in g.graph} == {"dense", "custom", "custom/conv", "custom/fc"}
    assert set(g.sources) >= {"dense/kernel", "custom/conv.weight", "custom/fc.bias"}
