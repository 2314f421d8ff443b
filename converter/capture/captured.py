"""What the capture of either framework hands on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from converter.graph.graph import GraphBuilder


@dataclass
class Captured:
    """A captured model: the graph, and the structure of what model(x) returns, with positions into its outputs."""

    graph: GraphBuilder
    outputs: Any
    inputs: list[Any] = field(default_factory=list)
    notes: list[Any] = field(default_factory=list)
    roads: list[dict[str, str]] = field(default_factory=list)
    """Of each layer that no row has written: layer, class and road."""
    pack: Callable[[Sequence[Any]], tuple[Sequence[Any], Mapping[str, Any]]] | None = None
    """The graph's inputs -> the arguments that the model itself is called with, by position and by name."""
    alone: list[str] = field(default_factory=list)
    """Layers whose source is not there to be compared with."""
