"""What writing into a look at some memory does to the memory itself, as operations that make new tensors."""

from __future__ import annotations

from typing import Any

from converter.capture import torch_nodes
from converter.ops.base import Refusal

PLAIN = "Use the form that is not in place."

SAME = frozenset({"detach", "alias", "to", "contiguous", "getitem"})
RESHAPES = frozenset({"view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as"})
SWAPS = frozenset({"transpose", "t", "swapaxes", "swapdims"})


def written_back(look: Any, memory: Any) -> tuple[str, list[Any]] | None:
    """The operation that gives `memory` with new numbers in the place of `look`, a call on it: its name and arguments,
    None for the new numbers. None where these are the whole of it; Refusal where torch has no such operation.
    """
    name = torch_nodes.operation(look)[0].partition(".")[0]
    if torch_nodes.works_in_place(look) or name in SAME:
        return None
    given = dict(torch_nodes.arguments(look))
    if name == "select":
        return "select_scatter.default", [memory, None, given["dim"], given["index"]]
    if name == "slice":
        return "slice_scatter.default", [memory, None, *(given[key] for key in ("dim", "start", "end", "step"))]
    if name == "narrow" and isinstance(given["start"], int) and isinstance(given["length"], int):
        end = given["start"] + given["length"]
        return "slice_scatter.default", [memory, None, given["dim"], given["start"], end, 1]
    if name in RESHAPES:
        return "view.default", [None, torch_nodes.shape_of(memory)]
    if name in SWAPS:
        return torch_nodes.operation(look)[0], [None, *list(given.values())[1:]]
    if name == "permute":
        dims = [d % len(given["dims"]) for d in given["dims"]]
        return "permute.default", [None, tuple(dims.index(i) for i in range(len(dims)))]
    raise Refusal(f"it changes in place what {name} shows of a tensor that is read later.", PLAIN)
