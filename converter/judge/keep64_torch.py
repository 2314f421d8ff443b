"""float64 kept float64 in what runs in torch. THE place where a model's own casts to float32 are changed for the proof.

Some models cast inside (`h.float()`, `x.to(torch.float32)`, tables made in float32): their "float64" answers are 1e-7
off. In here every float32 that an operation asks for, or makes of nothing, is float64; float32's epsilon stays the
number that it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def kept64() -> Iterator[None]:
    """While this is open, torch makes no float32 in this thread; a view of the bits is left as it is."""
    import torch
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    def wide(value: Any) -> Any:
        return torch.float64 if value is torch.float32 else value

    class Kept(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if "view.dtype" in str(func):
                return func(*args, **kwargs)
            args = tuple(wide(value) for value in args)
            kwargs = {name: wide(value) for name, value in kwargs.items()}
            result = func(*args, **kwargs)
            if not isinstance(result, torch.Tensor) or result.dtype != torch.float32:
                return result
            if any(isinstance(value, torch.Tensor) for value in args):
                return result  # float32 of float32: it was given so
            if any(argument.name == "dtype" for argument in func._schema.arguments):
                return func(*args, **{**kwargs, "dtype": torch.float64})
            return result.double()

    class Given(TorchFunctionMode):
        """rms_norm with eps=None takes the precision of the dtype: of the one that the model has as it is given."""

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            named = str(getattr(func, "__name__", func)).partition(".")[0] == "rms_norm"
            if named and len(args) < 4 and kwargs.get("eps") is None:
                kwargs = {**kwargs, "eps": torch.finfo(torch.float32).eps}
            return func(*args, **kwargs)

    default = torch.get_default_dtype()  # what becomes of integers that are divided
    torch.set_default_dtype(torch.float64)
    try:
        with Given(), Kept():  # type: ignore[no-untyped-call]
            yield
    finally:
        torch.set_default_dtype(default)
