"""One block and one row are enough: an op with two outputs, a mask and a loop over time, registered for these tests."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from torch import nn

import converter
from converter.ops import base, torch_modules
from converter.write import keras_text, to_torch
from converter.write.parts import parts_of
from tests.skeleton_keras_parts import Smooth
from tests.skeleton_torch_parts import Bare
from tests.test_way_back import seeded

HERE = Path(__file__).parent
IDS = torch.tensor([[1, 2, 0, 3, 0], [0, 0, 0, 0, 0], [5, 4, 3, 2, 1]], dtype=torch.int32)


@pytest.fixture(autouse=True)
def block() -> Iterator[None]:
    """The block of tests/skeleton_op.py and its parts are there until the end of the test."""
    tables: list[dict[Any, Any]] = [base.REGISTRY, base.KERAS_LAYERS, base.KERAS_MASKS, torch_modules.TORCH_MODULES]
    tables += [keras_text.PARTS, to_torch.PARTS]
    before = [dict(table) for table in tables]
    importlib.import_module("tests.skeleton_op")
    keras_text.PARTS.update(parts_of(str(HERE / "skeleton_keras_parts.py")))
    to_torch.PARTS.update(parts_of(str(HERE / "skeleton_torch_parts.py")))
    yield
    del sys.modules["tests.skeleton_op"]
    for table, content in zip(tables, before, strict=True):
        table.clear()
        table.update(content)


def masked() -> Any:
    """The layer behind a table that masks 0, and before a layer that takes the mask beside its first output."""
    ids = keras.Input((5,), dtype="int32", name="ids")
    steps, last = Smooth(4, name="smooth")(keras.layers.Embedding(7, 3, mask_zero=True, name="table")(ids))
    mean = keras.layers.GlobalAveragePooling1D(name="mean")(steps)
    model = keras.Model(ids, [mean, keras.layers.Dense(2, name="fc")(last)])
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape) * 0.5)
    return model


def proven(made: converter.Conversion) -> converter.Conversion:
    assert made.report.proof, str(made.report)
    return made


def test_a_keras_layer_there_and_back(tmp_path: Path) -> None:
    model = masked()
    there = proven(converter.convert(model, "torch"))
    assert re.search(r"\w+, smooth = self.smooth\(\w+, \w+\)", there.source), there.source
    assert "for t in range(x.shape[1]):" in there.source
    again = proven(converter.convert(there.model, "keras", example_inputs=(IDS,)))
    assert any("defines Smooth" in str(note) for note in again.report.notes)
    assert '= Smooth(4, name="smooth")(x, mask=' in again.source
    for name in ("kernel", "decay"):
        want, got = (getattr(m.get_layer("smooth"), name).value for m in (model, again.model))
        assert torch.equal(want, got)
    third = proven(converter.convert(again.model, "torch"))
    for key in ("table.weight", "smooth.weight", "smooth.decay", "fc.weight", "fc.bias"):
        assert torch.equal(third.model.state_dict()[key], there.model.state_dict()[key])


def test_the_file_loads_after_import_of_its_source(tmp_path: Path) -> None:
    again = converter.convert(
        converter.convert(masked(), "torch", verify=False).model, "keras", example_inputs=(IDS,), verify=False
    )
    again.save(tmp_path / "net.keras")
    load = "import keras; keras.saving.load_model('net.keras')"
    for code, works in ((load, False), (f"import net; {load}", True)):
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) is works, done.stderr


class Net(nn.Module):
    """A module of another package with two results and a mask, between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.bare, self.fc = nn.Embedding(7, 3), Bare(3, 4), nn.Linear(4, 2)

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        steps, last = self.bare(self.table(ids), ids != 0)
        return self.fc(steps), last


def test_a_torch_module_there_and_back() -> None:
    net = seeded(Net()).eval()
    there = proven(converter.convert(net, "keras", example_inputs=(IDS,)))
    assert '= Smooth(4, name="bare")(x, mask=' in there.source
    again = proven(converter.convert(there.model, "torch"))
    assert "self.bare = Smooth(3, 4)" in again.source
    state = again.model.state_dict()
    assert all(torch.equal(state[key], tensor) for key, tensor in net.state_dict().items())


def test_any_length_in_onnxruntime() -> None:
    """The loop over time is a Scan there, whose graph gives one value twice."""
    made = converter.convert(Net().eval(), "onnx", example_inputs=(IDS,), dynamic={"ids": {0: "N", 1: "L"}})
    proven(made)
    assert "Scan" in {node.op_type for function in made.onnx.functions for node in function.node}


def test_without_its_row_the_layer_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(base.KERAS_LAYERS, "kconvert>Smooth")
    made = proven(converter.convert(masked(), "torch"))
    assert made.report.by_road() == ["opened: Smooth (smooth)"]


def test_a_field_cannot_have_a_name_that_every_op_has() -> None:
    with pytest.raises(TypeError, match=r"every op has a \['body'\] of its own"):

        class Loop(base.Op):
            body: str

    assert ("", "Loop") not in base.REGISTRY
