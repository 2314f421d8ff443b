"""Core ATen: every overload has a row, is decomposed or is refused for a reason; and rows answer as PyTorch does.

Rows stand in families: one module for each, whose outputs bear the rows' names. Its graph's types are PyTorch's,
onnxruntime answers as PyTorch in float32, the written PyTorch source in float64, and the Keras model is proven.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import converter
from converter.capture import from_torch, torch_activations
from converter.graph import layout
from converter.ops.base import TORCH_OPERATIONS
from converter.write import to_torch, torch_load
from tests.core_aten import FAMILIES, REFUSED, Family


def core() -> list[str]:
    """Every overload of aten that bears torch's tag `core`, 'add.Tensor'.

    `dir(torch.ops.aten)` has those alone that something has asked for, so the dispatcher is asked; it has no public
    name.
    """
    found = []
    for whole in torch._C._dispatch_get_all_op_names():
        space, _, name = whole.partition("::")
        base, _, overload = name.partition(".")
        if space == "aten" and torch.Tag.core in getattr(getattr(torch.ops.aten, base), overload or "default").tags:
            found.append(f"{base}.{overload or 'default'}")
    return sorted(found)


def has_row(name: str) -> bool:
    return name in TORCH_OPERATIONS or torch_activations.activation(name) is not None


def test_every_core_operation_is_accounted_for() -> None:
    """A new one fails here until it has a row, or a reason in core_aten.py."""
    left = {name for name in core() if not has_row(name)}
    assert sorted(left - set(REFUSED)) == []
    assert sorted(set(REFUSED) - left) == [], "these have a row, and stand in the table of those that have none"
    assert all(len(reason) > 20 for reason in REFUSED.values())


class Rows(nn.Module):
    """The functions of a family, and what each gives by its name."""

    def __init__(self, rows: dict[str, Callable[..., Tensor]], *last: Tensor) -> None:
        super().__init__()
        self.rows = rows
        for i, tensor in enumerate(last):
            self.register_buffer(f"last{i}", tensor)

    def forward(self, *inputs: Tensor) -> dict[str, Any]:
        return {name: row(*inputs, *self.buffers()) for name, row in self.rows.items()}


def flat(answers: dict[str, Any]) -> dict[str, np.ndarray]:
    """Rows with several results as several rows, in the order of their names."""
    found: dict[str, np.ndarray] = {}
    for name in sorted(answers):
        results = answers[name] if isinstance(answers[name], (tuple, list)) else [answers[name]]
        found |= {f"{name}[{i}]" if i else name: r.detach().numpy() for i, r in enumerate(results)}
    return found


def examples(family: Family, dtype: torch.dtype) -> tuple[Tensor, ...]:
    made = family.inputs()
    return tuple(x.to(dtype) if x.is_floating_point() else x for x in made)


def compare(want: np.ndarray, have: np.ndarray, tolerance: float, name: str) -> None:
    assert have.shape == want.shape, name
    if want.dtype.kind != "f":
        assert np.array_equal(want, have), f"{name}: {have} instead of {want}"
        return
    scale = np.abs(want[np.isfinite(want)]).max(initial=1.0)
    assert np.array_equal(np.isnan(want), np.isnan(have)), f"{name}: {have} instead of {want}"
    assert np.allclose(have, want, rtol=tolerance, atol=tolerance * scale, equal_nan=True), (
        f"{name}: {have} instead of {want}"
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_onnx(name: str) -> None:
    """Types and shapes of the graph are PyTorch's, and onnxruntime answers the same."""
    family = FAMILIES[name]
    module, inputs = Rows(family.rows), examples(family, torch.float32)
    wanted = flat(module(*inputs))
    model = converter.convert(module, "onnx", example_inputs=inputs, layout="source", verify=False).onnx
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    given = {i.name: x.numpy() for i, x in zip(session.get_inputs(), inputs, strict=True)}
    answers = session.run(None, given)
    for (row, want), have in zip(wanted.items(), answers, strict=True):
        assert have.dtype == want.dtype, row
        if row not in family.ort:
            compare(want, have, 2e-5, row)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.int16, torch.uint8], ids=str)
@pytest.mark.parametrize("name", sorted(set(FAMILIES) - {"taken", "written"}))
def test_types(name: str, dtype: torch.dtype) -> None:
    """The graph's types are PyTorch's for inputs of other dtypes, as far as PyTorch itself takes them (ids: two)."""
    family = FAMILIES[name]
    kind = "f" if dtype.is_floating_point else "i"
    inputs = tuple(x.to(dtype) if x.numpy().dtype.kind == kind else x for x in family.inputs())
    inputs = tuple(x.float() if x.dtype == torch.float64 and kind == "i" else x for x in inputs)
    rows = {}
    for row, function in family.rows.items():
        with contextlib.suppress(RuntimeError):
            function(*inputs)
            rows[row] = function
    module = Rows(rows)
    model = converter.convert(module, "onnx", example_inputs=inputs, layout="source", verify=False).onnx
    wanted = types(module(*inputs))
    made = [str(ir.DataType(output.type.tensor_type.elem_type).numpy()) for output in model.graph.output]
    assert dict(zip(wanted, made, strict=True)) == wanted


def types(answers: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in sorted(answers):
        results = answers[name] if isinstance(answers[name], (tuple, list)) else [answers[name]]
        found |= {f"{name}[{i}]": str(r.dtype).removeprefix("torch.") for i, r in enumerate(results)}
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_written_torch(name: str) -> None:
    """The source that is written for PyTorch answers in float64, and to float32, what PyTorch's own functions do."""
    family = FAMILIES[name]
    module, inputs = Rows(family.rows), examples(family, torch.float32)
    captured = from_torch.capture(module, inputs)
    g = captured.graph
    layout.settle(g, "source")
    written = to_torch.write(g.graph, captured.outputs, [f"x{i}" for i in range(len(inputs))], "Rows.")
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-6)):
        target = torch_load.load(written.text, [(w.key, w.data) for w in written.weights]).to(dtype)
        inputs = examples(family, dtype)
        wanted, have = flat(module(*inputs)), flat(target(*inputs))
        assert list(wanted) == list(have)
        for row, want in wanted.items():
            fixed = row in family.fixed and dtype == torch.float64
            assert have[row].dtype == want.dtype or fixed, f"{row}\n{written.text}"
            compare(want, have[row], 2e-6 if fixed else tolerance, f"{row}\n{written.text}")


@pytest.mark.parametrize("name", FAMILIES)
def test_keras(name: str) -> None:
    """The Keras model is proven, on the family's own inputs; what has no axes is a constant of the module."""
    family = FAMILIES[name]
    inputs = examples(family, torch.float32)
    rows = {row: function for row, function in family.rows.items() if row not in family.ort and row not in family.keras}
    module = Rows(rows, *(x for x in inputs if not x.ndim))
    given = tuple(x for x in inputs if x.ndim)
    made = converter.convert(module, "keras", example_inputs=given, inputs=[x.numpy() for x in given], layout="source")
    assert made.report.passed, str(made.report)
    assert made.report.proof, str(made.report)
