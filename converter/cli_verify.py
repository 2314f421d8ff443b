"""`kconvert verify A B`: two models compared on the command line, with the layer at which they part."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from converter.errors import BadInput, ConvertError, UsageError

if TYPE_CHECKING:
    from converter.report import Report


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("source", metavar="A", type=click.Path(path_type=Path))
@click.argument("target", metavar="B", type=click.Path(path_type=Path))
@click.option("--inputs", type=click.Path(path_type=Path), help="Arrays to compare with, as A has them: .npz or .npy.")
@click.option(
    "--layout",
    type=click.Choice(["native", "source"]),
    help="Whether images are turned between A and B; else as the report beside B says, or what fits.",
)
@click.option("--gradients", is_flag=True, help="Compare the gradients of every weight, too, in float64.")
@click.option("--no-layers", is_flag=True, help="Compare layer by layer only where A and B are not equal.")
@click.option("--device", metavar="DEVICE", default="cpu", show_default=True, help="Run B there, too: cuda, cuda:N.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random inputs.")
@click.option("--require-proof", is_flag=True, help="Fail where the evidence is weak, or not of float64.")
@click.option(
    "--report",
    "reports",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Write the report, whatever comes out: .json, .xml (JUnit), .md or .html; may be given several times.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing where all is well, else the verdict.")
@click.option("-v", "--verbose", is_flag=True, help="Print every layer, figure and remark.")
def verify(source: Path, target: Path, reports: tuple[Path, ...], **options: Any) -> int:
    """Compare two models, A the one that is right, and name the first layer that is off.

    A and B are .keras, .h5, .pt2 or .onnx files, or the .py of a written PyTorch model, which is run: it is code that
    you name.

    Exit codes: 0 equal; 1 not equal; 2 usage; 3 unsupported; 4 bad input; 5 cannot write; 70 internal error.
    """
    from converter.report import Report
    from converter.report_files import check_names, check_places, write_reports

    if options["quiet"] and options["verbose"]:
        raise UsageError("-q and -v exclude each other.")
    check_names(reports, [source, target, *([options["inputs"]] if options["inputs"] else [])])
    failure: Exception | None = None
    try:
        check_places(reports)
        report = _compared(source, target, options)
    except Exception as error:  # noqa: BLE001  it is raised again when the reports are written
        failure = error
        report = Report.of_failure(source.stem, target.stem, error, seed=options["seed"])
    try:
        written = write_reports(report, reports)
    except ConvertError:
        if failure is None:
            raise
        written = []
    if failure is not None:
        raise failure
    from converter.cli import show_report

    show_report(report, written, quiet=bool(options["quiet"]), verbose=bool(options["verbose"]))
    return int(report.to_dict()["exit_code"])


def _compared(source: Path, target: Path, options: dict[str, Any]) -> Report:
    from converter.cli import judged, own_process
    from converter.request import check_seed
    from converter.streams import quiet

    check_seed(options["seed"])
    for path in (source, target):
        if not path.exists():
            raise BadInput(f"{path}: no such file. Check the path.")
    own_process(False)
    with quiet(progress=not options["quiet"]) as say:
        from converter.comparison import verify as compared

        report = compared(
            source,
            target,
            inputs=options["inputs"],
            layout=options["layout"],
            device=options["device"],
            gradients=options["gradients"],
            layers=not options["no_layers"],
            seed=options["seed"],
            progress=say,
        )
    judged(report, bool(options["require_proof"]))
    return report
