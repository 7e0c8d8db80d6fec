"""A loop of one's own: classes that the model finds hard are drawn more often (CDB-S).

python examples/plain/cdb_s.py

Several processes: torchrun --nproc-per-node 2 examples/plain/cdb_s.py
"""

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from longtail import ClassDifficulty, ClassWeightedSampler, ShotAccuracy, labels_of
from longtail.data import load_data


def main(epochs: int = 40) -> dict[str, float | None]:
    several = "WORLD_SIZE" in os.environ and not dist.is_initialized()
    if several:
        dist.init_process_group("gloo")
    rank, world = (dist.get_rank(), dist.get_world_size()) if several else (0, 1)
    torch.manual_seed(0)
    data = load_data("digits", imbalance=50)  # 114 images of one digit, 2 of another
    train, held_out, test = (TensorDataset(s.images / 255, s.labels) for s in (data.train, data.val, data.test))
    model: nn.Module = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    model = DistributedDataParallel(model) if several else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    held_out_loader = DataLoader(held_out, 256, sampler=DistributedSampler(held_out) if several else None)

    difficulty = ClassDifficulty(num_classes=10)  # longtail; its state_dict() belongs to a checkpoint
    sampler = ClassWeightedSampler(labels_of(train), difficulty, num_replicas=world, rank=rank)  # longtail
    loader = DataLoader(train, 64, sampler=sampler)
    for epoch in range(epochs):
        sampler.set_epoch(epoch)  # longtail
        for x, y in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        difficulty.measure(model, held_out_loader)  # longtail

    accuracy = ShotAccuracy(data.train.labels.bincount())
    with torch.no_grad():
        accuracy.update(model(test.tensors[0]), test.tensors[1])
    return accuracy.compute()


if __name__ == "__main__":
    print(main())
