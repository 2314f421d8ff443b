"""ONNX in onnxruntime's CPU provider as a Runner: the middle of the road, run as it is written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from .compare import Array
from .runner import Boundary, Outputs, Runner

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


def ort_runner(
    model: bytes | str | os.PathLike[str],
    *,
    name: str = "onnxruntime",
    threads: int = 0,
    boundary: Boundary | None = None,
) -> Runner:
    """A Runner from serialised ONNX or its path (over 2 GB, or with external data). Made on first use."""
    session: list[Any] = []

    def run(arrays: Sequence[Array]) -> Outputs:
        if not session:
            session.append(_session(model, threads))
        return _run(session[0], arrays)

    why = "onnxruntime's CPU provider has no float64 for most operations"
    return Runner(name, run, None, why, backend="onnxruntime", boundary=boundary or Boundary(), close=session.clear)


def input_names(model: bytes | str | os.PathLike[str]) -> list[str]:
    """The graph's input names, in order."""
    return [each.name for each in _session(model, 1).get_inputs()]


def _session(model: bytes | str | os.PathLike[str], threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    source = model if isinstance(model, bytes) else os.fspath(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _run(session: Any, arrays: Sequence[Array]) -> Outputs:
    inputs = session.get_inputs()
    if len(inputs) != len(arrays):
        raise ValueError(f"the graph has {len(inputs)} inputs, {len(arrays)} were given")
    feed = {}
    for each, array in zip(inputs, arrays, strict=True):
        dtype = _DTYPES.get(each.type)
        feed[each.name] = np.ascontiguousarray(array if dtype is None else array.astype(dtype, copy=False))
    names = [each.name for each in session.get_outputs()]
    return list(zip(names, session.run(names, feed), strict=True))
