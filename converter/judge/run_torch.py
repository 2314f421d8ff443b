"""An nn.Module as a Runner: eval mode, no gradients, TF32 off, RNG state and training flags as before."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from .compare import Array
from .keep64_torch import kept64
from .runner import Boundary, NoFloat64, RunFn, Runner, first_line
from .taps import Outputs, tap_name
from .taps_torch import torch_taps

Pack = Callable[[Sequence[Any]], tuple[Sequence[Any], Mapping[str, Any]]]
"""The inputs -> the arguments of a call, by position and by name."""
# Every switch by which torch trades float32 precision for speed (TF32 on NVIDIA, bfloat16 in oneDNN).
_PRECISION = ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn")


def torch_runner(
    model: Any,
    *,
    name: str = "torch",
    device: str = "cpu",
    boundary: Boundary | None = None,
    kwargs: Sequence[str] = (),
    pack: Pack | None = None,
) -> Runner:
    """A Runner from a module. The last inputs are passed by keyword where `kwargs` names them, or `pack` makes the
    arguments of them. The module itself is used where it lies on `device`, else a copy of it."""
    pack = pack or _by_keyword(kwargs)

    def open64() -> RunFn:
        return torch_callable(double_copy(model), device=device, pack=pack, own=True, double=True)

    run32 = torch_callable(model, device=device, pack=pack)
    dtype = _dtype_of(model)
    policy = "" if dtype == "float32" else f"the source computes in {dtype}"
    boundary = boundary or Boundary()
    return Runner(name, run32, open64, device=device, backend="torch", boundary=boundary, dtype=dtype, policy=policy)


def _by_keyword(names: Sequence[str]) -> Pack:
    """The last tensors by these names, the others by position."""

    def pack(tensors: Sequence[Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        split = len(tensors) - len(names)
        return tensors[:split], dict(zip(names, tensors[split:], strict=True))

    return pack


def torch_callable(
    model: Any, *, device: str = "cpu", pack: Pack | None = None, own: bool = False, double: bool = False
) -> RunFn:
    """arrays -> [(name, array)] in eval mode. `own`: the module is ours and may be moved; `double`: it is a float64
    twin, whose own casts to float32 are not made."""
    import torch

    place = torch.device(device)
    tensors = [*model.parameters(), *model.buffers()]
    if any(tensor.device.type != place.type for tensor in tensors):
        model = (model if own else copy.deepcopy(model)).to(place)

    def run(arrays: Sequence[Array]) -> Outputs:
        tensors = [_tensor(array).to(place) for array in arrays]
        args, named = pack(tensors) if pack is not None else (tensors, {})
        with exact_torch(device), _eval_mode(model):
            with kept64() if double else contextlib.nullcontext(), torch_taps() as recorder:
                result = model(*args, **named)
            leaves = list(_leaves("", result))
            taps = [(i, found) for i, (_, leaf) in enumerate(leaves) if (found := recorder.tap(leaf)) is not None]
            outputs = [(name, _array(leaf)) for name, leaf in leaves]
            return outputs + [(tap_name(i, kind), _array(value)) for i, (kind, value) in taps]

    return run


def double_copy(model: Any) -> Any:
    """A float64 copy: parameters, buffers and tensors that are plain attributes."""
    import torch

    try:
        twin = copy.deepcopy(model).double()
    except Exception as error:  # a module may refuse deepcopy in its own way
        raise NoFloat64(f"the module cannot be copied: {first_line(error)}") from error
    for module in twin.modules():
        for key, value in list(vars(module).items()):
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                setattr(module, key, value.double())
    return twin


@contextlib.contextmanager
def exact_torch(device: str = "cpu") -> Iterator[None]:
    """No gradients, IEEE float32 in every backend, and the global RNG as before, on leaving.

    nn.TransformerEncoder's fast path zeroes padded rows, which neither the module's own code nor a program exported
    from it does: it is off."""
    import torch

    fast = torch.backends.mha.get_fastpath_enabled()
    switches = [_find(torch.backends, path) for path in _PRECISION]
    before = [(switch, switch.fp32_precision) for switch in switches if hasattr(switch, "fp32_precision")]
    cards = [torch.device(device).index or 0] if device.startswith("cuda") else []
    with torch.no_grad(), torch.random.fork_rng(devices=cards):
        try:
            for switch, _ in before:
                switch.fp32_precision = "ieee"
            torch.backends.mha.set_fastpath_enabled(False)
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
            for switch, value in before:
                switch.fp32_precision = value


@contextlib.contextmanager
def _eval_mode(model: Any) -> Iterator[None]:
    """Eval mode, and each submodule's own flag as before on leaving: a frozen part may be in eval alone."""
    flags = [(module, module.training) for module in model.modules()]
    try:
        for module, training in flags:
            if training:
                module.training = False
        yield
    finally:
        for module, training in flags:
            module.training = training


def _find(root: Any, path: str) -> Any:
    for part in path.split("."):
        root = getattr(root, part, None)
    return root


def _tensor(array: Array) -> Any:
    """A tensor of its own memory; numpy has bfloat16 by extension only, which torch does not read."""
    import torch

    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.astype("float32")).to(torch.bfloat16)
    return torch.from_numpy(array.copy())


def _array(tensor: Any) -> Array:
    import torch

    plain = tensor.detach().cpu()
    array: Array = (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy().copy()
    return array


def _leaves(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Tensors of a nested structure with their place in it as the name; what is no tensor is left out."""
    import torch

    if isinstance(value, torch.Tensor):
        yield prefix or "output", value
    elif isinstance(value, Mapping):
        for key, part in sorted(value.items(), key=lambda item: str(item[0])):
            yield from _leaves(f"{prefix}.{key}" if prefix else str(key), part)
    elif isinstance(value, tuple | list):
        for index, part in enumerate(value):
            yield from _leaves(f"{prefix}.{index}" if prefix else f"output_{index}", part)


def _dtype_of(model: Any) -> str:
    """The floating dtype of most parameters and buffers."""
    sizes: dict[str, int] = {}
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.is_floating_point():
            name = str(tensor.dtype).removeprefix("torch.")
            sizes[name] = sizes.get(name, 0) + tensor.numel()
    return max(sizes, key=lambda name: sizes[name]) if sizes else "float32"
