"""Which calls of a program share memory: read off the operators' schemas, and where those only allow it, tried.

`x.view(-1)` is another look at x's memory, and `x.relu_()` changes what every such look reads afterwards. The graph in
the middle has values alone, so the walk writes what is changed back to the memory's other readers, step by step.
"""

from __future__ import annotations

from typing import Any

COPIES_OR_NOT = frozenset({"reshape", "flatten", "contiguous", "to", "dropout", "feature_dropout", "alpha_dropout"})
"""Operations that hand on their argument or a copy of it, whichever it takes."""
IN_TRAINING = frozenset({"dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"})
"""Operations that hand on their argument where the model is used, and make a new tensor where it is trained."""


class Memory:
    """What the calls of one graph share. A name is that of a node; `parent` is the node that it is a look at."""

    def __init__(self, graph: Any) -> None:
        self.parent: dict[str, Any] = {}
        self.nodes = {node.name: node for node in graph.nodes}
        self.order = {name: i for i, name in enumerate(self.nodes)}
        self.writes: dict[str, int] = {}
        self.seen: dict[str, int] = {}
        self.groups: dict[str, list[str]] = {}
        if not any(written(node) is not None for node in self.nodes.values()):
            return
        for name, node in self.nodes.items():
            source = _source(node)
            if source is not None:
                self.parent[name] = source
            self.groups.setdefault(self.base(name), []).append(name)

    def base(self, name: str) -> str:
        """The node whose memory it is."""
        while name in self.parent:
            name = self.parent[name].name
        return name

    def made(self, name: str) -> None:
        """The node holds what its memory holds now."""
        self.seen[name] = self.writes.get(self.base(name), 0)

    def stale(self, name: str) -> bool:
        """Whether the memory was written since the node was computed."""
        return self.writes.get(self.base(name), 0) > self.seen.get(name, 0)

    def wrote(self, name: str) -> None:
        """The memory of a node was written."""
        base = self.base(name)
        self.writes[base] = self.writes.get(base, 0) + 1

    def others(self, name: str, after: str) -> list[str]:
        """The nodes that share the memory of a node, are no looks at the node itself, and are read behind `after`."""
        inside = {name, after}
        found = []
        for other in self.groups.get(self.base(name), [self.base(name)]):
            if other in self.parent and self.parent[other].name in inside:
                inside.add(other)
            if other not in inside and self.read(other, after):
                found.append(other)
        return found

    def group_read(self, name: str, after: str) -> bool:
        """Whether anything that shares the memory of a node is read behind `after`."""
        return any(self.read(other, after) for other in self.groups[self.base(name)])

    def read(self, name: str, after: str) -> bool:
        """Whether a node is read behind another one, by what computes and not only by what it returns for keeps."""
        last = self.order[after]
        return any(self.order[user.name] > last for user in self.nodes[name].users)


def written(node: Any) -> Any:
    """The node whose memory a call writes; None for most."""
    for parameter, value in _declared(node):
        if parameter.alias_info is not None and parameter.alias_info.is_write and hasattr(value, "op"):
            return value
    return None


def _source(node: Any) -> Any:
    """The node whose memory a call's result shares, None for memory of its own."""
    if node.op == "call_function" and getattr(node.target, "__name__", "") == "getitem":
        return node.args[0]
    name = str(node.target).removeprefix("aten.").partition(".")[0]
    for parameter, value in _declared(node):
        if not hasattr(value, "op"):
            continue
        if parameter.alias_info is not None and parameter.alias_info.is_write:
            return value
        if parameter.alias_info is not None or name in COPIES_OR_NOT:
            return value if name not in COPIES_OR_NOT or _shares(node, value) else None
    return None


def _declared(node: Any) -> list[tuple[Any, Any]]:
    """The parameters of an operator's schema with the call's arguments."""
    schema = getattr(node.target, "_schema", None)
    if node.op != "call_function" or schema is None:
        return []
    given = dict(zip((p.name for p in schema.arguments), node.args, strict=False)) | dict(node.kwargs)
    return [(p, given.get(p.name)) for p in schema.arguments]


def _shares(node: Any, source: Any) -> bool:
    """Whether the result lies where an argument lies, by running the operation on torch's fake tensors."""
    import torch
    from torch.fx.node import map_arg
    from torch.multiprocessing.reductions import StorageWeakRef

    def fake(argument: Any) -> Any:
        return argument.meta["val"]

    given = source.meta["val"]
    with torch.no_grad(), given.fake_mode:
        made = node.target(*map_arg(node.args, fake), **map_arg(node.kwargs, fake))
        here: Any = StorageWeakRef  # it has no types
        same: bool = here(made.untyped_storage()) == here(given.untyped_storage())
    return same
