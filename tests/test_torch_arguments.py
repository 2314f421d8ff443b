"""Arguments of PyTorch's operations that are not the usual ones: the answer is PyTorch's, or they are refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import converter
from converter.errors import Unsupported
from converter.ops.base import TORCH_OPERATIONS
from tests.test_merges import Fn

IMAGE = (2, 3, 8, 8)
Row = tuple[Any, tuple[tuple[int, ...], ...]]


def fn(function: Callable[..., Any], *shapes: tuple[int, ...]) -> Row:
    return Fn(function), shapes or (IMAGE,)


class Normed(nn.Module):
    """F.batch_norm with arguments of its own."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.options = options

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.norm.running_mean, self.norm.running_var, **self.options)


def rows() -> Iterator[tuple[str, Row]]:
    yield "add alpha", fn(lambda x, y: torch.add(x, y, alpha=2), IMAGE, IMAGE)
    yield "add number alpha", fn(lambda x: torch.add(x, 3, alpha=2))
    yield "sub alpha", fn(lambda x, y: torch.sub(x, y, alpha=0.5), IMAGE, IMAGE)
    yield "add in place alpha", fn(lambda x, y: torch.relu(x).add_(y, alpha=3), IMAGE, IMAGE)
    yield "addmm", fn(lambda x, y, z: torch.addmm(x, y, z, beta=2, alpha=3), (3, 3), (3, 3), (3, 3))
    for mode in (None, "floor", "trunc"):
        yield f"div {mode}", fn(lambda x, y, m=mode: torch.div(x, y, rounding_mode=m), IMAGE, IMAGE)
    for dtype in (torch.float64, torch.float16):
        yield f"mean {dtype}", fn(lambda x, d=dtype: x.mean((2, 3), dtype=d))
        yield f"softmax {dtype}", fn(lambda x, d=dtype: F.softmax(x, -1, dtype=d))
        yield f"log_softmax {dtype}", fn(lambda x, d=dtype: F.log_softmax(x, -1, dtype=d))
        yield f"to {dtype}", fn(lambda x, d=dtype: torch.relu(x.to(d)))
    for keep in (False, True):
        for dims in ((2, 3), (-1, -2), (1,), (0,), (1, 2), ()):
            yield f"mean {dims} {keep}", fn(lambda x, d=dims, k=keep: x.mean(d, keepdim=k))
            yield f"amax {dims} {keep}", fn(lambda x, d=dims, k=keep: x.amax(d, keepdim=k))
    for kernel, stride, padding in ((2, None, 0), (3, 2, 1), ((2, 3), 1, 0), (3, 3, 0), (3, 3, 1)):
        for ceil in (False, True):
            name = f"{kernel} {stride} {padding} {ceil}"
            yield f"max_pool {name}", (nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil), (IMAGE,))
            for included in (False, True):
                pool = nn.AvgPool2d(kernel, stride, padding, ceil_mode=ceil, count_include_pad=included)
                yield f"avg_pool {name} {included}", (pool, (IMAGE,))
    yield "max_pool dilation", (nn.MaxPool2d(2, dilation=2), (IMAGE,))
    yield "max_pool indices", fn(lambda x: F.max_pool2d(x, 2, return_indices=True)[0])
    yield "avg_pool divisor", (nn.AvgPool2d(2, divisor_override=3), (IMAGE,))
    for size in (1, 2, 3, (1, 2)):
        yield f"adaptive {size}", (nn.AdaptiveAvgPool2d(size), (IMAGE,))
    yield "batch_norm plain", (nn.BatchNorm2d(3, affine=False, eps=0.1), (IMAGE,))
    yield "batch_norm of the batch", (nn.BatchNorm2d(3, track_running_stats=False), (IMAGE,))
    yield "batch_norm training", (Normed(training=True), (IMAGE,))
    yield "batch_norm eps", (Normed(training=False, eps=0.3), (IMAGE,))
    for start, end in ((0, -1), (1, -1), (1, 2), (2, 3), (0, 1), (-2, -1)):
        yield f"flatten {start} {end}", (nn.Flatten(start, end), (IMAGE,))
    for dim in (0, 1, -1, -3, -4):
        yield f"cat {dim}", fn(lambda x, y, d=dim: torch.cat([x, y], d), IMAGE, IMAGE)
    for mode in ("constant", "reflect", "replicate", "circular"):
        yield f"pad {mode}", fn(lambda x, m=mode: torch.relu(F.pad(x, (1, 2, 0, 1), mode=m)))
        yield (
            f"conv {mode}",
            (
                nn.Conv2d(3, 4, 3, padding=1, padding_mode="zeros" if mode == "constant" else mode),
                (IMAGE,),
            ),
        )
    yield "pad cut", fn(lambda x: F.pad(x, (1, -1, 0, 0)))
    yield "pad value", fn(lambda x: F.pad(x, (1, 1, 1, 1), value=2.0))
    yield "pad batch", fn(lambda x: F.pad(x, (0, 0, 0, 0, 0, 0, 1, 1)))
    yield "pad channels", fn(lambda x: F.pad(x, (0, 0, 0, 0, 1, 1)))
    for options in (
        {"stride": 2, "dilation": 2},
        {"dilation": 2, "padding": 1},
        {"groups": 3, "stride": (1, 2)},
        {"padding": "same", "dilation": 2},
        {"padding": (1, 0), "bias": False},
    ):
        yield f"conv {options}", (nn.Conv2d(3, 6, 3, **options), (IMAGE,))
    for upsample in (
        nn.Upsample(scale_factor=2),
        nn.Upsample(scale_factor=1.5),
        nn.Upsample(size=(5, 7)),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
    ):
        yield f"{upsample}", (upsample, (IMAGE,))
    for module in (
        nn.ELU(0.5),
        nn.CELU(0.5),
        nn.LeakyReLU(0.3),
        nn.GELU("tanh"),
        nn.Softplus(2, 10),
        nn.Softplus(1, 1),
        nn.Hardtanh(-2, 3),
        nn.Hardtanh(0, 6),
        nn.Hardshrink(0.3),
        nn.Softshrink(0.2),
        nn.Threshold(0.1, 5),
        nn.Threshold(0.1, 0),
        nn.Softmax(1),
        nn.LogSoftmax(1),
    ):
        yield f"{module}", (module, (IMAGE,))
    for low, high in ((None, 1), (0, None), (-1, 1), (0, 6), (1, 2), (0, 1)):
        yield f"clamp {low} {high}", fn(lambda x, a=low, b=high: x.clamp(a, b))
    yield "transpose 0 1", fn(lambda x: x.transpose(0, 1))
    yield "permute", fn(lambda x: x.permute(0, 3, -2, -3))
    yield "unsqueeze 0", fn(lambda x: x.unsqueeze(0))
    yield "unsqueeze -1", fn(lambda x: x.unsqueeze(-1))
    yield "view over the batch", fn(lambda x: x.view(-1, 8))
    yield "unflatten", (nn.Unflatten(1, (3, 1)), (IMAGE,))
    yield "dropout in use", fn(lambda x: F.dropout(x, 0.5, training=True))


