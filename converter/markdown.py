"""The report as Markdown for a pull request. Text of the model stands in code spans, where it is nothing but text."""

from __future__ import annotations

import re
from collections.abc import Iterable

from converter.rendering import grouped, layer_lines
from converter.report import Report, figure

MARKS = {True: "ok", False: "**FAIL**", None: ""}


def markdown(report: Report) -> str:
    """The verdict, every rung and output as a table, then each kind of remark."""
    lines = [f"### kconvert: {code(report.headline())}", ""]
    if report.error:
        lines += ["What went wrong:", "", *_list(report.error.splitlines()), ""]
    if report.rungs:
        lines += ["| rung | output | relative | allowed | |", "|---|---|---|---|---|"]
        for each in report.figures():
            place = f"{each.rung} ({each.device}, {each.precision})"
            cells = [_cell(place), _cell(each.output), figure(each.max_rel), figure(each.tol)]
            why = _cell(each.reason) if each.reason else ""
            lines.append(f"| {' | '.join(cells)} | {f'{MARKS[each.passed]} {why}'.strip()} |")
        lines.append("")
    for title, told in sections(report):
        lines += [f"**{title}**", "", *_list(told), ""]
    if report.sha256:
        lines += [f"Source file: sha256 {code(report.sha256)}", ""]
    lines += [f"{', '.join(f'{name} {code(text)}' for name, text in report.versions.items())}; seed {report.seed}"]
    return "\n".join(lines) + "\n"


def sections(report: Report) -> list[tuple[str, list[str]]]:
    """What is known besides the figures, under titles; empty ones left out."""
    weights = report.weights or {"compared": 0, "wrong": [], "elements": 0}
    whole = f"{weights['compared']} compared bit by bit ({weights['elements']:,} numbers), all equal"
    found = [
        ("The first layer that is off", [report.fault["text"]] if report.fault else []),
        ("Layers", layer_lines(report)),
        ("Weights", list(weights["wrong"]) or ([whole] if weights["compared"] else [])),
        ("Turned at the boundary", report.turns),
        ("Layers without a row of their own", report.by_road()),
        ("Mixed precision", [report.policy] if report.policy else []),
        ("Trainable parameters", list(map(str, (report.trainable or {}).get("why", ())))),
        ("To look at", grouped(report.warnings)),
        ("Not carried over", grouped(report.dropped)),
        ("Repaired", grouped(report.repairs)),
        ("Not supported", report.unsupported),
        ("Notes", grouped(report.notes)),
    ]
    return [(title, lines) for title, lines in found if lines]


def code(text: str) -> str:
    """A code span that holds the text and cannot be left by it."""
    plain = " ".join(text.split()) or " "
    runs = [len(run) for run in re.findall("`+", plain)]
    fence = "`" * (max(runs, default=0) + 1)
    pad = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{pad}{plain}{pad}{fence}"


def _cell(text: str) -> str:
    return code(text.replace("|", "\\|")) if text else ""


def _list(lines: Iterable[str]) -> list[str]:
    return [f"- {code(line)}" for line in lines if line.strip()]
