"""Damaged files through the readers and the command line: `python -m tests.fuzz.run [--count 2000] [--commands 100]`.

Every outcome is a success or one of our errors; nothing escapes, crashes, takes over 10 s, runs, or is left half done.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.mutations import SOURCES, mutated

ROOT = Path(__file__).parent.parent.parent
LIMIT = 10.0
START = 300.0
CODES = {0: "converted", 2: "UsageError", 3: "Unsupported", 4: "BadInput"}
TARGETS = {
    "h5": ["--to", "torch", "--no-verify"],
    "keras": ["--to", "torch", "--no-verify"],
    "pt2": ["--to", "keras", "--no-verify"],
    "safetensors": ["--to", "keras", "--no-verify", "--arch", "fixtures/torch_models.py:MLP", "--input", "2,64"],
}
GOOD = {"read", "BadInput", "Unsupported", "UsageError", *CODES.values()}


@dataclass
class Table:
    """What came out, by format, and everything that should not have."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0
    peak: int = 0

    def add(self, kind: str, seed: int, damage: str, found: dict[str, Any]) -> None:
        """One outcome; `events` and `left` are faults whatever came out."""
        self.outcomes[kind, found["outcome"]] += 1
        self.slowest = max(self.slowest, found.get("seconds", 0.0))
        self.peak = max(self.peak, found.get("peak", 0))
        wrong = [] if found["outcome"] in GOOD else [found["outcome"], found.get("text", "")]
        wrong += [f"did: {event}" for event in found.get("events", [])]
        wrong += [f"left: {name}" for name in found.get("left", [])]
        if wrong:
            self.faults.append(f"{kind} {seed} ({damage}): " + " | ".join(wrong))

    def show(self, title: str) -> str:
        """The table in words."""
        names = sorted({name for _, name in self.outcomes})
        kinds = [kind for kind in SOURCES if any(k == kind for k, _ in self.outcomes)]
        lines = [title, f"{'':14}" + "".join(f"{name:>22}" for name in names)]
        lines += [f"{kind:14}" + "".join(f"{self.outcomes[kind, name]:>22}" for name in names) for kind in kinds]
        total = sum(self.outcomes.values())
        return "\n".join(
            [*lines, f"{total} files, {len(self.faults)} faults, slowest {self.slowest:.2f} s", *self.faults]
        )


class Reader:
    """The worker, started again after every end of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None

    def ask(self, path: Path, kind: str) -> dict[str, Any]:
        """The worker's answer; its death or silence is an answer as well."""
        if self.process is None:
            self._start()
        process = self.process
        if process is None or process.stdin is None:
            return {"outcome": "NO WORKER"}
        process.stdin.write(json.dumps({"path": str(path), "kind": kind}) + "\n")
        process.stdin.flush()
        found = self._line(LIMIT)
        if found is None:
            ended = process.poll()
            self.close()
            return {
                "outcome": "HANG" if ended is None else f"CRASH {ended}",
                "seconds": LIMIT if ended is None else 0.0,
            }
        return found

    def close(self) -> None:
        """End the worker."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def _start(self) -> None:
        env = {**os.environ, "TMPDIR": str(self.folder), "KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1"}
        env |= {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "tests.fuzz.worker"]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, cwd=ROOT, env=env, text=True, **pipes)
        if self._line(START) is None:
            raise RuntimeError("the worker did not start")

    def _line(self, seconds: float) -> dict[str, Any] | None:
        if self.process is None or self.process.stdout is None:
            return None
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        line = self.process.stdout.readline() if ready else ""
        found: dict[str, Any] | None = json.loads(line) if line else None
        return found


def readers(count: int, start: int = 0) -> Table:
    """So many damaged files, the formats in turn, through the readers."""
    table = Table()
    kinds = list(SOURCES)
    with tempfile.TemporaryDirectory(prefix="kconvert_fuzz_") as name:
        work = Path(name) / "work"
        work.mkdir()
        reader = Reader(work)
        try:
            for seed in range(start, start + count):
                kind = kinds[seed % len(kinds)]
                damage, data = mutated(kind, seed)
                path = Path(name) / f"m{seed}.{kind}"
                path.write_bytes(data)
                table.add(kind, seed, damage, reader.ask(path, kind))
                path.unlink()
        finally:
            reader.close()
    return table


def command(kind: str, seed: int, folder: Path) -> tuple[str, dict[str, Any]]:
    """One damaged file through `kconvert`."""
    damage, data = mutated(kind, seed)
    work, out, log = folder / "work", folder / "out", folder / "log"
    work.mkdir()
    path = folder / f"m.{kind}"
    path.write_bytes(data)
    target = out / ("net.keras" if kind in ("pt2", "safetensors") else "net.py")
    asked = (
        [str(path), *TARGETS[kind]] if kind != "npz" else ["fixtures/mlp.h5", "--to", "torch", "--inputs", str(path)]
    )
    env = {**os.environ, "TMPDIR": str(work), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    env["PYTHONPATH"] = str(ROOT)
    begun = time.monotonic()
    words = [sys.executable, "-m", "tests.fuzz.watch", str(log), str(folder), *asked, "-o", str(target)]
    try:
        done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return damage, {"outcome": "HANG"}
    said = done.stdout + done.stderr
    found: dict[str, Any] = {"outcome": CODES.get(done.returncode, f"EXIT {done.returncode}"), "text": said[-2000:]}
    if "Traceback" in said or "internal error" in said:
        found["outcome"] = "TRACEBACK"
    found["events"] = log.read_text().split("\n") if log.exists() and log.read_text() else []
    found["left"] = [name for name in os.listdir(work) if not name.startswith("torchinductor_")]  # torch's own cache
    written = sorted(os.listdir(out)) if out.exists() else []
    whole = ["net.keras", "net.py"] if target.suffix == ".keras" else ["net.py", "net.safetensors"]
    found["left"] += [] if written == (whole if done.returncode == 0 else []) else [f"half written: {written}"]
    found["seconds"] = time.monotonic() - begun
    return damage, found


def commands(count: int, start: int = 100_000) -> Table:
    """So many damaged files through the command line."""
    table = Table()
    kinds = list(SOURCES)
    for seed in range(start, start + count):
        kind = kinds[seed % len(kinds)]
        with tempfile.TemporaryDirectory(prefix="kconvert_fuzz_") as name:
            damage, found = command(kind, seed, Path(name))
        table.add(kind, seed, damage, found)
    return table


def main() -> int:
    """Both, with a table each; 1 where there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--commands", type=int, default=100)
    parser.add_argument("--start", type=int, default=0)
    asked = parser.parse_args()
    read = readers(asked.count, asked.start)
    print(read.show("through the readers"), f"peak memory {read.peak >> 10} MiB", sep="\n", flush=True)
    ran = commands(asked.commands)
    print(ran.show("through the command line"), flush=True)
    return 1 if read.faults or ran.faults else 0


if __name__ == "__main__":
    sys.exit(main())
