"""Networks by name: LeNet-5, the ResNets of CIFAR, ResNet-10, 3D-ResNeXt-101, torchvision's for images and clips."""

from __future__ import annotations

from longtail.models.create import create_model, final_linear, list_models, model_channels, takes_clips
from longtail.models.layers import layer_depths
from longtail.models.weights import load_weights

__all__ = [
    "create_model",
    "final_linear",
    "layer_depths",
    "list_models",
    "load_weights",
    "model_channels",
    "takes_clips",
]
