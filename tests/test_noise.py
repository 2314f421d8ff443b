"""Noise layers: nothing at inference, Keras's distribution while the model trains."""

from __future__ import annotations

from typing import Any

import keras
import pytest
import torch

import converter

L = keras.layers


def trained(layer: Any, shape: tuple[int, ...]) -> torch.Tensor:
    """The converted layer in training mode, on ones."""
    x = keras.Input(shape[1:], name="x")
    target = converter.convert(keras.Model(x, layer(x)), "torch", layout="source", verify=False).model
    ones = torch.ones(shape)
    assert torch.equal(target(ones), ones)
    target.train()
    out: torch.Tensor = target(ones)
    return out


def test_dropout_noise_shape_in_training() -> None:
    out = trained(L.Dropout(0.25, noise_shape=(None, 1, None)), (400, 5, 30))
    assert torch.equal(out, out[:, :1].expand_as(out))
    assert out.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert abs(float((out == 0).float().mean()) - 0.25) < 0.02


def test_dropout_noise_shape_for_the_whole_batch() -> None:
    out = trained(L.Dropout(0.5, noise_shape=(1, 5, 30)), (40, 5, 30))
    assert torch.equal(out, out[:1].expand_as(out))
    assert 0 < float((out == 0).float().mean()) < 1


@pytest.mark.parametrize("first", [False, True])
def test_spatial_dropout_in_training(first: bool) -> None:
    form = "channels_first" if first else "channels_last"
    out = trained(L.SpatialDropout2D(0.25, data_format=form), (200, 30, 4, 5) if first else (200, 4, 5, 30))
    maps = out if first else out.permute(0, 3, 1, 2)
    assert torch.equal(maps, maps[:, :, :1, :1].expand_as(maps))
    assert abs(float((out == 0).float().mean()) - 0.25) < 0.03


@pytest.mark.parametrize("noise_shape", [None, (None, 1, None)])
def test_alpha_dropout_in_training(noise_shape: Any) -> None:
    """The two values that Keras gives, and their shares."""
    rate, limit = 0.3, -1.7580993408473766
    out = trained(L.AlphaDropout(rate, noise_shape=noise_shape), (400, 5, 30))
    scale = ((1 - rate) * (1 + rate * limit**2)) ** -0.5
    values = [scale * limit - scale * limit * rate, scale - scale * limit * rate]
    assert out.unique().tolist() == pytest.approx(values, rel=1e-4)
    assert abs(float((out > 0).float().mean()) - 0.7) < 0.02
    if noise_shape:
        assert torch.equal(out, out[:, :1].expand_as(out))


def test_gaussian_noise_in_training() -> None:
    out = trained(L.GaussianNoise(0.5), (400, 5, 30))
    assert abs(float(out.mean()) - 1) < 0.02
    assert abs(float(out.std()) - 0.5) < 0.02


def test_gaussian_dropout_in_training() -> None:
    out = trained(L.GaussianDropout(0.2), (400, 5, 30))
    assert abs(float(out.mean()) - 1) < 0.02
    assert abs(float(out.std()) - 0.5) < 0.02
