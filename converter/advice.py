"""What to use in the place of what has no mapping: the nearest thing that converts, by the name of what is refused.

Names are those of Keras's layers, operations and activations, and of PyTorch's operations ('stack.default').
"""

from __future__ import annotations

GENERAL = "Replace it by layers that have a mapping; `kconvert support` lists them."
CUSTOM = (
    "Give the class or function: --custom Name=pkg.mod:obj (custom= in Python); or vouch for the file with --trust "
    "(trust=True), which imports the modules that it names."
)
TRAINING = "it is called with training=True, which holds at inference too."
NO_TRAINING = "Call it without training=True."
QUANTISED = "its weights are quantised, or have LoRA weights beside them."
PLAIN = "Save the model before it is quantised, with its LoRA weights merged."

KERAS: dict[str, str] = {
    # keras.ops, where a layer does the same
    "Hstack": "Use layers.Concatenate(axis=1)([a, b]).",
    "Ravel": "Use layers.Flatten()(x), which keeps the batch axis.",
    "Swapaxes": "Use layers.Permute(axes, counted from 1 behind the batch)(x).",
    "Moveaxis": "Use layers.Permute(axes, counted from 1 behind the batch)(x).",
    "Dot": "Use layers.Dot(axes=...)([a, b]).",
    "Normalize": "Use layers.UnitNormalization(axis=...)(x).",
    "Take": "Take the part by a slice or an index: x[:, 0].",
    "Resize": "Use layers.Resizing(height, width)(x).",
    "MaxPool": "Use layers.MaxPooling1D, 2D or 3D.",
    "AveragePool": "Use layers.AveragePooling1D, 2D or 3D.",
    "Softmax": "Use layers.Softmax(axis=...)(x).",
    "LogSoftmax": 'Use layers.Activation("log_softmax")(x).',
    "Elu": "Use layers.ELU(alpha=...)(x).",
    "LeakyRelu": "Use layers.LeakyReLU(negative_slope=...)(x).",
    "Gelu": 'Use layers.Activation("gelu")(x), which is the exact one.',
    "Celu": 'Use layers.Activation("celu")(x).',
    "Glu": 'Use layers.Activation("glu")(x).',
    "HardShrink": 'Use layers.Activation("hard_shrink")(x).',
    "SoftShrink": 'Use layers.Activation("soft_shrink")(x).',
    "TanhShrink": 'Use layers.Activation("tanh_shrink")(x).',
    "Squareplus": 'Use layers.Activation("squareplus")(x).',
    "SparsePlus": 'Use layers.Activation("sparse_plus")(x).',
    "SparseSigmoid": 'Use layers.Activation("sparse_sigmoid")(x).',
    "Sparsemax": 'Use layers.Activation("sparsemax")(x).',
    "Threshold": "Use layers.ReLU(threshold=...)(x), which gives 0 below the threshold.",
    # layers
    "Lambda": "Give its function: --custom NAME=pkg.mod:function with the layer's name (custom= in Python); or vouch "
    "for the file with --trust (trust=True), which runs its code. Else code is never run.",
    "TimeDistributed": "layers.Dense and activations act on every step by themselves: leave TimeDistributed out.",
}

TORCH: dict[str, str] = {
    "rrelu.default": "Use nn.LeakyReLU(slope), which is what it does at inference.",
}

RANDOM = frozenset(
    {"rand", "rand_like", "randn", "randn_like", "randint", "randint_like", "randperm", "bernoulli", "multinomial"}
    | {"normal", "normal_functional", "uniform", "exponential"}
)
"""Operations of aten that draw numbers."""


def of(name: str) -> str:
    """What to do about a Keras class or activation without a mapping."""
    return KERAS.get(name, GENERAL)


def of_torch(name: str) -> str:
    """What to do about a PyTorch operation without a mapping."""
    if name.partition(".")[0] in RANDOM:
        return "It draws numbers at random, which differ from framework to framework: give them to it as an input."
    return TORCH.get(name, "Replace it by operations that have a mapping; `kconvert support --torch` lists them.")
