"""Average precision equals that of the reference evaluators, and that of three images worked out by hand."""

from __future__ import annotations

import copy
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from longtail import LongtailError
from longtail.metrics import detection_ap, frequency_group


@pytest.fixture(scope="module")
def lvis_truth(test_data: Path) -> dict[str, Any]:
    return json.loads((test_data / "lvis" / "lvis_val_100.json").read_text())


def perturbed(truth: dict[str, Any], *, seed: int, crowd: int = 0) -> list[dict[str, Any]]:
    """Ground truth as a bad detector would find it: moved, dropped, doubled, mistaken, in any order."""
    draw = random.Random(seed)
    negatives = {image["id"]: image.get("neg_category_ids", []) for image in truth["images"]}
    open_lists = {image["id"]: image.get("not_exhaustive_category_ids", []) for image in truth["images"]}
    categories = sorted({a["category_id"] for a in truth["annotations"]})
    found = []
    for a in truth["annotations"]:
        for _ in range(draw.choice([0, 1, 1, 1, 2])):
            x, y, w, h = a["bbox"]
            x, y = x + draw.gauss(0, 0.1) * w, y + draw.gauss(0, 0.1) * h
            w, h = w * math.exp(draw.gauss(0, 0.1)), h * math.exp(draw.gauss(0, 0.1))
            dx, dy = draw.gauss(0, 0.1) * w, draw.gauss(0, 0.1) * h
            polygons = [[v + (dy if k % 2 else dx) for k, v in enumerate(p)] for p in a["segmentation"]]
            wrong = [*negatives[a["image_id"]], *open_lists[a["image_id"]], *draw.sample(categories, 2)]
            category = a["category_id"] if draw.random() < 0.8 else draw.choice(wrong)
            entry = {"image_id": a["image_id"], "category_id": category, "bbox": [x, y, w, h]}
            found.append(entry | {"segmentation": polygons, "score": round(draw.random(), 2)})  # with ties
    crowded = truth["images"][0]["id"]  # more than 300 in an image
    for a in [a for a in found if a["image_id"] == crowded] * crowd:
        found.append(a | {"score": draw.random()})
    draw.shuffle(found)
    return found


@pytest.mark.parametrize("kind", ["box", "mask"])
def test_equals_the_reference_evaluator_of_lvis(
    lvis_truth: dict[str, Any], reference: Any, tmp_path: Path, kind: str
) -> None:
    found = perturbed(lvis_truth, seed=0, crowd=60)
    result = detection_ap(lvis_truth, found, kind=kind, rules="lvis")

    file = tmp_path / "truth.json"
    file.write_text(json.dumps(lvis_truth))
    evaluator = reference.LVISEval(str(file), copy.deepcopy(found), "bbox" if kind == "box" else "segm")
    evaluator.run()
    expected = evaluator.get_results()
    assert 0.05 < expected["AP"] < 0.95
    for key in ("AP", "AP50", "AP75", "APr", "APc", "APf"):
        assert result[key] == pytest.approx(expected[key], abs=1e-6), key
    precision = evaluator.eval["precision"][..., 0]
    for k, category in enumerate(sorted(c["id"] for c in lvis_truth["categories"])):
        values = precision[:, :, k]
        if (values > -1).any():
            assert result["per_category"][category] == pytest.approx(values[values > -1].mean(), abs=1e-6)
        else:
            assert math.isnan(result["per_category"][category])


def box_iou(a: list[float], b: list[float], crowd: bool) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    both = max(width, 0.0) * max(height, 0.0)
    return both / (a[2] * a[3] if crowd else a[2] * a[3] + b[2] * b[3] - both)


def naive_coco_ap(truth: dict[str, Any], found: list[dict[str, Any]], category: int, threshold: float) -> float:
    """COCO's rules for boxes, one category and one threshold, straight from their description."""
    results, positives = [], 0
    annotations = [a for a in truth["annotations"] if a["category_id"] == category]
    found = [d for d in found if d["category_id"] == category]
    for image in sorted(i["id"] for i in truth["images"]):
        own = [a for a in annotations if a["image_id"] == image]
        own.sort(key=lambda a: a.get("iscrowd", 0))
        positives += sum(not a.get("iscrowd", 0) for a in own)
        guesses = [d for d in found if d["image_id"] == image]
        free = [True] * len(own)
        for guess in sorted(guesses, key=lambda d: -d["score"])[:100]:
            best, match = threshold, None
            for k, a in enumerate(own):
                crowd = bool(a.get("iscrowd", 0))
                if not (free[k] or crowd) or (match is not None and crowd and not own[match].get("iscrowd", 0)):
                    continue
                if (overlap := box_iou(guess["bbox"], a["bbox"], crowd)) >= best:
                    best, match = overlap, k
            if match is not None:
                free[match] = False
            if match is None or not own[match].get("iscrowd", 0):
                results.append((guess["score"], match is not None))
    if not positives:
        return math.nan
    results.sort(key=lambda r: -r[0])
    hits = [hit for _, hit in results]
    curve = [(sum(hits[:n]) / positives, sum(hits[:n]) / n) for n in range(1, len(hits) + 1)]
    levels = [k / 100 for k in range(101)]
    return sum(max((p for r, p in curve if r >= level - 1e-12), default=0.0) for level in levels) / 101


