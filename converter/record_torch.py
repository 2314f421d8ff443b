"""The record of a model that came from PyTorch: its state dict's names, and the entries that no layer reads.

On the way back a layer stands at the path of its module again where its configuration is the one that was written; an
entry that belongs to a layer is used where that layer's weights are those that were written, one that belongs to none
where the whole configuration is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from converter import record
from converter.errors import BadInput
from converter.files import record_members
from converter.graph.graph import GraphBuilder, origin
from converter.record import Record, Unfit
from converter.sources import Source
from converter.write.module_paths import Held, Kept

PART = re.compile(r"[A-Za-z0-9_\-]{1,256}")
DEEPEST = 64
TABLES = ("classes", "layers", "keys", "kept", "ties")
FIELDS: dict[str, type] = {"whole": str, "frozen": list, **dict.fromkeys(TABLES, dict)}


@dataclass(frozen=True)
class State:
    """What is kept of a PyTorch source: entries that no layer reads, frozen parameters, names of one memory."""

    name: str
    classes: dict[str, str]
    """The classes of the modules that are no layers of torch.nn, by their paths."""
    kept: dict[str, Held]
    frozen: list[str]
    ties: dict[str, str]


def state_of(model: Any, read: set[str]) -> State:
    """The state dict of a module or an exported program, without what the graph reads; it owns its memory."""
    from converter.capture.from_torch import to_numpy

    held = model.state_dict() if callable(model.state_dict) else model.state_dict
    every: dict[str, Any] = {"remove_duplicate": False} if callable(model.state_dict) else {}
    parameters = dict(model.named_parameters(**every))
    first: dict[Any, str] = {}
    kept: dict[str, Held] = {}
    ties: dict[str, str] = {}
    for key, tensor in held.items():
        if not hasattr(tensor, "untyped_storage") or tensor.is_complex():
            continue
        place = (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tuple(tensor.shape), tensor.stride())
        before = first.setdefault(place if tensor.numel() else key, key)
        if before != key:
            ties[key] = before
        elif key not in read:
            trains = bool(getattr(parameters.get(key), "requires_grad", False))
            kept[key] = Held(np.array(to_numpy(tensor), order="C"), key in parameters, trains)
    frozen = [key for key, each in parameters.items() if not each.requires_grad and key in read]
    return State(type(model).__name__, _classes(model), kept, frozen, ties)


def _classes(model: Any) -> dict[str, str]:
    """What the user's own classes are called; an exported program has none."""
    modules = model.named_modules() if hasattr(model, "named_modules") else ()
    own = [(path, type(each)) for path, each in modules if path]
    return {path: cls.__name__ for path, cls in own if not cls.__module__.startswith("torch.nn.")}


def write(state: State, layers: Mapping[str, str], keys: Mapping[str, str], model: Any) -> Record:
    """The record of a Keras model: `layers` has a module's path for each layer's name, `keys` a state dict's key for
    each weight ('conv1/kernel')."""
    live = {layer.name: layer for layer in model.layers}
    known = {name: [path, _role(name, path), _config(live[name])] for name, path in layers.items() if name in live}
    modules = {path for path, role, _ in known.values() if not role}
    for entry in known.values():
        if entry[1] and entry[0] in modules:  # it stands beside the module, not in it
            before, _, last = entry[0].rpartition(".")
            entry[:2] = [before, f"{last}_{entry[1]}"]
        elif not entry[1] and any(path.startswith(f"{entry[0]}.") for path, *_ in known.values()):
            entry[1] = "itself"  # a module with weights of its own and modules in it
    own = {path: name for name, (path, role, _) in known.items() if not role and live[name].weights}
    kept: dict[str, list[Any]] = {}
    for key, held in state.kept.items():
        name = own.get(key.rpartition(".")[0], "")
        kept[key] = [name, _numbers(live[name]) if name else "", held.parameter, held.trainable]
    parts = {
        "class": state.name,
        "classes": state.classes,
        "whole": _whole(model),
        "layers": known,
        "keys": dict(keys),
        "kept": kept,
        "frozen": state.frozen,
        "ties": state.ties,
    }
    return Record(record.write("torch", "keras", parts), {key: held.data for key, held in state.kept.items()})


def _role(name: str, path: str) -> str:
    """'' for the layer that a module is; for another one, what it does there: 'layer1_0_add' of 'layer1.0' is 'add'."""
    plain = re.sub(r"[^0-9A-Za-z_\-]", "_", path)
    return "" if path and name == plain else name.removeprefix(f"{plain}_") if path else name


def _config(layer: Any) -> str:
    """The digest of a layer's configuration; '' where that is no plain data."""
    try:
        return record.digest([type(layer).__name__, layer.get_config()])
    except (TypeError, ValueError, NotImplementedError):
        return ""


def _whole(model: Any) -> str:
    """The digest of a model's configuration, the names that Keras counts up left as they are."""
    try:
        return record.digest(json.loads(json.dumps(model.get_config())))
    except (TypeError, ValueError, NotImplementedError):
        return ""


def _numbers(layer: Any) -> str:
    from converter.write.keras_load import array_of

    return record.digest_of_arrays(array_of(weight) for weight in sorted(layer.weights, key=lambda w: str(w.name)))


