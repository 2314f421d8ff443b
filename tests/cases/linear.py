"""Rows for converter/ops/linear.py."""

from tests.cases import Case, unary

BOTH = ""

CASES: list[Case] = [
    unary("dense", (7,), lambda L: L.Dense(5), one_way=BOTH),
    unary("dense_no_bias", (7,), lambda L: L.Dense(5, use_bias=False), one_way=BOTH),
    unary("dense_relu", (7,), lambda L: L.Dense(5, activation="relu"), one_way=BOTH),
    unary("dense_rank3", (4, 7), lambda L: L.Dense(5)),
    unary("dense_rank4", (4, 3, 7), lambda L: L.Dense(5)),
]
