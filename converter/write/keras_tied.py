"""A table that is read both ways, ids to rows and rows to scores, is one ReversibleEmbedding in Keras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import onnx_ir as ir

from converter.graph.graph import origin
from converter.ops.records import Layer
from converter.write.keras_calls import NodeCall

TURNED = (1, 0)


def reversible(calls: Sequence[NodeCall]) -> list[NodeCall]:
    """The calls, with one layer in the place of an Embedding and the Dense layers without bias of the same weight."""
    tables = {path: value for call in calls if (path := _table(call.record)) for value in [_weight(call.record)]}
    back = {path for call in calls if (path := _scores(call.record)) in tables}
    made = []
    for call in calls:
        path = _table(call.record) or _scores(call.record)
        made.append(_reversed(call, path, tables[path]) if path in back else call)
    return made


def _reversed(call: NodeCall, path: str, table: ir.Value) -> NodeCall:
    rows, width = (int(d) for d in table.shape or () if isinstance(d, int))
    settings = {"input_dim": rows, "output_dim": width}
    backwards = {} if _table(call.record) else {"reverse": True}
    record = Layer(
        "ReversibleEmbedding",
        settings,
        {"embeddings": (table, None)},
        inputs=call.record.inputs,
        trainable=call.record.trainable,
        call=backwards,
    )
    return replace(call, record=record, keys={id(record): ("reversible", path, record.trainable)})


def _weight(record: Any) -> Any:
    """The first weight of a layer."""
    return next(iter(record.weights.values()))[0]


def _table(record: Any) -> str:
    """The name of the weight that an Embedding looks up; '' for any other record."""
    if isinstance(record, Layer) and record.cls == "Embedding":
        known = origin(_weight(record))
        return known.path if known is not None and not known.steps else ""
    return ""


def _scores(record: Any) -> str:
    """The name of the table that a Dense layer multiplies by, transposed; '' for any other record."""
    if not isinstance(record, Layer) or record.cls != "Dense" or list(record.weights) != ["kernel"]:
        return ""
    value, axes = record.weights["kernel"]
    known = origin(value)
    if known is not None and axes is not None:
        known = known.then("T", axes)
    return known.path if known is not None and known.steps == (("T", TURNED),) and _plain(record) else ""


def _plain(record: Layer) -> bool:
    """Whether the layer does nothing but multiply."""
    return set(record.kwargs) <= {"units", "use_bias"}
