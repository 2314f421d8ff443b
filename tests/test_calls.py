"""How a PyTorch module is called, and what it gives back: structures, constants, weights, nothing at all."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import converter
from converter.errors import Unsupported, UsageError

X = torch.zeros(2, 4)


class Net(nn.Module):
    """A layer, a buffer, and a function of both."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.dense = nn.Linear(4, 4)
        self.kept = nn.Buffer(torch.ones(4))
        self.function = function

    def forward(self, x: Any, y: Any = None) -> Any:
        return self.function(self, x, y)


def sum_of(net: Net, x: Any, y: Any) -> Tensor:
    made: Tensor = net.dense(x) if y is None else net.dense(x) * y
    return made


@pytest.mark.parametrize("to", ["keras", "onnx"])
@pytest.mark.parametrize(
    ("function", "examples", "names"),
    [
        (sum_of, (X, 2.5), ["x"]),
        (sum_of, (X, None), ["x"]),
        (lambda net, x, y: net.dense(x[0]) + x[1], ([X, X],), ["x_0", "x_1"]),
        (lambda net, x, y: net.dense(x["q"]) - x["a"], ({"q": X, "a": X},), ["x_q", "x_a"]),
        (lambda net, x, y: net.dense(x) - y["b"][0], (X, {"b": (X,)}), ["x", "y_b_0"]),
    ],
)
def test_lists_dicts_none_and_numbers_are_taken(
    function: Callable[..., Any], examples: tuple[Any, ...], names: list[str], to: str
) -> None:
    made = converter.convert(Net(function), to, example_inputs=examples)
    assert made.report.passed, made.report.headline()
    assert made.report.proof
    assert [value.name for value in made.onnx.graph.input] == names


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda net, x, y: None, "returns no tensor"),
        (lambda net, x, y: (net.dense(x), net.kept), "returns a weight"),
        (lambda net, x, y: (net.dense(x) * net.kept, net.kept), "returns a weight"),
        (lambda net, x, y: (net.dense(x), net.dense.bias), "returns a weight"),
    ],
)
def test_what_no_input_reaches_is_refused(function: Callable[..., Any], words: str) -> None:
    for to in ("keras", "onnx"):
        with pytest.raises(Unsupported, match=words):
            converter.convert(Net(function), to, example_inputs=(X,))


def test_a_source_without_a_finite_answer_is_not_called_unequal() -> None:
    x = keras.Input((3,))
    model = keras.Model(x, keras.layers.Dense(2)(x))
    model.layers[-1].kernel.assign(np.full((3, 2), np.nan))
    report = converter.convert(model, "torch").report
    assert report.passed is False
    assert "NOT PROVED. nothing could be compared" in report.headline()


def test_the_proof_holds_where_warnings_are_errors() -> None:
    """exp of a thousand overflows, and Keras warns of a softmax over one class: neither is the user's error."""
    x = keras.Input((8,))
    y = keras.layers.Dense(2, kernel_initializer="ones", activation="exponential")(keras.layers.Rescaling(60.0)(x))
    model = keras.Model(x, [y, keras.layers.Dense(1, activation="softmax")(x)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = converter.convert(model, "torch").report
    assert report.passed, report.headline()


def test_inputs_without_an_answer_do_not_spoil_the_others() -> None:
    """The first mask that seed 0 draws is empty: 0/0 in both."""
    x, mask = keras.Input((5, 4)), keras.Input((5,), dtype="bool")
    model = keras.Model([x, mask], keras.layers.GlobalAveragePooling1D()(x, mask=mask))
    report = converter.convert(model, "torch", seed=0).report
    assert report.passed, report.headline()
    assert report.proof


def test_an_empty_output_is_not_called_unequal() -> None:
    x = keras.Input((4,))
    model = keras.Model(x, keras.layers.Dense(2)(x)[:, :0])
    assert "NOT PROVED" in converter.convert(model, "torch").report.headline()


def test_one_tensor_is_an_example_of_two_inputs() -> None:
    module = nn.Bilinear(4, 4, 2)
    module.forward = lambda left, right: left - 2 * right  # type: ignore[method-assign, assignment]
    made = converter.convert(module, "onnx", example_inputs=(X, X))
    assert made.report.passed, made.report.headline()


@pytest.mark.parametrize("args", [(), (X,)])
def test_keyword_inputs_are_in_the_order_of_the_signature(args: tuple[Tensor, ...]) -> None:
    class Three(nn.Module):
        def forward(self, first: Tensor, second: Tensor, third: Tensor, **more: Tensor) -> Tensor:
            return first - 2 * second + 4 * third * more["last"]

    given = {"last": X, "third": X, "first": X, "second": X}
    named = {name: tensor for name, tensor in given.items() if name != "first" or not args}
    made = converter.convert(Three(), "onnx", example_inputs=args, example_kwargs=named)
    assert [value.name for value in made.onnx.graph.input] == ["first", "second", "third", "last"]
    assert made.report.passed


def test_examples_that_the_module_itself_refuses_are_no_verdict() -> None:
    """torch.export traces integers through a Linear that cannot compute with them."""
    with pytest.raises((UsageError, Unsupported), match=r"of its examples' shapes and dtypes|is not made for"):
        converter.convert(nn.Sequential(nn.Linear(4, 3)), "onnx", example_inputs=X.long())
