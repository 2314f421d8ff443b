"""Whole networks as packages write them, both ways: `python tests/zoo/networks.py [NAME ...]`, one line each.

From PyTorch: torchvision, timm and transformers; from Keras: backbones of keras-hub, from a configuration, with random
weights. Statistics of normalisations are drawn, so that a random network answers to its input. Shown: the float64
error, whether the batch is dynamic, and that every trainable parameter has arrived under a name of its own.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

PROOF = 1e-9
SMALL = {"hidden": 64, "layers": 3, "heads": 4, "vocabulary": 211, "length": 24}


def vision(name: str, size: int, **options: Any) -> Callable[[], tuple[Any, tuple[Any, ...], dict[str, Any]]]:
    """A model of torchvision with an image of this size."""

    def make() -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        import torch
        import torchvision

        found = getattr(torchvision.models, name, None) or getattr(torchvision.models.segmentation, name)
        return found(weights=None, **options), (torch.randn(2, 3, size, size),), {}

    return make


def image_model(name: str, size: int, **options: Any) -> Callable[[], tuple[Any, tuple[Any, ...], dict[str, Any]]]:
    """A model of timm with an image of this size."""

    def make() -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        import timm
        import torch

        return timm.create_model(name, pretrained=False, **options), (torch.randn(2, 3, size, size),), {}

    return make


def language(kind: str, **options: Any) -> Callable[[], tuple[Any, tuple[Any, ...], dict[str, Any]]]:
    """A model of transformers on words, small, with a mask."""

    def make() -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        import torch
        import transformers

        config = getattr(transformers, kind.removesuffix("Model").removesuffix("Encoder") + "Config")
        ids = torch.randint(0, SMALL["vocabulary"], (2, SMALL["length"]))
        mask = torch.ones_like(ids)
        mask[1, 15:] = 0
        made = getattr(transformers, kind)(config(vocab_size=SMALL["vocabulary"], **options))
        return made, (), {"input_ids": ids, "attention_mask": mask}

    return make


def patches() -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """ViT of transformers, small."""
    import torch
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(**WIDTHS, image_size=32, patch_size=8)
    return ViTModel(config), (), {"pixel_values": torch.randn(2, 3, 32, 32)}


def encoder() -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """nn.TransformerEncoder with a padding mask. Its fast path zeroes padded rows, which the exported graph does not:
    it is off here."""
    import torch
    from torch import nn

    torch.backends.mha.set_fastpath_enabled(False)
    layer = nn.TransformerEncoderLayer(SMALL["hidden"], SMALL["heads"], 4 * SMALL["hidden"], batch_first=True)
    mask = torch.zeros(2, SMALL["length"], dtype=torch.bool)
    mask[1, 15:] = True
    words = torch.randn(2, SMALL["length"], SMALL["hidden"])
    model = nn.TransformerEncoder(layer, SMALL["layers"], enable_nested_tensor=False)
    return model, (), {"src": words, "src_key_padding_mask": mask}


WIDTHS = {
    "hidden_size": SMALL["hidden"],
    "num_hidden_layers": SMALL["layers"],
    "num_attention_heads": SMALL["heads"],
    "intermediate_size": 4 * SMALL["hidden"],
}
POSITIONS = {"max_position_embeddings": 64}
GPT2 = {"n_embd": SMALL["hidden"], "n_layer": SMALL["layers"], "n_head": SMALL["heads"], "n_positions": 64}
DISTIL = {"dim": SMALL["hidden"], "n_layers": SMALL["layers"], "n_heads": SMALL["heads"], "hidden_dim": 256}
T5 = {"d_model": SMALL["hidden"], "d_kv": 16, "d_ff": 256, "num_layers": SMALL["layers"], "num_heads": SMALL["heads"]}
LENGTHS: dict[str, Callable[[], tuple[Any, tuple[Any, ...], dict[str, Any]]]] = {
    "torch.nn.TransformerEncoder": encoder,
    "transformers.BertModel": language("BertModel", **WIDTHS, **POSITIONS),
    "transformers.DistilBertModel": language("DistilBertModel", **DISTIL, **POSITIONS),
    "transformers.GPT2Model": language("GPT2Model", **GPT2, use_cache=False, bos_token_id=1, eos_token_id=2),
    "transformers.T5EncoderModel": language("T5EncoderModel", **T5),
    "transformers.RoFormerModel": language("RoFormerModel", **WIDTHS, **POSITIONS, embedding_size=64),
    "transformers.LlamaModel": language("LlamaModel", **WIDTHS, **POSITIONS, num_key_value_heads=2, use_cache=False),
    "transformers.RobertaModel": language("RobertaModel", **WIDTHS, **POSITIONS),
    "transformers.AlbertModel": language("AlbertModel", **WIDTHS, **POSITIONS, embedding_size=32),
}
"""Networks on words, of which batch and length are dynamic."""
TORCH: dict[str, Callable[[], tuple[Any, tuple[Any, ...], dict[str, Any]]]] = {
    "torchvision.convnext_tiny": vision("convnext_tiny", 64),
    "torchvision.vit_b_32": vision("vit_b_32", 64, image_size=64),
    "torchvision.swin_t": vision("swin_t", 64),
    "torchvision.shufflenet_v2_x0_5": vision("shufflenet_v2_x0_5", 64),
    "torchvision.deeplabv3_resnet50": vision("deeplabv3_resnet50", 64, weights_backbone=None),
    "torchvision.mobilenet_v3_small": vision("mobilenet_v3_small", 64),
    "torchvision.resnet18": vision("resnet18", 64),
    "timm.mixer_s32_224": image_model("mixer_s32_224", 64, img_size=64),
    "timm.convnext_atto": image_model("convnext_atto", 64),
    "timm.vit_tiny_patch16_224": image_model("vit_tiny_patch16_224", 64, img_size=64),
    "timm.efficientnet_b0": image_model("efficientnet_b0", 64),
    "timm.regnety_002": image_model("regnety_002", 64),
    "timm.mobilevitv2_050": image_model("mobilevitv2_050", 96),
    "timm.levit_128s": image_model("levit_128s", 224),
    "timm.resnetv2_50": image_model("resnetv2_50", 64),
    "timm.edgenext_xx_small": image_model("edgenext_xx_small", 64),
    "timm.poolformer_s12": image_model("poolformer_s12", 64),
    "timm.coatnet_pico_rw_224": image_model("coatnet_pico_rw_224", 64, img_size=64),
    "timm.xcit_nano_12_p16_224": image_model("xcit_nano_12_p16_224", 64, img_size=64),
    "timm.resnetv2_50x1_bit": image_model("resnetv2_50x1_bit", 64),
    "transformers.ViTModel": patches,
    **LENGTHS,
}


def backbone(name: str, **options: Any) -> Callable[[], Any]:
    """A backbone of keras-hub from its configuration."""

    def make() -> Any:
        import keras_hub

        return getattr(keras_hub.models, name)(**options)

    return make


KERAS: dict[str, Callable[[], Any]] = {
    "keras_hub.BertBackbone": backbone(
        "BertBackbone",
        vocabulary_size=SMALL["vocabulary"],
        num_layers=SMALL["layers"],
        num_heads=SMALL["heads"],
        hidden_dim=SMALL["hidden"],
        intermediate_dim=4 * SMALL["hidden"],
        max_sequence_length=64,
    ),
    "keras_hub.GPT2Backbone": backbone(
        "GPT2Backbone",
        vocabulary_size=SMALL["vocabulary"],
        num_layers=SMALL["layers"],
        num_heads=SMALL["heads"],
        hidden_dim=SMALL["hidden"],
        intermediate_dim=4 * SMALL["hidden"],
        max_sequence_length=64,
    ),
    "keras_hub.LlamaBackbone": backbone(
        "LlamaBackbone",
        vocabulary_size=SMALL["vocabulary"],
        num_layers=SMALL["layers"],
        num_query_heads=SMALL["heads"],
        num_key_value_heads=2,
        hidden_dim=SMALL["hidden"],
        intermediate_dim=4 * SMALL["hidden"],
    ),
}


def drawn(model: Any) -> None:
    """Statistics, scales and offsets, and heads of zeros, that are not those of a fresh network."""
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if not tensor.is_floating_point() or (tensor.ndim > 1 and bool(tensor.any())):
                continue
            noise = torch.rand(tensor.shape, generator=generator)
            tensor.copy_(0.5 + noise if "var" in key or bool((tensor == 1).all()) else tensor + 0.1 * (noise - 0.5))


def from_torch(name: str) -> dict[str, Any]:
    """One network of PyTorch, to Keras."""
    import torch

    import converter

    torch.manual_seed(0)
    model, args, kwargs = TORCH[name]()
    model.eval()
    drawn(model)
    dynamic = {key: {0: "batch", 1: "length"} for key in kwargs} if name in LENGTHS else None
    made = converter.convert(
        model, "keras", example_inputs=args or None, example_kwargs=kwargs or None, dynamic=dynamic
    )
    wanted = sum(p.numel() for p in model.parameters() if p.requires_grad)
    found = sum(int(w.value.numel() if hasattr(w.value, "numel") else 0) for w in made.model.trainable_weights)
    return {"made": made, "parameters": (wanted, found)}


def from_keras(name: str) -> dict[str, Any]:
    """One backbone of keras-hub, to PyTorch."""
    import keras
    import numpy as np

    import converter

    keras.utils.set_random_seed(0)
    model = KERAS[name]()
    made = converter.convert(model, "torch")
    wanted = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    found = sum(p.numel() for p in made.model.parameters() if p.requires_grad)
    return {"made": made, "parameters": (wanted, found)}


def main(names: list[str]) -> int:
    """Run the networks one by one; 1 where one of them is not shown."""
    failed = 0
    for name in names or [*TORCH, *KERAS]:
        started = time.perf_counter()
        try:
            row = from_torch(name) if name in TORCH else from_keras(name)
        except Exception as error:
            failed += 1
            if "-v" in sys.argv:
                traceback.print_exc()
            print(f"{name:34} {type(error).__name__}: {error}"[:2500], flush=True)
            continue
        made = row["made"]
        report = made.report.to_dict()
        exact = [rung for rung in report["rungs"] if rung["precision"] == "float64"]
        errors = [float(output["max_rel"] or 0) for rung in exact for output in rung["outputs"]]
        told = row["parameters"][0] == row["parameters"][1] or bool(made.report.trainable["why"])
        shown = made.report.passed and made.report.proof and told
        failed += not shown
        dynamic = {axis for axes in report["dynamic"].values() for axis in axes if isinstance(axis, str)}
        print(
            f"{name:34} {'shown' if shown else 'NOT SHOWN'} passed={made.report.passed} proof={made.report.proof} "
            f"float64={max(errors, default=-1):.1e} parameters={row['parameters']} "
            f"lines={len(made.source.splitlines())} transposes={made.report.transposes} "
            f"dynamic={sorted(dynamic)} "
            f"{time.perf_counter() - started:.0f} s {report.get('warnings')} {report['trainable']['why']}",
            flush=True,
        )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main([name for name in sys.argv[1:] if not name.startswith("-")]))
