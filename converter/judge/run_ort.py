"""ONNX in onnxruntime's CPU provider as a Runner: the middle of the road, run as it is written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .compare import Array, plain
from .retype import floats_in, retyped
from .run_onnx import ROUNDS, load, onnx_callable64
from .runner import Boundary, RunFn, Runner
from .taps import Outputs
from .taps_onnx import FUSED, tapped

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int16)": "int16",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}
_NAMES = {"FLOAT16": "float16", "BFLOAT16": "bfloat16", "DOUBLE": "float64"}
_FOLDER = "session.model_external_initializers_file_folder_path"


class _Graph:
    """A graph and its sessions, made on first use: as it is, and with taps where those may change its sums."""

    def __init__(self, model: bytes | str | os.PathLike[str], threads: int) -> None:
        self.model, self.threads = model, threads
        self.sessions: list[Any] = []
        self.taps: dict[str, str] = {}
        self.note = ""
        self.dtype = "float32"

    def run(self, arrays: Sequence[Array]) -> Outputs:
        if not self.sessions:
            self._open()
        outputs: Outputs = []
        for session in self.sessions:
            known = {name for name, _ in outputs}
            names = [each.name for each in session.get_outputs()]
            names = [name for name in names if self.taps.get(name, name) not in known]
            outputs += [(self.taps.get(name, name), array) for name, array in _run(session, arrays, names)]
        taps = set(self.taps.values())
        return sorted(outputs, key=lambda each: each[0] in taps)

    def close(self) -> None:
        self.sessions.clear()

    def _open(self) -> None:
        import onnx

        folder = None if isinstance(self.model, bytes) else Path(self.model).absolute().parent
        proto = (
            onnx.load_from_string(self.model)
            if isinstance(self.model, bytes)
            else onnx.load(Path(self.model), load_external_data=False)
        )
        self.dtype = next((_NAMES[name] for name in sorted(floats_in(proto)) if name != "FLOAT"), "float32")
        first, self.taps = tapped(proto, leave=FUSED)
        try:
            self.sessions.append(_session(first.SerializeToString(), self.threads, folder))
        except Exception as error:
            # Not for a graph that is wrong: that is refused by another error.
            if type(error).__name__ != "NotImplemented" or not floats_in(proto) & {"DOUBLE", "BFLOAT16"}:
                raise
            # The CPU provider has no Conv, pooling or Erf in double, and next to nothing in bfloat16.
            first, self.taps = tapped(retyped(load(self.model), "FLOAT"))
            self.sessions.append(_session(first.SerializeToString(), self.threads, None))
            self.dtype = "float32"
            self.note = f"run as a float32 clone, for onnxruntime's CPU provider cannot run the graph ({_short(error)})"
            return
        second, more = tapped(proto)
        if len(more) > len(self.taps):
            self.taps = more
            self.sessions.append(_session(second.SerializeToString(), self.threads, folder))


def ort_runner(
    model: bytes | str | os.PathLike[str],
    *,
    name: str = "onnxruntime",
    threads: int = 0,
    boundary: Boundary | None = None,
    double: bool = False,
) -> Runner:
    """A Runner from serialised ONNX or its path (over 2 GB, or with external data). Made on first use.

    `double`: the graph is what was asked for, so it is proved too: its float64 form runs in onnx.reference, on the
    smallest inputs."""
    graph = _Graph(model, threads)

    def open64() -> RunFn:
        return onnx_callable64(model)

    def run(arrays: Sequence[Array]) -> Outputs:
        outputs = graph.run(arrays)
        runner.dtype = graph.dtype
        return outputs

    runner = Runner(
        name,
        run,
        open64 if double else None,
        "onnxruntime's CPU provider has no float64 for most operations",
        backend="onnxruntime",
        boundary=boundary or Boundary(),
        close=graph.close,
        most64=1,
        rounds64=ROUNDS,
        note=lambda: graph.note,
    )
    return runner


def input_names(model: bytes | str | os.PathLike[str]) -> list[str]:
    """The graph's input names, in order."""
    session = _session(model if isinstance(model, bytes) else os.fspath(model), 1, None)
    return [each.name for each in session.get_inputs()]


def _session(model: bytes | str, threads: int, folder: Path | None) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or _threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # it takes the cores from whoever works
    if folder is not None:
        options.add_session_config_entry(_FOLDER, str(folder))
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _threads() -> int:
    """As many as OMP_NUM_THREADS says, which the other frameworks follow too; 0 leaves it to onnxruntime."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdigit() else 0


def _run(session: Any, arrays: Sequence[Array], names: Sequence[str]) -> Outputs:
    inputs = session.get_inputs()
    if len(inputs) != len(arrays):
        raise ValueError(f"the graph has {len(inputs)} inputs, {len(arrays)} were given")
    feed = {}
    for each, array in zip(inputs, arrays, strict=True):
        dtype = _DTYPES.get(each.type)
        feed[each.name] = np.ascontiguousarray(array if dtype is None else plain(array).astype(dtype, copy=False))
    return list(zip(names, session.run(list(names), feed), strict=True)) if names else []


def _short(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:160]
