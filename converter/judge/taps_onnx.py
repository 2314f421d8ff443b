"""Taps of an ONNX graph: the input of a last Softmax, Sigmoid or Tanh as one more output of a copy."""

from __future__ import annotations

from typing import Any

from .taps import tap_name

_KINDS = {
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "HardSigmoid": "hard_sigmoid",
}
_MOVES = ("Identity", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze")
FUSED = ("Sigmoid", "Tanh", "HardSigmoid")
"""What onnxruntime computes together with the product before it: an output between them would change its sums."""


def tapped(model: Any, leave: tuple[str, ...] = ()) -> tuple[Any, dict[str, str]]:
    """(a copy of a ModelProto with its taps as outputs, the name that each of those travels under).

    What moves elements behind the activation is done to the tap too. Activations in `leave` get none."""
    import onnx
    from onnx import helper

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    made_by = {name: node for node in graph.node for name in node.output}
    found: dict[str, str] = {}
    for index, output in enumerate(list(graph.output)):
        node, behind = made_by.get(output.name), []
        while node is not None and node.op_type in _MOVES and not node.domain:
            behind.append(node)
            node = made_by.get(node.input[0])
        if node is None or node.domain or node.op_type not in _KINDS or node.op_type in leave:
            continue
        value = node.input[0]
        for step, move in enumerate([*reversed(behind), None]):
            fresh = f"kconvert_tap_{index}_{step}"
            more = [] if move is None else list(move.input[1:])
            made = helper.make_node("Identity" if move is None else move.op_type, [value, *more], [fresh], name=fresh)
            if move is not None:
                made.attribute.extend(move.attribute)
            graph.node.append(made)
            value = fresh
        graph.output.append(helper.make_tensor_value_info(value, output.type.tensor_type.elem_type, None))
        found[value] = tap_name(index, _KINDS[node.op_type])
    return copy, found
