"""The DETR family of transformers: class weights in the loss of the matched boxes, and their difficulty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.loss import loss_deformable_detr as sigmoid
from transformers.loss import loss_for_object_detection as softmax

from longtail.errors import LongtailError
from longtail.losses.sources import as_source, weight_of

__all__ = ["matched_predictions", "with_class_weights"]

_MATCHERS = {
    softmax.ForObjectDetectionLoss: softmax.HungarianMatcher,
    softmax.ForSegmentationLoss: softmax.HungarianMatcher,
    sigmoid.DeformableDetrForObjectDetectionLoss: sigmoid.DeformableDetrHungarianMatcher,
    sigmoid.DeformableDetrForSegmentationLoss: softmax.HungarianMatcher,
}


def with_class_weights(model: Any, weight: Any) -> Any:
    """Let the classification loss of a detector weigh each matched box by the class that it was matched to.

    For DETR, Table Transformer and YOLOS (softmax; the background keeps its ``eos_coefficient``) and for Deformable,
    Conditional and DAB-DETR (focal; a query without a box keeps weight 1). Which query is matched to which box does not
    depend on the weights, and the losses of boxes and masks stay. With all weights at 1 the loss is the stock one.

    Args:
        model: The detector; its ``loss_function`` is replaced, its parameters and state dict stay as they are.
        weight: Weights ``[C]``, or an object whose ``weight`` they are (`ClassDifficulty`), read at every step.

    Returns:
        ``model``.

    Raises:
        LongtailError: a model with another loss, or another number of classes.
    """
    stock = getattr(model.loss_function, "stock", model.loss_function)
    if stock not in _MATCHERS:
        raise LongtailError(f"{type(model).__name__} has a loss of another kind: give DETR, YOLOS, or Deformable DETR")
    source = as_source(weight)
    if len(weight_of(source)) != model.config.num_labels:
        raise LongtailError(f"{len(weight_of(source))} class weights for {model.config.num_labels} classes")
    model.loss_function = _WeightedLoss(stock, source)
    return model


class _WeightedLoss:
    """The stock loss, with the classification part of each decoder layer exchanged for the weighted one."""

    def __init__(self, stock: Any, source: Any) -> None:
        self.stock, self.source = stock, source

    def __call__(self, logits: Tensor, labels: list[Any], device: Any, pred_boxes: Tensor, *rest: Any, **words: Any):
        loss, parts, others = self.stock(logits, labels, device, pred_boxes, *rest, **words)
        config = words.get("config") or next(value for value in rest if hasattr(value, "num_labels"))
        layers = {"loss_ce": {"logits": logits, "pred_boxes": pred_boxes}}
        layers |= {f"loss_ce_{i}": layer for i, layer in enumerate(others or ())}
        for name, layer in layers.items():
            weighted = self._classes(layer, labels, config, parts[name])
            loss, parts[name] = loss + (weighted - parts[name]), weighted
        return loss, parts, others

    def _classes(self, layer: Mapping[str, Tensor], labels: list[Any], config: Any, stock: Tensor) -> Tensor:
        logits = layer["logits"].float()
        weight, background = weight_of(self.source).to(logits), config.num_labels
        target = torch.full(logits.shape[:2], background, device=logits.device)
        for row, found, own in _matched(_MATCHERS[self.stock], layer, labels, config):
            target[row, found] = own
        if logits.shape[-1] > background:  # softmax over the classes and the background
            whole = torch.cat([weight, weight.new_tensor([config.eos_coefficient])])
            return F.cross_entropy(logits.mT, target, whole)
        truth = F.one_hot(target, background + 1)[..., :-1].to(logits)
        p = logits.sigmoid()
        focal = F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * (truth - p).abs() ** 2
        focal = focal * (config.focal_alpha * truth + (1 - config.focal_alpha) * (1 - truth))
        w = torch.cat([weight, weight.new_ones(1)])[target]
        return stock * (focal.sum(-1) * w).sum() / focal.sum().clamp(min=1e-12)


@torch.no_grad()
def matched_predictions(model: Any, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Which class the query that is matched to each box gives: ``difficulty.measure(model, loader, predict=...)``.

    Args:
        model: A detector as `with_class_weights` takes it.
        batch: ``pixel_values``, ``pixel_mask`` if there is one, and ``labels``, a dictionary an image.

    Returns:
        Predicted class of each box ``[n]``, C where it is the background, and the true classes ``[n]``.
    """
    inputs = {key: value.to(model.device) for key, value in batch.items() if key != "labels"}
    labels = [{key: value.to(model.device) for key, value in each.items()} for each in batch["labels"]]
    outputs = model(**inputs)
    matcher = _MATCHERS[getattr(model.loss_function, "stock", model.loss_function)]
    layer = {"logits": outputs.logits, "pred_boxes": outputs.pred_boxes}
    pairs = list(_matched(matcher, layer, labels, model.config))
    found = torch.cat([outputs.logits[row, queries].argmax(-1) for row, queries, _ in pairs])
    return found, torch.cat([own for *_, own in pairs])


def _matched(matcher: Any, layer: Mapping[str, Tensor], labels: list[Any], config: Any):
    """For each image its row, the matched queries and the classes of their boxes."""
    match = matcher(class_cost=config.class_cost, bbox_cost=config.bbox_cost, giou_cost=config.giou_cost)
    for row, (queries, boxes) in enumerate(match({key: value.detach() for key, value in layer.items()}, labels)):
        yield row, queries, labels[row]["class_labels"][boxes.to(labels[row]["class_labels"].device)]