def test_equals_cocos_rules_told_naively(test_data: Path) -> None:
    truth = json.loads((test_data / "coco" / "instances_val.json").read_text())
    for number, a in enumerate(truth["annotations"]):
        a["iscrowd"] = int(number % 9 == 0)
    found = perturbed(truth, seed=1)
    for number, entry in enumerate(found):
        entry["score"] = number * 0.618 % 1  # without ties
    result = detection_ap(truth, found, rules="coco")
    assert math.isnan(result["APr"]) and math.isnan(result["APf"])  # COCO has no frequency groups
    thresholds = [0.5 + 0.05 * k for k in range(10)]
    table = {c["id"]: [naive_coco_ap(truth, found, c["id"], t) for t in thresholds] for c in truth["categories"]}
    for category, values in table.items():
        assert result["per_category"][category] == pytest.approx(sum(values) / 10, abs=1e-6, nan_ok=True)
    known = [values for values in table.values() if not math.isnan(values[0])]
    assert result["AP50"] == pytest.approx(sum(v[0] for v in known) / len(known), abs=1e-6)
    assert result["AP75"] == pytest.approx(sum(v[5] for v in known) / len(known), abs=1e-6)
    assert result["AP"] == pytest.approx(sum(map(sum, known)) / len(known) / 10, abs=1e-6)


def box(image: int, category: int, x: float, *, width: float = 10, **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": [x, 0, width, 10]} | more


THREE_IMAGES: dict[str, Any] = {
    "images": [
        {"id": 1, "height": 50, "width": 200, "neg_category_ids": [], "not_exhaustive_category_ids": [1]},
        {"id": 2, "height": 50, "width": 200, "neg_category_ids": [1], "not_exhaustive_category_ids": []},
        {"id": 3, "height": 50, "width": 200, "neg_category_ids": [], "not_exhaustive_category_ids": []},
    ],
    "categories": [
        {"id": 1, "name": "cat", "frequency": "r"},
        {"id": 2, "name": "dog", "frequency": "c"},
        {"id": 3, "name": "eel", "frequency": "f"},
        {"id": 4, "name": "fox", "frequency": "f"},
    ],
    "annotations": [
        box(1, 1, 0, id=1),
        box(3, 1, 0, id=2),
        box(1, 2, 50, id=3),
        box(2, 3, 0, id=4),
    ],
}
THREE_IMAGES_FOUND = [
    # Category 1: .9 a hit; .8 unmatched but image 1 is not exhaustive: left out; .7 a false alarm in a negative image;
    # .6 a hit in image 3. So precision 1 up to recall 1/2, then 2/3: AP = (51 * 1 + 50 * 2/3) / 101.
    box(1, 1, 0, score=0.9),
    box(1, 1, 100, score=0.8),
    box(2, 1, 0, score=0.7),
    box(3, 1, 0, score=0.6),
    # Category 2: nothing is known of it in images 2 and 3: dropped. IoU 8 / 10 in image 1: a hit at 7 of 10 thresholds.
    box(2, 2, 0, score=0.95),
    box(3, 2, 0, score=0.99),
    box(1, 2, 50, width=8, score=0.5),
    # Category 3: never found, AP 0. Category 4: neither annotated nor negative anywhere: not defined.
    box(1, 4, 0, score=0.9),
]


def test_three_images_by_hand() -> None:
    result = detection_ap(THREE_IMAGES, THREE_IMAGES_FOUND)
    cat, dog = (51 + 50 * 2 / 3) / 101, 0.7
    assert result["per_category"] == pytest.approx({1: cat, 2: dog, 3: 0.0, 4: math.nan}, abs=1e-9, nan_ok=True)
    assert list(result) == ["AP", "AP50", "AP75", "APr", "APc", "APf", "per_category"]
    expected = [(cat + dog) / 3, (cat + 1) / 3, (cat + 1) / 3, cat, dog, 0.0]
    assert [result[k] for k in list(result)[:6]] == pytest.approx(expected, abs=1e-9)
    # COCO's rules know no lists: both .8 and .7 of category 1, .99 and .95 of category 2 are false alarms.
    coco = detection_ap(THREE_IMAGES, THREE_IMAGES_FOUND, rules="coco")["per_category"]
    assert coco[1] == pytest.approx((51 + 50 / 2) / 101, abs=1e-9)
    assert coco[2] == pytest.approx(0.7 / 3, abs=1e-9)


def test_files_and_objects_give_the_same_and_nothing_is_changed(tmp_path: Path) -> None:
    truth, found = copy.deepcopy(THREE_IMAGES), copy.deepcopy(THREE_IMAGES_FOUND)
    result = detection_ap(truth, found)
    assert (truth, found) == (THREE_IMAGES, THREE_IMAGES_FOUND)
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps(found))
    again = detection_ap(tmp_path / "truth.json", str(tmp_path / "found.json"))
    assert str(again) == str(result)


