"""The detection task: batches, losses, judging; and that a detector can learn two pictures."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from longtail import ClassDifficulty, ClassWeightedLoss, LongtailError
from longtail.data import BoxData, load_boxes
from longtail.data.shapes import shapes_lt
from longtail.integrations.detection import with_box_criterion
from longtail.models.detectors import box_classifier, create_detector, list_detectors
from longtail.tasks.detection import DetectionTask

CPU = torch.device("cpu")
SMALL = {
    "rpn_post_nms_top_n_train": 100,
    "rpn_post_nms_top_n_test": 20,
    "box_batch_size_per_image": 32,
    "box_detections_per_img": 10,
}


FIT = {
    "rpn_pre_nms_top_n_train": 600,
    "rpn_post_nms_top_n_train": 150,
    "rpn_pre_nms_top_n_test": 600,
    "rpn_post_nms_top_n_test": 150,
    "box_batch_size_per_image": 64,
    "box_detections_per_img": 100,
    "box_score_thresh": 0.05,
}


@pytest.fixture(scope="module")
def shapes() -> BoxData:
    return shapes_lt(size=64, largest=4, imbalance=2, held_out=1, tested=1)


def make_task(data: BoxData, **options: Any) -> DetectionTask:
    settings = {"model": "fasterrcnn_resnet10_fpn", "image_size": 64, "device": CPU, "options": SMALL} | options
    return DetectionTask(data, **settings)


def test_batches_hold_what_the_split_holds_and_flips_move_boxes_and_masks(shapes: BoxData) -> None:
    task = make_task(dataclasses.replace(shapes, flip=True), model="maskrcnn_resnet18_fpn", masks=True)
    order = torch.arange(len(shapes.train)).split(4)
    flipped = 0
    for rows, (images, targets) in zip(order, task.train_batches(order, epoch=0), strict=True):
        for row, image, target in zip(rows.tolist(), images, targets, strict=True):
            pixels, expected = shapes.train[row]
            assert torch.equal(target["labels"], expected["labels"])
            if torch.equal((image * 255).round().byte(), pixels):
                assert torch.equal(target["boxes"], expected["boxes"])
                continue
            flipped += 1
            assert torch.equal((image.flip(-1) * 255).round().byte(), pixels)
            for mask, (x1, y1, x2, y2) in zip(target["masks"], target["boxes"].int().tolist(), strict=True):
                assert int(mask[y1:y2, x1:x2].sum()) == int(mask.sum()) > 0
    assert 0.25 < flipped / len(shapes.train) < 0.75


def test_batches_are_the_same_with_threads_and_shards_add_up(shapes: BoxData) -> None:
    order = torch.randperm(len(shapes.train)).split(5)

    def pixels(**options: Any) -> list[list[float]]:
        task = make_task(shapes, **options)
        found = [[float(image.sum()) for image in images] for images, _ in task.train_batches(order, epoch=1)]
        task.close()
        return found

    alone = pixels()
    assert pixels(workers=2) == alone and len(alone) == len(order)
    halves = pixels(rank=0, world=2), pixels(rank=1, world=2)
    assert [sorted(a + b) for a, b in zip(*halves, strict=True)] == [sorted(own) for own in alone]


def test_the_loss_is_the_sum_of_torchvisions_with_the_criterion_inside(shapes: BoxData) -> None:
    task = make_task(shapes)
    torch.manual_seed(0)
    model = task.build_model()
    batch = next(task.train_batches([torch.arange(3)], epoch=0))
    result = {}
    for name, criterion in (("ce", nn.CrossEntropyLoss()), ("cdb-w", ClassWeightedLoss(ClassDifficulty(33)))):
        torch.manual_seed(1)
        task.use(model, criterion)
        values = task.loss(model, criterion, batch)
        assert len(values.pop("logits")) == len(values.pop("target")) > 0
        result[name] = {key: value.item() for key, value in values.items()}
    assert result["ce"] == result["cdb-w"]
    parts = [value for key, value in result["ce"].items() if key != "loss"]
    assert len(parts) == 4 and result["ce"]["loss"] == pytest.approx(sum(parts))
    torch.manual_seed(1)
    task.use(model, criterion := ClassWeightedLoss(torch.full((33,), 3.0)))
    heavy = task.loss(model, criterion, batch)
    assert heavy["loss_classifier"].item() > result["ce"]["loss_classifier"]


def test_judging_tells_average_precision_and_feeds_the_difficulty(shapes: BoxData) -> None:
    task = make_task(shapes, model="maskrcnn_resnet10_fpn", masks=True)
    torch.manual_seed(0)
    model = task.build_model()
    difficulty = ClassDifficulty(33, momentum=0)
    quick = task.evaluate(model, "val", observe=difficulty, quick=True)
    difficulty.step(trained=True)
    assert torch.equal(difficulty.performance.double().nan_to_num(9), quick.performance.nan_to_num(9))
    assert set(quick.metrics) == {"box_accuracy", "box_recall"} and int(quick.confusion.sum()) <= 33
    whole = task.evaluate(model, "val")
    assert {"AP", "AP50", "AP75", "APr", "APc", "APf", "per_class", "mask"} <= set(whole.metrics)
    assert whole.metrics["APf"] is None and len(whole.metrics["per_class"]) == 33
    assert 0 <= whole.score < 0.5 and model.training
    assert [row["count"] for row in whole.per_class] == [1] * 33


def test_examples_are_pictures_from_rare_to_frequent_and_need_no_object(shapes: BoxData) -> None:
    task = make_task(shapes, model="maskrcnn_resnet10_fpn", masks=True)
    torch.manual_seed(0)
    model = with_box_criterion(task.build_model(), nn.CrossEntropyLoss())
    picture = task.examples(model, threshold=0.0)
    assert picture.dtype == torch.uint8 and picture.shape == (3, 4 * 256 + 3 * 8, 2 * 256 + 8)
    truth, found = picture[:, :, :256], picture[:, :, 264:]
    assert not torch.equal(truth, found) and (picture[:, :, 256:264] == 255).all()
    empty = dataclasses.replace(shapes, test=dataclasses.replace(shapes.test, objects=[[] for _ in shapes.test.images]))
    assert make_task(empty).examples(model, number=2, threshold=1.0).shape[0] == 3


def test_boxes_stay_in_single_precision_where_the_network_is_in_half() -> None:
    torch.manual_seed(0)
    model = create_detector("fasterrcnn_resnet10_fpn", num_classes=3, image_size=256, box_score_thresh=0.0)
    image = torch.rand(3, 256, 320)
    thin = {"boxes": torch.tensor([[300.2, 40.1, 300.7, 40.6]]), "labels": torch.tensor([1])}  # of one pixel
    with torch.autocast("cpu", torch.bfloat16):
        losses = model([image], [thin])
        boxes = model.eval()([image])[0]["boxes"]
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert boxes.dtype == torch.float32 and not torch.equal(boxes, boxes.bfloat16().float())


def test_the_task_describes_its_data(shapes: BoxData) -> None:
    found = make_task(shapes).description()
    assert json.loads(json.dumps(found)) == found
    assert found["class_counts"]["train"] == shapes.train.instance_counts() and found["rules"] == "coco"


def overfit(data: BoxData, *, model: str, steps: int, size: int, rows: int, lr: float = 0.002) -> dict[str, Any]:
    """Train on the first images of the test split and judge on the same."""
    same = data.test.subset(range(rows))
    masks = model.startswith("mask")
    task = make_task(dataclasses.replace(data, train=same, val=same, test=same, flip=False), model=model, masks=masks)
    task.image_size, task.options = size, FIT
    torch.manual_seed(0)
    detector = task.build_model()
    task.use(detector, criterion := nn.CrossEntropyLoss())
    optimizer = torch.optim.AdamW(detector.parameters(), lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    order = [torch.arange(rows)] * steps
    for batch in task.train_batches(order, epoch=0):
        loss = task.loss(detector, criterion, batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(detector.parameters(), 10.0)
        optimizer.step()
        schedule.step()
    return task.evaluate(detector, "test").metrics


@pytest.mark.slow
def test_two_pictures_are_learned(shapes: BoxData) -> None:
    metrics = overfit(shapes, model="fasterrcnn_resnet18_fpn", steps=60, size=64, rows=2)
    assert metrics["AP50"] > 0.5, metrics


@pytest.mark.slow
@pytest.mark.parametrize("model", ["fasterrcnn_resnet10_fpn", "maskrcnn_resnet10_fpn"])
def test_eight_photographs_are_learned(test_data: Path, model: str) -> None:
    data = load_boxes(f"coco:{test_data / 'coco'}", masks=model.startswith("mask"))
    metrics = overfit(data, model=model, steps=300, size=192, rows=8, lr=6e-4)
    assert metrics["AP50"] >= 0.9, metrics
    assert "mask" not in metrics or metrics["mask"]["AP50"] >= 0.9


def test_detectors_are_named_and_refused_by_name() -> None:
    assert "fasterrcnn_resnet50_fpn" in list_detectors() and "maskrcnn_resnet50_fpn" in list_detectors()
    with pytest.raises(LongtailError, match="unknown detector 'yolo': known are fasterrcnn_resnet10_fpn, fas"):
        create_detector("yolo", num_classes=2)
    with pytest.raises(LongtailError, match="32 pixels at least"):
        create_detector("fasterrcnn_resnet18_fpn", num_classes=2, image_size=8)
    with pytest.raises(LongtailError, match=r"no roi_heads.box_predictor.cls_score"):
        box_classifier(nn.Linear(1, 1))


def test_a_model_without_masks_is_refused_for_masks(shapes: BoxData) -> None:
    with pytest.raises(LongtailError, match="finds no masks: choose maskrcnn_resnet10_fpn"):
        make_task(shapes, masks=True)


def test_weights_come_from_a_file_and_other_classes_start_anew(tmp_path: Path) -> None:
    published = FasterRCNN(resnet_fpn_backbone(backbone_name="resnet18", weights=None), 91)
    torch.save(published.state_dict(), tmp_path / "coco.pth")
    ours = create_detector("fasterrcnn_resnet18_fpn", num_classes=4, image_size=64, weights=tmp_path / "coco.pth")
    assert "coco.pth has other classes" in ours.notes[0]  # type: ignore[index]
    own, theirs = ours.state_dict(), published.state_dict()
    assert torch.equal(own["roi_heads.box_head.fc6.weight"], theirs["roi_heads.box_head.fc6.weight"])
    assert own["roi_heads.box_predictor.cls_score.weight"].shape[0] == 5
    assert not ours.backbone.body.conv1.weight.requires_grad  # type: ignore[union-attr]
    torch.save(ours.state_dict(), tmp_path / "own.pth")
    again = create_detector("fasterrcnn_resnet18_fpn", num_classes=4, image_size=64, weights=tmp_path / "own.pth")
    assert not again.notes
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), own.values(), strict=True))
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "resnet18.pth")
    backbone = create_detector("maskrcnn_resnet18_fpn", num_classes=4, weights=tmp_path / "resnet18.pth")
    assert "only its backbone is taken" in backbone.notes[0]  # type: ignore[index]
    torch.save({"a": torch.zeros(1)}, tmp_path / "none.pth")
    with pytest.raises(LongtailError, match="of another architecture than this FasterRCNN: it lacks"):
        create_detector("fasterrcnn_resnet18_fpn", num_classes=4, weights=tmp_path / "none.pth")
