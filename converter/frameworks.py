"""Frameworks in one process: what must be imported, or hidden, before what. THE place of both rules.

`import triton` after `import tensorflow` ends in a segmentation fault on current builds, and torch.export, torch.onnx,
torch.compile, torchvision and onnx2torch import triton. Where triton was imported first all is well; where tensorflow
is there already, triton is hidden, and only GPU compilation misses it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

WRITTEN = {"floatx": "float32", "epsilon": 1e-07, "backend": "tensorflow", "image_data_format": "channels_last"}
"""What Keras writes into keras.json where there is none."""


def before_torch() -> None:
    """Call before anything that may make torch import triton."""
    if sys.modules.get("tensorflow") is not None and "triton" not in sys.modules:
        sys.modules["triton"] = None  # type: ignore[assignment]


@contextlib.contextmanager
def room_for(layers: int) -> Iterator[None]:
    """Python's recursion limit for a model of so many layers.

    Keras goes through a model by recursion, some calls a layer; with the usual limit of 1000 it can write networks that
    it cannot read. Files are not parsed in here: what is nested without end is refused under the usual limit.
    """
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 1000 + 10 * layers))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def choose_keras() -> None:
    """Give Keras a backend where the user has chosen none: torch, which conversion imports anyway.

    Who has imported tensorflow means Keras on it, which is Keras's own default.
    """
    imported = any(sys.modules.get(name) is not None for name in ("keras", "tensorflow"))
    if imported or os.environ.get("KERAS_BACKEND") or _configured():
        return
    os.environ["KERAS_BACKEND"] = "torch" if importlib.util.find_spec("torch") else "tensorflow"


def _configured() -> bool:
    """Whether keras.json names a backend; the file that Keras itself writes on its first import is nobody's choice."""
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    try:
        found = json.loads(Path(home, "keras.json").read_text())
        return bool(found.get("backend")) and found != WRITTEN
    except (OSError, ValueError, AttributeError):
        return False
