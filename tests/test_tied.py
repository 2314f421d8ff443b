"""One weight that several layers read: one layer in the target, or a reason, never two weights without a word."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import converter
from converter.capture import from_torch
from converter.errors import Unsupported
from converter.graph import channels_last, flatten, layout
from converter.write import to_keras

L = keras.layers


def source_of(model: nn.Module, example: Tensor) -> to_keras.KerasSource:
    """The Keras source with what it tells."""
    captured = from_torch.capture(model.eval(), (example,))
    channels_last.turn(captured.graph)
    layout.settle(captured.graph, "native", first=False)
    flatten.absorb(captured.graph)
    return to_keras.write(captured.graph.graph, captured.outputs, "", "model")


def tied(same_bias: bool = True, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    a, b = nn.Linear(4, 4), nn.Linear(4, 4)
    b.weight = a.weight
    if same_bias:
        b.bias = a.bias
    return nn.Sequential(a, nn.ReLU(), b).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_modules_with_every_weight_in_common_are_one_layer(dtype: torch.dtype) -> None:
    model = tied(dtype=dtype)
    x = torch.randn(3, 4, dtype=dtype)
    made = converter.convert(model, "keras", example_inputs=(x,), verify=False)
    assert made.model.count_params() == 20
    assert not source_of(model, x).untied
    got = made.model(x)
    assert got.dtype == dtype
    np.testing.assert_allclose(got.detach().numpy(), model(x).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_a_bias_of_its_own_unties_and_is_told() -> None:
    model = tied(same_bias=False)
    written = source_of(model, torch.randn(3, 4))
    ((told, more),) = written.untied
    assert "'0.weight'" in told
    assert more == 16
    assert sum(w.data.size for w in written.weights) == sum(p.numel() for p in model.parameters()) + 16


class Transposed(nn.Module):
    """Multiplies by a matrix and by its transpose."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(torch.relu(self.a(x)), self.a.weight.t())


def test_the_reason_stands_in_the_report() -> None:
    made = converter.convert(tied(same_bias=False), "keras", example_inputs=(torch.randn(3, 4),))
    assert made.report.passed, str(made.report)
    assert made.report.trainable["target"] - made.report.trainable["source"] == 16
    assert "shares '0.weight'" in made.report.trainable["why"][0]


def test_a_transposed_use_unties_and_is_told() -> None:
    assert len(source_of(Transposed(), torch.randn(3, 4)).untied) == 1


def test_other_settings_untie_and_are_told() -> None:
    a, b = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1, stride=2)
    b.weight, b.bias = a.weight, a.bias
    assert len(source_of(nn.Sequential(a, b), torch.randn(2, 3, 8, 8)).untied) == 2


def test_equal_weights_that_are_two_stay_two() -> None:
    a, b = nn.Linear(4, 4), nn.Linear(4, 4)
    b.load_state_dict(a.state_dict())
    made = converter.convert(nn.Sequential(a, b), "keras", example_inputs=(torch.randn(3, 4),), verify=False)
    assert made.model.count_params() == 40


def test_a_module_called_twice_is_one_layer_and_a_layer_called_twice_one_module() -> None:
    x = keras.Input((4,))
    dense = L.Dense(4)
    model = keras.Model(x, dense(L.ReLU()(dense(x))))
    made = converter.convert(model, "torch", verify=False)
    assert sum(p.numel() for p in made.model.parameters()) == 20
    assert len(made.model.state_dict()) == 2
    again = converter.convert(made.model, "keras", example_inputs=(torch.randn(3, 4),), verify=False)
    assert again.model.count_params() == 20


def hand_tied() -> Any:
    x = keras.Input((4,))
    a, b = L.Dense(4, name="a"), L.Dense(4, name="b")
    y = b(L.ReLU()(a(x)))
    b._tracker.unlock()
    b._kernel = a._kernel
    b._tracker.lock()
    return keras.Model(x, y)


def test_keras_layers_that_share_a_variable_are_refused() -> None:
    with pytest.raises(Unsupported, match="'b': it shares its kernel with 'a'"):
        converter.convert(hand_tied(), "torch", verify=False)


def test_a_layer_in_two_nested_models_stays_one() -> None:
    dense = L.Dense(4)
    one, two = (keras.Sequential([keras.Input((4,)), dense]) for _ in range(2))
    x = keras.Input((4,))
    made = converter.convert(keras.Model(x, two(one(x))), "torch", verify=False)
    assert sum(p.numel() for p in made.model.parameters()) == 20


class Tied(nn.Module):
    """Ids to rows of a table, and back to scores by the same table."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.table, self.fc = nn.Embedding(11, 6), nn.Linear(6, 6)
        if form == "module":
            self.head = nn.Linear(6, 11, bias=False)
            self.head.weight = self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = torch.relu(self.fc(self.table(ids)))
        if self.form == "module":
            return self.head(x)
        return nn.functional.linear(x, self.table.weight) if self.form == "linear" else x @ self.table.weight.t()


@pytest.mark.parametrize("form", ["module", "linear", "matmul"])
def test_a_table_that_is_read_both_ways_is_one_layer(form: str) -> None:
    model = Tied(form).eval()
    ids = torch.randint(0, 11, (2, 5))
    made = converter.convert(model, "keras", example_inputs=(ids,))
    assert made.report.passed, str(made.report)
    assert made.model.count_params() == 11 * 6 + 6 * 6 + 6
    assert made.report.trainable["why"] == []
    assert made.source.count("layers.ReversibleEmbedding(") == 1
    assert "reverse=True" in made.source
    made.model.compile(optimizer="sgd", loss="mse")
    got = made.model.predict(ids.numpy(), verbose=0)
    np.testing.assert_allclose(got, model(ids).detach().numpy(), rtol=1e-5, atol=1e-5)


def test_a_table_and_a_projection_of_their_own_stay_two() -> None:
    model = Tied("module").eval()
    model.head.weight = nn.Parameter(model.table.weight.detach().clone())
    made = converter.convert(model, "keras", example_inputs=(torch.randint(0, 11, (2, 5)),), verify=False)
    assert made.model.count_params() == 2 * 11 * 6 + 6 * 6 + 6
    assert "ReversibleEmbedding" not in made.source
