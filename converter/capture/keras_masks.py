"""The mask beside each tensor, as Keras carries it from layer to layer while a model runs."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx_ir as ir

from converter.capture import keras_nodes, keras_open
from converter.graph.graph import GraphBuilder, Place
from converter.ops.base import KERAS_LAYERS, KERAS_MASKS, Refusal, takes

Mask = ir.Value | None
Lazy = Callable[[], Mask]


class Masks:
    """Masks by the tensor that they lie beside; a mask is written into the graph when a row first asks for it.

    Keras writes a mask into the call of a layer when the model is built, and that is a value like any other. What
    stands here is the rest: inside nested models, and for layers that look at the masks of their inputs by themselves,
    masks travel with the numbers.
    """

    def __init__(self, g: GraphBuilder) -> None:
        self.g = g
        self._beside: dict[int, Lazy] = {}

    def of(self, tensor: Any) -> Mask:
        """The mask beside one tensor."""
        known = self._beside.get(id(tensor))
        return known() if known is not None else None

    def put(self, tensor: Any, mask: Lazy) -> None:
        """Lay a mask beside a tensor."""
        found: list[Mask] = []

        def once() -> Mask:
            if not found:
                found.append(mask())
            return found[0]

        self._beside[id(tensor)] = once

    def kept(self, tensors: Sequence[Any]) -> dict[int, Lazy | None]:
        """What lies beside these tensors now, for `restore`."""
        return {id(tensor): self._beside.get(id(tensor)) for tensor in tensors}

    def restore(self, kept: Mapping[int, Lazy | None]) -> None:
        """Lay back what lay beside some tensors before."""
        for key, mask in kept.items():
            if mask is None:
                self._beside.pop(key, None)
            else:
                self._beside[key] = mask

    def arguments(self, step: keras_nodes.Step) -> dict[str, Any]:
        """The mask arguments that Keras itself fills into the call of a layer: those that its row takes.

        Refusal where a mask reaches a layer that has an argument for it, and whose row does not take it.
        """
        import keras

        layer, cls = step.operation, keras_nodes.row_name(step.operation)
        opened = keras_open.opens(layer)
        if cls not in KERAS_LAYERS and not opened:
            return {}
        found: dict[str, Any] = {}
        for name, tensors in _open(step).items():
            masks = keras.tree.map_structure(self.of, tensors)
            if all(mask is None for mask in keras_nodes.flat(masks)):
                continue
            if not opened and not takes(cls, name):
                raise Refusal(f"a mask reaches it as {name}=, and {layer.name!r} is converted without.")
            found[name] = masks
        return found

    def beside(self, step: keras_nodes.Step) -> list[Mask]:
        """The masks of the first argument's tensors, for a row that takes `masks`."""
        if keras_open.opens(step.operation) or not takes(keras_nodes.row_name(step.operation), "masks"):
            return []
        return [self.of(tensor) for tensor in keras_nodes.flat(_first(step))]

    def follow(self, step: keras_nodes.Step, place: Place, values: Callable[[Any], Any]) -> None:
        """Lay beside the outputs of a layer what Keras lays there; `values` maps its tensors to values."""
        import keras

        layer = step.operation
        if not getattr(layer, "supports_masking", False):
            return
        tensors = keras_nodes.flat(_first(step))
        explicit = step.kwargs.get("mask")
        given = None if explicit is None else [m if m is None else values(m) for m in keras_nodes.flat(explicit)]
        beside = [self._beside.get(id(tensor)) for tensor in tensors]  # a nested model called again lays others there

        def before() -> list[Mask]:
            return given if given is not None else [mask() if mask is not None else None for mask in beside]

        opened = keras_open.opens(layer)
        rule = None if opened else KERAS_MASKS.get(keras_nodes.row_name(layer))
        plain = type(layer).compute_mask is keras.Layer.compute_mask
        ruled = self._ruled(rule, layer, place, [values(t) for t in tensors], before) if rule is not None else None
        for i, tensor in enumerate(step.outputs):
            if ruled is not None:
                self.put(tensor, lambda i=i: ruled()[i] if i < len(ruled()) else None)  # type: ignore[misc]
            elif plain:
                self.put(tensor, lambda i=i: (before()[i : i + 1] or [None])[0])  # type: ignore[misc]
            elif opened:
                self.put(tensor, lambda i=i: self._opened(step, place, values, before(), i))  # type: ignore[misc]
            else:
                self.put(tensor, lambda: self._unknown(layer, before()))

    def _ruled(
        self, rule: Callable[..., Any], layer: Any, place: Place, inputs: list[Any], before: Callable[[], list[Mask]]
    ) -> Callable[[], Sequence[Mask]]:
        """What the rule of a layer lays beside its outputs, asked once: of one mask alone, beside the first."""

        @functools.cache
        def masks() -> Sequence[Mask]:
            given = before()
            with self.g.at(place), self.g.role("mask"):
                made = rule(self.g, layer, inputs, given)
            return made if isinstance(made, (list, tuple)) else [made]

        return masks

    def _opened(
        self, step: keras_nodes.Step, place: Place, values: Callable[[Any], Any], before: list[Mask], index: int
    ) -> Mask:
        """What the compute_mask of the user's own class makes, opened like its call."""
        import keras

        inputs = keras.tree.map_structure(values, _first(step))
        mask: Any = before if isinstance(inputs, (list, tuple)) else (before or [None])[0]
        with self.g.at(place), self.g.role("mask"):
            made, structure = keras_open.write(self.g, step.operation.compute_mask, (inputs, mask), {}, scoped=False)
        several = isinstance(structure, (list, tuple))
        picked = structure[index] if several and index < len(structure) else structure
        return made[picked.index] if picked is not None else None

    def _unknown(self, layer: Any, before: list[Mask]) -> Mask:
        if all(mask is None for mask in before):
            return None
        cls = type(layer).__name__
        raise Refusal(f"a mask reaches it through {layer.name!r}, and what {cls} makes of masks has no mapping.")


def _first(step: keras_nodes.Step) -> Any:
    """The first argument of a call, with its structure."""
    return step.args[0] if step.args else next(iter(step.kwargs.values()), None)


def _open(step: keras_nodes.Step) -> dict[str, Any]:
    """The mask arguments of a call that Keras fills in, with the tensors whose masks they take."""
    call = inspect.signature(step.operation.call)
    bound = call.bind(*step.args, **step.kwargs).arguments
    given = {name: value for name, value in bound.items() if any(map(keras_nodes.is_tensor, keras_nodes.flat(value)))}
    alone = len(given) == 1
    wanted = {"mask" if alone else f"{name}_mask": value for name, value in given.items()}
    return {name: value for name, value in wanted.items() if name in call.parameters and bound.get(name) is None}
