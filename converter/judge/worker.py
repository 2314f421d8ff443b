"""The reference run of a file in a process of its own: JSON lines over pipes, arrays in .npz files."""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO, Any, Protocol, Self

import numpy as np

from .. import errors
from .compare import Array, narrow, plain
from .runner import Boundary, NoFloat64, RunFn, Runner
from .taps import Outputs

_RELAYED: dict[str, type[errors.ConvertError]] = {
    "BadInput": errors.BadInput,
    "UsageError": errors.UsageError,
    "CannotWrite": errors.CannotWrite,
    "NoFloat64": NoFloat64,
}
_ROOT = Path(__file__).parents[2]


class WorkerFailed(errors.ConvertError):
    """The process ended, hung, or met an error that is not one of ours; `kind` is the error's class there."""

    def __init__(self, message: str, kind: str = "") -> None:
        self.kind = kind
        super().__init__(message)


class Worker:
    """A process that holds one model. It starts at once and loads while the caller works on; the first answer waits.

    `factory` is 'package.module:function'; called there with `kwargs` (JSON), it returns an object with
    `run32(arrays) -> [(name, array)]`, and, where it has them, `run64(arrays)` and `run_twin(arrays)`, the float32 twin
    of a mixed-precision model (both may raise NoFloat64), and `info()`: a dict of `backend`, `policy`, `mixed`, `dtype`
    and more for the report. Use as a context manager, or call `close()`. With `fork` the process
    begins with what this one has imported, which saves seconds; it is for a process that has computed nothing and
    started no thread.
    """

    def __init__(
        self,
        factory: str,
        kwargs: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        *,
        timeout: float = 600.0,
        fork: bool = False,
    ) -> None:
        self.timeout = timeout
        self._lock = threading.Lock()
        self._count = 0
        self._ready: dict[str, Any] | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="kconvert_worker_"))
        self._lines: queue.Queue[str | None] = queue.Queue()
        try:
            start = _forked if fork else _spawned
            self._process, self._commands, replies = start(dict(env or {}), self._folder / "log")
        except OSError:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        # The thread must not hold `self`, or a forgotten Worker would never be collected and closed.
        threading.Thread(target=_listen, args=(replies, self._lines), daemon=True).start()
        self._send({"do": "start", "factory": factory, "kwargs": dict(kwargs or {}), "folder": str(self._folder)})

    def ready(self) -> dict[str, Any]:
        """Wait until the model is loaded; what the factory's `info()` says. Raises what the factory raised."""
        with self._lock:
            return self._wait_ready()

    def run32(self, arrays: Sequence[Array]) -> Outputs:
        """The model's float32 answer."""
        return self._run("run32", arrays)

    def run64(self, arrays: Sequence[Array]) -> Outputs:
        """The model's float64 answer; NoFloat64 where it has none."""
        return self._run("run64", arrays)

    def run_twin(self, arrays: Sequence[Array]) -> Outputs:
        """The answer of the model's float32 twin, where it computes in mixed precision."""
        return self._run("run_twin", arrays)

    def runner(self, name: str, *, device: str = "cpu", boundary: Boundary | None = None) -> Runner:
        """This process as the judge's rung, once it is ready; closed by the judge when it has every answer."""

        def open64() -> RunFn:
            return self.run64

        def open32() -> RunFn:
            return self.run_twin

        info = self.ready()
        return Runner(
            name,
            self.run32,
            open64,
            device=device,
            backend=str(info.get("backend") or ""),
            boundary=boundary or Boundary(),
            close=self.close,
            open32=open32 if info.get("mixed") else None,
            policy=str(info.get("policy") or ""),
            dtype=str(info.get("dtype") or "float32"),
        )

    def close(self) -> None:
        """End the process and remove its folder; may be called twice."""
        process = self._process
        with contextlib.suppress(OSError):
            self._commands.close()
        process.kill()
        process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_commands"):
            self.close()

    def _run(self, what: str, arrays: Sequence[Array]) -> Outputs:
        with self._lock:
            self._wait_ready()
            self._count += 1
            path = self._folder / f"in{self._count}.npz"
            dtypes = _save(path, list(arrays))
            self._send({"do": what, "inputs": str(path), "dtypes": dtypes})
            reply = self._receive()
            outputs = _load(Path(reply["outputs"]), reply["dtypes"])
            return list(zip(reply["names"], outputs, strict=True))

    def _wait_ready(self) -> dict[str, Any]:
        if self._ready is None:
            self._ready = self._receive()["info"]
        return self._ready

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._commands.write(json.dumps(message) + "\n")
            self._commands.flush()
        except (OSError, ValueError) as error:
            raise WorkerFailed(f"The reference process is gone. {self._last_words()}") from error

    def _receive(self) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=self.timeout)
        except queue.Empty:
            self.close()
            raise WorkerFailed(f"The reference process did not answer within {self.timeout:g} s.", "Timeout") from None
        if line is None:
            self._lines.put(None)  # whoever asks next is told the same
            code = self._process.wait()
            raise WorkerFailed(f"The reference process ended with status {code}. {self._last_words()}", "Ended")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            kind, text = reply["kind"], reply["error"]
            if kind in _RELAYED:
                raise _RELAYED[kind](text)
            raise WorkerFailed(f"{kind}: {text}", kind)
        return reply

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = (self._folder / "log").read_text(errors="replace").strip().splitlines()
            return " ".join(lines[-3:])[-500:]
        return ""


