"""Two operands of different shapes: PyTorch lines up the last axes, Keras's merging layers the batch axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import converter
from converter.errors import BadInput, Unsupported, UsageError


class Fn(nn.Module):
    """A module whose forward is a function of its inputs."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


MERGES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "add": (lambda a, b: a + b, np.add),
    "subtract": (lambda a, b: a - b, np.subtract),
    "multiply": (lambda a, b: a * b, np.multiply),
    "maximum": (torch.maximum, np.maximum),
    "minimum": (torch.minimum, np.minimum),
}


def answer(function: Callable[..., Any], *arrays: np.ndarray) -> Any:
    """What the Keras model gives, None where the conversion is refused with a reason."""
    given = [torch.from_numpy(a) for a in arrays]
    try:
        made = converter.convert(Fn(function), "keras", example_inputs=given, layout="source", verify=False)
    except Unsupported as refusal:
        assert_reasons(refusal)
        return None
    return np.asarray(keras.ops.convert_to_numpy(made.model(given if len(given) > 1 else given[0])))


def assert_reasons(refusal: Unsupported) -> None:
    assert all(item.why for item in refusal.items)


@pytest.mark.parametrize("name", MERGES)
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((3, 3, 4), (3, 4)),
        ((2, 3, 4), (3, 4)),
        ((2, 3, 4), (4,)),
        ((3,), (3, 3)),
        ((4,), (2, 4)),
        ((2, 3, 4), (2, 3, 1)),
        ((2, 3, 4), (2, 1, 4)),
        ((2, 1, 4), (2, 3, 1)),
        ((1, 4), (5, 4)),
        ((2, 3, 4), (1, 3, 4)),
        ((5,), (5,)),
    ],
)
def test_named_pairs(name: str, first: tuple[int, ...], second: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    function, oracle = MERGES[name]
    arrays = [rng.normal(size=shape).astype("float32") for shape in (first, second)]
    for a, b in (arrays, arrays[::-1]):
        got = answer(function, a, b)
        assert got is not None
        np.testing.assert_allclose(got, oracle(a, b), rtol=1e-6)


@pytest.mark.parametrize("seed", range(40))
def test_random_pairs_are_numpys_or_refused(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(1, 5))
    full = rng.integers(1, 4, rank)
    shapes = []
    for _ in range(2):
        kept = full[int(rng.integers(0, rank)) :]
        shapes.append(tuple(int(d) if rng.random() < 0.7 else 1 for d in kept))
    dtype = "float64" if seed % 2 else "float32"
    arrays = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    function, oracle = MERGES[("add", "subtract", "multiply")[seed % 3]]
    try:
        got = answer(function, *arrays)
    except BadInput:
        return  # torch cannot trace it: a batch of one is doubled, and a fixed one does not fit
    if got is not None:
        want = oracle(*arrays)
        assert got.shape == want.shape
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-6 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_keras_merges_of_several_ranks_arrive(seed: int) -> None:
    rng = np.random.default_rng(seed)
    name = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")[seed % 6]
    full = rng.integers(2, 4, 3)
    shapes = [tuple(int(d) if rng.random() < 0.7 else 1 for d in full[int(rng.integers(0, 3)) :]) for _ in range(2)]
    inputs = [keras.Input(shape) for shape in shapes]
    model = keras.Model(inputs, getattr(keras.layers, name)()(inputs))
    made = converter.convert(model, "torch", layout="source", verify=False)
    given = [torch.from_numpy(rng.normal(size=(2, *shape)).astype("float32")) for shape in shapes]
    torch.testing.assert_close(made.model(*given), model(given))


FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
PLAIN: list[Callable[..., Any]] = [
    lambda x: x,
    lambda x: x.contiguous(),
    lambda x: (x, x),
    nn.Identity(),
    nn.Flatten(),
]


@pytest.mark.parametrize(
    ("function", "dtype"),
    [
        *((function, dtype) for function in PLAIN for dtype in (*FLOATS, torch.int32, torch.bool)),
        *((nn.Dropout(0.5), dtype) for dtype in FLOATS),
    ],
)
def test_graphs_without_nodes_and_layers_without_weights_keep_the_dtype(function: Any, dtype: torch.dtype) -> None:
    x = torch.ones(2, 3, 4).to(dtype)
    made = converter.convert(Fn(function), "keras", example_inputs=(x,), verify=False)
    for got, want in zip(keras.tree.flatten(made.model(x)), keras.tree.flatten(Fn(function).eval()(x)), strict=True):
        assert got.dtype == want.dtype
        assert torch.equal(got, want)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_modules_of_other_floats_compute_in_them(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.GELU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)]
    model = nn.Sequential(*layers, nn.Tanh()).to(dtype).eval()
    x = torch.randn(2, 3, 8, 8).to(dtype)
    made = converter.convert(model, "keras", example_inputs=(x,), layout="source", verify=False)
    policies = {layer.dtype_policy.name for layer in made.model.layers if type(layer).__name__ != "InputLayer"}
    assert policies == {str(dtype).removeprefix("torch.")}
    got = made.model(x)
    assert got.dtype == dtype
    error = float((got.double() - model(x).double()).detach().abs().max())
    assert error <= {torch.float16: 1e-2, torch.bfloat16: 1e-1}.get(dtype, 1e-6)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Conv1d(3, 4, 3), (3, 7)),
        (nn.Conv2d(3, 4, 3), (3, 7, 8)),
        (nn.Conv3d(3, 4, 3), (3, 7, 8, 5)),
        (nn.MaxPool1d(2), (3, 8)),
        (nn.MaxPool2d(2), (3, 8, 8)),
        (nn.AvgPool2d(2), (3, 8, 8)),
        (nn.AdaptiveAvgPool2d(1), (3, 8, 8)),
        (nn.Linear(4, 3), (4,)),
    ],
)
def test_single_examples_are_refused(module: nn.Module, shape: tuple[int, ...]) -> None:
    with pytest.raises(Unsupported, match=r"single example|one axis"):
        converter.convert(module, "keras", example_inputs=(torch.randn(shape),), verify=False)


def test_scalars_are_refused() -> None:
    with pytest.raises(Unsupported, match="a single number, and a Keras input has a batch axis"):
        converter.convert(Fn(lambda x: x), "keras", example_inputs=(torch.tensor(1.0),), verify=False)


def test_what_torch_cannot_trace_leaves_no_log(capfd: pytest.CaptureFixture[str]) -> None:
    arrays = (torch.ones(5, 10, 5), torch.ones(10, 1, 5))
    with pytest.raises((BadInput, UsageError)):
        converter.convert(Fn(lambda a, b: a + b), "keras", example_inputs=arrays, verify=False)
    assert not capfd.readouterr().err
