"""The report as one HTML page that loads nothing and runs nothing."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from converter.markdown import sections
from converter.report import Report, figure

HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font-family: sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; }}
th, td {{ text-align: left; padding: 0.2rem 0.8rem 0.2rem 0; }}
.ok {{ color: #060; }} .fail {{ color: #a00; font-weight: bold; }}
</style>
</head>
<body>
"""
MARKS = {True: ("ok", "ok"), False: ("fail", "FAIL"), None: ("", "")}


def page(report: Report) -> str:
    """The verdict, every rung and output as a table, then each kind of remark."""
    lines = [HEAD.format(title=escape(f"kconvert: {report.source} -> {report.target}"))]
    lines.append(f"<h1>{escape(report.headline())}</h1>")
    if report.error:
        lines.append(f"<pre>{escape(report.error)}</pre>")
    if report.rungs:
        lines.append("<table>")
        lines.append(_row("th", ["rung", "on", "precision", "output", "relative", "allowed", ""]))
        for each in report.figures():
            style, word = MARKS[each.passed]
            cells = [each.rung, each.device, each.precision, each.output, figure(each.max_rel), figure(each.tol)]
            lines.append(_row("td", [*cells, f"{word} {each.reason}".strip()], style))
        lines.append("</table>")
    for title, told in sections(report):
        lines.append(f"<h2>{escape(title)}</h2>\n<ul>")
        lines += [f"<li>{escape(line)}</li>" for line in told]
        lines.append("</ul>")
    known = [f"{name} {version}" for name, version in report.versions.items()]
    known += [f"seed {report.seed}"] + ([f"sha256 of the source file {report.sha256}"] if report.sha256 else [])
    lines.append(f"<p>{escape(', '.join(known))}</p>\n</body>\n</html>")
    return "\n".join(lines) + "\n"


def _row(tag: str, cells: Iterable[str], style: str = "") -> str:
    mark = f' class="{style}"' if style else ""
    return f"<tr{mark}>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"
