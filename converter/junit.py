"""The report as JUnit XML: a case for each rung and output, one for the weights, an error for what was not judged."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from converter.report import OUTCOMES, Figure, Report, figure

ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(report: Report) -> str:
    """One suite, named by source and target. What is only measured, the source's own rounding, is skipped."""
    suite = ET.Element("testsuite", name=_legal(f"{report.source} -> {report.target}"))
    _properties(suite, report)
    for each in report.figures():
        _figure(suite, each)
    if report.weights is not None and report.weights["compared"]:
        case = _case(suite, "weights", f"{report.weights['compared']} bit by bit")
        for line in report.weights["wrong"]:
            _say(case, "failure", "not equal", str(line))
    if report.fault:
        _say(_case(suite, "layers", report.fault["layer"]), "failure", "not equal", report.fault["text"])
    for line in report.unsupported:
        _say(_case(suite, "not supported", line.split(": ", 1)[0]), "error", "unsupported", line)
    data = report.to_dict()
    if data["outcome"] not in {word for word, _ in OUTCOMES.values()} and not report.unsupported:
        _say(_case(suite, "conversion", data["outcome"]), "error", data["outcome"], report.error)
    elif data["exit_code"] and not list(suite.iter("failure")) and not report.unsupported:
        _say(_case(suite, "conversion", "verdict"), "failure", data["outcome"], report.error or report.headline())
    ET.SubElement(suite, "system-out").text = _legal(report.headline())
    counts = {
        "tests": len(suite.findall("testcase")),
        "failures": len(suite.findall("testcase/failure")),
        "errors": len(suite.findall("testcase/error")),
        "skipped": len(suite.findall("testcase/skipped")),
    }
    for name, count in counts.items():
        suite.set(name, str(count))
    root = ET.Element("testsuites", {key: value for key, value in suite.attrib.items() if key != "name"})
    root.append(suite)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _properties(suite: ET.Element, report: Report) -> None:
    found = {"sha256": report.sha256, "seed": report.seed, "rests on": report.rests_on, "proven": report.proven}
    found |= {f"version of {name}": version for name, version in report.versions.items()}
    parent = ET.SubElement(suite, "properties")
    for name, value in found.items():
        ET.SubElement(parent, "property", name=name, value=_legal(str(value)))


def _figure(suite: ET.Element, each: Figure) -> None:
    case = _case(suite, f"{each.rung} ({each.device}, {each.precision})", each.output or "run")
    told = f"{figure(each.max_rel)} of its size" if each.max_rel is not None else ""
    told += f", {figure(each.tol)} allowed" if told and each.tol is not None else ""
    if each.passed is None:
        ET.SubElement(case, "skipped", message=_legal(each.reason or "measured, not judged"))
    elif not each.passed:
        _say(case, "failure", "not equal", f"{each.reason} {told}".strip())
    if told:
        ET.SubElement(case, "system-out").text = told


def _case(suite: ET.Element, classname: str, name: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=_legal(classname), name=_legal(name))


def _say(case: ET.Element, kind: str, what: str, text: str) -> None:
    if case.find(kind) is not None:
        found = case.find(kind)
        if found is not None:
            found.text = f"{found.text}\n{_legal(text)}"
        return
    first = text.splitlines()[0] if text else what
    ET.SubElement(case, kind, type=what, message=_legal(first)).text = _legal(text)


def _legal(text: str) -> str:
    """Text without the characters that XML cannot hold."""
    return ILLEGAL.sub("\ufffd", text)
