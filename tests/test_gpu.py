"""The checks that need a CUDA device: the judge's rung on it, TF32 off, and every row of tests/cases (`tox -e gpu`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import converter
from tests.cases import Case, all_cases
from tests.test_ops import build, flat, inputs_of

pytestmark = pytest.mark.gpu
FIXTURES = Path(__file__).parent.parent / "fixtures"


@pytest.fixture(autouse=True)
def cuda() -> None:
    if not torch.cuda.is_available():
        pytest.fail("tox -e gpu was asked for on a machine without a CUDA device")


def test_digits_cnn_on_the_gpu() -> None:
    made = converter.convert(FIXTURES / "digits_cnn.keras", "torch", device="cuda")
    assert made.report.passed
    assert any(rung["device"] == "cuda" and rung["passed"] for rung in made.report.rungs)


@pytest.mark.parametrize("case", all_cases(), ids=lambda c: c.id)
def test_rows(case: Case) -> None:
    """float64 on the device against float64 on the CPU."""
    model = build(case)
    made = converter.convert(model, "torch", layout="source", verify=False)
    here = made.model.double()
    arrays = [torch.from_numpy(a) for a in inputs_of(case, model, 2, case.sizes[0], "float64")]
    with torch.no_grad():
        want = flat(here(*arrays))
        got = flat([t.cpu() for t in _leaves(here.cuda()(*[a.cuda() for a in arrays]))])
    for one, two in zip(want, got, strict=True):
        assert np.abs(one - two).max() <= 1e-10 * max(np.abs(one).max(), 1e-30)


def _leaves(outputs: object) -> list[torch.Tensor]:
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    parts = outputs.values() if isinstance(outputs, dict) else outputs
    return [leaf for part in parts for leaf in _leaves(part)]  # type: ignore[union-attr]
