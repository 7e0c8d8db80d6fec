"""`moving-digits`: the motion alone tells the class, and every split has clips and digits of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from longtail.data import load_data, moving
from longtail.data.arrays import read_digits
from longtail.data.moving import MOMENTS, SIDE, WAYS, read_moving_digits

NUMBER = {way: c for c, way in enumerate(WAYS)}


@pytest.fixture(scope="module")
def balanced() -> dict:
    return read_moving_digits([60] * 12, seed=3)


def test_shapes_and_the_long_tail() -> None:
    data = load_data("moving-digits")
    assert len(set(data.class_names)) == 12 and data.frames == MOMENTS == 10 and data.image_size == SIDE
    assert data.train.class_counts(12) == [400, 280, 196, 137, 96, 67, 47, 33, 23, 16, 11, 8]
    assert data.val is not None and data.val.class_counts(12) == [30] * 12 and data.test.class_counts(12) == [60] * 12
    assert data.train.images.dtype == torch.uint8 and data.train.images.shape[1:] == (10, 1, 28, 28)  # type: ignore[union-attr]
    pixels = data.train.images.float() / 255  # type: ignore[union-attr]
    assert float(pixels.mean()) == pytest.approx(data.mean[0], abs=0.01)
    assert float(pixels.std()) == pytest.approx(data.std[0], abs=0.01)


def test_a_function_of_the_seed_alone() -> None:
    first, again, other = (read_moving_digits([4] * 12, seed=seed) for seed in (0, 0, 1))
    for split in ("train", "val", "test"):
        assert first[split].images.equal(again[split].images)
        assert not first[split].images.equal(other[split].images)
    torch.manual_seed(5)
    fewer = read_moving_digits([2] * 12, seed=0)["train"]
    assert fewer.images[:2].equal(first["train"].images[:2])  # a shorter tail leaves the clips as they are
    assert load_data("moving-digits", imbalance=400).train.class_counts(12)[-1] == 1


def test_no_clip_is_in_two_splits(balanced: dict) -> None:
    seen = [{clip.numpy().tobytes() for clip in split.images} for split in balanced.values()]
    assert sum(map(len, seen)) == len(set.union(*seen)) == sum(map(len, balanced.values()))


def features(frames: Tensor) -> np.ndarray:
    """Of single frames ``[N, S, S]``: brightness, its spread, the place of the digit, and a coarse picture."""
    x = frames.double() / 255
    ink = (x - x.flatten(1).median(1).values.view(-1, 1, 1)).clamp(min=0) + 1e-6
    place = torch.linspace(-1, 1, SIDE, dtype=torch.float64)
    total = ink.sum((1, 2))
    columns = [x.mean((1, 2)), x.std((1, 2)), (ink.sum(1) @ place) / total, (ink.sum(2) @ place) / total, total]
    coarse = torch.nn.functional.avg_pool2d(x.unsqueeze(1), 4).flatten(1)
    return torch.cat([torch.stack(columns, 1), coarse], 1).numpy()


@pytest.mark.parametrize("moment", [0, 5, 9])
def test_a_single_frame_does_not_tell_the_class(balanced: dict, moment: int) -> None:
    """A linear classifier on statistics of one frame stays at chance, 1 of 12; on the whole clip's it does not."""
    train, test = balanced["train"], balanced["test"]
    model = LogisticRegression(max_iter=200, C=0.1)
    scale = features(train.images[:, moment, 0]).std(0)
    model.fit(features(train.images[:, moment, 0]) / scale, train.labels.numpy())
    hits = model.score(features(test.images[:, moment, 0]) / scale, test.labels.numpy())
    assert hits < 1 / 12 + 4 * (1 / 12 * 11 / 12 / len(test)) ** 0.5


def shifted(clip: Tensor, dx: int, dy: int) -> float:
    """How well each frame is the one before, moved by (dx, dy) on the torus."""
    x = clip[:, 0].double()
    return float((torch.roll(x[:-1], (dy, dx), (1, 2)) * x[1:]).mean())


def test_the_motion_tells_the_class(balanced: dict) -> None:
    """Straight motions, told by the best shift from frame to frame."""
    images, labels = balanced["train"].images, balanced["train"].labels
    for way, (right, down) in {
        "move left": (-1, 0),
        "move right": (1, 0),
        "move up": (0, -1),
        "move down": (0, 1),
    }.items():
        clips = images[labels == NUMBER[way]]
        hits = [
            max((shifted(c, k * right, k * down), 1) for k in (1, 2))
            > max((shifted(c, -k * right, -k * down), 1) for k in (1, 2))
            for c in clips
        ]
        assert sum(hits) > 0.9 * len(hits), way
    size = [
        (images[labels == NUMBER[way]].double().flatten(2).std(2).diff(dim=1) > 0).double().mean()
        for way in ("grow", "shrink")
    ]
    assert size[0] > 0.6 and size[1] < 0.4


def test_the_label_is_independent_of_the_digit(monkeypatch) -> None:
    """Chi-square of the digits that the clips of each class show."""
    shown = []
    chosen = moving._chosen
    monkeypatch.setattr(moving, "_chosen", lambda u, size: shown.append(chosen(u, size)) or shown[-1])
    read_moving_digits([200] * 12)
    train = [own for own in shown if len(own) == 200]
    labels = read_digits().labels[torch.from_numpy(np.random.RandomState(0).permutation(1797))]
    table = torch.stack([torch.bincount(labels[own], minlength=10) for own in train]).double()
    expected = table.sum(1, keepdim=True) * table.sum(0) / table.sum()
    assert len(train) == 12 and table.sum() == 2400
    assert ((table - expected) ** 2 / expected).sum() < 99 + 4 * (2 * 99) ** 0.5
