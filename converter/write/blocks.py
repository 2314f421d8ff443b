"""Repeated blocks: where the layers' own names show a repetition, it becomes one class, and runs become nn.Sequential.

    conv2_block1_1_conv, conv2_block1_1_bn, ..., conv2_block2_1_conv, ...   ->   conv2_block.1, conv2_block.2, ...

A prefix that ends in an index names a block if its layers are a region with one output that nothing outside runs
through. Of all the ways to cut names, the one that saves most lines is taken, then the next one on what is left. Only
names in the nodes' metadata change; the graph stays as it is.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import onnx_ir as ir

from converter.graph.graph import LOCAL, ROLE, SCOPE, TRAINABLE, local_name, place_of
from converter.write.view import Item, items_of

INDEX = re.compile(r"(\d+)([a-z]?)(?=[_\-./ ])")
SEPARATORS = "_-./ "
SMALLEST = 3
MOST_INPUTS = 3


@dataclass(frozen=True)
class _Block:
    """The units of one prefix: 'conv2_block1' = stem 'conv2_block' + key '1'."""

    prefix: str
    stem: str
    key: str
    units: tuple[int, ...]
    shape: tuple[object, ...]

    @property
    def family(self) -> str:
        return re.sub(r"\d+", "#", self.stem)


def fold(graph: ir.Graph) -> None:
    """Give the nodes of every repeated block a scope of their own, at every level of nesting."""
    _level(items_of(list(graph)), 0)


def _level(items: list[Item], depth: int) -> None:
    for item in items:
        if item.scope:
            _level(item.children, depth + 1)
    names = [_name(item) for item in items]
    taken: set[int] = set()
    runs: set[str] = set()
    while (chosen := _best(items, names, taken)) is not None:
        for run in _runs(items, chosen):
            _rescope(items, names, run, depth, runs)
        taken.update(unit for block in chosen for unit in block.units)


def _name(item: Item) -> str:
    if item.scope:
        return item.scope.rsplit("#", 1)[0]
    place = place_of(item.nodes[0])
    return local_name(place) if place.local is None else place.local


def _best(items: list[Item], names: list[str], taken: set[int]) -> list[_Block] | None:
    """The family of blocks that saves most; None where nothing is repeated any more."""
    families: dict[str, list[_Block]] = defaultdict(list)
    for block in _blocks(items, names, taken):
        families[block.family].append(block)
    best, saved = None, 0
    for blocks in families.values():
        counts: dict[tuple[object, ...], int] = defaultdict(int)
        for block in blocks:
            counts[block.shape] += 1
        saving = sum((n - 1) * len(shape) for shape, n in counts.items())
        if saving > saved:
            best, saved = blocks, saving
    return best


def _blocks(items: list[Item], names: list[str], taken: set[int]) -> Iterable[_Block]:
    found: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for i, name in enumerate(names):
        if i in taken:
            continue
        for match in INDEX.finditer(name):
            digits, letter = match.groups()
            stem = name[: match.start()] + (digits if letter else "")
            found[name[: match.end()], stem.rstrip(SEPARATORS), letter or digits].append(i)
    for (prefix, stem, key), units in found.items():
        if len(units) >= SMALLEST and stem and _closed(items, units):
            yield _Block(prefix, stem, key, tuple(units), _shape(items, names, prefix, units))


def _whole(items: list[Item], units: Iterable[int]) -> Item:
    return Item([node for unit in units for node in items[unit].nodes], "block")


def _closed(items: list[Item], units: list[int]) -> bool:
    """One output, few inputs, and no way out that comes back in."""
    whole = _whole(items, units)
    if len(whole.outputs) != 1 or not 1 <= len(whole.inputs) <= MOST_INPUTS:
        return False
    inside = {id(node) for node in whole.nodes}
    between = {id(node) for unit in range(units[0], units[-1]) for node in items[unit].nodes} - inside
    tainted = {id(v) for v in whole.outputs}
    for unit in range(units[0], units[-1] + 1):
        for node in items[unit].nodes:
            if not any(v is not None and id(v) in tainted for v in node.inputs):
                continue
            if id(node) in inside and any(
                v is not None and id(v) in tainted and v.producer() is not None and id(v.producer()) not in inside
                for v in node.inputs
            ):
                return False
            if id(node) in between:
                tainted.update(id(v) for v in node.outputs)
    return True


def _shape(items: list[Item], names: list[str], prefix: str, units: list[int]) -> tuple[object, ...]:
    """What two blocks must have in common: names, operators, and who reads whom."""
    number: dict[int, int] = {}
    rows: list[object] = []
    for unit in units:
        for node in items[unit].nodes:
            reads = [number.get(id(v), -1) for v in node.inputs if v is not None and v.const_value is None]
            weights = sum(v is not None and v.const_value is not None for v in node.inputs)
            props = node.metadata_props
            rest = names[unit][len(prefix) :]
            rows.append((rest, node.op_type, props.get(ROLE, ""), props.get(TRAINABLE, ""), tuple(reads), weights))
            number.update((id(v), len(number)) for v in node.outputs)
    return tuple(rows)


def _runs(items: list[Item], blocks: list[_Block]) -> list[list[_Block]]:
    """Blocks of one stem that follow on each other, the output of one being the whole input of the next."""
    runs: list[list[_Block]] = []
    for block in sorted(blocks, key=lambda b: b.units[0]):
        before = runs[-1][-1] if runs else None
        if before is not None and before.stem == block.stem and _follows(items, before, block):
            runs[-1].append(block)
        else:
            runs.append([block])
    return runs


def _follows(items: list[Item], one: _Block, two: _Block) -> bool:
    first, second = _whole(items, one.units), _whole(items, two.units)
    inside = {id(node) for node in second.nodes}
    (output,) = first.outputs
    readers_inside = all(id(use.node) in inside for use in output.uses()) and not output.is_graph_output()
    return readers_inside and [id(v) for v in second.inputs] == [id(output)]


def _rescope(items: list[Item], names: list[str], run: list[_Block], depth: int, used: set[str]) -> None:
    stem = run[0].stem
    while len(run) > 1 and stem in used:
        stem += "_"
    used.add(stem)
    for block in run:
        inner = f"{stem}#seq/{block.key}#0/" if len(run) > 1 else f"{block.prefix}#0/"
        for unit in block.units:
            local = names[unit][len(block.prefix) :].strip(SEPARATORS)
            for node in items[unit].nodes:
                _move(node, items[unit], inner, local, depth)


def _move(node: ir.Node, item: Item, inner: str, local: str, depth: int) -> None:
    """Put one node below the new scope, under the name that it has inside the block."""
    parts = node.metadata_props.get(SCOPE, "").split("/")[:-1]
    rest = parts[depth:]
    if item.scope:
        rest = [f"{local}#{item.scope.rsplit('#', 1)[1]}", *rest[1:]]
    elif local:
        node.metadata_props[LOCAL] = local
    node.metadata_props[SCOPE] = "".join(f"{p}/" for p in parts[:depth]) + inner + "".join(f"{p}/" for p in rest)
