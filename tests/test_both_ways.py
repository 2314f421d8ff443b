"""Functions as a person writes them, there and back: equal answers in float64, weights bit by bit."""

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
from converter.errors import BadInput
from tests.test_way_back import seeded

FLOAT64 = 1e-10
SEQUENCE, ROW = (2, 5, 4), (2, 4)


class Fn(nn.Module):
    """A function of its inputs, with layers and a parameter at hand."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.fc = nn.Linear(4, 4)
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.g = nn.Parameter(torch.zeros(4))

    def forward(self, *xs: Tensor) -> Any:
        return self.function(self, *xs)


class Tied(nn.Module):
    """A table whose rows are the classes, too."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(torch.tanh(self.table(ids)))


def in_a_loop(m: Fn, x: Tensor) -> Tensor:
    for block in m.blocks:
        x = x + torch.relu(block(x))
    return x


Row = tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]
TORCH: dict[str, Row] = {
    "scaled_and_shifted": (lambda m, x: m.fc(x) * 2 + 1, (ROW,)),
    "shifted_scale": (lambda m, x: x * (1 + m.g), (ROW,)),
    "over": (lambda m, a, b: m.fc(a) / b, (ROW, ROW)),
    "slice": (lambda m, x: m.fc(x)[:, 1:4], (SEQUENCE,)),
    "slice_with_steps": (lambda m, x: m.fc(x)[:, 1::2, ::3], (SEQUENCE,)),
    "slice_from_the_end": (lambda m, x: m.fc(x)[:, -3:-1, -1:], (SEQUENCE,)),
    "aligned": (lambda m, a, b: m.fc(a) + b, ((10, 5, 4), (10, 1, 4))),
    "aligned_in_the_middle": (lambda m, a, b: m.fc(a) + b, ((5, 10, 4), (5, 1, 4))),
    "aligned_from_behind": (lambda m, a, b: a * m.fc(b), ((3, 3, 4), (3, 4))),
    "flattened": (lambda m, x: m.fc(x).view(x.shape[0], -1), (SEQUENCE,)),
    "unflattened": (lambda m, x: m.fc(x).view(x.shape[0], x.shape[1], 2, 2), (SEQUENCE,)),
    "chunk": (lambda m, x: torch.cat(m.fc(x).chunk(2, -1)[::-1], -1), (SEQUENCE,)),
    "split": (lambda m, x: [part * 2 for part in m.fc(x).split([1, 3], -1)], (SEQUENCE,)),
    "split_unevenly": (lambda m, x: torch.cat(m.fc(x).split(3, -1)[::-1], -1), (SEQUENCE,)),
    "unbind": (lambda m, x: sum(m.fc(x).unbind(1)), (SEQUENCE,)),
    "getitem": (lambda m, x: m.fc(x)[:, 2], (SEQUENCE,)),
    "getitem_with_a_new_axis": (lambda m, x: m.fc(x)[:, None, -1], (SEQUENCE,)),
    "expand": (lambda m, x: m.fc(x)[:, None].expand(-1, 3, -1) + x[:, None], (ROW,)),
    "expanded_parameter": (lambda m, x: torch.cat([m.g.expand(x.shape[0], 1, -1), m.fc(x)], 1), (SEQUENCE,)),
    "where": (lambda m, x: torch.where(x > 0, m.fc(x), -x), (SEQUENCE,)),
    "where_number": (lambda m, x: torch.where(x > 0, m.fc(x), 0.5), (SEQUENCE,)),
    "in_a_loop": (in_a_loop, (SEQUENCE,)),
    "twice": (lambda m, x: m.fc(torch.tanh(m.fc(x))), (SEQUENCE,)),
    "tied_function": (lambda m, x: F.linear(torch.tanh(m.fc(x)), m.fc.weight), (ROW,)),
}

KERAS: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "scaled_and_shifted": (lambda k, fc, x: fc(x) * 2 + 1, ((4,),)),
    "over": (lambda k, fc, a, b: fc(a) / b, ((4,), (4,))),
    "slice_with_steps": (lambda k, fc, x: fc(x)[:, 1::2, ::3], ((5, 4),)),
    "aligned": (lambda k, fc, a, b: fc(a) + b, ((10, 4), (1, 4))),
    "flattened": (lambda k, fc, x: k.ops.reshape(fc(x), (-1, 20)), ((5, 4),)),
    "chunk": (lambda k, fc, x: k.ops.concatenate(k.ops.split(fc(x), 2, axis=-1)[::-1], axis=-1), ((5, 4),)),
    "split": (lambda k, fc, x: [part * 2 for part in k.ops.split(fc(x), [1], axis=-1)], ((5, 4),)),
    "unbind": (lambda k, fc, x: sum(k.ops.unstack(fc(x), axis=1)), ((5, 4),)),
    "getitem": (lambda k, fc, x: fc(x)[:, 2], ((5, 4),)),
    "expand": (lambda k, fc, x: k.ops.repeat(k.ops.expand_dims(fc(x), 1), 3, axis=1), ((4,),)),
    "where": (lambda k, fc, x: k.ops.where(x > 0, fc(x), -x), ((5, 4),)),
    "twice": (lambda k, fc, x: fc(k.ops.tanh(fc(x))), ((5, 4),)),
}


