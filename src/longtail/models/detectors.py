"""`create_detector`: torchvision's Faster and Mask R-CNN by name, at any size, on its backbones or on timm's."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from longtail.errors import LongtailError
from longtail.models import from_timm
from longtail.models.from_timm import PREFIX, is_timm, timm_has_weights
from longtail.models.pretrained import (
    EMBEDDED,
    PRETRAINED,
    PretrainedWeights,
    fetch_url,
    sha256_of,
    torchvision_weights,
)
from longtail.models.pyramid import residual_pyramid, timm_pyramid
from longtail.models.weights import read_weights

__all__ = ["architecture_of", "box_classifier", "create_detector", "has_published", "list_detectors"]

_BACKBONES = ("resnet10_fpn", "resnet18_fpn", "resnet50_fpn", "resnet101_fpn")
_SMALL = 400
"""Images whose shorter side is below this get the smaller anchors, and fewer proposals and detections."""
_OWN_LAYERS = ("roi_heads.box_predictor.", "roi_heads.mask_predictor.mask_fcn_logits.")
"""What depends on the classes."""


def list_detectors() -> list[str]:
    """Names that `create_detector` knows."""
    return [f"{kind}rcnn_{backbone}" for kind in ("faster", "mask") for backbone in _BACKBONES]


def create_detector(
    name: str,
    *,
    num_classes: int,
    image_size: int = 800,
    weights: str | Path | None = None,
    frozen_norm: bool = False,
    args: Mapping[str, Any] | None = None,
    **options: Any,
) -> nn.Module:
    """Build a detector for C classes and the background.

    Without weights the normalisation is by groups, which small batches can train. With a file of weights it is what the
    file holds: groups, or the frozen batch normalisation of the published models, where the first two stages of the
    backbone stay frozen, as usual.

    Args:
        name: ``fasterrcnn_resnet50_fpn``, ``maskrcnn_resnet50_fpn``; the same with ``resnet101_fpn``, or with
            ``resnet18_fpn`` and a mask head of two narrow layers; or with ``resnet10_fpn`` (a block a stage), where the
            pyramid and the heads are narrow too, which learns small images on a CPU in minutes. Or
            ``fasterrcnn:timm/NAME``, ``maskrcnn:timm/NAME``: a pyramid on any network of timm that has maps of strides
            4, 8, 16 and 32; below 400 pixels it and the heads are narrow.
        num_classes: C, without the background.
        image_size: Shorter side in pixels to which images are brought; the longer one is at most 5 / 3 of it.
        weights: File of a detector of the same kind with any classes (such as torchvision's for COCO: what depends on
            the classes then starts anew), or of its backbone as a classifier; or ``pretrained``: torchvision's for
            COCO, where it has some, else those of the backbone as a classifier. The model tells whose they are in
            ``weights_info``, and what is to be known in ``notes``.
        frozen_norm: Frozen batch normalisation without a file, for weights that are loaded later; the model says in
            ``frozen_norm`` what it has.
        args: Of the constructor of a backbone of timm.
        **options: Of torchvision's `FasterRCNN` and `MaskRCNN`.

    Returns:
        A torchvision detector. It returns the 300 best boxes of an image (100 below 400 pixels), down to a score
        of 0.001.

    Raises:
        LongtailError: unknown name, a size out of range, or unfit weights.
    """
    from torchvision.models.detection import FasterRCNN, MaskRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
    from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
    from torchvision.ops import FrozenBatchNorm2d

    kind, backbone = _parts(name)
    if num_classes < 1 or image_size < 32:
        raise LongtailError(f"{num_classes} classes at {image_size} pixels: it takes a class and 32 pixels at least")
    timm, narrow = is_timm(backbone), backbone == "resnet10_fpn"
    file, info = _published(name, backbone) if weights == PRETRAINED and not timm else (weights, None)
    given = read_weights(Path(file)) if file and file != PRETRAINED else {}
    published = frozen_norm or weights == PRETRAINED or any(key.endswith("running_mean") for key in given)
    narrow = narrow or (timm and image_size < _SMALL)
    channels, notes = 64 if narrow else 256, list[str]()
    if timm:
        of_detector = any(key.startswith("backbone.") for key in given)
        start = None if of_detector else file
        body, info, notes = timm_pyramid(backbone, frozen=published, channels=channels, weights=start, args=args)
        given = given if of_detector else {}
        if info is not None and info.preprocess is not None:
            look = info.preprocess
            options = {"image_mean": list(look.mean), "image_std": list(look.std)} | options
    else:
        notes = [f"{name} starts from {info.name} ({info.licence})"] if info is not None else []
        norm = FrozenBatchNorm2d if published else partial(nn.GroupNorm, 16)
        body = residual_pyramid(backbone.removesuffix("_fpn"), norm, channels=channels)
        for layer, parameter in body.body.named_parameters():
            parameter.requires_grad_(not published or layer.startswith(("layer2", "layer3", "layer4")))
    settings: dict[str, Any] = {
        "min_size": image_size,
        "max_size": round(image_size * 5 / 3),
        "box_detections_per_img": 300,
        "box_score_thresh": 1e-3,
    }
    if image_size < _SMALL:
        sizes = tuple((side,) for side in (8, 16, 32, 64, 128))
        settings["rpn_anchor_generator"] = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 5)
        settings |= {"rpn_post_nms_top_n_train": 500, "rpn_post_nms_top_n_test": 300, "box_batch_size_per_image": 128}
        settings["box_detections_per_img"] = 100
    if narrow:
        settings |= {"rpn_pre_nms_top_n_train": 300, "rpn_post_nms_top_n_train": 150, "box_batch_size_per_image": 64}
        settings |= {"rpn_pre_nms_top_n_test": 300, "rpn_post_nms_top_n_test": 150}
    model = (FasterRCNN if kind == "faster" else MaskRCNN)(body, num_classes + 1, **settings | options)
    if narrow:
        model.roi_heads.box_head = TwoMLPHead(body.out_channels * 7**2, 256)
        model.roi_heads.box_predictor = FastRCNNPredictor(256, num_classes + 1)
    if kind == "mask" and (narrow or backbone == "resnet18_fpn"):
        model.roi_heads.mask_head = MaskRCNNHeads(body.out_channels, (64, 64), 1)
        model.roi_heads.mask_predictor = MaskRCNNPredictor(64, 64, num_classes + 1)
    heads: list[Any] = [model.rpn.head, model.roi_heads.box_predictor]
    for head in heads:
        head.register_forward_hook(_in_full_precision)
    model.frozen_norm = published  # type: ignore[assignment]
    model.notes = notes + (_load(model, Path(str(file)), given) if given else [])  # type: ignore[assignment]
    model.weights_info = info  # type: ignore[assignment]
    return model


def _in_full_precision(module: nn.Module, inputs: Any, output: Any) -> Any:
    """What heads give in half precision: torchvision would keep the boxes in it, pixels apart or without width."""
    if isinstance(output, Tensor):
        return output.float() if output.dtype in (torch.bfloat16, torch.float16) else output
    return type(output)(_in_full_precision(module, inputs, value) for value in output)


def architecture_of(name: str) -> dict[str, Any] | None:
    """What rebuilds a detector without the folder or the hub that described its backbone: ``name`` and ``args``."""
    kind, backbone = _parts(name)
    described = from_timm.architecture_of(backbone) if is_timm(backbone) else None
    return described and described | {"name": f"{kind}rcnn:{described['name']}"}


def has_published(name: str) -> bool:
    """Whether there are published weights of a detector or of its backbone."""
    _, backbone = _parts(name)
    return timm_has_weights(backbone) if is_timm(backbone) else _torchvision_start(name, backbone) is not None


def _parts(name: str) -> tuple[str, str]:
    """``faster`` or ``mask``, and the backbone."""
    kind, colon, backbone = name.partition(":")
    if not colon:
        kind, _, backbone = name.lower().partition("_")
    kind = kind.lower().removesuffix("rcnn")
    if kind not in ("faster", "mask") or not (is_timm(backbone) if colon else backbone in _BACKBONES):
        raise LongtailError(
            f"unknown detector {name!r}: known are {', '.join(list_detectors())}, fasterrcnn:timm/NAME and "
            "maskrcnn:timm/NAME"
        )
    return kind, backbone


def _torchvision_start(name: str, backbone: str) -> Any | None:
    """torchvision's weights of the detector, else of its backbone."""
    return torchvision_weights(name.lower()) or torchvision_weights(backbone.removesuffix("_fpn"))


