"""A loop of one's own, and any method in it: cRT trains everything, then a new classifier on balanced samples.

python examples/plain/stages.py
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from longtail import ShotAccuracy, stages
from longtail.data import load_data


def main(epochs: int = 40, method: str = "crt") -> dict[str, float | None]:
    torch.manual_seed(0)
    data = load_data("digits", imbalance=50)  # 114 images of one digit, 2 of another
    train, held_out, test = (TensorDataset(s.images / 255, s.labels) for s in (data.train, data.val, data.test))
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    running = stages(
        method,
        model,
        train,
        epochs=epochs,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
        held_out=DataLoader(held_out, 256),
        train=DataLoader(train, 256),
    )
    for stage in running:
        for _ in stage.epochs:
            for x, y in DataLoader(train, 64, sampler=stage.sampler):
                stage.optimizer.zero_grad()
                stage.loss(x, y).backward()
                stage.optimizer.step()

    accuracy = ShotAccuracy(data.train.labels.bincount())
    model.eval()
    with torch.no_grad():
        accuracy.update(model(test.tensors[0]), test.tensors[1])
    return accuracy.compute()


if __name__ == "__main__":
    print(main())
