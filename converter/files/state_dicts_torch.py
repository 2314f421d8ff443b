"""State dicts (.safetensors, .pt, .pth) into the module that the user's own callable makes.

The file is data: safetensors are read by their vetted header, the others by torch.load(weights_only=True), never as
whole pickles. Everything that does not fit is listed at once; the module takes the dtypes of the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from converter.errors import BadInput, UsageError
from converter.files.archives import open_zip, starts_with
from converter.files.pickle_stream import heaviest_tuple
from converter.files.safetensors_header import read_header

DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts keep the state dict in a checkpoint."""
PREFIXES = ("module.", "_orig_mod.", "model.")
"""What DataParallel, torch.compile and wrapping modules put before every key."""
GROWING = ((b"builtins|__builtin__", b"bytearray"), (b"_codecs", b"encode"))
MOST_PICKLE = 64 << 20
MOST_PARTS = 1 << 20
COUNTER = "num_batches_tracked"
SHOWN = 20
ADVICE = "Save the state dict alone (torch.save(model.state_dict(), path)) and pass --arch with what makes the module."


def load(path: Path, kind: str, make: Callable[..., Any], arguments: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """The module with the file's weights, and how the file had to be understood."""
    notes: list[str] = []
    state = _safetensors(path) if kind == "safetensors" else _tensors(_pickled(path), path, notes)
    module = _made(make, arguments)
    state = _renamed(state, module, notes)
    _check(state, module, path, notes)
    _cast(state, module, notes)
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise BadInput(f"{path}: the module does not take the weights: {str(error)[:2000]}") from error
    return module, notes


def _made(make: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """What the user's callable returns, which must be an nn.Module."""
    import torch

    try:
        with torch.random.fork_rng(devices=[]):  # the weights that it draws are replaced
            module = make(**arguments)
    except UsageError:  # of a name that was looked up: it says already what was raised where
        raise
    except Exception as error:
        name = getattr(make, "__qualname__", repr(make))
        raise UsageError(f"--arch: {name} raised {type(error).__name__}: {error}. See --arch-args.") from error
    if not isinstance(module, torch.nn.Module):
        raise UsageError(
            f"--arch: expected a callable that returns an nn.Module, as the file holds PyTorch weights, "
            f"received {type(module).__module__}.{type(module).__qualname__}."
        )
    lazy = (torch.nn.parameter.UninitializedParameter, torch.nn.parameter.UninitializedBuffer)
    if any(isinstance(tensor, lazy) for tensor in [*module.parameters(), *module.buffers()]):
        raise UsageError("--arch: the module has lazy parameters without a shape. Call it once before it is returned.")
    return module


def _safetensors(path: Path) -> dict[str, Any]:
    import torch

    entries, _ = read_header(path)
    found: dict[str, Any] = {}
    with path.open("rb") as file:
        for entry in entries:
            dtype = getattr(torch, DTYPES[entry.dtype])
            file.seek(entry.start)
            data = bytearray(file.read(entry.stop - entry.start))
            flat = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
            found[entry.name] = flat.reshape(entry.shape)
    return found


def _pickled(path: Path) -> Any:
    """What torch.load reads as weights; the pickles of objects are refused with the name of their class."""
    import torch

    if starts_with(path, 2) == b"PK":
        with open_zip(path, str(path)) as archive:
            inner = {name.split("/", 1)[-1]: name for name in archive.names}
            pickled = archive.read_text(inner["data.pkl"], MOST_PICKLE) if "data.pkl" in inner else b""
        _check_calls(pickled, path)
        if any(name.startswith("code/") or name == "constants.pkl" for name in inner):
            raise BadInput(f"{path}: this is a TorchScript archive, which holds code and is not read. {ADVICE}")
    else:
        with path.open("rb") as file:
            _check_calls(file.read(MOST_PICKLE), path)  # an old file: pickles, then numbers
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        text = str(error)
        found = re.search(r"GLOBAL ([\w.]+)", text)
        if found or ("weights_only" in text and "unsupported" in text.lower()):
            what = f"an object of {found[1]}" if found else "objects"
            raise BadInput(
                f"{path}: holds {what} as a pickle, whose loading could run code; only tensors are read. {ADVICE}"
            ) from error
        first = (text.strip().splitlines() or [type(error).__name__])[0]
        raise BadInput(f"{path}: expected tensors of torch.save, but torch cannot read them: {first}") from error


def _check_calls(pickled: bytes, path: Path) -> None:
    """What weights_only allows, though no tensor needs it: calls that make room for as much as the file says."""
    for module, name in GROWING:
        if re.search(rb"c(%s)\n%s\n" % (module, name), pickled):
            raise BadInput(f"{path}: holds {name.decode()} besides tensors, which is not read. {ADVICE}")
    if heaviest_tuple(pickled) > MOST_PARTS:
        raise BadInput(f"{path}: holds tuples of tuples without end, which no state dict has. {ADVICE}")


def _tensors(found: Any, path: Path, notes: list[str]) -> dict[str, Any]:
    """The state dict, taken out of a training script's checkpoint where it lies in one."""
    import torch

    while isinstance(found, Mapping) and not any(isinstance(value, torch.Tensor) for value in found.values()):
        key = next((key for key in WRAPPERS if isinstance(found.get(key), Mapping)), None)
        if key is None:
            break
        others = ", ".join(sorted(str(k) for k in found if k != key)[:8])
        beside = f", beside {others}" if others else ""
        notes.append(f"the weights are those under {key!r} of the checkpoint{beside}")
        found = found[key]
    if not isinstance(found, Mapping):
        what = f"a {type(found).__name__}"
        raise BadInput(f"{path}: expected a state dict, names with tensors, but the file holds {what}. {ADVICE}")
    other = [f"{key} ({type(value).__name__})" for key, value in found.items() if not isinstance(value, torch.Tensor)]
    if other or not found:
        raise BadInput(
            f"{path}: expected a state dict, names with tensors alone, but the file holds "
            f"{', '.join(other[:8]) or 'nothing'}. {ADVICE}"
        )
    strange = [f"{key} ({value.layout})" for key, value in found.items() if value.layout != torch.strided]
    if strange:
        raise BadInput(f"{path}: expected dense tensors, but the file holds {', '.join(strange[:8])}.")
    return {str(key): value.detach() for key, value in found.items()}


def _renamed(state: dict[str, Any], module: Any, notes: list[str]) -> dict[str, Any]:
    """Keys without what wrappers put before all of them."""
    wanted = set(module.state_dict())
    for prefix in PREFIXES * 2:
        if state and all(k.startswith(prefix) for k in state) and not any(k.startswith(prefix) for k in wanted):
            notes.append(f"{prefix!r} before every name of the file was left out")
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _check(state: dict[str, Any], module: Any, path: Path, notes: list[str]) -> None:
    """Add what a file may leave out, and list all that does not fit."""
    wanted = {key: value for key, value in module.state_dict().items() if hasattr(value, "shape")}
    places: dict[tuple[int, tuple[int, ...], tuple[int, ...]], list[str]] = {}
    for key, value in wanted.items():
        if value.numel():
            places.setdefault((value.data_ptr(), tuple(value.shape), tuple(value.stride())), []).append(key)
    twins = {key: [k for k in keys if k != key] for keys in places.values() for key in keys}
    problems = []
    for key in [key for key in wanted if key not in state]:
        twin = next((k for k in twins.get(key, ()) if k in state), None)
        if twin is not None:
            state[key] = state[twin]
            notes.append(f"{key}: tied to {twin}, whose weights it has")
        elif key.rsplit(".", 1)[-1] == COUNTER:
            state[key] = wanted[key]
        else:
            problems.append(f"missing in the file: {key} {tuple(wanted[key].shape)}")
    for key, value in state.items():
        if key not in wanted:
            if key.rsplit(".", 1)[-1] != "_extra_state":
                problems.append(f"not in the module: {key} {tuple(value.shape)}")
            continue
        mine = wanted[key]
        if tuple(value.shape) != tuple(mine.shape):
            problems.append(f"{key}: {tuple(value.shape)} in the file, {tuple(mine.shape)} in the module")
        elif value.is_floating_point() != mine.is_floating_point() or value.is_complex() != mine.is_complex():
            problems.append(f"{key}: {value.dtype} in the file, {mine.dtype} in the module")
    for key, others in twins.items():
        for other in others:
            fits = all(k in state and state[k].shape == wanted[k].shape for k in (key, other))
            if key < other and fits and not _same(state[key], state[other]):
                problems.append(f"{key} and {other} are one weight in the module, and two that differ in the file")
    if problems:
        lines = [f"  - {problem}" for problem in problems[:SHOWN]]
        lines += [f"  - and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        first = f"{path}: the weights do not fit the module that --arch makes:"
        last = "Expected the weights of this very module; check --arch and --arch-args."
        raise BadInput("\n".join([first, *lines, last]))


def _same(a: Any, b: Any) -> bool:
    import torch

    return a.shape == b.shape and (a.data_ptr() == b.data_ptr() or bool(torch.equal(a, b)))


def _cast(state: Mapping[str, Any], module: Any, notes: list[str]) -> None:
    """The module's floats in the dtypes of the file; floats that no file holds follow where the file has one dtype."""
    kinds = {value.dtype for value in state.values() if value.is_floating_point()}
    own = [value for value in module.state_dict().values() if hasattr(value, "dtype")]
    before = {value.dtype for value in own if value.is_floating_point()}
    if len(kinds) == 1 and before != kinds:
        kind = next(iter(kinds))
        module.to(kind)
        notes.append(f"the module is in {str(kind).removeprefix('torch.')}, as its file is")
        return
    if kinds == before and len(kinds) <= 1:
        return
    named: dict[str, Any] = dict(module.named_parameters(remove_duplicate=False))
    named.update(module.named_buffers(remove_duplicate=False))
    for key, value in state.items():
        mine = named.get(key)
        if mine is not None and mine.is_floating_point() and mine.dtype != value.dtype:
            mine.data = mine.data.to(value.dtype)
            notes.append(f"{key}: in {str(value.dtype).removeprefix('torch.')}, as its file is")
