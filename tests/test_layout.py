"""Where the axes stand: which inputs and outputs are turned, and what is left to transpose at run time.

The numbers of these networks are checked by tests/test_ops.py (rows of tests/cases/layout.py); here each keeps exactly
the transpositions that its row allows, and the source reads as it should.
"""

from __future__ import annotations

import math
import random
from typing import Any

import keras
import numpy as np
import pytest
import torch

import converter
from tests.cases import Case
from tests.cases.layout import CASES as LAYOUTS
from tests.cases.layout_units import CASES as UNITS

INTO = (0, 3, 1, 2)
CASES = [*LAYOUTS, *UNITS]
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
    assert torch.equal(same, image)
    assert torch.equal(twice, image * 2)


def test_one_transposition_for_several_readers() -> None:
    """Two dense layers over the channels of one map share its transposition."""
    L = keras.layers
    x = keras.Input((7, 6, 3), name="x")
    y = L.Conv2D(4, 3)(x)
    model = keras.Model(x, [L.Reshape((20, 2))(L.Dense(2)(y)), L.Reshape((20, 3))(L.Dense(3)(y))])
    assert converter.convert(model, "torch", verify=False).report.transposes == 1


def test_squeeze_excite_reads_as_written_by_hand() -> None:
    text = body(converted("squeeze_excite_dense"))
    assert "[:, :, None, None]" in text
    assert "reshape" not in text
    assert "unflatten" not in text


def test_units_are_reordered_bit_exactly() -> None:
    """The weight of a Dense behind a Flatten holds the same numbers, in the order of the turned map."""
    model = BY_ID["flatten_dense"].make(keras)
    result = converter.convert(model, "torch", verify=False)
    kernel = keras.ops.convert_to_numpy(model.layers[-1].kernel)
    [entry] = [m for m in result.mapping if m.source.endswith("dense/kernel") or m.target.endswith("dense.weight")] or [
        None
    ]
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
    assert "transpos" not in body(result)
    assert "permute" not in body(result)


# Networks made at random -------------------------------------------------------------------------------------------


def _step(r: random.Random, values: list[Any]) -> Any:
    """One more layer on one of the last values; None where it does not fit."""
    L = keras.layers
    v = r.choice(values[-4:])
    lengths = tuple(v.shape[1:])
    rank, count = len(lengths), math.prod(lengths)
    match r.choice(
        ["conv"] * 3 + ["norm", "tanh", "scale", "permute", "flatten", "dense", "reshape", "pool", "mean", "add", "cat"]
    ):
        case "conv" if rank == 3:
            return L.Conv2D(r.choice([3, 4, 5]), r.choice([1, 3]), padding="same")(v)
        case "norm":
            return L.BatchNormalization(axis=r.choice([-1, 1]))(v)
        case "tanh":
            return L.Activation("tanh")(v)
        case "scale":
            return v * np.linspace(0.5, 1.5, lengths[-1]).astype("float32") + 0.5
        case "permute" if rank > 1:
            return L.Permute(r.sample(range(1, rank + 1), rank))(v)
        case "flatten":
            return L.Flatten(data_format=r.choice([None, "channels_first"]))(v)
        case "dense":
            return L.Dense(r.choice([3, 4, 48, 60]))(v)
        case "reshape":
            wanted = [
                (4, 4, 3),
                (4, 3, 5),
                (1, 1, count),
                (count,),
                (*lengths[:1], 1, *lengths[1:]),
                (4, 5, 3),
                lengths[::-1],
            ]
            return L.Reshape(r.choice([t for t in wanted if math.prod(t) == count and len(t) < 5]))(v)
        case "pool" if rank == 3:
            return L.MaxPooling2D(2, padding="same")(v)
        case "mean" if rank == 3:
            return L.GlobalAveragePooling2D(keepdims=r.random() < 0.5)(v)
        case "add":
            fit = [
                w
                for w in values
                if len(w.shape) == rank + 1 and all(a == b or 1 in (a, b) for a, b in zip(w.shape[1:], lengths))
            ]
            return r.choice([L.Add, L.Multiply, L.Subtract])()([v, r.choice(fit)])
        case "cat":
            axis = r.randint(1, rank)
            fit = [
                w
                for w in values
                if len(w.shape) == rank + 1 and all(w.shape[i] == v.shape[i] for i in range(rank + 1) if i != axis)
            ]
            return L.Concatenate(axis=axis)([v, r.choice(fit)])
    return None


@pytest.mark.parametrize("seed", range(60))
def test_random_network(seed: int) -> None:
    """Whatever moves where, the numbers stay."""
    r, rng = random.Random(seed), np.random.default_rng(seed)
    keras.utils.set_random_seed(seed)
    inputs = [keras.Input(r.choice([(4, 5, 3), (4, 4, 4), (6,), (5, 4)])) for _ in range(r.randint(1, 3))]
    values = list(inputs)
    for _ in range(r.randint(4, 14)):
        made = _step(r, values)
        if made is not None and len(made.shape) < 6 and math.prod(made.shape[1:]) < 4000:
            values.append(made)
    model = keras.Model(inputs, values[-r.randint(1, 3) :])
    for weight in model.weights:
        drawn = rng.normal(0.0, 0.5, weight.shape)
        weight.assign(np.abs(drawn) + 0.5 if "variance" in weight.name else drawn)
    given = [rng.normal(size=(3, *t.shape[1:])).astype("float32") for t in inputs]
    outputs = model(given, training=False)
    for layout in ("native", "source"):
        result = converter.convert(model, "torch", layout=layout, verify=False)  # type: ignore[arg-type]
        perms = {(t.kind, t.index): t.perm for t in result.turns}
        tensors = [
            torch.from_numpy(a.transpose(perms.get(("input", i), range(a.ndim))).copy()) for i, a in enumerate(given)
        ]
        with torch.no_grad():
            answers = result.model(*tensors)
        for i, (want, have) in enumerate(zip(keras.tree.flatten(outputs), keras.tree.flatten(answers), strict=True)):
            expected = keras.ops.convert_to_numpy(want)
            expected = expected.transpose(perms.get(("output", i), range(expected.ndim)))
            assert have.shape == expected.shape, result.source
            assert np.abs(have.numpy() - expected).max() <= 2e-5 * max(float(np.abs(expected).max()), 1e-9), (
                result.source
            )