ROWS = dict(rows())
MUST_CONVERT = {
    "avg_pool 3 2 1 False True",
    "batch_norm eps",
    "cat -3",
    "conv {'dilation': 2, 'padding': 1}",
    "flatten 1 2",
    "max_pool 3 3 0 True",
    "pad channels",
    "permute",
    "unsqueeze -1",
    "LeakyReLU(negative_slope=0.3)",
    "Threshold(threshold=0.1, value=0)",
}


def seeded(module: Any) -> Any:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if tensor.is_floating_point():
                drawn = torch.randn(tensor.shape, generator=generator)
                tensor.copy_(drawn.abs() + 0.5 if name.endswith("running_var") else drawn)
    return module.eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ROWS)
def test_the_answer_is_torchs_or_refused(name: str, dtype: torch.dtype) -> None:
    module, shapes = ROWS[name]
    module = seeded(module).to(dtype)
    generator = torch.Generator().manual_seed(1)
    given = tuple(torch.randn(shape, generator=generator).to(dtype) for shape in shapes)
    made = None
    with contextlib.suppress(Unsupported):
        made = converter.convert(module, "keras", example_inputs=given, layout="source", verify=False)
    if made is None:
        assert name not in MUST_CONVERT
        return
    want = module(*given).detach()
    got = made.model(list(given) if len(given) > 1 else given[0])
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    # Keras on torch computes some float64 layers in float32.
    np.testing.assert_allclose(got.detach().numpy(), want.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ROWS)
def test_the_graph_is_torchs_or_refused(name: str) -> None:
    """As ONNX, where more arguments have a form than in Keras."""
    module, shapes = ROWS[name]
    module = seeded(module).to(torch.float32)
    given = tuple(torch.randn(shape, generator=torch.Generator().manual_seed(1)) for shape in shapes)
    try:
        made = converter.convert(module, "onnx", example_inputs=given, layout="source", verify=False)
    except Unsupported:
        return
    session = onnxruntime.InferenceSession(made.onnx.SerializeToString(), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {i.name: x.numpy() for i, x in zip(session.get_inputs(), given, strict=True)})
    want = module(*given).detach().numpy()
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_every_operation_with_a_row_takes_every_argument() -> None:
    """A row is handed all arguments of the schema, so it has a parameter for each."""
    for name, row in TORCH_OPERATIONS.items():
        base, _, overload = name.partition(".")
        schema = getattr(getattr(torch.ops.aten, base), overload)._schema
        parameters = row.__code__.co_argcount - 1
        many = bool(row.__code__.co_flags & 0x04)
        assert many or parameters == len(schema.arguments), f"{name}: {[a.name for a in schema.arguments]}"
