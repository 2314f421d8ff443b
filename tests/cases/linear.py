"""Rows for converter/ops/linear.py and einsum.py."""

from __future__ import annotations

from typing import Any

from tests.cases import Case, unary


def einsum(case_id: str, shape: tuple[int | None, ...], equation: str, out: Any, **settings: Any) -> Case:
    """One EinsumDense."""
    return unary(f"einsum_{case_id}", shape, lambda L: L.EinsumDense(equation, out, **settings))


def einsum_of_conv(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((8, 7, 3), name="x")
    y = L.EinsumDense("abcd,bde->abce", (7, 6, 5), bias_axes="e", activation="relu")(L.Conv2D(4, 2)(x))
    return keras.Model(x, L.Conv2D(2, 2)(y))


CASES: list[Case] = [
    unary("dense", (7,), lambda L: L.Dense(5)),
    unary("dense_no_bias", (7,), lambda L: L.Dense(5, use_bias=False)),
    unary("dense_relu", (7,), lambda L: L.Dense(5, activation="relu")),
    unary("dense_rank3", (4, 7), lambda L: L.Dense(5)),
    unary("dense_rank3_no_bias", (4, 7), lambda L: L.Dense(5, use_bias=False)),
    unary("dense_rank4", (4, 3, 7), lambda L: L.Dense(5)),
    unary("dense_rank5", (4, 3, 2, 7), lambda L: L.Dense(5, activation="tanh")),
    unary("dense_unknown_length", (None, 7), lambda L: L.Dense(5)),
    unary("dense_frozen", (7,), lambda L: L.Dense(5, trainable=False)),
    einsum("linear", (7,), "ab,bc->ac", 5),
    einsum("linear_bias", (7,), "ab,bc->ac", 5, bias_axes="c"),
    einsum("linear_turned", (7,), "ab,cb->ac", 5, bias_axes="c", activation="relu"),
    einsum("linear_rank3", (4, 7), "abc,cd->abd", (None, 5), bias_axes="d"),
    einsum("linear_rank3_bias_two", (4, 7), "abc,cd->abd", (4, 5), bias_axes="bd"),
    einsum("linear_rank3_bias_other", (4, 7), "abc,cd->abd", (4, 5), bias_axes="b"),
    einsum("linear_ellipsis", (4, 3, 7), "...x,xy->...y", 5, bias_axes="y"),
    einsum("linear_unknown", (None, 7), "...x,xy->...y", 5, bias_axes="y"),
    einsum("square", (5, 5), "abc,cd->abd", (None, 5)),
    einsum("heads", (4, 6), "abc,cde->abde", (None, 2, 3), bias_axes="de"),
    einsum("heads_back", (4, 2, 3), "abcd,cde->abe", (None, 5), bias_axes="e"),
    einsum("heads_unknown", (None, 6), "btd,dnh->btnh", (None, 2, 3), bias_axes="nh"),
    einsum("middle", (4, 6), "abc,bd->adc", (5, 6), bias_axes="d"),
    einsum("out_first", (4, 6), "abc,cd->adb", (5, 4)),
    einsum("summed", (4, 6), "abc,cd->ad", 5),
    einsum("per_channel", (4, 6), "abc,c->abc", (4, 6)),
    einsum("per_row", (4, 6), "abc,bcd->abd", (4, 5), bias_axes="bd", activation="gelu"),
    einsum("ellipsis_left", (4, 3, 6), "...ab,bc->...ac", (3, 5), bias_axes="c"),
    einsum("ellipsis_right", (4, 3, 6), "ab...,bc->ac...", 5, bias_axes="c"),
    einsum("capitals", (4, 6), "BTD,DHK->BTHK", (None, 2, 3)),
    Case("einsum_of_conv", einsum_of_conv, transposes=0),
]
