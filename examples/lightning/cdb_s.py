"""Lightning: classes that the model finds hard are drawn more often (CDB-S).

python examples/lightning/cdb_s.py
"""

import tempfile
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from longtail import ClassDifficulty, ClassWeightedSampler, ShotAccuracy, labels_of
from longtail.data import load_data
from longtail.integrations.lightning import DifficultyCallback


class Digits(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        x, y = batch
        return nn.functional.cross_entropy(self(x), y)

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        x, y = batch
        self.log("val_loss", nn.functional.cross_entropy(self(x), y))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def main(epochs: int = 40, **options: Any) -> dict[str, float | None]:
    pl.seed_everything(0, verbose=False)
    data = load_data("digits", imbalance=50)  # 114 images of one digit, 2 of another
    train, held_out, test = (TensorDataset(s.images / 255, s.labels) for s in (data.train, data.val, data.test))

    difficulty = ClassDifficulty(num_classes=10)  # longtail
    sampler = ClassWeightedSampler(labels_of(train), difficulty)  # longtail; Lightning shares it out
    callbacks = [DifficultyCallback(difficulty)]  # longtail
    model = Digits()
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(max_epochs=epochs, callbacks=callbacks, default_root_dir=folder, logger=False, **options)
        trainer.fit(model, DataLoader(train, 64, sampler=sampler), DataLoader(held_out, 256))

    accuracy = ShotAccuracy(data.train.labels.bincount())
    with torch.no_grad():
        accuracy.update(model.cpu()(test.tensors[0]), test.tensors[1])
    return accuracy.compute()


if __name__ == "__main__":
    print(main())
