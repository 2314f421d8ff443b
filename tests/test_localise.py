"""Planted faults: every one is caught, the right layer is named, and the likely cause is said."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
import torch
from torch import nn

import converter
from converter.errors import NotEquivalent
from converter.testing import assert_equivalent
from converter.write import keras_load, torch_load

L = keras.layers


def randomised(model: keras.Model) -> keras.Model:
    """Weights as after training: nothing is zero, one, or symmetric."""
    rng = np.random.default_rng(5)
    for layer in model.layers:
        for weight in layer.weights:
            size = rng.uniform(0.3, 1.3, weight.shape)
            weight.assign(size if "variance" in weight.path else size * rng.choice([-1, 1], weight.shape))
    return model


def images() -> keras.Model:
    keras.utils.set_random_seed(1)
    x = image = keras.Input((8, 8, 3), name="image")
    x = L.Conv2D(4, 3, strides=2, padding="same", activation="gelu", name="stem")(x)
    x = L.BatchNormalization(name="norm")(x)
    y = L.Conv2D(4, 3, padding="same", dilation_rate=2, name="wide")(x)
    x = L.Add(name="sum")([x, y])
    x = L.LeakyReLU(negative_slope=0.2, name="leak")(x)
    x = L.AveragePooling2D(3, strides=1, padding="same", name="mean")(x)
    x = L.DepthwiseConv2D(3, padding="same", name="each")(x)
    x = L.Flatten(name="flat")(x)
    x = L.Dense(6, name="mid")(x)
    x = L.Dense(6, activation="tanh", name="twin")(x)
    return randomised(keras.Model(image, L.Dense(5, activation="softmax", name="head")(x), name="images"))


def texts() -> keras.Model:
    keras.utils.set_random_seed(1)
    ids = keras.Input((8,), dtype="int64", name="ids")
    x = L.Embedding(11, 8, name="table")(ids)
    x = L.LayerNormalization(name="ln")(x)
    x = L.Dense(8, activation="relu", name="first")(x)
    x = L.Dense(8, name="second")(x)
    x = L.GlobalAveragePooling1D(name="mean")(x)
    return randomised(keras.Model(ids, L.Dense(3, name="head")(x), name="texts"))


class Images(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU()
        self.wide = nn.Conv2d(4, 4, 3)
        self.mid = nn.Linear(16, 6)
        self.twin = nn.Linear(6, 6)
        self.head = nn.Linear(6, 6)
        for each in (self.norm.weight, self.norm.bias, self.norm.running_mean, self.norm.running_var):
            each.data.uniform_(0.4, 1.6)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.wide(self.act(self.norm(self.stem(image))))
        return self.head(torch.tanh(self.twin(self.mid(x.flatten(1)))))


class Texts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.table, self.head = nn.Embedding(11, 8), nn.Linear(8, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.table(ids))


class Pair:
    """A source and its conversion, of which a spoiled copy is made for every fault."""

    def __init__(self, source, to, **options) -> None:
        self.source, self.to = source, to
        self.made = converter.convert(source, to, verify=False, **options)

    def with_text(self, *edits: tuple[str, str]):
        text = self.made.source
        for old, new in edits:
            assert old in text, f"{old!r} is not in\n{text}"
            text = text.replace(old, new)
        if self.to == "torch":
            return torch_load.load(text, self.made.arrays())
        return keras_load.load(text, [(*key.split("/", 1), data) for key, data in self.made.arrays()])

    def with_weights(self, **edits):
        model = self.with_text()
        if self.to == "torch":
            state = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
        else:
            state = {f"{layer.name}/{w.name}": np.array(w) for layer in model.layers for w in layer.weights}
        new = {name.replace("__", "." if self.to == "torch" else "/"): edit for name, edit in edits.items()}
        state |= {name: np.ascontiguousarray(edit(state)) for name, edit in new.items()}
        if self.to == "torch":
            model.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
        else:
            for layer in model.layers:
                for weight in layer.weights:
                    weight.assign(state[f"{layer.name}/{weight.name}"])
        return model


MAKERS = {
    "images": lambda: Pair(images(), "torch"),
    "texts": lambda: Pair(texts(), "torch"),
    "Images": lambda: Pair(Images().eval(), "keras", example_inputs=torch.randn(2, 3, 8, 8)),
    "Texts": lambda: Pair(Texts().eval(), "keras", example_inputs=torch.randint(0, 11, (2, 6))),
}


@functools.cache
def pair_of(name: str) -> Pair:
    return MAKERS[name]()


def text(*edits: tuple[str, str]):
    return lambda pair: pair.with_text(*edits)


def weights(**edits):
    return lambda pair: pair.with_weights(**edits)


def old_order(state):
    """Rows for a flatten of height, width, channels, where the target flattens channels first."""
    return state["mid.weight"].reshape(6, 4, 4, 4).transpose(0, 2, 3, 1).reshape(6, 64)


def nan(name):
    def edit(state):
        array = state[name].copy()
        array.reshape(-1)[0] = np.nan
        return array

    return edit


FAULTS = [
    (
        "images",
        "a kernel transposed",
        weights(stem__weight=lambda s: s["stem.weight"].swapaxes(2, 3)),
        "stem",
        "transposed",
    ),
    (
        "images",
        "a kernel flipped",
        weights(stem__weight=lambda s: s["stem.weight"][:, :, ::-1, ::-1]),
        "stem",
        "flipped",
    ),
    (
        "images",
        "a kernel's in and out exchanged",
        weights(wide__weight=lambda s: s["wide.weight"].swapaxes(0, 1)),
        "wide",
        "axis order",
    ),
    ("images", "padding shifted by one", text(("(0, 1, 0, 1)", "(1, 0, 1, 0)")), "stem", "padding shifted by one"),
    (
        "images",
        "a GELU by tanh",
        text(
            (
                "F.gelu(self.stem(F.pad(image, (0, 1, 0, 1))))",
                "F.gelu(self.stem(F.pad(image, (0, 1, 0, 1))), approximate='tanh')",
            )
        ),
        "stem",
        "gelu by tanh, expected exact gelu",
    ),
    ("images", "another epsilon", text(("eps=0.001", "eps=1e-05")), "norm", "epsilon: 1e-05, expected 0.001"),
    (
        "images",
        "gamma and beta exchanged",
        weights(norm__weight=lambda s: s["norm.bias"], norm__bias=lambda s: s["norm.weight"]),
        "norm",
        "gamma and beta are exchanged",
    ),
    (
        "images",
        "mean and variance exchanged",
        weights(
            norm__running_mean=lambda s: s["norm.running_var"], norm__running_var=lambda s: abs(s["norm.running_mean"])
        ),
        "norm",
        "",
    ),
    ("images", "another dilation", text(("padding=2, dilation=2", "padding=1")), "wide", "dilation"),
    ("images", "a bias dropped", weights(wide__bias=lambda s: 0 * s["wide.bias"]), "wide", "bias is zero"),
    ("images", "a difference for a sum", text(("x + ", "x - ")), "sum", "sub"),
    ("images", "another slope", text(("0.2", "0.3")), "leak", "negative_slope: 0.3, expected 0.2"),
    (
        "images",
        "padding that counts",
        text(("count_include_pad=False", "count_include_pad=True")),
        "mean",
        "count_include_pad",
    ),
    (
        "images",
        "channels of a depthwise kernel exchanged",
        weights(each__weight=lambda s: s["each.weight"][::-1]),
        "each",
        "another order",
    ),
    ("images", "the order of Flatten", weights(mid__weight=old_order), "mid", "Flatten order"),
    (
        "images",
        "rows of a dense permuted",
        weights(mid__weight=lambda s: s["mid.weight"][:, np.random.default_rng(0).permutation(64)]),
        "mid",
        "another order",
    ),
    (
        "images",
        "a square dense kernel transposed",
        weights(twin__weight=lambda s: s["twin.weight"].T),
        "twin",
        "transposed",
    ),
    (
        "images",
        "a sigmoid for a tanh",
        text(
            ("torch.tanh(", "torch.sigmoid("),
        ),
        "twin",
        "sigmoid, expected tanh",
    ),
    ("images", "a softmax over another axis", text(("dim=-1", "dim=0")), "head", ""),
    ("images", "a weight that is NaN", weights(head__weight=nan("head.weight")), "head", "NaN"),
    (
        "texts",
        "rows of a table shifted",
        weights(table__weight=lambda s: np.roll(s["table.weight"], 1, 0)),
        "table",
        "shifted by one row",
    ),
    ("texts", "another epsilon of LayerNorm", text(("eps=0.001", "eps=1e-05")), "ln", "epsilon"),
    (
        "texts",
        "two layers' weights exchanged",
        weights(first__weight=lambda s: s["second.weight"], second__weight=lambda s: s["first.weight"]),
        "first",
        "it holds those of 'second'",
    ),
    ("texts", "a ReLU6 for a ReLU", text(("F.relu(", "F.relu6(")), "first", "relu6, expected relu"),
    ("texts", "a mean over another axis", text((".mean(1)", ".mean(2)")), "mean", ""),
    (
        "Images",
        "a kernel transposed, in Keras",
        weights(wide__kernel=lambda s: s["wide/kernel"].swapaxes(0, 1)),
        "wide",
        "transposed",
    ),
    (
        "Images",
        "a kernel flipped, in Keras",
        weights(stem__kernel=lambda s: s["stem/kernel"][::-1, ::-1]),
        "stem",
        "flipped",
    ),
    ("Images", "another epsilon, in Keras", text(("epsilon=1e-05", "epsilon=0.001")), "norm", "epsilon"),
    (
        "Images",
        "gamma and beta exchanged, in Keras",
        weights(norm__gamma=lambda s: s["norm/beta"], norm__beta=lambda s: s["norm/gamma"]),
        "norm",
        "exchanged",
    ),
    (
        "Images",
        "the order of Flatten, in Keras",
        weights(mid__kernel=lambda s: s["mid/kernel"].reshape(2, 2, 4, 6).transpose(2, 0, 1, 3).reshape(16, 6)),
        "mid",
        "Flatten order",
    ),
    ("Images", "a bias dropped, in Keras", weights(wide__bias=lambda s: 0 * s["wide/bias"]), "wide", "bias is zero"),
    ("Images", "a wrong activation, in Keras", text(('"tanh"', '"sigmoid"')), "tanh", ""),
    (
        "Images",
        "two layers' weights exchanged, in Keras",
        weights(twin__kernel=lambda s: s["head/kernel"], head__kernel=lambda s: s["twin/kernel"]),
        "twin",
        "it holds those of 'head'",
    ),
    (
        "Texts",
        "rows of a table shifted, in Keras",
        weights(table__embeddings=lambda s: np.roll(s["table/embeddings"], -1, 0)),
        "table",
        "shifted by one row",
    ),
]


@pytest.mark.parametrize(
    ("name", "plant", "layer", "cause"), [(f[0], *f[2:]) for f in FAULTS], ids=[f"{f[0]}: {f[1]}" for f in FAULTS]
)
def test_a_planted_fault_is_named(name, plant, layer, cause):
    pair = pair_of(name)
    report = converter.verify(pair.source, plant(pair))
    assert report.passed is False
    assert report.fault, report.to_dict()
    assert report.fault["layer"] == layer, report.fault
    assert cause in report.fault["cause"], report.fault


@pytest.mark.parametrize("name", ["images", "texts", "Images", "Texts"])
def test_nothing_is_named_where_nothing_is_wrong(name):
    pair = pair_of(name)
    report = converter.verify(pair.source, pair.with_text(), gradients=True)
    assert report.passed, report.to_dict()
    assert report.proven
    assert report.fault == {}
    assert all(each["passed"] and each["own"] <= 1e-13 and each["accumulated"] <= 1e-12 for each in report.layers)
    assert any(rung["name"].endswith("gradients") and rung["passed"] for rung in report.rungs)
    assert_equivalent(pair.source, pair.with_text(), require_proof=True)


def test_assert_equivalent_names_layer_and_cause():
    pair = pair_of("images")
    with pytest.raises(NotEquivalent, match=r"(?s)NOT EQUAL.*'norm'.*epsilon: 1e-05, expected 0.001"):
        assert_equivalent(pair.source, pair.with_text(("eps=0.001", "eps=1e-05")))
    with pytest.raises(AssertionError):
        assert_equivalent(pair.source, pair.with_text(("eps=0.001", "eps=1e-05")))


@keras.saving.register_keras_serializable("tests")
class Gated(keras.layers.Layer):
    """A layer of one's own: a dense layer, a normalisation, and a weight used as 1 + scale."""

    def __init__(self, units=6, **options):
        super().__init__(**options)
        self.units = units
        self.dense, self.norm = L.Dense(units, name="dense"), L.LayerNormalization(name="norm")

    def build(self, shape):
        self.dense.build(shape)
        self.norm.build((*shape[:-1], self.units))
        self.scale = self.add_weight(name="scale", shape=(self.units,), initializer="zeros")

    def call(self, x):
        return keras.ops.tanh(self.norm(self.dense(x))) * (1.0 + self.scale)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class GatedModule(nn.Module):
    def __init__(self, fault="") -> None:
        super().__init__()
        self.dense, self.norm = nn.Linear(6, 6), nn.LayerNorm(6, eps=1e-5 if fault == "epsilon" else 1e-3)
        self.scale = nn.Parameter(torch.zeros(6))
        self.fault = fault

    def forward(self, x):
        return torch.tanh(self.norm(self.dense(x))) * (self.scale if self.fault == "scale" else 1 + self.scale)


