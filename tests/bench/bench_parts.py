"""Where a conversion's CPU seconds go: `python tests/bench/bench_parts.py FILE.h5 ...`, a process for each file.

The parts are those of the command's own process; the reference's process, a copy of it after the imports, is one
figure.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def parts(path: Path) -> dict[str, float]:
    """CPU seconds by part, of one conversion to PyTorch in this process, which is new."""
    start = time.process_time()
    from converter import cli

    cli._own_process(False)
    from converter import api, frameworks, proof, rows, saving, sources

    found = {"our own modules": time.process_time() - start}

    def timed(label: str, holder: Any, name: str) -> None:
        usual: Callable[..., Any] = getattr(holder, name)

        def run(*args: Any, **kwargs: Any) -> Any:
            begin = time.process_time()
            try:
                return usual(*args, **kwargs)
            finally:
                found[label] = found.get(label, 0.0) + time.process_time() - begin

        setattr(holder, name, run)

    timed("vetting as data", rows, "preview")
    timed("importing torch, keras", frameworks, "import_all")
    timed("reading the file", sources, "read")
    timed("capture, settle, write", api, "_made")
    timed("files beside their places", saving, "stage")
    timed("judge: forward passes, comparing", proof, "prove")
    with tempfile.TemporaryDirectory() as folder:
        api.run(api.Asked(path, "torch"), api.Proving(own=True), api.Output(Path(folder) / "net.py"))
    child = resource.getrusage(resource.RUSAGE_CHILDREN)
    whole = time.process_time()
    found["the rest"] = whole - sum(found.values())
    found["the reference's process"] = child.ru_utime + child.ru_stime
    found["all"] = whole + found["the reference's process"]
    return found


def main() -> None:
    """Print a table for each file."""
    if sys.argv[1:2] == ["--one"]:
        for label, seconds in parts(Path(sys.argv[2])).items():
            print(f"  {label:34}{seconds:7.2f}")
        return
    for name in sys.argv[1:] or [str(ROOT / "fixtures" / "digits_cnn.keras")]:
        print(name, flush=True)
        subprocess.run([sys.executable, __file__, "--one", name], check=True, timeout=600)


if __name__ == "__main__":
    main()
