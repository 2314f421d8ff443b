"""A Keras model built from a record's configuration, which goes through the allow-list like that of any file."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

from converter.errors import BadInput
from converter.files.config_tree import ConfigTree
from converter.files.keras_build import build_model
from converter.files.keras_files import major_of
from converter.files.repairs import Reading
from converter.files.vetting import ByName
from converter.files.vetting_keras import KerasVetting


def build(config: Any, version: str, allowed: Callable[[str], bool], numbers: int) -> tuple[Any, dict[str, Any]]:
    """The model with weights of zeros, and its configuration as it was vetted.

    Raises BadInput for what is no configuration, or claims more than `numbers` in its weights, before any is made;
    Unsupported with every class that the allow-list does not know.
    """
    reading = Reading(major_of(version, 3), version)
    try:
        tree = ConfigTree(reading, KerasVetting(reading, ByName(allowed), {}), None, numbers)
        vetted = tree.model(config)
    except RecursionError as error:
        raise BadInput("the record's configuration is nested too deeply; Keras did not make it.") from error

    def check(model: Any) -> None:
        claimed = sum(math.prod(variable.shape) for variable in model.weights)
        if claimed > numbers:
            raise BadInput(f"the record claims {claimed:,} numbers in its weights, and the model has {numbers:,}.")

    named = dict(vetted, config=dict(vetted["config"])) if isinstance(vetted["config"], dict) else dict(vetted)
    own = config["config"].get("name") if isinstance(config["config"], dict) else None
    if isinstance(own, str) and "/" not in own and isinstance(named["config"], dict):
        named["config"]["name"] = own  # a layer's name has no dots, a model's may
    return build_model(copy.deepcopy(named), {}, check, "the record", trust=False), named
