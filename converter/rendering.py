"""The report on the terminal: one screen, and with `verbose` everything. Plain lines; the caller prints them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from converter.errors import ConvertError, NotEquivalent, Unsupported
from converter.report import Figure, Remark, Report, figure, some

SCREEN = 15
"""The lines of the default screen, the files that were written not counted."""
SHARE = 3
"""The lines that a section of the default screen takes at most while others need room."""
TABLE = ("rung", "on", "precision", "output", "relative", "allowed", "")
RIGHT = ("relative", "allowed")
MORE = "and {} more; -v prints them, --report writes them"


@dataclass(frozen=True)
class Section:
    """Lines under one label. `whole`: they are never cut."""

    label: str
    lines: list[str]
    whole: bool = False


def screen(report: Report, written: Sequence[object] = (), *, verbose: bool = False) -> list[str]:
    """The report's lines: the verdict, what it rests on, the worst figure, what a person must look at, the files."""
    sections = _sections(report, verbose)
    if not verbose:
        sections = _fitted(sections, SCREEN - 1)
    lines = [report.headline()]
    if verbose and report.rungs:
        lines += table(report)
    files = [str(path) for path in written]
    if report.exit_code == NotEquivalent.exit_code and not written:
        files = ["nothing; --keep-going writes the files all the same"]
    for section in [*sections, Section("wrote", files)]:
        for index, line in enumerate(section.lines):
            lines.append(f"{section.label if index == 0 else '':<10}{line}".rstrip())
    return [" ".join(line.splitlines()) for line in lines]


def refusal(error: ConvertError, *, verbose: bool = False) -> list[str]:
    """An error's lines: all of a short message, the kinds of what has no mapping; with `verbose` every one of them."""
    if not isinstance(error, Unsupported):
        return f"kconvert: {error}".splitlines()
    lines = [str(item) for item in error.items] if verbose else error.kinds
    room = SCREEN - 2
    if not verbose and len(lines) > room:
        lines = [*lines[:room], MORE.format(f"{len(lines) - room} kinds")]
    return [f"kconvert: {error.heading}", *(f"  - {line}" for line in lines)]


def grouped(lines: Iterable[str], *, names: bool = False) -> list[str]:
    """Equal texts about several places as one line with their number; with `names`, all of the places.

    Where many texts are left, those that differ in numbers and quoted names alone are one, the first its example.
    """
    found = _groups(lines, lambda text: text)
    if not names and len(found) > SHARE:
        found = _groups(lines, lambda text: re.sub(r"'[^']*'|[-+]?\d[\d.e+-]*", "#", text))
    told = []
    for texts, places in found:
        text = texts[0] + (" (and alike)" if len(set(texts)) > 1 else "")
        if not places:
            told.append(text)
        elif len(places) <= 2:
            told.append(f"{', '.join(places)}: {text}")
        elif names:
            told.append(f"{text}: {len(places)} layers ({', '.join(places)})")
        else:
            told.append(f"{text}: {len(places)} layers")
    return told


def _groups(lines: Iterable[str], key: Callable[[str], str]) -> list[tuple[list[str], list[str]]]:
    found: dict[tuple[bool, str], tuple[list[str], list[str]]] = {}
    for line in lines:
        placed = isinstance(line, Remark) and bool(line.where)
        text = line.text if isinstance(line, Remark) else line
        texts, places = found.setdefault((placed, key(text) if placed else text), ([], []))
        texts.append(text)
        if isinstance(line, Remark) and line.where:
            places.append(line.where)
    return list(found.values())


def table(report: Report) -> list[str]:
    """Every rung and output in columns."""
    rows = [TABLE]
    before: tuple[str, ...] = ()
    for each in report.figures():
        head = (each.rung, each.device, each.precision)
        shown = ("", "", "") if head == before else head
        rows.append((*shown, each.output, figure(each.max_rel), figure(each.tol), _mark(each)))
        before = head
    widths = [max(len(row[i]) for row in rows) for i in range(len(TABLE))]
    return [
        "  ".join(
            f"{cell:>{width}}" if title in RIGHT else f"{cell:<{width}}"
            for cell, width, title in zip(row, widths, TABLE, strict=True)
        ).rstrip()
        for row in rows
    ]


def _mark(each: Figure) -> str:
    if each.passed is None:
        return each.reason or ("no proof" if each.precision == "float64" else "own rounding")
    if each.passed:
        return f"ok  {each.reason}".rstrip()
    return f"FAIL  {each.reason}{_at(each)}"


def _at(each: Figure) -> str:
    return "" if each.place is None else f" at {each.place}"


