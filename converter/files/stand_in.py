"""A Keras layer of a class that is not installed: its config as data, its weights as the file has them.

What it computes is told by the PyTorch class or function that the user gave for it (custom=): nothing that the file
names is imported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from converter import custom_torch
from converter.files.hdf5 import array_of

HELD = "kconvert_weights"
GIVEN = "kconvert_given"
"""The attribute of a class that stands in: (name, what the user gave for it)."""
LENGTHS = ((2, 7, 11, 13, 17, 19), (3, 8, 12, 14, 18, 20))
"""Two lengths for every axis that is open: where an answer's differ, its axis is open."""


def stand_in(key: str, class_name: str, given: Any) -> type:
    """The Keras class for a name in a file, that computes what `given`, a class or function of PyTorch, does."""
    import keras

    class StandIn(keras.layers.Layer):  # type: ignore[misc]
        """A layer whose class is not installed."""

        def __init__(self, **config: Any) -> None:
            held = config.pop(HELD, ())
            own = {name: config[name] for name in ("name", "trainable", "dtype") if config.get(name) is not None}
            super().__init__(**own)
            variables = [
                (name, keras.Variable(np.zeros(shape), trainable=trained, dtype=self.variable_dtype))
                for name, shape, trained in held
            ]
            _own(self).update(data=config, module=None, held=variables, filled=None)

        def build(self, *shapes: Any, **named: Any) -> None:
            """Its weights are those of the file."""
            self.built = True

        def hold(self, weights: Sequence[tuple[str, np.ndarray]]) -> None:
            """Take the file's weights; UsageError where they do not fit."""
            shapes = [(name, tuple(array.shape)) for name, array in weights]
            filled = custom_torch.fill(_own(self)["module"], shapes, self.name)
            frozen = {each.weight for each in filled.values() if not each.trained}
            held = []
            for i, (name, array) in enumerate(weights):
                own = {"trainable": i not in frozen, "dtype": self.variable_dtype, "name": name.replace("/", "_")}
                held.append((name, keras.Variable(array, **own)))
            _own(self).update(filled=filled, held=held)

        @property
        def variables(self) -> list[Any]:
            """The file's weights."""
            return [variable for _, variable in _own(self).get("held", ())]

        @property
        def weights(self) -> list[Any]:
            """The file's weights."""
            return self.variables

        def load_own_variables(self, store: Any) -> None:
            """Keras hands over what it knows the place of; `hold` is given all."""

        def get_config(self) -> dict[str, Any]:
            """The config of the file, with the names and shapes of the weights."""
            base = super().get_config()
            shapes = [[name, list(each.shape), bool(each.trainable)] for name, each in _own(self)["held"]]
            return {**_own(self)["data"], **base, HELD: shapes}

        def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
            """The shapes that the user's module gives, asked for with zeros."""
            if _own(self)["module"] is None:
                shape = keras.tree.flatten(args)[0].shape
                _own(self)["module"] = custom_torch.made(given, _own(self)["data"], key, tuple(shape))
            one, two = (_asked(self, args, kwargs, lengths) for lengths in LENGTHS)

            def spec(a: Any, b: Any) -> Any:
                shape = [n if n == m else None for n, m in zip(a.shape, b.shape, strict=True)]
                kind = str(a.dtype).removeprefix("torch.")
                return keras.KerasTensor(shape, dtype=self.compute_dtype if "float" in kind else kind)

            return keras.tree.map_structure(spec, one, two)

        def call(self, *args: Any, **kwargs: Any) -> Any:
            """What the user's module answers."""
            import torch

            plain = {name: value for name, value in kwargs.items() if name not in ("training", "mask")}
            given_tensors = keras.tree.map_structure(_tensor, (args, plain))
            if _own(self)["filled"] is None:
                shapes = [(name, tuple(variable.shape)) for name, variable in _own(self)["held"]]
                _own(self)["filled"] = custom_torch.fill(_own(self)["module"], shapes, self.name)
            state = {}
            for name, each in _own(self)["filled"].items():
                tensor = _tensor(_own(self)["held"][each.weight][1])
                state[name] = tensor if each.axes is None else tensor.permute(each.axes)
            answer = torch.func.functional_call(_module(self), state, *given_tensors)
            if keras.backend.backend() == "torch":
                return answer
            return keras.tree.map_structure(lambda x: keras.ops.convert_to_tensor(x.detach().numpy()), answer)

    StandIn.__name__ = StandIn.__qualname__ = class_name
    setattr(StandIn, GIVEN, (key, given))
    return StandIn


def _own(layer: Any) -> dict[str, Any]:
    """What Keras's tracking of attributes does not see: data, module, held, filled."""
    found: dict[str, Any] = vars(layer)
    return found


def _tensor(value: Any) -> Any:
    """A tensor of PyTorch, of one of Keras's."""
    import keras
    import torch

    plain = getattr(value, "value", value)
    if isinstance(plain, torch.Tensor):
        return plain
    if not hasattr(plain, "shape"):
        return plain
    return torch.from_numpy(np.array(keras.ops.convert_to_numpy(plain)))


def _asked(layer: Any, args: Any, kwargs: Mapping[str, Any], lengths: Sequence[int]) -> Any:
    """What the module of a layer answers to zeros; axes of unknown length have these."""
    import keras
    import torch

    def zeros(x: Any) -> Any:
        if not isinstance(x, keras.KerasTensor):
            return x
        shape = [lengths[min(i, len(lengths) - 1)] if n is None else n for i, n in enumerate(x.shape)]
        return torch.zeros(shape, dtype=getattr(torch, x.dtype))

    plain = {name: value for name, value in kwargs.items() if name not in ("training", "mask")}
    given, named = keras.tree.map_structure(zeros, (args, plain))
    with torch.no_grad():
        return _module(layer)(*given, **named)


def _module(layer: Any) -> Any:
    """The user's module in the dtype that its layer computes in."""
    import torch

    return vars(layer)["module"].to(getattr(torch, str(layer.compute_dtype)))


def hold_all(file: Any, model: Any) -> None:
    """Hand every layer that stands in its weights from a file in Keras 3's own layout."""
    for path, layer in _places(model, ""):
        if hasattr(type(layer), "kconvert_given") and path in file:
            layer.hold(list(_below(file[path], "")))


def _places(model: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Each layer of a model with its group in the file: by its class, numbered, as Keras saves lists of layers."""
    used: dict[str, int] = {}
    for layer in model.layers:
        name = re.sub(r"\W+", "", type(layer).__name__)
        name = re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)).lower()
        used[name] = used.get(name, -1) + 1
        path = f"{prefix}layers/{name}" + (f"_{used[name]}" if used[name] else "")
        yield path, layer
        if hasattr(layer, "layers"):
            yield from _places(layer, f"{path}/")


def _below(group: Any, path: str) -> Iterator[tuple[str, np.ndarray]]:
    """The datasets below a group with their paths, its own first."""
    names = sorted(group, key=lambda n: (n != "vars", [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", n)]))
    for name in names:
        each = group[name]
        inner = f"{path}/{name}" if path else name
        if hasattr(each, "shape"):
            yield inner, array_of(each)
        else:
            yield from _below(each, inner)
