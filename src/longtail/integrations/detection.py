"""torchvision's Faster and Mask R-CNN with a classification loss of your own, and with measured difficulty."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.roi_heads import RoIHeads

from longtail.checks import full_precision
from longtail.errors import LongtailError
from longtail.losses import ClassWeightedLoss, with_background

__all__ = ["box_predictions", "box_scores", "boxes_of_step", "with_box_criterion"]

Criterion = Callable[[Tensor, Tensor], Tensor]


def with_box_criterion(model: nn.Module, criterion: Criterion) -> nn.Module:
    """Let ``criterion`` judge the classes of a torchvision detector's boxes; everything else stays torchvision's.

    A `ClassWeightedLoss` may know the C foreground classes only, as it does with a `ClassDifficulty` of C classes: the
    background then has weight 1 and no part in the bias. With all weights at 1 every loss is the stock model's, bit for
    bit. A criterion with a method ``scores(logits) -> [N, C + 1]`` in [0, 1] (background first) also decides how boxes
    are scored in evaluation; others leave the softmax. One whose attribute ``by_image`` is true is called with
    ``image [N]`` in the third place, which tells of which image of the batch each box is.

    Args:
        model: A detector with ``roi_heads``; changed in place. Its parameters and state dict stay as they are: whoever
            made the criterion moves and saves it.
        criterion: ``(logits [N, C + 1], labels [N]) -> scalar``; label 0 is the background.

    Returns:
        ``model``.

    Raises:
        LongtailError: no box heads of torchvision's kind, or weights for another number of classes.
    """
    heads = getattr(model, "roi_heads", None)
    if not isinstance(heads, RoIHeads):
        raise LongtailError(f"{type(model).__name__} has no roi_heads of torchvision: give a Faster or Mask R-CNN")
    if not callable(criterion):
        raise LongtailError(f"the criterion is {criterion!r}: it must be callable with logits and labels")
    if not isinstance(heads, _CriterionHeads):
        stock = type(heads) is RoIHeads
        heads.__class__ = CriterionRoIHeads if stock else type("CriterionRoIHeads", (_CriterionHeads, type(heads)), {})
    score = getattr(heads.box_predictor, "cls_score", None)
    if isinstance(score, nn.Linear):
        criterion = with_background(criterion, score.out_features - 1)
    heads._criterion = (criterion,)  # pyright: ignore  # the tuple keeps it unregistered
    return model


class _CriterionHeads:
    """What is added to `RoIHeads`: the labels and logits of a step are handed to the criterion."""

    _criterion: tuple[Criterion]
    _step: tuple[Tensor, Tensor]

    def select_training_samples(self, proposals: Any, targets: Any) -> Any:
        samples = super().select_training_samples(proposals, targets)  # pyright: ignore
        self._labels: Sequence[Tensor] = samples[2]
        return samples

    def forward(self, features: Any, proposals: Any, image_shapes: Any, targets: Any = None) -> Any:
        heads = cast(RoIHeads, self)
        if not heads.training:
            return super().forward(features, proposals, image_shapes, targets)  # pyright: ignore
        logits: list[Tensor] = []
        with heads.box_predictor.register_forward_hook(lambda _, inputs, output: logits.append(output[0])):
            result, losses = super().forward(features, proposals, image_shapes, targets)  # pyright: ignore
        labels = torch.cat(list(self._labels))
        losses["loss_classifier"] = _loss(self._criterion[0], logits[0], self._labels)
        self._labels, self._step = (), (logits[0].detach(), labels)
        return result, losses

    def postprocess_detections(self, class_logits: Tensor, *others: Any) -> Any:
        heads, scores = cast(RoIHeads, self), getattr(self._criterion[0], "scores", None)
        if scores is None:
            return super().postprocess_detections(class_logits, *others)  # pyright: ignore
        # The stock method takes a softmax: it gets logarithms of what adds up to 1, and its results are scaled back.
        foreground = scores(class_logits)[:, 1:].clamp(0, 1)
        scale, threshold = foreground.shape[1], heads.score_thresh
        shares = torch.cat([1 - foreground.mean(1, keepdim=True), foreground / scale], dim=1)
        heads.score_thresh = threshold / scale
        try:
            boxes, values, labels = super().postprocess_detections(shares.log(), *others)  # pyright: ignore
        finally:
            heads.score_thresh = threshold
        return boxes, [v * scale for v in values], labels


class CriterionRoIHeads(_CriterionHeads, RoIHeads):
    """torchvision's `RoIHeads` whose classes another criterion judges; see `with_box_criterion`."""


def _loss(criterion: Any, logits: Tensor, of_images: Sequence[Tensor]) -> Tensor:
    labels = torch.cat(list(of_images))
    if getattr(criterion, "by_image", False):
        return criterion(logits, labels, torch.cat([torch.full_like(own, i) for i, own in enumerate(of_images)]))
    if not isinstance(criterion, ClassWeightedLoss) or not criterion.plain:
        return criterion(logits, labels)
    # One sum of weighted losses, in the order in which torch's own mean adds them: exact at weight 1.
    weight, logits = criterion.weight, full_precision(logits)
    weight = None if weight is None else weight.to(logits.device, logits.dtype)
    return F.cross_entropy(logits, labels, weight=weight, reduction="sum") / max(labels.numel(), 1)


def boxes_of_step(model: nn.Module) -> tuple[Tensor, Tensor]:
    """Of the last training step: logits ``[n, C]`` and classes ``[n]`` from 0 of the foreground boxes.

    Where the criterion has scores of its own, their logarithms stand for the logits.
    """
    heads = cast(Any, model).roi_heads
    logits, labels = heads._step
    if hasattr(heads._criterion[0], "scores"):
        logits = heads._criterion[0].scores(logits).log()
    found = labels > 0
    return logits[found, 1:], labels[found] - 1


def box_scores(model: nn.Module, logits: Tensor) -> Tensor:
    """Scores ``[N, C + 1]`` in [0, 1] of logits of the box head, background first, as the model's criterion has it."""
    criterion = getattr(cast(Any, model).roi_heads, "_criterion", (None,))[0]
    scores = getattr(criterion, "scores", None)
    return logits.float().softmax(1) if scores is None else scores(logits)


@torch.no_grad()
def box_predictions(
    model: nn.Module, images: Sequence[Tensor], targets: Sequence[Mapping[str, Tensor]]
) -> tuple[Tensor, Tensor]:
    """Which class the box head sees in each ground-truth box: cheap enough for every epoch.

    ``difficulty.update(*box_predictions(model, images, targets))`` makes `ClassDifficulty` the recall of each category.

    Args:
        model: A torchvision detector, in ``eval()``.
        images: Images ``[3, H, W]`` in [0, 1], as the detector takes them.
        targets: ``boxes`` ``[n, 4]`` as x1, y1, x2, y2 and ``labels`` ``[n]`` from 1 for each image.

    Returns:
        Predicted class ``[N]`` from 0 without the background, -1 where the background wins, and the true class ``[N]``.
    """
    detector = cast(Any, model)
    own = [{key: target[key] for key in ("boxes", "labels")} for target in targets]
    batch, own = detector.transform(list(images), own)
    features = detector.backbone(batch.tensors)
    if isinstance(features, Tensor):
        features = OrderedDict([("0", features)])
    heads = detector.roi_heads
    pooled = heads.box_roi_pool(features, [target["boxes"] for target in own], batch.image_sizes)
    logits, _ = heads.box_predictor(heads.box_head(pooled))
    return box_scores(model, logits).argmax(1) - 1, torch.cat([target["labels"] for target in own]) - 1
