"""There and back with the record, one row each: `python -m tests.zoo.there_and_back [NAME ...]`.

Networks of keras.applications go to PyTorch and come back: get_config() is the same text, every weight the same bytes.
Networks of torchvision go to Keras and come back: the whole state dict, own keys included, is the same bits. Every
.keras file that is written on the way loads with safe mode on under each backend that is installed, and answers
equally.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from tests import test_loads_everywhere

FIXTURES = Path(__file__).parents[2] / "fixtures"
KERAS = ("digits_cnn", "ResNet50", "Xception", "MobileNetV2")
TORCH = ("resnet18", "mobilenet_v3_small", "inception_v3")
CLOSE = 1e-4
"""Of an output's size: what float32 leaves after a hundred layers on two backends."""


def from_keras(name: str, folder: Path) -> dict[str, Any]:
    """A Keras network to PyTorch's files, and from these back to a .keras file."""
    import keras
    import torch

    import converter

    if name == "digits_cnn":
        model = keras.saving.load_model(FIXTURES / "digits_cnn.keras", compile=False)
    else:
        model = getattr(keras.applications, name)(weights=None, input_shape=(96, 96, 3))
    there = folder / "torch"
    converter.convert(model, "torch", verify=False).save(there / f"{name}.py")
    made = converter.convert(there / f"{name}.safetensors", "keras", arch=f"{there / name}.py:Model")
    made.save(folder / f"{name}.keras")
    again = keras.saving.load_model(folder / f"{name}.keras", compile=False)
    pairs = zip(model.weights, again.weights, strict=True)
    given = np.random.default_rng(0).standard_normal((2, *model.input_shape[1:])).astype("float32")
    with torch.no_grad():
        np.savez(folder / f"{name}.npz", in0=given, out0=keras.ops.convert_to_numpy(model(given, training=False)))
    return {
        "passed": made.report.passed,
        "config": json.dumps(again.get_config()) == json.dumps(model.get_config()),
        "weights": all(bits(one) == bits(two) for one, two in pairs),
        "note": "; ".join(str(note) for note in made.report.notes if "record" in str(note)),
    }


def bits(variable: Any) -> bytes:
    import keras

    return bytes(keras.ops.convert_to_numpy(variable).tobytes())


def from_torch(name: str, folder: Path) -> dict[str, Any]:
    """A torchvision network to a .keras file, and from that back to PyTorch."""
    import torch
    import torchvision

    import converter

    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    for key, tensor in model.state_dict().items():
        if key.endswith("num_batches_tracked"):
            tensor.fill_(len(key))
    size = 299 if name == "inception_v3" else 96
    image = torch.randn((2, 3, size, size), generator=torch.Generator().manual_seed(0))
    converter.convert(model, "keras", example_inputs=(image,), verify=False).save(folder / f"{name}.keras")
    with torch.no_grad():
        wanted = model(image).numpy()
    np.savez(folder / f"{name}.npz", in0=image.numpy().transpose(0, 2, 3, 1), out0=wanted)
    made = converter.convert(folder / f"{name}.keras", "torch")
    before, after = model.state_dict(), made.model.state_dict()
    return {
        "passed": made.report.passed,
        "keys": before.keys() == after.keys(),
        "weights": all(torch.equal(before[key], after[key]) for key in before if key in after),
        "entries": len(after),
        "note": "; ".join(str(note) for note in made.report.notes if "record" in str(note)),
    }


def main(names: list[str]) -> int:
    """Print a row for each network, and one for each backend and file; how many are not as they should be."""
    warnings.simplefilter("ignore")
    bad = 0
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for name in names or [*KERAS, *TORCH]:
            row = from_torch(name, folder) if name in TORCH else from_keras(name, folder)
            bad += not all(value for value in row.values())
            print(f"{name:20}", row, flush=True)
        for backend in test_loads_everywhere.BACKENDS:
            if importlib.util.find_spec(backend) is None:
                print(f"{backend:20} is not installed")
                continue
            for name, off in test_loads_everywhere.ask(folder, backend).items():
                bad += isinstance(off, str) or not off <= CLOSE
                print(f"{backend:20} {name:28} {off}", flush=True)
    return bad


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
