"""A model's configuration, of whatever dialect, brought into the form of Keras 3: repaired, renamed, vetted.

The walk goes over every layer, nested models and wrapped layers included, and collects all that cannot be read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from converter import advice
from converter.errors import BadInput, Unsupported
from converter.files import repairs, repairs_keras1, tf_ops
from converter.files.keras_dialects import HARD_SIGMOID_V2
from converter.files.nodes import Calls, arguments, is_leaf, parse_calls, references, rename_leaves, write_calls
from converter.files.repairs import Layer, Reading
from converter.files.vetting import CONTAINERS, DATA, NEVER, OPERATIONS, ROOTS, Vetting, root_of

Json = Any
TABLE = (*repairs_keras1.ROWS, *repairs.ROWS)
DEEPEST = 40
NO_CALLS: Calls = {"keras3": []}


class ConfigTree:
    """Brings one model configuration into the form of Keras 3, in place of what the file says."""

    def __init__(self, reading: Reading, vetting: Vetting, dtype: str | None, numbers: int | None) -> None:
        self.reading = reading
        self.vetting = vetting
        self.dtype = dtype
        self.numbers = numbers

    def model(self, config: Json) -> Layer:
        """The whole model; raises Unsupported with everything that has no mapping."""
        layer = self._shape_of_layer(config, "the model")
        name = layer["config"].get("name") if isinstance(layer["config"], dict) else None
        result = self._layer(layer, str(name or "model"), "", "", 0, top=True)
        if self.reading.items:
            raise Unsupported(self.reading.items)
        return result

    def _shape_of_layer(self, value: Json, where: str) -> Layer:
        if not isinstance(value, dict) or not isinstance(value.get("class_name"), str) or "config" not in value:
            raise BadInput(
                f"{where}: expected a layer with 'class_name' and 'config', received {value!r:.100}. "
                "The configuration is damaged or was not made by Keras."
            )
        kinds = (dict, list) if value["class_name"] == "Sequential" else dict
        if not isinstance(value["config"], kinds):
            raise BadInput(
                f"{where}: expected the configuration of {value['class_name']} as a dict, not {value['config']!r:.100}."
            )
        for key in ("module", "registered_name"):
            if not isinstance(value.get(key), str | None):
                raise BadInput(f"{where}: expected a name as {key}, received {value[key]!r:.100}.")
        return dict(value, config=value["config"])

    def _layer(
        self, layer: Layer, where: str, old: str, new: str, depth: int, top: bool = False, calls: Calls = NO_CALLS
    ) -> Layer:
        """One layer or nested model; `old` and `new` are the paths of what holds it, in the file and in Keras."""
        if depth > DEEPEST:
            raise BadInput(f"Layer {where!r}: models are nested deeper than {DEEPEST}; Keras did not make this file.")
        named = layer["class_name"] in self.vetting.custom or layer.get("registered_name") in self.vetting.custom
        if layer["class_name"] in CONTAINERS and not named:
            return self._container(layer, where, old, new, depth, top)
        config = dict(layer["config"])
        layer = dict(layer, config=config)
        self.vetting.sizes(config, where, self.numbers)
        repairs.repair_layer(layer, self.reading, where, TABLE)
        if layer["class_name"] in tf_ops.CLASSES:
            if not any(item.where == where for item in self.reading.items):
                self.reading.refuse(where, layer["class_name"], "it is no layer of a functional model of Keras 2.")
            return layer
        if not self.vetting.layer_class(layer, where):
            return layer
        if layer["class_name"] == "Lambda":  # the user vouches for its code, or gave its function
            return {key: layer[key] for key in ("module", "class_name", "config", "registered_name")}
        config = layer["config"]
        for key in list(config):
            config[key] = self._option(key, config[key], layer["class_name"], where, depth)
        self.vetting.refusals(layer, arguments(calls), where)
        self._set_dtype(layer)
        kept = ("module", "class_name", "config", "registered_name")
        result = {key: layer[key] for key in kept}
        if layer["module"] is None and "build_config" in layer:
            result["build_config"] = self._value(layer["build_config"], where, depth)
        return result

    def _option(self, key: str, value: Json, class_name: str, where: str, depth: int) -> Json:
        """One option; objects inside it are layers, data, or refused."""
        value = self.vetting.option(key, value, where, class_name)
        return value if _is_settled(key) else self._value(value, where, depth)

    def _value(self, value: Json, where: str, depth: int) -> Json:
        if depth > DEEPEST:
            raise BadInput(f"Layer {where!r}: its options are nested deeper than {DEEPEST}.")
        if isinstance(value, list):
            return [self._value(entry, where, depth + 1) for entry in value]
        if not isinstance(value, dict):
            return value
        name = value.get("class_name")
        if not isinstance(name, str):
            return {key: self._value(entry, where, depth + 1) for key, entry in value.items()}
        if name in DATA:
            return {key: self._value(entry, where, depth + 1) for key, entry in value.items() if key != "module"}
        known = value.get("config")
        if name == "function" and isinstance(known, str) and (known == HARD_SIGMOID_V2 or known in self.vetting.custom):
            return value
        if name.startswith("__") or name == "function":
            self.reading.refuse(where, name, f"a function in an option ({value.get('config')!r:.60}) is never loaded.")
            return None
        if name in NEVER or root_of(value.get("module", "keras")) in ROOTS or name in self.vetting.custom:
            return self._wrapped(value, where, depth)
        if self.vetting.trust and isinstance(known, dict):
            return self._wrapped(value, where, depth)
        inner = f"{where}/{name}" if isinstance(known, dict) else where
        why = f"it comes from {value.get('module')!r}, which is not imported by itself."
        self.reading.refuse(inner, name, why, advice.CUSTOM)
        return None

    def _wrapped(self, value: Layer, where: str, depth: int) -> Json:
        """A layer inside an option of another one (wrappers, cells)."""
        inner = self._shape_of_layer(value, where)
        if isinstance(inner["config"], dict) and isinstance(inner["config"].get("name"), str):
            name = keras_name(inner["config"]["name"])
            inner["config"] = dict(inner["config"], name=name)
        return self._layer(inner, f"{where}/{inner['class_name']}", where, where, depth + 1)

    def _set_dtype(self, layer: Layer) -> None:
        config = layer["config"]
        custom = layer["module"] is None
        if str(layer["module"]).startswith(OPERATIONS):
            if self.dtype is not None and config.get("dtype"):
                config["dtype"] = other_dtype(config["dtype"], self.dtype)
            return  # operations compute in the dtype of what they are given
        if not config.get("dtype") and self.reading.major < 3 and not custom:
            config["dtype"] = "float32"
        if self.dtype is not None and (not custom or "dtype" in config):
            config["dtype"] = other_dtype(config.get("dtype"), self.dtype)

    def _container(self, layer: Layer, where: str, old: str, new: str, depth: int, top: bool) -> Layer:
        """A model: its layers, under names that Keras accepts, and the calls that connect them."""
        config = layer["config"]
        if isinstance(config, list):
            config = {"name": layer.get("name") or "sequential", "layers": config}
            self.reading.log("sequential-list", where, "the list of layers is now a configuration with a name")
        if not isinstance(config.get("layers"), list):
            why = "it is a subclassed model, which the file does not describe."
            self.reading.refuse(where, layer["class_name"], why, "Replace it by layers that have a mapping.")
            return layer
        config = dict(config)
        own_name = config.get("name") if isinstance(config.get("name"), str) else "model"
        config["name"] = keras_name(str(own_name))
        layers = [self._shape_of_layer(entry, where) for entry in config["layers"]]
        if layer["class_name"] == "Sequential":
            layers = self._with_input(layers, config, where)
        table = self._rename(layers, where, old, new)
        parts = []
        for entry in layers:
            file_name = entry["name"]
            path = file_name if top else f"{where}/{file_name}"
            entry_old, entry_new = _join(old, file_name), _join(new, table[file_name])
            parts.append(self._part(entry, path, entry_old, entry_new, depth, table))
        config["layers"] = parts
        self._reset_names(config, parts, layers, table)
        if layer["class_name"] == "Sequential":
            for part in parts:
                del part["calls"]
            return _keras("Sequential", config, "name", "trainable", "layers", "build_input_shape")
        self._connect(config, parts, layers, table, where)
        return _keras("Model", config, "name", "trainable", "layers", "input_layers", "output_layers")

    def _part(self, entry: Layer, path: str, old: str, new: str, depth: int, table: dict[str, str]) -> Layer:
        """One layer of a model together with its calls."""
        calls = parse_calls(entry.get("inbound_nodes", []), path)
        if entry["class_name"] in tf_ops.CLASSES and isinstance(calls, list):
            entry = dict(entry, config=dict(entry["config"]))
            tf_ops.rewrite(entry, calls, self.reading, path)
        result = self._layer(entry, path, old, new, depth + 1, calls=calls)
        result["calls"] = calls
        return result

    def _reset_names(self, config: Json, parts: list[Layer], layers: list[Layer], table: dict[str, str]) -> None:
        for part, entry in zip(parts, layers, strict=True):
            part["name"] = table[entry["name"]]
            if isinstance(part["config"], dict):
                part["config"]["name"] = part["name"]

    def _connect(
        self, config: Json, parts: list[Layer], layers: list[Layer], table: dict[str, str], where: str
    ) -> None:
        """Write the calls in the form of Keras 3, under the new names."""
        containers = {part["name"]: part["class_name"] for part in parts if part["class_name"] in CONTAINERS}
        every = [part.pop("calls") for part in parts]
        for key in ("input_layers", "output_layers"):
            if key not in config:
                raise BadInput(f"Model {where!r}: its configuration has no {key!r}; it is damaged.")
        old_style = any(isinstance(calls, list) and calls for calls in every) or self.reading.major < 3
        ends = [config["input_layers"], config["output_layers"]]
        shifts: dict[str, int] = {}
        if old_style:
            shifts = self._shifts(every, ends, layers, containers, table)
        for part, calls in zip(parts, every, strict=True):
            written = write_calls(calls, table, shifts, part["name"])
            part["inbound_nodes"] = self._value(written, part["name"], 0)
        for key, value in zip(("input_layers", "output_layers"), ends, strict=True):
            moves = {}
            if old_style:
                moves = {n: (1 if c != "Sequential" else 0) - shifts.get(n, 0) for n, c in containers.items()}
            value = rename_leaves(value, table, moves)
            if old_style and isinstance(value, list) and len(value) == 1 and is_leaf(value[0]):
                value = value[0]
            config[key] = value

    def _shifts(
        self, every: Sequence[Calls], ends: Json, layers: list[Layer], containers: dict[str, str], table: dict[str, str]
    ) -> dict[str, int]:
        """Old files count the calls of a nested model from 1 where it was built from inputs of its own."""
        shifts = {}
        used = references([*every, *ends])
        for entry, calls in zip(layers, every, strict=True):
            name = table[entry["name"]]
            if name in containers and isinstance(calls, list):
                last = max((node for layer, node in used if layer == entry["name"]), default=len(calls) - 1)
                shifts[name] = 1 if last >= len(calls) else 0
        return shifts

    def _rename(self, layers: list[Layer], where: str, old: str, new: str) -> dict[str, str]:
        """File name -> Keras name for the layers of one model; '/' and '.' cannot be built."""
        table: dict[str, str] = {}
        taken: set[str] = set()
        for entry in layers:
            inner = entry["config"].get("name") if isinstance(entry["config"], dict) else None
            name = entry.get("name", inner)
            if not isinstance(name, str):
                raise BadInput(f"Model {where!r}: a layer of class {entry['class_name']} has no name but {name!r:.60}.")
            entry["name"] = name
            if name in table:
                raise BadInput(f"Model {where!r}: two layers are named {name!r}. Expected names that differ.")
            table[name] = name if keras_name(name) == name else ""
            taken |= {name} if table[name] else set()
        for name in table:
            if not table[name]:
                table[name] = _free(keras_name(name), taken)
                taken.add(table[name])
                self.reading.log("layer-name", _join(old, name), f"the layer is named {table[name]!r} in Keras")
            if _join(new, table[name]) != _join(old, name):
                self.reading.names[_join(new, table[name])] = _join(old, name)
        return table

    def _with_input(self, layers: list[Layer], config: Json, where: str) -> list[Layer]:
        """Old Sequential models tell their input's shape in their first layer."""
        if not layers or layers[0]["class_name"] == "InputLayer":
            return layers
        shape = _input_shape(layers[0]) or config.get("build_input_shape")
        if not isinstance(shape, list) or not all(size is None or isinstance(size, int) for size in shape):
            return layers
        first = layers[0]
        inner = first["config"] if isinstance(first["config"], dict) else {}
        name = f"{first.get('name') or inner.get('name') or 'sequential'}_input"
        used = {entry["config"].get("name") for entry in layers if isinstance(entry["config"], dict)}
        while name in used:
            name += "_"
        dtype = inner.get("input_dtype") or inner.get("dtype") or "float32"
        dtype = dtype if isinstance(dtype, str) and not dtype.startswith("mixed") else "float32"
        entry = {"class_name": "InputLayer", "config": {"batch_shape": shape, "dtype": dtype, "name": name}}
        self.reading.log("sequential-input", where, f"its input, of shape {shape}, is a layer {name!r} of its own")
        return [entry, *layers]


