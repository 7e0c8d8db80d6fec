"""Recipes with runs on real images in miniature: figures, both protocols, decoupled training, ImageNet-LT."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image
from PIL import Image

from longtail.errors import LongtailError
from longtail.paper import figure4, reproduce
from longtail.training.files import read_csv, read_json

OPTIONS = {"scale": "smoke", "device": "cpu"}


def rows(path: Path, **wanted: str) -> list[dict[str, str]]:
    return [row for row in read_csv(path) if all(row[key] == value for key, value in wanted.items())]


def is_drawn(path: Path) -> bool:
    """Lines or bars in a frame that is not empty."""
    picture = image.imread(path)[..., :3]
    return picture.shape[0] > 400 and (np.ptp(picture, axis=-1) > 0.5).sum() > 500


@pytest.fixture(scope="module")
def out(cifar: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Figure 4 and then 5, of which the second trains nothing."""
    out = tmp_path_factory.mktemp("figures") / "out"
    options = OPTIONS | {"out": out, "data": [cifar], "rows": ["focal", "cdb-w-paper"]}
    first, second = (list(reproduce(name, **options)) for name in ("figure4", "figure5"))
    assert first[0] == "figure4: 2 runs, 2 of them to train"
    assert "figure4, CIFAR100-LT, imbalance 200, resnet20, scale smoke: test error (%)" in "\n".join(first)
    assert second[0] == "figure5: 2 runs, 0 of them to train"
    assert second[-2:] == [f"figure5: wrote {out / 'figure5.png'}", f"figure5: wrote {out / 'figure5.csv'}"]
    return out


def test_figure_4_counts_hard_instances(out: Path) -> None:
    assert is_drawn(out / "figure4.png")
    focal = out / "cifar100-200" / "focal" / "seed-0"
    counts = read_json(focal / "data.json")["class_counts"]["train"]
    groups = figure4.groups(focal)
    assert groups == {
        "many": [c for c, n in enumerate(counts) if n > 100],
        "medium": [c for c, n in enumerate(counts) if 20 < n <= 100],
        "few": [c for c, n in enumerate(counts) if n <= 20],
    }
    assert all(groups.values())
    hard = read_csv(focal / "hard.csv")
    assert [(row["epoch"], row["class"]) for row in hard] == [(e, str(c)) for e in "12" for c in range(100)]
    assert [int(row["seen"]) for row in hard[:100]] == counts  # every image once an epoch
    assert all(0 <= int(row["hard"]) <= int(row["seen"]) for row in hard)
    assert sum(int(row["hard"]) for row in hard[:100]) > 0.9 * sum(counts)  # nothing is learnt in the first epoch
    for name, classes in groups.items():
        line = rows(out / "figure4.csv", row="focal", group=name, epoch="2")[0]
        mean = np.mean([int(hard[100 + c]["hard"]) for c in classes])
        assert (float(line["hard"]), int(line["classes"]), line["n"]) == (
            pytest.approx(mean, abs=1e-3),
            len(classes),
            "1",
        )


def test_figure_4_takes_the_weights_of_the_epoch_before_for_cdb(out: Path) -> None:
    folder = next((out / "cifar100-200").glob("cdb-w-*")) / "seed-0"
    assert not (folder / "hard.csv").exists()
    counts = read_json(folder / "data.json")["class_counts"]["train"]
    weight = [float(row["weight"]) for row in read_csv(folder / "difficulty.csv")[:100]]  # literal: not normalised
    for name, classes in figure4.groups(folder).items():
        first, second = rows(out / "figure4.csv", row="cdb-w-paper", group=name)
        assert float(first["hard"]) == pytest.approx(np.mean([counts[c] for c in classes]), abs=1e-3)
        mean = np.mean([counts[c] * (weight[c] > 0.8) for c in classes])
        assert float(second["hard"]) == pytest.approx(mean, abs=1e-3)


def test_figure_5_has_the_accuracy_of_each_group_and_the_papers_gains(out: Path) -> None:
    assert is_drawn(out / "figure5.png")
    folder = out / "cifar100-200" / "focal" / "seed-0"
    accuracy = read_json(folder / "metrics.json")["test"]["per_class"]
    for name, classes in figure4.groups(folder).items():
        (line,) = rows(out / "figure5.csv", row="focal", group=name)
        assert float(line["mean"]) == pytest.approx(100 * np.mean([accuracy[c] for c in classes]), abs=1e-3)
        assert (line["n"], line["std"]) == ("1", "")
    gains = {row["group"]: row for row in rows(out / "figure5.csv", row="cdb-w-paper - focal")}
    assert {group: row["paper"] for group, row in gains.items()} == {
        "many": "", "medium": "5.11", "few": "7.26", "all": "1.74",
    }  # fmt: skip
    errors = {row["row"]: float(row["mean"]) for row in rows(out / "paper.csv", table="figure5-smoke")}
    assert float(gains["all"]["mean"]) == pytest.approx(errors["focal"] - errors["cdb-w-paper"], abs=1e-3)


def test_a_figure_of_some_rows_keeps_the_others_and_continues(out: Path, cifar: str) -> None:
    before = (out / "figure4.csv").read_text()
    hard = out / "cifar100-200" / "focal" / "seed-0" / "hard.csv"
    with hard.open("a") as f:
        f.write("2,7")  # a torn line
    lines = list(reproduce("figure4", out=out, data=[cifar], rows=["focal"], **OPTIONS))
    assert lines[0] == "figure4: 1 runs, 0 of them to train"
    assert (out / "figure4.csv").read_text() == before


