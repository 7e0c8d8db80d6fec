"""timm's model, loader, mixup, optimiser and schedule: classes that the model finds hard weigh more (CDB-W).

python examples/timm/cdb_w.py

Nothing of timm is patched; the loop is that of its train.py. The loss takes the soft targets of mixup.
"""

import tempfile
from pathlib import Path

import timm
import torch
from PIL import Image
from timm.data import Mixup, create_dataset, create_loader
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2

from longtail import ClassDifficulty, ClassWeightedLoss, ShotAccuracy, labels_of
from longtail.data import load_data


def photographs(folder: Path) -> None:
    """The digits as image files, a folder a class: 114 images of one digit, 2 of another."""
    data = load_data("digits", imbalance=50)
    for name, split in (("train", data.train), ("val", data.val), ("test", data.test)):
        for i, (image, label) in enumerate(zip(split.images, split.labels.tolist(), strict=True)):
            place = folder / name / str(label)
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy()).resize((32, 32)).save(place / f"{i}.png")


def main(epochs: int = 12) -> dict[str, float | None]:
    torch.manual_seed(0)
    device = torch.device("cpu")
    with tempfile.TemporaryDirectory() as home:
        photographs(Path(home))
        train, held_out, test = (create_dataset("", root=f"{home}/{split}") for split in ("train", "val", "test"))
        options = {"input_size": (3, 32, 32), "batch_size": 32, "num_workers": 0, "device": device}
        loader = create_loader(train, is_training=True, hflip=0.0, scale=(0.8, 1.0), color_jitter=0.0, **options)
        held_out_loader, test_loader = (create_loader(split, crop_pct=1.0, **options) for split in (held_out, test))
        model = timm.create_model("test_resnet", num_classes=10)
        optimizer = create_optimizer_v2(model, "adamw", lr=4e-3, weight_decay=0.02)
        scheduler, _ = create_scheduler_v2(optimizer, "cosine", num_epochs=epochs)
        mixup = Mixup(mixup_alpha=0.1, num_classes=10, label_smoothing=0.0)

        difficulty = ClassDifficulty(num_classes=10)  # longtail; its state_dict() belongs to a checkpoint
        criterion = ClassWeightedLoss(difficulty)  # longtail
        for epoch in range(epochs):
            model.train()
            for x, y in loader:
                x, y = mixup(x, y)
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
            difficulty.measure(model, held_out_loader)  # longtail
            scheduler.step(epoch + 1)

        accuracy = ShotAccuracy(labels_of(train).bincount())
        model.eval()
        with torch.no_grad():
            for x, y in test_loader:
                accuracy.update(model(x), y)
    return accuracy.compute()


if __name__ == "__main__":
    print(main())
