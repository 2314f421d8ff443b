"""The process that reads damaged files: one path a line in, one outcome a line out, its memory bounded."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

MEMORY = 3 << 30
"""What one process may take besides what it has after its imports."""


def read(path: Path, kind: str) -> str:
    """Read a file as the converter does; of a program the module is made as well."""
    from converter import sources
    from converter.files.arrays import read_arrays

    if kind == "npz":
        read_arrays(path)
        return "read"
    arch = "fixtures/torch_models.py:MLP" if kind == "safetensors" else None
    source = sources.read(path, arch, None)
    if hasattr(source.model, "graph_signature"):
        source.model.module()
    return "read"


def outcome(path: Path, kind: str) -> dict[str, Any]:
    """The class of what came out; anything but our own errors with its traceback."""
    from converter.errors import BadInput, CannotWrite, Unsupported, UsageError

    try:
        return {"outcome": read(path, kind)}
    except (BadInput, CannotWrite, Unsupported, UsageError) as error:
        return {"outcome": type(error).__name__, "text": str(error)[:300]}
    except BaseException as error:  # what this looks for
        return {"outcome": f"ESCAPED {type(error).__name__}", "text": traceback.format_exc()[-3000:]}


def main() -> None:
    """Serve until the input ends."""
    from tests.fuzz import watch

    folder = os.environ["TMPDIR"]
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import keras
    import torch

    torch.export.export(torch.nn.Linear(1, 1), (torch.zeros(1, 1),)).module()
    keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    watch.install([folder])
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        watch.seen.clear()
        before = set(os.listdir(folder))
        start = time.monotonic()
        found = outcome(Path(asked["path"]), asked["kind"])
        found["seconds"] = round(time.monotonic() - start, 3)
        found["events"] = list(watch.seen)
        found["left"] = sorted(set(os.listdir(folder)) - before)
        found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main()
