"""Defaults of a training that starts from published weights, or that trains adapters: by kind of network."""

from __future__ import annotations

import re
from typing import Any

from longtail.config import RunConfig

__all__ = ["fine_tuning_defaults", "from_scratch_with_adamw", "kind_of"]

_ALL: dict[str, Any] = {
    "epochs": 10,  # six were enough for photographs of 101 classes (measured): 80.3 to 90.8 % of the class mean
    "batch_size": 64,
    "schedule": "cosine",
    "warmup_epochs": 1,
}
# lr is the classifier's rate, ten times the backbone's, as is usual for new weights beside trained ones.
_BY_KIND: dict[str, dict[str, Any]] = {
    # The backbone's 0.003 and no more than a little decay: BiT-HyperRule (Kolesnikov et al., ECCV 2020).
    "resnet": {"optimizer": "sgd", "lr": 0.03, "weight_decay": 1e-4},
    # AdamW with 0.05 and layer decay 0.75: BEiT and MAE fine-tuning of ViT-B (Bao et al., ICLR 2022; He et al.,
    # CVPR 2022); their rates of 1e-3 at a batch of 1,024 are 6e-5 at one of 64.
    "vit": {"optimizer": "adamw", "lr": 6e-4, "weight_decay": 0.05, "layer_decay": 0.75},
    # AdamW, 5e-5 at a batch of 512, layer decay 0.7 to 0.8: ConvNeXt fine-tuning (Liu et al., CVPR 2022);
    # Swin's is like it (Liu et al., ICCV 2021).
    "convnext": {"optimizer": "adamw", "lr": 5e-4, "weight_decay": 0.05, "layer_decay": 0.8},
    # EfficientNet, MobileNet and all others: measured on EfficientNet-Lite0, 4e-4 to 5e-4 for the backbone.
    "other": {"optimizer": "adamw", "lr": 4e-3, "weight_decay": 0.01},
}
# LIFT (Shi et al., ICML 2024, and its code): SGD 0.02, momentum 0.9, weight decay 5e-4, a cosine schedule,
# batches of 128, 5 epochs, a cosine classifier of scale 25, AdaptFormer.
_ADAPTER: dict[str, Any] = {
    "optimizer": "sgd", "lr": 0.02, "weight_decay": 5e-4, "schedule": "cosine", "warmup_epochs": 0, "batch_size": 128,
    "epochs": 5,
}  # fmt: skip
ADAPTER_RANK = 8
"""peft's default of LoRA; of the size that LIFT chooses by the number of classes and blocks (4 to 32)."""

_NAMES = (
    ("vit", re.compile(r"(flexi|test_)?vit|deit|beit|eva|cait|xcit|maxvit|samvit|naflexvit")),
    ("convnext", re.compile(r"(test_)?convnext|swin|mvit|focalnet|hiera|pvt")),
    ("resnet", re.compile(r"(wide_|tv_|gluon_|test_|se)?res(net|nex|2net|nest)|regnet|densenet|vgg|r3d|mc3|r2plus1d")),
)


def kind_of(model: str) -> str:
    """The kind of a network by its name: ``vit``, ``convnext`` (with Swin), ``resnet`` or ``other``."""
    name = model.lower().rpartition("/")[2].rpartition(":")[2]
    return next((kind for kind, pattern in _NAMES if pattern.match(name)), "other")


def fine_tuning_defaults(config: RunConfig, model: str) -> dict[str, Any]:
    """Training defaults: fields of `RunConfig`.

    Args:
        config: A run whose weights and ``tune`` are settled; what it sets itself is looked at, not returned.
        model: Name of the network.
    """
    if config.tune == "adapter":
        adapter = "adaptformer" if kind_of(model) == "vit" else "lora"
        return _for_task(config, _ADAPTER | {"adapter": adapter, "adapter_rank": ADAPTER_RANK})
    own = _BY_KIND[kind_of(model)]
    if config.optimizer not in (None, own["optimizer"]):
        own = _BY_KIND["resnet" if config.optimizer == "sgd" else "other"]
    defaults = _ALL | own
    if not model.lower().startswith("timm/"):  # torchvision's do not tell their layers
        defaults.pop("layer_decay", None)
    return _for_task(config, defaults) | {"backbone_lr": float(f"{(config.lr or defaults['lr']) / 10:.6g}")}


def _for_task(config: RunConfig, defaults: dict[str, Any]) -> dict[str, Any]:
    """Batches of clips are those of the data set: one holds as many pixels as a batch of images."""
    return {k: v for k, v in defaults.items() if k != "batch_size" or config.task != "video"}


def from_scratch_with_adamw(*, boxes: bool) -> dict[str, Any]:
    """Rate and decay where AdamW is asked for in place of the SGD that a recipe's are made for.

    0.05 and about 1e-3: DeiT (Touvron et al., ICML 2021); boxes, 1e-4: DETR (Carion et al., ECCV 2020).
    """
    return {"lr": 1e-4, "weight_decay": 1e-4} if boxes else {"lr": 1e-3, "weight_decay": 0.05}
