"""The rows of ops/ as the reading of files asks for them; a Keras file is looked into before any framework is there."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from converter.files.nodes import Known
from converter.files.preview import Preview
from converter.files.preview import preview as read
from converter.ops import base


class OpsRows:
    """What of Keras has a row, and what its row refuses."""

    def layer(self, name: str) -> bool:
        return name in base.KERAS_LAYERS or name in base.KERAS_OPENED or name == "InputLayer"

    def operation(self, name: str) -> bool:
        return name in base.KERAS_OPERATIONS

    def activation(self, name: str) -> bool:
        return name in base.KERAS_ACTIVATIONS

    def takes(self, name: str, argument: str) -> bool:
        return base.takes(name, argument)

    def refusal(self, kind: str, name: str, config: Mapping[str, Any], args: Sequence[Any]) -> tuple[str, str] | None:
        """(why, what to do); options that are not what Keras writes are left to Keras, which refuses them."""
        vet = base.VETS.get((kind, name))
        try:
            found = vet(config.get, _given(list(args))) if vet is not None else None
        except (TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError):
            return None
        return None if found is None else (found.why, found.todo)


def _given(value: Any) -> Any:
    if isinstance(value, list):
        return [_given(entry) for entry in value]
    return base.Given(value.shape, value.dtype) if isinstance(value, Known) else value


def preview(path: str | os.PathLike[str], custom: Mapping[str, Any] | None = None, trust: bool = False) -> Preview:
    """A Keras file as data; raises Unsupported with all that has no mapping, and BadInput for what cannot be read."""
    return read(path, OpsRows(), custom, trust)
