"""For tests: two models that must answer alike, by pytest or any other runner of tests."""

from __future__ import annotations

from typing import Any

from converter.comparison import verify
from converter.errors import NotEquivalent, UsageError
from converter.report import Report

OPTIONS = ("inputs", "layout", "device", "gradients", "layers", "seed")


def assert_equivalent(a: Any, b: Any, *, require_proof: bool = False, **options: Any) -> Report:
    """Compare two models as `converter.verify` does, with its options; its report where they are equal.

    Raises NotEquivalent, which is an AssertionError too, with the layer at which they part and the likely cause; with
    `require_proof` also where the evidence is weak, or not of float64."""
    wrong = [name for name in options if name not in OPTIONS]
    if wrong:
        known = ", ".join((*OPTIONS, "require_proof"))
        raise UsageError(f"assert_equivalent: expected {known}; received {wrong[0]!r}.")
    report = verify(a, b, **options)
    if report.passed is False:
        raise NotEquivalent("\n".join([report.headline(), *([report.fault["text"]] if report.fault else [])]))
    if require_proof and not report.proven:
        raise NotEquivalent(f"A proof was required, and there is none: {report.headline()}")
    return report
