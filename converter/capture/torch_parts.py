"""An operation without a row taken apart, alone: what torch says it is made of, with the sizes that it has here."""

from __future__ import annotations

import functools
from typing import Any


@functools.cache
def _table() -> Any:
    import torch

    return torch.export.default_decompositions()


def _known(target: Any) -> bool:
    """Whether the table has an entry; it makes its entries when they are read, so `get` does not see them."""
    return target in _table()


def parts(node: Any, functional: bool) -> tuple[Any, list[Any]] | None:
    """The graph of what an operation is made of, and the nodes that its placeholders stand for; None where torch
    has no such thing, or it fails. `functional`: what does not work in place is meant.
    """
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    target = node.target
    if not hasattr(target, "decompose"):
        return None
    if functional:
        base, _, overload = str(target).removeprefix("aten.").partition(".")
        packet = getattr(torch.ops.aten, base.rstrip("_"), None)
        target = getattr(packet, overload, None)
        if target is None:
            return None
    made = _table()[target] if _known(target) else target.decompose
    sources = [a for a in node.all_input_nodes if isinstance(a.meta.get("val"), torch.Tensor)]
    fakes = [a.meta["val"] for a in sources]
    if not fakes:
        return None

    def run(*tensors: Any) -> Any:
        known = dict(zip(sources, tensors, strict=True))

        def value(argument: Any) -> Any:
            return known[argument] if argument in known else argument.meta["val"]

        return made(*torch.fx.node.map_arg(node.args, value), **torch.fx.node.map_arg(node.kwargs, value))

    try:
        with torch.no_grad(), fakes[0].fake_mode:
            graph = make_fx(run)(*fakes).graph
    except Exception:  # noqa: BLE001  a decomposition fails in many ways; then there is none
        return None
    if any(n.op == "call_function" and n.target is target for n in graph.nodes):
        return None
    return graph, sources


def inlined(node: Any) -> tuple[Any, list[Any]] | None:
    """The graph of what stands under `torch.no_grad()` or a disabled autocast, and the nodes that it is given."""
    name = str(node.target)
    places = {"wrap_with_set_grad_enabled": 1, "wrap_with_autocast": 4}
    if name not in places or (name == "wrap_with_autocast" and node.args[2]):
        return None
    at = places[name]
    module = node.graph.owning_module.get_submodule(node.args[at].target)
    return module.graph, list(node.args[at + 1 :])
