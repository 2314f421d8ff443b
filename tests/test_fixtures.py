"""The committed files, every dialect: the target answers what the writer itself recorded, on real test images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import converter

FIXTURES = Path(__file__).parent.parent / "fixtures"
KERAS = {
    "digits_cnn.keras": "digits_cnn.npz",
    "digits_cnn.h5": "digits_cnn.npz",
    "digits_cnn_tfkeras.h5": "digits_cnn_tfkeras.npz",
    "digits_legacy.h5": "digits_legacy.npz",
    "digits_ops.h5": "digits_ops.npz",
    "mlp.keras": "mlp.npz",
    "mlp.h5": "mlp.npz",
    "mlp_tfkeras.h5": "mlp_tfkeras.npz",
}


@pytest.mark.parametrize("name", KERAS)
def test_answers_as_the_writer_did(name: str) -> None:
    with np.load(FIXTURES / KERAS[name]) as data:
        inputs = next(data[key] for key in data.files if key not in ("label", "output"))
        labels, recorded = data["label"], data["output"]
    made = converter.convert(FIXTURES / name, "torch", layout="source", verify=False)
    with torch.no_grad():
        got = made.model(torch.from_numpy(inputs)).numpy()
    assert np.abs(got - recorded).max() <= 1e-5 * np.abs(recorded).max()
    assert (got.argmax(1) == recorded.argmax(1)).all()
    assert (got.argmax(1) == labels).mean() > 0.9


@pytest.mark.parametrize("name", ["digits_legacy.h5", "digits_ops.h5"])
def test_legacy_files_are_proven_and_their_repairs_reported(name: str) -> None:
    made = converter.convert(FIXTURES / name, "torch")
    assert made.report.passed, str(made.report)
    assert made.report.proof, str(made.report)
    assert made.report.repairs
    assert made.report.transposes == 0


def test_the_mapping_keeps_the_file_s_own_names() -> None:
    made = converter.convert(FIXTURES / "digits_legacy.h5", "torch", verify=False)
    assert any("/" in entry.source.rsplit("/", 1)[0] for entry in made.mapping)
