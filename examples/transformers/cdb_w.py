"""Hugging Face's Trainer: classes that the model finds hard weigh more in the loss (CDB-W).

python examples/transformers/cdb_w.py
"""

import tempfile

import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset
from transformers import TrainingArguments, ViTConfig, ViTForImageClassification

from longtail import ClassDifficulty, ClassWeightedLoss, ShotAccuracy
from longtail.data import load_data
from longtail.integrations.transformers import DifficultyTrainer


class Images(Dataset):
    def __init__(self, data: TensorDataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        image, label = self.data[row]
        return {"pixel_values": image, "labels": label}


def main(epochs: int = 15) -> dict[str, float | None]:
    torch.manual_seed(0)
    data = load_data("digits", imbalance=50)  # 114 images of one digit, 2 of another
    train, held_out, test = (TensorDataset(s.images / 255, s.labels) for s in (data.train, data.val, data.test))
    config = ViTConfig(
        image_size=8, patch_size=2, num_channels=1, hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=96, num_labels=10,
    )  # fmt: skip
    model = ViTForImageClassification(config)

    difficulty = ClassDifficulty(num_classes=10)  # longtail
    criterion = ClassWeightedLoss(difficulty)  # longtail
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            folder, num_train_epochs=epochs, per_device_train_batch_size=32, learning_rate=2e-3, report_to=[],
            per_device_eval_batch_size=256,
            eval_strategy="epoch", save_strategy="epoch", save_total_limit=1, disable_tqdm=True,
        )  # fmt: skip
        trainer = DifficultyTrainer(  # longtail
            model, args, train_dataset=Images(train), eval_dataset=Images(held_out),
            difficulty=difficulty, criterion=criterion,  # longtail
        )  # fmt: skip
        trainer.train()

    accuracy = ShotAccuracy(data.train.labels.bincount())
    with torch.no_grad():
        accuracy.update(model.cpu().eval()(test.tensors[0]).logits, test.tensors[1])
    return accuracy.compute()


if __name__ == "__main__":
    print(main())
