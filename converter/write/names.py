"""Names from a model made into identifiers: the only road on which they reach generated source."""

from __future__ import annotations

import builtins
import functools
import keyword
import re
import sys
import unicodedata

LOCALS = frozenset({"self", "torch", "nn", "F", "math", "Model", "OrderedDict", "Tensor"})
FRAMEWORKS = frozenset({"torch", "numpy", "keras", "tensorflow", "onnx", "safetensors", "h5py", "sympy", "converter"})


def identifier(name: str, fallback: str = "layer") -> str:
    """`name` as an ASCII identifier: what Python does not allow becomes '_', a leading digit gets one before it.

    The result is no keyword, no dunder and not empty; it may still clash with other names.
    """
    plain = unicodedata.normalize("NFKD", str(name)).encode("ascii", "ignore").decode()
    clean = re.sub(r"[^0-9A-Za-z_]", "_", plain)
    if not clean.strip("_"):
        clean = fallback
    if clean[0].isdigit():
        clean = f"_{clean}"
    if clean.startswith("__"):
        clean = "_" + clean.lstrip("_")
    if keyword.iskeyword(clean) or keyword.issoftkeyword(clean):
        clean = f"{clean}_"
    return clean


class Namespace:
    """Names in use; a clash is numbered _2, _3, ... in the order of asking."""

    def __init__(self, taken: frozenset[str] | set[str] = frozenset()) -> None:
        self._taken = set(taken)

    def take(self, name: str, fallback: str = "layer") -> str:
        """A free identifier for `name`."""
        stem = identifier(name, fallback)
        chosen, number = stem, 2
        while chosen in self._taken:
            chosen, number = f"{stem}_{number}", number + 1
        self._taken.add(chosen)
        return chosen

    def free(self, name: str) -> bool:
        """Whether nothing has this name."""
        return name not in self._taken


@functools.cache
def module_attributes() -> frozenset[str]:
    """What an attribute of an nn.Module must not be called: all that nn.Module itself has, and the file's locals."""
    import torch

    return frozenset(dir(torch.nn.Module)) | frozenset(dir(torch.nn.Module())) | LOCALS


@functools.cache
def operation_names() -> frozenset[str]:
    """What Keras calls the operations of a functional graph, behind which it puts a number from the second one on."""
    from keras import ops

    spaces = [ops, *(getattr(ops, name) for name in ("image", "linalg", "nn", "numpy"))]
    return frozenset(name for space in spaces for name in dir(space)) | {"get_item"}


def parameters() -> frozenset[str]:
    """What a local variable of forward must not be called."""
    return LOCALS | frozenset(dir(builtins))


def class_name(name: str) -> str:
    """'conv2_block' -> 'Conv2Block'."""
    words = [w for w in identifier(name, "block").split("_") if w]
    made = "".join(w[0].upper() + w[1:] for w in words) or "Block"
    return f"N{made}" if made[0].isdigit() else made


def file_stem(name: str) -> str:
    """The stem of a generated file: an identifier that hides no module anybody imports."""
    stem = identifier(name, "model")
    return f"{stem}_model" if hides_a_module(stem) else stem


def hides_a_module(stem: str) -> bool:
    """Whether a file of this name would be imported in the place of a module of Python's or a framework's."""
    return stem in sys.stdlib_module_names or stem in FRAMEWORKS
