"""The allow-list for what a Keras configuration may name, as data: no framework is asked.

Nothing is imported by a name from the file: a name must be one that has a row, or one that the user passed. What Keras
itself must be asked before it builds anything (which options a constructor takes) is asked by vetting_keras.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from converter import advice
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
AUGMENTS = frozenset({"AugMix", "AutoContrast", "CenterCrop", "CutMix", "Equalization", "MixUp", "RandAugment"}) | {
    "Resizing",
    "Solarization",
}
"""Layers whose own call has training=True as its default, as those have whose names begin with Random."""
NO_ROW = "there is no mapping for this class."


class Rows(Protocol):
    """What of Keras has a mapping, and what of that is refused by its options."""

    def layer(self, name: str) -> bool: ...
    def operation(self, name: str) -> bool: ...
    def activation(self, name: str) -> bool: ...
    def takes(self, name: str, argument: str) -> bool: ...
    def refusal(self, kind: str, name: str, config: Mapping[str, Any], args: Sequence[Any]) -> tuple[str, str] | None:
        """(why, what to do) for a 'layer' or an 'operation' that cannot be converted with these options."""


def root_of(module: Any) -> str | None:
    return module.split(".", 1)[0] if isinstance(module, str) else None


class Vetting:
    """What may be named: the rows of the converter and the user's own classes."""

    def __init__(self, reading: Reading, rows: Rows, custom: dict[str, Any], trust: bool = False) -> None:
        self.reading = reading
        self.rows = rows
        self.custom = custom
        self.trust = trust
        """Code in the file may be run, and what it names be imported: the user vouches for it."""

    def trusted(self, module: str, name: str, key: str, where: str) -> bool:
        """Make an object of the user's own known under `key`; False, and a refusal, where it is not there."""
        self.custom.setdefault(key, None)
        return True

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
            given = layer_name if layer_name in self.custom else "<lambda>"
            if name == "Lambda" and given in self.custom:
                self._given_function(layer, given)
                return True
            if name == "Lambda" and self.trust:
                layer.update(module="keras.layers", registered_name=None)
                return True
            self.reading.refuse(where, name, NEVER[name], advice.KERAS.get(name, "Replace it by a layer of its own."))
            return False
        if module is not None and root_of(module) not in ROOTS:
            key = registered if isinstance(registered, str) and registered else name
            if self.trust:
                layer.update(module=None, class_name=key, registered_name=key)
                return self.trusted(module, name, key, where)
            why = f"it comes from {module!r}, which is not imported by itself."
            self.reading.refuse(where, name, why, advice.CUSTOM)
            return False
        if self._is_operation(layer):
            home = self.operation(name)
            if home is None or not self.rows.operation(name):
                self.reading.refuse(where, name, NO_ROW, advice.of(name))
            layer.update(module=home or OPERATIONS, registered_name=None)
            return home is not None
        own = name.removeprefix("Custom>")  # tf.keras registered its applications' layers like a user's
        if own in APPLICATIONS and self.rows.layer(own):
            layer.update(class_name=own, module=APPLICATIONS[own], registered_name=None)
            return True
        if not name.isidentifier() or not self.rows.layer(name):
            self.reading.refuse(where, name.rsplit(">", 1)[-1], NO_ROW, advice.of(name))
            return False
        layer.update(module="keras.layers", registered_name=None)
        return self.known_layer(layer, where)

    def _given_function(self, layer: dict[str, Any], given: str) -> None:
        """A Lambda layer around what the user gave for it: a function, or a layer class of that name."""
        kept = {key: layer["config"][key] for key in ("name",) if key in layer["config"]}
        if isinstance(self.custom[given], type):
            layer.update(module=None, class_name=given, registered_name=given, config=kept)
            return
        function = {"module": "builtins", "class_name": "function", "config": given, "registered_name": "function"}
        kept |= {key: layer["config"][key] for key in ("arguments", "output_shape") if layer["config"].get(key)}
        layer.update(module="keras.layers", registered_name=None, config={**kept, "function": function})

    def _is_operation(self, layer: dict[str, Any]) -> bool:
        """Whether an entry is an operation of keras.ops; an .h5 of Keras 3 does not tell, but every layer's config."""
        name, module = layer["class_name"], layer.get("module")
        if module is None:
            return self.reading.major >= 3 and name != "InputLayer" and "trainable" not in layer["config"]
        return isinstance(module, str) and module.startswith((OPERATIONS, "keras.ops"))

    def operation(self, name: str) -> str | None:
        """Where Keras keeps the operation of this name."""
        return OPERATIONS

    def known_layer(self, layer: dict[str, Any], where: str) -> bool:
        """Whether this Keras has the class; options that it does not take are settled."""
        return True

    def known_activation(self, name: str) -> bool:
        """Whether there is an activation of this name."""
        return name in ("linear", "hard_swish", "swish") or self.rows.activation(name)

    def refusals(self, layer: dict[str, Any], calls: Sequence[Mapping[str, Any]], where: str) -> None:
        """What the row of a layer refuses by its options, and by the arguments of its calls where they are known."""
        kind = "operation" if str(layer["module"]).startswith(OPERATIONS) else "layer"
        if layer["module"] is None:
            return
        name = layer["class_name"]
        for call in calls or [{}]:
            if kind == "layer" and call.get("training") is True and not _augments(name):
                self.reading.refuse(where, name, advice.TRAINING, advice.NO_TRAINING)
            for key in call.get("tensors", ()):
                if kind == "layer" and not self.rows.takes(name, key):
                    why = f"it is called with {key}=a tensor, which has no mapping."
                    self.reading.refuse(where, name, why)
            args = call.get("args", ())
            found = self.rows.refusal(kind, name, layer["config"], args)
            if found is not None:
                self.reading.refuse(where, name, *found)

    def option(self, key: str, value: Json, where: str, class_name: str) -> Json:
        """The value of one option of a layer, in the form of Keras 3 and safe to build."""
        if key == "dtype" or key.endswith("_dtype"):
            return self.dtype(value, where, class_name)
        if key in PATHS and isinstance(value, str):
            why = f"{key}={value!r:.80} is the path of another file, which is never read."
            self.reading.refuse(where, class_name, why)
            return None
        if key in ("lora_rank", "quantization_config"):
            if value is not None:
                self.reading.refuse(where, class_name, advice.QUANTISED, advice.PLAIN)
            return None
        if key == "activation" or key.endswith("_activation"):
            return self.activation(value, where, class_name)
        for suffix in ("initializer", "regularizer", "constraint"):
            if key == suffix or key.endswith("_" + suffix):
                return self.helper(suffix, key, value, where)
        return value

    def dtype(self, value: Json, where: str, class_name: str) -> Json:
        """A dtype or policy by its name."""
        given = value
        if isinstance(value, dict) and str(value.get("class_name")) in POLICIES:
            inner = value.get("config")
            value = inner.get("name") if isinstance(inner, dict) else None
            if value == "_infer":
                value = "float32"
        if value is None or (isinstance(value, str) and value in DTYPES):
            return value
        quantised = isinstance(given, dict) and "Quantized" in str(given.get("class_name"))
        if quantised:
            self.reading.refuse(where, class_name, advice.QUANTISED, advice.PLAIN)
        else:
            self.reading.refuse(where, class_name, f"dtype={given!r:.80} has no mapping.", "Use a float dtype.")
        return None

    def activation(self, value: Json, where: str, class_name: str) -> Json:
        """An activation by its name; a function must be one of Keras's or the user's."""
        if value is None:
            return None
        name = value
        if isinstance(value, dict):
            name = value.get("config") if value.get("class_name") == "function" else value.get("class_name")
            module = value.get("module")
            own = value.get("class_name") == "function" and root_of(module) not in (None, *ROOTS)
            if own and self.trust and isinstance(name, str) and name not in self.custom:
                self.trusted(str(module), name, name, where)
            inner = value.get("config")
            if isinstance(inner, dict) and isinstance(name, str):
                return value  # a layer that serves as an activation is vetted as a layer
        if not isinstance(name, str):
            why = f"its activation is code of its own ({value!r:.60}), which is never run."
            self.reading.refuse(where, class_name, why, "Use a named activation, or layers behind it.")
            return None
        if name == HARD_SIGMOID_V2 or name in self.custom:
            return {"module": "builtins", "class_name": "function", "config": name, "registered_name": "function"}
        if not self.known_activation(name):
            todo = advice.KERAS.get(name, advice.CUSTOM)
            self.reading.refuse(where, class_name, f"the activation {name!r} has no mapping.", todo)
            return None
        return name

    def helper(self, kind: str, key: str, value: Json, where: str) -> Json:
        """Initializers, regularizers and constraints do not act at inference: Keras alone knows which it has."""
        return value

    def sizes(self, config: Json, where: str, numbers: int | None) -> None:
        """A whole number that no model has is refused before Keras sees it."""
        stack = [("", config)]
        while stack:
            key, value = stack.pop()
            if isinstance(value, dict):
                stack.extend((str(k), v) for k, v in value.items() if "seed" not in str(k) and k != "shared_object_id")
            elif isinstance(value, list):
                stack.extend((key, v) for v in value)
            elif isinstance(value, int) and abs(value) >= LARGEST:
                held = "" if numbers is None else f"; the file holds {numbers} numbers in all"
                raise BadInput(
                    f"Layer {where!r} claims {key}={value}. Expected a size below {LARGEST}{held}. "
                    "The configuration is damaged or was not made by Keras."
                )


class ByName:
    """Rows of which no more is known than whether a name is allowed; operations are called 'keras.ops.Add'."""

    def __init__(self, allowed: Callable[[str], bool]) -> None:
        self.layer = allowed
        self.operation = lambda name: allowed(f"keras.ops.{name}")

    def activation(self, name: str) -> bool:
        return True

    def takes(self, name: str, argument: str) -> bool:
        return True

    def refusal(self, kind: str, name: str, config: Mapping[str, Any], args: Sequence[Any]) -> tuple[str, str] | None:
        return None


def _augments(name: str) -> bool:
    return name in AUGMENTS or name.startswith("Random")
