"""PyTorch -> Keras: small modules through the whole line, with the judge's float64 proof; names, flags and refusals."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import random
import subprocess
import sys
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
from converter.errors import Unsupported, UsageError

FIXTURES = Path(__file__).parent.parent / "fixtures"


class Fn(nn.Module):
    """A module whose forward is a function of itself and the inputs."""

    def __init__(self, forward: Callable[..., Any], **modules: nn.Module) -> None:
        super().__init__()
        self.function = forward
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


class Two(nn.Module):
    """Two inputs, and outputs in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 4, 3)
        self.right = nn.Linear(5, 4)

    def forward(self, image: Tensor, meta: Tensor) -> dict[str, Tensor]:
        y = self.left(image)
        return {"sum": y.mean((2, 3)) + self.right(meta), "map": y}


def seeded(model: nn.Module) -> nn.Module:
    """The module with weights and statistics that are neither 0 nor 1."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.is_floating_point():
                drawn = torch.randn(tensor.shape, generator=generator, dtype=torch.float64) * 0.5
                tensor.copy_(drawn.abs() + 0.5 if name.endswith("running_var") else drawn)
    return model


def back(model: nn.Module, *shapes: tuple[int, ...], **options: Any) -> converter.conversion.Conversion:
    """Convert a seeded module with a proof; the proof must rest on float64."""
    examples = tuple(torch.randn(shape) for shape in shapes)
    made = converter.convert(seeded(model), "keras", example_inputs=examples, **options)
    assert made.report.passed, str(made.report)
    assert made.report.proof, str(made.report)
    return made


def classes(model: Any) -> list[str]:
    return [type(layer).__name__ for layer in model.layers if type(layer).__name__ != "InputLayer"]


IMAGE = (2, 3, 7, 10)
MODULES: dict[str, tuple[nn.Module, tuple[int, ...], list[str]]] = {
    "flatten": (
        nn.Sequential(nn.Conv2d(3, 5, (3, 2)), nn.Flatten(), nn.Linear(5 * 5 * 9, 4)),
        IMAGE,
        ["Conv2D", "Flatten", "Dense"],
    ),
    "flatten_view": (
        Fn(lambda m, x: m.fc(m.conv(x).view(x.size(0), -1)), conv=nn.Conv2d(3, 5, 3), fc=nn.Linear(5 * 5 * 8, 4)),
        IMAGE,
        ["Conv2D", "Flatten", "Dense"],
    ),
    "flatten_norm": (
        nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(), nn.BatchNorm1d(200), nn.ReLU(), nn.Linear(200, 4)),
        IMAGE,
        ["Conv2D", "Flatten", "BatchNormalization", "ReLU", "Dense"],
    ),
    "conv_strided": (nn.Conv2d(3, 4, 3, stride=2, padding=1), IMAGE, ["ZeroPadding2D", "Conv2D"]),
    "conv_same": (nn.Conv2d(3, 4, 4, padding="same"), IMAGE, ["Conv2D"]),
    "conv_valid": (nn.Conv2d(3, 4, (2, 3), stride=(2, 1), bias=False), IMAGE, ["Conv2D"]),
    "conv_dilated": (nn.Conv2d(3, 4, 3, padding=2, dilation=2), IMAGE, ["Conv2D"]),
    "conv_reflect": (nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), IMAGE, ["Conv2D"]),
    "conv_uneven": (
        Fn(lambda m, x: m.c(F.pad(x, (0, 1, 0, 1))), c=nn.Conv2d(3, 4, 3, 2)),
        IMAGE,
        ["ZeroPadding2D", "Conv2D"],
    ),
    "conv_uneven_same": (
        Fn(lambda m, x: m.c(F.pad(x, (0, 1, 0, 1))), c=nn.Conv2d(3, 4, 3, 2)),
        (2, 3, 8, 10),
        ["Conv2D"],
    ),
    "conv_grouped": (nn.Conv2d(6, 4, 3, groups=2), (2, 6, 7, 10), ["Conv2D"]),
    "conv_depthwise": (nn.Conv2d(3, 3, 3, padding=1, groups=3), IMAGE, ["DepthwiseConv2D"]),
    "conv_multiplied": (nn.Conv2d(3, 6, 3, padding=1, groups=3), IMAGE, ["Conv2D"]),
    "pad_alone": (
        Fn(lambda m, x: m.relu(F.pad(m.c(x), (1, 2, 3, 0))), c=nn.Conv2d(3, 4, 1), relu=nn.ReLU()),
        IMAGE,
        ["Conv2D", "ZeroPadding2D", "ReLU"],
    ),
    "conv3d": (
        nn.Sequential(nn.Conv3d(2, 3, 3, padding=1), nn.BatchNorm3d(3), nn.MaxPool3d(2), nn.AvgPool3d((1, 2, 1))),
        (2, 2, 5, 6, 7),
        ["Conv3D", "BatchNormalization", "MaxPooling3D", "AveragePooling3D"],
    ),
    "linear_rank3": (nn.Linear(7, 5), (2, 4, 7), ["Dense"]),
    "maxpool": (nn.MaxPool2d(2), IMAGE, ["MaxPooling2D"]),
    "maxpool_same": (nn.MaxPool2d(3, stride=1, padding=1), IMAGE, ["MaxPooling2D"]),
    "maxpool_relu": (
        nn.Sequential(nn.ReLU6(), nn.MaxPool2d(3, stride=2, padding=1)),
        (2, 3, 8, 10),
        ["ReLU", "ZeroPadding2D", "MaxPooling2D"],
    ),
    "maxpool_ceil": (
        nn.Sequential(nn.Sigmoid(), nn.MaxPool2d(3, 2, ceil_mode=True)),
        (2, 3, 8, 9),
        ["Activation", "ZeroPadding2D", "MaxPooling2D"],
    ),
    "maxpool_ceil_even": (nn.MaxPool2d(3, 2, ceil_mode=True), (2, 3, 7, 9), ["MaxPooling2D"]),
    "avgpool_counted": (nn.AvgPool2d(3, 2, padding=1), IMAGE, ["ZeroPadding2D", "AveragePooling2D"]),
    "avgpool_same": (nn.AvgPool2d(3, 1, padding=1, count_include_pad=False), IMAGE, ["AveragePooling2D"]),
    "maxpool_padding": (nn.MaxPool2d(3, 2, padding=1), (2, 3, 8, 10), ["MaxPooling2D"]),
    "maxpool_below": (
        Fn(lambda m, x: F.max_pool2d(F.pad(F.relu(x), (1, 1, 1, 1), value=-1.0), 3, 2, padding=1)),
        (2, 3, 8, 10),
        ["Activation", "MaxPooling2D"],
    ),
    "avgpool_padding": (
        nn.AvgPool2d(3, 2, padding=1, count_include_pad=False),
        (2, 3, 8, 10),
        ["ZeroPadding2D", "AveragePooling2D", "Embedding", "Rescaling"],
    ),
    "avgpool_ceil": (
        nn.AvgPool2d(3, 2, ceil_mode=True),
        (2, 3, 8, 10),
        ["ZeroPadding2D", "AveragePooling2D", "Embedding", "Rescaling"],
    ),
    "avgpool_divisor": (nn.AvgPool2d(3, divisor_override=4), (2, 3, 8, 10), ["AveragePooling2D", "Rescaling"]),
    "avgpool_divisor_ceil": (
        nn.AvgPool2d(3, 2, 1, ceil_mode=True, divisor_override=4),
        (2, 3, 8, 10),
        ["ZeroPadding2D", "AveragePooling2D", "Rescaling"],
    ),
    "adaptive": (nn.AdaptiveAvgPool2d((2, 5)), IMAGE, ["AdaptiveAveragePooling2D"]),
    "globalpool": (
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten()),
        IMAGE,
        ["Conv2D", "GlobalAveragePooling2D", "Flatten"],
    ),
    "globalmean": (
        Fn(lambda m, x: m.c(x).mean([-1, -2]), c=nn.Conv2d(3, 4, 1)),
        IMAGE,
        ["Conv2D", "GlobalAveragePooling2D"],
    ),
    "norm_plain": (nn.BatchNorm2d(3, affine=False, eps=1e-4, momentum=0.2), IMAGE, ["BatchNormalization"]),
    "softmax_channels": (nn.Sequential(nn.Conv2d(3, 4, 1), nn.Softmax(1)), IMAGE, ["Conv2D", "Softmax"]),
    "softmax_rows": (nn.Sequential(nn.Conv2d(3, 4, 1), nn.Softmax(2)), IMAGE, ["Conv2D", "Softmax"]),
    "log_softmax": (Fn(lambda m, x: F.log_softmax(m.fc(x), 1), fc=nn.Linear(4, 3)), (2, 4), ["Dense"]),
    "dropouts": (
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.Dropout2d(0.3), nn.Dropout(0.2), nn.AlphaDropout(0.1)),
        IMAGE,
        ["Conv2D", "SpatialDropout2D", "Dropout", "AlphaDropout"],
    ),
    "residual_in_place": (
        Fn(lambda m, x: m.b(m.a(x)).relu_().add_(x).relu_(), a=nn.Conv2d(3, 3, 3, padding=1), b=nn.BatchNorm2d(3)),
        IMAGE,
        ["Conv2D", "BatchNormalization", "Activation", "Add", "Activation"],
    ),
    "cat": (
        Fn(lambda m, x: torch.cat([m.a(x), m.b(x), x], 1), a=nn.Conv2d(3, 4, 3, padding=1), b=nn.Conv2d(3, 2, 1)),
        IMAGE,
        ["Conv2D", "Conv2D", "Concatenate"],
    ),
    "gate": (
        Fn(lambda m, x: x * torch.sigmoid(m.fc(F.adaptive_avg_pool2d(x, 1))), fc=nn.Conv2d(3, 3, 1)),
        IMAGE,
        ["GlobalAveragePooling2D", "Conv2D", "Multiply"],
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_module(name: str) -> None:
    model, shape, expected = MODULES[name]
    made = back(model, shape)
    assert classes(made.model) == expected, made.source
    assert made.report.transposes == 0


def test_view_of_what_is_overwritten() -> None:
    """A look at memory that is written afterwards sees what was written."""

    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.fc(x)
        flat = y.view(-1, 2, 2)
        y.relu_()
        return flat

    assert classes(back(Fn(forward, fc=nn.Linear(4, 4)), (2, 4)).model) == ["Dense", "Reshape"]


@pytest.mark.parametrize("name", ["flatten", "conv_strided", "cat", "softmax_rows"])
def test_layout_source(name: str) -> None:
    """With the source's layout the boundary keeps its axes, and Permute layers stand there."""
    made = back(MODULES[name][0], MODULES[name][1], layout="source")
    assert made.turns == []
    assert tuple(made.model.inputs[0].shape[1:]) == MODULES[name][1][1:]


