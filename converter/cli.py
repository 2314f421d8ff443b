"""The command line: parse, one call to the api, print, exit code. Imports no framework before it has to."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from converter.cli_verify import verify
from converter.errors import BadInput, ConvertError, NotEquivalent, Unsupported, UsageError
from converter.streams import fill

if TYPE_CHECKING:
    from converter.api import Output
    from converter.report import Report

INTERNAL = 70
STOPPED = 130
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.command(
    context_settings=SETTINGS,
    epilog="`kconvert verify A B` compares two models, `kconvert support` prints what is supported; models of these "
    "names are ./verify and ./support.",
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--to", required=True, type=click.Choice(["torch", "keras", "onnx"]), help="The framework to convert to.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="A file, by its suffix (torch: .py, .safetensors, .pt2, .onnx; keras: .keras, .onnx; onnx: .onnx), "
    "or a directory.",
)
@click.option(
    "--layout",
    type=click.Choice(["native", "source"]),
    default="native",
    show_default=True,
    help="Axis order of image inputs and outputs: the target's own, or as the source has it.",
)
@click.option("--inputs", type=click.Path(path_type=Path), help="Arrays to verify with: an .npz or .npy.")
@click.option(
    "--input",
    "shapes",
    multiple=True,
    metavar="SHAPE[:DTYPE]",
    help="PyTorch code's example: 1,3,32,32:float32; batch=2,3,H=32,W=32 for axes of any length.",
)
@click.option("--arch", metavar="PKG.MOD:CALLABLE", help="For a file with weights only: what returns the model.")
@click.option("--arch-args", metavar="JSON", help="Keyword arguments for --arch.")
@click.option(
    "--custom",
    multiple=True,
    metavar="NAME=PKG.MOD:OBJ",
    help="A Keras file's own class or function: Name=pkg.mod:Class or Name=FILE.py:Class; may be given several times.",
)
@click.option("--trust", is_flag=True, help="Run the code in a Keras file (Lambda), import the modules it names.")
@click.option("--device", metavar="DEVICE", default="cpu", show_default=True, help="Verify there, too: cuda, cuda:N.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random inputs.")
@click.option("--no-verify", is_flag=True, help="Convert without the proof.")
@click.option("--require-proof", is_flag=True, help="Fail where the evidence is weak, or not of float64.")
@click.option("--keep-going", is_flag=True, help="Write the files even where the models are not equal.")
@click.option("--force", is_flag=True, help="Replace existing files.")
@click.option(
    "--report",
    "reports",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Write the report, whatever comes out: .json, .xml (JUnit), .md or .html; may be given several times.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing where all is well, else the verdict.")
@click.option("-v", "--verbose", is_flag=True, help="Print every figure and remark, versions, inputs and limits.")
@click.version_option(package_name="kconvert")
def convert(model: Path, to: str, output: Path | None, reports: tuple[Path, ...], **options: Any) -> int:
    """Convert MODEL, prove that the result answers like its source, and write it.

    Exit codes: 0 equal, or not verified; 1 not equal; 2 usage; 3 unsupported; 4 bad input; 5 cannot write;
    70 internal error.
    """
    from converter.report import Report, sha256_of
    from converter.report_files import check_places, write_reports
    from converter.streams import quiet

    asked = _checked(model, to, output, reports, options)
    place: Output | None = None
    written: list[Path] = []
    failure: Exception | None = None
    try:
        check_places(reports)
        with quiet(progress=not options["quiet"]) as say:
            place = _place(model, to, output, options)
            _convert(model, to, place, {**options, **asked}, say)
            written = list(place.paths)
    except Exception as error:  # noqa: BLE001  it is raised again when the reports are written
        failure = error
    if place is not None and place.made is not None:
        report = place.made.report
        if failure is not None:
            report.fail(failure)
    elif failure is not None:
        known = sha256_of(model) if reports else ""
        report = Report.of_failure(model.stem, to, failure, seed=options["seed"], sha256=known)
    try:
        written += write_reports(report, reports)
    except ConvertError as error:
        if failure is None:
            raise
        if str(error) != str(failure):
            click.echo(f"kconvert: {error}", err=True)
    if failure is not None:
        raise failure
    show_report(report, written, quiet=bool(options["quiet"]), verbose=bool(options["verbose"]))
    return int(report.to_dict()["exit_code"])


@click.command(context_settings=SETTINGS)
@click.option("--torch", "kind", flag_value="torch", help="PyTorch operations, towards Keras.")
@click.option("--onnx", "kind", flag_value="onnx", help="ONNX operators.")
def support(kind: str | None) -> int:
    """Print what is supported, as Markdown: Keras layers, activations and operations, or those of another framework."""
    from converter.streams import show
    from converter.support import table

    show(table(kind or "keras").splitlines())
    return 0


COMMANDS = {"support": support, "verify": verify}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; every failure has one message and its exit code, never a traceback."""
    fill()
    given = list(sys.argv[1:] if arguments is None else arguments)
    _clean_up_when_ended()
    name = given[0] if given and given[0] in COMMANDS else ""
    command, prog = (COMMANDS[name], f"kconvert {name}") if name else (convert, "kconvert")
    try:
        code = command.main(args=given[1:] if name else given, prog_name=prog, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped.", err=True)
        code = STOPPED
    except ConvertError as error:
        from converter.rendering import refusal

        verbose = any(a == "--verbose" or (a.startswith("-v") and not a.startswith("--")) for a in given)
        _complain(refusal(error, verbose=verbose))
        code = error.exit_code
    except Exception as error:
        if os.environ.get("KCONVERT_TRACEBACK"):
            raise
        _complain(
            [
                f"kconvert: internal error: {type(error).__name__}: {error}",
                "Please report this with the model's layers; KCONVERT_TRACEBACK=1 shows where it happened.",
            ]
        )
        code = INTERNAL
    sys.exit(code)


def _clean_up_when_ended() -> None:
    """What ends this process from outside unwinds it first, so that no half-written file or folder stays."""

    def ended(number: int, frame: object) -> None:
        sys.exit(128 + number)

    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) == signal.SIG_DFL:
                signal.signal(getattr(signal, name), ended)


