"""`create_model`: networks by name."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from longtail.errors import LongtailError
from longtail.models.lenet import LeNet5
from longtail.models.resnet import CifarResNet
from longtail.models.video import ResNeXt3D, Small3D
from longtail.models.weights import load_weights

__all__ = ["create_model", "final_linear", "list_models", "model_channels", "takes_clips"]


def _lenet(num_classes: int, in_channels: int, image_size: int | None, widths: str = "caffe") -> nn.Module:
    return LeNet5(num_classes, in_channels=in_channels, image_size=image_size or 28, widths=widths)


def _cifar(depth: int, num_classes: int, in_channels: int, image_size: int | None) -> nn.Module:
    return CifarResNet(depth, num_classes, in_channels=in_channels)


def _small3d(num_classes: int, in_channels: int, image_size: int | None) -> nn.Module:
    return Small3D(num_classes, in_channels=in_channels)


_OWN: dict[str, Callable[[int, int, int | None], nn.Module]] = {
    "lenet5": _lenet,
    "lenet5-caffe": _lenet,
    "lenet5-classic": partial(_lenet, widths="classic"),
    **{f"resnet{depth}": partial(_cifar, depth) for depth in (20, 32, 44, 56, 110)},
    "small3d": _small3d,
}
_OTHER = ("resnet10", "resnext3d101")
"""Networks of this library that take three channels, as torchvision's do."""


def _torchvision() -> Any:
    try:
        from torchvision import models
    except ImportError:
        raise LongtailError("this model needs torchvision: pip install 'longtail[train]'") from None
    return models


def list_models() -> list[str]:
    """Names that `create_model` knows: our own, then torchvision's classifiers of images and of clips."""
    models = _torchvision()
    return [*_OWN, *_OTHER, *models.list_models(module=models), *models.list_models(module=models.video)]


def takes_clips(name: str) -> bool:
    """Whether a network is one for clips; for images otherwise, or unknown."""
    name = name.lower()
    if name in ("small3d", "resnext3d101"):
        return True
    return name not in _OWN and name in (models := _torchvision()).list_models(module=models.video)


def model_channels(name: str, channels: int) -> int:
    """Channels to feed: our small networks take the data's own, all others need 3 (grey images are repeated)."""
    return channels if name.lower() in _OWN else 3


def create_model(
    name: str,
    *,
    num_classes: int,
    in_channels: int = 3,
    image_size: int | None = None,
    frames: int = 0,
    weights: str | Path | None = None,
) -> nn.Module:
    """Build a classifier whose last linear layer has ``num_classes`` outputs.

    Args:
        name: ``lenet5`` (``lenet5-caffe``, ``lenet5-classic``), ``resnet20 32 44 56 110`` for small images,
            ``resnet10``, or any torchvision classifier such as ``resnet50`` or ``convnext_tiny``. For clips:
            ``small3d``, ``resnext3d101``, or torchvision's ``r3d_18``, ``mc3_18``, ``r2plus1d_18``, ``swin3d_t``, ...
        num_classes: C.
        in_channels: Channels of the images; other than 3 only for the small networks (see `model_channels`).
        image_size: Side of the square images; None: the network's usual one.
        frames: Frames T of a clip; 0: images.
        weights: File with initial weights (see `load_weights`). What it says is kept in the model's ``notes``.

    Returns:
        A module from ``[B, in_channels, S, S]``, or clips ``[B, in_channels, T, S, S]``, to logits ``[B, C]``; random
        weights from torch's global generator.

    Raises:
        LongtailError: unknown name, a network for images given clips or the other way round, images too small for the
            network, unfit weights.
    """
    name = name.lower()
    if num_classes < 1:
        raise LongtailError(f"num_classes is {num_classes}: a classifier needs at least 1")
    if name in _OWN:
        model = _OWN[name](num_classes, in_channels, image_size)
    else:
        if in_channels != 3:
            raise LongtailError(f"{name} takes images with 3 channels, not {in_channels}: repeat the grey channel")
        own = {"resnet10": _resnet10, "resnext3d101": ResNeXt3D}.get(name)
        model = own(num_classes) if own else _from_torchvision(name, num_classes, image_size)
    if takes_clips(name) != bool(frames):
        use = "clips: use small3d, resnext3d101 or r3d_18" if frames else "images: use resnet32, resnet10 or resnet50"
        raise LongtailError(f"{name} is no network for {use}")
    if image_size is not None:
        _try_size(model, name, [2, in_channels, *([frames] if frames else []), image_size, image_size])
    model.notes = load_weights(model, weights, final_linear(model)[2]) if weights else []  # type: ignore[assignment]
    return model


def _resnet10(num_classes: int) -> nn.Module:
    from_torchvision = _torchvision().resnet
    return from_torchvision.ResNet(from_torchvision.BasicBlock, [1, 1, 1, 1], num_classes=num_classes)


def _from_torchvision(name: str, num_classes: int, image_size: int | None) -> nn.Module:
    models = _torchvision()
    known = [*models.list_models(module=models), *models.list_models(module=models.video)]
    if name not in known:
        close = difflib.get_close_matches(name, [*_OWN, *_OTHER, *known], n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "see torchvision's list of classifiers"
        raise LongtailError(f"unknown model {name!r}: {hint}")
    kwargs: dict[str, Any] = {"num_classes": num_classes}
    if name in ("googlenet", "inception_v3"):  # one output, also while training
        kwargs |= {"aux_logits": False, "init_weights": True}
    if image_size is not None and name.startswith("vit_"):
        kwargs["image_size"] = image_size
    if image_size is not None and name == "maxvit_t":
        kwargs["input_size"] = (image_size, image_size)
    try:
        model = models.get_model(name, weights=None, **kwargs)
    except (ValueError, RuntimeError, AssertionError) as error:
        raise LongtailError(f"{name} cannot be built for images of {image_size} pixels: {error}") from None
    if name.startswith("squeezenet"):  # this family and the next end in a convolution
        model.classifier = nn.Sequential(
            nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, num_classes)
        )
    if name == "s3d":
        model.avgpool = nn.AdaptiveAvgPool3d(1)
        model.classifier = nn.Sequential(
            nn.Dropout(0.2), nn.Flatten(), nn.Linear(1024, num_classes), nn.Unflatten(-1, (-1, 1, 1, 1))
        )
    return model


def _try_size(model: nn.Module, name: str, shape: list[int]) -> None:
    """Run the shapes alone, without data and work, to find out now whether images of this size pass through."""
    shapes = copy.deepcopy(model).to("meta").eval()
    try:
        with torch.no_grad():
            shapes(torch.empty(shape, device="meta"))
    except Exception as error:
        what, mend = "images", "--image-size"
        if len(shape) == 5:
            what, mend = f"clips of {shape[2]} frames", "--frames or --image-size"
        reason = " ".join(str(error).split())
        raise LongtailError(
            f"{name} cannot take {what} of {shape[-1]} pixels ({reason}): give another {mend}"
        ) from None


def final_linear(model: nn.Module) -> tuple[nn.Module, str, nn.Linear]:
    """The last linear layer, and where it hangs: ``setattr(parent, attribute, other)`` puts another in its place.

    Raises:
        LongtailError: the model has no linear layer.
    """
    name = next((n for n, layer in reversed(list(model.named_modules())) if isinstance(layer, nn.Linear)), None)
    if not name:
        raise LongtailError(f"{type(model).__name__} has no linear layer inside that could be its classifier")
    parent, _, attribute = name.rpartition(".")
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    return model.get_submodule(parent), attribute, layer