def test_sequences_are_not_turned() -> None:
    """Rank 3 stays what it was at the boundary: (N, C, L) from PyTorch."""
    net = nn.Sequential(
        nn.Conv1d(3, 4, 3, padding=1), nn.BatchNorm1d(4), nn.ReLU(), nn.AvgPool1d(2), nn.Conv1d(4, 5, 2, 2)
    )
    made = back(net, (2, 3, 12))
    assert made.turns == []
    assert made.report.transposes == 2
    assert tuple(made.model.inputs[0].shape) == (None, 3, 12)


@pytest.mark.parametrize(
    "function",
    [lambda x: x + 0.1, lambda x: x - 0.1, lambda x: 0.1 - x, lambda x: x * 0.1, lambda x: x / 0.3],
    ids=["add", "sub", "rsub", "mul", "div"],
)
def test_arithmetic_with_a_number_is_rescaling(function: Callable[[Tensor], Tensor]) -> None:
    assert classes(back(Fn(lambda m, x: function(m.fc(x)), fc=nn.Linear(4, 3)), (2, 4)).model) == ["Dense", "Rescaling"]


ACTIVATIONS: dict[str, nn.Module | Callable[[Tensor], Tensor]] = {
    "relu": nn.ReLU(),
    "relu_in_place": nn.ReLU(inplace=True),
    "relu6": nn.ReLU6(),
    "leaky_relu": nn.LeakyReLU(0.07),
    "elu": nn.ELU(0.7),
    "selu": nn.SELU(),
    "celu": nn.CELU(),
    "gelu": nn.GELU(),
    "silu": nn.SiLU(),
    "mish": nn.Mish(),
    "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(),
    "softplus": nn.Softplus(),
    "softsign": nn.Softsign(),
    "hardtanh": nn.Hardtanh(),
    "hardsigmoid": nn.Hardsigmoid(),
    "hardswish": nn.Hardswish(),
    "hardshrink": nn.Hardshrink(),
    "softshrink": nn.Softshrink(),
    "tanhshrink": nn.Tanhshrink(),
    "logsigmoid": nn.LogSigmoid(),
    "threshold": nn.Threshold(0.3, 0.0),
    "softmax": nn.Softmax(-1),
    "log_softmax": nn.LogSoftmax(-1),
    "f_relu": F.relu,
    "f_relu6": F.relu6,
    "f_elu": F.elu,
    "f_gelu": F.gelu,
    "f_silu": F.silu,
    "f_sigmoid": torch.sigmoid,
    "f_tanh": torch.tanh,
    "f_exp": torch.exp,
    "f_softmax": lambda x: F.softmax(x, 1),
    "f_hardtanh": F.hardtanh,
    "f_logsigmoid": F.logsigmoid,
    "f_clamp": lambda x: x.clamp(min=0),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name: str) -> None:
    """A module becomes a layer, a function behind a layer its `activation` argument."""
    given = ACTIVATIONS[name]
    if isinstance(given, nn.Module):
        made = back(nn.Sequential(nn.Linear(6, 5), given), (2, 6))
        assert len(classes(made.model)) == 2, made.source
    else:
        made = back(Fn(lambda m, x: given(m.fc(x)), fc=nn.Linear(6, 5)), (2, 6))
        assert classes(made.model) == ["Dense"], made.source