def test_nothing_found_is_zero_and_nothing_to_find_is_nan() -> None:
    nothing = detection_ap(THREE_IMAGES, [])
    assert (nothing["AP"], nothing["APr"], nothing["APf"]) == (0, 0, 0)
    empty = detection_ap(THREE_IMAGES | {"annotations": []}, THREE_IMAGES_FOUND)
    assert all(math.isnan(empty[key]) for key in ("AP", "AP50", "AP75", "APr", "APc", "APf"))
    assert all(math.isnan(value) for value in empty["per_category"].values())


def test_three_hundred_of_an_image_count_over_all_categories() -> None:
    better = [box(1, 2, 100, score=0.9) for _ in range(300)]
    assert detection_ap(THREE_IMAGES, [*better, box(1, 1, 0, score=0.5)])["per_category"][1] == 0
    assert detection_ap(THREE_IMAGES, [*better[1:], box(1, 1, 0, score=0.5)])["per_category"][1] > 0.5


def test_masks_may_be_polygons_or_run_lengths() -> None:
    square = [[2, 2, 6, 2, 6, 6, 2, 6]]
    runs = {"size": [10, 12], "counts": [22, 4, 6, 4, 6, 4, 6, 4, 64]}  # columns 2 to 5, rows 2 to 5
    truth = {
        "images": [{"id": 1, "height": 10, "width": 12}],
        "categories": [{"id": 1, "name": "square"}],
        "annotations": [{"id": 0, "image_id": 1, "category_id": 1, "segmentation": square}],
    }
    result = detection_ap(truth, [{"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": runs}], kind="mask")
    assert result["AP"] == 1


@pytest.mark.parametrize(
    ("category", "group"),
    [
        ({"frequency": "c", "image_count": 1}, "c"),
        ({"image_count": 1}, "r"),
        ({"image_count": 10}, "r"),
        ({"image_count": 11}, "c"),
        ({"image_count": 100}, "c"),
        ({"image_count": 101}, "f"),
        ({"image_count": 0}, None),
        ({}, None),
    ],
)
def test_frequency_groups_follow_the_images(category: dict[str, Any], group: str | None) -> None:
    assert frequency_group(category) == group


GOOD = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.5}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 77}, "detection no. 1 is of image 77"),
        ({"score": math.nan}, "detection no. 1 of image 1 has the score nan"),
        ({"score": None}, "detection no. 1 has no score"),
        ({"bbox": [1, 2, 3]}, r"detection no. 1 of image 1 has the bbox \[1, 2, 3\]"),
        ({"bbox": [1, 2, 3, math.inf]}, "x, y, width, height"),
        ({"bbox": [1, 2, -3, 4]}, r"detection no. 1 of image 1 has the bbox \[1, 2, -3, 4\]: .* negative"),
        ({"bbox": ["1", "2", "3", "4"]}, "x, y, width, height"),
        ({"bbox": "1234"}, "x, y, width, height"),
        ({"score": "0.5"}, "must be a finite number"),
        ({"image_id": [1]}, r"detection no. 1 has the image_id \[1\]"),
    ],
)
def test_a_broken_detection_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(LongtailError, match=message):
        detection_ap(THREE_IMAGES, [GOOD, GOOD | change])


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 1, 2, 2]], "annotation 4 of image 2 has a polygon with 2 points: it takes three"),
        ([[1, 1, 2, 2, 3]], "a polygon with 5 coordinates"),
        ([], "a segmentation that is empty"),
        ([["a"] * 6], "no list of finite numbers"),
        ({"size": [5, 5], "counts": [25]}, r"run lengths of size \[5, 5\] in an image of height 50 and width 200"),
        ({"size": [50, 200], "counts": [25]}, "do not add up"),
        ({"size": [50, 200], "counts": None}, "neither a list nor compressed text"),
    ],
)
def test_a_broken_mask_is_named(segmentation: Any, message: str) -> None:
    annotations = [a | {"segmentation": [[0, 0, 9, 0, 9, 9]]} for a in THREE_IMAGES["annotations"][:3]]
    annotations.append(THREE_IMAGES["annotations"][3] | {"segmentation": segmentation})
    found = [GOOD | {"segmentation": [[0, 0, 9, 0, 9, 9]]}]
    with pytest.raises(LongtailError, match=message):
        detection_ap(THREE_IMAGES | {"annotations": annotations}, found, kind="mask")


