"""What the rows of tests/cases/norm.py cannot show on Keras's torch backend: other axes, and training."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

import converter
from converter.errors import Unsupported

ROOT = Path(__file__).parents[1]
OTHER_AXES = """
import triton  # before tensorflow
from tests.cases import unary
from tests.cases.norm import behind_conv
from tests.test_ops import check

for case in (
    unary("axis1", (4, 5, 6), lambda L: L.LayerNormalization(axis=1)),
    unary("axis1_of_equals", (5, 5), lambda L: L.LayerNormalization(axis=1)),
    unary("axes12", (4, 5, 6), lambda L: L.LayerNormalization(axis=[2, 1], center=False)),
    unary("axis2_rank5", (3, 4, 5, 6), lambda L: L.LayerNormalization(axis=2, scale=False)),
    behind_conv("rows_of_conv", lambda L: L.LayerNormalization(axis=1)),
    behind_conv("planes_of_conv", lambda L: L.LayerNormalization(axis=[1, 2])),
):
    for layout in ("native", "source"):
        check(case, "float64", layout, 1e-10)
print("compared")
"""


@pytest.mark.tensorflow
def test_layer_norm_over_other_axes() -> None:
    """Keras's torch backend normalises the last axes whatever `axis` says; TensorFlow's does what it says."""
    pytest.importorskip("triton")
    env = os.environ | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, "-c", OTHER_AXES], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "compared" in done.stdout


def _trained(settings: dict[str, Any], steps: int = 3) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Outputs in training and the running statistics after it, of a layer and of what it becomes."""
    keras.utils.set_random_seed(0)
    x = keras.Input((6, 5, 3), name="x")
    layer = keras.layers.BatchNormalization(axis=1, momentum=0.8, **settings)
    model = keras.Model(x, layer(x))
    target = converter.convert(model, "torch", layout="source", verify=False).model.train()
    rng = np.random.default_rng(0)
    source, made = [], []
    for _ in range(steps):
        batch = rng.normal(1.0, 2.0, (4, 6, 5, 3)).astype("float32")
        source.append(keras.ops.convert_to_numpy(model(batch, training=True)))
        made.append(target(torch.from_numpy(batch)).detach().numpy())
    module = next(iter(target.children()))
    names = {"moving_mean": "running_mean", "moving_variance": "running_var", "moving_stddev": "running_std"}
    names |= {"renorm_mean": "renorm_mean", "renorm_stddev": "renorm_std"}
    for keras_name, name in names.items():
        source.append(keras.ops.convert_to_numpy(getattr(layer, keras_name)))
        made.append(getattr(module, name).numpy())
    return source, made


@pytest.mark.parametrize("clipping", [None, {"rmin": 0.9, "rmax": 1.1, "dmax": 0.2}], ids=["free", "clipped"])
def test_batch_renormalisation_trains_alike(clipping: dict[str, float] | None) -> None:
    for want, have in zip(*_trained({"renorm": True, "renorm_clipping": clipping}), strict=True):
        np.testing.assert_allclose(have, want, rtol=2e-4, atol=2e-5)


def test_batch_renormalisation_has_gradients() -> None:
    x = keras.Input((6,), name="x")
    model = keras.Model(x, keras.layers.BatchNormalization(renorm=True)(x))
    target = converter.convert(model, "torch", verify=False).model.train()
    given = torch.randn(8, 6, requires_grad=True)
    (target(given) ** 3).sum().backward()
    assert given.grad is not None
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in target.parameters())


def test_notes_name_what_training_does_not_do() -> None:
    x = keras.Input((6,), name="x")
    model = keras.Model(x, keras.layers.SpectralNormalization(keras.layers.Dense(4), name="spectral")(x))
    notes = converter.convert(model, "torch", verify=False).report.notes
    assert any("spectral" in note and "training" in note for note in notes)


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        (lambda L: L.RMSNormalization(axis=1), (5, 5), "last axes"),
        (lambda L: L.GroupNormalization(groups=-1), (5,), "single value"),
        (lambda L: L.BatchNormalization(), (2, 3, 4, 5, 6), "6 axes"),
    ],
    ids=["rms_axis", "group_of_one", "rank6"],
)
def test_refusals_say_why(layer: Any, shape: tuple[int, ...], words: str) -> None:
    x = keras.Input(shape, name="x")
    model = keras.Model(x, layer(keras.layers)(x))
    with pytest.raises(Unsupported, match=words):
        converter.convert(model, "torch", verify=False)
