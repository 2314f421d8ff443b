"""Generated PyTorch source made into a live module."""

from __future__ import annotations

import hashlib
import linecache
import sys
import types
from collections.abc import Iterable
from typing import Any

import numpy as np


def execute(text: str) -> types.ModuleType:
    """The source as a module, registered so that inspect, tracebacks, deepcopy and torch.export find it."""
    name = f"kconvert_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    file = f"<{name}>"
    module = types.ModuleType(name)
    module.__file__ = file
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    sys.modules[name] = module
    try:
        exec(compile(text, file, "exec"), module.__dict__)  # noqa: S102  our own text, never a model's
    except BaseException:
        del sys.modules[name]
        raise
    return module


def load(text: str, weights: Iterable[tuple[str, np.ndarray]]) -> Any:
    """The model of a generated file with its weights, on the CPU, in eval mode; it owns its memory."""
    import torch

    module = execute(text)
    with torch.device("meta"):
        model = module.Model()
    state = {key: torch.from_numpy(np.array(data, order="C", copy=True)) for key, data in weights}
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval()
