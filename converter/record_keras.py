"""The record of a model that came from Keras: its configuration, used again where the module is what was written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Literal

from converter import record, record_module
from converter.conversion import Turn
from converter.errors import BadInput, Unsupported
from converter.files import record_config, record_members
from converter.files.keras_archive import numbered
from converter.record import Unfit
from converter.sources import Source, known_class

FORGOTTEN = ("compile_config",)
"""What a model is trained with: the report names it, and it does not travel."""

WIDTH = 120


def write(model: Any, text: str, layout: str, turns: Sequence[Turn]) -> str | None:
    """The record of a Keras model that became this PyTorch source; None where its configuration is no data."""
    import keras

    try:
        config = keras.saving.serialize_keras_object(model)
        kept = {key: value for key, value in config.items() if key not in FORGOTTEN}
        plain = json.loads(json.dumps(kept, allow_nan=False))
    except Exception:  # noqa: BLE001  layers of the user's own say in many ways that they have no configuration
        return None
    if _holds_code(plain):
        return None
    parts = {
        "belongs": record.digest_of_source(text),
        "version": metadata.version("kconvert"),
        "layout": layout,
        "turns": [[turn.name, turn.kind, turn.index, list(turn.perm)] for turn in turns],
        "keras_version": keras.__version__,
        "model": numbered(plain),
    }
    return record.write("keras", "torch", parts)


def _holds_code(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_holds_code, value))
    if not isinstance(value, dict):
        return False
    return value.get("class_name") == "__lambda__" or any(map(_holds_code, value.values()))


@dataclass(frozen=True)
class Rebuilt:
    """The Keras model of a record, its weights zeros; `text` builds it; `turns` are those that it was written with."""

    model: Any
    text: str
    layout: Literal["native", "source"]
    turns: list[Turn]
    exact: bool
    """Whether its configuration is the one of the record, byte by byte."""
    belongs: str
    """The digest of the source that it became; '' where another version wrote that, which may write otherwise."""


def rebuild(source: Source, layout: str) -> Rebuilt:
    """The model that a PyTorch source was converted from; Unfit where its record is not of it."""
    found = source.record
    if found is None:
        raise Unfit("there is none")
    try:
        parts = record_members.vetted(found.text, record.SCHEMA, "keras", "torch")
        record_module.check(source.model, parts.get("belongs"))
        before, turns = _boundary(parts)
        if layout == "source" and turns:
            raise Unfit("its inputs and outputs have another axis order, and layout='source' keeps every axis")
        held = sum(math.prod(tensor.shape) for tensor in source.model.state_dict().values())
        version = parts.get("keras_version")
        config = parts.get("model")
        model, vetted = record_config.build(config, version if isinstance(version, str) else "", known_class, held)
    except (BadInput, Unsupported) as error:
        raise Unfit(str(error).splitlines()[0]) from error
    own = config.get("config") if isinstance(config, dict) else None
    exact = record.canonical(model.get_config()) == record.canonical(own)
    belongs = parts["belongs"] if parts.get("version") == metadata.version("kconvert") else ""
    return Rebuilt(model, _text(str(model.name), vetted), before, turns, exact, belongs)


def _boundary(parts: Mapping[str, Any]) -> tuple[Literal["native", "source"], list[Turn]]:
    layout, turns = parts.get("layout"), parts.get("turns")
    if layout not in ("native", "source") or not isinstance(turns, list):
        raise BadInput("the record does not say which axis order it was converted with.")
    found = []
    for turn in turns:
        fits = isinstance(turn, list) and list(map(type, turn)) == [str, str, int, list]
        if not fits or turn[1] not in ("input", "output") or sorted(map(repr, turn[3])) != _axes(len(turn[3])):
            raise BadInput(f"the record has a turn that is none: {turn!r:.80}.")
        found.append(Turn(turn[0], turn[1], turn[2], tuple(turn[3])))
    return "native" if layout == "native" else "source", found


def _axes(rank: int) -> list[str]:
    return sorted(map(repr, range(rank)))


def _text(name: str, config: Mapping[str, Any]) -> str:
    """Source that builds the model; the configuration is data in it, as Python writes it."""
    title = " ".join(name.replace("\\", "/").replace('"', "'").split())
    try:
        json.dumps(config, allow_nan=False)
    except ValueError as error:
        raise Unfit("its configuration has numbers that are not finite") from error
    data = "\n".join(_lines("CONFIG = ", config, "", ""))
    return (
        f'"""{title}, the Keras model that it was: its configuration was kept by kconvert."""\n\n'
        f"import copy\n\nimport keras\n\n{data}\n\n\n"
        "def build() -> keras.Model:\n"
        "    return keras.saving.deserialize_keras_object(copy.deepcopy(CONFIG))\n\n\n"
        'if __name__ == "__main__":\n'
        "    from pathlib import Path\n\n"
        "    model = build()\n"
        '    model.load_weights(Path(__file__).with_suffix(".keras"))\n'
        "    model.summary()\n"
    )


def _lines(head: str, value: Any, tail: str, indent: str) -> list[str]:
    """Data as Python writes it, on one line where it fits, else an entry a line."""
    flat = f"{indent}{head}{value!r}{tail}"
    if len(flat) <= WIDTH or not isinstance(value, (dict, list)) or not value:
        return [flat]
    inner = f"{indent}    "
    if isinstance(value, dict):
        left, right = "{}"
        parts = [line for key, part in value.items() for line in _lines(f"{key!r}: ", part, ",", inner)]
    else:
        left, right = "[]"
        parts = [line for part in value for line in _lines("", part, ",", inner)]
    return [f"{indent}{head}{left}", *parts, f"{indent}{right}{tail}"]
