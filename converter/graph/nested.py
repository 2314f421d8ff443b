"""Graphs that stand in an attribute: what they make themselves, and what they read of the graph around them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx_ir as ir


def subgraphs(attributes: Iterable[ir.Attr]) -> Iterator[ir.Graph]:
    """The graphs among a node's attributes: branches and loop bodies."""
    for attribute in attributes:
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def captured(attributes: Iterable[ir.Attr]) -> list[ir.Value]:
    """The values from outside that graphs among a node's attributes read, each once."""
    found: dict[int, ir.Value] = {}
    for graph in subgraphs(attributes):
        nodes = list(graph.all_nodes())
        deeper = [each for node in nodes for each in subgraphs(node.attributes.values())]
        inside = {id(v) for each in (graph, *deeper) for v in own(each)}
        read = [v for node in nodes for v in node.inputs if v is not None and id(v) not in inside]
        found.update({id(v): v for v in read})
    return list(found.values())


def inner(node: ir.Node) -> list[ir.Node]:
    """The nodes of the graphs among a node's attributes, at every depth."""
    return [each for graph in subgraphs(node.attributes.values()) for each in graph.all_nodes()]


def own(graph: ir.Graph) -> list[ir.Value]:
    """The values that a graph makes itself: inputs, initializers, outputs of its nodes."""
    return [*graph.inputs, *graph.initializers.values(), *(out for node in graph for out in node.outputs)]


def reads(node: ir.Node) -> list[ir.Value]:
    """Every value that a node reads: its inputs, and what graphs among its attributes capture."""
    return [*(v for v in node.inputs if v is not None), *captured(node.attributes.values())]
