"""A class for every pixel: classes that the model finds hard weigh more in the loss (CDB-W).

python examples/segmentation/cdb_w.py

Drawn images: background, large discs, small squares and thin lines, 94 % to 0.2 % of the pixels. Loss and difficulty
take logits [B, C, H, W] and labels [B, H, W] as they are; pixels labelled -100 count in neither.
"""

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from longtail import ClassDifficulty, ClassWeightedLoss

SIZE, CLASSES = 48, 4


def drawn(images: int, seed: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.zeros(images, SIZE, SIZE, dtype=torch.int64)
    row, column = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    for label in labels:
        (a, b), (c, d), (e, f) = torch.randint(8, SIZE - 8, (3, 2), generator=generator).tolist()
        label[(row - a) ** 2 + (column - b) ** 2 < 36] = 1
        label[c : c + 4, d : d + 4] = 2
        label[e, f : f + 5] = 3
    shade = torch.tensor([0.0, 0.8, 1.2, 1.6])[labels]
    return TensorDataset((shade + 0.5 * torch.randn(shade.shape, generator=generator)).unsqueeze(1), labels)


def main(epochs: int = 8) -> dict[str, list[float]]:
    torch.manual_seed(0)
    train, held_out, test = drawn(200, 1), drawn(40, 2), drawn(80, 3)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, CLASSES, 1)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    pixels: Tensor = train.tensors[1].flatten().bincount()

    difficulty = ClassDifficulty(CLASSES, class_counts=pixels, normalize="samples", min_difficulty=0.02)  # longtail
    criterion = ClassWeightedLoss(difficulty)  # longtail
    for _ in range(epochs):
        for x, y in DataLoader(train, 16, shuffle=True):
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
        difficulty.measure(model, DataLoader(held_out, 40))  # longtail

    tested = ClassDifficulty(CLASSES, momentum=0.0)
    tested.measure(model, DataLoader(test, 40))
    share = (pixels / pixels.sum()).tolist()
    return {"share of the pixels": share, "share of them found": tested.performance.tolist()}


if __name__ == "__main__":
    print(main())
