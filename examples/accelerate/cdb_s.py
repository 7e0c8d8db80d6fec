"""Accelerate: classes that the model finds hard are drawn more often (CDB-S).

python examples/accelerate/cdb_s.py

Several processes: accelerate launch --num-processes 2 examples/accelerate/cdb_s.py
"""

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from longtail import ClassDifficulty, ClassWeightedSampler, ShotAccuracy, labels_of
from longtail.data import load_data


def main(epochs: int = 40) -> dict[str, float | None]:
    torch.manual_seed(0)
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    data = load_data("digits", imbalance=50)  # 114 images of one digit, 2 of another
    train, held_out, test = (TensorDataset(s.images / 255, s.labels) for s in (data.train, data.val, data.test))
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    difficulty = ClassDifficulty(num_classes=10).to(accelerator.device)  # longtail
    sampler = ClassWeightedSampler(labels_of(train), difficulty)  # longtail; Accelerate shares it out, tells the epoch
    accelerator.register_for_checkpointing(difficulty)  # longtail; for accelerator.save_state
    loaders = DataLoader(train, 64, sampler=sampler), DataLoader(held_out, 256)
    model, optimizer, loader, held_out_loader = accelerator.prepare(model, optimizer, *loaders)
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            accelerator.backward(nn.functional.cross_entropy(model(x), y))
            optimizer.step()
        difficulty.measure(model, held_out_loader)  # longtail

    accuracy = ShotAccuracy(data.train.labels.bincount())
    with torch.no_grad():
        accuracy.update(accelerator.unwrap_model(model).cpu()(test.tensors[0]), test.tensors[1])
    return accuracy.compute()


if __name__ == "__main__":
    print(main())
