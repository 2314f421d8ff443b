"""Gradients of every weight that both models have, in float64: what training would do first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .compare import Array, Diff
from .verdict import Rung, Verdict
from .watch import leaves

LIMIT = 1e-8
"""The norm of a difference relative to the largest norm of all gradients."""
Loss = Callable[[Sequence[tuple[int, ...]]], list[Array]]
"""The shapes of the float outputs -> what each of their elements counts in the loss."""
Gradients = Callable[[Sequence[Array], Loss], dict[str, Array]]
"""Inputs and loss -> the gradient of every trainable weight by its name."""


@dataclass(frozen=True)
class Trained:
    """One model as it is trained: a float64 twin's gradients, and what it is called in the report."""

    name: str
    backend: str
    gradients: Gradients


def judge_gradients(
    verdict: Verdict,
    source: Trained,
    target: Trained,
    pairs: Sequence[tuple[str, str, Callable[[Array], Array]]],
    arrays: tuple[Sequence[Array], Sequence[Array]],
    turned: Callable[[list[Array]], list[Array]],
) -> None:
    """Compare, and put a rung into the verdict. `arrays` are the inputs of each; `turned` makes the target's outputs'
    counterparts of arrays that are like the source's outputs."""
    weights: list[Array] = []

    def mine(shapes: Sequence[tuple[int, ...]]) -> list[Array]:
        rng = np.random.default_rng(0)
        weights[:] = [rng.normal(size=shape) for shape in shapes]
        return weights

    ours = source.gradients(arrays[0], mine)
    theirs = target.gradients(arrays[1], lambda shapes: turned(weights))
    diffs, lone = _compared(ours, theirs, pairs)
    passed: bool | None = all(diff.passed for diff in diffs) if diffs else None
    note = f"{lone} trainable weights have no counterpart that is known" if lone else ""
    if not diffs and ours and theirs:
        passed, note = False, "nothing compared: no trainable weight of one is known to be one of the other"
    against = f"{source.name} float64"
    worst = tuple(sorted(diffs, key=lambda diff: -(diff.max_rel or 0.0))[:20])
    verdict.rungs.append(
        Rung(f"{target.name} gradients", "cpu", target.backend, "float64", against, passed, worst, 1, note)
    )
    if passed is False:
        verdict.passed = False
        verdict.broken = verdict.broken or f"the gradients: {next((d.name for d in worst if not d.passed), note)}"


def _compared(
    ours: Mapping[str, Array],
    theirs: Mapping[str, Array],
    pairs: Sequence[tuple[str, str, Callable[[Array], Array]]],
) -> tuple[list[Diff], int]:
    """(each weight's difference, how many of the source's have no counterpart)."""
    known = [(one, two, way) for one, two, way in pairs if one in ours and two in theirs]
    most = max((float(np.linalg.norm(ours[one])) for one, _, _ in known), default=0.0)
    diffs = []
    for one, two, way in known:
        wanted, gradient = way(ours[one]), theirs[two]
        if wanted.shape != gradient.shape:
            diffs.append(Diff(two, False, f"shape {list(gradient.shape)}, expected {list(wanted.shape)}"))
            continue
        off = float(np.linalg.norm(wanted - gradient))
        good = off <= LIMIT * most
        share = off / most if most > 0 else 0.0 if off == 0 else float("inf")
        reason = "" if good else f"the gradient is {share:.1e} of the largest off"
        diffs.append(Diff(two, good, reason, LIMIT * most, off, share, scale=most, elements=int(gradient.size)))
    return diffs, len({id(value) for value in ours.values()} - {id(ours[one]) for one, _, _ in known})


def of_torch(model: Any, pack: Any = None) -> Gradients:
    """Of a float64 module in eval mode."""

    def gradients(arrays: Sequence[Array], loss: Loss) -> dict[str, Array]:
        import torch

        from .keep64_torch import kept64
        from .run_torch import exact_torch

        found = {name: each for name, each in model.named_parameters() if each.requires_grad}
        model.eval()
        with exact_torch(), torch.enable_grad(), kept64():
            inputs = [torch.from_numpy(np.array(x)) for x in arrays]
            args, named = pack(inputs) if pack is not None else (inputs, {})
            made = torch.autograd.grad(
                _sum(model(*args, **named), loss, torch.from_numpy), list(found.values()), allow_unused=True
            )
        return {name: _numpy(grad, each) for (name, each), grad in zip(found.items(), made, strict=True)}

    return gradients


def of_keras(model: Any) -> Gradients:
    """Of a float64 model at inference, by the path of the variable, on the torch and TensorFlow backends."""

    def gradients(arrays: Sequence[Array], loss: Loss) -> dict[str, Array]:
        import keras

        from .run_keras import float64_keras, packed

        backend = keras.backend.backend()
        variables = list(model.trainable_variables)
        with float64_keras():
            if backend == "torch":
                import torch

                from .run_torch import exact_torch

                with exact_torch(), torch.enable_grad():
                    inputs = packed(model, [torch.from_numpy(np.array(x)) for x in arrays])
                    total = _sum(model(inputs, training=False), loss, torch.from_numpy)
                    values = [variable.value for variable in variables]
                    made = torch.autograd.grad(total, values, allow_unused=True)
            elif backend == "tensorflow":
                import tensorflow as tf

                with tf.GradientTape() as tape:
                    inputs = packed(model, [tf.convert_to_tensor(x) for x in arrays])
                    total = _sum(model(inputs, training=False), loss, tf.convert_to_tensor)
                values = [variable.value for variable in variables]
                made = tape.gradient(total, values, unconnected_gradients="zero")
            else:
                raise ValueError(f"Keras's gradients are taken on torch and TensorFlow, and this is {backend}")
        return {each.path: _numpy(grad, each) for each, grad in zip(variables, made, strict=True)}

    return gradients


def _sum(answer: Any, loss: Loss, tensor: Callable[[Array], Any]) -> Any:
    outputs = [each for each in leaves(answer, lambda x: hasattr(x, "shape")) if "float" in str(each.dtype)]
    weights = loss([tuple(int(n) for n in each.shape) for each in outputs])
    total: Any = 0.0
    for each, weight in zip(outputs, weights, strict=True):
        product = each * tensor(np.ascontiguousarray(weight))
        total = total + (product.sum() if hasattr(product, "sum") else _reduced(product))
    return total


def _reduced(product: Any) -> Any:
    import keras

    return keras.ops.sum(product)


def _numpy(gradient: Any, weight: Any) -> Array:
    if gradient is None:
        return np.zeros(tuple(weight.shape))
    if hasattr(gradient, "detach"):
        gradient = gradient.detach().cpu()
    if hasattr(gradient, "values") and hasattr(gradient, "indices") and not hasattr(gradient, "detach"):
        import tensorflow as tf

        gradient = tf.convert_to_tensor(gradient)  # rows of a table
    return np.array(gradient.numpy())
