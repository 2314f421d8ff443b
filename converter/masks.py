"""Where masks come from and which layers they reach, for live models and files alike: the walk over a model's calls.

Keras derives operations from a mask (NotEqual, Any, ...) and passes their result on as a keyword; what a user can
change is the layer that makes the mask, so that layer is named in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

from converter.errors import Item

MERGES = frozenset({"Maximum", "Minimum", "Multiply"})
"""Layers without a mask argument that look at the masks of their inputs."""

USES = MERGES | (
    frozenset({"GlobalAveragePooling1D", "Softmax", "RNN", "LSTM", "GRU", "SimpleRNN", "Bidirectional"})
    | {"ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "TimeDistributed"}
    | {"Attention", "AdditiveAttention", "MultiHeadAttention", "GroupQueryAttention"}
)
"""Layers whose answer depends on the mask that reaches them."""

ENDS = frozenset({"GlobalAveragePooling1D"})
"""Layers that use a mask and hand none on."""

CARRIES = frozenset(
    {"Activation", "ActivityRegularization", "Add", "AlphaDropout", "Average", "BatchNormalization", "Concatenate"}
    | {"Dense", "Dot", "Dropout", "ELU", "GaussianDropout", "GaussianNoise", "GroupNormalization", "Identity"}
    | {"LayerNormalization", "LeakyReLU", "Masking", "Normalization", "PReLU", "ReLU", "Rescaling"}
    | {"SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "Subtract", "UnitNormalization"}
) | (USES - ENDS - {"Attention", "AdditiveAttention"})
"""Layers of Keras that hand a mask on with their output: their `supports_masking`."""

DERIVED = {"Masking": ("NotEqual", "Any"), "Embedding": ("NotEqual",)}
"""The operations by which Keras computes the mask of a layer."""

GIVEN = "mask= of its call"
"""What makes the mask of a layer that is handed one as an argument, and hands it on."""
REACHED = "a mask reaches it, and masks are not converted yet."
TODO = "Remove Masking or mask_zero=True."


@dataclass(frozen=True)
class Call:
    """One call of a layer (or of an operation: `layer` False). Tensors are known by keys that the caller chooses.

    `makes` says what makes the call a source of masks ('mask_zero=True'), '' elsewhere; `mask` are the tensors that it
    is given as masks by keyword; `implied`: Keras passes masks on when it builds the model, the file does not show it.
    """

    path: str
    cls: str
    inputs: Sequence[Hashable]
    outputs: Sequence[Hashable]
    mask: Sequence[Hashable] = ()
    makes: str = ""
    carries: bool = False
    layer: bool = True
    implied: bool = False


def makes(cls: str, mask_zero: object) -> str:
    """What makes a layer a source of masks, '' where nothing does."""
    return "Masking" if cls == "Masking" else "mask_zero=True" if mask_zero else ""


def is_mask(keyword: str) -> bool:
    """Whether a keyword of a call is a mask that Keras passes on by itself."""
    return keyword == "mask" or (keyword.endswith("_mask") and keyword != "attention_mask")


def causes(
    calls: Sequence[Call],
    results: Iterable[Hashable],
    items: Sequence[Item],
    takes: Callable[[str], bool],
    operation: Callable[[str], bool],
) -> list[Item]:
    """The refusals with each one that a mask has caused said of the layer that makes the mask.

    `calls` in their order, `results` what the model returns; `takes` tells whether the row of a layer takes a mask,
    `operation` whether an operation has a row.
    """
    refused = {item.where: item for item in items}
    derived = _derived(calls, set(results))
    producers = {key: call for call in calls if call.path in derived for key in call.outputs}
    carried: dict[Hashable, Call] = {}
    reached: dict[tuple[str, str], list[Call]] = {}
    gone: set[str] = set()
    for call in calls:
        source = next((carried[key] for key in call.inputs if key in carried), None)
        steps = _upstream(call.mask, producers)
        if source is not None:
            own = call.path in refused and "mask" in refused[call.path].why
            if call.mask:
                blocked = not takes(call.cls) or any(step in refused for step in steps)
            else:
                blocked = not _implied(call, source, takes, operation)
            if own or (call.cls in USES and blocked):
                reached.setdefault((source.path, source.cls), []).append(call)
            gone |= steps | ({call.path} if own else set())
        if call.makes or (source is not None and call.carries):
            carried |= dict.fromkeys(call.outputs, call if call.makes or source is None else source)
        elif call.mask and call.carries:
            carried |= dict.fromkeys(call.outputs, replace(call, makes=GIVEN))
    kept = [item for item in items if item.where not in gone or not ("mask" in item.why or item.where in derived)]
    made = {(call.path, call.cls): call.makes for call in calls if call.makes}
    for (path, cls), users in reached.items():
        names = list(dict.fromkeys(f"{user.path!r} ({user.cls})" for user in users))
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        how = "its mask" if cls == made.get((path, cls)) else f"the mask that {made.get((path, cls), GIVEN)} makes"
        kept.append(Item(path, cls, f"{how} reaches {names[0]}{more}, and masks are not converted yet.", TODO))
    return kept


def _implied(call: Call, source: Call, takes: Callable[[str], bool], operation: Callable[[str], bool]) -> bool:
    """Whether Keras passes the mask on by keyword to a row that takes it, by operations that have rows."""
    return call.implied and takes(call.cls) and all(map(operation, DERIVED.get(source.cls, ())))


def _upstream(keys: Sequence[Hashable], producers: dict[Hashable, Call]) -> set[str]:
    """The paths of the operations that compute these tensors."""
    found: set[str] = set()
    stack = list(keys)
    while stack:
        call = producers.get(stack.pop())
        if call is not None and call.path not in found:
            found.add(call.path)
            stack.extend(call.inputs)
    return found


def _derived(calls: Sequence[Call], results: set[Hashable]) -> set[str]:
    """The paths of operations whose results are read as masks only, or by such operations only."""
    needed = set(results)
    found: set[str] = set()
    for call in reversed(calls):
        if call.layer or any(key in needed for key in call.outputs):
            needed.update(call.inputs)
        else:
            found.add(call.path)
    return found
