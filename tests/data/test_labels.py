"""`labels_of` gives what reading every sample would give, or says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset, random_split
from torchvision.datasets import FakeData, ImageFolder

from longtail import LongtailError, labels_of


class Kept(Dataset):
    """Labels kept under some name."""

    def __init__(self, size: int = 6, **kept: Any) -> None:
        self.size = size
        vars(self).update(kept)

    def __len__(self) -> int:
        return self.size


def read(dataset: Any) -> list[int]:
    return [int(dataset[i][1]) for i in range(len(dataset))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, count in (("cat", 3), ("dog", 2), ("owl", 1)):
        (tmp_path / name).mkdir()
        for i in range(count):
            Image.new("RGB", (4, 4)).save(tmp_path / name / f"{i}.png")
    return tmp_path


def test_through_every_layer_they_are_what_reading_gives(folder: Path) -> None:
    images = ImageFolder(str(folder), target_transform=lambda c: c // 2)
    table = TensorDataset(torch.zeros(5, 2), torch.tensor([2, 0, 1, 1, 0]))
    parts = random_split(images, [4, 2], generator=torch.Generator().manual_seed(0))
    for dataset in (images, table, *parts, Subset(parts[0], [3, 0]), ConcatDataset([table, Subset(table, [1, 1])])):
        found = labels_of(dataset)
        assert found.dtype == torch.int64
        assert found.tolist() == read(dataset)


def test_timm_and_hugging_face(folder: Path) -> None:
    import datasets
    from timm.data import create_dataset

    assert labels_of(create_dataset("", root=str(folder))).tolist() == [0, 0, 0, 1, 1, 2]
    columns = {"image": list(range(4)), "label": [1, 0, 2, 1], "coarse": [0, 0, 1, 0], "name": list("abca")}
    features = datasets.Features(
        image=datasets.Value("int64"),
        label=datasets.ClassLabel(num_classes=3),
        coarse=datasets.ClassLabel(num_classes=2),
        name=datasets.Value("string"),
    )
    table = datasets.Dataset.from_dict(columns, features=features)
    assert labels_of(table).tolist() == [1, 0, 2, 1]
    assert labels_of(table.select([3, 2]).with_format("torch")).tolist() == [1, 2]
    assert labels_of(table.with_transform(lambda rows: {"pixels": rows["image"]})).tolist() == [1, 0, 2, 1]
    assert labels_of(table, column="coarse").tolist() == [0, 0, 1, 0]
    assert labels_of(table.remove_columns("label")).tolist() == [0, 0, 1, 0]
    for wrong, message in (
        ({"column": "name"}, r"class_encode_column\('name'\)"),
        ({"column": "x"}, "no column 'x': there are image, label"),
    ):
        with pytest.raises(LongtailError, match=message):
            labels_of(table, **wrong)
    with pytest.raises(LongtailError, match="which column holds the classes"):
        labels_of(table.remove_columns(["label", "coarse"]))
    with pytest.raises(LongtailError, match="several splits: give one, of train"):
        labels_of(datasets.DatasetDict(train=table))


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (FakeData(5), "FakeData does not tell its labels"),
        (Kept(), "does not tell its labels"),
        (Kept(targets=[0, 1]), r"they are int64 \[2\] for 6 samples"),
        (Kept(targets=[0.0] * 6), r"float32 \[6\]"),
        (Kept(labels=torch.zeros(6, 2, dtype=torch.int64)), r"int64 \[6, 2\]"),
        (Kept(targets=[{"boxes": 1}] * 6), "no class indices, one per sample"),
        (Kept(labels=torch.tensor([0, 1, -1, 2, 1, 0])), r"sample 2 of Kept has no label \(-1\)"),
        (TensorDataset(torch.zeros(3, 2)), r"float32 \[3, 2\]"),
        (
            ConcatDataset([Kept(targets=[0] * 6, classes=["a", "b"]), Kept(targets=[0] * 6, classes=["b", "a"])]),
            "number their classes differently",
        ),
    ],
)
def test_what_is_no_label_is_refused(dataset: Any, message: str) -> None:
    with pytest.raises(LongtailError, match=message):
        labels_of(dataset)
