"""The converted model trains as its source does: first loss, gradients, frozen parts, running statistics."""

from __future__ import annotations

import copy
from typing import Any

import keras
import numpy as np
import pytest
import torch
from torch import nn

import converter
from converter.judge.run_keras import float64_keras


def network(frozen: bool) -> Any:
    """A small residual network; with `frozen` its stem, BatchNorm included, is not trainable."""
    L = keras.layers
    x = inputs = keras.Input((9, 7, 3), name="image")
    x = L.Conv2D(6, 3, padding="same", name="stem")(x)
    x = L.BatchNormalization(name="stem_bn", momentum=0.9)(x)
    x = L.ReLU(name="stem_relu")(x)
    y = L.Conv2D(6, 3, padding="same", use_bias=False, name="conv")(x)
    y = L.BatchNormalization(name="bn", momentum=0.8, scale=False)(y)
    x = L.Add(name="add")([x, y])
    x = L.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="down")(x)
    x = L.Flatten(name="flat")(x)
    model = keras.Model(inputs, L.Dense(5, name="fc")(x))
    if frozen:
        for name in ("stem", "stem_bn"):
            model.get_layer(name).trainable = False
    return model


def pair(frozen: bool) -> tuple[Any, nn.Module, converter.Conversion]:
    """Source and target in float64 with the same weights."""
    keras.utils.set_random_seed(3)
    single = network(frozen)
    made = converter.convert(single, "torch", verify=False)
    double = network(frozen)
    double.set_weights(single.get_weights())
    return double, copy.deepcopy(made.model).double().train(), made


def data(step: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(step)
    return rng.normal(size=(8, 9, 7, 3)), rng.integers(0, 5, 8)


def keras_loss(model: Any, x: np.ndarray, y: np.ndarray) -> torch.Tensor:
    logits = model(torch.from_numpy(x), training=True)
    return nn.functional.cross_entropy(logits, torch.from_numpy(y))


def torch_loss(model: nn.Module, x: np.ndarray, y: np.ndarray) -> torch.Tensor:
    logits = model(torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2))))
    return nn.functional.cross_entropy(logits, torch.from_numpy(y))


@pytest.mark.parametrize("frozen", [False, True])
def test_first_loss_and_gradients(frozen: bool) -> None:
    """The first loss agrees to 1e-10; a gradient is non-zero exactly where the source's is, and equal to it."""
    with float64_keras():
        source, target, made = pair(frozen)
        x, y = data(0)
        want, got = keras_loss(source, x, y), torch_loss(target, x, y)
        assert abs(want.item() - got.item()) <= 1e-10 * abs(want.item())
        want.backward()
        got.backward()
        gradients = {w.path: w.value.grad for w in source.trainable_weights}
        state = dict(target.named_parameters())
        seen = 0
        for entry in made.mapping:
            parameter = state.get(entry.target)
            if parameter is None or not parameter.requires_grad:
                continue
            theirs = gradients[entry.source].detach().numpy()
            mine = parameter.grad.detach().numpy()
            assert np.isfinite(mine).all()
            assert np.any(theirs != 0) == np.any(mine != 0)
            assert np.linalg.norm(theirs) == pytest.approx(np.linalg.norm(mine), rel=1e-9, abs=1e-14)
            if entry.axes is not None and not entry.transform:
                assert np.abs(theirs.transpose(entry.axes) - mine).max() <= 1e-10 * max(np.abs(theirs).max(), 1e-12)
            seen += 1
        assert seen == len(source.trainable_weights)


def test_half_frozen_stays_in_step() -> None:
    """Three SGD steps with a frozen stem: weights and running means agree; torch's running variance takes n - 1."""
    with float64_keras():
        source, target, made = pair(frozen=True)
        frozen = {k: v.clone() for k, v in target.state_dict().items() if k.startswith("stem")}
        optimizer = torch.optim.SGD([p for p in target.parameters() if p.requires_grad], lr=0.05)
        variance = source.get_layer("bn").moving_variance
        for step in range(3):
            x, y = data(step)
            for weight in source.trainable_weights:
                weight.value.grad = None
            old = np.array(keras.ops.convert_to_numpy(variance))
            keras_loss(source, x, y).backward()
            with torch.no_grad():
                for weight in source.trainable_weights:
                    weight.value.sub_(0.05 * weight.value.grad)
            before = target.bn.running_var.clone()
            optimizer.zero_grad()
            torch_loss(target, x, y).backward()
            optimizer.step()
            n = 8 * 9 * 7
            biased = (np.array(keras.ops.convert_to_numpy(variance)) - 0.8 * old) / 0.2
            unbiased = (target.bn.running_var - 0.8 * before).numpy() / 0.2
            assert np.abs(biased * n / (n - 1) - unbiased).max() <= 1e-10 * np.abs(unbiased).max()
        for name, value in frozen.items():
            assert torch.equal(target.state_dict()[name], value), name
        mean = np.array(keras.ops.convert_to_numpy(source.get_layer("bn").moving_mean))
        assert np.abs(mean - target.bn.running_mean.numpy()).max() <= 1e-12
        source_weights = {w.path: np.array(keras.ops.convert_to_numpy(w)) for w in source.trainable_weights}
        state = target.state_dict()
        for entry in made.mapping:
            if entry.source in source_weights and entry.axes is not None and not entry.transform:
                want = source_weights[entry.source].transpose(entry.axes)
                assert np.abs(want - state[entry.target].numpy()).max() <= 1e-10


def test_torch_tools() -> None:
    """torch.compile, torch.export, a state-dict round trip, deepcopy, inspect."""
    import inspect

    made = converter.convert(network(False), "torch", verify=False)
    model = made.model
    x = torch.randn(2, 3, 9, 7)
    want = model(x)
    assert torch.equal(copy.deepcopy(model)(x), want)
    fresh = type(model)()
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh.eval()(x), want)
    program = torch.export.export(model, (x,))
    assert torch.allclose(program.module()(x), want)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(x), want)
    assert "class Model" in inspect.getsource(type(model))
