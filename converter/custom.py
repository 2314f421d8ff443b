"""What the user gives for names in a Keras file: classes and functions, by the names that Keras registered them under.

`custom={"pkg>Name": obj}` or `{"Name": obj}`, on the command line `--custom Name=pkg.mod:obj` or `Name=FILE.py:obj`.
What is given is the Keras class of a layer, initializer or the like, with which the file's object is built, or a
function for an activation or, by the layer's name or '<lambda>', for a Lambda layer: one of keras.ops, or of torch
calls where Keras runs on torch. Or it is a class of PyTorch, or a function on its tensors, which is written in the
place of a layer, of a live model too, and may be given for a class that is not installed. What is written holds the
operations, never a reference to the user's module: a generated file imports torch alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from converter.errors import UsageError


def check(custom: Any) -> None:
    """UsageError for what is no mapping of names to classes, functions or their import names."""
    if custom is None:
        return
    if not isinstance(custom, Mapping) or not all(isinstance(name, str) and name for name in custom):
        raise UsageError(f"custom: expected classes and functions by their registered names, received {custom!r:.200}.")
    for name, given in custom.items():
        if isinstance(given, str):
            module, _, found = given.rpartition(":")
            if not module or not found:
                raise UsageError(f"--custom {name}: expected pkg.mod:obj or FILE.py:obj, received {given!r}.")
        elif not callable(given):
            raise UsageError(f"custom[{name!r}]: expected a class or a function, received a {type(given).__name__}.")


def torch_module(given: Any) -> bool:
    """Whether a class is a PyTorch module's and no Keras layer's; told by names, for no framework may be there yet."""
    names = {f"{cls.__module__}.{cls.__qualname__}" for cls in getattr(given, "__mro__", ())}
    keras = any(name.startswith("keras.") for name in names)
    return "torch.nn.modules.module.Module" in names and not keras


def of_torch(custom: Mapping[str, Any] | None) -> dict[str, Any]:
    """Those of the objects that are written in the place of a layer or an activation: classes of PyTorch, functions."""
    return {name: x for name, x in objects(custom).items() if torch_module(x) or not isinstance(x, type)}


def of_options(given: Sequence[str]) -> dict[str, str] | None:
    """What every --custom names: Name=pkg.mod:obj."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, spec = text.partition("=")
        if not equals or not name or not spec:
            raise UsageError(f"--custom: expected Name=pkg.mod:obj or Name=FILE.py:obj, received {text!r}.")
        if name in found:
            raise UsageError(f"--custom {name} is given twice.")
        found[name] = spec
    return found or None


def objects(custom: Mapping[str, Any] | None) -> dict[str, Any]:
    """The objects themselves; what is named is imported, as the user asked for."""
    from converter.sources import named

    made = {
        name: named(given, f"--custom {name}") if isinstance(given, str) else given
        for name, given in (custom or {}).items()
    }
    check(made)
    return made
