"""Rows for converter/ops/shape.py, indexing.py and pad.py: layers that move elements and compute none."""

from collections.abc import Callable
from typing import Any

from tests.cases import Case, unary


def sliced(
    case_id: str, function: Callable[[Any], Any], shape: tuple[int | None, ...] = (5, 4, 3), **options: Any
) -> Case:
    """A row with a subscription."""

    def make(keras: Any) -> Any:
        x = keras.Input(shape, name="x")
        return keras.Model(x, function(x))

    return Case(case_id, make, **options)


def operation(
    case_id: str, function: Callable[[Any, Any], Any], shape: tuple[int | None, ...] = (5, 4, 3), **options: Any
) -> Case:
    """A row with an operation of keras.ops."""

    def make(keras: Any) -> Any:
        x = keras.Input(shape, name="x")
        return keras.Model(x, function(keras, x))

    return Case(case_id, make, **options)


def scalar(case_id: str, layer: Callable[[Any], Any]) -> Case:
    """A row whose layer sees (N,)."""

    def make(keras: Any) -> Any:
        x = keras.Input((), name="x")
        return keras.Model(x, layer(keras.layers)(x))

    return Case(case_id, make)


CASES: list[Case] = [
    unary("flatten", (5, 4, 3), lambda L: L.Flatten()),
    unary("flatten_channels_first", (5, 4, 3), lambda L: L.Flatten(data_format="channels_first")),
    unary("flatten_channels_first_rank3", (5, 4), lambda L: L.Flatten(data_format="channels_first")),
    unary("flatten_channels_first_rank5", (2, 5, 4, 3), lambda L: L.Flatten(data_format="channels_first")),
    unary("flatten_rank2", (5,), lambda L: L.Flatten()),
    unary("flatten_rank2_channels_first", (5,), lambda L: L.Flatten(data_format="channels_first")),
    unary("flatten_rank3", (5, 4), lambda L: L.Flatten()),
    unary("flatten_unknown", (None, 4, 3), lambda L: L.Flatten()),
    scalar("flatten_rank1", lambda L: L.Flatten()),
    unary("reshape", (5, 4, 3), lambda L: L.Reshape((3, 20))),
    unary("reshape_minus_one", (5, 4, 3), lambda L: L.Reshape((-1, 6))),
    unary("reshape_all", (5, 4, 3), lambda L: L.Reshape((-1,))),
    unary("reshape_from_rank2", (12,), lambda L: L.Reshape((2, 3, 2))),
    unary("reshape_from_rank2_same", (12,), lambda L: L.Reshape((12,))),
    unary("reshape_from_rank2_ones", (12,), lambda L: L.Reshape((1, 1, 12))),
    unary("reshape_one_behind", (12,), lambda L: L.Reshape((12, 1))),
    unary("reshape_ones_inside", (4, 3), lambda L: L.Reshape((4, 1, 3))),
    unary("reshape_ones_away", (4, 1, 3), lambda L: L.Reshape((4, 3))),
    unary("reshape_unknown", (None, 4, 3), lambda L: L.Reshape((-1, 12))),
    unary("reshape_unknown_split", (None, 6), lambda L: L.Reshape((-1, 3, 2))),
    unary("reshape_unknown_to_known_last", (None, 6), lambda L: L.Reshape((-1, 2)), sizes=(4, 7)),
    scalar("reshape_rank1", lambda L: L.Reshape((1,))),
    unary("permute_rank3", (5, 4), lambda L: L.Permute((2, 1))),
    unary("permute_312", (5, 4, 3), lambda L: L.Permute((3, 1, 2))),
    unary("permute_231", (5, 4, 3), lambda L: L.Permute((2, 3, 1))),
    unary("permute_213", (5, 4, 3), lambda L: L.Permute((2, 1, 3))),
    unary("permute_same", (5, 4, 3), lambda L: L.Permute((1, 2, 3))),
    unary("permute_rank5", (2, 5, 4, 3), lambda L: L.Permute((4, 1, 3, 2))),
    unary("permute_unknown", (None, None, 3), lambda L: L.Permute((3, 2, 1))),
    unary("repeat_vector", (5,), lambda L: L.RepeatVector(3)),
    unary("repeat_vector_1", (5,), lambda L: L.RepeatVector(1)),
    unary("repeat_vector_unknown", (None,), lambda L: L.RepeatVector(4)),
    sliced("getitem_slice", lambda x: x[:, 1:3]),
    sliced("getitem_int", lambda x: x[:, 2]),
    sliced("getitem_minus_int", lambda x: x[:, -1, :, -2]),
    sliced("getitem_ellipsis", lambda x: x[..., 1:]),
    sliced("getitem_ellipsis_int", lambda x: x[..., 0]),
    sliced("getitem_negative_end", lambda x: x[:, :-2, 1:-1]),
    sliced("getitem_step", lambda x: x[:, ::2, 1::2]),
    sliced("getitem_negative_start", lambda x: x[:, -3:]),
    sliced("getitem_new_axis", lambda x: x[:, None, 1, ..., None]),
    sliced("getitem_everything", lambda x: x[:, :]),
    sliced("getitem_unknown", lambda x: x[:, 1:-1, -1], (None, None, 3)),
    operation("ops_squeeze", lambda k, x: k.ops.squeeze(x, 2), (5, 1, 3)),
    operation("ops_squeeze_several", lambda k, x: k.ops.squeeze(x, (-1, 1)), (1, 4, 1)),
    operation("ops_expand_dims", lambda k, x: k.ops.expand_dims(x, 1)),
    operation("ops_expand_dims_last", lambda k, x: k.ops.expand_dims(x, -1)),
    operation("ops_expand_dims_unknown", lambda k, x: k.ops.expand_dims(x, -2), (None, None, 3)),
    operation("ops_reshape", lambda k, x: k.ops.reshape(x, (-1, 6, 10))),
    operation("ops_reshape_unknown", lambda k, x: k.ops.reshape(x, (-1, 4, 3)), (None, 4, 3)),
    operation("ops_transpose", lambda k, x: k.ops.transpose(x, (0, 3, 1, 2))),
    operation("ops_matmul", lambda k, x: x @ k.ops.transpose(x * 0.5, (0, 1, 3, 2))),
    operation("ops_einsum", lambda k, x: k.ops.einsum("nabc,nabd->nacd", x, x * 0.5)),
    operation("ops_where", lambda k, x: k.ops.where(x > 0.2, x, 0.5)),
    operation("ops_where_tensors", lambda k, x: k.ops.where(x > 0.2, -0.25, x * 2.0)),
    operation("ops_stack", lambda k, x: k.ops.stack([x, x * 2.0], axis=2)),
    operation("ops_stack_last", lambda k, x: k.ops.stack([x, -x, x + 1.0], axis=-1)),
    operation("ops_stack_one", lambda k, x: k.ops.stack([x], axis=1)),
    operation("ops_tile", lambda k, x: k.ops.tile(x, (1, 2, 1, 3))),
    operation("ops_tile_few", lambda k, x: k.ops.tile(x, (2,))),
    operation("ops_repeat", lambda k, x: k.ops.repeat(x, 3, axis=-2)),
    operation("ops_repeat_unknown", lambda k, x: k.ops.repeat(x, 2, axis=1), (None, 4, 3)),
    operation("ops_split", lambda k, x: k.ops.concatenate(k.ops.split(x, 2, axis=2)[::-1], 2), (3, 4)),
    operation("ops_split_places", lambda k, x: k.ops.split(x, [1, 3], axis=-1), (3, 4)),
    operation("ops_unstack", lambda k, x: sum(k.ops.unstack(x, axis=1)), (3, 4)),
    operation("ops_pad", lambda k, x: k.ops.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]])),
    operation("ops_pad_channels", lambda k, x: k.ops.pad(x, [[0, 0], [0, 0], [0, 0], [2, 1]], constant_values=1.5)),
    operation("ops_pad_rank2", lambda k, x: k.ops.pad(x, [[0, 0], [2, 1]]), (5,)),
]
