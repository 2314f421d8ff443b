"""What happened, as data; then as a terminal table and as JSON. The same seed gives the same report."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = "kconvert-report/1"


class Judged(Protocol):
    """What the report needs of the judge's verdict."""

    def to_dict(self) -> dict[str, Any]: ...


@dataclass
class Report:
    """Everything that a user may want to know of one conversion or comparison.

    `passed` is None where nothing was verified. `rungs` are the judge's: name, device, backend, precision, against,
    passed, note, sets, and for each output its figures (max_abs, max_rel, tol, passed, worst, ...)."""

    source: str
    target: str
    passed: bool | None = None
    proof: bool = False
    rests_on: str = "nothing: not verified"
    broken: str = ""
    rungs: list[dict[str, Any]] = field(default_factory=list)
    sensitivity: dict[str, float] = field(default_factory=dict)
    weak: list[str] = field(default_factory=list)
    weights: dict[str, Any] | None = None
    repairs: list[str] = field(default_factory=list)
    turns: list[str] = field(default_factory=list)
    transposes: int | None = None
    trainable: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)
    unsupported: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    inputs: list[dict[str, Any]] = field(default_factory=list)
    gates: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    devices: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_verdict(
        cls,
        verdict: Judged | None,
        *,
        source: str,
        target: str,
        repairs: Sequence[str] = (),
        turns: Sequence[str] = (),
        transposes: int | None = None,
        warnings: Sequence[str] = (),
        unsupported: Sequence[str] = (),
        notes: Sequence[str] = (),
        versions: Mapping[str, str] | None = None,
        seed: int = 0,
    ) -> Report:
        """The judge's answer and what the other stages know; no verdict: nothing was verified."""
        report = cls(source, target, repairs=list(repairs), turns=list(turns), transposes=transposes, seed=seed)
        report.warnings, report.unsupported, report.notes = list(warnings), list(unsupported), list(notes)
        report.versions = dict(versions or {})
        if verdict is not None:
            data = verdict.to_dict()
            for key in (
                "passed",
                "proof",
                "rests_on",
                "broken",
                "rungs",
                "sensitivity",
                "weak",
                "weights",
                "gates",
                "seed",
            ):
                setattr(report, key, data[key])
            report.inputs = [{**each, "seed": each["seed"] and list(each["seed"])} for each in data["sets"]]
            report.notes += data["notes"]
            report.devices = list(dict.fromkeys(rung["device"] for rung in report.rungs))
        if repairs:
            report.notes.append("the repairs stand before source and target alike: the proof does not judge them")
        return report

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with the version of its schema."""
        return {"schema": SCHEMA, **{key: getattr(self, key) for key in self.__dataclass_fields__}}

    def to_json(self) -> str:
        """Strict JSON: what is not finite is text there."""
        return json.dumps(_plain(self.to_dict()), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def __str__(self) -> str:
        return "\n".join([self.headline(), *(_line(rung, each) for rung in self.rungs for each in rung["outputs"])])

    def headline(self) -> str:
        """The answer in one line."""
        if self.passed is None:
            return f"{self.source} -> {self.target}: not verified"
        if not self.passed:
            return f"{self.source} -> {self.target}: NOT EQUAL. {self.broken}".rstrip(". ") + "."
        return f"{self.source} -> {self.target}: equal. It rests on {self.rests_on}."


def render(report: Report, console: Console | None = None, *, verbose: bool = False) -> None:
    """Print the report; colours only where `console` is a terminal. `verbose` adds versions, inputs and the gates."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = console or Console()
    style = {True: "green", False: "red", None: "yellow"}[report.passed]
    console.print(f"[bold {style}]{escape(report.headline())}[/]", soft_wrap=True, highlight=False)
    if report.rungs:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in ("rung", "on", "precision", "output", "max abs", "relative", "allowed", ""):
            table.add_column(title, justify="right" if title in ("max abs", "relative", "allowed") else "left")
        for rung in report.rungs:
            for cells in _rows(rung):
                table.add_row(*(escape(cell) for cell in cells))
        console.print(table, highlight=False)
    for title, lines in _sections(report, verbose):
        console.print(f"[bold]{escape(title)}[/]", highlight=False)
        for line in lines:
            console.print(f"  {escape(line)}", soft_wrap=True, highlight=False)


def _rows(rung: dict[str, Any]) -> list[list[str]]:
    head = [rung["name"], rung["device"], rung["precision"]]
    if not rung["outputs"]:
        return [[*head, "", "", "", "", _mark(rung["passed"], rung["note"])]]
    rows = []
    for each in rung["outputs"]:
        judged = rung["passed"] is not None
        figures = [_figure(each[key]) for key in ("max_abs", "max_rel")]
        tol = _figure(each["tol"]) if judged and each["max_rel"] is not None else ""
        rows.append([*head, each["name"], *figures, tol, _mark(each["passed"] if judged else None, _why(rung, each))])
        head = ["", "", ""]
    return rows


def _why(rung: dict[str, Any], each: dict[str, Any]) -> str:
    if rung["passed"] is None:
        return "no proof" if rung["precision"] == "float64" else "own rounding"
    if each["passed"]:
        return str(rung["note"])
    return f"{each['reason']} at {tuple(each['worst'])}" if each["worst"] is not None else str(each["reason"])


def _mark(passed: bool | None, note: str) -> str:
    word = {True: "ok", False: "FAIL", None: ""}[passed]
    return f"{word}  {note}".strip()


def _sections(report: Report, verbose: bool) -> list[tuple[str, list[str]]]:
    weights = []
    if report.weights is not None and report.weights["compared"]:
        count, wrong = report.weights["compared"], list(report.weights["wrong"])
        weights = wrong or [f"{count} compared bit by bit ({report.weights['elements']:,} numbers), all equal"]
    transposes = [] if report.transposes is None else [str(report.transposes)]
    moves = [f"{name} moves by {value:.1e} of its size with the input" for name, value in report.sensitivity.items()]
    sections = [
        ("weights", weights),
        ("turned at the boundary", report.turns),
        ("transposes at run time", transposes),
        ("sensitivity", moves),
        ("repairs", report.repairs),
        ("not supported", report.unsupported),
        ("warnings", report.warnings),
        ("notes", report.notes),
    ]
    if verbose:
        sections += [
            ("inputs", [f"{each['name']}: {each['shapes']}, seed {each['seed']}" for each in report.inputs]),
            ("versions", [f"{name} {version}" for name, version in report.versions.items()]),
            ("gates", [f"{name} {value}" for name, value in report.gates.items()]),
        ]
    return [(title, lines) for title, lines in sections if lines]


def _figure(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.1e}"


def _line(rung: dict[str, Any], each: dict[str, Any]) -> str:
    verdict = "" if rung["passed"] is None else "ok" if each["passed"] else "FAIL"
    figures = " ".join(f"{key} {_figure(each[key])}" for key in ("max_abs", "max_rel", "tol") if each[key] is not None)
    place = f"{rung['name']} ({rung['device']}, {rung['precision']})"
    return f"  {place} {each['name']}  {verdict}  {figures}  {each['reason']}".rstrip()


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
