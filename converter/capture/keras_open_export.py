"""A Keras layer's call traced on Keras's torch backend: an exported program, in which layers with a row stay whole.

Runs in the process of the model where its backend is torch, else in a worker's (keras_open_worker). THE place of what
is changed in Keras for the time of an export: the `call` of every layer inside, and the dtype of torch.SymInt.
"""

from __future__ import annotations

import contextlib
import functools
import linecache
import logging
import site
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converter import frameworks

KEPT = "kconvert::Kept"
SCOPE = "keras"
LENGTHS = (3, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43)
ROUND = tuple(16 * (i + 2) for i in range(12))
"""Lengths for code that divides them."""
ALIKE = (3, *[7] * 11)
"""Lengths that are one behind the batch, for code that takes several inputs of one length."""
LOOPS = frozenset({"Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "GRU", "LSTM", "RNN", "SimpleRNN"}) | {
    "TimeDistributed"
}
"""Layers that step through time: their call would fix the length, so their shapes are asked for instead."""

Spec = tuple[tuple[int | str, ...], str]
"""Lengths, a word for one that is known at run time only, and the dtype."""


class CannotOpen(Exception):
    """Why a layer's call cannot be traced."""


@dataclass(frozen=True)
class Slot:
    """Where a tensor goes in the arguments or the results of a call."""

    index: int


@dataclass(frozen=True)
class KeptCall:
    """One call of a layer that is kept whole: which layer of `layers_of`, its arguments and results with Slots."""

    layer: int
    cls: str
    args: Any
    kwargs: Any
    outputs: Any
    stack: str


@dataclass
class Traced:
    """An exported program with what belongs to it: the kept calls, and for each constant which variable it is."""

    program: Any
    kept: list[KeptCall]
    variables: dict[str, int]
    outputs: Any
    specs: list[Spec] = field(default_factory=list)


def layers_of(layer: Any) -> list[Any]:
    """The layer and every layer inside it, in an order that does not depend on names."""
    return list(layer._flatten_layers()) if hasattr(layer, "_flatten_layers") else []


def trace(
    layer: Any,
    args: Any,
    kwargs: Any,
    specs: Sequence[Spec],
    keep: Callable[[Any], bool],
) -> Traced:
    """Export `layer(*args, **kwargs)`, Slots being tensors of these specs; `keep` says which layers stay whole.

    `layer` may be a function. Raises CannotOpen with the reason and, where there is one, the line of the user's code.
    """
    failure: CannotOpen | None = None
    for lengths in (LENGTHS, ROUND, ALIKE):
        try:
            return _trace(layer, args, kwargs, specs, keep, lengths)
        except CannotOpen as error:
            failure = failure or error
    raise failure or CannotOpen("it cannot be traced")


def _trace(
    layer: Any, args: Any, kwargs: Any, specs: Sequence[Spec], keep: Callable[[Any], bool], lengths: Sequence[int]
) -> Traced:
    frameworks.before_torch()
    import keras
    import torch
    import torch.onnx.ops

    recorder = _Recorder(layer, keep)
    given, dynamic = examples(specs, lengths)
    results: list[Any] = []

    class Opened(torch.nn.Module):
        """What is exported: the call, its tensors given in a row."""

        def forward(self, *tensors: Any) -> Any:
            positional, named = filled((args, kwargs), tensors)
            made = layer(*positional, **named)
            results[:] = [made]
            return tuple(_plain(leaf) for leaf in keras.tree.flatten(made) if leaf is not None)

    filtering = keras.config.is_traceback_filtering_enabled()
    keras.config.disable_traceback_filtering()
    try:
        with contextlib.ExitStack() as stack:
            for setting in (recorder.patched(), _symbolic_sizes(), quiet(), torch.no_grad()):
                stack.enter_context(setting)
            stack.enter_context(torch.fx.traceback.preserve_node_meta())
            program = torch.export.export(Opened(), tuple(given), dynamic_shapes=(tuple(dynamic),), strict=False)
    except Exception as error:
        raise CannotOpen(_reason(error)) from error
    finally:
        if filtering:
            keras.config.enable_traceback_filtering()
    program.graph.eliminate_dead_code()
    return Traced(program, recorder.kept, _variables(layer, program), _slots(results[0]), list(specs))


def examples(specs: Sequence[Spec], lengths: Sequence[int]) -> tuple[list[Any], list[Any]]:
    """A tensor for each spec, and which of its axes are dynamic; the same word is the same length everywhere."""
    import torch

    chosen: dict[str, int] = {}
    made: list[Any] = []
    dynamic: list[Any] = []
    for shape, dtype in specs:
        for length in shape:
            if isinstance(length, str) and length not in chosen:
                number = len(chosen)
                chosen[length] = lengths[min(number, len(lengths) - 1)]
        sizes = tuple(length if isinstance(length, int) else chosen[length] for length in shape)
        kind = getattr(torch, dtype)
        made.append(torch.ones(sizes, dtype=kind) if kind == torch.bool else torch.zeros(sizes, dtype=kind))
        dynamic.append({i: torch.export.Dim.AUTO for i, length in enumerate(shape) if isinstance(length, str)})
    return made, dynamic


def filled(structure: Any, tensors: Sequence[Any]) -> Any:
    """The structure with the tensors in its Slots."""
    if isinstance(structure, Slot):
        return tensors[structure.index]
    if isinstance(structure, Mapping):
        return {key: filled(value, tensors) for key, value in structure.items()}
    if isinstance(structure, (list, tuple)):
        parts = [filled(value, tensors) for value in structure]
        named = isinstance(structure, tuple) and hasattr(structure, "_fields")
        return type(structure)(*parts) if named else type(structure)(parts)
    return structure


def _plain(value: Any) -> Any:
    """A tensor where Keras has its own kind of one, a variable that is returned."""
    import keras

    return keras.ops.convert_to_tensor(value)


def _slots(structure: Any) -> Any:
    """The structure of results with a Slot for each tensor, in Keras's order; None stays."""
    import keras

    leaves = keras.tree.flatten(structure)
    numbers = iter(range(len(leaves)))
    return keras.tree.pack_sequence_as(structure, [None if leaf is None else Slot(next(numbers)) for leaf in leaves])


class _Recorder:
    """What stands for the layers' own `call` while a program is exported."""

    def __init__(self, root: Any, keep: Callable[[Any], bool]) -> None:
        self.layers = layers_of(root)
        self.keep = keep
        self.kept: list[KeptCall] = []
        self.stack: list[str] = []
        self.calls: dict[int, int] = {}
        self.inside = False

    @contextlib.contextmanager
    def patched(self) -> Iterator[None]:
        """Every layer's call replaced, on the instances; as before on leaving."""
        changed: list[tuple[Any, Any]] = []
        try:
            for index, layer in enumerate(self.layers):
                before = vars(layer).get("call", self)
                changed.append((layer, before))
                whole = index > 0 and self.keep(layer)
                vars(layer)["call"] = self._whole(index, layer) if whole else self._opened(index, layer)
            yield
        finally:
            for layer, before in changed:
                if before is self:
                    vars(layer).pop("call", None)
                else:
                    vars(layer)["call"] = before

    def _opened(self, index: int, layer: Any) -> Any:
        import torch

        own = layer.call

        @functools.wraps(own)
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.inside:
                return own(*args, **kwargs)
            self.stack.append(f"{index}#{self._count(index)}")
            try:
                with torch.fx.traceback.annotate({SCOPE: "/".join(self.stack)}):
                    return own(*args, **kwargs)
            finally:
                self.stack.pop()

        return call

    def _whole(self, index: int, layer: Any) -> Any:
        own = layer.call

        @functools.wraps(own)
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.inside:
                return own(*args, **kwargs)
            self.inside = True
            try:
                return self._one_node(index, layer, own, args, kwargs)
            finally:
                self.inside = False

        return call

    def _count(self, index: int) -> int:
        call = self.calls.get(index, 0)
        self.calls[index] = call + 1
        return call

    def _one_node(self, index: int, layer: Any, own: Any, args: Any, kwargs: Any) -> Any:
        """One symbolic node for the call, with the shapes of what the call gives."""
        import keras
        import torch

        tensors: list[Any] = []

        def slot(value: Any) -> Any:
            if isinstance(value, keras.Variable):
                value = keras.ops.convert_to_tensor(value)
            if not isinstance(value, torch.Tensor):
                return value
            tensors.append(value)
            return Slot(len(tensors) - 1)

        given, named = keras.tree.map_structure(slot, (args, dict(kwargs)), none_is_leaf=True)
        if not tensors:
            return own(*args, **kwargs)
        made = _asked(layer, own, args, kwargs)
        leaves = [leaf for leaf in keras.tree.flatten(made) if leaf is not None]
        stack = "/".join([*self.stack, f"{index}#{self._count(index)}"])
        self.kept.append(KeptCall(index, type(layer).__name__, given, named, _slots(made), stack))
        nodes = [
            torch.onnx.ops.symbolic(  # one for each result: a list of shapes cannot be saved
                KEPT,
                tensors,
                {"number": len(self.kept) - 1, "output": i},
                dtype=leaf.dtype,
                shape=tuple(leaf.shape),
            )
            for i, leaf in enumerate(leaves)
        ]
        return filled(_slots(made), nodes)


def _asked(layer: Any, own: Any, args: Any, kwargs: Any) -> Any:
    """Tensors of the shapes and dtypes that a call gives; its nodes are read by nobody and go with the dead code."""
    import keras
    import torch

    if type(layer).__name__ not in LOOPS:
        return own(*args, **kwargs)
    x = args[0] if args else next(iter(kwargs.values()))
    shapes = layer.compute_output_shape(tuple(x.shape))
    kind = getattr(torch, keras.backend.standardize_dtype(layer.compute_dtype))
    if isinstance(shapes, (list, tuple)) and shapes and isinstance(shapes[0], (list, tuple)):
        return tuple(torch.zeros(tuple(shape), dtype=kind) for shape in shapes)
    return torch.zeros(tuple(shapes), dtype=kind)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without torch's log of what it could not trace: that is told as a refusal."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.ERROR))
    try:
        yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _symbolic_sizes() -> Iterator[None]:
    """`keras.ops.arange(n)` of a symbolic size: its dtype is that of a whole number, as it is before on leaving."""
    import torch
    from keras.src.backend.common import dtypes

    table: dict[Any, str] = dtypes.PYTHON_DTYPES_MAP
    known = torch.SymInt in table
    table.setdefault(torch.SymInt, table[int])
    try:
        yield
    finally:
        if not known:
            table.pop(torch.SymInt, None)


def _variables(layer: Any, program: Any) -> dict[str, int]:
    """Placeholder -> the place of its variable in `layer.variables`, found by the memory that both have."""
    from converter.capture.torch_nodes import storage

    known = {storage(variable.value.detach()): i for i, variable in enumerate(getattr(layer, "variables", ()))}
    signature = program.graph_signature
    found: dict[str, int] = {}
    for path in signature.inputs_to_lifted_tensor_constants.values():
        place = known.get(storage(program.constants[path]))
        if place is not None:
            found[path] = place
    return found


def _reason(error: BaseException) -> str:
    """What torch.export or the user's code says, and the line of the user's code at which it does."""
    text = str(error).strip()
    first = (text.splitlines() or [type(error).__name__])[0]
    kind = type(error).__name__
    if "data-dependent" in text or kind in ("GuardOnDataDependentSymNode", "DataDependentOutputException"):
        first = "it branches on the numbers of a tensor, or needs them as Python numbers, which no graph can hold"
    elif _in_tensorflow(error):
        first = "its call is raw TensorFlow, which works on TensorFlow's tensors alone"
    else:
        first = f"torch.export cannot trace its call: {first}"
    line = _line(error)
    return f"{first} ({line})" if line else first


def _in_tensorflow(error: BaseException | None) -> bool:
    """Whether the user's code has called TensorFlow, which Keras on torch never does."""
    while error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        if any("/tensorflow/" in frame.filename.replace("\\", "/") for frame in frames):
            return True
        error = error.__cause__ or error.__context__
    return False


def _line(error: BaseException | None) -> str:
    """The innermost line of code that is neither Keras's, nor PyTorch's, nor Python's, nor ours."""
    ours = [str(Path(__file__).parents[2] / "converter"), sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")]
    ours += [*site.getsitepackages(), "<frozen", "<string"]
    while error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        for frame in reversed(frames):
            inside = any(frame.filename.startswith(place) for place in ours)
            user = not inside or "keras_hub" in frame.filename
            if user:
                code = frame.line or linecache.getline(frame.filename, frame.lineno or 0)
                return f"{frame.filename}, line {frame.lineno}: {code.strip()}".rstrip(": ")
        error = error.__cause__ or error.__context__
    return ""


__all__ = ["CannotOpen", "KeptCall", "Slot", "Traced", "layers_of", "trace"]
