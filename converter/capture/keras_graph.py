"""The builder that the rows of Keras's layers write with: a model's variables, and what has no row opened."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from converter import advice
from converter.capture import keras_open
from converter.capture.keras_open_worker import Worker
from converter.graph.graph import GraphBuilder
from converter.ops import base
from converter.ops.base import KERAS_ACTIVATIONS, Perm, Refusal
from converter.ops.shape import Transpose


def to_numpy(variable: Any) -> np.ndarray:
    """The numbers of a Keras variable or tensor; on the torch backend a view, for Keras's own way there copies."""
    import keras

    value = getattr(variable, "value", variable)
    if keras.backend.backend() == "torch" and hasattr(value, "detach"):
        plain = value.detach().cpu()
        if str(plain.dtype) == "torch.bfloat16":
            import ml_dtypes

            half: np.ndarray = plain.float().numpy().astype(ml_dtypes.bfloat16)
            return half
        seen: np.ndarray = plain.numpy()
        return seen
    made: np.ndarray = np.asarray(keras.ops.convert_to_numpy(variable))
    return made


class KerasGraph(GraphBuilder):
    """The builder that the capture functions of ops/ write with."""

    def __init__(self, name: str, share: bool, write_layer: Callable[..., Any]) -> None:
        super().__init__(name)
        self.write_layer = write_layer
        """(builder, layer, args, kwargs, role) -> what the layer gives; Refusal where it has no mapping."""
        self.to_numpy = to_numpy if share else lambda variable: np.array(to_numpy(variable))
        self.layer: Any = None
        self._owners: dict[int, Any] = {}
        self.notes: list[Any] = []
        self.custom: Mapping[str, Any] = {}
        """Name -> the class of PyTorch or the function that the user gave for it."""
        self.alone: list[str] = []
        """Layers whose Keras class is not there: what is written for them has nothing to be compared with."""
        self.roads: list[dict[str, str]] = []
        """Of each layer that no row has written: layer, class and road."""
        self._worker: Worker | None = None

    def __enter__(self) -> KerasGraph:
        return self

    def __exit__(self, *error: object) -> None:
        if self._worker is not None:
            self._worker.__exit__(*error)

    def opened(self, path: str, cls: str, road: str = "opened") -> None:
        """Remember that a layer was opened, or written as what was given for it."""
        if not any(each["layer"] == path for each in self.roads):
            self.roads.append({"layer": path, "class": cls, "road": road})

    def worker(self) -> Worker:
        """The process that traces what has no row, where Keras's backend here is not torch."""
        self._worker = self._worker or Worker()
        return self._worker

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """What is written inside plays no part for another layer."""
        before, self._role = self._role, ""
        try:
            yield
        finally:
            self._role = before

    @contextlib.contextmanager
    def reading(self, layer: Any) -> Iterator[None]:
        """What is written inside belongs to this layer."""
        before, self.layer = self.layer, layer
        try:
            yield
        finally:
            self.layer = before

    def note(self, text: str) -> None:
        """Tell the user something about the layer at hand."""
        self.notes.append((self.place.path, text))

    def setting(self, name: str) -> Any:
        """One of Keras's global settings, such as image_data_format, for the few layers that read them when called."""
        import keras

        return getattr(keras.config, name)()

    def wrapped(self, layer: Any, *inputs: ir.Value) -> Any:
        """Write the layer inside a wrapper."""
        return self._inner(layer, inputs)

    def _inner(self, layer: Any, inputs: tuple[ir.Value, ...], role: str = "") -> Any:
        """A layer inside another one; a refusal names it."""
        try:
            return self.write_layer(self, layer, inputs, {}, role)
        except Refusal as refusal:
            refusal.inside = f"{type(layer).__name__}/{refusal.inside}".rstrip("/")
            raise

    def variable(self, variable: Any, axes: Perm | None = None) -> ir.Value:
        """The initializer of a Keras variable of the layer at hand, transposed by `axes`.

        Refusal where another layer has the same variable: its module would have a copy, and train it apart.
        """
        owner = self._owners.setdefault(id(variable), self.layer)
        if owner is not self.layer:
            raise Refusal(
                f"it shares its {variable.name} with {owner.name!r}; in PyTorch each would have its own and train it.",
                "Call one layer twice.",
            )
        return self.weight(
            variable, axes, path=f"{self.place.path}/{variable.name}", trainable=bool(variable.trainable)
        )

    def array(self, variable: Any) -> np.ndarray:
        """The numbers of a Keras variable or tensor."""
        return np.asarray(self.to_numpy(variable))

    def activate(self, activation: Any, x: ir.Value, own: bool = False) -> ir.Value:
        """Write an activation argument: a function of keras.activations, or a layer; `own`: it is the layer itself."""
        import keras

        if activation is None:
            return x
        if isinstance(activation, keras.Layer):
            made: ir.Value = self._inner(activation, (x,), "" if own else "activation")
            return made
        name = getattr(activation, "__name__", str(activation))
        activation = self.custom.get(name, activation)
        if activation is keras.activations.linear:
            return x
        written = KERAS_ACTIVATIONS.get(name)
        builtin = str(getattr(activation, "__module__", "")).split(".")[0] in ("keras", "converter")
        if not builtin and callable(activation):
            return self._opened_activation(activation, x)
        if written is None or not builtin:
            raise Refusal(f"the activation {name!r} has no mapping.", advice.of(name))
        with self.role("" if own else "activation"):
            result: ir.Value = written(self, x)
        return result

    def _opened_activation(self, activation: Any, x: ir.Value) -> ir.Value:
        """The user's own function, opened."""
        with self.role("activation"):
            made, _ = keras_open.write(self, activation, (x,), {}, scoped=False)
        if len(made) != 1:
            raise Refusal(f"the activation gives {len(made)} tensors.")
        self.opened(self.place.path, getattr(activation, "__name__", type(activation).__name__))
        return made[0]

    def first(self, layer: Any, x: ir.Value) -> ir.Value:
        """The input of a spatial layer with the channel axis second, whatever the layer's data_format."""
        rank = len(self.shape(x))
        if rank < 3 or getattr(layer, "data_format", "channels_last") == "channels_first":
            return x
        return self.op(Transpose(perm=base.channels_first(rank)), x, role="spatial")

    def last(self, layer: Any, y: ir.Value) -> ir.Value:
        """The output of a spatial layer back in the layer's own data_format."""
        rank = len(self.shape(y))
        if rank < 3 or getattr(layer, "data_format", "channels_last") == "channels_first":
            return y
        return self.op(Transpose(perm=base.channels_last(rank)), y, role="spatial")
