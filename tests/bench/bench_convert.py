"""How fast, and in how much memory: `tox -e bench`, or `python tests/bench/bench_convert.py [SECTION ...]`.

Prints ratios, asserts nothing. Both sides of a ratio run in turns on the same machine within one call, the side that
goes first changing each round; a ratio is the median over the rounds' own ratios.

    convert  ResNet50 in memory to nn.Module without verification, against model.export(format="onnx") and
             onnx2torch.convert. Every run in a fresh process; the clock starts after imports and model creation.
    run      converted VGG16 and DenseNet121 against torchvision's classes, ResNet50 and MobileNetV2 against the
             hand-written files beside this one: eval, inference mode, one thread, batch 1 and 8. The allocator keeps
             its memory: giving it back and taking it anew is half of the time at batch 8, and differs from run to run.
    help     `kconvert --help`, start to end.
    memory   `kconvert big.keras --to torch` for a model of 500 MB: the largest RSS, summed over all its processes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SIZE = 224
KEPT = {  # glibc: no block is mapped on its own, none is given back
    "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 33),
    "MALLOC_TOP_PAD_": str(1 << 28),
}
PAIRS = {  # the Keras class: the module and class it is compared with
    "VGG16": ("torchvision.models", "vgg16"),
    "DenseNet121": ("torchvision.models", "densenet121"),
    "ResNet50": ("handwritten_resnet50", "ResNet50"),
    "MobileNetV2": ("handwritten_mobilenetv2", "MobileNetV2"),
}
IMPORTS = ("triton", "numpy", "h5py", "torch", "keras", "onnx", "onnx_ir", "onnxruntime", "safetensors.torch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all without")
    parser.add_argument("--rounds", type=int, help="rounds of each comparison")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        name, *rest = arguments.child
        print(json.dumps(CHILDREN[name](*rest)))
        return
    if unknown := [name for name in arguments.sections if name not in SECTIONS]:
        parser.error(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    for name in arguments.sections or SECTIONS:
        SECTIONS[name](arguments.rounds)
        print(flush=True)


# Conversion


def bench_convert(rounds: int | None) -> None:
    print("ResNet50 in memory -> nn.Module, seconds (Keras on tensorflow)")
    ratios = []
    for i, order in in_turns(("convert", "chain"), rounds or 3):
        took = {side: child(side, "tensorflow", backend="tensorflow") for side in order}
        if error := took["chain"]["error"] or took["convert"]["error"]:
            print(f"  failed: {error}")
            return
        export, onnx2torch, ours = took["chain"]["export"], took["chain"]["onnx2torch"], took["convert"]["convert"]
        ratios.append((export + onnx2torch) / ours)
        print(
            f"  {i + 1}: converter {ours:.2f}   chain {export:.2f} + {onnx2torch:.2f} = {export + onnx2torch:.2f}"
            f"   {ratios[-1]:.1f}x"
        )
    print(f"  median: {median(ratios):.1f}x faster than the chain")
    ours, chain = (child(side, "torch", backend="torch") for side in ("convert", "chain"))
    print(
        f"  on Keras's torch backend: converter {show(ours, 'convert')}, chain's export alone {show(chain, 'export')}"
    )
    if chain["error"]:
        print(f"  (there onnx2torch fails: {chain['error']})")


def show(took: dict[str, Any], what: str) -> str:
    return f"{took[what]:.2f}" if what in took else str(took["error"])


def child_convert(backend: str) -> dict[str, Any]:
    """In-memory conversion, all modules imported beforehand."""
    import_all(backend)
    converter = importlib.import_module("converter")
    for module in pkgutil.walk_packages(converter.__path__, "converter."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    model = resnet50()
    try:
        start = time.perf_counter()
        converted = converter.convert(model, "torch", verify=False).model
        took = time.perf_counter() - start
    except Exception as error:
        return {"error": describe(error)}
    return {"error": None, "convert": took, "parameters": sum(p.numel() for p in converted.parameters())}


def child_chain(backend: str) -> dict[str, Any]:
    """The chain that people use today."""
    import_all(backend)
    onnx2torch = importlib.import_module("onnx2torch")
    model = resnet50()
    took: dict[str, Any] = {"error": None}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "resnet50.onnx")
        try:
            start = time.perf_counter()
            model.export(path, format="onnx", verbose=False)
            took["export"] = time.perf_counter() - start
            start = time.perf_counter()
            onnx2torch.convert(path)
            took["onnx2torch"] = time.perf_counter() - start
        except Exception as error:
            took["error"] = describe(error)
    return took


def resnet50() -> Any:
    """Called once: model.export refuses a model that never was."""
    import numpy as np

    model = importlib.import_module("keras").applications.ResNet50(weights=None)
    model(np.zeros((1, SIZE, SIZE, 3), np.float32))
    return model


def import_all(backend: str) -> None:
    """Both sides import alike; triton stands first, for after tensorflow it crashes."""
    for name in (*IMPORTS, *(("tensorflow", "tf2onnx") if backend == "tensorflow" else ())):
        try:
            importlib.import_module(name)
        except ImportError:
            if name != "triton":
                raise


def describe(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


# Run time


def bench_run(rounds: int | None) -> None:
    print("Converted models at work, one thread, milliseconds")
    print(f"  {'':14}{'batch':>6}{'converted':>11}{'reference':>11}{'ratio':>8}   reference")
    for name, (module, cls) in PAIRS.items():
        for row in child("run", name, str(rounds or 0), backend="torch", **KEPT):
            print(
                f"  {name:14}{row['batch']:6}{row['converted'] * 1e3:11.1f}{row['reference'] * 1e3:11.1f}"
                f"{row['ratio']:8.3f}   {module}.{cls}"
            )


def child_run(name: str, rounds: str) -> list[dict[str, Any]]:
    """One converted model against its reference."""
    import_all("torch")
    module, cls = PAIRS[name]
    reference = getattr(importlib.import_module(module), cls)()
    # torchvision's classes end in logits, the hand-written ones in softmax, as keras.applications do.
    activation = None if module.startswith("torchvision") else "softmax"
    applications = importlib.import_module("keras").applications
    source = getattr(applications, name)(weights=None, classifier_activation=activation)
    converted = importlib.import_module("converter").convert(source, "torch", layout="native", verify=False).model
    counts = [sum(p.numel() for p in model.parameters()) for model in (converted, reference)]
    if counts[0] != counts[1]:
        raise SystemExit(f"{name}: {counts[0]} parameters converted, {counts[1]} in the reference")
    return [compare(converted, reference, batch, int(rounds) or (15 if batch == 1 else 7)) for batch in (1, 8)]


def compare(converted: Any, reference: Any, batch: int, rounds: int) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    image = torch.randn(batch, 3, SIZE, SIZE)
    sides = {"converted": converted.eval(), "reference": reference.eval()}
    times: dict[str, list[float]] = {side: [] for side in sides}
    with torch.inference_mode():
        for model in sides.values():
            model(image)
        for _, order in in_turns(tuple(sides), rounds):
            for side in order:
                start = time.perf_counter()
                sides[side](image)
                times[side].append(time.perf_counter() - start)
    ratio = median(a / b for a, b in zip(times["converted"], times["reference"], strict=True))
    return {"batch": batch, "ratio": ratio} | {side: median(took) for side, took in times.items()}


# The command


def bench_help(rounds: int | None) -> None:
    commands = {"kconvert --help": [*kconvert(), "--help"], "python -c pass": [sys.executable, "-c", "pass"]}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _, order in in_turns(tuple(commands), rounds or 11):
        for name in order:
            start = time.perf_counter()
            subprocess.run(commands[name], check=True, stdout=subprocess.DEVNULL, env=environment())
            times[name].append(time.perf_counter() - start)
    print("The command's start, seconds, median")
    for name, took in times.items():
        print(f"  {name:18}{median(took):.3f}")


def kconvert() -> list[str]:
    """The installed command where there is one, else the package as a module."""
    script = Path(sys.executable).parent / "kconvert"
    return [str(script)] if script.exists() else [sys.executable, "-m", "converter"]


# Memory


def bench_memory(_: int | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        big, small = Path(folder) / "big.keras", Path(folder) / "small.keras"
        weights = child("model", str(big), "3200", backend="torch")
        child("model", str(small), "1", backend="torch")
        # The small baseline: Keras without tensorflow, whatever the command itself takes.
        imports = peak_rss([sys.executable, "-c", f"import {', '.join(IMPORTS)}"], folder, KERAS_BACKEND="torch")
        print(f"Peak memory of `kconvert big.keras --to torch`, {weights / 1e6:.0f} MB of weights (RSS, all processes)")
        print(f"  imports alone, one process: {imports / 1e6:.0f} MB")
        print(f"  {'':12}{'peak MB':>9}{'processes':>11}{'x weights above imports':>26}{'... above a tiny model':>25}")
        for title, options in (("--no-verify", ["--no-verify"]), ("with proof", [])):
            command = [*kconvert(), "--to", "torch", "--force", "-q", *options]
            tiny = peak_rss([*command, str(small)], folder)
            peak, processes = peak_tree([*command, str(big)], folder)
            print(
                f"  {title:12}{peak / 1e6:9.0f}{processes:11}{(peak - imports) / weights:25.2f}x"
                f"{(peak - tiny) / weights:24.2f}x"
            )


def child_model(path: str, width: str) -> int:
    """Convolutions, a large Dense after Flatten (four fifths of the weights, as in VGG16) and more Dense; its bytes."""
    keras = importlib.import_module("keras")
    layers, units = keras.layers, int(width)
    model = keras.Sequential(
        [
            keras.Input((32, 32, 32), name="image"),
            layers.Conv2D(min(256, units), 3, padding="same", activation="relu", name="conv1"),
            layers.BatchNormalization(name="bn1"),
            layers.Conv2D(min(512, units), 3, strides=2, padding="same", activation="relu", name="conv2"),
            layers.MaxPooling2D(2, name="pool"),
            layers.Flatten(name="flatten"),
            layers.Dense(units, activation="relu", name="fc1"),
            layers.Dense(units * 2 - units // 8, activation="relu", name="fc2"),
            layers.Dense(10, name="logits"),
        ]
    )
    model.save(path)
    return 4 * int(model.count_params())


def peak_rss(command: Sequence[str], folder: str, **extra: str) -> int:
    return peak_tree(command, folder, **extra)[0]


def peak_tree(command: Sequence[str], folder: str, **extra: str) -> tuple[int, int]:
    """Runs a command in a folder; the largest RSS summed over it and all its descendants, and how many those were."""
    peak, processes = 0, 0
    process = subprocess.Popen(command, cwd=folder, env=environment(**extra), stdout=subprocess.DEVNULL)
    done = threading.Event()

    def sample() -> None:
        nonlocal peak, processes
        while not done.wait(0.05):
            tree = [rss(pid) for pid in descendants(process.pid)]
            if sum(tree) > peak:
                peak, processes = sum(tree), len(tree)

    sampler = threading.Thread(target=sample)
    sampler.start()
    code = process.wait()
    done.set()
    sampler.join()
    if code:
        raise SystemExit(f"{' '.join(command)}: exit code {code}")
    return peak, processes


def descendants(pid: int) -> Iterator[int]:
    """The process and everything below it (Linux), by each thread's list of children."""
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = path.read_text().split()
        except OSError:
            continue  # it ended meanwhile
        for entry in children:
            yield from descendants(int(entry))


def rss(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


# Processes


def in_turns(sides: tuple[str, ...], rounds: int) -> Iterator[tuple[int, tuple[str, ...]]]:
    for i in range(rounds):
        yield i, sides if i % 2 == 0 else sides[::-1]


def child(name: str, *arguments: str, backend: str, **extra: str) -> Any:
    """This script's CHILDREN[name] in a fresh process; what it returned."""
    command = [sys.executable, str(Path(__file__).resolve()), "--child", name, *arguments]
    env = environment(KERAS_BACKEND=backend, **extra)
    done = subprocess.run(command, check=False, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def environment(**extra: str) -> dict[str, str]:
    """This environment, with the package and this folder on the path wherever the command runs."""
    path = os.pathsep.join([str(ROOT), str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {"PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"} | extra


SECTIONS: dict[str, Callable[[int | None], None]] = {
    "convert": bench_convert,
    "run": bench_run,
    "help": bench_help,
    "memory": bench_memory,
}
CHILDREN: dict[str, Callable[..., Any]] = {
    "convert": child_convert,
    "chain": child_chain,
    "run": child_run,
    "model": child_model,
}

if __name__ == "__main__":
    main()
