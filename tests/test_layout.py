"""Where the axes stand: which inputs and outputs are turned, and what is left to transpose at run time.

The numbers of these networks are checked by tests/test_ops.py (rows of tests/cases/layout.py); here each keeps exactly
the transpositions that its row allows, and the source reads as it should.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch

import converter
from tests.cases import Case
from tests.cases.layout import CASES

INTO = (0, 3, 1, 2)
BY_ID = {case.id.removeprefix("layout_"): case for case in CASES}


def converted(name: str, layout: Any = "native") -> Any:
    return converter.convert(BY_ID[name].make(keras), "torch", layout=layout, verify=False)


def body(result: Any) -> str:
    """The text of forward."""
    return str(result.source).split("class Model")[1].split("def forward", 1)[1].split('if __name__ == "__main__"')[0]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_transposes_exactly(case: Case) -> None:
    result = converter.convert(case.make(keras), "torch", verify=False)
    assert result.report.transposes == case.transposes, result.source
    assert body(result).count(".permute(") + body(result).count(".transpose(") == case.transposes, result.source


@pytest.mark.parametrize(
    ("name", "turned"),
    [
        ("squeeze_excite_dense", {("input", 0), ("output", 0)}),
        ("mobile", {("input", 0)}),
        ("unet", {("input", 0), ("output", 0)}),
        ("generator", {("output", 0)}),
        ("flatten_dense", {("input", 0)}),
        ("flatten_concatenate_dense", {("input", 0)}),
        ("siamese", {("input", 0), ("input", 1)}),
        ("two_outputs_rank4", {("input", 0), ("output", 0), ("output", 1)}),
        ("dict_outputs", {("input", 0), ("output", 1)}),
        ("input_as_skip", {("input", 0), ("output", 0)}),
        ("permute_input_to_first", set()),
        ("channels_first", set()),
        ("conv1d_stack", set()),
        ("reshaped_input", {("output", 0)}),
        ("detection_heads", {("input", 0)}),
    ],
)
def test_what_is_turned(name: str, turned: set[tuple[str, int]]) -> None:
    result = converted(name)
    assert {(t.kind, t.index) for t in result.turns} == turned
    assert all(t.perm == INTO for t in result.turns)
    assert converted(name, "source").turns == []


def test_rank_5_is_turned() -> None:
    assert [(t.kind, t.perm) for t in converted("conv3d_stack").turns] == [("input", (0, 4, 1, 2, 3))]


def test_only_the_reached_input_is_turned() -> None:
    """An image that only a dense layer reads stays as it is."""
    L = keras.layers
    a, b = keras.Input((7, 6, 3), name="a"), keras.Input((7, 6, 3), name="b")
    model = keras.Model([a, b], [L.Conv2D(4, 3)(a), L.Dense(5)(b), b + 1.0])
    result = converter.convert(model, "torch", verify=False)
    assert {(t.kind, t.index) for t in result.turns} == {("input", 0), ("output", 0)}
    assert result.report.transposes == 0


def test_an_input_given_back_is_turned_with_it() -> None:
    L = keras.layers
    x = keras.Input((7, 6, 3), name="x")
    result = converter.convert(keras.Model(x, [x, x * 2.0, L.Conv2D(4, 3)(x)]), "torch", verify=False)
    assert {(t.kind, t.index) for t in result.turns} == {("input", 0), ("output", 0), ("output", 1), ("output", 2)}
    assert result.report.transposes == 0
    image = torch.randn(2, 3, 7, 6)
    same, twice, _ = result.model(image)
    assert torch.equal(same, image) and torch.equal(twice, image * 2)


def test_one_transposition_for_several_readers() -> None:
    """Two dense layers over the channels of one map share its transposition."""
    L = keras.layers
    x = keras.Input((7, 6, 3), name="x")
    y = L.Conv2D(4, 3)(x)
    model = keras.Model(x, [L.Reshape((20, 2))(L.Dense(2)(y)), L.Reshape((20, 3))(L.Dense(3)(y))])
    assert converter.convert(model, "torch", verify=False).report.transposes == 1


def test_squeeze_excite_reads_as_written_by_hand() -> None:
    text = body(converted("squeeze_excite_dense"))
    assert "[:, :, None, None]" in text and "reshape" not in text and "unflatten" not in text


def test_units_are_reordered_bit_exactly() -> None:
    """The weight of a Dense behind a Flatten holds the same numbers, in the order of the turned map."""
    model = BY_ID["flatten_dense"].make(keras)
    result = converter.convert(model, "torch", verify=False)
    kernel = keras.ops.convert_to_numpy(model.layers[-1].kernel)
    [entry] = [m for m in result.mapping if m.source.endswith("dense/kernel") or m.target.endswith("dense.weight")] or [None]
    weights = [v for k, v in result.model.state_dict().items() if k.startswith("dense") and k.endswith("weight")]
    expected = kernel.reshape(4, 4, 4, 5).transpose(3, 2, 0, 1).reshape(5, 64)
    assert np.array_equal(weights[0].numpy(), expected)
    assert entry is None or "units reordered" in entry.transform


def test_units_before_a_reshape_are_reordered_bit_exactly() -> None:
    model = BY_ID["generator_square"].make(keras)
    result = converter.convert(model, "torch", verify=False)
    [dense] = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    kernel = keras.ops.convert_to_numpy(dense.kernel)
    [linear] = [m for m in result.model.modules() if isinstance(m, torch.nn.Linear)]
    expected = kernel.reshape(4, 4, 4, 4).transpose(3, 1, 2, 0).reshape(64, 4)
    assert np.array_equal(linear.weight.detach().numpy(), expected)
    assert "transpos" not in body(result) and "permute" not in body(result)
