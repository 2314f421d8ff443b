"""How 'same', 'valid' and 'causal' become numbers of padded elements.

TensorFlow's 'same' gives an output of ceil(size / stride) and puts the odd element behind:
total = max((ceil(size / stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0), total // 2 of it in front.
With stride 1 the total does not depend on the size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from converter.ops.base import Dims, Refusal
from converter.ops.records import Call, Layer


def windows_of(found: dict[str, Any], kernel: Sequence[int | None]) -> dict[str, Any]:
    """The fields of a window, with the kernel's size and strides where the node does not give them."""
    size = found.get("kernel_shape") or tuple(d or 0 for d in kernel)
    ones = (1,) * len(size)
    return {"kernel_shape": size, "strides": ones} | found


def sides(
    auto_pad: str,
    pads: Sequence[int] | None,
    sizes: Dims,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> tuple[tuple[int, int], ...] | None:
    """ONNX's auto_pad and pads as padded elements per axis; None for 'same' where they depend on an unknown size.

    Raises LookupError for 'same' with the odd element in front where the size is not known.
    """
    if auto_pad == "NOTSET":
        return pairs_of(pads or (0, 0) * len(kernel))
    if auto_pad == "VALID":
        return ((0, 0),) * len(kernel)
    pairs = resolve("same", sizes, kernel, strides, dilations).pairs
    if auto_pad == "SAME_UPPER":
        return pairs
    if auto_pad != "SAME_LOWER" or pairs is None:
        raise LookupError(f"auto_pad={auto_pad} needs a size that is known before run time")
    return tuple((back, front) for front, back in pairs)


@dataclass(frozen=True)
class Pads:
    """Padded elements per spatial axis, (in front, behind); None where only the run-time size tells."""

    pairs: tuple[tuple[int, int], ...] | None

    @property
    def onnx(self) -> tuple[int, ...]:
        """As ONNX has them: all the fronts, then all the backs."""
        pairs = self.pairs or ()
        return (*(front for front, _ in pairs), *(back for _, back in pairs))


def same(size: int | None, kernel: int, stride: int, dilation: int) -> tuple[int, int] | None:
    """'same' for one axis; None for an unknown size with a stride that makes the padding depend on it."""
    reach = (kernel - 1) * dilation + 1
    if size is None:
        if stride != 1:
            return None
        total = reach - 1
    else:
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


def resolve(padding: str, sizes: Dims, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> Pads:
    """A layer's padding argument as numbers."""
    if padding == "valid":
        return Pads(((0, 0),) * len(kernel))
    if padding == "causal":
        return Pads(tuple(((k - 1) * d, 0) for k, d in zip(kernel, dilations, strict=True)))
    pairs = [same(n, k, s, d) for n, k, s, d in zip(sizes, kernel, strides, dilations, strict=True)]
    known = [p for p in pairs if p is not None]
    return Pads(tuple(known) if len(known) == len(pairs) else None)


def pairs_of(pads: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """ONNX's pads as (front, back) per axis."""
    half = len(pads) // 2
    return tuple(zip(pads[:half], pads[half:], strict=True))


def torch_pads(pairs: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """As F.pad takes them: the last axis first."""
    return tuple(n for pair in reversed(pairs) for n in pair)


def padded(x: Any, pairs: Sequence[tuple[int, int]], value: float | None = None) -> Any:
    """`x` behind an F.pad; `x` itself where there is nothing to pad."""
    if not any(n for pair in pairs for n in pair):
        return x
    return Call("F.pad", (x, torch_pads(pairs)), {} if value is None else {"value": value})


def zero_padding(x: Any, pairs: Sequence[tuple[int, int]]) -> Any:
    """`x` behind a Keras ZeroPadding layer."""
    equal = all(front == back for front, back in pairs)
    padding = scalar([front for front, _ in pairs]) if equal else tuple(pairs) if len(pairs) > 1 else pairs[0]
    return Layer(f"ZeroPadding{len(pairs)}D", {"padding": padding}, inputs=(x,))


class Window(Protocol):
    """An op whose window slides over padded axes."""

    @property
    def auto_pad(self) -> str: ...
    @property
    def pads(self) -> tuple[int, ...] | None: ...


def around(window: Window, pairs: Sequence[tuple[int, int]]) -> Pads | None:
    """A window's padding with more around it; None where the sides differ or its own depends on a size."""
    own = pairs_of(window.pads or (0, 0) * len(pairs))
    total = tuple((a + c, b + d) for (a, b), (c, d) in zip(own, pairs, strict=True))
    alike = window.auto_pad == "NOTSET" and all(front == back >= 0 for front, back in total)
    return Pads(total) if alike else None


def batched(shape: Dims, spatial: int) -> None:
    """Refusal for a single example, (C, ...) without a batch axis, where `spatial` axes lie behind the channels."""
    if len(shape) != spatial + 2:
        shown = ", ".join("N" if d is None else str(d) for d in shape)
        raise Refusal(
            f"its input ({shown}) is a single example, without a batch axis.",
            f"Give the example inputs a batch axis: (1, {shown}).",
        )


def spread(values: int | Sequence[int], rank: int) -> tuple[int, ...]:
    """torch's number, or list of one number or of one per axis, as one number per axis."""
    given = (values,) if isinstance(values, int) else tuple(values)
    return given * rank if len(given) == 1 else given


def length(
    size: int | None, kernel: int, stride: int, dilation: int, pads: tuple[int, int], ceil: bool = False
) -> int | None:
    """The output length of a window that slides."""
    if size is None:
        return None
    room = size + sum(pads) - (kernel - 1) * dilation - 1
    return (-(-room // stride) if ceil else room // stride) + 1


def scalar(values: Sequence[int]) -> int | tuple[int, ...]:
    """(3, 3) -> 3, as a person would write it; (3, 5) stays."""
    return values[0] if len(set(values)) == 1 else tuple(values)
