"""Frameworks in one process: what must be imported, or hidden, before what. THE place of both rules.

`import triton` after `import tensorflow` ends in a segmentation fault on current builds, and torch.export, torch.onnx,
torch.compile, torchvision and onnx2torch import triton. Where triton was imported first all is well; where tensorflow
is there already, triton is hidden, and only GPU compilation misses it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from converter.errors import UsageError

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


def import_keras() -> None:
    """Import Keras; UsageError where its backend or its settings keep it from that, which are the user's."""
    if sys.modules.get("keras") is not None:
        return
    try:
        importlib.import_module("keras")
    except Exception as error:  # a missing backend, an unknown one, or settings in keras.json that it refuses
        chosen = os.environ.get("KERAS_BACKEND")
        whose = f"KERAS_BACKEND={chosen}" if chosen else "the backend of keras.json"
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"Keras cannot be imported with {whose}: {first}. Set KERAS_BACKEND=torch, or install what is missing; "
            f"Keras's own settings are in {os.path.join(_home(), 'keras.json')}."
        ) from error


def hide_others(backend: str) -> None:
    """Make what a process of our own does not compute with unimportable: seconds and 500 MB saved.

    Keras imports jax for a callback, scikit-learn for a wrapper of it, and tensorflow to ask of each value that it
    serialises whether it is one of TensorFlow's. Code that a user named (`arch`) may want them: it runs without this.
    """
    names = {"torch": {"tensorflow", "jax", "sklearn"}, "jax": {"tensorflow", "sklearn"}}.get(backend, set())
    if names and not any(isinstance(finder, _Without) for finder in sys.meta_path):
        sys.meta_path[:] = [_Without(finder, names) for finder in sys.meta_path]


@contextlib.contextmanager
def unasked() -> Iterator[None]:
    """Keras serialises without importing TensorFlow to ask of each value whether it is one of TensorFlow's.

    In a process of the user's, where TensorFlow is not there yet: afterwards Keras may look for it again. Keras says by
    no public name whether it has looked.
    """
    lazy = getattr(sys.modules.get("keras.src.utils.module_utils"), "tensorflow", None)
    unknown = "tensorflow" not in sys.modules and getattr(lazy, "_available", False) is None
    if not unknown or os.environ.get("KERAS_BACKEND") == "tensorflow":
        yield
        return
    vars(lazy)["_available"] = False
    try:
        yield
    finally:
        vars(lazy)["_available"] = None


class _Without:
    """A finder of modules that finds some of them no longer.

    An entry of None in sys.modules says the same to `import`, but Keras takes any entry for a loaded TensorFlow.
    """

    def __init__(self, finder: Any, names: set[str]) -> None:
        self.finder = finder
        self.names = names

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """As importlib asks it."""
        return None if name in self.names else self.finder.find_spec(name, path, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.finder, name)


def calm() -> dict[str, str]:
    """Settings for a process of our own, to be in its environment before a framework is imported; the user's own stay.

    The command and its judge run side by side, and often several commands do. Pools of threads that spin while they
    wait take the cores from whoever works: a quarter of a minute of work took 41 s on two cores, and two such commands
    108 s. So threads sleep while they wait, and a process takes half of the cores.
    """
    threads = str(max(1, cores() // 2))
    wanted = {
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "OMP_WAIT_POLICY": "PASSIVE",
        "KMP_BLOCKTIME": "0",
    }
    return {key: value for key, value in wanted.items() if key not in os.environ}


def check_device(device: str) -> None:
    """UsageError where torch has no such device; what can be known without torch was asked before."""
    if device == "cpu":
        return
    before_torch()
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    number = int(device.partition(":")[2] or 0)
    if number >= count:
        found = f"torch finds {count}" if count else "torch finds none"
        raise UsageError(f"device: {device!r} was asked for, and {found} here. Use 'cpu', or a device that is there.")


_copies: list[bool] = []


def import_all() -> None:
    """Import what a conversion and its reference both need, before one process becomes two."""
    fresh = not {"torch", "keras"} & set(sys.modules)
    before_torch()
    for name in ("torch", "keras", "h5py", "onnx_ir"):
        importlib.import_module(name)
    _copies[:] = [True] if fresh else []


def threads_in_words() -> str:
    """What `calm` chose, or found chosen, for -v."""
    count, waiting = os.environ.get("OMP_NUM_THREADS", "?"), os.environ.get("OMP_WAIT_POLICY", "?")
    return f"{count} a process on {cores()} cores (OMP_NUM_THREADS), waiting {waiting.lower()} (OMP_WAIT_POLICY)"


def can_fork() -> bool:
    """Whether a copy of this process would be whole, asked once.

    On Linux, with no thread of Python's beside the first, and where `import_all` has just imported the frameworks: one
    that has computed has pools of threads, which a copy waits for without end.
    """
    return bool(_copies) and _copies.pop() and sys.platform == "linux" and threading.active_count() == 1


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _home() -> str:
    """The folder of Keras's settings."""
    return os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")


def _configured() -> bool:
    """Whether keras.json names a backend; the file that Keras itself writes on its first import is nobody's choice."""
    try:
        found = json.loads(Path(_home(), "keras.json").read_text())
        return bool(found.get("backend")) and found != WRITTEN
    except (OSError, ValueError, AttributeError):
        return False
