"""What Keras's torch backend writes into every program and what does nothing, taken out of an exported program."""

from __future__ import annotations

from typing import Any

ALL = (1 << 63) - 1
"""The end of a slice that has none."""

ARITHMETIC = frozenset({"add", "sub", "rsub", "mul", "div", "pow", "maximum", "minimum"})


def simplified(program: Any) -> None:
    """Take out, in place, casts to the same dtype, copies, slices of everything, and checks of metadata.

    `keras.ops.convert_to_tensor`, `x[None]` and Python numbers leave them behind wherever they stand.
    """
    graph = program.graph
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        source = _same(node)
        if source is not None:
            node.replace_all_uses_with(source)
            graph.erase_node(node)
        elif str(node.target).startswith("aten._assert") and not node.users:
            graph.erase_node(node)
    graph.eliminate_dead_code()


def arithmetic_dtype(program: Any, path: str) -> str:
    """For a constant without axes: the float dtype in which everybody computes with it, '' where there is not one.

    Keras makes whole numbers of Python's (`1 + x`), and PyTorch computes with them in the dtype of the other side.
    """
    names = {name for name, each in program.graph_signature.inputs_to_lifted_tensor_constants.items() if each == path}
    found: set[str] = set()
    for node in program.graph.nodes:
        if any(source.name in names for source in node.all_input_nodes):
            name = str(node.target).removeprefix("aten.").partition(".")[0]
            made = str(getattr(node.meta.get("val"), "dtype", "")).removeprefix("torch.")
            found.add(made if name in ARITHMETIC and "float" in made else "")
    return found.pop() if len(found) == 1 else ""


def _same(node: Any) -> Any:
    """The node whose numbers this one gives as they are; None where there is none."""
    name = str(node.target)
    source = node.args[0] if node.args else None
    if not hasattr(source, "meta"):
        return None
    if name in ("aten.lift_fresh_copy.default", "aten.alias.default", "aten.detach.default", "aten.contiguous.default"):
        return source
    if name.startswith(("aten.to.", "aten._to_copy.")) or name == "aten.clone.default":
        return source if _alike(node, source) else None
    if name == "aten.slice.Tensor":
        defaults = (None, 0, None, None, 1)
        given = tuple(node.args)
        _, _, start, end, step = given + defaults[len(given) :]
        return source if start in (0, None) and end in (ALL, None) and step == 1 else None
    if name in ("aten.view.default", "aten.reshape.default", "aten.expand.default"):
        return source if _alike(node, source) and _identical(node, source) else None
    return None


def _alike(node: Any, source: Any) -> bool:
    made, given = node.meta.get("val"), source.meta.get("val")
    return hasattr(made, "dtype") and hasattr(given, "dtype") and bool(made.dtype == given.dtype)


def _identical(node: Any, source: Any) -> bool:
    """Whether the shapes are the same, symbol by symbol."""
    made, given = node.meta["val"].shape, source.meta["val"].shape
    return len(made) == len(given) and all(str(a) == str(b) for a, b in zip(made, given, strict=True))
