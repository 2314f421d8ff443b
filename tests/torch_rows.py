"""For every PyTorch operation that has a row, a function that calls it, and the shape of its input.

Operations are named as torch.export names them, 'conv2d.default'; modules that are read as a whole, 'nn.Softsign'.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests import torch_rows_layers, torch_rows_lengths, torch_rows_moves, torch_rows_numbers

aten = torch.ops.aten
Function = Callable[["Fn", Tensor], Tensor]
SEQUENCE, IMAGE, VOLUME = (2, 4, 6), (2, 4, 6, 8), (2, 4, 5, 6, 8)


class Fn(nn.Module):
    """A function of the input, with a layer of each kind at hand."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function
        torch.manual_seed(0)
        self.fc = nn.Linear(4, 3)
        self.conv1, self.conv2, self.conv3 = nn.Conv1d(4, 3, 3), nn.Conv2d(4, 3, 3), nn.Conv3d(4, 3, 3)
        self.same1, self.same2, self.same3 = (
            kind(4, 3, 3, padding="same") for kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d)
        )
        self.norm = nn.BatchNorm2d(4)
        self.softsign, self.tanhshrink, self.logsigmoid = nn.Softsign(), nn.Tanhshrink(), nn.LogSigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def program(module: Fn, example: Tensor) -> set[str]:
    """The names of what a module calls, as its exported program has them."""
    exported = torch.export.export(module, (example,), strict=False)
    found = set()
    for node in exported.graph.nodes:
        found.add(str(node.target).removeprefix("aten."))
        for _, cls in (node.meta.get("nn_module_stack") or {}).values():
            found.add("nn." + str(cls if isinstance(cls, str) else cls.__qualname__).rsplit(".", 1)[-1])
    return found


def plain(*names: str) -> dict[str, tuple[Function, tuple[int, ...]]]:
    """Operations of one tensor without arguments."""

    def row(name: str) -> tuple[Function, tuple[int, ...]]:
        operation: Any = getattr(aten, name)
        return (lambda m, x: operation(m.fc(x))), (2, 4)

    return {f"{name}.default": row(name) for name in names}