def test_both_protocols_and_a_decoupled_row(cifar: str, tmp_path: Path) -> None:
    options = OPTIONS | {"out": tmp_path, "data": [cifar]}
    chosen = ["cifar100-100-cao", "cifar100-100-merged"]
    lines = list(reproduce("comparison", columns=chosen, rows=["ce", "cdb-w"], **options))
    needs = "holds nothing out, as these rows need: cdb-w"
    assert lines[:2] == [f"comparison: column {column} {needs}" for column in chosen]
    found = {row["column"]: row for row in rows(tmp_path / "paper.csv")}
    assert list(found) == chosen and {row["table"] for row in found.values()} == {"comparison-smoke"}
    sizes = {}
    for column in chosen:
        about = read_json(tmp_path / column / "ce" / "seed-0" / "data.json")["class_counts"]
        assert not about.get("val")
        sizes[column] = (about["train"][0], about["train"][-1])
    assert sizes == {"cifar100-100-cao": (170, 1), "cifar100-100-merged": (170, 51)}
    with pytest.raises(LongtailError, match=f"comparison has no such cell: column cifar100-100-cao {needs}"):
        list(reproduce("comparison", columns=chosen[:1], rows=["cdb-w"], **options))

    list(reproduce("table4", columns=["cifar100-100"], rows=["lws:cdb-w+cdb-s-accv"], **options))
    (line,) = rows(tmp_path / "paper.csv", table="table4-smoke")
    assert (line["paper"], line["n"]) == ("56.11", "1")
    (folder,) = (path for path in (tmp_path / "cifar100-100").iterdir() if path.is_dir() and path.name != "figures")
    config = json.loads((folder / "seed-0" / "config.json").read_text())["config"]
    assert {"stage1=cdb-w:preset=code2020-imagenet", "balance=cdb-s:preset=code2020-imagenet"} <= set(
        config["method_kwargs"]
    )
    stages = [row["stage"] for row in read_csv(folder / "seed-0" / "history.csv")]
    assert stages == ["stage1", "stage2"]


def test_a_scale_that_a_column_lacks(tmp_path: Path) -> None:
    with pytest.raises(LongtailError, match="unknown scale 'small' of imagenet-lt: known are full, smoke"):
        list(reproduce("table1", out=tmp_path / "out", columns=["imagenet-lt"], scale="small"))
    with pytest.raises(LongtailError, match="table1 has no column of the scale 'tiny': it has full, small, smoke"):
        list(reproduce("table1", out=tmp_path / "out", scale="tiny"))


@pytest.fixture(scope="module")
def imagenet(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ImageNet-LT in miniature: the published lists' names and classes, a hundredth of the counts, tiny JPEG files."""
    lists = test_data / "imagenet_lt"
    if not lists.is_dir():
        pytest.skip(f"no ImageNet-LT lists in {test_data}")
    folder = tmp_path_factory.mktemp("imagenet-lt")
    counts = json.loads((lists / "ImageNet_LT_train_class_counts.json").read_text())
    kept: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    wordnet = {}
    for split in ("val", "test"):
        seen: set[str] = set()
        for line in (lists / f"ImageNet_LT_{split}.txt").read_text().splitlines():
            path, label = line.split()
            wordnet[int(label)] = path.split("/")[1]
            if label not in seen:
                seen.add(label)
                kept[split].append(line)
    for c, n in enumerate(counts):
        kept["train"] += [f"train/{wordnet[c]}/{wordnet[c]}_new_{i}.JPEG {c}" for i in range(max(1, n // 100))]
    jpeg = {}
    for c in range(1000):
        content = io.BytesIO()
        color = (25 * (c % 10), 25 * (c // 10 % 10), 25 * (c // 100))
        Image.new("RGB", (8 + c % 3, 8), color).save(content, "JPEG")
        jpeg[c] = content.getvalue()
    for split, lines in kept.items():
        (folder / f"ImageNet_LT_{split}.txt").write_text("\n".join(lines) + "\n")
        for line in lines:
            path, label = line.split()
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(jpeg[int(label)])
    return folder


def test_imagenet_lt_from_the_public_lists_and_figure_1(imagenet: Path, tmp_path: Path) -> None:
    options = OPTIONS | {"out": tmp_path, "data": [f"imagenet-lt:{imagenet}"]}
    list(reproduce("table1", columns=["imagenet-lt"], rows=["ce"], **options))
    about = read_json(tmp_path / "imagenet-lt" / "ce" / "seed-0" / "data.json")
    counts = about["class_counts"]
    assert (max(counts["train"]), min(counts["train"]), len(counts["train"])) == (12, 1, 1000)
    assert counts["val"] == counts["test"] == [1] * 1000
    assert about["class_names"][0] == "n01440764"
    lines = list(reproduce("figure1", columns=["imagenet-lt"], **options))
    assert lines[0] == "figure1: 1 runs, 0 of them to train"
    assert is_drawn(tmp_path / "figure1.png")
    shown = rows(tmp_path / "figure1.csv")
    assert [int(row["train_count"]) for row in shown] == sorted(counts["train"], reverse=True)
    accuracy = read_json(tmp_path / "imagenet-lt" / "ce" / "seed-0" / "metrics.json")["test"]["per_class"]
    assert [float(row["accuracy"]) for row in shown] == [accuracy[int(row["class"])] for row in shown]
    with (tmp_path / "paper.csv").open(encoding="utf-8") as f:
        assert [(row["table"], row["paper"]) for row in csv.DictReader(f)] == [
            ("figure1-smoke", "65.20"),
            ("table1-smoke", "65.20"),
        ]