def _sections(report: Report, verbose: bool) -> list[Section]:
    told = [note for note in report.notes if verbose or not note.startswith("weak evidence:")]
    found = [
        Section("differs" if report.passed is False else "worst", _worst(report), whole=True),
        Section("layer", [report.fault["text"]] if report.fault else [], whole=True),
        Section("weights", _weights(report)),
        Section("turned", report.turns),
        Section("dynamic", _dynamic(report, verbose)),
        Section("no row", report.by_road()),
        Section("run time", _run_time(report)),
        Section("policy", [report.policy] if report.policy else [], whole=True),
        Section("check", [*_checks(report), *grouped(report.warnings, names=verbose)]),
        Section("dropped", grouped(report.dropped, names=verbose) if verbose else _in_one(report.dropped)),
        Section("repaired", grouped(report.repairs, names=verbose)),
        Section("refused", report.unsupported),
        Section("notes", grouped(told, names=verbose)),
    ]
    if verbose:
        found += [
            Section("layers", layer_lines(report)),
            Section("moves", [f"{name} by {value:.1e} of its size" for name, value in report.sensitivity.items()]),
            Section("inputs", [f"{each['name']}: {each['shapes']}, seed {each['seed']}" for each in report.inputs]),
            Section("versions", [f"{name} {version}" for name, version in report.versions.items()]),
            Section("gates", [f"{name} {value}" for name, value in report.gates.items()]),
            Section("source", [f"sha256 {report.sha256}"] if report.sha256 else []),
        ]
    return [section for section in found if section.lines]


def _worst(report: Report) -> list[str]:
    """The figure nearest to its limit; of models that are not equal, those over it."""
    if report.passed is False:
        failed = [each for each in report.figures() if each.passed is False]
        lines = [f"{each.where}: {each.reason}{_at(each)}{_allowed(each)}" for each in failed[:SHARE]]
        rest = len(failed) - SHARE
        return lines + ([MORE.format(rest)] if rest > 0 else [])
    each = report.worst()
    if each is None:
        return []
    if each.max_rel is None:
        return [f"{each.where}: as it must be"]
    return [f"{each.where}: {figure(each.max_rel)} of its size{_allowed(each)}"]


def _allowed(each: Figure) -> str:
    return "" if each.tol is None else f", {figure(each.tol)} allowed"


def _weights(report: Report) -> list[str]:
    if report.weights is None or not report.weights["compared"]:
        return []
    wrong = list(report.weights["wrong"])
    return wrong or [f"{report.weights['compared']} bit by bit ({report.weights['elements']:,} numbers), all equal"]


def _dynamic(report: Report, verbose: bool) -> list[str]:
    """The inputs with axes of any length; of those that have the batch alone, with `verbose`."""
    return [
        f"{name}: {', '.join(map(str, shape))}"
        for name, shape in report.dynamic.items()
        if verbose or any(isinstance(length, str) for length in shape[1:])
    ]


def layer_lines(report: Report) -> list[str]:
    """Each layer's own and accumulated error, and what is wrong with it."""
    return [
        f"{each['name']} ({each['kind']}): {figure(each['own'])} on its own, {figure(each['accumulated'])} in the whole"
        + ("" if each["passed"] else f"  FAIL  {each['reason']}")
        for each in report.layers
    ]


def _run_time(report: Report) -> list[str]:
    return [] if report.transposes is None else [f"{report.transposes} transpose{'s' * (report.transposes != 1)}"]


def _checks(report: Report) -> list[str]:
    found = []
    if report.retrained and report.trainable is not None:
        found += grouped(Remark.of(why) for why in report.trainable["why"])
    if report.weak:
        found.append(f"inputs that move {some(report.weak)} prove more: --inputs FILE.npz")
    return found


def _in_one(lines: Sequence[str]) -> list[str]:
    return ["; ".join(grouped(lines))] if lines else []


def _fitted(sections: Sequence[Section], room: int) -> list[Section]:
    """The sections cut to so many lines, the longest first; what is cut is counted."""
    sizes = [len(section.lines) for section in sections]
    while sum(sizes) > room:
        open_ = [i for i, section in enumerate(sections) if sizes[i] > 1 and not section.whole]
        if not open_:
            break
        sizes[max(open_, key=lambda i: (sizes[i], i))] -= 1
    return [
        section if size == len(section.lines) else Section(section.label, _cut(section.lines, size))
        for section, size in zip(sections, sizes, strict=True)
    ]


def _cut(lines: Sequence[str], size: int) -> list[str]:
    if size == 1:
        return [f"{lines[0]} ({MORE.format(len(lines) - 1)})"]
    return [*lines[: size - 1], MORE.format(len(lines) - size + 1)]


def render(report: Report, *, verbose: bool = False) -> None:
    """Print the report, without colours."""
    sys.stdout.write("\n".join(screen(report, verbose=verbose)) + "\n")
