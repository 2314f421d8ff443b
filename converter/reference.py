"""The source file run as it is, for the judge's process: read again, on a Keras backend of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from converter import custom as custom_objects
from converter import frameworks
from converter.sources import importable, keras_size, known_class


class FileReference:
    """A Keras file as the judge's worker holds it; float64 from a twin with every dtype policy replaced."""

    def __init__(
        self,
        path: str,
        arch: str | None,
        arch_args: dict[str, Any] | None,
        custom: dict[str, str] | None = None,
        trust: bool = False,
    ) -> None:
        from converter.capture.keras_open_model import pack_of
        from converter.files.keras_files import read_keras
        from converter.judge.run_keras import keras_runner

        made = importable(arch) if arch is not None else None
        objects = custom_objects.objects(custom)
        asked: dict[str, Any] = {"custom": objects, "arch": made, "arch_args": arch_args, "trust": trust}
        self.model = read_keras(path, allowed=known_class, **asked).model
        self.runner = keras_runner(self.model, pack=pack_of(self.model))
        self._run64: Any = None
        self._twin: Any = None

    def run32(self, arrays: Sequence[np.ndarray]) -> list[tuple[str, np.ndarray]]:
        """The float32 answer."""
        return self.runner.run32(arrays)

    def run64(self, arrays: Sequence[np.ndarray]) -> list[tuple[str, np.ndarray]]:
        """The float64 answer; NoFloat64 where the model cannot be rebuilt."""
        if self._run64 is None and self.runner.open64 is not None:
            with frameworks.room_for(keras_size(self.model)):
                self._run64 = self.runner.open64()
        answer: list[tuple[str, np.ndarray]] = self._run64(arrays)
        return answer

    def run_twin(self, arrays: Sequence[np.ndarray]) -> list[tuple[str, np.ndarray]]:
        """The answer of the float32 twin, where the model computes in mixed precision."""
        if self._twin is None and self.runner.open32 is not None:
            with frameworks.room_for(keras_size(self.model)):
                self._twin = self.runner.open32()
        answer: list[tuple[str, np.ndarray]] = self._twin(arrays)
        return answer

    def info(self) -> dict[str, Any]:
        """What runs here."""
        import keras

        return {
            "backend": self.runner.backend,
            "keras": keras.__version__,
            "policy": self.runner.policy,
            "mixed": self.runner.open32 is not None,
            "dtype": self.runner.dtype,
        }


def open_file(
    path: str,
    arch: str | None = None,
    arch_args: dict[str, Any] | None = None,
    custom: dict[str, str] | None = None,
    trust: bool = False,
) -> FileReference:
    """The worker's factory."""
    if arch is None and not custom and not trust:
        frameworks.hide_others(os.environ.get("KERAS_BACKEND", ""))
    return FileReference(path, arch, arch_args, custom, trust)