# Names, calls, weights -----------------------------------------------------------------------------------------------


def test_names_are_module_paths() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
            self.a_0 = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.a_0(self.a(x)) + x) + x

    made = back(Net(), (2, 3))
    assert [layer.name for layer in made.model.layers] == ["x", "a_0", "a_1", "a_0_2", "add", "relu", "add_2"]
    assert {(m.source, m.target) for m in made.mapping} == {
        ("a.0.weight", "a_0/kernel"),
        ("a.0.bias", "a_0/bias"),
        ("a_0.weight", "a_0_2/kernel"),
        ("a_0.bias", "a_0_2/bias"),
    }
    assert next(m for m in made.mapping if m.target == "a_0/kernel").axes == (1, 0)


def test_module_called_twice_is_one_layer() -> None:
    made = back(Fn(lambda m, x: m.fc(torch.tanh(m.fc(x))), fc=nn.Linear(4, 4)), (2, 4))
    assert classes(made.model) == ["Dense", "Activation"]
    assert len(made.model.weights) == 2


def test_tied_weights_are_told() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    made = back(net, (2, 4))
    assert any("shares '0.weight'" in note for note in made.report.notes)


def test_several_inputs_and_outputs() -> None:
    made = back(Two(), (2, 3, 6, 8), (2, 5))
    assert [t.name for t in made.model.inputs] == ["image", "meta"]
    answer = made.model([np.zeros((3, 6, 8, 3), "float32"), np.zeros((3, 5), "float32")])
    assert {key: tuple(value.shape) for key, value in answer.items()} == {"sum": (3, 4), "map": (3, 4, 6, 4)}
    assert [str(turn) for turn in made.turns] == ["image: N,C,H,W -> N,H,W,C", "left: N,C,H,W -> N,H,W,C"]


