"""Another classification loss in torchvision's detectors: nothing else changes, and weight 1 changes nothing."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from detection.detectors import batch, tiny_detector
from longtail import ClassDifficulty, ClassWeightedLoss, LongtailError
from longtail.integrations.detection import box_predictions, with_box_criterion

CRITERIA = {
    "no weights": lambda: ClassWeightedLoss(None),
    "foreground weights": lambda: ClassWeightedLoss(torch.ones(5)),
    "all weights": lambda: ClassWeightedLoss(torch.ones(6)),
    "difficulty": lambda: ClassWeightedLoss(ClassDifficulty(5)),
    "torch's loss": lambda: nn.CrossEntropyLoss(),
}


def losses(model: nn.Module, *, seed: int = 1) -> dict[str, Tensor]:
    torch.manual_seed(seed)  # proposals are drawn
    return model(*copy.deepcopy(batch()))


def step(model: nn.Module) -> tuple[dict[str, Tensor], list[Tensor]]:
    model.zero_grad()
    result = losses(model)
    sum(result.values()).backward()  # type: ignore[union-attr]
    return result, [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("masks", [False, True], ids=["faster", "mask"])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_weight_one_is_the_stock_model_bit_for_bit(masks: bool, criterion: str) -> None:
    stock, ours = tiny_detector(masks=masks), tiny_detector(masks=masks)
    assert with_box_criterion(ours, CRITERIA[criterion]()) is ours
    (expected, gradients), (result, own) = step(stock), step(ours)
    assert list(result) == list(expected)
    assert {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"} <= set(result)
    assert ("loss_mask" in result) == masks
    for name in expected:
        assert torch.equal(result[name], expected[name]), name
    assert len(own) == len(gradients)
    assert all(map(torch.equal, own, gradients))
    assert list(ours.state_dict()) == list(stock.state_dict())


def test_weight_one_holds_for_the_published_models() -> None:
    models = torchvision.models.detection
    torch.manual_seed(0)
    stock = models.fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None, num_classes=6)
    ours = with_box_criterion(copy.deepcopy(stock), ClassWeightedLoss(ClassDifficulty(5)))
    expected, result = losses(stock.train()), losses(ours.train())
    assert {k: v.item() for k, v in result.items()} == {k: v.item() for k, v in expected.items()}


def seen_by(model: nn.Module) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    seen: list[Tensor] = []

    def criterion(logits: Tensor, labels: Tensor) -> Tensor:
        seen.extend((logits, labels))
        return F.cross_entropy(logits, labels)

    result = losses(with_box_criterion(copy.deepcopy(model), criterion))
    return seen[0], seen[1], result


def test_the_background_keeps_weight_one() -> None:
    model, weight = tiny_detector(), torch.tensor([0.5, 3.0, 0.0, 1.0, 2.0])
    logits, labels, stock = seen_by(model)
    assert labels.min() == 0 and labels.max() > 0
    result = losses(with_box_criterion(model, ClassWeightedLoss(weight)))
    per_box = -logits.log_softmax(1)[torch.arange(len(labels)), labels]
    factor = torch.cat([torch.ones(1), weight])[labels]
    assert result["loss_classifier"].item() == pytest.approx((factor * per_box).mean().item(), rel=1e-5)
    assert result["loss_classifier"].item() != pytest.approx(stock["loss_classifier"].item())
    for name in ("loss_box_reg", "loss_objectness", "loss_rpn_box_reg"):
        assert torch.equal(result[name], stock[name])


@pytest.mark.parametrize("options", [{"base": "focal", "gamma": 2.0}, {"reduction": "sum"}, {"label_smoothing": 0.1}])
def test_every_weighted_loss_takes_foreground_weights(options: dict[str, Any]) -> None:
    model, weight = tiny_detector(), torch.rand(5)
    logits, labels, _ = seen_by(model)
    result = losses(with_box_criterion(model, ClassWeightedLoss(weight, **options)))["loss_classifier"]
    expected = ClassWeightedLoss(torch.cat([torch.ones(1), weight]), **options)(logits, labels)
    assert result.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_weights_are_read_in_every_step_and_the_background_stays_out_of_the_bias() -> None:
    difficulty = ClassDifficulty(5, momentum=0, tau="sigmoid")
    model = with_box_criterion(tiny_detector(), ClassWeightedLoss(difficulty))
    before = losses(model)["loss_classifier"].item()
    performance = torch.tensor([0.9, 0.1, 0.5, 0.8, 0.3])  # e.g. average precisions
    weight = difficulty.step(performance)
    assert losses(model)["loss_classifier"].item() != pytest.approx(before)
    alone = ClassDifficulty(5, momentum=0, tau="sigmoid")
    alone.step(performance)
    assert difficulty.bias == alone.bias and len(weight) == 5
    extended = model.roi_heads._criterion[0].weight
    assert torch.equal(extended, torch.cat([torch.ones(1), weight]))


def test_it_can_be_exchanged_and_evaluation_stays_as_it_is() -> None:
    stock = tiny_detector(box_score_thresh=0.0)
    model = with_box_criterion(copy.deepcopy(stock), lambda logits, labels: logits.sum() * 0)
    assert losses(model)["loss_classifier"].item() == 0
    with_box_criterion(model, ClassWeightedLoss(None))
    assert torch.equal(losses(model)["loss_classifier"], losses(stock)["loss_classifier"])
    images, _ = batch()
    with torch.inference_mode():
        for expected, found in zip(stock.eval()(images), model.eval()(images), strict=True):
            assert len(found["boxes"]) > 10
            assert all(torch.equal(expected[key], found[key]) for key in expected)


class _Softmax(nn.CrossEntropyLoss):
    def scores(self, logits: Tensor) -> Tensor:
        return logits.softmax(1)


class _Sigmoid(nn.CrossEntropyLoss):
    def scores(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()


def test_scores_of_the_criterion_are_what_evaluation_returns() -> None:
    stock = tiny_detector(box_score_thresh=0.15)
    images, _ = batch()
    with torch.inference_mode():
        expected = stock.eval()(images)
        found = with_box_criterion(copy.deepcopy(stock), _Softmax()).eval()(images)
        for a, b in zip(expected, found, strict=True):
            assert len(a["boxes"]) and torch.equal(a["labels"], b["labels"]) and torch.equal(a["boxes"], b["boxes"])
            assert torch.allclose(a["scores"], b["scores"], rtol=1e-5)
        model = with_box_criterion(copy.deepcopy(stock), _Sigmoid()).eval()
        logits: list[Tensor] = []
        model.roi_heads.box_predictor.register_forward_hook(lambda m, i, o: logits.append(o[0]))
        scores = torch.cat([f["scores"] for f in model(images)])
        values = logits[0].sigmoid()[:, 1:].flatten()
        assert scores.max() > 0.4  # no softmax over six classes: they do not add up to 1
        assert all(float((values - score).abs().min()) < 1e-5 for score in scores[:20])
    assert model.roi_heads.score_thresh == 0.15


def test_ground_truth_boxes_are_classified() -> None:
    model = tiny_detector().eval()
    images, targets = batch()
    for target in targets:
        target["labels"] = torch.full_like(target["labels"], 2)
    with torch.no_grad():
        model.roi_heads.box_predictor.cls_score.weight.zero_()
        model.roi_heads.box_predictor.cls_score.bias.copy_(torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0, 0.0]))
    prediction, label = box_predictions(model, images, targets)
    assert prediction.tolist() == label.tolist() == [1] * 5
    difficulty = ClassDifficulty(5)
    difficulty.update(prediction, label)
    difficulty.step()
    assert float(difficulty.performance[1]) == 1 and int(difficulty.performance.isnan().sum()) == 4
    with torch.no_grad():
        model.roi_heads.box_predictor.cls_score.bias[0] = 2.0
    prediction, label = box_predictions(model, images, targets)
    assert prediction.tolist() == [-1] * 5  # the background: a wrong answer
    difficulty.update(prediction, label)
    difficulty.step()
    assert float(difficulty.performance[1]) < 1


def test_a_batch_without_objects_trains_and_counts_nothing() -> None:
    model = with_box_criterion(tiny_detector(), ClassWeightedLoss(ClassDifficulty(5)))
    images, targets = batch()
    empty = [{key: value[:0] for key, value in target.items()} for target in targets]
    assert all(bool(torch.isfinite(value)) for value in model(images, empty).values())
    prediction, label = box_predictions(model.eval(), images, empty)
    assert prediction.shape == label.shape == (0,)


def test_a_wrong_model_or_loss_is_one_clear_line() -> None:
    with pytest.raises(LongtailError, match="Linear has no roi_heads of torchvision"):
        with_box_criterion(nn.Linear(2, 2), nn.CrossEntropyLoss())
    with pytest.raises(LongtailError, match="4 class weights for a detector of 5 classes and the background"):
        with_box_criterion(tiny_detector(), ClassWeightedLoss(torch.ones(4)))
    with pytest.raises(LongtailError, match="must be callable"):
        with_box_criterion(tiny_detector(), "ce")  # type: ignore[arg-type]
