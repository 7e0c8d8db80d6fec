"""The generated detection set: a long tail, the same for the same seed, masks that fit what is seen."""

from __future__ import annotations

import pytest
import torch

from longtail import LongtailError, long_tail_counts
from longtail.data.boxes import BoxData, inspect_boxes
from longtail.data.shapes import CATEGORIES, shapes_lt
from longtail.metrics import detection_ap


@pytest.fixture(scope="module")
def shapes() -> BoxData:
    return shapes_lt(seed=3, largest=60, imbalance=20, held_out=1, tested=2)


def test_counts_follow_the_law_and_the_other_splits_are_balanced(shapes: BoxData) -> None:
    assert len(CATEGORIES) == len(set(CATEGORIES)) == shapes.num_classes == 33
    assert sum(name.startswith("digit-") for name in CATEGORIES) == 10
    assert shapes.train.image_counts() == long_tail_counts(60, 33, imbalance=20)
    assert shapes.train.instance_counts() == shapes.train.image_counts()
    assert shapes.val.image_counts() == [1] * 33 and shapes.test.image_counts() == [2] * 33
    assert inspect_boxes(shapes)["splits"]["train"]["empty"] > 0
    assert {c["frequency"] for c in shapes.train.categories} == {"r", "c"}


def test_the_default_has_rare_common_and_frequent_categories() -> None:
    law = long_tail_counts(300, 33, imbalance=60)
    assert sum(n <= 10 for n in law) >= 5 and sum(n > 100 for n in law) >= 5 and min(law) >= 4


def test_the_same_seed_is_the_same_data_and_another_is_not(shapes: BoxData) -> None:
    again = shapes_lt(seed=3, largest=60, imbalance=20, held_out=1, tested=2)
    for row in (0, 5, len(shapes.val) - 1):
        (image, target), (image2, target2) = shapes.val[row], again.val[row]
        assert torch.equal(image, image2) and all(torch.equal(target[k], target2[k]) for k in target)
        assert torch.equal(image, shapes.val[row][0])  # from the cache
    other = shapes_lt(seed=4, largest=60, imbalance=20, held_out=1, tested=2)
    assert not torch.equal(shapes.train[0][0], other.train[0][0])


def test_masks_fit_their_boxes_and_objects_do_not_overlap(shapes: BoxData) -> None:
    for row in range(len(shapes.test)):
        image, target = shapes.test[row]
        assert image.shape == (3, 128, 128) and image.dtype == torch.uint8
        assert int(target["masks"].sum(0).max() if len(target["masks"]) else 0) <= 1
        for mask, box in zip(target["masks"], target["boxes"].tolist(), strict=True):
            ys, xs = mask.nonzero(as_tuple=True)
            assert [int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1] == box


def test_objects_are_seen_against_their_ground(shapes: BoxData) -> None:
    contrast = []
    for row in range(30):
        image, target = shapes.train[row]
        for mask, (x1, y1, x2, y2) in zip(target["masks"].bool(), target["boxes"].int().tolist(), strict=True):
            window, inside = image[:, y1:y2, x1:x2].float(), mask[y1:y2, x1:x2]
            if 0 < int(inside.sum()) < inside.numel():
                contrast.append(float((window[:, inside].mean(1) - window[:, ~inside].mean(1)).abs().max()))
    assert len(contrast) > 30 and sum(c > 30 for c in contrast) > 0.9 * len(contrast)


def test_its_truth_is_what_the_evaluator_reads(shapes: BoxData) -> None:
    truth = shapes.test.truth()
    found = [a | {"score": 0.5} for a in truth["annotations"]]
    for kind in ("box", "mask"):
        assert detection_ap(truth, found, kind=kind, rules="coco")["AP"] == 1


def test_sizes_out_of_range_are_refused() -> None:
    for wrong in ({"size": 20}, {"largest": 0}, {"tested": 0}):
        with pytest.raises(LongtailError, match="shapes-lt takes images of 48 pixels"):
            shapes_lt(**wrong)
