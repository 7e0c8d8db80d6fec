"""A training step with the CDB-W loss against the same step with plain cross-entropy.

ResNet-32 for CIFAR, batches of 128 images, float32, SGD with momentum, one thread: forward, loss, backward, update. One
model takes both kinds of step in turns. A step is some hundred milliseconds, the weighting some ten microseconds of it;
to see so little, the time is that of the processor, which does not count while the machine serves others.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from common import Row, alternate, fresh_process

STEPS = 100


def benchmark() -> Iterator[Row]:
    times = fresh_process(__file__)
    yield Row.of("cdbw_step_s", "ResNet-32, batch 128, 100 classes, 1 thread", *times, target=1.02)


def measure() -> list[float]:
    import torch
    from torch import nn

    from longtail import ClassDifficulty, ClassWeightedLoss
    from longtail.models import create_model

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = create_model("resnet32", num_classes=100).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    images = torch.randn(128, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    target = torch.randint(100, (128,))
    difficulty = ClassDifficulty(100)
    difficulty.step(torch.rand(100))
    weighted, plain = ClassWeightedLoss(difficulty), nn.CrossEntropyLoss()

    def step(criterion: nn.Module) -> None:
        loss = criterion(model(images), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return alternate(lambda: step(weighted), lambda: step(plain), repeats=STEPS, warmup=3, clock=time.process_time)


if __name__ == "__main__":
    print(json.dumps(measure()))