def test_input_that_is_returned() -> None:
    made = back(Fn(lambda m, x: (m.fc(x), x), fc=nn.Linear(4, 4)), (2, 4))
    assert "Identity" in classes(made.model)


def test_frozen_parts() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 70, 2))
    net[0].requires_grad_(False)
    net[1].requires_grad_(False)
    net[3].bias.requires_grad_(False)
    made = back(net, IMAGE)
    model = made.model
    assert not model.get_layer("0").trainable
    assert model.get_layer("1").trainable
    assert [w.path for w in model.trainable_weights] == ["3/kernel"]
    assert sum("frozen" in note for note in made.report.notes) == 2


def test_frozen_statistics_stay_frozen() -> None:
    x = keras.Input((6, 7, 3), name="x")
    layer = keras.layers.BatchNormalization(name="bn", trainable=False)
    source = keras.Model(x, layer(keras.layers.Conv2D(4, 1, name="c")(x)))
    there = converter.convert(source, "torch", verify=False).model
    again = back(there, (2, 3, 6, 7)).model
    assert not again.get_layer("bn").trainable
    assert again.get_layer("c").trainable


def test_norm_without_scale_comes_back_without() -> None:
    x = keras.Input((5,), name="x")
    source = keras.Model(x, keras.layers.BatchNormalization(scale=False, name="bn")(x))
    there = converter.convert(source, "torch", verify=False).model
    again = converter.convert(there, "keras", example_inputs=(torch.randn(2, 5),)).model
    assert again.get_layer("bn").get_config()["scale"] is False
    assert again.get_layer("bn").get_config()["center"] is True


