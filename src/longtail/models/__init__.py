"""Networks: LeNet-5, the ResNets of CIFAR, ResNet-10, and every torchvision classifier by name."""

from __future__ import annotations

from longtail.models.create import create_model, final_linear, list_models, model_channels
from longtail.models.weights import load_weights

__all__ = ["create_model", "final_linear", "list_models", "load_weights", "model_channels"]
