"""Class difficulty in a training loop of your own: the README's nine lines, made runnable.

    python examples/own_loop.py

Ten classes of noisy 8 x 8 pictures, 400 training images of the first and 4 of the last. Trains a small network three
times (plain cross-entropy, CDB-W, CDB-S) and prints the accuracy by the classes' number of training images. A few
seconds on one core.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from longtail import ClassDifficulty, ClassWeightedLoss, ClassWeightedSampler, ShotAccuracy, long_tail_counts

NUM_CLASSES = 10
COUNTS = long_tail_counts(400, NUM_CLASSES, imbalance=100)


class Pictures(TensorDataset):
    """Pictures and labels in memory."""

    @property
    def targets(self) -> Tensor:
        return self.tensors[1]


def pictures(counts: list[int], seed: int) -> Pictures:
    """A prototype a class, plus noise; classes come in pairs that look alike."""
    shared = torch.randn(NUM_CLASSES // 2, 64, generator=torch.Generator().manual_seed(0)).repeat(2, 1)
    own = torch.randn(NUM_CLASSES, 64, generator=torch.Generator().manual_seed(1))
    prototypes = shared + 0.5 * own
    labels = torch.arange(NUM_CLASSES).repeat_interleave(torch.tensor(counts))
    noise = torch.randn(len(labels), 64, generator=torch.Generator().manual_seed(seed))
    return Pictures(prototypes[labels] + 1.2 * noise, labels)


def run(method: str, epochs: int = 25) -> dict[str, float | None]:
    """Train with one of ``ce``, ``cdb-w``, ``cdb-s`` and return the accuracy on a balanced test set."""
    torch.manual_seed(0)
    train, held_out, test = pictures(COUNTS, 2), pictures([30] * NUM_CLASSES, 3), pictures([200] * NUM_CLASSES, 4)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, NUM_CLASSES))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

    difficulty = ClassDifficulty(num_classes=NUM_CLASSES)
    plain = torch.ones(NUM_CLASSES)
    criterion = ClassWeightedLoss(difficulty if method == "cdb-w" else plain)
    by_count = torch.tensor(COUNTS)  # drawing classes by their counts is drawing images uniformly
    sampler = ClassWeightedSampler(train.targets, difficulty if method == "cdb-s" else by_count)
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        model.train()
        for x, y in DataLoader(train, 128, sampler=sampler):
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
        model.eval()
        with torch.inference_mode():
            for x, y in DataLoader(held_out, 500):
                difficulty.update(model(x), y)
        difficulty.step()

    accuracy = ShotAccuracy(COUNTS)
    with torch.inference_mode():
        for x, y in DataLoader(test, 500):
            accuracy.update(model(x), y)
    return accuracy.compute()


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def main() -> None:
    print(f"training images of each class: {COUNTS}")
    print("method   all  many  medium   few")
    for method in ("ce", "cdb-w", "cdb-s"):
        result = run(method)
        print(f"{method:6} {' '.join(f'{percent(value):>6}' for value in result.values())}")


if __name__ == "__main__":
    main()