def _input_shape(layer: Layer) -> Json:
    """The shape, with batch, that a first layer says it takes."""
    config = layer["config"]
    if isinstance(config, list):
        return _input_shape(config[0]) if config and isinstance(config[0], dict) and "config" in config[0] else None
    for key in ("batch_input_shape", "batch_shape"):
        if isinstance(config.get(key), list):
            return config[key]
    if layer["class_name"] == "Sequential" and isinstance(config.get("layers"), list) and config["layers"]:
        first = config["layers"][0]
        return config.get("build_input_shape") or (_input_shape(first) if isinstance(first, dict) else None)
    if layer["class_name"] in CONTAINERS and isinstance(config.get("layers"), list):
        inputs = [x for x in config["layers"] if isinstance(x, dict) and x.get("class_name") == "InputLayer"]
        return _input_shape(inputs[0]) if len(inputs) == 1 and isinstance(inputs[0].get("config"), dict) else None
    if isinstance(config.get("layer"), dict) and isinstance(config["layer"].get("config"), dict):
        return _input_shape(config["layer"])
    return None


def keras_name(name: str) -> str:
    """A name that Keras can build on every backend."""
    return re.sub(r"[/.]", "_", name) or "layer"


def other_dtype(old: Json, new: str) -> Json:
    """The dtype for a rebuilt layer: floating policies become `new`, whole numbers stay."""
    if not isinstance(old, str) or old.startswith(("float", "bfloat", "mixed")):
        return new
    return old


def _free(name: str, taken: set[str]) -> str:
    result, number = name, 2
    while result in taken:
        result, number = f"{name}_{number}", number + 1
    return result


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _is_settled(key: str) -> bool:
    """Options that the vetting has already brought into their final form."""
    ends = ("dtype", "initializer", "regularizer", "constraint")
    return any(key == end or key.endswith("_" + end) for end in ends)


def _keras(class_name: str, config: Json, *keys: str) -> Layer:
    kept = {key: config[key] for key in keys if key in config}
    return {"module": "keras", "class_name": class_name, "config": kept, "registered_name": None}
