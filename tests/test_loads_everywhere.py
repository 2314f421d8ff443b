"""Every .keras that is written loads with safe mode on in fresh processes under each backend, and answers equally.

Run as a module with a folder, it loads every file there and prints how far each answer is off.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BACKENDS = ("torch", "tensorflow", "jax")
CLOSE = 2e-5
"""Of an output's size, in float32: backends round differently."""


def answers(folder: Path) -> dict[str, Any]:
    """For each file: how far its answers are from those that lie beside it, of their size; or what was raised."""
    import keras

    found: dict[str, Any] = {}
    for path in sorted(folder.glob("*.keras")):
        try:
            model = keras.saving.load_model(path, safe_mode=True)
            with np.load(path.with_suffix(".npz")) as data:
                inputs = [data[key] for key in sorted(data.files) if key.startswith("in")]
                wanted = [data[key] for key in sorted(data.files) if key.startswith("out")]
            given = model(inputs[0] if len(inputs) == 1 else inputs, training=False)
            got = [keras.ops.convert_to_numpy(each) for each in keras.tree.flatten(given)]
            shapes = [each.shape for each in got] == [each.shape for each in wanted]
            off = [np.abs(a - b).max() / np.abs(b).max() for a, b in zip(got, wanted, strict=True)] if shapes else []
            found[path.name] = float(max(off)) if off else "other shapes"
        except Exception as error:
            found[path.name] = f"{type(error).__name__}: {error}"[:2000]
    return found


def ask(folder: Path, backend: str) -> dict[str, Any]:
    """The same in a process of its own, which imports nothing of this package's converter."""
    extra = {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "tests.test_loads_everywhere", str(folder)]
    ran = subprocess.run(command, env={**os.environ, **extra}, capture_output=True, text=True, check=False, timeout=900)
    assert ran.returncode == 0, ran.stderr[-4000:]
    made: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return made


def put(folder: Path, name: str, module: Any, *shapes: tuple[int, ...]) -> None:
    """A module's conversion as name.keras, with its own answers beside it; inputs turned as the report says."""
    import torch

    import converter

    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(shape, generator=generator) for shape in shapes]
    made = converter.convert(module, "keras", example_inputs=tuple(inputs), verify=False)
    made.save(folder / f"{name}.keras")
    turns = {(turn.kind, turn.index): turn.perm for turn in made.turns}

    def turned(kind: str, index: int, data: np.ndarray) -> np.ndarray:
        return data.transpose(turns[kind, index]) if (kind, index) in turns else data

    with torch.no_grad():
        answer = module.eval()(*inputs)
    outputs = [answer] if isinstance(answer, torch.Tensor) else list(answer)
    kept = {f"in{i}": turned("input", i, data.numpy()) for i, data in enumerate(inputs)}
    kept |= {f"out{i}": turned("output", i, data.numpy()) for i, data in enumerate(outputs)}
    np.savez(folder / f"{name}.npz", **kept)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of this suite's networks, with records and without, and one that came back from PyTorch."""
    import torch

    import converter
    from tests import test_record

    made = tmp_path_factory.mktemp("written")
    for name, (cls, shape) in test_record.NETWORKS.items():
        put(made, name, test_record.filled(cls()), shape)
    for name in ("separable", "nested"):
        module = test_record.there(test_record.seeded(test_record.MODELS[name]()))
        shapes = {"separable": [(2, 3, 9, 9)], "nested": [(2, 6), (2, 6)]}[name]
        inputs = [torch.rand(shape) for shape in shapes]
        back = converter.convert(module, "keras", verify=False)
        back.save(made / f"{name}.keras")
        with torch.no_grad():
            answer = module(*inputs)
        given = [x.permute(0, 2, 3, 1) if x.ndim == 4 else x for x in inputs]
        outputs = [answer[key] for key in sorted(answer)] if isinstance(answer, dict) else [answer]
        kept = {f"in{i}": data.numpy() for i, data in enumerate(given)}
        np.savez(made / f"{name}.npz", **kept, **{f"out{i}": data.numpy() for i, data in enumerate(outputs)})
    return made


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_loads_what_is_written(backend: str, folder: Path) -> None:
    pytest.importorskip(backend)
    found = ask(folder, backend)
    assert len(found) == 5
    assert not {name: off for name, off in found.items() if isinstance(off, str) or not off <= CLOSE}


if __name__ == "__main__":
    print(json.dumps(answers(Path(sys.argv[1]))))