ROWS: dict[str, tuple[Function, tuple[int, ...]]] = {
    **torch_rows_layers.ROWS,
    **torch_rows_lengths.ROWS,
    **torch_rows_moves.ROWS,
    **torch_rows_numbers.ROWS,
    **plain("celu", "elu", "exp", "gelu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "mish"),
    **plain("log_sigmoid", "relu", "relu6", "selu", "sigmoid", "silu", "softplus", "softshrink", "tanh"),
    **plain("alias", "clone", "contiguous", "detach", "lift_fresh_copy"),
    "nn.LogSigmoid": (lambda m, x: m.logsigmoid(x), (2, 4)),
    "nn.Softsign": (lambda m, x: m.softsign(x), (2, 4)),
    "nn.Tanhshrink": (lambda m, x: m.tanhshrink(x), (2, 4)),
    "threshold.default": (lambda m, x: F.threshold(x, 0.3, 0.0), (2, 4)),
    "clamp.default": (lambda m, x: x.clamp(0.0, 6.0), (2, 4)),
    "softmax.int": (lambda m, x: F.softmax(x, 1), SEQUENCE),
    "log_softmax.int": (lambda m, x: F.log_softmax(x, -1), SEQUENCE),
    "_unsafe_view.default": (lambda m, x: aten._unsafe_view(m.conv2(x), [2, -1]), IMAGE),
    "view.default": (lambda m, x: x.view(-1, 24), SEQUENCE),
    "reshape.default": (lambda m, x: x.reshape(-1, 3, 8), SEQUENCE),
    "flatten.using_ints": (lambda m, x: x.flatten(1), SEQUENCE),
    "unflatten.int": (lambda m, x: x.unflatten(1, (2, 2)), (2, 4)),
    "squeeze.default": (lambda m, x: x + x.mean(0, keepdim=True).squeeze(), (2, 4)),
    "squeeze.dim": (lambda m, x: x.squeeze(2), (2, 4, 1)),
    "squeeze.dims": (lambda m, x: x.squeeze((1, 3)), (2, 1, 4, 1)),
    "unsqueeze.default": (lambda m, x: x.unsqueeze(1), SEQUENCE),
    "permute.default": (lambda m, x: x.permute(0, 2, 1), SEQUENCE),
    "transpose.int": (lambda m, x: x.transpose(1, 2), SEQUENCE),
    "t.default": (lambda m, x: F.linear(x, m.fc.weight.t().t()), (2, 4)),
    "cat.default": (lambda m, x: torch.cat([x, x], 1), SEQUENCE),
    "concat.default": (lambda m, x: torch.concat([x, x], 2), SEQUENCE),
    "pad.default": (lambda m, x: m.conv2(F.pad(x, (1, 2, 0, 1))), IMAGE),
    "add.Tensor": (lambda m, x: x + F.relu(x), (2, 4)),
    "sub.Tensor": (lambda m, x: x - F.relu(x), (2, 4)),
    "mul.Tensor": (lambda m, x: x * F.relu(x), (2, 4)),
    "div.Tensor": (lambda m, x: x / 3.0, (2, 4)),
    "rsub.Scalar": (lambda m, x: 1.0 - x, (2, 4)),
    "rsub.Tensor": (lambda m, x: torch.rsub(x, F.relu(x)), (2, 4)),
    "maximum.default": (lambda m, x: torch.maximum(x, x * x), (2, 4)),
    "minimum.default": (lambda m, x: torch.minimum(x, x * x), (2, 4)),
    "mean.dim": (lambda m, x: m.conv2(x).mean((2, 3)), IMAGE),
    "amax.default": (lambda m, x: m.conv2(x).amax((2, 3)), IMAGE),
    "linear.default": (lambda m, x: m.fc(x), (2, 4)),
    "conv1d.default": (lambda m, x: m.conv1(x), SEQUENCE),
    "conv2d.default": (lambda m, x: m.conv2(x), IMAGE),
    "conv3d.default": (lambda m, x: m.conv3(x), VOLUME),
    "conv1d.padding": (lambda m, x: m.same1(x), SEQUENCE),
    "conv2d.padding": (lambda m, x: m.same2(x), IMAGE),
    "conv3d.padding": (lambda m, x: m.same3(x), VOLUME),
    "batch_norm.default": (lambda m, x: m.norm(x), IMAGE),
    "max_pool1d.default": (lambda m, x: F.max_pool1d(x, 2), SEQUENCE),
    "max_pool2d.default": (lambda m, x: F.max_pool2d(x, 2), IMAGE),
    "max_pool3d.default": (lambda m, x: F.max_pool3d(x, 2), VOLUME),
    "avg_pool1d.default": (lambda m, x: F.avg_pool1d(x, 2), SEQUENCE),
    "avg_pool2d.default": (lambda m, x: F.avg_pool2d(x, 2), IMAGE),
    "avg_pool3d.default": (lambda m, x: F.avg_pool3d(x, 2), VOLUME),
    "adaptive_avg_pool1d.default": (lambda m, x: F.adaptive_avg_pool1d(m.conv1(x), 1), SEQUENCE),
    "adaptive_avg_pool2d.default": (lambda m, x: F.adaptive_avg_pool2d(m.conv2(x), 1), IMAGE),
    "adaptive_avg_pool3d.default": (lambda m, x: F.adaptive_avg_pool3d(m.conv3(x), 1), VOLUME),
    "dropout.default": (lambda m, x: F.dropout(x, 0.3, m.training), (2, 4)),
    "alpha_dropout.default": (lambda m, x: F.alpha_dropout(x, 0.3, m.training), (2, 4)),
    "feature_dropout.default": (lambda m, x: F.dropout2d(x, 0.3, m.training), IMAGE),
}
