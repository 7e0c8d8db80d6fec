"""Networks by name: ours, torchvision's for images and clips, timm's; their published weights."""

from __future__ import annotations

from longtail.models.classifier import classifier_of, final_linear
from longtail.models.create import (
    architecture_of,
    create_model,
    has_published,
    list_models,
    model_channels,
    preprocess_of,
    takes_clips,
)
from longtail.models.layers import layer_depths
from longtail.models.pretrained import PRETRAINED, Preprocess, PretrainedWeights
from longtail.models.weights import load_weights

__all__ = [
    "PRETRAINED",
    "Preprocess",
    "PretrainedWeights",
    "architecture_of",
    "classifier_of",
    "create_model",
    "final_linear",
    "has_published",
    "layer_depths",
    "list_models",
    "load_weights",
    "model_channels",
    "preprocess_of",
    "takes_clips",
]