def _checked(
    model: Path, to: str, output: Path | None, reports: Sequence[Path], options: dict[str, Any]
) -> dict[str, Any]:
    """What --arch-args and --input say, where all options are valid; UsageError else, and no report is due."""
    from converter import request
    from converter.custom import of_options
    from converter.report_files import check_names

    if options["quiet"] and options["verbose"]:
        raise UsageError("-q and -v exclude each other.")
    arch_args = request.arch_args_of(options["arch_args"])
    custom = of_options(options["custom"])
    shapes = [request.shape_of(text) for text in options["shapes"]]
    dynamic = request.dynamic_of(options["shapes"])
    with suppress(BadInput, Unsupported):  # of the file, not of the options: the conversion says so, and the reports
        request.check(
            model,
            to,
            layout=options["layout"],
            device=options["device"],
            inputs=options["inputs"],
            example_inputs=shapes or None,
            custom=custom,
            arch=options["arch"],
            arch_args=arch_args,
            trust=options["trust"],
            verify=not options["no_verify"],
            seed=options["seed"],
            output=output,
            require_proof=options["require_proof"],
            keep_going=options["keep_going"],
        )
    check_names(reports, _files_read(model, options))
    return {"arch_args": arch_args, "shapes": shapes, "dynamic": dynamic, "custom": custom}


def _place(model: Path, to: str, output: Path | None, options: dict[str, Any]) -> Output:
    """Where the files go, which is free, and which reports they are wanted with."""
    own_process(bool(options["arch"] or options["custom"] or options["trust"]))
    if not model.exists():
        raise BadInput(f"{model}: no such file. Check the path.")

    from converter.api import Output
    from converter.files.outputs import check_free
    from converter.request import check_apart
    from converter.saving import default_output, files_of

    where = output or default_output(model.stem, to, Path())
    check_apart(files_of(where, to), _files_read(model, options))
    check_free(files_of(where, to), bool(options["force"]))

    def wanted(report: Report) -> bool:
        judged(report, bool(options["require_proof"]))
        return report.exit_code in (None, 0) or bool(options["keep_going"])

    return Output(where, bool(options["force"]), wanted)


def _convert(model: Path, to: str, place: Output, options: dict[str, Any], say: Callable[[str], None]) -> None:
    """Convert, judge what is written beside its place, and put it there."""
    from converter.api import Asked, Examples, Proving, run

    proving = None
    if not options["no_verify"]:
        given = None
        if options["inputs"] is not None:
            from converter.files.arrays import read_arrays

            given = read_arrays(options["inputs"])
        proving = Proving(given, options["device"], options["seed"], say, own=True)
    examples = Examples(_examples(options["shapes"]), dynamic=options["dynamic"])
    code = (options["arch"], options["arch_args"], options["custom"], options["trust"])
    run(Asked(model, to, options["layout"], examples, *code), proving, place)


def judged(report: Report, require_proof: bool) -> None:
    """Give the report the exit code that the verdict and --require-proof come to."""
    if report.passed is False:
        report.exit_code = NotEquivalent.exit_code
    elif require_proof and not report.proven:
        why = "the evidence is weak" if report.weak else "this comparison rests on less than float64"
        report.exit_code = NotEquivalent.exit_code
        report.error = f"A proof was required, and {why}."


def own_process(code: bool) -> None:
    """This process is ours: Keras runs on torch, which is imported anyway, threads do not spin, and nobody chats."""
    import warnings

    from converter import frameworks

    os.environ.setdefault("KERAS_BACKEND", "torch")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.update(frameworks.calm())
    if not code:
        frameworks.hide_others(os.environ["KERAS_BACKEND"])
    warnings.simplefilter("ignore")


def _files_read(model: Path, options: dict[str, Any]) -> list[Path]:
    """The user's own files that are read: never written over."""
    found = [model, *([options["inputs"]] if options["inputs"] else [])]
    specs = [options["arch"] or "", *(text.partition("=")[2] for text in options["custom"])]
    code = [module for spec in specs if (module := spec.rpartition(":")[0]).endswith(".py")]
    return [*found, *map(Path, code)]


def _examples(shapes: Sequence[tuple[tuple[int, ...], str]]) -> list[Any] | None:
    """Arrays of the shapes that --input names, as examples to trace with."""
    if not shapes:
        return None
    import numpy as np

    rng = np.random.default_rng(0)
    made: list[Any] = []
    for shape, dtype in shapes:
        whole = np.dtype(dtype).kind in "iub"
        made.append((rng.integers(0, 2, shape) if whole else rng.normal(size=shape)).astype(dtype))
    return made


def show_report(report: Report, written: list[Path], *, quiet: bool, verbose: bool) -> None:
    """The screen; with `quiet` the verdict alone, and that only where it is not what was asked for."""
    from converter.rendering import screen
    from converter.streams import show

    style = "open" if report.passed is None else "bad" if report.exit_code else "open" if report.caveats() else "good"
    if not quiet:
        show(screen(report, written, verbose=verbose), style)
        if verbose:
            from converter.frameworks import threads_in_words

            show([f"threads   {threads_in_words()}"])
    elif report.passed is False or report.exit_code or report.caveats():
        show([report.headline()], style)
    if report.error:
        _complain([report.error])


def _complain(lines: Sequence[str]) -> None:
    from converter.streams import printable

    click.echo("\n".join(map(printable, lines)), err=True)
