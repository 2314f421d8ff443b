"""Layers and a model of a user's own, as a module that `--custom` and `--trust` import."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("own")
class Gated(layers.Layer):
    """A layer that holds a Dense, a LayerNormalization and a weight of its own."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.dense = layers.Dense(units, activation="relu")
        self.norm = layers.LayerNormalization()

    def build(self, shape: Any) -> None:
        self.dense.build(shape)
        self.norm.build((*shape[:-1], self.units))
        self.scale = self.add_weight(shape=(self.units,), initializer="uniform", name="scale")
        self.built = True

    def call(self, x: Any) -> Any:
        return self.norm(self.dense(x)) * (1 + self.scale)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("own")
class Stack(layers.Layer):
    """A layer of layers, one of them called twice; two outputs."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.blocks = [Gated(units), Gated(units)]
        self.head = layers.Dense(2)

    def call(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x)
        x = self.blocks[1](x)
        return self.head(x), ops.max(x, axis=1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("own")
class Net(keras.Model):
    """A subclassed model over ids."""

    def __init__(self, width: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.table = layers.Embedding(11, width)
        self.stack = Stack(width)
        self.drop = layers.Dropout(0.3)

    def call(self, ids: Any, training: bool | None = None) -> Any:
        steps, best = self.stack(self.table(ids))
        return {"steps": self.drop(steps, training=training), "best": best}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable("own")
class Pooled(layers.Layer):
    """The largest of the steps that a mask does not hide."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        return None

    def call(self, x: Any, mask: Any = None) -> Any:
        return ops.max(x if mask is None else ops.where(mask[:, :, None], x, -9.0), axis=1)


class Branching(layers.Layer):
    """A branch on the numbers of a tensor."""

    def call(self, x: Any) -> Any:
        if ops.sum(x) > 0:  # the line that is told
            return x
        return -x

    def compute_output_shape(self, shape: Any) -> Any:
        return shape


class Closed(layers.Layer):
    """A layer that cannot be made again: its config lacks its argument."""

    def __init__(self, factor: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x: Any) -> Any:
        return x * self.factor

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError("no config")


def shifted(x: Any) -> Any:
    """An activation."""
    return ops.maximum(x, 0.0) + 1.0


@keras.saving.register_keras_serializable("own")
class Spare(layers.Layer):
    """A layer with a weight that its call does not read."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(shape[-1], self.units), name="kernel")
        self.unread = self.add_weight(shape=(5,), name="unread")

    def call(self, x: Any) -> Any:
        return ops.matmul(x, self.kernel)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


class Pair(keras.Model):
    """A subclassed model of two inputs."""

    def __init__(self, width: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.left, self.right = layers.Dense(width), layers.Dense(width)

    def call(self, a: Any, b: Any) -> Any:
        return self.left(a) - self.right(b)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width}


class Named(Pair):
    """A subclassed model of a dict of two inputs."""

    def call(self, inputs: Any) -> Any:
        return super().call(inputs["a"], inputs["b"])


@keras.saving.register_keras_serializable("own")
class Times(layers.Layer):
    """What is above zero, times a factor."""

    def __init__(self, factor: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x: Any) -> Any:
        return ops.relu(x) * self.factor

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}


def tripled(x: Any) -> Any:
    """An activation."""
    return ops.relu(x) * 3.0


class Trained(layers.Layer):
    """A layer that calls another one as in training."""

    def __init__(self, inner: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inner = inner

    def build(self, shape: Any) -> None:
        self.inner.build(shape)

    def call(self, x: Any) -> Any:
        return self.inner(x, training=True) * 2
