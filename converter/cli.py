"""The command line: parse, one call to the api, print, exit code. Imports no framework before it has to."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from converter.errors import BadInput, ConvertError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from converter.conversion import Conversion
    from converter.report import Report

INTERNAL = 70
NOT_EQUAL = 1
REPORTS = (".json",)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--to", required=True, type=click.Choice(["torch", "keras", "onnx"]), help="The framework to convert to.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="A .py, .pt2, .onnx or .keras file, or a directory."
)
@click.option(
    "--layout",
    type=click.Choice(["native", "source"]),
    default="native",
    show_default=True,
    help="Axis order of image inputs and outputs: the target's own, or as the source has it.",
)
@click.option("--inputs", type=click.Path(path_type=Path), help="Arrays to verify with: an .npz, by the inputs' names.")
@click.option("--input", "shapes", multiple=True, metavar="SHAPE[:DTYPE]", help="An example input: 1,3,32,32:float32.")
@click.option("--arch", metavar="PKG.MOD:CALLABLE", help="For a file with weights only: what returns the model.")
@click.option("--arch-args", metavar="JSON", help="Keyword arguments for --arch.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random inputs.")
@click.option("--no-verify", is_flag=True, help="Convert without the proof.")
@click.option("--require-proof", is_flag=True, help="Fail where the proof does not rest on float64.")
@click.option("--keep-going", is_flag=True, help="Write the files even where the models are not equal.")
@click.option("--force", is_flag=True, help="Replace existing files.")
@click.option("--report", type=click.Path(path_type=Path), help="Write the report to a .json file as well.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("-v", "--verbose", is_flag=True, help="Print versions, inputs and tolerances too.")
@click.version_option(package_name="kconvert")
def convert(model: Path, to: str, output: Path | None, report: Path | None, **options: Any) -> None:
    """Convert MODEL (.keras, .h5, .pt2), prove that the result answers like its source, and write it.

    Exit codes: 0 equal, or not verified; 1 not equal; 2 usage; 3 unsupported; 4 bad input; 5 cannot write;
    70 internal error.
    """
    quiet = bool(options["quiet"])
    if options["require_proof"] and options["no_verify"]:
        raise UsageError("--require-proof and --no-verify exclude each other.")
    if report is not None and report.suffix.lower() not in REPORTS:
        raise UsageError(f"--report: expected a file that ends in {', '.join(REPORTS)}, received {report}.")
    _quiet_frameworks(options["arch"] is not None)
    with _progress(quiet) as say:
        from converter.api import Examples, Output, Proving, Request, run
        from converter.files.outputs import check_free
        from converter.saving import default_output, files_of

        if not model.exists():
            raise BadInput(f"{model}: no such file. Check the path.")
        where = output or default_output(model.stem, to, Path())
        check_free([*files_of(where, to), *([report] if report else [])], bool(options["force"]))
        examples = Examples(_examples(options["shapes"]))
        asked = Request(model, to, options["layout"], examples, options["arch"], _json(options["arch_args"]))
        proving = Proving(_arrays(options["inputs"]), options["device"], options["seed"], say, own=True)

        def equal(report: Report) -> bool:
            return report.passed is not False and (report.proof or not options["require_proof"])

        where_to = Output(where, bool(options["force"]), lambda found: equal(found) or bool(options["keep_going"]))
        made = run(asked, None if options["no_verify"] else proving, where_to)
        good = equal(made.report)
        written = [*where_to.paths, *_write(made, report)]
    if not quiet:
        _show(made, written, bool(options["verbose"]))
    if not good:
        if made.report.passed:
            click.echo("The float64 proof was required, and this comparison rests on less.", err=True)
        sys.exit(NOT_EQUAL)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; every failure has one message and its exit code, never a traceback."""
    try:
        convert.main(args=arguments, prog_name="kconvert", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped.", err=True)
        sys.exit(130)
    except ConvertError as error:
        click.echo(f"kconvert: {error}", err=True)
        sys.exit(error.exit_code)
    except Exception as error:
        if os.environ.get("KCONVERT_TRACEBACK"):
            raise
        click.echo(
            f"kconvert: internal error: {type(error).__name__}: {error}\n"
            "Please report this with the model's layers; KCONVERT_TRACEBACK=1 shows where it happened.",
            err=True,
        )
        sys.exit(INTERNAL)


def _quiet_frameworks(arch: bool) -> None:
    """This process is ours: Keras runs on torch, which is imported anyway, and TensorFlow does not chat."""
    import warnings

    from converter import frameworks

    os.environ.setdefault("KERAS_BACKEND", "torch")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.update(frameworks.calm())
    if not arch:
        frameworks.hide_others(os.environ["KERAS_BACKEND"])
    warnings.simplefilter("ignore")


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str], None]]:
    """A spinner on stderr with the stage at hand; nothing where that is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console

    with Console(stderr=True).status("reading") as status:
        yield lambda text: status.update(text)


def _write(made: Conversion, report: Path | None) -> list[Path]:
    """The report, in any case."""
    from converter.files.outputs import write_all

    if report is None:
        return []
    text = made.report.to_json()
    return write_all({report: lambda path: _text(path, text)}, force=True)


def _text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _show(made: Conversion, written: list[Path], verbose: bool) -> None:
    from rich.console import Console

    from converter.report import render

    console = Console() if sys.stdout.isatty() else Console(width=120, no_color=True)
    render(made.report, console, verbose=verbose)
    for path in written:
        console.print(f"wrote {path}", highlight=False, soft_wrap=True, markup=False)


def _json(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UsageError(f"--arch-args: expected a JSON object, received {text!r} ({error}).") from error
    if not isinstance(found, dict):
        raise UsageError(f"--arch-args: expected a JSON object, received {text!r}.")
    return found


def _arrays(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as data:
            return {name: data[name] for name in data.files}
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--inputs: expected an .npz with one array per input, {path} cannot be read ({error})."
        ) from error


def _examples(shapes: Sequence[str]) -> list[Any] | None:
    """Arrays of the shapes that --input names, as examples to trace with."""
    if not shapes:
        return None
    import numpy as np

    rng = np.random.default_rng(0)
    made = []
    for text in shapes:
        lengths, _, dtype = text.partition(":")
        try:
            shape = tuple(int(n) for n in lengths.split(","))
            kind = np.dtype(dtype or "float32")
        except (ValueError, TypeError) as error:
            raise UsageError(
                f"--input: expected lengths like 1,3,32,32:float32, received {text!r} ({error})."
            ) from error
        made.append(
            rng.integers(0, 2, shape).astype(kind) if kind.kind in "iub" else rng.normal(size=shape).astype(kind)
        )
    return made
