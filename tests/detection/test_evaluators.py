"""Average precision on random sets equals that of three other evaluators: pycocotools, lvis and faster-coco-eval.

They would catch a rule that is applied in another order: ties, crowds, the limit of detections of an image, negative
and not exhaustive lists, images and categories without an annotation, ids that do not start at 0.
"""

from __future__ import annotations

import copy
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from longtail.metrics import detection_ap

pytestmark = pytest.mark.filterwarnings("ignore")  # of the older evaluators


def random_set(seed: int, *, crowds: bool, lists: bool) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Some images with overlapping boxes, as ids, scores and lists come in practice: odd, tied, empty."""
    draw = random.Random(seed)
    images = [{"id": 7 * n + draw.randrange(7), "height": 60, "width": 80} for n in range(draw.randint(1, 6))]
    categories = [{"id": 3 * n + 2, "name": f"c{n}", "frequency": draw.choice("rcf")} for n in range(5)]
    ids = [category["id"] for category in categories]

    def shape(near: list[float] | None = None) -> dict[str, Any]:
        if near and draw.random() < 0.7:
            x, y, w, h = (v + draw.randint(-2, 2) for v in near)
        else:
            x, y, w, h = draw.randint(0, 50), draw.randint(0, 30), draw.randint(4, 25), draw.randint(4, 25)
        x, y, w, h = max(0, x), max(0, y), max(2, w), max(2, h)
        return {"bbox": [x, y, w, h], "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]], "area": w * h}

    annotations, found = [], []
    for image in images:
        for key in ("neg_category_ids", "not_exhaustive_category_ids"):
            image[key] = draw.sample(ids, draw.randint(0, 3)) if lists else []
        for _ in range(draw.choice([0, 1, 4, 8])):
            own = {"image_id": image["id"], "category_id": draw.choice(ids[:4])} | shape()
            annotations.append(own | {"iscrowd": int(crowds and draw.random() < 0.2)})
        near = [a["bbox"] for a in annotations if a["image_id"] == image["id"]]
        for _ in range(draw.choice([0, 2, 12])):
            own = {"image_id": image["id"], "category_id": draw.choice(ids), "score": draw.randint(0, 9) / 10}
            found.append(own | shape(draw.choice(near) if near else None))
    if not annotations:
        annotations.append({"image_id": images[0]["id"], "category_id": ids[0], "iscrowd": 0} | shape())
    if not found:
        found.append({"image_id": images[0]["id"], "category_id": ids[0], "score": 0.5} | shape())
    for number, annotation in enumerate(annotations, 1):
        annotation["id"] = number
    draw.shuffle(found)
    return {"images": images, "categories": categories, "annotations": annotations}, found


def per_category(precision: Any, categories: list[dict[str, Any]]) -> dict[int, float]:
    ordered = sorted(category["id"] for category in categories)
    values = (precision[:, :, k] for k in range(len(ordered)))
    return {own: float(v.mean()) if (v > -1).all() else math.nan for own, v in zip(ordered, values, strict=True)}


def by_faster_coco_eval(truth: dict[str, Any], found: list[dict[str, Any]], kind: str, rules: str) -> dict[int, float]:
    from faster_coco_eval import COCO, COCOeval_faster

    known, guessed = (
        truth | {"annotations": [own | {"id": n, "area": 1.0, "bbox": own.get("bbox", [0.0] * 4)} for n, own in those]}
        for those in (enumerate(as_results(entries, kind), 1) for entries in (truth["annotations"], found))
    )
    evaluation = COCOeval_faster(
        COCO(copy.deepcopy(known)), COCO(copy.deepcopy(guessed)), iouType=iou_type(kind), lvis_style=rules == "lvis"
    )
    limit = 300 if rules == "lvis" else 100
    evaluation.params.maxDets = [limit]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"].reshape(10, 101, len(truth["categories"]), -1)[..., 0]
    return per_category(precision, truth["categories"])


def by_pycocotools(truth: dict[str, Any], found: list[dict[str, Any]], kind: str) -> dict[int, float]:
    coco = pytest.importorskip("pycocotools.coco", reason="pip install pycocotools")
    evaluator = pytest.importorskip("pycocotools.cocoeval")
    known = coco.COCO()
    known.dataset = copy.deepcopy(truth)
    known.createIndex()
    evaluation = evaluator.COCOeval(known, known.loadRes(as_results(found, kind)), iou_type(kind))
    evaluation.evaluate()
    evaluation.accumulate()
    return per_category(evaluation.eval["precision"][:, :, :, 0, 2], truth["categories"])


def as_results(entries: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """As loadRes wants them: boxes alone, or masks alone as run lengths."""
    from faster_coco_eval.core import mask

    results = []
    for own in entries:
        result = {key: own[key] for key in ("image_id", "category_id", "score", "iscrowd") if key in own}
        if kind == "box":
            result["bbox"] = list(own["bbox"])
        else:
            result["segmentation"] = mask.merge(mask.frPyObjects(own["segmentation"], 60, 80))
        results.append(result)
    return results


def iou_type(kind: str) -> str:
    return "bbox" if kind == "box" else "segm"


@pytest.mark.parametrize("kind", ["box", "mask"])
@pytest.mark.parametrize("seed", range(12))
def test_cocos_rules_equal_pycocotools(seed: int, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    truth, found = random_set(seed, crowds=True, lists=False)
    ours = detection_ap(truth, found, kind=kind, rules="coco")["per_category"]
    assert ours == pytest.approx(by_pycocotools(truth, found, kind), abs=1e-12, nan_ok=True)
    assert ours == pytest.approx(by_faster_coco_eval(truth, found, kind, "coco"), abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("kind", ["box", "mask"])
@pytest.mark.parametrize("seed", range(12))
def test_the_rules_of_lvis_equal_those_of_its_authors(
    seed: int, kind: str, reference: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    truth, found = random_set(seed, crowds=False, lists=True)
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    evaluation = reference.LVISEval(str(tmp_path / "truth.json"), as_results(found, kind), iou_type(kind))
    evaluation.evaluate()
    evaluation.accumulate()
    expected = per_category(evaluation.eval["precision"][..., 0], truth["categories"])
    ours = detection_ap(truth, found, kind=kind, rules="lvis")["per_category"]
    assert ours == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("seed", range(12))
def test_crowds_under_the_rules_of_lvis_equal_another_engine(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    truth, found = random_set(seed, crowds=True, lists=True)
    ours = detection_ap(truth, found, rules="lvis")["per_category"]
    assert ours == pytest.approx(by_faster_coco_eval(truth, found, "box", "lvis"), abs=1e-12, nan_ok=True)
