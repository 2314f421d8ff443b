"""Tensors that a program fills itself, element by element, from numbers alone: computed here, once and for all.

A mask that forward makes of zeros and writes into (`mask[:, 3:] = 1`) depends on no input. Such a program is run, call
by call, on real tensors, and whoever reads what was written so reads a constant.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from converter.capture import torch_nodes

MOST = 1 << 22
"""Elements of a constant at most."""
ALIKE = frozenset({"new_zeros", "new_ones", "new_full", "zeros_like", "ones_like", "full_like"})
"""Operations that take the dtype of a tensor, and nothing else of it."""


class Constants:
    """What the calls of a graph give that read no input, where something was written in place."""

    def __init__(self, graph: Any, lifted: dict[str, Any]) -> None:
        self.known: dict[str, Any] = {}
        self.filled: set[str] = set()
        self.read: dict[tuple[str, str], Any] = {}
        """(reader, what it reads) -> the numbers at that time."""
        self.lifted = lifted
        if any(torch_nodes.operation(node)[1] for node in torch_nodes.calls(graph)):
            self._run(graph)

    def made(self, node: Any) -> bool:
        """Whether a call is done with: it gives a constant."""
        return node.name in self.filled

    def of(self, reader: str, name: str) -> np.ndarray | None:
        """The numbers that a call reads of another one, where these are such a constant."""
        tensor = self.read.get((reader, name))
        return None if tensor is None else np.asarray(tensor.numpy())

    def _run(self, graph: Any) -> None:
        import torch

        for node in graph.nodes:
            if node.op == "placeholder" and node.name in self.lifted:
                self.known[node.name] = self.lifted[node.name].detach().clone()
            if node.op not in ("call_function", "output"):
                continue
            if node.op == "call_function" and self._computed(node, torch):
                continue
            if torch_nodes.operation(node)[1] and node.args[0].name in self.known:
                self.known, self.filled, self.read = {}, set(), {}  # numbers and inputs are mixed in one memory
                return
            for source in node.all_input_nodes:
                tensor = self.known.get(source.name)
                if isinstance(tensor, torch.Tensor) and self._is_filled(source, tensor):
                    self.read[node.name, source.name] = tensor.clone().contiguous()

    def _is_filled(self, node: Any, tensor: Any) -> bool:
        return node.name in self.filled or tensor._version > 0

    def _computed(self, node: Any, torch: Any) -> bool:
        """Run a call on real tensors, where it reads nothing else."""
        name = torch_nodes.operation(node)[0].partition(".")[0]
        if not hasattr(node.target, "_schema") or torch.Tag.nondeterministic_seeded in node.target.tags:
            return False
        given: dict[str, Any] = {}
        for source in node.all_input_nodes:
            value = self.known.get(source.name)
            if value is None and name in ALIKE and source is node.args[0] and name.startswith("new_"):
                value = torch.empty(0, dtype=source.meta["val"].dtype)
            if value is None:
                return False
            given[source.name] = value
        shape = torch_nodes.shape_of(node)
        if shape is None or any(not isinstance(d, int) for d in shape) or int(np.prod(shape)) > MOST:
            return False
        args, kwargs = torch.fx.map_arg((node.args, node.kwargs), lambda n: given[n.name])
        made = node.target(*args, **{k: v for k, v in kwargs.items() if k != "device"})
        if not whole(made):
            return False
        sources = [(n, self.known[n.name]) for n in node.all_input_nodes if n.name in self.known]
        if made._version > 0 or any(self._is_filled(n, t) for n, t in sources):
            self.filled.add(node.name)
        self.known[node.name] = made
        return True


def whole(tensor: Any) -> bool:
    """Whether the numbers are whole or infinite, and so the same in every dtype that computes them."""
    if not tensor.is_floating_point():
        return not tensor.is_complex()
    return bool(((tensor == tensor.round()) | tensor.isinf()).all())
