"""The allow-list for what a Keras configuration may name, checked before Keras builds anything.

Nothing is imported by a name from the file: a name must be one of Keras's public classes, or one that the user passed.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

from converter.errors import BadInput
from converter.files.keras_dialects import HARD_SIGMOID_V2
from converter.files.repairs import Reading

Json = Any
CONTAINERS = frozenset({"Functional", "Model", "Sequential"})
NEVER = {
    "Lambda": "it holds Python code, which is never run.",
    "TorchModuleWrapper": "it holds a pickled module, which is never loaded.",
    "TFSMLayer": "it loads another file by its path.",
    "JaxLayer": "it holds code, which is never run.",
    "FlaxLayer": "it holds code, which is never run.",
}
ROOTS = frozenset({"keras", "tf_keras", "builtins", "tensorflow"})
DATA = frozenset({"__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__"})
POLICIES = frozenset({"DTypePolicy", "FloatDTypePolicy", "Policy", "PolicyV1"})
WHOLE = frozenset({"bool", "string", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))})
DTYPES = WHOLE | {"float16", "bfloat16", "float32", "float64", "mixed_float16", "mixed_bfloat16"}
# Layers that keras.applications bring along without a public name.
APPLICATIONS = {
    "LayerScale": "keras.src.applications.convnext",
    "StochasticDepth": "keras.src.applications.convnext",
    "CustomScaleLayer": "keras.src.applications.inception_resnet_v2",
}
PATHS = frozenset({"vocabulary", "idf_weights", "filepath", "file", "path", "bin_boundaries"})
LARGEST = 1 << 31
OPERATIONS = "keras.src.ops"
"""Where Keras keeps the operations of keras.ops; they have no public name of their own."""


def root_of(module: Any) -> str | None:
    return module.split(".", 1)[0] if isinstance(module, str) else None


ADVICE = "Replace it by layers that have a mapping; `python -m converter.support` lists them."


class Vetting:
    """What may be named: Keras's public namespaces, the user's own classes, the rows of the converter."""

    def __init__(self, reading: Reading, allowed: Callable[[str], bool], custom: Mapping[str, Any]) -> None:
        import keras

        self.keras = keras
        self.reading = reading
        self.allowed = allowed
        self.custom = custom

    def layer_class(self, layer: dict[str, Any], where: str) -> bool:
        """Settle the class of a layer: `module` and `registered_name` are set from what we know, not from the file."""
        name, module = layer["class_name"], layer.get("module")
        registered = layer.get("registered_name")
        short = [key.rsplit(">", 1)[-1] for key in (registered, name) if isinstance(key, str) and ">" in key]
        for key in (registered, name, *short):
            if isinstance(key, str) and key in self.custom:
                layer.update(module=None, class_name=key, registered_name=key)
                return True
        if name in NEVER:
            layer_name = where.rsplit("/", 1)[-1]
            if name == "Lambda" and layer_name in self.custom:
                layer.update(module=None, class_name=layer_name, registered_name=layer_name)
                layer["config"] = {key: layer["config"][key] for key in ("name",) if key in layer["config"]}
                return True
            todo = "Replace it by a layer of its own."
            if name == "Lambda":
                todo = "Replace it by a layer that has a mapping: code in a file is never run."
            self.reading.refuse(where, name, NEVER[name], todo)
            return False
        if module is not None and root_of(module) not in ROOTS:
            self.reading.refuse(where, name, f"it comes from {module!r}, which is never imported.", ADVICE)
            return False
        if isinstance(module, str) and module.startswith((OPERATIONS, "keras.ops")):
            home = self._operation(name) if self.allowed(f"keras.ops.{name}") else None
            if home is not None:
                layer.update(module=home, registered_name=None)
                return True
            self.reading.refuse(where, f"keras.ops {name}", "this operation has no mapping.", "Use a Keras layer.")
            return False
        cls = getattr(self.keras.layers, name, None) if name.isidentifier() else None
        if not isinstance(cls, type):
            own = name.removeprefix("Custom>")  # tf.keras registered its applications' layers like a user's
            if own in APPLICATIONS and self.allowed(own):
                layer.update(class_name=own, module=APPLICATIONS[own], registered_name=None)
                return True
            self.reading.refuse(where, name, "Keras has no layer of this name.", ADVICE)
            return False
        if not self.allowed(name):
            self.reading.refuse(where, name, "this layer has no mapping yet.", ADVICE)
            return False
        layer.update(module="keras.layers", registered_name=None)
        self._options(cls, layer, where)
        return True

    def _operation(self, name: str) -> str | None:
        """Where Keras keeps the operation of this name; it is among the modules that `import keras` has loaded."""
        for part in ("numpy", "nn", "math", "core", "linalg", "image"):
            home = f"{OPERATIONS}.{part}"
            found = getattr(sys.modules.get(home), name, None)
            if isinstance(found, type) and issubclass(found, self.keras.Operation) and found.__module__ == home:
                return home
        return None

    def _options(self, cls: type, layer: dict[str, Any], where: str) -> None:
        """Options that the class does not take: left out where they say nothing, refused otherwise."""
        known = accepted_options(cls)
        if known is None:
            return
        for key in sorted(set(layer["config"]) - known):
            value = layer["config"].pop(key)
            if value is None or value is False:
                self.reading.log("unknown-option", where, f"left out {key}={value!r}, which this Keras does not have")
            else:
                why = f"the option {key}={value!r:.80} is not known to this Keras."
                self.reading.refuse(where, layer["class_name"], why)

    def option(self, key: str, value: Json, where: str, class_name: str) -> Json:
        """The value of one option of a layer, in the form of Keras 3 and safe to build."""
        if key == "dtype" or key.endswith("_dtype"):
            return self.dtype(value, where, class_name)
        if key in PATHS and isinstance(value, str):
            why = f"{key}={value!r:.80} is the path of another file, which is never read."
            self.reading.refuse(where, class_name, why)
            return None
        if key == "activation" or key.endswith("_activation"):
            return self.activation(value, where, class_name)
        for suffix in ("initializer", "regularizer", "constraint"):
            if key == suffix or key.endswith("_" + suffix):
                return self.helper(suffix, key, value, where)
        return value

    def dtype(self, value: Json, where: str, class_name: str) -> Json:
        """A dtype or policy by its name."""
        if isinstance(value, dict) and value.get("class_name") in POLICIES:
            inner = value.get("config")
            value = inner.get("name") if isinstance(inner, dict) else None
            if value == "_infer":
                value = "float32"
        if value is None or (isinstance(value, str) and value in DTYPES):
            return value
        self.reading.refuse(where, class_name, f"dtype={value!r:.80} has no mapping (quantised models are not read).")
        return None

    def activation(self, value: Json, where: str, class_name: str) -> Json:
        """An activation by its name; a function must be one of Keras's or the user's."""
        if value is None:
            return None
        name = value
        if isinstance(value, dict):
            name = value.get("config") if value.get("class_name") == "function" else value.get("class_name")
            inner = value.get("config")
            if isinstance(inner, dict) and isinstance(name, str) and hasattr(self.keras.layers, name):
                return value  # a layer that serves as an activation is vetted as a layer
        if not isinstance(name, str):
            self.reading.refuse(where, class_name, f"the activation {value!r:.80} is no name.")
            return None
        if name == HARD_SIGMOID_V2 or name in self.custom:
            return {"module": "builtins", "class_name": "function", "config": name, "registered_name": "function"}
        try:
            self.keras.activations.get(name)
        except ValueError:
            self.reading.refuse(where, f"activation {name}", "Keras has no activation of this name.", ADVICE)
            return None
        return name

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

    def sizes(self, config: Json, where: str, numbers: int) -> None:
        """A whole number that no model has is refused before Keras sees it."""
        stack = [("", config)]
        while stack:
            key, value = stack.pop()
            if isinstance(value, dict):
                stack.extend((str(k), v) for k, v in value.items() if "seed" not in str(k) and k != "shared_object_id")
            elif isinstance(value, list):
                stack.extend((key, v) for v in value)
            elif isinstance(value, int) and abs(value) >= LARGEST:
                raise BadInput(
                    f"Layer {where!r} claims {key}={value}. Expected a size below {LARGEST}; the file holds "
                    f"{numbers} numbers in all. The configuration is damaged or was not made by Keras."
                )


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
