"""What can be told of a call before a framework is imported: arguments that are wrong, or could have no effect."""

from __future__ import annotations

import ctypes
import json
import keyword
import math
import operator
import os
import re
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from converter import custom as custom_objects
from converter import sources
from converter.errors import UsageError
from converter.files import record_members
from converter.files.recognise import recognise
from converter.record import attached
from converter.write.names import hides_a_module

TARGETS = ("torch", "keras", "onnx")
LAYOUTS = ("native", "source")
NAMES = {"torch": "PyTorch", "keras": "Keras", "onnx": "ONNX"}
FILES = {"torch": (".py", ".safetensors", ".pt2", ".onnx"), "keras": (".keras", ".onnx"), "onnx": (".onnx",)}
"""The suffixes of -o that are files, for each target; other names are directories."""
OTHERS = (
    *(".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".joblib", ".mar", ".ptl", ".torchscript"),
    *(".h5", ".hdf5", ".hdf", ".he5", ".pb", ".pbtxt", ".tflite", ".lite", ".tf", ".zip", ".tar", ".gz", ".tgz"),
    *(".npz", ".npy", ".json", ".msgpack", ".gguf", ".ggml", ".mlmodel", ".mlpackage", ".engine", ".plan", ".trt"),
    *(".py", ".safetensors", ".pt2", ".onnx", ".keras"),
)
"""Suffixes of model files: a directory of such a name would be taken for a model."""
DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
MOST_ELEMENTS = 1 << 28


def check(
    model: Any,
    to: str,
    *,
    layout: str = "native",
    device: str = "cpu",
    inputs: Any = None,
    example_inputs: Any = None,
    example_kwargs: Any = None,
    dynamic: Any = None,
    custom: Any = None,
    arch: Any = None,
    arch_args: Any = None,
    trust: bool = False,
    verify: bool = True,
    seed: int = 0,
    output: str | os.PathLike[str] | None = None,
    require_proof: bool = False,
    keep_going: bool = False,
) -> None:
    """Raise UsageError for what can never work, or never have an effect, whatever the model holds."""
    if to not in TARGETS:
        raise UsageError(f"to: expected one of {', '.join(TARGETS)}, received {to!r}.")
    if layout not in LAYOUTS:
        raise UsageError(f"layout: expected 'native' or 'source', received {layout!r}.")
    check_seed(seed)
    if isinstance(verify, str) or verify not in (True, False):
        raise UsageError(f"verify: expected True or False, received {verify!r}.")
    check_device(device, "onnx" if output is not None and Path(output).suffix.lower() == ".onnx" else to)
    if output is not None:
        check_output(output, to)
    check_verifying(verify, inputs, device, require_proof, keep_going)
    check_arch(arch, arch_args)
    kind = sources.kind_of(model)
    if kind == to:
        raise UsageError(f"The model is {NAMES[to]} already; expected another target than {to!r}.")
    sources.check_arch(model, arch)
    check_custom(model, kind, custom, trust)
    check_examples(model, kind, example_inputs, example_kwargs, dynamic)


def check_verifying(verify: bool, inputs: Any, device: str, require_proof: bool, keep_going: bool) -> None:
    """What tells the judge something is pointless where there is none."""
    pointless = {
        "--require-proof": require_proof,
        "--keep-going": keep_going,
        "--inputs (inputs)": inputs is not None,
        f"--device {device} (device)": device != "cpu",
    }
    for name, given in pointless.items():
        if given and not verify:
            raise UsageError(f"{name} is for the verification, which --no-verify (verify=False) leaves out.")


def check_seed(seed: Any) -> None:
    """A seed is a whole number, not below 0."""
    try:
        good = operator.index(seed) >= 0
    except TypeError:
        good = False
    if not good:
        raise UsageError(f"seed: expected a whole number, 0 or more, received {seed!r}.")


def check_device(device: Any, to: str) -> None:
    """The device exists in torch's spelling, the target can run there, and this machine seems to have it."""
    if device == "cpu":
        return
    if not isinstance(device, str) or not re.fullmatch(r"cuda(:\d+)?", device):
        hint = " A GPU is named 'cuda'." if str(device).lower().startswith(("gpu", "/gpu", "nvidia")) else ""
        raise UsageError(f"device: expected 'cpu', 'cuda' or 'cuda:N', received {device!r}.{hint}")
    if to != "torch":
        raise UsageError(
            f"device: expected 'cpu', received {device!r}: {NAMES[to]} models are verified on the CPU alone."
        )
    if (why := no_cuda()) != "":
        raise UsageError(f"device: {device!r} was asked for, and there is no CUDA device here: {why}. Use 'cpu'.")


def no_cuda() -> str:
    """Why there can be no CUDA device, as far as that shows without torch; '' where there may be one."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and hidden.split(",")[0].strip() in ("", "-1"):
        return f"CUDA_VISIBLE_DEVICES is {hidden!r}"
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return "torch is not installed"
    if "+rocm" in version:  # AMD's devices are called cuda, too, and have another driver
        return ""
    if version.endswith("+cpu") or sys.platform == "darwin":
        return f"torch {version} is built without CUDA"
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "the NVIDIA driver's library is not installed"
    return ""


def check_output(output: str | os.PathLike[str], to: str) -> None:
    """A suffix that model files have is one that the target is written with."""
    kind = Path(output).suffix.lower()
    if kind in OTHERS and kind not in FILES[to]:
        *most, last = FILES[to]
        known = f"{', '.join(most)} or {last}" if most else last
        raise UsageError(
            f"{output}: {NAMES[to]} models are written as {known}, or into a directory; received {kind!r}."
        )
    stem = Path(output).stem
    if kind in (".py", ".safetensors", ".keras") and kind in FILES[to] and hides_a_module(stem):
        raise UsageError(
            f"{output}: its source text, {stem}.py, would be imported in the place of the module {stem!r}, "
            f"by itself first of all. Choose another name, {stem}_model{kind} for instance."
        )


def check_examples(model: Any, kind: str, inputs: Any, kwargs: Any, dynamic: Any) -> None:
    """Example inputs are for PyTorch code and Keras models without a graph; every other model knows its inputs."""
    given = {"--input (example_inputs)": inputs, "example_kwargs": kwargs, "dynamic": dynamic}
    names = [name for name, value in given.items() if value is not None]
    path = isinstance(model, str | os.PathLike)
    program = type(model).__name__ == "ExportedProgram" or (path and recognise(Path(model)) == "pt2")
    if kind == "torch" and not program and inputs is None and not kwargs and not _recorded(model):
        raise UsageError(
            "PyTorch code is traced, and for that it needs example inputs: --input 1,3,224,224 for each input, "
            "in Python example_inputs=(torch.zeros(1, 3, 224, 224),)."
        )
    if not names:
        return
    check_example_forms(inputs, kwargs)
    if kind == "keras" and names == ["--input (example_inputs)"] and not path and not _has_shapes(model):
        return
    if kind != "torch" or program:
        what = "an exported program" if program else f"a model of {NAMES.get(kind, kind)}"
        raise UsageError(
            f"{names[0]} is for PyTorch code that has to be traced; {what} knows its inputs. "
            "Leave it out; --inputs (inputs) gives the arrays to verify with."
        )


def _has_shapes(model: Any) -> bool:
    """Whether a live Keras model tells its inputs: a built Functional or Sequential model does, a subclassed one and an
    unbuilt one do not always."""
    return bool(getattr(model, "inputs", None))


def _recorded(model: Any) -> bool:
    """Whether a record says what the module was before: where that fits, nothing is traced."""
    if not isinstance(model, str | os.PathLike):
        return attached(model) is not None
    return recognise(Path(model)) == "safetensors" and record_members.of_safetensors(Path(model)) is not None


def check_example_forms(inputs: Any, kwargs: Any) -> None:
    """Example inputs are a sequence in the order of forward's parameters, or one tensor; none of them is empty."""
    if isinstance(inputs, Mapping | str | bytes) or (inputs is not None and not _sequence(inputs)):
        hint = " Tensors by name are example_kwargs." if isinstance(inputs, Mapping) else ""
        raise UsageError(
            "example_inputs: expected the tensors in the order of forward's parameters, (x,) for a single one, "
            f"received {type(inputs).__name__}.{hint}"
        )
    if kwargs is not None and not (isinstance(kwargs, Mapping) and all(isinstance(key, str) for key in kwargs)):
        raise UsageError(f"example_kwargs: expected tensors by the names of forward's parameters, received {kwargs!r}.")
    given = [inputs] if hasattr(inputs, "shape") else list(inputs or ())
    for value in [*given, *(kwargs or {}).values()]:
        if 0 in getattr(value, "shape", ()):
            raise UsageError(f"example_inputs: a tensor of shape {tuple(value.shape)} is empty, and shows nothing.")


def _sequence(inputs: Any) -> bool:
    return isinstance(inputs, Sequence) or hasattr(inputs, "shape")


def check_custom(model: Any, kind: str, given: Any, trust: Any) -> None:
    """Classes for names, and trust, are for what a Keras file names; a live model has its classes."""
    custom_objects.check(given)
    if trust not in (True, False):
        raise UsageError(f"trust: expected True or False, received {trust!r}.")
    names = {"--custom (custom)": given, "--trust (trust)": trust or None}
    named = [name for name, value in names.items() if value is not None]
    if kind == "keras" and not isinstance(model, str | os.PathLike) and given is not None and not trust:
        classes = [x for x in given.values() if isinstance(x, type) and not custom_objects.torch_module(x)]
        named = named if classes else []  # what is of PyTorch takes the place of the model's own
    if named and (kind != "keras" or not isinstance(model, str | os.PathLike)):
        what = "a live model, which has its classes" if kind == "keras" else f"a model of {NAMES.get(kind, kind)}"
        raise UsageError(f"{named[0]} is for what a Keras file names, and this is {what}. Leave it out.")


def check_arch(arch: Any, arch_args: Any) -> None:
    """The code of a model is a callable or the name of one, and its arguments go with it by name."""
    if arch is None:
        if arch_args is not None:
            raise UsageError("--arch-args (arch_args) are arguments of --arch (arch), which is missing.")
        return
    if isinstance(arch, str):
        module, _, name = arch.rpartition(":")
        if not module or not name:
            raise UsageError(f"--arch: expected package.module:callable or FILE.py:Class, received {arch!r}.")
    elif not callable(arch):
        raise UsageError(f"arch: expected a callable or its name, received {type(arch).__name__}.")
    if arch_args is not None and not (isinstance(arch_args, Mapping) and all(isinstance(k, str) for k in arch_args)):
        raise UsageError(f"arch_args: expected keyword arguments by name, received {arch_args!r}.")


def check_apart(written: Sequence[Path], read: Sequence[Path]) -> None:
    """Nothing that is read is written over, --force or not."""
    for path in written:
        if any(os.path.abspath(path) == os.path.abspath(other) for other in read):
            raise UsageError(f"{path} is read and would be written over. Choose another output with -o.")


def arch_args_of(text: str | None) -> dict[str, Any] | None:
    """The keyword arguments that --arch-args names."""
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--arch-args: expected a JSON object, received {text[:200]!r} ({error}).") from error
    if not isinstance(found, dict):
        raise UsageError(f"--arch-args: expected a JSON object, received {text[:200]!r}.")
    return found


def shape_of(text: str) -> tuple[tuple[int, ...], str]:
    """The lengths and the dtype that an --input names: '1,3,32,32:float32'; float32 where it names none."""
    lengths, _, dtype = text.partition(":")
    try:
        shape = tuple(int(axis.rpartition("=")[2]) for axis in lengths.split(","))
    except ValueError as error:
        raise UsageError(
            f"--input: expected lengths like 1,3,32,32:float32 or batch=2,3,H=32,W=32, received {text!r}."
        ) from error
    if min(shape) < 1:
        raise UsageError(f"--input: expected lengths of 1 or more, received {text!r}.")
    if (dtype or "float32") not in DTYPES:
        raise UsageError(f"--input: expected one of {', '.join(DTYPES)} behind the colon, received {text!r}.")
    if math.prod(shape) > MOST_ELEMENTS:
        raise UsageError(f"--input: {text!r} has {math.prod(shape):,} elements, more than {MOST_ELEMENTS:,}.")
    return shape, dtype or "float32"


def dynamic_of(texts: Sequence[str]) -> list[dict[int, Any]] | None:
    """The axes of any length in each --input: those with a name, `batch=2,L=16`; of one without names the first, `...`.

    None where no input names an axis.
    """
    found: list[dict[int, Any]] = []
    lengths: dict[str, str] = {}
    for text in texts:
        axes: dict[int, Any] = {}
        for axis, said in enumerate(text.partition(":")[0].split(",")):
            name, named, length = said.strip().rpartition("=")
            if not named:
                continue
            if not re.fullmatch(r"[A-Za-z_]\w*", name) or keyword.iskeyword(name):
                raise UsageError(f"--input: expected a name like batch or H before '=', received {said!r}.")
            if lengths.setdefault(name, length) != length:
                raise UsageError(f"--input: {name!r} is {lengths[name]} and {length}; one name is one length.")
            axes[axis] = name
        found.append(axes or {0: ...})
    return found if lengths else None
