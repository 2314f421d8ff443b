"""Whether a live PyTorch module is still what its class makes: its text, its modules, their settings, its shapes."""

from __future__ import annotations

import inspect
import sys
from typing import Any

from converter import record
from converter.record import Unfit

PLAIN = (bool, int, float, str, type(None))
LEFT = frozenset({"training", record.ATTRIBUTE})
"""What may differ: the mode, and the record itself."""


def check(module: Any, belongs: Any) -> None:
    """Raise Unfit where the module's source, modules, settings, shapes, dtypes or frozen weights are others."""
    if not hasattr(module, "named_modules"):
        raise Unfit("it is of a module, and this is an exported program")
    if not isinstance(belongs, str) or source_of(type(module)) != belongs:
        raise Unfit("the source text of the class was changed")
    fresh = _fresh(type(module))
    if fresh is None:
        raise Unfit("the class cannot be made without arguments")
    for one, two in ((_described(module), _described(fresh)), (_weights(module), _weights(fresh))):
        if (changed := next((key for key in [*one, *two] if one.get(key) != two.get(key)), None)) is not None:
            raise Unfit(f"{changed or 'the model'} was changed since it was converted")


def source_of(cls: type) -> str:
    """The digest of the source of the module that a class stands in; '' where it cannot be read."""
    try:
        return record.digest_of_source(inspect.getsource(sys.modules[cls.__module__]))
    except (KeyError, OSError, TypeError, SyntaxError, ValueError, RecursionError):
        return ""


def _fresh(cls: type) -> Any:
    import torch

    try:
        with torch.device("meta"):
            return cls()
    except Exception:  # noqa: BLE001  whatever a constructor raises, the class is none of ours
        return None


def _described(module: Any) -> dict[str, Any]:
    """Every module by its path: its class, its hooks, and those of its attributes that are plain data."""
    found = {}
    for path, each in module.named_modules(remove_duplicate=False):
        own = {key: value for key, value in vars(each).items() if key not in LEFT}
        plain = {key: value for key, value in own.items() if _is_plain(value)}
        hooks = {key: len(value) for key, value in own.items() if key.endswith("_hooks") and hasattr(value, "__len__")}
        found[path] = (type(each).__module__, type(each).__qualname__, sorted(own), plain, hooks)
    return found


def _is_plain(value: Any) -> bool:
    return all(map(_is_plain, value)) if isinstance(value, (tuple, list)) else isinstance(value, PLAIN)


def _weights(module: Any) -> dict[str, Any]:
    """The state dict's shapes and dtypes, and which parameters train; one that two names share is counted once."""
    found: dict[str, Any] = {key: (tuple(each.shape), each.dtype) for key, each in module.state_dict().items()}
    for key, each in module.named_parameters():
        found[key] = (*found.get(key, ()), bool(each.requires_grad))
    return found
