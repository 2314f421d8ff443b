"""What a generated PyTorch file does when it is run: it loads the weights beside it and prints its outputs' shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from converter.graph.graph import dims


def text(inputs: Sequence[ir.Value], outputs: Any) -> str:
    """The block for inputs of zeros and a structure of outputs."""
    arguments = []
    for value in inputs:
        shape = tuple((1 if i == 0 else 64) if d is None else d for i, d in enumerate(dims(value)))
        dtype = np.dtype(value.dtype.numpy()) if value.dtype is not None else np.dtype("float32")
        kind = "" if dtype == np.float32 else f", dtype=torch.{dtype}"
        arguments.append(f"torch.zeros({shape}{kind})")
    show = "tuple(output.shape)"
    if isinstance(outputs, dict):
        show = "{name: tuple(value.shape) for name, value in output.items()}"
    elif isinstance(outputs, (list, tuple)):
        show = "[tuple(value.shape) for value in output]"
    return (
        'if __name__ == "__main__":\n'
        "    from pathlib import Path\n\n"
        "    from safetensors.torch import load_file\n\n"
        "    model = Model()\n"
        '    model.load_state_dict(load_file(Path(__file__).with_suffix(".safetensors")))\n'
        "    model.eval()\n"
        "    with torch.no_grad():\n"
        f"        output = model({', '.join(arguments)})\n"
        f"    print({show})\n"
    )
