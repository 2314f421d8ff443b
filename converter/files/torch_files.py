"""Reading PyTorch's files: programs of torch.export, vetted before torch sees them."""

from __future__ import annotations

import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from converter.errors import BadInput, ConvertError
from converter.files.archives import Archive
from converter.files.pt2 import Pt2, read_pt2, write_copy
from converter.files.pt2_program import Program, walk_leaves
from converter.files.pt2_values import Json

DTYPES = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    9: "complex32",
    10: "complex64",
    11: "complex128",
    12: "bool",
    13: "bfloat16",
    28: "uint16",
    29: "float8_e4m3fn",
    30: "float8_e5m2",
    31: "float8_e4m3fnuz",
    32: "float8_e5m2fnuz",
    33: "float8_e8m0fnu",
    34: "uint32",
    35: "uint64",
}
"""torch's scalar types as a .pt2 numbers them."""
EXAMPLE = 2
"""The length of a symbolic axis without a hint."""


def load_program(path: Path) -> tuple[Any, list[str]]:
    """The ExportedProgram of a .pt2, and how the file had to be understood.

    Raises BadInput for what torch.export.save did not write and Unsupported for operations of other libraries.
    """
    label = str(path)
    made: tuple[Any, list[str]] = read_pt2(path, label, lambda archive, found: _load(archive, found, label))
    return made


def _load(archive: Archive, found: Pt2, label: str) -> tuple[Any, list[str]]:
    import torch

    _check_overloads(found.program, label)
    with tempfile.TemporaryDirectory(prefix="kconvert_") as folder:
        copy = Path(folder) / "model.pt2"
        write_copy(archive, found, copy, _sample_inputs(found.program))
        with _quiet() as told:
            try:
                program = torch.export.load(copy)
            except ConvertError:
                raise
            except Exception as error:
                cause = told[0] if told else error
                raise BadInput(
                    f"{label}: expected a program saved by torch.export.save, but torch cannot read it: {_short(cause)}"
                ) from error
    return program, found.program.notes


def _check_overloads(program: Program, label: str) -> None:
    """Every operation exists, and takes no name of a file."""
    import torch

    for name, overload in sorted(program.overloads):
        packet = getattr(torch.ops.aten, name, None)
        if packet is None or overload not in packet.overloads():
            raise BadInput(
                f"{label}: this torch ({torch.__version__}) has no operation aten.{name}.{overload}. "
                "The file is damaged or was written by another torch."
            )
        if "filename" in str(getattr(packet, overload)._schema):
            raise BadInput(f"{label}: aten.{name}.{overload} reads or writes other files, which is never done.")


def _sample_inputs(program: Program) -> bytes:
    """(args, kwargs) of zeros, without memory of their own."""
    import torch

    def length(size: Json) -> int:
        if "as_int" in size:
            return int(size["as_int"])
        hint = size["as_expr"]["hint"] or {}
        return min(int(hint.get("as_int", EXAMPLE)), 1 << 16)

    leaves: list[Any] = []
    for claim in program.inputs:
        if "sizes" in claim:
            zero = torch.zeros((), dtype=getattr(torch, DTYPES[claim["dtype"]]))
            leaves.append(zero.expand([length(n) for n in claim["sizes"]]))
            continue
        kind, value = next(iter(claim.items()))
        leaves.append(None if kind == "as_none" else EXAMPLE if kind.startswith("as_sym") else value)
    buffer = io.BytesIO()
    torch.save(walk_leaves(program.tree, leaves), buffer)
    return buffer.getvalue()


@contextmanager
def _quiet() -> Iterator[list[BaseException]]:
    """torch logs what went wrong with a traceback and tries another format: the error is kept, the log is not."""
    told: list[BaseException] = []

    def keep(record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None:
            told.append(record.exc_info[1])
        return False

    loggers = [logging.getLogger(name) for name in ("torch.export", "torch._export.serde.serialize")]
    for logger in loggers:
        logger.addFilter(keep)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield told
    finally:
        for logger in loggers:
            logger.removeFilter(keep)


def _short(error: BaseException) -> str:
    """The last line of torch's message, which repeats the node and a traceback before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" ^~")] or [type(error).__name__]
    return lines[-1][:400]
