"""kconvert: Keras models as PyTorch models and back, with the proof that they answer alike."""

from __future__ import annotations

from typing import Any

from converter import errors

__all__ = ["Report", "convert", "errors", "verify"]


def __getattr__(name: str) -> Any:
    if name == "convert":
        from converter.api import convert

        return convert
    if name == "verify":
        from converter.comparison import verify

        return verify
    if name == "Report":
        from converter.report import Report

        return Report
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