class _Process(Protocol):
    """What both kinds of a child can do."""

    def kill(self) -> None: ...
    def wait(self) -> int | None: ...


class _Fork:
    """A forked child as subprocess's objects are."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process

    def kill(self) -> None:
        self._process.kill()

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode


def _spawned(env: dict[str, str], log: Path) -> tuple[_Process, IO[str], IO[str]]:
    """An interpreter of its own, with the pipes to it and from it."""
    environment = {**os.environ, **env}
    paths = [str(_ROOT), *environment.get("PYTHONPATH", "").split(os.pathsep)]
    environment |= {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "TF_CPP_MIN_LOG_LEVEL": "3"}
    with log.open("wb") as stream:
        # -P: a keras.py in the folder that the user works in is not imported.
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "converter.judge.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stream,
            env=environment,
            text=True,
            encoding="utf-8",
        )
    if process.stdin is None or process.stdout is None:
        raise OSError("no pipe to the reference process")
    return process, process.stdin, process.stdout


def _forked(env: dict[str, str], log: Path) -> tuple[_Process, IO[str], IO[str]]:
    """A copy of this process, with the pipes to it and from it."""
    (there, to), (back, answer) = os.pipe(), os.pipe()
    process = multiprocessing.get_context("fork").Process(
        target=_child,
        args=(env, str(log), there, answer, (to, back), os.getpid()),
        name="kconvert-reference",
        daemon=True,
    )
    process.start()
    os.close(there)
    os.close(answer)
    return _Fork(process), os.fdopen(to, "w", encoding="utf-8"), os.fdopen(back, "r", encoding="utf-8")


def _child(env: dict[str, str], log: str, commands: int, replies: int, parents: Sequence[int], parent: int) -> None:
    """The forked child: a log of its own, no share in the parent's ends of the pipes or in what it does at exit."""
    for end in parents:
        os.close(end)
    _follow(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent closes the pipe
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.environ.update(env)
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (written, 1), (written, 2)):
        os.dup2(source, target)
    with os.fdopen(replies, "w", encoding="utf-8") as answers:
        _serve(os.fdopen(commands, "r", encoding="utf-8"), answers)
    os._exit(0)


def _follow(parent: int) -> None:
    """End with the parent, however it ends, and in the middle of a computation: nobody waits for the answer."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="kconvert-parent").start()


def _listen(stream: IO[str] | None, lines: queue.Queue[str | None]) -> None:
    """Pass the child's lines on, and None when it is gone."""
    if stream is not None:
        with contextlib.suppress(ValueError, OSError), stream:
            for line in stream:
                lines.put(line)
    lines.put(None)


def _save(path: Path, arrays: Sequence[Array]) -> list[str]:
    """Write the arrays; their dtypes. An .npz has no bfloat16: its float32, which is exact, stands there."""
    with open(path, "wb") as stream:
        np.savez(stream, *map(plain, arrays))
    return [array.dtype.name for array in arrays]


def _load(path: Path, dtypes: Sequence[str]) -> list[Array]:
    with np.load(path, allow_pickle=False) as data:
        arrays = [data[f"arr_{index}"] for index in range(len(data.files))]
    path.unlink()
    return [narrow(array) if dtype == "bfloat16" else array for array, dtype in zip(arrays, dtypes, strict=True)]


def _serve(commands: IO[str], replies: IO[str]) -> None:
    """The child's loop: one reply for each command, until the parent closes the pipe."""
    model: Any = None
    folder = Path()
    for count, line in enumerate(commands):
        command = json.loads(line)
        reply: dict[str, Any]
        try:
            if command["do"] == "start":
                folder = Path(command["folder"])
                module, _, function = command["factory"].partition(":")
                model = getattr(importlib.import_module(module), function)(**command["kwargs"])
                reply = {"info": model.info() if hasattr(model, "info") else {}}
            else:
                reply = _answer(model, command, folder / f"out{count}.npz")
        except Exception as error:  # noqa: BLE001 - it is told to the parent, whose error it becomes
            traceback.print_exc()
            reply = {"error": str(error), "kind": type(error).__name__}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def _answer(model: Any, command: dict[str, Any], path: Path) -> dict[str, Any]:
    if not hasattr(model, command["do"]):
        raise NoFloat64("the reference process has no float64 run")
    outputs: Outputs = getattr(model, command["do"])(_load(Path(command["inputs"]), command["dtypes"]))
    dtypes = _save(path, [array for _, array in outputs])
    return {"names": [name for name, _ in outputs], "outputs": str(path), "dtypes": dtypes}


def main() -> None:
    """Keep the pipes for the protocol: what frameworks print goes to the log, and nothing else reads the commands."""
    _follow(os.getppid())
    commands = os.fdopen(os.dup(0), "r", encoding="utf-8")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    _serve(commands, replies)
    replies.flush()
    os._exit(0)  # the frameworks' threads and exit handlers have nothing left to do


if __name__ == "__main__":
    main()