def _published(name: str, backbone: str) -> tuple[Path, PretrainedWeights]:
    found = _torchvision_start(name, backbone)
    if found is None:
        raise LongtailError(
            f"there are no published weights of {name}: give --weights FILE or none, or --model "
            f"{name.lower().partition('_')[0]}:{PREFIX}{EMBEDDED}, whose backbone's are on this machine"
        )
    file = fetch_url(found.url, model=name)
    licence = found.meta.get("license", "licence not stated by torchvision")
    return file, PretrainedWeights(file.name, sha256_of(file), licence)


def box_classifier(model: nn.Module) -> tuple[nn.Module, str, nn.Linear]:
    """The layer that gives the C + 1 logits of a box: its parent module, its name there, and itself."""
    predictor = getattr(getattr(model, "roi_heads", None), "box_predictor", None)
    layer = getattr(predictor, "cls_score", None)
    if not isinstance(predictor, nn.Module) or not isinstance(layer, nn.Linear):
        raise LongtailError(f"{type(model).__name__} has no roi_heads.box_predictor.cls_score: give a Faster R-CNN")
    return predictor, "cls_score", layer


def _load(model: nn.Module, file: Path, given: dict[str, Tensor]) -> list[str]:
    own = model.state_dict()
    if "conv1.weight" in given and "layer1.0.conv1.weight" in given:  # a classifier: its backbone
        prefix, notes = "backbone.body.", [f"{file.name} is a classifier: only its backbone is taken"]
        given = {prefix + key: value for key, value in given.items() if prefix + key in own}
        needed = {key for key in own if key.startswith(prefix)}
    else:
        anew = {k for k in own if k.startswith(_OWN_LAYERS) and k in given and given[k].shape != own[k].shape}
        if anew:  # all of these layers, or it would mix the classes of two data sets
            anew = {k for k in own if k.startswith(_OWN_LAYERS)}
        notes = (
            [f"{file.name} has other classes: the last layers of the heads start from random values"] if anew else []
        )
        needed = set(own) - anew
    missing = sorted(k for k in needed if k not in given and not k.endswith("num_batches_tracked"))
    wrong = sorted(k for k in needed if k in given and given[k].shape != own[k].shape)
    if missing or wrong:
        reason = f"it lacks {missing[0]}" if missing else f"{wrong[0]} is {list(given[wrong[0]].shape)}"
        raise LongtailError(f"{file} is of another architecture than this {type(model).__name__}: {reason}")
    model.load_state_dict({key: given[key] for key in needed if key in given}, strict=False)
    return notes
