"""What Keras itself must be asked of a configuration before it builds anything: classes, options, initializers."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from typing import Any

from converter import advice
from converter.files.repairs import Reading
from converter.files.stand_in import HELD, stand_in
from converter.files.vetting import OPERATIONS, Rows, Vetting

Json = Any


class KerasVetting(Vetting):
    """The vetting with Keras at hand: this version's classes and constructors."""

    def __init__(self, reading: Reading, rows: Rows, custom: dict[str, Any], trust: bool = False) -> None:
        import keras

        super().__init__(reading, rows, custom, trust)
        self.keras = keras

    def operation(self, name: str) -> str | None:
        """Where Keras keeps the operation of this name; it is among the modules that `import keras` has loaded."""
        for part in ("numpy", "nn", "math", "core", "linalg", "image"):
            home = f"{OPERATIONS}.{part}"
            found = getattr(sys.modules.get(home), name, None)
            if isinstance(found, type) and issubclass(found, self.keras.Operation) and found.__module__ == home:
                return home
        return None

    def layer_class(self, layer: dict[str, Any], where: str) -> bool:
        """As for all; a class or function of PyTorch gets a layer that stands in, unless Keras knows the class."""
        name, registered = layer["class_name"], layer.get("registered_name")
        if not super().layer_class(layer, where):
            return False
        key = layer["class_name"]
        given = self.custom.get(key) if layer["module"] is None else None
        if given is not None and not (isinstance(given, type) and issubclass(given, self.keras.Operation)):
            known = self.keras.saving.get_registered_object(registered) if isinstance(registered, str) else None
            real = isinstance(known, type) and issubclass(known, self.keras.Operation)
            layer["config"].pop(HELD, None)  # of no file: it would claim weights before their file is read
            short = re.sub(r"\W+", "", name.rsplit(">", 1)[-1]) or "Layer"
            self.custom[key] = known if real else stand_in(key, short, given)
        return True

    def known_layer(self, layer: dict[str, Any], where: str) -> bool:
        """The class is one of keras.layers; options that it does not take are left out where they say nothing."""
        name = layer["class_name"]
        cls = getattr(self.keras.layers, name, None)
        if not isinstance(cls, type):
            self.reading.refuse(where, name, "this version of Keras has no such layer.", "Install a newer Keras.")
            return False
        known = accepted_options(cls)
        for key in sorted(set(layer["config"]) - known) if known is not None else ():
            value = layer["config"].pop(key)
            if value is None or value is False:
                self.reading.log("unknown-option", where, f"left out {key}={value!r}, which this Keras does not have")
            else:
                why = f"the option {key}={value!r:.80} is not known to this Keras."
                self.reading.refuse(where, layer["class_name"], why)
        return True

    def trusted(self, module: str, name: str, key: str, where: str) -> bool:
        """Import what the file names; it is one of the user's own objects then."""
        try:
            found: Any = importlib.import_module(module)
            for part in name.split("."):
                found = getattr(found, part)
        except Exception as error:  # noqa: BLE001  whatever the module raises when it is imported
            why = f"{module}.{name} cannot be imported: {type(error).__name__}: {error}."
            self.reading.refuse(where, name, why, advice.CUSTOM)
            return False
        self.custom[key] = found
        return True

    def known_activation(self, name: str) -> bool:
        """Whether Keras has an activation of this name and it has a row."""
        if not super().known_activation(name):
            return False
        try:
            self.keras.activations.get(name)
        except ValueError:
            return False
        return True

    def helper(self, kind: str, key: str, value: Json, where: str) -> Json:
        """Initializers, regularizers and constraints do not act at inference: what Keras lacks is left out."""
        if value is None:
            return None
        spaces = {
            "initializer": self.keras.initializers,
            "regularizer": self.keras.regularizers,
            "constraint": self.keras.constraints,
        }
        space = spaces[kind]
        try:
            if isinstance(value, str) and value.isidentifier():
                space.get(value)
                return value
            name = value.get("class_name") if isinstance(value, dict) else None
            if isinstance(name, str) and name in self.custom:
                found = {"module": None, "class_name": name, "config": value.get("config") or {}}
                return found | {"registered_name": name}
            inner = value.get("config") if isinstance(value, dict) else None
            public = isinstance(name, str) and name.isidentifier() and isinstance(getattr(space, name, None), type)
            if public and isinstance(inner, dict) and _plain(inner):
                kept = {k: v for k, v in inner.items() if k not in ("dtype", "name")}
                config = {"module": f"keras.{kind}s", "class_name": name, "config": kept, "registered_name": None}
                space.get(dict(config, config=dict(kept)))
                return config
        except (TypeError, ValueError, AttributeError, KeyError):
            pass
        shown = value.get("class_name") if isinstance(value, dict) else value
        self.reading.log(f"unknown-{kind}", where, f"left out {key}={shown!r:.60}, which this Keras does not have")
        return "zeros" if kind == "initializer" else None


def accepted_options(cls: Any) -> set[str] | None:
    """What a class's constructor takes by name; None where it reads its configuration its own way."""
    names: set[str] = set()
    own = cls.__dict__.get("from_config")
    for base in cls.__mro__:
        if own is None and "from_config" in base.__dict__ and base.__name__ not in ("Operation", "Layer"):
            own = base.__dict__["from_config"]
        if "__init__" not in base.__dict__ or base is object:
            continue
        parameters = inspect.signature(base.__dict__["__init__"]).parameters.values()
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
        if base.__name__ == "Layer":
            break
    return None if own is not None else names | {"name", "trainable", "dtype"}


def _plain(value: Json) -> bool:
    """Numbers, words and lists of them."""
    if isinstance(value, dict):
        return "class_name" not in value and all(_plain(entry) for entry in value.values())
    if isinstance(value, list):
        return all(_plain(entry) for entry in value)
    return value is None or isinstance(value, (bool, int, float, str))
