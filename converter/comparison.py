"""Two models compared: a source and its conversion, or any pair whose layers can be told from one another."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from converter import frameworks, given, located, trained
from converter.errors import UsageError
from converter.joined import join
from converter.judge.inputs import InputSet, fitting_inputs, given_inputs
from converter.judge.judge import judge
from converter.judge.verdict import Gates, Weights, compare_weights
from converter.opened import Opened, opened
from converter.report import Report, versions
from converter.request import check_device, check_seed

Layout = Literal["native", "source"]


def verify(
    a: Any,
    b: Any,
    *,
    inputs: Any = None,
    layout: Layout | None = None,
    device: str = "cpu",
    gradients: bool = False,
    layers: bool = True,
    seed: int = 0,
    progress: Callable[[str], None] = lambda text: None,
) -> Report:
    """Compare two models, the first of which is what is right, and say at which layer they part.

    Args:
        a: a path (.keras, .h5, .pt2, .onnx, or the .py of a written PyTorch model), a live model, or a Conversion. A
            .py is run: it is code that you name.
        b: the other one, likewise.
        inputs: arrays to compare with, as `a` has them; random ones else.
        layout: "source": no input or output is turned; "native": those of rank 4 and 5 are; None: as it was converted,
            as the report beside the file says, or what fits.
        device: where PyTorch models are compared as well.
        gradients: compare the gradients of every weight that both have, in float64.
        layers: compare layer by layer.
        seed: of the random inputs.
        progress: is told what is being done.

    Returns a report, `passed` False where the two are not equal; raises UsageError, Unsupported and BadInput.
    """
    if type(device).__name__ == "device":  # torch.device, by its own name
        device = str(device)
    check_seed(seed)
    if layout not in (None, "native", "source"):
        raise UsageError(f"layout: expected 'native', 'source' or None, received {layout!r}.")
    one, two = opened(a), opened(b)
    _check(one, two, device, gradients)
    room = frameworks.room_for(one.layers + two.layers)
    with room, warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
        return _compared(one, two, inputs, layout, device, gradients, layers, seed, progress)


def _check(one: Opened, two: Opened, device: str, gradients: bool) -> None:
    check_device(device, two.kind)
    frameworks.check_device(device)
    if gradients and "onnx" in (one.kind, two.kind):
        raise UsageError("gradients: an ONNX graph has none. Leave it out, or compare a Keras and a PyTorch model.")


def _compared(
    one: Opened,
    two: Opened,
    inputs: Any,
    layout: str | None,
    device: str,
    gradients: bool,
    layers: bool,
    seed: int,
    progress: Callable[[str], None],
) -> Report:
    own = None if inputs is None else _own(one, inputs)
    progress("inputs and outputs")
    joined = join(one, two, layout, own, seed)
    source = replace(one.runner(), name=f"{one.kind} source")
    refused: list[str] = []
    if own is not None:
        sets = [given_inputs(own), given_inputs([np.flip(x, 0).copy() for x in own], "given, reversed")]
    else:
        sets, refused = fitting_inputs(joined.specs, seed, source.refuses)
    if not sets:
        raise UsageError(f"The source answers no inputs of its shapes: {'; '.join(refused[:1])}. Pass inputs.")
    hops = [joined.runner(two.runner())]
    if device != "cpu" and two.kind == "torch":
        hops.append(joined.runner(two.runner(device=device)))
    paired = located.pair_up(one, two)
    verdict = judge(source, hops, sets, seed=seed, gates=Gates(), weights=_weights(paired), progress=progress)
    if gradients:
        progress("gradients")
        located.gradients(verdict, one, two, joined, paired, _smallest(sets).arrays)
    if layers or verdict.passed is False:
        progress("layer by layer")
        located.settle(verdict, one, two, joined, paired, [_smallest(sets), *sets[-1:]])
    if joined.how and joined.turns:
        verdict.notes.append(f"what is turned: {joined.how}")
    counts = _counted(one, two)
    report = Report.from_verdict(
        verdict,
        source=one.name,
        target=two.kind if one.kind != two.kind else f"{two.name} ({two.kind})",
        turns=joined.turns,
        repairs=[*one.repairs, *two.repairs],
        trainable=counts,
        notes=refused,
        versions=versions(),
        seed=seed,
    )
    report.sign(one.path)
    return report


def _smallest(sets: Sequence[InputSet]) -> InputSet:
    return min(sets, key=lambda each: sum(array.size for array in each.arrays))


def _own(one: Opened, inputs: Any) -> list[np.ndarray]:
    """The user's arrays as the source takes them."""
    if isinstance(inputs, (str, os.PathLike)):
        from converter.files.arrays import read_arrays

        inputs = read_arrays(Path(inputs))
    if one.specs is not None:
        return given.match(one.specs, inputs)
    values = list(inputs.values()) if hasattr(inputs, "values") else inputs
    values = list(values) if isinstance(values, (list, tuple)) else [values]
    return [np.asarray(x.detach().cpu() if hasattr(x, "detach") else x) for x in values]


def _weights(paired: located.Paired) -> Weights | None:
    """What is known bit by bit: of a pair that this process converted."""
    return compare_weights(paired.entries) if paired.entries else None


def _counted(one: Opened, two: Opened) -> dict[str, Any] | None:
    if "onnx" in (one.kind, two.kind):
        return None
    before, after = trained.COUNTS[one.kind](one.model), trained.COUNTS[two.kind](two.model)
    return {"source": before, "target": after, "why": []}
