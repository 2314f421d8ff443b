"""Reports on disk, each in the form that its suffix names. They are replaced: a report is what the last run found."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from converter.errors import CannotWrite, UsageError
from converter.files.outputs import check_free, write_all
from converter.junit import junit
from converter.markdown import markdown
from converter.page import page
from converter.report import Report

FORMS: dict[str, Callable[[Report], str]] = {".json": Report.to_json, ".xml": junit, ".md": markdown, ".html": page}


def check_names(paths: Sequence[Path], kept: Sequence[Path]) -> None:
    """Each file's suffix is that of a form of the report, and none is one of the files that are read."""
    for path in paths:
        if path.suffix.lower() not in FORMS:
            raise UsageError(f"--report: expected a file that ends in {', '.join(FORMS)}, received {path}.")
        if any(_same(path, other) for other in kept):
            raise UsageError(f"--report {path} would replace a file that is read.")


def check_places(paths: Sequence[Path]) -> None:
    """Raise CannotWrite for the first that cannot be written, before any work is done."""
    check_free(list(paths), force=True)


def write_reports(report: Report, paths: Sequence[Path]) -> list[Path]:
    """Write every report that can be written, then raise CannotWrite for the first that cannot."""
    failed: CannotWrite | None = None
    written = []
    for path in dict.fromkeys(paths):
        data = FORMS[path.suffix.lower()](report).encode("utf-8", "replace")
        try:
            written += write_all({path: partial(_write, data)}, force=True)
        except CannotWrite as error:
            failed = failed or error
    if failed is not None:
        raise failed
    return written


def _write(data: bytes, path: Path) -> None:
    path.write_bytes(data)


def _same(one: Path, two: Path) -> bool:
    return os.path.abspath(one) == os.path.abspath(two)
