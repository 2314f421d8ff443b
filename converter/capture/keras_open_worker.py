"""Tracing for models whose Keras backend is not torch: the layer goes to a process of its own, as (class, config).

A live Keras layer cannot be pickled under JAX and TensorFlow; its class can, by cloudpickle, those of `__main__` by
value. What comes back is the exported program as torch.export saves it, and tables of plain data. Both directions are
between this process and one that it started: no file of the user's is read here.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from converter import frameworks
from converter.capture.keras_open_export import CannotOpen, Spec, Traced, layers_of, trace

ROOT = Path(__file__).parents[2]


class Worker:
    """The process, started when it is first asked; use as a context manager."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._folder = Path()
        self._count = 0

    def trace(self, layer: Any, args: Any, kwargs: Any, specs: Sequence[Spec], opened: frozenset[int]) -> Traced:
        """As keras_open_export.trace, of a layer of this process's model; layers in `opened` do not stay whole."""
        import torch

        job = {**_travelling(layer), "args": args, "kwargs": kwargs, "specs": list(specs), "opened": opened}
        process = self._started()
        self._count += 1
        there, back = self._folder / f"job{self._count}", self._folder / f"result{self._count}"
        there.write_bytes(_pickled(job, layer))
        if process.stdin is None or process.stdout is None:
            raise CannotOpen("the process that traces it has no pipes")
        try:
            process.stdin.write(f"{there}\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:
            answer = ""
        if not answer:
            raise CannotOpen(f"the process that traces it ended: {self._last_words()}")
        import cloudpickle

        found = cloudpickle.loads(back.read_bytes())
        if "error" in found:
            raise CannotOpen(found["error"])
        frameworks.before_torch()
        program = torch.export.load(back.with_suffix(".pt2"))
        made: Traced = found["traced"]
        made.program = program
        return made

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._folder = Path(tempfile.mkdtemp(prefix="kconvert_open_"))
            paths = [str(ROOT), *(str(Path(entry).absolute()) for entry in sys.path if entry or entry == "")]
            env = {**os.environ, **frameworks.calm(), "KERAS_BACKEND": "torch", "CUDA_VISIBLE_DEVICES": ""}
            with (self._folder / "log").open("wb") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "converter.capture.keras_open_worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env={**env, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "TF_CPP_MIN_LOG_LEVEL": "3"},
                    text=True,
                )
        return self._process

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            return " ".join((self._folder / "log").read_text(errors="replace").strip().splitlines()[-3:])[-500:]
        return ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        process.kill()
        process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _travelling(layer: Any) -> dict[str, Any]:
    """What another process makes the layer again from; CannotOpen where there is no such thing."""
    import keras

    if not isinstance(layer, keras.Layer):
        return {"function": layer}
    try:
        config = layer.get_config()
    except Exception as error:
        raise CannotOpen(
            f"{type(layer).__name__} has no get_config() that tells its arguments, so it cannot be made again in the "
            "process with Keras on torch that traces it. Write get_config, or convert with KERAS_BACKEND=torch"
        ) from error
    classes = {type(each).__name__: type(each) for each in layers_of(layer) if not _kerass(type(each))}
    weights = [np.asarray(keras.ops.convert_to_numpy(variable)) for variable in layer.variables]
    build = layer.get_build_config() if hasattr(layer, "get_build_config") else None
    return {"class": type(layer), "config": config, "classes": classes, "weights": weights, "build": build}


def _kerass(cls: type) -> bool:
    return cls.__module__.split(".")[0] == "keras"


def _pickled(job: dict[str, Any], layer: Any) -> bytes:
    """The job; modules that the other process could not import travel by value."""
    import cloudpickle

    found = {getattr(type(each), "__module__", "") for each in layers_of(layer)} | {getattr(layer, "__module__", "")}
    modules = [sys.modules[name] for name in found if name in sys.modules and not _importable(name)]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        return bytes(cloudpickle.dumps(job))
    except Exception as error:
        raise CannotOpen(f"its class or config cannot travel to the process that traces it: {error}") from error
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def _importable(name: str) -> bool:
    if name == "__main__":
        return True  # cloudpickle takes it by value anyway
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


# In the worker --------------------------------------------------------------------------------------------------------


def _made(job: dict[str, Any]) -> Any:
    """The layer of a job, with its weights."""
    import keras

    if "function" in job:
        return job["function"]
    keras.config.enable_unsafe_deserialization()  # the objects are those of the process that asks
    with keras.saving.custom_object_scope(job["classes"]):
        layer = job["class"].from_config(job["config"])
    if not layer.built and job["build"]:
        with contextlib.suppress(Exception):  # a build that fails is followed by a call, which says why
            layer.build_from_config(job["build"])
    if len(layer.variables) != len(job["weights"]):
        with keras.StatelessScope():
            pass
        _called(layer, job)
    if len(layer.variables) != len(job["weights"]):
        raise CannotOpen(
            f"made again from its config it has {len(layer.variables)} weights, the layer has {len(job['weights'])}: "
            "its config does not tell all that it was made with"
        )
    for variable, data in zip(layer.variables, job["weights"], strict=True):
        if tuple(variable.shape) != tuple(data.shape):
            raise CannotOpen(f"made again from its config, {variable.path} has shape {tuple(variable.shape)}")
        variable.assign(data)
    return layer


def _called(layer: Any, job: dict[str, Any]) -> None:
    """Build a layer by a call on zeros."""
    import torch

    from converter.capture import keras_open_export

    tensors, _ = keras_open_export.examples(job["specs"], keras_open_export.LENGTHS)
    args, kwargs = keras_open_export.filled((job["args"], job["kwargs"]), tensors)
    with torch.no_grad():
        layer(*args, **kwargs)


def _answers(lines: Iterator[str]) -> Iterator[Path]:
    """Each job done; its result lies beside it."""
    import cloudpickle
    import torch

    from converter.capture.keras_open import stays_whole

    for line in lines:
        path = Path(line.strip())
        back = path.with_name(path.name.replace("job", "result"))
        try:
            job = cloudpickle.loads(path.read_bytes())
            layer = _made(job)
            whole = stays_whole(layer, job["opened"])
            traced = trace(layer, job["args"], job["kwargs"], job["specs"], whole)
            torch.export.save(traced.program, back.with_suffix(".pt2"))
            traced.program = None
            back.write_bytes(cloudpickle.dumps({"traced": traced}))
        except Exception as error:  # noqa: BLE001  it is told to the process that asked
            text = str(error) if isinstance(error, CannotOpen) else f"{type(error).__name__}: {error}"
            back.write_bytes(cloudpickle.dumps({"error": text}))
        yield path


def main() -> None:
    """Jobs by their paths on stdin, a word for each that is done; what frameworks print goes to the log."""
    commands = os.fdopen(os.dup(0), "r", encoding="utf-8")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    for path in _answers(iter(commands.readline, "")):
        replies.write(f"{path.name}\n")
        replies.flush()
    os._exit(0)  # the frameworks' threads have nothing left to do


if __name__ == "__main__":
    main()