def test_double_precision() -> None:
    """float64 weights stay; that Keras on torch computes a float64 layer partly in float32 is told."""
    net = seeded(nn.Sequential(nn.Linear(3, 2), nn.ReLU())).double()
    made = converter.convert(net, "keras", example_inputs=(torch.randn(2, 3).double(),))
    assert made.report.proof
    assert any("float64" in note for note in made.report.notes)
    assert {str(w.dtype) for w in made.model.weights} == {"float64"}


def test_fixed_batch_is_told() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.fc(x) if x.shape[0] == 3 else x

    made = back(Fn(forward, fc=nn.Linear(4, 4)), (3, 4))
    assert made.model.inputs[0].shape == (None, 4)
    assert any("fixed batch size 3" in note for note in made.report.notes)


def test_source_is_as_before() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(160, 2))
    net[1].eval()
    flags = [m.training for m in net.modules()]
    before = {key: value.clone() for key, value in net.state_dict().items()}
    state = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    made = converter.convert(net, "keras", example_inputs=(torch.zeros(1, 3, 7, 10),), verify=False)
    for weight in made.model.weights:
        weight.assign(np.zeros(weight.shape, "float32"))
    assert torch.equal(torch.get_rng_state(), state[0])
    assert random.getstate() == state[1]
    assert (np.random.get_state()[1] == state[2]).all()
    assert flags == [m.training for m in net.modules()]
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_user_settings_of_keras_do_not_matter() -> None:
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_float16")
        keras.config.set_image_data_format("channels_first")
        made = converter.convert(MODULES["flatten"][0], "keras", example_inputs=(torch.zeros(IMAGE),), verify=False)
        assert made.model.layers[1].get_config()["data_format"] == "channels_last"
        assert made.model.layers[1].compute_dtype == "float32"
        assert keras.config.image_data_format() == "channels_first"
    finally:
        keras.config.set_dtype_policy(policy)
        keras.config.set_image_data_format("channels_last")


# Refusals ------------------------------------------------------------------------------------------------------------


def test_everything_unsupported_is_listed_at_once() -> None:
    middle = Fn(lambda m, x: torch.kthvalue(x, 2, 1, keepdim=True)[0])
    net = nn.Sequential(nn.Linear(4, 4), middle, nn.Softplus(2.0), nn.ReLU())
    with pytest.raises(Unsupported) as caught:
        converter.convert(net, "keras", example_inputs=(torch.zeros(2, 4),))
    assert [(item.where, item.what) for item in caught.value.items] == [
        ("1", "kthvalue.default"),
        ("2", "softplus.default"),
    ]


