"""An epoch of CIFAR-100-LT: our batched in-memory path in bfloat16 against the usual loop over PIL images in float32.

Imbalance 100, 450 images in the largest class: 9754 images; ResNet-32, batches of 128, SGD with momentum, random crop
after padding, flip, normalisation. The images are random: their content does not change the speed.

Ours: the images of a batch are taken, cropped and flipped at once; channels-last, bfloat16 by autocast: what ``longtail
train --precision bf16`` runs. Other: a ``DataLoader`` with two workers over PIL images with torchvision's transforms,
float32. Both may use all cores. Where cores are few, workers and a step of many threads stand in each other's way, so
the usual loop runs with all threads and with one, and its faster epoch counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from common import Row, alternate, cores, fresh_process

BATCH, CLASSES, WORKERS, REPEATS = 128, 100, 2, 3
MEAN, STD = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)


def benchmark() -> Iterator[Row]:
    ours, *usual = fresh_process(__file__)
    for threads, other in zip((cores(), 1), usual, strict=True):
        print(f"  the usual loop with {threads} threads in the main process: {other:.4g} s", flush=True)
    yield Row.of(
        "cifar_epoch_s",
        "CIFAR-100-LT, imbalance 100, 9754 images, ResNet-32, batch 128",
        ours,
        min(usual),
        target=0.55,
    )


def measure() -> list[float]:
    import torch

    from longtail import long_tail_counts

    counts = torch.tensor(long_tail_counts(450, CLASSES, imbalance=100))
    labels = torch.arange(CLASSES).repeat_interleave(counts)
    images = torch.randint(256, (len(labels), 3, 32, 32), dtype=torch.uint8)
    batched, usual = _batched(images, labels), _usual(images, labels)

    def with_threads(threads: int, epoch: Callable[[], None]) -> None:
        torch.set_num_threads(threads)
        epoch()

    return alternate(
        lambda: with_threads(cores(), batched),
        lambda: with_threads(cores(), usual),
        lambda: with_threads(1, usual),
        repeats=REPEATS,
    )


def _batched(images: Any, labels: Any) -> Callable[[], None]:
    """Our path, put together as `longtail.training` does it."""
    import torch

    from longtail.data.base import ImageData, Split
    from longtail.data.loader import make_loader
    from longtail.training.order import cut_batches, epoch_order

    split = Split(images, labels)
    names = [str(c) for c in range(CLASSES)]
    data = ImageData(
        name="random",
        class_names=names,
        train=split,
        val=None,
        test=split,
        mean=MEAN,
        std=STD,
        crop_padding=4,
        flip=True,
    )
    loader = make_loader(split, data, image_size=32, train=True)
    step = _step(torch.channels_last, bf16=True)

    def epoch() -> None:
        for batch, target in loader(cut_batches(epoch_order(None, len(labels), seed=0, epoch=0), BATCH, world=1)):
            step(batch, target)

    return epoch


def _usual(images: Any, labels: Any) -> Callable[[], None]:
    """The loop that tutorials show."""
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms

    class Pictures(Dataset[Any]):
        """As torchvision's CIFAR100 reads them."""

        def __init__(self) -> None:
            self.data, self.targets = images.permute(0, 2, 3, 1).contiguous().numpy(), labels.tolist()
            self.transform = transforms.Compose(
                [
                    transforms.RandomCrop(32, padding=4),
                    transforms.RandomHorizontalFlip(),
                    transforms.ToTensor(),
                    transforms.Normalize(MEAN, STD),
                ]
            )

        def __len__(self) -> int:
            return len(self.targets)

        def __getitem__(self, index: int) -> tuple[Any, int]:
            return self.transform(Image.fromarray(self.data[index])), self.targets[index]

    loader = DataLoader(Pictures(), BATCH, shuffle=True, num_workers=WORKERS)
    step = _step(torch.contiguous_format, bf16=False)

    def epoch() -> None:
        for batch, target in loader:
            step(batch, target)

    return epoch


def _step(memory_format: Any, *, bf16: bool) -> Callable[[Any, Any], None]:
    import torch

    from longtail.models import create_model

    torch.manual_seed(0)
    model = create_model("resnet32", num_classes=CLASSES).to(memory_format=memory_format)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=2e-4)

    def step(batch: Any, target: Any) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = torch.nn.functional.cross_entropy(model(batch), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if not loss.isfinite():
            raise SystemExit("the loss is not finite")

    return step


if __name__ == "__main__":
    print(json.dumps(measure()))