class GatedNet(nn.Module):
    def __init__(self, fault="") -> None:
        super().__init__()
        self.one, self.two, self.head = GatedModule(), GatedModule(fault), nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.two(self.one(x)))


@functools.cache
def own_layers() -> keras.Model:
    x = keras.Input((5, 6), name="x")
    model = keras.Model(x, L.Dense(2, name="head")(Gated(name="two")(Gated(name="one")(x))))
    return randomised(model)


def by_hand(fault: str) -> nn.Module:
    """The module with the weights that the model has; a square kernel is easily forgotten to be transposed."""
    net = GatedNet(fault)
    state = {}
    for weight in own_layers().weights:
        parts = weight.path.split("/")
        name = {"kernel": "weight", "gamma": "weight", "beta": "bias"}.get(parts[-1], parts[-1])
        array = np.array(keras.ops.convert_to_numpy(weight))
        transposed = parts[-1] == "kernel" and not (fault == "kernel" and "two" in parts)
        state[".".join([*parts[:-1], name])] = torch.from_numpy(np.ascontiguousarray(array.T if transposed else array))
    net.load_state_dict(state)
    return net.eval()


@pytest.mark.parametrize(
    ("fault", "layer", "cause"),
    [("kernel", "two/dense", "transposed"), ("epsilon", "two/norm", "epsilon"), ("scale", "two", "")],
)
def test_a_fault_inside_a_custom_layer_is_named(fault, layer, cause):
    report = converter.verify(own_layers(), by_hand(fault))
    assert report.passed is False
    assert report.fault["layer"] == layer, report.fault
    assert cause in report.fault["cause"]


