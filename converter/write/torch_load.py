"""Generated PyTorch source made into a live module."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from converter.write.execute import execute


def load(text: str, weights: Iterable[tuple[str, np.ndarray]]) -> Any:
    """The model of a generated file with its weights, on the CPU, in eval mode; it owns its memory."""
    import torch

    module = execute(text)
    with torch.device("meta"):
        model = module.Model()
    state = {key: _tensor(np.array(data, order="C", copy=True)) for key, data in weights}
    return _with_state(model, state)


def load_file(source: Path, weights: Path) -> Any:
    """The same from the files themselves: the text of one, the tensors of the other."""
    import torch
    from safetensors.torch import load_file as tensors

    module = execute(source.read_text(encoding="utf-8"))
    with torch.device("meta"):
        model = module.Model()
    return _with_state(model, {key: tensor.clone() for key, tensor in tensors(weights).items()})


def _with_state(model: Any, state: dict[str, Any]) -> Any:
    """The module with these tensors; one of another dtype than the text makes would be a text that does not run."""
    wanted = {key: tensor.dtype for key, tensor in model.state_dict().items()}
    wrong = [key for key, tensor in state.items() if key in wanted and tensor.dtype != wanted[key]]
    if wrong:
        raise ValueError(f"{wrong[0]}: the source makes {wanted[wrong[0]]}, its weight is {state[wrong[0]].dtype}")
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval()


def _tensor(data: np.ndarray) -> Any:
    """An array as a tensor; numpy's bfloat16 is a type of its own, which torch does not take."""
    import torch

    if data.dtype.name == "bfloat16":
        return torch.from_numpy(data.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(data)


def arrays_of(model: Any) -> dict[str, np.ndarray]:
    """The state dict as arrays on the CPU, as it is now."""
    import torch

    found = {}
    for key, tensor in model.state_dict().items():
        plain = tensor.detach().cpu()
        if plain.dtype == torch.bfloat16:
            import ml_dtypes

            found[key] = plain.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
        else:
            found[key] = plain.numpy()
    return found