def proven(made: converter.Conversion) -> converter.Conversion:
    """Equal in float64, as the judge has it."""
    assert made.report.passed, str(made.report)
    assert made.report.proof, str(made.report)
    return made


def numbers(tensors: Any) -> list[bytes]:
    """The numbers of the weights in one order, whatever they are called and however they lie."""
    arrays = [np.asarray(keras.ops.convert_to_numpy(tensor)) for tensor in tensors]
    return sorted(np.sort(array, axis=None).tobytes() for array in arrays if array.size > 1)


def there_and_back(model: nn.Module, *examples: Tensor) -> tuple[Any, nn.Module]:
    """The Keras model and what it is in PyTorch again; both are proven, and the second answers as the source does."""
    there = proven(converter.convert(model, "keras", example_inputs=examples))
    again = proven(converter.convert(there.model, "torch"))
    used = set(numbers(model.parameters()))
    assert set(numbers(there.model.weights)) <= used
    assert set(numbers(again.model.parameters())) <= used
    source, target = model.double().eval(), again.model.double().eval()
    doubles = [x.double() if x.is_floating_point() else x for x in examples]
    with torch.no_grad():
        wants, gots = (
            made if isinstance(made, (list, tuple)) else [made] for made in (source(*doubles), target(*doubles))
        )
    for want, got in zip(wants, gots, strict=True):
        torch.testing.assert_close(got, want, rtol=FLOAT64, atol=FLOAT64)
    return there, again


@pytest.mark.parametrize("name", TORCH)
def test_from_torch(name: str) -> None:
    function, shapes = TORCH[name]
    generator = torch.Generator().manual_seed(3)
    there_and_back(seeded(Fn(function)).eval(), *[torch.randn(shape, generator=generator) for shape in shapes])


@pytest.mark.parametrize("name", KERAS)
def test_from_keras(name: str) -> None:
    function, shapes = KERAS[name]
    inputs = [keras.Input(shape) for shape in shapes]
    made = function(keras, keras.layers.Dense(4, name="fc"), *inputs)
    model = keras.Model(inputs if len(inputs) > 1 else inputs[0], made)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape))
    there = proven(converter.convert(model, "torch"))
    examples = tuple(torch.randn(2, *shape) for shape in shapes)
    again = proven(converter.convert(there.model, "keras", example_inputs=examples))
    assert numbers(model.weights) == numbers(there.model.parameters()) == numbers(again.model.weights)
    data = [x.numpy() for x in examples]
    wants, gots = (keras.tree.flatten(made(data if len(data) > 1 else data[0])) for made in (model, again.model))
    for want, got in zip(wants, gots, strict=True):
        np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=2e-5, atol=1e-5)


def test_parts_of_a_file(tmp_path: Path) -> None:
    """Several results of one operation, as a configuration has them."""
    x = keras.Input((5, 4))
    fc = keras.layers.Dense(4, name="fc")
    keras.Model(x, [*keras.ops.split(fc(x), 2, axis=-1), *keras.ops.unstack(x, axis=1)[:2]]).save(tmp_path / "m.keras")
    proven(converter.convert(tmp_path / "m.keras", "torch"))


def test_shapes_that_do_not_align_are_refused_by_torch() -> None:
    with pytest.raises(BadInput, match="broadcast"):
        converter.convert(
            Fn(lambda m, a, b: a + b), "keras", example_inputs=(torch.ones(5, 10, 5), torch.ones(10, 1, 5))
        )


def test_tied_weights_stay_tied() -> None:
    ids = torch.randint(0, 7, (2, 5))
    there, again = there_and_back(seeded(Tied()).eval(), ids)
    assert len(there.model.trainable_weights) == 1
    assert len(list(again.model.parameters())) == 1


def test_a_module_called_twice_is_one_layer() -> None:
    model = Fn(TORCH["twice"][0])
    del model.blocks, model.g
    there, again = there_and_back(seeded(model).eval(), torch.randn(SEQUENCE))
    assert [layer.name for layer in there.model.layers if layer.weights] == ["fc"]
    assert len(list(again.model.parameters())) == 2
