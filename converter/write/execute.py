"""Generated source of either target made into a live module of Python."""

from __future__ import annotations

import copy
import hashlib
import linecache
import pickle
import sys
import types
from typing import Any


def execute(text: str) -> types.ModuleType:
    """The source as a module, registered so that inspect, tracebacks, deepcopy and torch.export find it."""
    name = f"kconvert_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    file = f"<{name}>"
    module = types.ModuleType(name)
    module.__file__ = file
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    sys.modules[name] = module
    try:
        exec(compile(text, file, "exec"), module.__dict__)  # noqa: S102  our own text, never a model's
    except BaseException:
        del sys.modules[name]
        raise
    for made in vars(module).values():
        if isinstance(made, type) and made.__module__ == name and hasattr(made, "state_dict"):
            _not_pickled(made)
    return module


def _not_pickled(cls: Any) -> None:
    """A pickle names the module of a class, and this one is in no file: copies work, pickles are refused."""

    def reduce(self: Any, protocol: Any) -> Any:
        raise pickle.PicklingError(
            "Expected a model whose class stands in a file, received one that was made in memory: a pickle of it could "
            "be read nowhere else. Save it with made.save('net.py') and import Model from there, or its state_dict()."
        )

    def copied(self: Any, memo: dict[int, Any] | None = None) -> Any:
        made: Any = object.__new__(type(self))
        if memo is not None:
            memo[id(self)] = made
        made.__setstate__(dict(self.__dict__) if memo is None else copy.deepcopy(self.__dict__, memo))
        return made

    cls.__reduce_ex__ = reduce
    cls.__deepcopy__ = copied
    cls.__copy__ = copied
