"""Reports as the judge would cause them, from figures alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from converter.report import Report


class Verdict:
    """What Report.from_verdict reads."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data

    def to_dict(self) -> dict[str, Any]:
        return self.data


def judged(
    passed: bool = True,
    *,
    proof: bool = True,
    weak: Sequence[str] = (),
    chaotic: Mapping[str, float] | None = None,
    trainable: dict[str, Any] | None = None,
    max_rel: Any = 3e-7,
    output: str = "y",
    wrong: Sequence[str] = (),
    repairs: Sequence[Any] = (),
) -> Report:
    """A Dense layer's report; not `passed`: the float32 rung of torch fails."""

    def row(value: Any, tol: float, good: bool = True) -> dict[str, Any]:
        known = {"name": output, "passed": good, "reason": "" if good else "max_rel 3.0e-01, SNR 9 dB", "tol": tol}
        return {**known, "max_abs": value, "max_rel": value, "worst": [0, 1], "scale": 1.0}

    def rung(name: str, precision: str, good: bool | None, each: dict[str, Any]) -> dict[str, Any]:
        known = {"name": name, "device": "cpu", "backend": name, "precision": precision, "passed": good}
        return {**known, "against": "keras source float64", "sets": 4, "note": "", "outputs": [each]}

    data = {
        "passed": passed and not wrong,
        "proof": proof,
        "rests_on": "float64: keras source and torch agree to 1e-10",
        "broken": "" if passed else "between onnxruntime and torch (cpu, float32)",
        "rungs": [
            rung("keras source", "float32", None, row(2e-7, 1e300)),
            rung("onnxruntime", "float32", True, row(max_rel, 4e-6)),
            rung("torch", "float64", True, row(1e-15, 1e-10)),
            rung("torch", "float32", passed, row(2e-7 if passed else 0.3, 4e-6, passed)),
        ],
        "sensitivity": {output: 9.5e-18 if weak else 0.7},
        "weak": list(weak),
        "chaotic": dict(chaotic or {}),
        "weights": {"compared": 4, "elements": 40, "wrong": list(wrong), "passed": not wrong},
        "gates": {"proof": 1e-10},
        "seed": 0,
        "sets": [{"name": "batch 1", "shapes": [[1, 3]], "seed": (0, 0)}],
        "notes": [],
    }
    return Report.from_verdict(
        Verdict(data), source="net", target="torch", trainable=trainable, repairs=repairs, versions={"torch": "2"}
    )
