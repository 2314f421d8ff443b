"""Which layer of one model is which of the other: through the weights' mapping, by names, by the weights' sizes."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

Sizes = Callable[[str], tuple[int, ...]]
"""A layer's path -> the sizes of its own weights, sorted; () where it has none."""


def plain(path: str) -> str:
    """A path as both frameworks can write it."""
    return re.sub(r"[^0-9A-Za-z]+", "_", path).strip("_").lower()


def pair(
    source: Sequence[str],
    target: Sequence[str],
    mapping: Sequence[tuple[str, str]] = (),
    sizes: tuple[Sizes, Sizes] | None = None,
) -> dict[str, str]:
    """Source path -> target path. `mapping` are weights' keys; it goes before names, and these before sizes."""
    found: dict[str, str] = {}
    _by_mapping(found, source, target, mapping)
    _by_names(found, source, target, plain)
    _by_names(found, source, target, lambda path: plain(re.split(r"[/.]", path)[-1]))
    if sizes is not None:
        _by_sizes(found, source, target, sizes)
    return {path: found[path] for path in source if path in found}


def _by_mapping(
    found: dict[str, str], source: Sequence[str], target: Sequence[str], mapping: Sequence[tuple[str, str]]
) -> None:
    ours, theirs = {plain(p): p for p in source}, {plain(p): p for p in target}
    votes: dict[str, Counter[str]] = {}
    for one, two in mapping:
        left, right = _owner(one, ours), _owner(two, theirs)
        if left and right:
            votes.setdefault(left, Counter())[right] += 1
    for path, each in votes.items():
        best = each.most_common(1)[0][0]
        if best not in found.values():
            found[path] = best


def _owner(key: str, paths: Mapping[str, str]) -> str:
    """The layer that a weight's key belongs to: the longest part of the key that is a layer's path."""
    parts = re.split(r"[/.]", key)
    for start in range(len(parts)):
        for end in range(len(parts) - 1, start, -1):
            path = paths.get(plain("_".join(parts[start:end])))
            if path is not None:
                return path
    return ""


def _by_names(found: dict[str, str], source: Sequence[str], target: Sequence[str], name: Callable[[str], str]) -> None:
    """Names that one layer on either side has."""
    left = Counter(name(p) for p in source if p not in found)
    taken = set(found.values())
    right = Counter(name(p) for p in target if p not in taken)
    theirs = {name(p): p for p in target if p not in taken}
    for path in source:
        if path not in found and left[name(path)] == 1 and right[name(path)] == 1:
            found[path] = theirs[name(path)]


def _by_sizes(found: dict[str, str], source: Sequence[str], target: Sequence[str], sizes: tuple[Sizes, Sizes]) -> None:
    """Layers with weights that are left: those of sizes that one on either side has, then in their order."""
    taken = set(found.values())
    ours = Counter(sizes[0](p) for p in source if p not in found)
    theirs = Counter(sizes[1](p) for p in target if p not in taken)
    alone = {size for size in ours if size and ours[size] == theirs[size] == 1}
    other = {sizes[1](p): p for p in target if p not in taken}
    found.update({p: other[sizes[0](p)] for p in source if p not in found and sizes[0](p) in alone})
    taken = set(found.values())
    left = [p for p in source if p not in found and sizes[0](p)]
    right = [p for p in target if p not in taken and sizes[1](p)]
    matcher = difflib.SequenceMatcher(None, [sizes[0](p) for p in left], [sizes[1](p) for p in right], autojunk=False)
    for block in matcher.get_matching_blocks():
        found.update(zip(left[block.a : block.a + block.size], right[block.b : block.b + block.size], strict=True))
