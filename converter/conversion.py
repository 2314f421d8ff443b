"""What convert() hands out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from converter.report import Report
from converter.request import check_output


@dataclass(frozen=True)
class WeightMap:
    """One weight's way: `target = source.transpose(axes)`, then what `transform` says; bit-exact but for that order."""

    source: str
    target: str
    axes: tuple[int, ...] | None = None
    transform: str = ""


class WeightMaps(list[WeightMap]):
    """Every weight's way, in the order of the target's state."""

    def to_json(self) -> str:
        """The list as JSON."""
        return json.dumps([asdict(entry) for entry in self], indent=2) + "\n"


@dataclass(frozen=True)
class Turn:
    """An input or output that the target has in its own axis order: `target = source.transpose(perm)`."""

    name: str
    kind: str
    index: int
    perm: tuple[int, ...]

    def __str__(self) -> str:
        spatial = "DHW"[-(len(self.perm) - 2) :]
        last, first = ["N", *spatial, "C"], ["N", "C", *spatial]
        before, after = (last, first) if self.perm[1] == len(self.perm) - 1 else (first, last)
        return f"{self.name}: {','.join(before)} -> {','.join(after)}"


@dataclass
class Conversion:
    """A converted model.

    `model` is an nn.Module, a keras.Model or an onnx.ModelProto; `source` the text that builds it ('' for ONNX);
    `mapping` every weight's way; `report` what was found out; `turns` the inputs and outputs in another axis order.
    """

    to: str
    source: str
    mapping: WeightMaps
    report: Report
    turns: list[Turn] = field(default_factory=list)
    make_model: Callable[[], Any] | None = None
    make_onnx: Callable[[], Any] | None = None
    save_onnx: Callable[[Any, str | None], None] | None = None
    """Writes the graph to a path, its weights to a file of this name beside it (None: into the one file)."""
    large: bool = False
    """The graph's weights do not fit into a ModelProto."""
    write: Callable[[Any, bool], list[Any]] | None = None
    evidence: Any = None
    """What the judge needs besides the models."""
    _model: Any = None
    _onnx: Any = None

    @property
    def model(self) -> Any:
        """The live model; made at the first reading."""
        if self._model is None and self.make_model is not None:
            self._model = self.make_model()
        return self._model

    @property
    def onnx(self) -> Any:
        """The graph in the middle as onnx.ModelProto; over 2 GB it raises and names save("x.onnx")."""
        if self._onnx is None and self.make_onnx is not None:
            self._onnx = self.make_onnx()
        return self._onnx

    def save(self, path: Any, *, force: bool = False) -> list[Any]:
        """Write to a file (.py, .pt2, .onnx, .keras) or a directory; returns the paths that were written."""
        check_output(path, self.to)
        if self.write is None:
            raise ValueError("this conversion holds nothing to save")
        return self.write(path, force)
