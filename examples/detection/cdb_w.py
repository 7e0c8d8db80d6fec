"""A torchvision detector: boxes of categories that it finds hard weigh more in the loss (CDB-W).

python examples/detection/cdb_w.py

A small Faster R-CNN on drawn shapes. The same lines fit torchvision's own models: with_box_criterion changes the loss
of the classes and nothing else.
"""

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

from longtail import ClassDifficulty, ClassWeightedLoss
from longtail.integrations.detection import box_predictions, with_box_criterion

CATEGORIES = 4  # discs, squares, crosses and rings, half of them discs


class Drawn(Dataset):
    """Images of 64 pixels with one or two shapes on noise."""

    def __init__(self, images: int, shares: list[float], seed: int) -> None:
        self.items, self.counts = [], torch.zeros(CATEGORIES, dtype=torch.int64)
        generator = torch.Generator().manual_seed(seed)
        row, column = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
        for _ in range(images):
            image = 0.3 * torch.rand(3, 64, 64, generator=generator)
            boxes, labels = [], []
            for half in range(int(torch.randint(1, 3, (), generator=generator))):
                c = int(torch.multinomial(torch.tensor(shares).float(), 1, generator=generator))
                size = int(torch.randint(7, 13, (), generator=generator))
                top = int(torch.randint(size, 64 - size, (), generator=generator))
                left = 32 * half + int(torch.randint(size, 33 - size, (), generator=generator))
                dy, dx = (row - top).abs(), (column - left).abs()
                far, near = (dy**2 + dx**2).sqrt() <= size, torch.minimum(dy, dx) <= 2
                inside = torch.maximum(dy, dx) <= size
                image[:, (far, inside, inside & near, far & (dy**2 + dx**2 > (size - 3) ** 2))[c]] += 0.6
                boxes.append([left - size, top - size, left + size + 1, top + size + 1])
                labels.append(c + 1)
                self.counts[c] += 1
            self.items.append((image, {"boxes": torch.tensor(boxes).float(), "labels": torch.tensor(labels)}))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> tuple[Tensor, dict[str, Tensor]]:
        return self.items[row]


def detector(num_classes: int) -> FasterRCNN:
    layers = []
    for inside, outside in ((3, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(inside, outside, 3, stride=2, padding=1), nn.BatchNorm2d(outside), nn.ReLU()]
    backbone = nn.Sequential(*layers)
    backbone.out_channels = 64  # type: ignore[assignment]
    return FasterRCNN(
        backbone, num_classes + 1, rpn_anchor_generator=AnchorGenerator(((12, 20, 32),), ((0.7, 1.0, 1.4),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 5, 2), min_size=64, max_size=64, rpn_batch_size_per_image=64,
        box_batch_size_per_image=32, rpn_post_nms_top_n_train=100, rpn_pre_nms_top_n_train=200,
    )  # fmt: skip


def main(epochs: int = 8, images: int = 96) -> dict[str, list[float]]:
    torch.manual_seed(0)
    train, held_out, test = Drawn(images, [0.6, 0.25, 0.1, 0.05], 1), Drawn(40, [1] * 4, 2), Drawn(60, [1] * 4, 3)

    def together(batch):
        return tuple(zip(*batch, strict=True))

    loader, held_out_loader, test_loader = (
        DataLoader(each, 8, shuffle=each is train, collate_fn=together) for each in (train, held_out, test)
    )
    model = detector(CATEGORIES)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    difficulty = ClassDifficulty(CATEGORIES, class_counts=train.counts, normalize="samples")  # longtail
    with_box_criterion(model, ClassWeightedLoss(difficulty))  # longtail; the background keeps weight 1
    for _ in range(epochs):
        for images, targets in loader:
            losses = model(list(images), list(targets))
            optimizer.zero_grad()
            sum(losses.values()).backward()
            optimizer.step()
        difficulty.measure(model, held_out_loader, predict=lambda m, batch: box_predictions(m, *batch))  # longtail

    tested = ClassDifficulty(CATEGORIES, momentum=0.0)
    tested.measure(model, test_loader, predict=lambda m, batch: box_predictions(m, *batch))
    return {
        "training boxes": train.counts.tolist(),
        "share of the test boxes whose class is found": tested.performance.tolist(),
    }


if __name__ == "__main__":
    print(main())
