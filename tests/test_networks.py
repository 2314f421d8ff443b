"""What networks of PyTorch do on the way to Keras: reshapes that merge axes and split them again are done without,
several in a row become one; epsilons, kernels and tables that depend on what is given."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import converter
from converter.graph.regroup import grouped


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((None, 8), ("b", "t", 8), (("b", "t"), (8,))),
        ((None, "t", 8), ("b", 4, "t", 8), (("b", 4), ("t",), (8,))),
        (("b", "t", 32), ("b", "t", 4, 8), (("b",), ("t",), (4, 8))),
        (("b", None, 8), ("b", "t", 4, 8), (("b",), ("t", 4), (8,))),
        (("b", 6, None), ("b", 6, "t", 2), (("b",), (6,), ("t", 2))),
        ((None, None), ("b", 4, "t"), None),
        (("b", 4, 2), ("b", 8), None),
        (("b", "t"), ("t", "b"), None),
        (("b", 1, 6), ("b", 6), None),
    ],
)
def test_which_axes_are_split_into_which(before: Any, after: Any, expected: Any) -> None:
    assert grouped(before, after) == expected


class Product(nn.Module):
    """GPT-2's Conv1D: a product of two axes, with a kernel (in, out)."""

    def __init__(self, width: int, units: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(width, units)), nn.Parameter(torch.randn(units))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(*x.shape[:-1], -1)


class Rows(nn.Module):
    """Rows, normalised one by one, of which some are read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.fc = nn.LayerNorm(4), nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        rows = self.norm(x.reshape(b * t, c))
        return (torch.log_softmax(self.fc(rows), -1) * torch.arange(6.0)).view(b, t, 6)


def heads(batch_first: bool) -> nn.Module:
    return nn.TransformerEncoderLayer(4, 2, 8, batch_first=batch_first)


NETWORKS: dict[str, tuple[Any, int]] = {
    "product": (lambda: nn.Sequential(Product(4, 6), nn.GELU(), Product(6, 4)), 0),
    "rows": (Rows, 0),
    "encoder": (lambda: heads(True), 3),
    "encoder of (length, batch, width)": (lambda: heads(False), 3),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_batch_and_length_are_dynamic(name: str) -> None:
    torch.manual_seed(0)
    make, reshapes = NETWORKS[name]
    model = make().eval()
    dynamic = ({0: "batch", 1: "length"},)
    made = converter.convert(model, "keras", example_inputs=(torch.randn(3, 5, 4),), dynamic=dynamic)
    assert made.report.passed
    assert made.report.proof
    assert made.report.to_dict()["dynamic"] == {made.model.inputs[0].name: ["batch", "length", 4]}
    assert made.source.count("eshape(") <= reshapes
    for shape in ((2, 7, 4), (4, 2, 4)):
        x = torch.randn(shape)
        want = model(x).detach().numpy()
        np.testing.assert_allclose(keras.ops.convert_to_numpy(made.model(x)), want, rtol=1e-4, atol=1e-5)


def test_reshapes_in_a_row_are_one() -> None:
    class Row(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.unsqueeze(0).unsqueeze(3).squeeze(0).reshape(x.shape[0], 2, 6).view(x.shape[0], 3, 4) + 1.0

    made = converter.convert(Row(), "keras", example_inputs=(torch.randn(2, 3, 4),), verify=False)
    assert "eshape(" not in made.source
    assert "squeeze" not in made.source


def test_a_weight_that_several_read_is_no_reason_to_compute_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            b, t, c = x.shape
            y = self.fc(x.reshape(b * t, c))
            return y.view(b, t, c) + y.mean(0)

    dynamic = ({0: "batch", 1: "length"},)
    with pytest.raises(converter.errors.Unsupported, match="several lengths"):
        converter.convert(Twice(), "keras", example_inputs=(torch.randn(2, 3, 4),), dynamic=dynamic, verify=False)


class Plain(nn.Module):
    """RMSNorm as people write it, on numbers that are small beside float32's epsilon."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x * 1e-4) + nn.functional.rms_norm(x * 1e-4, (6,))


def test_the_epsilon_of_a_precision_is_a_number() -> None:
    made = converter.convert(Plain(), "keras", example_inputs=(torch.randn(2, 6),))
    assert made.report.passed
    assert made.report.proof
    assert any("epsilon=1.1920928955078125e-07" in note for note in made.report.to_dict()["notes"])
    with pytest.raises(converter.errors.Unsupported, match="eps=None"):
        converter.convert(Plain().double(), "keras", example_inputs=(torch.randn(2, 6).double(),), verify=False)


class Standardised(nn.Conv2d):
    """A kernel of mean 0 and variance 1, by the statistics of a batch that it is."""

    def forward(self, x: Tensor) -> Tensor:
        gain = torch.arange(float(self.out_channels)) * 0.2 + 0.5
        flat = self.weight.reshape(1, self.out_channels, -1)
        kernel = nn.functional.batch_norm(flat, None, None, gain, gain - 1.0, training=True, eps=1e-6)
        return nn.functional.conv2d(x, kernel.reshape_as(self.weight), self.bias, groups=self.groups)


def test_a_standardised_kernel_has_no_statistics_of_a_batch() -> None:
    model = Standardised(4, 6, 3)
    made = converter.convert(model, "keras", example_inputs=(torch.randn(2, 4, 7, 5),))
    assert made.report.passed
    assert made.report.proof
    with pytest.raises(converter.errors.Unsupported, match="takes no groups"):
        converter.convert(Standardised(4, 6, 3, groups=2), "keras", example_inputs=(torch.randn(2, 4, 7, 5),))
    batch = nn.BatchNorm1d(4, track_running_stats=False)
    with pytest.raises(converter.errors.Unsupported, match="statistics of the batch"):
        converter.convert(batch, "keras", example_inputs=(torch.randn(2, 4),))


def test_a_table_is_repeated_as_often_as_there_are_examples() -> None:
    class Placed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(1, 2, 3))

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x, self.table.repeat(x.shape[0], 2, 1)], 1)

    made = converter.convert(Placed(), "keras", example_inputs=(torch.randn(2, 4, 3),))
    assert made.report.passed
    assert made.report.proof
