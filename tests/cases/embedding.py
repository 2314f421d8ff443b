"""Rows for converter/ops/embedding.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.cases import Case, unary


def looked_up(case_id: str, shape: tuple[int | None, ...], dtype: str | None, layer: Callable[[Any], Any]) -> Case:
    """Ids of one dtype, looked up, and a layer that reads the rows."""

    def make(keras: Any) -> Any:
        x = keras.Input(shape, name="ids", dtype=dtype)
        return keras.Model(x, keras.layers.Dense(3)(layer(keras.layers)(x)))

    return Case(case_id, make, ids=11)


def shared(keras: Any) -> Any:
    a, b = (keras.Input((n,), name=f"ids{n}", dtype="int32") for n in (4, 6))
    table = keras.layers.Embedding(11, 5)
    return keras.Model([a, b], keras.layers.Concatenate(axis=1)([table(a), table(b)]))


def reversible(**settings: Any) -> Any:
    def make(keras: Any) -> Any:
        x = keras.Input((6,), name="ids", dtype="int32")
        table = keras.layers.ReversibleEmbedding(11, 5, name="table", **settings)
        return keras.Model(x, table(keras.layers.Activation("tanh")(table(x)), reverse=True))

    return make


CASES: list[Case] = [
    unary("embedding", (7,), lambda L: L.Embedding(9, 5), ids=9),
    unary("embedding_scalar", (), lambda L: L.Embedding(9, 5), ids=9),
    *(
        looked_up(f"embedding_{d}", (7,), d, lambda L: L.Embedding(11, 5))
        for d in ("int32", "int64", "uint8", "float32")
    ),
    looked_up("embedding_unknown_length", (None,), "int32", lambda L: L.Embedding(11, 5)),
    looked_up("embedding_rank3", (4, 6), "int64", lambda L: L.Embedding(11, 5)),
    looked_up("embedding_frozen", (6,), "int32", lambda L: L.Embedding(11, 5, trainable=False)),
    looked_up("embedding_mask_zero", (6,), "int32", lambda L: L.Embedding(11, 5, mask_zero=True)),
    Case("embedding_shared", shared, ids=11),
    Case("reversible", reversible(), ids=11),
    Case("reversible_capped", reversible(logit_soft_cap=3.0), ids=11),
    Case("reversible_untied", reversible(tie_weights=False), ids=11),
]