@pytest.mark.parametrize(
    ("truth", "found", "options", "message"),
    [
        ({"images": [], "annotations": []}, [], {}, "no list of categories"),
        (THREE_IMAGES | {"categories": []}, [], {}, "have no category"),
        (THREE_IMAGES, {"a": 1}, {}, "detections a JSON list"),
        (THREE_IMAGES, [GOOD | {"category_id": 9}], {}, "no detection is of a category"),
        (THREE_IMAGES, [], {"kind": "keypoints"}, "unknown kind 'keypoints': known are box, mask"),
        (THREE_IMAGES, [], {"rules": "voc"}, "unknown rules 'voc': known are lvis, coco"),
        (THREE_IMAGES, [GOOD], {"kind": "mask"}, "annotation 1 has no segmentation"),
        ("nowhere.json", [], {}, "the annotations cannot be read: nowhere.json: No such file"),
    ],
)
def test_a_mistake_is_one_clear_line(truth: Any, found: Any, options: dict[str, str], message: str) -> None:
    with pytest.raises(LongtailError, match=message):
        detection_ap(truth, found, **options)


def test_a_file_that_is_cut_off_is_named(tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_text('{"images": [')
    with pytest.raises(LongtailError, match=r"the annotations in .*truth.json are no JSON"):
        detection_ap(tmp_path / "truth.json", [])


def test_numbers_may_come_from_numpy_and_torch() -> None:
    numpy = pytest.importorskip("numpy")
    expected = detection_ap(THREE_IMAGES, THREE_IMAGES_FOUND)
    for kind in (numpy.asarray, torch.tensor, lambda value: numpy.asarray(value, dtype=numpy.float32)):
        found = [own | {"bbox": kind(own["bbox"]), "score": kind(own["score"])} for own in THREE_IMAGES_FOUND]
        assert str(detection_ap(THREE_IMAGES, found)) == str(expected)
        found[1] = THREE_IMAGES_FOUND[1] | {"image_id": numpy.int64(1)}  # a list among arrays
        assert str(detection_ap(THREE_IMAGES, found)) == str(expected)


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_text(json.dumps(THREE_IMAGES), encoding="utf-8-sig")
    assert str(detection_ap(tmp_path / "truth.json", THREE_IMAGES_FOUND)) == str(
        detection_ap(THREE_IMAGES, THREE_IMAGES_FOUND)
    )


@pytest.mark.parametrize("key", ["images", "categories"])
def test_an_entry_that_is_listed_twice_is_named(key: str) -> None:
    truth = THREE_IMAGES | {key: [*THREE_IMAGES[key], THREE_IMAGES[key][1]]}
    with pytest.raises(LongtailError, match=r"list (image|category) 2 more than once"):
        detection_ap(truth, THREE_IMAGES_FOUND)


def test_ids_may_be_texts_and_any_numbers() -> None:
    def renamed(entry: dict[str, Any]) -> dict[str, Any]:
        new = dict(entry)
        if "image_id" in entry:
            new |= {"image_id": f"photo {entry['image_id']}", "category_id": entry["category_id"] * 10**15}
        else:
            new["id"] = f"photo {entry['id']}" if "width" in entry else entry["id"] * 10**15
            new |= {key: [c * 10**15 for c in entry[key]] for key in entry if key.endswith("_ids")}
        return new

    truth = {key: [renamed(entry) for entry in entries] for key, entries in THREE_IMAGES.items()}
    result = detection_ap(truth, [renamed(own) for own in THREE_IMAGES_FOUND])
    assert list(result["per_category"]) == [c * 10**15 for c in (1, 2, 3, 4)]
    assert str(list(result["per_category"].values())) == str(
        list(detection_ap(THREE_IMAGES, THREE_IMAGES_FOUND)["per_category"].values())
    )
