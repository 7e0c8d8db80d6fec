"""Clips: classes that the model finds hard weigh more in the loss (CDB-W).

python examples/video/cdb_w.py

Generated clips of ten frames, 400 of one class and 8 of another; the loop is that of images.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from longtail import ClassDifficulty, ClassWeightedLoss, ShotAccuracy
from longtail.data import load_data


def main(epochs: int = 6) -> dict[str, float | None]:
    torch.manual_seed(0)
    data = load_data("moving-digits")
    parts = (data.train, data.val, data.test)  # clips are [N, frames, 1, 28, 28], networks take [N, 1, frames, ...]
    train, held_out, test = (TensorDataset(s.images.transpose(1, 2) / 255, s.labels) for s in parts)
    layers: list[nn.Module] = []
    for inside, outside in ((1, 8), (8, 16), (16, 32)):
        layers += [nn.Conv3d(inside, outside, 3, stride=(1, 2, 2), padding=1), nn.BatchNorm3d(outside), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool3d((5, 1, 1)), nn.Flatten(), nn.Linear(160, data.num_classes))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

    difficulty = ClassDifficulty(data.num_classes)  # longtail
    criterion = ClassWeightedLoss(difficulty)  # longtail
    for _ in range(epochs):
        for x, y in DataLoader(train, 32, shuffle=True):
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
        difficulty.measure(model, DataLoader(held_out, 64))  # longtail

    accuracy = ShotAccuracy(data.train.labels.bincount())
    model.eval()
    with torch.no_grad():
        for x, y in DataLoader(test, 64):
            accuracy.update(model(x), y)
    return accuracy.compute()


if __name__ == "__main__":
    print(main())
