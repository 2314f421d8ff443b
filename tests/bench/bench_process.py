"""Whole processes of the command line: wall and CPU seconds, alone and two at once, beside another checkout's.

    python tests/bench/bench_process.py [--against CHECKOUT] [--runs 3] [FILE.h5 ...]

Every line is the median of the runs; the checkouts take turns, so that both see the same machine. Beside the files that
are given stand the digits network of fixtures/ and a model that is refused, and the imports alone as the measure.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMPORTS = ["-c", "import torch, keras, onnxruntime"]


def refused(folder: Path) -> Path:
    """A file with layers that have no mapping."""
    path = folder / "refused.keras"
    code = (
        "import sys, keras\nx = keras.Input((4, 4))\ny = keras.layers.Lambda(lambda t: t * 2)(x)\n"
        "keras.Model(x, keras.layers.Dense(3)(y)).save(sys.argv[1])\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(path)], check=True, env={**os.environ, "KERAS_BACKEND": "torch"}, timeout=300
    )
    return path


def measured(commands: list[list[str]], env: dict[str, str], folder: Path) -> tuple[float, float]:
    """Wall seconds until all have ended, CPU seconds of all."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    running = [
        subprocess.Popen(command, env=env, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in commands
    ]
    for each in running:
        each.wait()
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def command(path: Path, output: str) -> list[str]:
    return [sys.executable, "-m", "converter", str(path), "--to", "torch", "-o", output, "--force"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [ROOT / "fixtures" / "digits_cnn.keras", *(f.absolute() for f in asked.files), refused(folder)]
        plan = [("imports", [[sys.executable, *IMPORTS]])]
        plan += [(f.name, [command(f, "one")]) for f in files]
        plan += [(f"{f.name}, two at once", [command(f, "one"), command(f, "two")]) for f in files]
        trees = [asked.against, ROOT] if asked.against else [ROOT]
        print(f"{'what':34}" + "".join(f"{label:>18}" for tree in trees for label in (f"wall {tree.name}", "cpu")))
        for label, commands in plan:
            found: dict[Path, list[tuple[float, float]]] = {tree: [] for tree in trees}
            for _ in range(asked.runs):
                for tree in trees:
                    env = {**os.environ, "PYTHONPATH": str(tree), "TF_CPP_MIN_LOG_LEVEL": "3"}
                    if label == "imports":
                        env["KERAS_BACKEND"] = "torch"
                    found[tree].append(measured(commands, env, folder))
            cells = [statistics.median(f[i] for f in found[tree]) for tree in trees for i in (0, 1)]
            print(f"{label:34}" + "".join(f"{cell:18.2f}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
