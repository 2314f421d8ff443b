"""Advice, followed: for every entry of the table, what is refused gets the advice, and what it advises converts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import converter
from converter import advice
from converter.errors import Unsupported

L, K = keras.layers, keras.ops
Build = Callable[[Any], Any]
SEQUENCE, IMAGE = (4, 6), (4, 6, 3)

KERAS: dict[str, tuple[Build, Build, tuple[int, ...]]] = {
    "Hstack": (lambda x: K.hstack([x, x]), lambda x: L.Concatenate(axis=1)([x, x]), SEQUENCE),
    "Ravel": (lambda x: K.ravel(x), lambda x: L.Flatten()(x), SEQUENCE),
    "Swapaxes": (lambda x: K.swapaxes(x, 1, 2), lambda x: L.Permute((2, 1))(x), SEQUENCE),
    "Moveaxis": (lambda x: K.moveaxis(x, 1, 2), lambda x: L.Permute((2, 1))(x), SEQUENCE),
    "Dot": (lambda x: K.dot(x, np.ones((6, 2), "float32")), lambda x: L.Dot(axes=(2, 2))([x, x]), SEQUENCE),
    "Normalize": (lambda x: K.normalize(x, axis=-1), lambda x: L.UnitNormalization(axis=-1)(x), SEQUENCE),
    "Take": (lambda x: K.take(x, 1, axis=1), lambda x: x[:, 1], SEQUENCE),
    "Resize": (lambda x: K.image.resize(x, (8, 8)), lambda x: L.Resizing(8, 8)(x), IMAGE),
    "MaxPool": (lambda x: K.max_pool(x, 2), lambda x: L.MaxPooling2D(2)(x), IMAGE),
    "AveragePool": (lambda x: K.average_pool(x, 2), lambda x: L.AveragePooling2D(2)(x), IMAGE),
    "Softmax": (lambda x: K.softmax(x, 1), lambda x: L.Softmax(1)(x), SEQUENCE),
    "LogSoftmax": (lambda x: K.log_softmax(x), lambda x: L.Activation("log_softmax")(x), SEQUENCE),
    "Elu": (lambda x: K.elu(x), lambda x: L.ELU()(x), SEQUENCE),
    "LeakyRelu": (lambda x: K.leaky_relu(x), lambda x: L.LeakyReLU(negative_slope=0.2)(x), SEQUENCE),
    "Gelu": (lambda x: K.gelu(x, approximate=False), lambda x: L.Activation("gelu")(x), SEQUENCE),
    "Celu": (lambda x: K.celu(x), lambda x: L.Activation("celu")(x), SEQUENCE),
    "Glu": (lambda x: K.glu(x), lambda x: L.Activation("glu")(x), SEQUENCE),
    "HardShrink": (lambda x: K.hard_shrink(x), lambda x: L.Activation("hard_shrink")(x), SEQUENCE),
    "SoftShrink": (lambda x: K.soft_shrink(x), lambda x: L.Activation("soft_shrink")(x), SEQUENCE),
    "TanhShrink": (lambda x: K.tanh_shrink(x), lambda x: L.Activation("tanh_shrink")(x), SEQUENCE),
    "Squareplus": (lambda x: K.squareplus(x), lambda x: L.Activation("squareplus")(x), SEQUENCE),
    "SparsePlus": (lambda x: K.sparse_plus(x), lambda x: L.Activation("sparse_plus")(x), SEQUENCE),
    "SparseSigmoid": (lambda x: K.sparse_sigmoid(x), lambda x: L.Activation("sparse_sigmoid")(x), SEQUENCE),
    "Sparsemax": (lambda x: K.sparsemax(x), lambda x: L.Activation("sparsemax")(x), SEQUENCE),
    "Threshold": (lambda x: K.threshold(x, 0.5, 0.0), lambda x: L.ReLU(threshold=0.5)(x), SEQUENCE),
    "Lambda": (lambda x: L.Lambda(lambda t: t * 2.0 + 1.0)(x), lambda x: x * 2.0 + 1.0, SEQUENCE),
    "TimeDistributed": (lambda x: L.TimeDistributed(L.Dense(3))(x), lambda x: L.Dense(3)(x), SEQUENCE),
}
"""What is refused -> a model with it, and one that follows the advice and answers the same, and their input."""

UNLIKE = {"Ravel", "Dot"}
"""Advice that asks for another model: ravel mixes the batch, a weight of ops.dot is no variable."""

OF_FILES = {"Lambda"}
"""What a live model may have, and a file that nobody vouches for may not."""


def of_keras(build: Build, shape: tuple[int, ...]) -> Any:
    x = keras.Input(shape, name="x")
    return keras.Model(x, build(x))


@pytest.mark.parametrize("name", advice.KERAS)
def test_keras(tmp_path: Path, name: str) -> None:
    refused, followed, shape = KERAS[name]
    source, other = of_keras(refused, shape), of_keras(followed, shape)
    given = source
    if name in OF_FILES:
        given = tmp_path / "m.keras"
        source.save(given)
    with pytest.raises(Unsupported) as caught:
        converter.convert(given, "torch", verify=False)
    assert [item.todo for item in caught.value.items] == [advice.KERAS[name]]
    other.set_weights(source.get_weights())
    made = converter.convert(other, "torch", layout="source", verify=False).model
    value = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    with torch.no_grad():
        found = made(torch.from_numpy(value)).numpy()
    for model in [other] if name in UNLIKE else [other, source]:
        wanted = keras.ops.convert_to_numpy(model(value, training=False))
        assert found.shape == wanted.shape
        assert np.allclose(found, wanted, rtol=1e-4, atol=1e-6)


class Fn(nn.Module):
    """A function of the input, and of a layer."""

    def __init__(self, function: Callable[[nn.Linear, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.fc = nn.Linear(4, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.fc, x)


Function = Callable[[nn.Linear, Tensor], Tensor]
TORCH: dict[str, tuple[Function, Function, tuple[int, ...]]] = {
    "rrelu.default": (lambda m, x: F.rrelu(x), lambda m, x: F.leaky_relu(x, (1 / 8 + 1 / 3) / 2), (2, 4)),
}


@pytest.mark.parametrize("name", advice.TORCH)
def test_torch(name: str) -> None:
    refused, followed, shape = TORCH[name]
    source, other = Fn(refused).eval(), Fn(followed).eval()
    example = (torch.randn(shape),)
    with pytest.raises(Unsupported) as caught:
        converter.convert(source, "keras", example_inputs=example, verify=False)
    assert [(item.what, item.todo) for item in caught.value.items] == [(name, advice.TORCH[name])]
    weight = source.fc.weight.detach()
    other.fc.weight = nn.Parameter(weight.clone())
    with torch.no_grad():
        assert torch.allclose(source(*example), other(*example), atol=1e-6)
    made = converter.convert(other, "keras", example_inputs=example, layout="source", verify=False).model
    with torch.no_grad():
        wanted = other(*example).numpy()
    found = keras.ops.convert_to_numpy(made(example[0].numpy(), training=False))
    assert np.allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_random_numbers_are_refused_for_what_they_are() -> None:
    """Two frameworks draw different ones."""
    with pytest.raises(Unsupported) as caught:
        converter.convert(Fn(lambda m, x: x + torch.randn_like(x)), "keras", example_inputs=(torch.randn(2, 4),))
    assert "draws numbers at random" in caught.value.items[0].todo


@pytest.mark.parametrize("function", [lambda m, x: x.mode(1)[0], lambda m, x: torch.kthvalue(x, 2, 1)[1]])
def test_parts_of_a_refused_operation_are_no_refusals(function: Function) -> None:
    with pytest.raises(Unsupported) as caught:
        converter.convert(Fn(function), "keras", example_inputs=(torch.randn(2, 4),), verify=False)
    assert len(caught.value.items) == 1
    assert "getitem" not in str(caught.value)
