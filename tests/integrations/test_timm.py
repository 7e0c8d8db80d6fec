"""timm's loader draws by a sampler, and everything else of it stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from longtail import ClassAwareSampler, ClassDifficulty, ClassWeightedLoss, LongtailError, labels_of

timm = pytest.importorskip("timm")

from timm.data import FastCollateMixup, create_dataset, create_loader  # noqa: E402
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy  # noqa: E402
from timm.optim import create_optimizer_v2  # noqa: E402

from integrations import problem  # noqa: E402
from longtail.integrations.timm import with_sampler  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for name, count in (("ant", 24), ("bee", 6), ("cow", 2)):
        (folder / name).mkdir()
        for i in range(count):
            Image.fromarray(generator.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(folder / name / f"{i}.png")
    return folder


def loader(photos: Path, **words: Any) -> Any:
    options: dict[str, Any] = {"num_workers": 0, "device": torch.device("cpu"), "is_training": True}
    return create_loader(create_dataset("", root=str(photos)), (3, 16, 16), 8, **options | words)


@pytest.mark.parametrize("use_prefetcher", [True, False])
def test_classes_are_drawn_by_the_sampler_and_the_rest_stays(use_prefetcher: bool, photos: Path) -> None:
    stock = loader(photos, use_prefetcher=use_prefetcher)
    labels = labels_of(stock.dataset)
    assert labels.tolist() == [0] * 24 + [1] * 6 + [2] * 2
    sampler = ClassAwareSampler(labels, num_samples=24)
    ours = with_sampler(stock, sampler)
    assert type(ours) is type(stock) and len(ours) == 3 and ours.sampler is sampler
    for epoch in range(2):
        ours.sampler.set_epoch(epoch)
        batches = list(ours)
        assert torch.equal(torch.cat([y for _, y in batches]), labels[sampler.indices()])
        assert batches[0][0].shape == (8, 3, 16, 16) and batches[0][0].dtype == torch.float32


def test_mixup_of_the_loader_gives_soft_targets_that_the_loss_takes(photos: Path) -> None:
    mixup = FastCollateMixup(mixup_alpha=0.8, num_classes=3)
    stock = loader(photos, collate_fn=mixup)
    ours = with_sampler(stock, ClassAwareSampler(labels_of(stock.dataset)))
    x, y = next(iter(ours))
    assert y.shape == (8, 3) and ours.mixup_enabled
    logits = x.flatten(1)[:, :3]
    torch.testing.assert_close(ClassWeightedLoss(ClassDifficulty(3))(logits, y), SoftTargetCrossEntropy()(logits, y))
    hard = torch.arange(8) % 3
    smooth = ClassWeightedLoss(ClassDifficulty(3), label_smoothing=0.1)
    torch.testing.assert_close(smooth(logits, hard), LabelSmoothingCrossEntropy(0.1)(logits, hard))


def test_loaders_that_draw_otherwise_are_refused(photos: Path) -> None:
    sampler = ClassAwareSampler([0, 1, 2])
    for words, message in (
        ({"use_multi_epochs_loader": True}, "draws samples before the weights are known: leave it out"),
        ({"input_size_choices": [16, 24]}, "plans its batches by itself"),
        ({"is_training": False}, "a sampler of its own already, SequentialSampler"),
    ):
        with pytest.raises(LongtailError, match=message):
            with_sampler(loader(photos, **words), sampler)


def test_timm_optimisers_and_models_train_as_the_plain_loop() -> None:
    """timm's own loop is a plain loop: what is tested is its optimiser with our loss, sampler and difficulty."""
    model, (difficulty, criterion, sampler) = problem.network(), problem.parts()
    optimizer = create_optimizer_v2(model, "momentum", lr=problem.LR, weight_decay=0.0, momentum=0.0)
    batches = torch.utils.data.DataLoader(problem.TRAIN, problem.BATCH)
    ours = with_sampler(torch.utils.data.DataLoader(problem.TRAIN, problem.BATCH, shuffle=True), sampler)
    assert len(batches) == len(ours)
    for epoch in range(problem.EPOCHS):
        ours.sampler.set_epoch(epoch)
        for x, y in ours:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
        difficulty.measure(model, torch.utils.data.DataLoader(problem.HELD_OUT, 10))
    problem.assert_same(model, difficulty, problem.plain())