def test_a_custom_layer_written_by_hand_is_equal_to_its_source():
    report = converter.verify(own_layers(), by_hand(""), gradients=True)
    assert report.proven, report.to_dict()
    assert [each["name"] for each in report.layers][:3] == ["one/dense", "one/norm", "one"]
    assert {each["target"] for each in report.layers} == {
        *("one", "one.dense", "one.norm", "two", "two.dense", "two.norm", "head")
    }


def recurrent(masked: bool) -> tuple[keras.Model, nn.Module]:
    """An LSTM of Keras's and the same one of PyTorch's, which knows no mask."""
    x = y = keras.Input((5, 3), name="x")
    y = L.Masking(name="masking")(y) if masked else y
    model = randomised(keras.Model(x, L.Dense(2, name="head")(L.LSTM(4, return_sequences=True, name="lstm")(y))))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.lstm(x)[0])

    net = Net().eval()
    kernel, inner, bias = (torch.from_numpy(np.array(w)) for w in model.get_layer("lstm").get_weights())
    state = {"weight_ih_l0": kernel.T, "weight_hh_l0": inner.T, "bias_ih_l0": bias, "bias_hh_l0": 0 * bias}
    net.lstm.load_state_dict(state)
    kernel, bias = (torch.from_numpy(np.array(w)) for w in model.get_layer("head").get_weights())
    net.head.load_state_dict({"weight": kernel.T, "bias": bias})
    return model, net


def test_the_order_of_gates_is_a_cause():
    model, net = recurrent(masked=False)
    assert_equivalent(model, net)
    for parameter in net.lstm.parameters():
        parameter.data = torch.cat([parameter.data.chunk(4)[i] for i in (1, 0, 2, 3)])
    report = converter.verify(model, net)
    assert report.fault["layer"] == "lstm"
    assert report.fault["cause"] == "gate order: equal with (1, 0, 2, 3)"


def test_a_mask_that_is_ignored_is_a_cause():
    model, net = recurrent(masked=True)
    x = np.random.default_rng(0).normal(size=(3, 5, 3)).astype("float32")
    assert_equivalent(model, net, inputs=x)
    x[1, 1:3] = 0
    report = converter.verify(model, net, inputs=x)
    assert report.fault["layer"] == "lstm"
    assert report.fault["cause"] == "the mask is ignored: only rows that it shortens are off"