@dataclass
class Back:
    """What of a record fits a Keras model: for the writer, and for the report."""

    kept: Kept
    keys: dict[str, str]
    frozen: set[str]
    unfit: list[str] = field(default_factory=list)
    """What did not fit, in words."""

    def freeze(self, g: GraphBuilder) -> int:
        """Freeze the weights that were frozen, as a .keras file does not keep it; how many numbers train less."""
        fewer = 0
        for value in g.graph.initializers.values():
            known = origin(value)
            if known is not None and known.trainable and self.keys.get(known.path) in self.frozen:
                value.meta["origin"] = replace(known, trainable=False)
                fewer += value.const_value.size if value.const_value is not None else 0
        return fewer

    def retrained(self, written: Sequence[Any], fewer: int) -> list[tuple[str, int]]:
        """Why other numbers train than in the Keras model, and how many more."""
        more = sum(w.data.size for w in written if w.origin is None and w.trainable and w.key in self.kept.held)
        found = [("parameters that reach no output are there again", more), ("frozen as they were", -fewer)]
        return [each for each in found if each[1]]

    def told(self, written: Sequence[Any]) -> list[str]:
        """The report's lines, once the state dict is written."""
        wanted = {
            w.key: self.keys[w.origin.path] for w in written if w.origin is not None and w.origin.path in self.keys
        }
        other = [f"{key} was {before}" for key, before in wanted.items() if key != before]
        gone = [key for key in self.kept.held if key not in {w.key for w in written}]
        lines = ["state dict's names restored from the record"] if len(other) < len(wanted) else []
        lines += [f"record: {len(other)} keys are others than they were ({'; '.join(other[:3])})"] if other else []
        lines += [f"record: {len(gone)} entries have no place ({', '.join(gone[:3])})"] if gone else []
        return lines + [f"record: {line}" for line in self.unfit]


def read(source: Source) -> Back:
    """What fits the Keras model at hand; Unfit where nothing does."""
    found = source.record
    if found is None:
        raise Unfit("there is none")
    try:
        parts = record_members.vetted(found.text, record.SCHEMA, "torch", "keras")
        for name, kind in FIELDS.items():
            if not isinstance(parts.get(name), kind):
                raise BadInput(f"the record: expected {name} as {kind.__name__}, received {parts.get(name)!r:.80}.")
        live = {str(layer.name): layer for layer in source.model.layers}
        places = {name: _placed(entry) for name, entry in parts["layers"].items()}
        kept = {key: _entry(key, entry, found.tensors) for key, entry in parts["kept"].items()}
        keys = {str(path): _path(key) for path, key in parts["keys"].items()}
        ties = {_path(key): _path(other) for key, other in parts["ties"].items()}
        frozen = {_path(key) for key in parts["frozen"]}
        classes = {f"{_path(path).replace('.', '/')}/": _name(name) for path, name in parts["classes"].items()}
    except BadInput as error:
        raise Unfit(str(error)) from error
    fits = {name for name, (_, _, config) in places.items() if name in live and config == _config(live[name])}
    if not fits:
        raise Unfit("no layer is the one that it was")
    _check_paths([places[name] for name in fits])
    whole = parts["whole"] == _whole(source.model) != ""
    numbers = {name: _numbers(live[name]) for name, _, _ in kept.values() if name in fits}
    held = {
        key: each
        for key, (name, digest, each) in kept.items()
        if (whole if not name else name in fits and digest == numbers[name])
    }
    unfit = []
    if left := [name for name in places if name not in fits]:
        unfit.append(f"{len(left)} layers are others than they were ({', '.join(left[:3])})")
    if len(held) < len(kept):
        lost = [key for key in kept if key not in held]
        unfit.append(f"{len(lost)} entries do not belong to these weights any more ({', '.join(lost[:3])})")
    if ties:
        unfit.append(f"weights of one memory have one name each ({', '.join(f'{k} is {v}' for k, v in ties.items())})")
    return Back(Kept({name: places[name][:2] for name in fits}, held, classes), keys, frozen, unfit)


def _check_paths(places: Sequence[tuple[str, str, str]]) -> None:
    """Unfit where two modules stand at one path, or one stands where another one has its parts."""
    modules = [path for path, role, _ in places if not role]
    scopes = {path.rpartition(".")[0] for path in modules} | {path for path, role, _ in places if role}
    above = {scope[: match.start()] for scope in scopes for match in re.finditer(r"\.|$", scope)}
    twice = len(set(modules)) < len(modules)
    if twice or (both := sorted(above & set(modules))):
        raise Unfit(f"two modules have the path {(modules if twice else both)[0]!r}")


def _path(value: Any) -> str:
    """A path of names that can stand in source text, joined by dots."""
    parts = value.split(".") if isinstance(value, str) else []
    if not 0 < len(parts) <= DEEPEST or not all(PART.fullmatch(part) for part in parts):
        raise BadInput(f"the record: expected a path of names, received {value!r:.80}.")
    return str(value)


def _name(value: Any) -> str:
    """The name of a class."""
    if "." in _path(value):
        raise BadInput(f"the record: expected the name of a class, received {value!r:.80}.")
    return str(value)


def _placed(entry: Any) -> tuple[str, str, str]:
    if not isinstance(entry, list) or list(map(type, entry)) != [str, str, str] or not (entry[0] or entry[1]):
        raise BadInput(f"the record: expected a layer's path, role and digest, received {entry!r:.80}.")
    path = _path(entry[0]) if entry[0] else ""
    return path, _path(entry[1].replace(".", "_")) if entry[1] else "", entry[2]


def _entry(key: Any, entry: Any, tensors: Mapping[str, np.ndarray]) -> tuple[str, str, Held]:
    if not isinstance(entry, list) or list(map(type, entry)) != [str, str, bool, bool] or key not in tensors:
        raise BadInput(f"the record: expected an entry of the state dict with its tensor, received {key!r:.80}.")
    _path(key)
    return entry[0], entry[1], Held(tensors[key], entry[2], entry[3])