REFUSED: dict[str, tuple[nn.Module, tuple[int, ...], str]] = {
    "dilated_strided": (nn.Conv2d(3, 4, 3, stride=2, dilation=2), IMAGE, "strides or dilation"),
    "statistics": (nn.BatchNorm2d(3, track_running_stats=False), IMAGE, "statistics of the batch"),
    "dropout": (Fn(lambda m, x: F.dropout(x, 0.5, training=True)), (2, 4), "at inference too"),
    "softplus": (nn.Softplus(beta=2.0), (2, 4), "beta=2.0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusal(name: str) -> None:
    model, shape, why = REFUSED[name]
    with pytest.raises(Unsupported) as caught:
        converter.convert(
            nn.Sequential(nn.Identity(), model), "keras", example_inputs=(torch.zeros(shape),), verify=False
        )
    assert {item.where for item in caught.value.items} == {"1"}
    assert why in str(caught.value)


@pytest.mark.parametrize("dims", [(), (0,), ((0, -1),)])
def test_squeezing_a_batch_of_any_size(dims: tuple[Any, ...]) -> None:
    """PyTorch squeezes a batch of 1 away, which no graph with a batch axis does."""
    squeezes = Fn(lambda m, x: m.fc(x).squeeze(*dims), fc=nn.Linear(4, 1))
    with pytest.raises(Unsupported, match="axis 0 may have any length") as caught:
        converter.convert(squeezes, "keras", example_inputs=(torch.zeros(1, 4),))
    assert "x.squeeze(-1)" in caught.value.items[0].todo
    made = back(squeezes, (3, 4), dynamic={})
    x = torch.randn(3, 4)
    assert np.allclose(keras.ops.convert_to_numpy(made.model(x)), squeezes(x).detach().numpy(), atol=1e-6)
    assert "fixed batch size 3" in str(made.report.notes)


def test_live_module_needs_examples() -> None:
    with pytest.raises(UsageError, match="example_inputs"):
        converter.convert(nn.Linear(2, 2), "keras")


# Files and the shown items -------------------------------------------------------------------------------------------


def test_digits_there_and_back() -> None:
    """The same layers, configs and, bit for bit, weights."""
    source = keras.saving.load_model(FIXTURES / "digits_cnn.keras")
    there = converter.convert(source, "torch", verify=False)
    made = converter.convert(there.model, "keras", example_inputs=(torch.zeros(1, 1, 8, 8),))
    assert made.report.passed
    assert [type(layer) for layer in made.model.layers] == [type(layer) for layer in source.layers]
    assert plain(made.model.get_config()) == plain(source.get_config())
    assert [layer.name for layer in made.model.layers] == [layer.name for layer in source.layers]
    assert [digest(w) for w in made.model.weights] == [digest(w) for w in source.weights]


def plain(config: Any) -> Any:
    """A config without names, modules and registered names."""
    if isinstance(config, dict):
        return {k: plain(v) for k, v in config.items() if k not in ("name", "module", "registered_name")}
    return [plain(v) for v in config] if isinstance(config, (list, tuple)) else config


def digest(weight: Any) -> str:
    data = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
    return hashlib.sha256(f"{data.dtype} {data.shape}".encode() + data.tobytes()).hexdigest()


PROGRAMS = {"small_residual": ("small_residual", 6), "mlp": ("mlp_torch", 1)}
"""A .pt2 file: the stem of its arrays, its BatchNorms."""


@pytest.mark.parametrize("stem", PROGRAMS)
def test_program_file(stem: str) -> None:
    made = converter.convert(FIXTURES / f"{stem}.pt2", "keras")
    assert made.report.passed
    assert made.report.proof
    assert made.report.transposes == 0
    found = classes(made.model)
    assert "Permute" not in found
    assert found.count("Dropout") == 1
    assert found.count("BatchNormalization") == PROGRAMS[stem][1]


@pytest.mark.tensorflow
def test_every_backend(tmp_path: Path) -> None:
    """The saved .keras files answer alike on TensorFlow, torch and JAX, each in a process of its own."""
    for stem, (arrays, _) in PROGRAMS.items():
        made = converter.convert(FIXTURES / f"{stem}.pt2", "keras", verify=False)
        made.save(tmp_path / f"{stem}.keras")
        assert (tmp_path / f"{stem}.py").read_text() == made.source
        data = np.load(FIXTURES / f"{arrays}.npz")
        image = data[next(name for name in data.files if name not in ("label", "output"))]
        turned = image.transpose(0, 2, 3, 1) if image.ndim == 4 else image
        np.savez(tmp_path / f"{stem}.npz", x=turned, y=data["output"])
    wrong = on_backends(tmp_path)
    assert not wrong, wrong


RUN = """
import json, sys
import numpy as np, keras
errors = []
for stem in sys.argv[1:]:
    data = np.load(stem + ".npz")
    y = keras.ops.convert_to_numpy(keras.saving.load_model(stem + ".keras")(data["x"], training=False))
    errors.append(float(np.abs(y - data["y"]).max() / np.abs(data["y"]).max()))
print(json.dumps([keras.backend.backend(), max(errors) if np.isfinite(errors).all() else "not finite"]))
"""


def on_backends(folder: Path) -> dict[str, str]:
    """Backend -> what went wrong when a fresh process ran the files."""
    wrong: dict[str, str] = {}
    running = {}
    for backend in ("tensorflow", "torch", "jax"):
        if importlib.util.find_spec(backend) is None:
            continue
        env = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, "-c", RUN, *PROGRAMS]
        running[backend] = subprocess.Popen(
            command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    for backend, process in running.items():
        out, err = process.communicate(timeout=300)
        answer = json.loads(out.splitlines()[-1]) if process.returncode == 0 else [backend, err[-2000:]]
        if answer[0] != backend or not isinstance(answer[1], float) or not answer[1] <= 2e-6:
            wrong[backend] = str(answer)
    return wrong


def test_generated_file_loads_the_model_beside_it(tmp_path: Path) -> None:
    made = converter.convert(FIXTURES / "mlp.pt2", "keras", verify=False)
    made.save(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.keras", "model.py", "report.json"}
    env = {**os.environ, "KERAS_BACKEND": "torch"}
    ran = subprocess.run(
        [sys.executable, "model.py"], cwd=tmp_path / "out", env=env, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "fc1" in ran.stdout
