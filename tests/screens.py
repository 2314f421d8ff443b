"""Six conversions as a user sees them: equal, weak, unequal, refused, a repaired old file, chaotic.

`python -m tests.screens` prints the default screen of each.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np

from converter import cli

FIXTURES = Path(__file__).parent.parent / "fixtures"
L = keras.layers


def weak(path: Path) -> None:
    """A Dense layer whose kernel is zero: no input moves the output."""
    x = keras.Input((8,), name="x")
    keras.Model(x, L.Dense(4, kernel_initializer="zeros", name="fc")(x), name="weak").save(path)


def refused(path: Path) -> None:
    """80 layers without a mapping, of two kinds, and a Lambda."""
    x = y = keras.Input((4, 4), name="x")
    for i in range(78):
        y = L.LSTM(4, return_sequences=True, name=f"stage{i // 10}_lstm{i}")(y)
    y = L.GRU(4, return_sequences=True, name="gru")(y)
    keras.Model(x, L.Lambda(abs, name="anything")(y)).save(path)


def chaotic(path: Path) -> None:
    """31 layers of tanh, each of which stretches small differences fourfold: float32 forgets where it came from."""
    rng = np.random.default_rng(0)
    x = y = keras.Input((16,), name="x")
    for i in range(31):
        layer = L.Dense(16, activation="tanh", name=f"map{i}")
        y = layer(y)
        layer.set_weights([4 * np.linalg.qr(rng.normal(size=(16, 16)))[0].astype("float32"), np.zeros(16, "float32")])
    keras.Model(x, y).save(path)


def spoiled(load: Callable[..., Any]) -> Callable[..., Any]:
    """A reading of the written files that gets one weight wrong, as a fault of the conversion would."""

    def read(*args: Any) -> Any:
        model = load(*args)
        next(iter(model.parameters())).data.view(-1)[0] += 0.5
        return model

    return read


def run(*arguments: object) -> tuple[int, str, str]:
    """The command in this process: exit code, standard output, standard error. The process stays as it was."""
    out, err = io.StringIO(), io.StringIO()
    finders, environment = list(sys.meta_path), dict(os.environ)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        try:
            cli.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            return int(stop.code or 0), out.getvalue(), err.getvalue()
        finally:
            sys.meta_path[:] = finders
            os.environ.clear()
            os.environ.update(environment)
    raise RuntimeError("the command did not exit")


def screen(kind: str, folder: Path, *options: str) -> tuple[int, str, str]:
    """One of the six, converted into a folder."""
    path = folder / f"{kind}.keras"
    if kind == "equal":
        path = FIXTURES / "digits_cnn.keras"
    elif kind == "repaired":
        path = FIXTURES / "digits_legacy.h5"
    elif kind == "unequal":
        path = FIXTURES / "mlp.keras"
    else:
        {"weak": weak, "refused": refused, "chaotic": chaotic}[kind](path)
    asked = (path, "--to", "torch", "-o", folder / f"{kind}_out", *options)
    if kind != "unequal":
        return run(*asked)
    from converter.write import torch_load

    load = torch_load.load_file
    torch_load.load_file = spoiled(load)
    try:
        return run(*asked)
    finally:
        torch_load.load_file = load


KINDS = ("equal", "weak", "unequal", "refused", "repaired", "chaotic")


def main() -> None:
    """Print the six screens."""
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            code, out, err = screen(kind, Path(folder))
            print(f"---- {kind}, exit {code}\n{(out + err).replace(folder + '/', '')}")


if __name__ == "__main__":
    main()
