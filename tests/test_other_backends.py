"""Layers that Keras on torch computes otherwise than TensorFlow and JAX, or not at all: each backend in a process."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import traceback

import pytest

from tests.cases import Case, pool, resize

FLOAT64 = [*pool.ELSEWHERE, *resize.ELSEWHERE]
FLOAT32 = resize.ONLY_TENSORFLOW


def rows(backend: str) -> list[Case]:
    """The rows that a backend computes."""
    found = FLOAT64 if backend == "jax" else [c for c in [*FLOAT64, *FLOAT32] if c.id not in resize.ROUNDED]
    return [dataclasses.replace(case, batches=(2,)) for case in found]


@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_backend(backend: str) -> None:
    pytest.importorskip(backend)
    extra = {"KERAS_BACKEND": backend, "JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "tests.test_other_backends", backend]
    ran = subprocess.run(command, env={**os.environ, **extra}, capture_output=True, text=True, check=False, timeout=600)
    assert ran.returncode == 0, ran.stderr[-4000:]
    failed = json.loads(ran.stdout.splitlines()[-1])
    assert not failed, "\n".join(f"{name}: {why}" for name, why in failed.items())


REFUSED = """
import sys
import keras
import converter

L = keras.layers
keras.utils.set_random_seed(0)
if sys.argv[1] == "tensorflow":  # on CPU it has no convolution of this kind: Keras on torch is the reference
    first = {"data_format": "channels_first"}
    for height in (9, None):
        x = keras.Input((3, height, 8))
        model = keras.Model(x, L.GlobalMaxPooling2D(**first)(L.Conv2D(4, 3, **first)(x)))
        report = converter.convert(model, "torch").report
        assert report.passed and report.proof, report.to_json()
        assert any("reference is Keras on torch" in note for note in report.notes), report.notes
x = keras.Input((9, 8, 3))
y = L.LeakyReLU(0.3)(L.Conv2D(4, 3)(L.Rescaling(1 / 127.5, offset=-1)(x)))
report = converter.convert(keras.Model(x, L.Dense(3)(L.GlobalAveragePooling2D()(y))), "torch").report
assert report.passed and report.proof, report.to_json()
"""


@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_models_in_memory_are_proven_whatever_their_backend(backend: str) -> None:
    """JAX without 64 bits, TensorFlow with its constants in float32: another backend is asked, in its own process."""
    pytest.importorskip(backend)
    extra = {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", REFUSED, backend]
    ran = subprocess.run(command, env={**os.environ, **extra}, capture_output=True, text=True, check=False, timeout=600)
    assert ran.returncode == 0, ran.stderr[-4000:]


def main(backend: str) -> None:
    """Check every row on the backend of this process; print what failed as JSON."""
    import torch  # noqa: F401  (before tensorflow)

    from tests import test_ops

    failed: dict[str, str] = {}
    for case in rows(backend):
        try:
            if backend == "jax":
                test_ops.check(case, "float64", "native", test_ops.FLOAT64)
            test_ops.test_float32_and_onnxruntime(case)
        except Exception as error:
            failed[case.id] = f"{type(error).__name__}: {error}"[:1500]
            if os.environ.get("SHOW"):
                traceback.print_exc()
    print(json.dumps(failed))


if __name__ == "__main__":
    main(sys.argv[1])
