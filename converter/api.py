"""The pipeline on one screen: read, capture, settle, build, judge. The only module that knows every stage."""

from __future__ import annotations

from typing import Any

from converter.conversion import Conversion, Mapping, Turn, WeightMap
from converter.report import Report


def convert(model: Any, to: str, *, layout: str = "native", verify: bool = True) -> Conversion:
    """Convert a model."""
    from converter.build import to_torch, torch_load
    from converter.capture import from_keras
    from converter.graph import flatten, layout as layouts, onnx_model

    captured = from_keras.capture(model)
    g = captured.graph
    names = [v.name or "x" for v in g.graph.inputs]
    if to == "onnx":
        import onnx_ir as ir

        return Conversion("onnx", "", Mapping(), Report("keras", "onnx"), make_onnx=lambda: ir.to_proto(onnx_model.onnx_model(g)))
    turns = [Turn(t.name, t.kind, t.index, t.perm) for t in layouts.settle(g, layout)]  # type: ignore[arg-type]
    flatten.absorb(g)
    written = to_torch.write(g.graph, captured.outputs, names, f"{model.name}, converted from Keras by kconvert.")
    weights = [(w.key, w.data) for w in written.weights]
    mapping = Mapping(
        WeightMap(w.origin.path, w.key, w.origin.axes, w.origin.transform) for w in written.weights if w.origin is not None
    )
    transposes = sum(node.op_type == "Transpose" for node in g.graph)
    report = Report("keras", "torch", turns=[str(t) for t in turns], transposes=transposes)
    return Conversion("torch", written.text, mapping, report, turns, make_model=lambda: torch_load.load(written.text, weights))
