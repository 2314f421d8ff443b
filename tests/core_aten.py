"""The rows of core ATen as PyTorch functions in families, and what has no row, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tests import core_aten_moves as moves

aten = torch.ops.aten


@dataclass(frozen=True)
class Family:
    """Functions of the same inputs, by name.

    `ort`, `keras`: rows that onnxruntime computes otherwise, and that Keras cannot say, with the reason; `fixed`: those
    whose dtype does not follow the module's.
    """

    rows: dict[str, Callable[..., Any]]
    inputs: Callable[[], tuple[Tensor, ...]]
    ort: dict[str, str] = field(default_factory=dict)
    keras: dict[str, str] = field(default_factory=dict)
    fixed: frozenset[str] = frozenset()


def floats(*shape: int) -> Tensor:
    """Seeded floats, none of them near a corner of a function."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def special() -> tuple[Tensor, ...]:
    """What functions trip over: zeros of both signs, halves, infinities, NaN."""
    inf, nan = float("inf"), float("nan")
    return (
        torch.tensor(
            [[0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -1.5], [inf, -inf, nan, 3.7, -3.7, 1e-8, -1e-8]], dtype=torch.float64
        ),
    )


def whole() -> tuple[Tensor, ...]:
    """Integers, of both signs."""
    return (torch.tensor([[7, -7, 3, 0], [-2, 5, 1, -9]], dtype=torch.int32),)


def angles() -> tuple[Tensor, ...]:
    """Numbers inside (-1, 1)."""
    return (floats(3, 5).tanh(),)


def named(*names: str) -> dict[str, Callable[..., Any]]:
    return {name: getattr(torch, name) for name in names}


