"""Rows for the merging layers: Add, Subtract, Multiply, Average, Maximum, Minimum, Concatenate, Dot."""

from collections.abc import Callable
from typing import Any

from tests.cases import Case

Shape = tuple[int | None, ...]


def merge(case_id: str, shapes: list[Shape], layer: Callable[[Any], Any], **options: Any) -> Case:
    """A row with inputs of these shapes (without batch) and one layer."""

    def make(keras: Any) -> Any:
        inputs = [keras.Input(shape, name=f"x{i}") for i, shape in enumerate(shapes)]
        given = inputs if len(inputs) > 1 else inputs[0]
        return keras.Model(given, layer(keras.layers)(inputs))

    return Case(case_id, make, **options)


def after_convs(case_id: str, layer: Callable[[Any], Any], **options: Any) -> Case:
    """A row that merges two convolutions of one input."""

    def make(keras: Any) -> Any:
        L = keras.layers
        x = keras.Input((7, 6, 3), name="x")
        y = layer(L)([L.Conv2D(4, 3)(x), L.Conv2D(4, 3)(x)])
        return keras.Model(x, y)

    return Case(case_id, make, transposes=0, **options)


EVERY = ("Add", "Multiply", "Average", "Maximum", "Minimum")


def every(suffix: str, shapes: list[Shape], names: tuple[str, ...] = EVERY, **options: Any) -> list[Case]:
    """A row for each of the element-wise merging layers."""

    def row(name: str) -> Case:
        return merge(f"{name.lower()}_{suffix}", shapes, lambda L: getattr(L, name)(), **options)

    return [row(name) for name in names]


CASES: list[Case] = [
    *every("two", [(5, 4, 3)] * 2, (*EVERY, "Subtract")),
    *every("three", [(5, 3)] * 3),
    *every("four", [(7,)] * 4),
    *every("one", [(5, 3)], ("Add", "Multiply", "Average", "Maximum", "Minimum")),
    *every("channel", [(5, 4, 3), (1, 1, 3)], (*EVERY, "Subtract")),
    *every("outer", [(5, 1, 3), (1, 4, 1)], (*EVERY, "Subtract")),
    *every("ranks", [(3,), (5, 4, 3)], (*EVERY, "Subtract")),
    *every("ranks_reversed", [(5, 4, 3), (4, 3), (3,)]),
    *every("ranks_unknown", [(1, 3), (None, None, 3), (3,)], ("Add", "Maximum")),
    *every("unknown", [(None, None, 3), (None, None, 3)]),
    *[after_convs(f"{name.lower()}_convs", lambda L, name=name: getattr(L, name)()) for name in (*EVERY, "Subtract")],
    merge("concatenate_last", [(5, 4, 3), (5, 4, 2)], lambda L: L.Concatenate()),
    merge("concatenate_1", [(5, 4, 3), (2, 4, 3), (1, 4, 3)], lambda L: L.Concatenate(axis=1)),
    merge("concatenate_2", [(5, 4, 3), (5, 2, 3)], lambda L: L.Concatenate(axis=2)),
    merge("concatenate_minus_2", [(5, 4, 3), (5, 2, 3)], lambda L: L.Concatenate(axis=-2)),
    merge("concatenate_rank2", [(5,), (3,), (2,)], lambda L: L.Concatenate()),
    merge("concatenate_batch", [(5, 3), (5, 3)], lambda L: L.Concatenate(axis=0)),
    merge("concatenate_one", [(5, 3)], lambda L: L.Concatenate()),
    merge("concatenate_unknown", [(None, None, 3), (None, None, 2)], lambda L: L.Concatenate()),
    merge("concatenate_unknown_axis", [(None, 3), (None, 3)], lambda L: L.Concatenate(axis=1)),
    after_convs("concatenate_convs_last", lambda L: L.Concatenate()),
    after_convs("concatenate_convs_1", lambda L: L.Concatenate(axis=1)),
    after_convs("concatenate_convs_2", lambda L: L.Concatenate(axis=2)),
    merge("dot_vectors", [(5,), (5,)], lambda L: L.Dot(axes=1)),
    merge("dot_vectors_minus", [(5,), (5,)], lambda L: L.Dot(axes=-1)),
    merge("dot_vectors_normalized", [(5,), (5,)], lambda L: L.Dot(axes=1, normalize=True)),
    merge("dot_22", [(4, 5), (3, 5)], lambda L: L.Dot(axes=2)),
    merge("dot_21", [(4, 5), (5, 3)], lambda L: L.Dot(axes=(2, 1))),
    merge("dot_11", [(5, 4), (5, 3)], lambda L: L.Dot(axes=1)),
    merge("dot_12", [(5, 4), (3, 5)], lambda L: L.Dot(axes=(1, 2))),
    merge("dot_mixed_signs", [(4, 5), (5, 3)], lambda L: L.Dot(axes=(-1, -2))),
    merge("dot_normalized", [(4, 5), (3, 5)], lambda L: L.Dot(axes=-1, normalize=True)),
    merge("dot_normalized_12", [(5, 4), (3, 5)], lambda L: L.Dot(axes=(1, 2), normalize=True)),
    merge("dot_rank2_rank3", [(5,), (4, 5)], lambda L: L.Dot(axes=(1, 2))),
    merge("dot_rank3_rank2", [(4, 5), (5,)], lambda L: L.Dot(axes=(2, 1))),
    merge("dot_rank4_rank3", [(2, 4, 5), (5, 3)], lambda L: L.Dot(axes=(3, 1))),
    merge("dot_rank4_rank4", [(2, 5, 4), (3, 6, 5)], lambda L: L.Dot(axes=(2, 3))),
    merge("dot_unknown", [(None, 5), (None, 5)], lambda L: L.Dot(axes=2)),
]
