"""What a run starts from: network, weights, and what of the network is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from longtail.config import RunConfig
from longtail.data.base import ImageData
from longtail.errors import LongtailError
from longtail.methods.base import find_method
from longtail.models import PRETRAINED, Preprocess, has_published, preprocess_of, takes_clips
from longtail.tasks.fine_tuning import fine_tuning_defaults

__all__ = ["DEFAULT_DETECTOR", "DEFAULT_MODEL", "PHOTOGRAPHS_TUNE", "choose_start", "settle_start", "with_look"]

DEFAULT_MODEL = "timm/tf_efficientnet_lite0"
"""Of photographs: its weights come with a package, so it is the same everywhere, with a network or without."""
DEFAULT_DETECTOR = f"fasterrcnn:{DEFAULT_MODEL}"
"""Of photographs with boxes."""
PHOTOGRAPHS_TUNE = "head"
"""``--tune`` of photographs and clips that start from published weights for images, unless it is said."""
TRAINING_HEAD: dict[str, Any] = {"epochs": 20, "schedule": "cosine", "warmup_epochs": 0}
TRAINING_HEAD |= {"final": "last", "refit": True, "head": "linear", "views": 0}
"""Of a classifier on features. Rate, batch size and weight decay follow from the data, see `VectorTask.training`."""
ON_FEATURES = ("head", "features", "views", "refit", "feature_cache")
"""Fields that mean something to ``--tune head`` alone."""


def choose_start(
    config: RunConfig,
    recipe: Mapping[str, Any],
    *,
    photographs: bool,
    default: str,
    published: Callable[[str], bool] = has_published,
) -> tuple[str | None, str | None]:
    """``model`` and ``weights`` of a run.

    Args:
        config: ``weights`` are ``auto`` (also None), ``none``, ``pretrained``, or a file.
        recipe: What unset fields get.
        photographs: Whether ``auto`` means published weights, for networks that have some.
        default: The network of photographs, and of others that shall start from published weights where the usual one
            has none.
        published: Whether there are published weights of a network.

    Returns:
        The network, None for the recipe's; None for random weights, ``pretrained``, or a file.
    """
    weights, model = config.weights, config.model
    if weights in (None, "auto"):
        weights = PRETRAINED if photographs and published(model or default) else None
    elif weights == "none":
        weights = None
    if weights == PRETRAINED and model is None:
        model = recipe["model"] if not photographs and published(recipe["model"]) else default
    return model, weights


def settle_start(
    config: RunConfig, recipe: dict[str, Any], *, photographs: bool = False, clips: bool = False
) -> tuple[RunConfig, dict[str, Any]]:
    """Settle ``model``, ``weights`` and ``tune``; the size of images follows the weights.

    Args:
        config: ``weights`` are ``auto`` (also None), ``none``, ``pretrained``, or a file.
        recipe: What unset fields get.
        photographs: Whether ``auto`` means published weights, for networks that have some; for a network that stays
            frozen it does for any data.
        clips: Whether they are clips. A frozen network sees their frames; one that takes whole clips is trained whole.

    Returns:
        The configuration, whose ``weights`` are None for random ones, ``pretrained``, or a file; the recipe.

    Raises:
        LongtailError: a network that cannot stay frozen, or options of another way to train.
    """
    said, frozen = config.weights, config.tune == "head"
    light = photographs and config.tune is None and not find_method(config.method).needs_weights
    light = light and not (clips and config.model is not None and takes_clips(config.model))
    default = recipe["model"] if clips and not (frozen or light) else DEFAULT_MODEL
    model, weights = choose_start(config, recipe, photographs=photographs or frozen, default=default)
    tune = config.tune or (PHOTOGRAPHS_TUNE if light and weights == PRETRAINED else "all")
    config = dataclasses.replace(config, model=model, weights=weights, tune=tune)
    look = preprocess_of(model or recipe["model"], weights)
    recipe = recipe if look is None else recipe | {"image_size": look.image_size}
    if tune == "head":
        _check_frozen(model or recipe["model"], weights or said, clips=clips)
        given = {k: recipe[k] for k in ("model", "image_size")}
        return dataclasses.replace(config, features=config.features or "auto"), given | TRAINING_HEAD
    for name in ON_FEATURES:
        if getattr(config, name) is not None and (name, tune) != ("head", "adapter"):
            raise LongtailError(f"--{name.replace('_', '-')} is for --tune head, not for --tune {tune}: leave it out")
    if tune == "adapter" and weights is None:
        raise LongtailError("--tune adapter is for a network that is trained already: add --weights")
    if tune == "adapter" or weights == PRETRAINED:
        recipe |= fine_tuning_defaults(config, model or recipe["model"])
    return config, recipe


def _check_frozen(model: str, weights: str | None, *, clips: bool) -> None:
    """Refuse what gives no features: a network for whole clips, or one of random weights that nobody asked for."""
    if clips and takes_clips(model):
        raise LongtailError(
            f"--tune head looks at the frames of clips, and {model} takes whole clips: leave --model out or name a "
            "network for images, or use --tune all"
        )
    if weights in (None, "auto"):
        raise LongtailError(
            f"--tune head is for a network that is trained already, and {model} has no published weights: name another "
            "--model, or give a file with --weights"
        )


def with_look(data: ImageData, look: Preprocess | None) -> ImageData:
    """Data as a network expects them that starts from published weights; None: as they are.

    Grey images, which a network for colour gets three times, are normalised by the mean over its channels.
    """
    if look is None:
        return data
    mean, std = look.mean, look.std
    if data.channels == 1:
        mean, std = ((sum(values) / len(values),) for values in (mean, std))
    return dataclasses.replace(data, mean=mean, std=std, center_crop=look.crop, interpolation=look.interpolation)