UNARY = named("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "atanh", "erf", "erfc", "expm1")
SPECIAL = named("log", "log2", "log10", "log1p", "expm1", "sqrt", "rsqrt", "reciprocal", "exp2", "square", "exp")
ROUNDING = named("floor", "ceil", "round", "trunc", "frac", "sign", "sgn", "neg", "abs")


def pairs() -> tuple[Tensor, ...]:
    """Every sign of dividend and divisor, quotients that are whole, and zeros of both signs."""
    a = torch.tensor([7.5, -7.5, 7.5, -7.5, 6.0, -6.0, 0.0, -0.0, 1e-3, 0.3, -0.3, 5.0], dtype=torch.float64)
    b = torch.tensor([2.0, 2.0, -2.0, -2.0, 3.0, 3.0, -1.5, 2.0, 0.7, 0.1, 0.1, -0.2], dtype=torch.float64)
    return a, b


def whole_pairs() -> tuple[Tensor, ...]:
    """Integers of both signs, none of the second 0."""
    return torch.tensor([7, -7, 7, -7, 6, -6, 0, 1]), torch.tensor([2, 2, -2, -2, 3, 3, -5, 4])


def mixed() -> tuple[Tensor, ...]:
    """float, int32, int64, bool, and a float without axes."""
    return (
        floats(4, 3),
        torch.arange(3, dtype=torch.int32) - 1,
        torch.arange(12).reshape(4, 3) % 5,
        torch.tensor([True, False, True]),
        torch.tensor(1.5, dtype=torch.float64),
    )


REMAINDERS: dict[str, Callable[..., Any]] = {
    "remainder": lambda a, b: a % b,
    "remainder_number": lambda a, b: a % -3,
    "remainder_of_number": lambda a, b: torch.remainder(7, b),
    "fmod": torch.fmod,
    "fmod_number": lambda a, b: torch.fmod(a, -3),
    "floor": lambda a, b: a // b,
    "floor_number": lambda a, b: a // -3,
    "floor_mode": lambda a, b: torch.div(a, b, rounding_mode="floor"),
    "trunc_mode": lambda a, b: torch.div(a, b, rounding_mode="trunc"),
    "trunc_number": lambda a, b: torch.div(a, -3, rounding_mode="trunc"),
    "true": lambda a, b: a / b,
    "true_number": lambda a, b: a / 3,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "copysign": torch.copysign,
    "atan2": torch.atan2,
}
PROMOTED: dict[str, Callable[..., Any]] = {
    "float_int": lambda f, i, j, b, s: f + i,
    "float_long": lambda f, i, j, b, s: f * j,
    "float_bool": lambda f, i, j, b, s: f * b,
    "int_long": lambda f, i, j, b, s: i + j,
    "int_bool": lambda f, i, j, b, s: i * b,
    "int_number": lambda f, i, j, b, s: i + 2,
    "int_float_number": lambda f, i, j, b, s: i * 2.5,
    "long_float_number": lambda f, i, j, b, s: 1.5 - j,
    "bool_number": lambda f, i, j, b, s: b + 1,
    "float_scalar": lambda f, i, j, b, s: f * s,
    "int_scalar": lambda f, i, j, b, s: i * s,
    "scalar_number": lambda f, i, j, b, s: s * 3,
    "int_division": lambda f, i, j, b, s: i / 2,
    "alpha": lambda f, i, j, b, s: torch.add(f, j, alpha=2),
    "int_alpha": lambda f, i, j, b, s: torch.sub(i, j, alpha=3),
    "power_int": lambda f, i, j, b, s: i**2,
    "power_long": lambda f, i, j, b, s: i**j,
    "power_float": lambda f, i, j, b, s: j**0.5,
    "power_of_number": lambda f, i, j, b, s: 2**j,
    "power_mixed": lambda f, i, j, b, s: f**i,
    "greater": lambda f, i, j, b, s: f > i,
    "less_number": lambda f, i, j, b, s: i < 0.5,
    "equal_bool": lambda f, i, j, b, s: b == j,
    "less_bool": lambda f, i, j, b, s: b < True,
    "not_equal": lambda f, i, j, b, s: j != 2,
    "where": lambda f, i, j, b, s: torch.where(b, f, i),
    "where_number": lambda f, i, j, b, s: torch.where(b, i, 2.5),
    "where_numbers": lambda f, i, j, b, s: torch.where(b, 1, 2),
    "filled": lambda f, i, j, b, s: i.masked_fill(b, 7),
    "filled_scalar": lambda f, i, j, b, s: j.masked_fill(b, torch.tensor(3.0)),
    "cast": lambda f, i, j, b, s: f.to(torch.int64),
    "cast_bool": lambda f, i, j, b, s: f.bool(),
    "cast_as": lambda f, i, j, b, s: i.type_as(j),
    "lerp": lambda f, i, j, b, s: torch.lerp(f, f * 2, 0.25),
    "addcmul": lambda f, i, j, b, s: torch.addcmul(f, f, f, value=0.3),
    "addcdiv": lambda f, i, j, b, s: torch.addcdiv(f, f, f.exp(), value=3),
    "addcmul_int": lambda f, i, j, b, s: torch.addcmul(i, i, i, value=2),
    "hypot": lambda f, i, j, b, s: torch.hypot(f, f + s),
}
BITS: dict[str, Callable[..., Any]] = {
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "not": lambda a, b: ~a,
    "and_number": lambda a, b: a & 6,
    "left": lambda a, b: a << 2,
    "left_by": lambda a, b: a << b.abs(),
    "right": lambda a, b: a >> 1,
    "right_by": lambda a, b: a >> b.abs(),
    "bools_and": lambda a, b: (a > 0) & (b > 0),
    "bools_or": lambda a, b: (a > 0) | (b > 0),
    "bools_xor": lambda a, b: (a > 0) ^ (b > 0),
    "bools_not": lambda a, b: ~(a > 0),
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
    "logical_not": lambda a, b: torch.logical_not(a),
}


def volume() -> tuple[Tensor, ...]:
    """Floats, integers with equals, truth values, and a number without axes."""
    x = floats(3, 4, 5)
    return x, (x * 3).to(torch.int32), x > 0, torch.tensor(2.5, dtype=torch.float64)


def assigned(mask: Callable[[Tensor, Tensor], Any], value: float | Tensor) -> Callable[..., Any]:
    """x with elements overwritten in place."""

    def row(x: Tensor, i: Tensor, b: Tensor, s: Tensor) -> Tensor:
        x = x * 1
        x[mask(x, b)] = value
        return x

    return row


def over(*names: str) -> dict[str, Callable[..., Any]]:
    """Reductions of floats: of everything, over one axis and several, from the end, with the axes kept."""

    def rows(name: str) -> dict[str, Callable[..., Any]]:
        call: Any = getattr(torch, name)
        return {
            f"{name}_all": lambda x, i, b, s: call(x),
            f"{name}_one": lambda x, i, b, s: call(x, 1),
            f"{name}_last": lambda x, i, b, s: call(x, -1, keepdim=True),
            f"{name}_first": lambda x, i, b, s: call(x, 0),
        }

    return {key: row for name in names for key, row in rows(name).items()}


def several(*names: str) -> dict[str, Callable[..., Any]]:
    def row(name: str) -> Callable[..., Any]:
        call: Any = getattr(torch, name)
        return lambda x, i, b, s: call(x, (-1, 0), keepdim=True)

    return {f"{name}_several": row(name) for name in names}


REDUCED: dict[str, Callable[..., Any]] = {
    **over("sum", "mean", "prod", "var", "std", "argmax", "argmin", "max", "min"),
    **several("sum", "mean", "amax", "amin", "var", "std", "logsumexp"),
    "amax": lambda x, i, b, s: x.amax(),
    "amin": lambda x, i, b, s: x.amin((1, 2)),
    "sum_int": lambda x, i, b, s: i.sum(1),
    "sum_bool": lambda x, i, b, s: b.sum(),
    "sum_dtype": lambda x, i, b, s: i.sum(1, dtype=torch.float32),
    "sum_number": lambda x, i, b, s: x.amax().sum(),
    "sum_empty": lambda x, i, b, s: x.sum(()),
    "mean_dtype": lambda x, i, b, s: i.mean(1, dtype=torch.float32),
    "mean_number": lambda x, i, b, s: x.amax().mean(),
    "prod_int": lambda x, i, b, s: i.prod(0),
    "prod_bool": lambda x, i, b, s: b.prod(1),
    "max_int": lambda x, i, b, s: i.amax(2),
    "max_bool": lambda x, i, b, s: b.amax(2),
    "max_int_dim": lambda x, i, b, s: i.max(2),
    "min_int_dim": lambda x, i, b, s: i.min(0, keepdim=True),
    "argmax_ties": lambda x, i, b, s: i.argmax(1),
    "argmax_kept": lambda x, i, b, s: x.argmax(keepdim=True),
    "any": lambda x, i, b, s: b.any(),
    "any_dim": lambda x, i, b, s: b.any(1),
    "any_dims": lambda x, i, b, s: b.any((0, 2), keepdim=True),
    "any_int": lambda x, i, b, s: i.any(-1),
    "all": lambda x, i, b, s: b.all(),
    "all_dim": lambda x, i, b, s: b.all(1, keepdim=True),
    "all_dims": lambda x, i, b, s: (x < 1).all((0, 2)),
    "var_correction": lambda x, i, b, s: x.var(1, correction=2),
    "var_whole": lambda x, i, b, s: x.var((1, 2), correction=0),
    "var_mean": lambda x, i, b, s: torch.var_mean(x, 1),
    "var_mean_correction": lambda x, i, b, s: torch.var_mean(x, (0, 1), correction=0, keepdim=True),
    "std_biased": lambda x, i, b, s: x.std(2, unbiased=False),
    "std_mean": lambda x, i, b, s: torch.std_mean(x, 2),
    "norm": lambda x, i, b, s: x.norm(),
    "norm_dim": lambda x, i, b, s: x.norm(dim=1),
    "norm_1": lambda x, i, b, s: torch.linalg.vector_norm(x, 1, (0, 2)),
    "norm_2": lambda x, i, b, s: torch.linalg.vector_norm(x, 2, -1, keepdim=True),
    "norm_3": lambda x, i, b, s: x.norm(3, 1),
    "norm_0": lambda x, i, b, s: torch.linalg.vector_norm(x, 0, 1),
    "norm_inf": lambda x, i, b, s: torch.linalg.vector_norm(x, float("inf"), 1),
    "norm_least": lambda x, i, b, s: torch.linalg.vector_norm(x, float("-inf"), 1),
    "logsumexp": lambda x, i, b, s: torch.logsumexp(x, 1),
}
SOFT: dict[str, Callable[..., Any]] = {
    "softmax": lambda x, i, b, s: torch.softmax(x, 1),
    "softmax_last": lambda x, i, b, s: torch.softmax(x, -1),
    "softmax_dtype": lambda x, i, b, s: torch.softmax(i, 0, dtype=torch.float32) + 1.0,
    "softmax_number": lambda x, i, b, s: torch.softmax(x.amax(), 0),
    "log_softmax": lambda x, i, b, s: torch.log_softmax(x, 0),
    "special": lambda x, i, b, s: torch.special.log_softmax(x, 2),
    "cumsum": lambda x, i, b, s: x.cumsum(1),
    "cumsum_int": lambda x, i, b, s: i.cumsum(-1),
    "cumsum_bool": lambda x, i, b, s: b.cumsum(0),
    "cumsum_dtype": lambda x, i, b, s: i.cumsum(0, dtype=torch.float32),
    "cumsum_number": lambda x, i, b, s: x.amax().cumsum(0),
    "cumprod": lambda x, i, b, s: x.cumprod(1),
    "cumprod_first": lambda x, i, b, s: x.cumprod(0),
    "cumprod_last": lambda x, i, b, s: i.cumprod(-1),
    "sort": lambda x, i, b, s: x.sort(1),
    "sort_down": lambda x, i, b, s: x.sort(-1, descending=True),
    "sort_ties": lambda x, i, b, s: i.sort(dim=2, stable=True),
    "sort_ties_down": lambda x, i, b, s: i.sort(dim=1, descending=True, stable=True),
    "sort_bools": lambda x, i, b, s: b.sort(dim=1, stable=True)[0],
    "argsort": lambda x, i, b, s: x.argsort(0),
    "argsort_stable": lambda x, i, b, s: i.argsort(dim=1, descending=True, stable=True),
    "topk": lambda x, i, b, s: x.topk(2, 1),
    "topk_last": lambda x, i, b, s: x.topk(3),
    "topk_least": lambda x, i, b, s: x.topk(2, 0, largest=False),
}
BOUNDED: dict[str, Callable[..., Any]] = {
    "clamp": lambda x, i, b, s: x.clamp(-0.3, 0.7),
    "clamp_low": lambda x, i, b, s: x.clamp(min=0.1),
    "clamp_zero": lambda x, i, b, s: x.clamp_min(0),
    "clamp_high": lambda x, i, b, s: x.clamp_max(0.7),
    "clamp_crossed": lambda x, i, b, s: x.clamp(0.7, -0.3),
    "clamp_int": lambda x, i, b, s: i.clamp(-1, 2),
    "clamp_int_float": lambda x, i, b, s: i.clamp(-1, 1.5),
    "clamp_tensors": lambda x, i, b, s: torch.clamp(x, x[0] - 1, s),
    "clamp_tensor": lambda x, i, b, s: torch.clamp(x, min=x[0]),
    "clamp_min_tensor": lambda x, i, b, s: torch.clamp_min(i, i[0]),
    "clip": lambda x, i, b, s: torch.clip(x, -0.5, 0.5),
    "assigned": assigned(lambda x, b: b, 0.5),
    "assigned_first": assigned(lambda x, b: x[:, :, 0] > 0, 2),
    "assigned_last": assigned(lambda x, b: (slice(None), slice(None), x[0, 0] > 0), 2.5),
}

FAMILIES: dict[str, Family] = {
    "angles": Family({**UNARY, "acosh": lambda x: torch.acosh(x + 2.5), "log1p": torch.log1p}, angles),
    "special": Family(SPECIAL, special),
    "rounding": Family(
        {**ROUNDING, "tenths": lambda x: torch.round(x, decimals=1), "tens": lambda x: torch.round(x, decimals=-1)},
        special,
        ort=dict.fromkeys(("sign", "sgn"), "ONNX's Sign of NaN is NaN, PyTorch's is 0"),
    ),
    "whole": Family(
        {
            **{k: v for k, v in ROUNDING.items() if k != "frac"},
            "exp2": torch.exp2,
            "sin": torch.sin,
            "sqrt": lambda x: torch.sqrt(x * x),
            "erf": torch.erf,
        },
        whole,
        fixed=frozenset({"exp2", "sin", "sqrt", "erf"}),
    ),
    "asked": Family(named("isnan", "isinf", "isposinf", "isneginf", "isfinite", "logical_not"), special),
    "asked_whole": Family(named("isnan", "isinf", "isfinite"), whole),
    "remainders": Family({**REMAINDERS, "hypot": torch.hypot}, pairs),
    "whole_remainders": Family(REMAINDERS, whole_pairs, fixed=frozenset({"true", "true_number", "copysign", "atan2"})),
    "promoted": Family(
        PROMOTED,
        mixed,
        fixed=frozenset(
            {"int_division", "int_float_number", "long_float_number", "power_float", "where_number", "less_number"}
        ),
    ),
    "bits": Family(BITS, whole_pairs),
    "reduced": Family(REDUCED, volume, fixed=frozenset({"sum_dtype", "mean_dtype"})),
    "soft": Family(SOFT, volume, fixed=frozenset({"softmax_dtype", "cumsum_dtype"})),
    "bounded": Family(BOUNDED, volume, fixed=frozenset({"clamp_int_float"})),
    "sampled": Family(
        {
            "diagonal": lambda x, g, p: x.diagonal(1, -2, -1),
            "diagonal_below": lambda x, g, p: x.diagonal(-1, 3, 1),
            "cdist": lambda x, g, p: torch.cdist(p, p[:, :3].cos()),
            "cdist_1": lambda x, g, p: torch.cdist(p, p[:, :3].cos(), p=1.0),
            "cdist_3": lambda x, g, p: torch.cdist(p, p[:, :3].cos(), p=3.0),
            "cdist_inf": lambda x, g, p: torch.cdist(p, p[:, :3].cos(), p=float("inf")),
            "grid": lambda x, g, p: F.grid_sample(x, g, align_corners=False),
            "grid_nearest": lambda x, g, p: F.grid_sample(x, g, "nearest", "border", align_corners=True),
            "grid_cubic": lambda x, g, p: F.grid_sample(x, g, "bicubic", "reflection", align_corners=False),
            "fold": lambda x, g, p: F.fold(p, (4, 6), (2, 2), stride=2),
            "fold_padded": lambda x, g, p: F.fold(p, (3, 4), (2, 2), padding=(0, 1), stride=(1, 2), dilation=(1, 1)),
        },
        lambda: (floats(2, 3, 5, 6), floats(2, 4, 3, 2).tanh() * 1.2, floats(2, 8, 6)),
        keras=dict.fromkeys(
            ("grid", "grid_nearest", "grid_cubic", "fold", "fold_padded"),
            "keras.ops reads no image at the points of a grid, and its fold is not on every backend",
        ),
    ),
    "triangles": Family(
        {
            "tril": lambda x, i, b, s: torch.tril(x),
            "triu": lambda x, i, b, s: torch.triu(i, 1),
            "tril_below": lambda x, i, b, s: torch.tril(x, -2),
            "triu_bool": lambda x, i, b, s: torch.triu(b, -1),
            "eye": lambda x, i, b, s: x + torch.eye(4, 5),
            "eye_square": lambda x, i, b, s: x + torch.eye(5)[0],
        },
        volume,
    ),
    "replaced": Family(
        {
            "nan": torch.nan_to_num,
            "all": lambda x: torch.nan_to_num(x, 0.1, 2.5, -3.5),
            "high": lambda x: torch.nan_to_num(x, posinf=1.0),
        },
        special,
    ),
}

GRADIENT = "it computes a gradient, which no forward pass calls"
RANDOM = "it draws numbers at random, so that two frameworks give different ones"
SIZE = "it gives a number of the tensor's layout and no tensor; lengths are read off the shapes"
DATA = "the shape of what it gives depends on the numbers that it is given"
MEMORY = "it speaks of places in memory, which neither Keras nor ONNX has"
SCATTERED = "Keras has no operation that writes along an axis"
COMPLEX = "it computes with complex numbers, which neither Keras's layers nor most of ONNX take"

FAMILIES |= {
    "parts": Family(moves.PARTS, moves.sequence),
    "parts_turned": Family(moves.PARTS, moves.turned),
    "parts_whole": Family(moves.PARTS, moves.numbers),
    "taken": Family(moves.TAKEN, moves.places),
    "written": Family(
        moves.WRITTEN, moves.places, keras=dict.fromkeys(moves.WRITTEN.keys() - {"index_put"}, SCATTERED)
    ),
    "padded": Family(moves.PADDED, moves.image),
    "products": Family(moves.PRODUCTS, moves.matrices),
    "attention": Family(moves.ATTENTION, moves.heads),
    "norms": Family(moves.NORMS, moves.scaled),
    "pools": Family(moves.POOLS, moves.image),
    "resized": Family(moves.RESIZED, moves.image),
    "deep": Family(moves.DEEP, moves.volume),
}

REFUSED: dict[str, str] = {
    **dict.fromkeys(
        (
            "_adaptive_avg_pool2d_backward.default",
            "avg_pool2d_backward.default",
            "convolution_backward.default",
            "embedding_dense_backward.default",
            "max_pool2d_with_indices_backward.default",
            "native_group_norm_backward.default",
            "native_layer_norm_backward.default",
        ),
        GRADIENT,
    ),
    **dict.fromkeys(("rand.default", "randn.default", "randperm.default"), RANDOM),
    **dict.fromkeys(
        (
            "sym_is_contiguous.default",
            "sym_numel.default",
            "sym_size.int",
            "sym_storage_offset.default",
            "sym_stride.int",
        ),
        SIZE,
    ),
    **dict.fromkeys(("nonzero.default", "masked_scatter.default", "_local_scalar_dense.default"), DATA),
    **dict.fromkeys(("as_strided.default", "empty_strided.default", "resize_.default"), MEMORY),
    **dict.fromkeys(("_fft_c2r.default", "_fft_r2c.default"), COMPLEX),
    **dict.fromkeys(
        ("_native_batch_norm_legit.default", "_native_batch_norm_legit.no_stats"),
        "it takes the statistics of the batch, as training does; at inference programs have the form `_no_training`",
    ),
    "_embedding_bag.default": "its bags are as long as the offsets say that it is given, which no layer takes",
    "_pdist_forward.default": "it pairs the examples of a batch, so that the number of its results is no batch",
    "atan2.out": "it writes into a tensor that it is given; an exported program has the form without `out`",
}
"""Overloads of core ATen that have no row, with the reason."""
