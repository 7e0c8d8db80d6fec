"""`create_model`: networks by name."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from longtail.errors import LongtailError
from longtail.models import from_timm
from longtail.models.classifier import classifier_of
from longtail.models.from_timm import create_timm, is_timm, timm_has_weights, timm_preprocess
from longtail.models.lenet import LeNet5
from longtail.models.pretrained import (
    PRETRAINED,
    Preprocess,
    PretrainedWeights,
    fetch_url,
    sha256_of,
    torchvision_preprocess,
    torchvision_weights,
)
from longtail.models.resnet import CifarResNet
from longtail.models.video import ResNeXt3D, Small3D
from longtail.models.weights import load_weights

__all__ = [
    "architecture_of",
    "create_model",
    "has_published",
    "list_models",
    "model_channels",
    "preprocess_of",
    "takes_clips",
]


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
    """Names that `create_model` knows: our own, then torchvision's classifiers of images and of clips.

    timm's, ``timm.list_models()``, are known besides, with ``timm/`` before them.
    """
    models = _torchvision()
    return [*_OWN, *_OTHER, *models.list_models(module=models), *models.list_models(module=models.video)]


def takes_clips(name: str) -> bool:
    """Whether a network is one for clips; for images otherwise, or unknown."""
    name = name.lower()
    if name in ("small3d", "resnext3d101"):
        return True
    return (
        name not in _OWN and not is_timm(name) and name in (models := _torchvision()).list_models(module=models.video)
    )


def model_channels(name: str, channels: int) -> int:
    """Channels to feed: our small networks take the data's own, all others need 3 (grey images are repeated)."""
    return channels if name.lower() in _OWN else 3


def has_published(name: str) -> bool:
    """Whether there are published weights for a network: timm's and torchvision's mostly have some, ours have none."""
    if is_timm(name):
        return timm_has_weights(name)
    return not _is_ours(name) and torchvision_weights(name.lower()) is not None


def preprocess_of(model: str, weights: str | None) -> Preprocess | None:
    """The pixels that a network expects which starts from these weights; no weights are read.

    Args:
        model: Name of the network.
        weights: ``pretrained``, a file, or None. Of a file it is known for timm's networks alone.

    Returns:
        None: not known, or it starts from random weights.

    Raises:
        LongtailError: unknown names.
    """
    if weights and is_timm(model):
        return timm_preprocess(model)
    if weights != PRETRAINED or _is_ours(model):
        return None
    published = torchvision_weights(model.lower())
    return None if published is None else torchvision_preprocess(published)


def architecture_of(name: str) -> dict[str, Any] | None:
    """What rebuilds a network without the folder or the hub that described it: ``name`` and ``args`` of `create_model`.

    None: its name does.
    """
    return from_timm.architecture_of(name) if is_timm(name) else None


def _is_ours(name: str) -> bool:
    return name.lower() in (*_OWN, *_OTHER)


def create_model(
    name: str,
    *,
    num_classes: int,
    in_channels: int = 3,
    image_size: int | None = None,
    frames: int = 0,
    weights: str | Path | None = None,
    args: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Build a classifier whose last linear layer has ``num_classes`` outputs.

    Args:
        name: ``lenet5`` (``lenet5-caffe``, ``lenet5-classic``), ``resnet20 32 44 56 110`` for small images,
            ``resnet10``, any torchvision classifier such as ``resnet50`` or ``convnext_tiny``, or any of timm's as
            ``timm/NAME``, ``timm/hf-hub:OWNER/NAME`` or ``timm/local-dir:FOLDER``. For clips: ``small3d``,
            ``resnext3d101``, or torchvision's ``r3d_18``, ``mc3_18``, ``r2plus1d_18``, ``swin3d_t``, ...
        num_classes: Number of classes.
        in_channels: Channels of the images; other than 3 only for the small networks (see `model_channels`).
        image_size: Side of the square images; None: the network's usual one.
        frames: Frames T of a clip; 0: images.
        weights: File with initial weights (see `load_weights`), or ``pretrained``: those that timm and torchvision
            publish, without their classifier; those of ``timm/tf_efficientnet_lite0`` come with a package. The model
            tells what it starts from in ``weights_info``, a `PretrainedWeights` or None, and in its ``notes``.
        args: Of the constructor of one of timm's networks.

    Returns:
        A module from ``[B, in_channels, S, S]``, or clips ``[B, in_channels, T, S, S]``, to logits ``[B, C]``; random
        weights from torch's global generator.

    Raises:
        LongtailError: unknown name, a network for images given clips or the other way round, images too small for the
            network, unfit weights.
    """
    if num_classes < 1:
        raise LongtailError(f"num_classes is {num_classes}: a classifier needs at least 1")
    if not is_timm(name):
        name = name.lower()
    if name not in _OWN and in_channels != 3:
        raise LongtailError(f"{name} takes images with 3 channels, not {in_channels}: repeat the grey channel")
    info: PretrainedWeights | None = None
    notes: list[str] = []
    if is_timm(name):
        model, info, notes = create_timm(
            name, num_classes=num_classes, image_size=image_size, weights=weights, args=args
        )
    elif name in _OWN:
        model = _OWN[name](num_classes, in_channels, image_size)
    else:
        own = {"resnet10": _resnet10, "resnext3d101": ResNeXt3D}.get(name)
        model = own(num_classes) if own else _from_torchvision(name, num_classes, image_size)
    if takes_clips(name) != bool(frames):
        use = "clips: use small3d, resnext3d101 or r3d_18" if frames else "images: use resnet32, resnet10 or resnet50"
        raise LongtailError(f"{name} is no network for {use}")
    if image_size is not None:
        _try_size(model, name, [2, in_channels, *([frames] if frames else []), image_size, image_size])
    if weights and not is_timm(name):
        info, notes = _load(model, name, weights)
    model.notes, model.weights_info = notes, info  # type: ignore[assignment]
    return model


def _load(model: nn.Module, name: str, weights: str | Path) -> tuple[PretrainedWeights, list[str]]:
    """Weights of a file, or those that torchvision publishes without their classifier."""
    final = classifier_of(model)[2]
    if weights != PRETRAINED:
        notes = load_weights(model, weights, final)
        return PretrainedWeights(Path(weights).name, sha256_of(Path(weights)), "not known"), notes
    published = None if _is_ours(name) else torchvision_weights(name)
    if published is None:
        raise LongtailError(
            f"there are no published weights of {name}: give --weights FILE or none, or another --model, such as "
            + ("r3d_18" if takes_clips(name) else "timm/tf_efficientnet_lite0, whose weights are on this machine")
        )
    file, start = fetch_url(published.url, model=name), {id(p): p.detach().clone() for p in final.parameters()}
    load_weights(model, file, final)
    with torch.no_grad():  # also where it has as many classes: they are others
        for parameter in final.parameters():
            parameter.copy_(start[id(parameter)])
    licence = published.meta.get("license", "licence not stated by torchvision")
    info = PretrainedWeights(file.name, sha256_of(file), licence, torchvision_preprocess(published))
    return info, [f"{name} starts from {info.name} ({info.licence}); its classifier starts from random values"]


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
