"""An nn.Module as a Runner: eval mode, no gradients, TF32 off, RNG state and training flags as before."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .compare import Array
from .runner import Boundary, NoFloat64, Outputs, RunFn, Runner, first_line

# Every switch by which torch trades float32 precision for speed (TF32 on NVIDIA, bfloat16 in oneDNN).
_PRECISION = ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn")


def torch_runner(
    model: Any,
    *,
    name: str = "torch",
    device: str = "cpu",
    boundary: Boundary | None = None,
    kwargs: Sequence[str] = (),
) -> Runner:
    """A Runner from a module. The last inputs are passed by keyword where `kwargs` names them. The module itself is
    used where it lies on `device`, else a copy of it."""

    def open64() -> RunFn:
        return torch_callable(double_copy(model), device=device, kwargs=kwargs, own=True)

    run32 = torch_callable(model, device=device, kwargs=kwargs)
    return Runner(name, run32, open64, device=device, backend="torch", boundary=boundary or Boundary())


def torch_callable(model: Any, *, device: str = "cpu", kwargs: Sequence[str] = (), own: bool = False) -> RunFn:
    """arrays -> [(name, array)] in eval mode. `own`: the module is ours and may be moved."""
    import torch

    place = torch.device(device)
    tensors = [*model.parameters(), *model.buffers()]
    if any(tensor.device.type != place.type for tensor in tensors):
        model = (model if own else copy.deepcopy(model)).to(place)

    def run(arrays: Sequence[Array]) -> Outputs:
        tensors = [torch.from_numpy(array.copy()).to(place) for array in arrays]
        split = len(tensors) - len(kwargs)
        with exact_torch(device), _eval_mode(model):
            result = model(*tensors[:split], **dict(zip(kwargs, tensors[split:], strict=True)))
            return list(_flatten("", result))

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
    """No gradients, IEEE float32 in every backend, and the global RNG as before, on leaving."""
    import torch

    switches = [_find(torch.backends, path) for path in _PRECISION]
    before = [(switch, switch.fp32_precision) for switch in switches if hasattr(switch, "fp32_precision")]
    cards = [torch.device(device).index or 0] if device.startswith("cuda") else []
    with torch.no_grad(), torch.random.fork_rng(devices=cards):
        try:
            for switch, _ in before:
                switch.fp32_precision = "ieee"
            yield
        finally:
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


def _flatten(prefix: str, value: Any) -> Iterator[tuple[str, Array]]:
    """Tensors of a nested structure with their place in it as the name; what is no tensor is left out."""
    import torch

    if isinstance(value, torch.Tensor):
        tensor = value.detach().cpu()
        if tensor.dtype == torch.bfloat16:
            tensor = tensor.float()
        yield prefix or "output", tensor.numpy().copy()
    elif isinstance(value, Mapping):
        for key, part in sorted(value.items(), key=lambda item: str(item[0])):
            yield from _flatten(f"{prefix}.{key}" if prefix else str(key), part)
    elif isinstance(value, tuple | list):
        for index, part in enumerate(value):
            yield from _flatten(f"{prefix}.{index}" if prefix else f"output_{index}", part)
