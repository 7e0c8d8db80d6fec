"""Every reader of files that the product has: a valid sample of what it reads, and the call that reads it."""

from __future__ import annotations

import dataclasses
import gzip
import json
import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

__all__ = ["READERS", "Reader"]


@dataclasses.dataclass(frozen=True)
class Reader:
    """How files of a kind are read.

    Args:
        make: Fills a folder with a valid sample; returns the files of it that are to be damaged.
        read: Reads the sample in the folder.
        share: Mutations of it, of a thousand: fewer where reading takes long.
        writes: Whether reading changes files, which are put back afterwards.
        names: Whether an error names the file or its folder.
        refuses: Whether damage is refused: a report names the runs that it cannot read, and goes on.
    """

    make: Callable[[Path], Iterable[Path]]
    read: Callable[[Path], Any]
    share: int = 1000
    writes: bool = False
    names: bool = True
    refuses: bool = True


READERS: dict[str, Reader] = {}


def reader(name: str, make: Callable[[Path], Iterable[Path]], **options: Any) -> Callable[[Callable], Callable]:
    def register(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
        READERS[name] = Reader(make, read, **options)
        return read

    return register


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# -- arrays ------------------------------------------------------------------------------------------------------------
def _idx(folder: Path, pack: Callable[[bytes], bytes], end: str) -> list[Path]:
    pixels, labels = rng().integers(0, 256, (12, 5, 4), np.uint8), np.arange(12, dtype=np.uint8) % 10
    for name, values in (("images", pixels), ("labels", labels)):
        head = bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
        (folder / f"{name}{end}").write_bytes(pack(head + values.tobytes()))
    return sorted(folder.iterdir())


@reader("idx", lambda folder: _idx(folder, bytes, ""))
def read_idx(folder: Path) -> Any:
    from longtail.data.arrays import read_idx_pair

    return read_idx_pair(folder / "images", folder / "labels")


@reader("idx.gz", lambda folder: _idx(folder, lambda b: gzip.compress(b, 1), ".gz"))
def read_idx_gz(folder: Path) -> Any:
    from longtail.data.arrays import read_idx_pair

    return read_idx_pair(folder / "images.gz", folder / "labels.gz")


def _pickles(folder: Path) -> list[Path]:
    data = rng().integers(0, 256, (4, 3072), np.uint8)
    for k, name in enumerate(
        ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")
    ):
        key = bytes if k % 2 else str
        words = {"data": data, "labels": [0, 3, 9, 1], "batch_label": "batch", "filenames": ["a.png"] * 4}
        content = {(w.encode() if key is bytes else w): v for w, v in words.items()}
        (folder / name).write_bytes(pickle.dumps(content, protocol=k % 5))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"name {c}" for c in range(10)]}, protocol=2))
    return sorted(folder.iterdir())


@reader("CIFAR pickles", _pickles)
def read_cifar_pickles(folder: Path) -> Any:
    from longtail.data.arrays import read_cifar

    return read_cifar(folder, 10)


def _npz(folder: Path) -> list[Path]:
    for split in ("train", "test"):
        images = rng().integers(0, 256, (4, 32, 32, 3), np.uint8)
        save = np.savez if split == "train" else np.savez_compressed
        save(folder / f"cifar100_{split}.npz", images=images, labels=np.array([0, 99, 4, 5]))
    return sorted(folder.iterdir())


@reader("CIFAR npz", _npz)
def read_cifar_npz(folder: Path) -> Any:
    from longtail.data.arrays import read_cifar

    return read_cifar(folder, 100)


def _features(folder: Path) -> list[Path]:
    from longtail.data.base import ImageData, Split
    from longtail.data.vectors import ENDINGS, write_features

    x, labels = torch.from_numpy(rng().normal(size=(12, 4))).float(), torch.arange(12) % 3
    part = Split(x, labels, groups=[f"g{k // 3}" for k in range(12)])
    data = ImageData(name="features", class_names=["a", "b", "c"], train=part, val=None, test=part)
    for ending in ENDINGS:
        write_features(folder / f"rows{ending}", data, {"train": x, "test": x + 1})
    return sorted(folder.iterdir())


@reader("features", _features, share=500)
def read_features(folder: Path) -> Any:
    from longtail.data.vectors import ENDINGS
    from longtail.data.vectors import read_features as read

    for ending in ENDINGS:
        read(folder / f"rows{ending}")


# -- images, clips and their lists -------------------------------------------------------------------------------------
ENDINGS = ("png", "jpg", "bmp", "gif", "tif", "webp", "ppm")


def _images(folder: Path) -> list[Path]:
    from PIL import Image

    for end in ENDINGS:
        Image.fromarray(rng().integers(0, 256, (9, 7, 3), np.uint8)).save(folder / f"a.{end}")
    Image.fromarray(rng().integers(0, 60000, (9, 7), np.uint16)).save(folder / "deep.png")
    return sorted(folder.iterdir())


@reader("images", _images)
def read_images(folder: Path) -> Any:
    from longtail.data.photos import check_images, read_image

    for path in sorted(folder.iterdir()):
        read_image(path, shorter=4)
    check_images([str(path) for path in folder.iterdir()])


def _class_folders(folder: Path) -> list[Path]:
    from PIL import Image

    for name in ("cat", "dog"):
        for split in ("train", "val", "test"):
            (folder / "images" / split / name).mkdir(parents=True)
            for k in range(2):
                Image.new("RGB", (8, 8), (k, 0, 0)).save(folder / "images" / split / name / f"{k}.png")
    return []


def _lists(folder: Path) -> list[Path]:
    _class_folders(folder)
    for split in ("train", "val", "test"):
        files = [f"{split}/{name}/{k}.png {c}" for c, name in enumerate(("cat", "dog")) for k in range(2)]
        (folder / f"{split}.txt").write_text("\n".join(files) + "\n")
    (folder / "classes.txt").write_text("cat\ndog\n")
    return [folder / f"{name}.txt" for name in ("train", "val", "test", "classes")]


@reader("lists", _lists)
def read_lists(folder: Path) -> Any:
    from longtail.data import load_data

    return load_data(f"lists:{folder}").class_names


def _clips(folder: Path) -> list[Path]:
    _class_folders(folder)
    rows = [f"images/{split}/{name},{name},{split}" for split in ("train", "val", "test") for name in ("cat", "dog")]
    (folder / "clips.csv").write_text("\n".join(["file,label,split", *rows]) + "\n")
    return [folder / "clips.csv"]


@reader("clips.csv", _clips)
def read_clips(folder: Path) -> Any:
    from longtail.data.clips import read_clips

    return read_clips(folder, frames=2)[1]


def _egtea(folder: Path) -> list[Path]:
    for name, wearers in (("train_split1", (1, 20)), ("test_split1", (2,))):
        lines = [f"P{w:02}-R01-Name-{k}-{k + 9}-F1-F2 {k} {k % 19 + 1} {k}" for w in wearers for k in range(20)]
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    (folder / "verb_idx.txt").write_text("".join(f"Verb{k} {k}\n" for k in range(1, 20)))
    return sorted(folder.iterdir())


@reader("EGTEA lists", _egtea)
def read_egtea(folder: Path) -> Any:
    from longtail.data.egtea import read_egtea_lists

    return read_egtea_lists(folder)[1]


# -- boxes -------------------------------------------------------------------------------------------------------------
def _annotations(first: int) -> dict[str, Any]:
    square, runs = [[2, 2, 6, 2, 6, 6.5, 2, 6]], {"size": [10, 12], "counts": [22, 4, 6, 4, 6, 4, 6, 4, 64]}
    ids = [first + k for k in range(4)]
    boxes = [
        {
            "id": k,
            "image_id": ids[k % 4],
            "category_id": (3, 5)[k % 2],
            "bbox": [2, 2, 4, 4.5],
            "area": 16,
            "iscrowd": 0,
        }
        | {"segmentation": square if k % 3 else runs}
        for k in range(8)
    ]
    boxes[5] |= {"iscrowd": 1, "segmentation": {"size": [10, 12], "counts": "f04600000j1"}}
    return {
        "info": {"year": 2020},
        "images": [{"id": i, "file_name": f"{i:012}.png", "height": 10, "width": 12} for i in ids],
        "categories": [{"id": 3, "name": "cat", "frequency": "f"}, {"id": 5, "name": "dog", "frequency": "r"}],
        "annotations": boxes,
    }


def _boxes(folder: Path) -> list[Path]:
    from PIL import Image

    for split, first in (("train", 1), ("val", 101)):
        (folder / f"instances_{split}.json").write_text(json.dumps(_annotations(first)))
        (folder / "images" / split).mkdir(parents=True)
        for number in range(first, first + 4):
            Image.new("RGB", (12, 10), (number, 0, 0)).save(folder / "images" / split / f"{number:012}.png")
    return sorted(folder.glob("*.json"))


def _look(data: Any) -> None:
    """What a run asks of its data before and while it trains."""
    from longtail.data import inspect_boxes

    json.dumps(inspect_boxes(data), ensure_ascii=False, allow_nan=False).encode()
    for part in (data.train, data.val, data.test):
        part.truth()
        for row in range(len(part)):
            part[row]


@reader("COCO, boxes", _boxes)
def read_coco(folder: Path) -> Any:
    from longtail.data import load_boxes

    _look(load_boxes(f"coco:{folder}", val_fraction=0.3, broken="skip"))


@reader("COCO, masks", _boxes)
def read_coco_masks(folder: Path) -> Any:
    from longtail.data import load_boxes

    _look(load_boxes(f"coco:{folder}", val_fraction=0.3, masks=True, broken="skip"))


def _lvis(folder: Path) -> list[Path]:
    _boxes(folder)
    for split in ("train", "val"):
        content = json.loads((folder / f"instances_{split}.json").read_text())
        for image in content["images"]:
            image |= {"neg_category_ids": [3], "not_exhaustive_category_ids": [5], "coco_url": image.pop("file_name")}
        (folder / f"instances_{split}.json").write_text(json.dumps(content))
    return sorted(folder.glob("*.json"))


@reader("LVIS", _lvis)
def read_lvis(folder: Path) -> Any:
    from longtail.data import load_boxes

    _look(load_boxes(f"lvis:{folder}", val_fraction=0.3, masks=True, broken="refuse"))


def _labels(layout: str, endings: tuple[str, ...]) -> Callable[[Path], list[Path]]:
    def make(folder: Path) -> list[Path]:
        from data.label_tools import LAYOUTS, photos

        LAYOUTS[layout](folder, photos())
        return [path for path in sorted(folder.rglob("*")) if path.suffix in endings]

    return make


def _read_labels(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from longtail.data import load_boxes

        _look(load_boxes(f"{name}:{folder}", masks=name != "voc", broken="skip"))

    return read


for _name, _layout, _endings in (
    ("coco", "a JSON in each split", (".json",)),
    ("yolo", "yolo", (".yaml", ".txt")),
    ("voc", "voc", (".xml", ".txt")),
    ("labelme", "labelme", (".json",)),
):
    reader(f"{_name}, {_layout}", _labels(_layout, _endings), share=300)(_read_labels(_name))


def _results(folder: Path) -> list[Path]:
    found = [
        {"image_id": 1 + k % 4, "category_id": (3, 5)[k % 2], "bbox": [2, 2, 4, 4], "score": k / 8}
        | {"segmentation": {"size": [10, 12], "counts": "f04600000j1"}}
        for k in range(8)
    ]
    (folder / "truth.json").write_text(json.dumps(_annotations(1)))
    (folder / "results.json").write_text(json.dumps(found))
    return sorted(folder.iterdir())


@reader("results of a detector", _results, names=False)
def read_results(folder: Path) -> Any:
    from longtail.metrics.detection import detection_ap

    detection_ap(folder / "truth.json", folder / "results.json")


# -- weights and configurations ----------------------------------------------------------------------------------------
def _small() -> torch.nn.Module:
    from longtail.models import create_model

    torch.manual_seed(0)
    return create_model("lenet5-classic", num_classes=3, in_channels=1, image_size=16)


def _weights(folder: Path) -> list[Path]:
    from safetensors.torch import save_file

    state = {name: value.contiguous() for name, value in _small().state_dict().items()}
    save_file(state, folder / "w.safetensors")
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}, "epoch": 3}, folder / "w.pth")
    torch.save(state, folder / "old.pth", _use_new_zipfile_serialization=False)
    return sorted(folder.iterdir())


@reader("weights", _weights, share=300)
def read_weights(folder: Path) -> Any:
    from longtail.models import final_linear
    from longtail.models.weights import load_weights

    for path in sorted(folder.iterdir()):
        model = _small()
        load_weights(model, path, final_linear(model)[2])


def _config(folder: Path) -> list[Path]:
    from longtail.training.config import RunConfig
    from longtail.training.recipes import resolve

    config = RunConfig(data="digits", method_kwargs=("tau=1.5", "momentum=0.5"), milestones=(2, 3), epochs=5, lr=0.1)
    (folder / "plain.json").write_text(json.dumps({"data": "digits", "method": "ce", "epochs": 3}))
    (folder / "config.json").write_text(json.dumps({"longtail": "0.1", "config": resolve(config).to_dict()}))
    return sorted(folder.iterdir())


@reader("configurations", _config)
def read_configurations(folder: Path) -> Any:
    from longtail.training.configfile import read_config

    for path in sorted(folder.iterdir()):
        read_config(path)


# -- run folders -------------------------------------------------------------------------------------------------------
WORDS = (
    "train digits --method cdb-w --model lenet5-classic --image-size 16 --batch-size 256 --epochs 2 --lr 0.02 "
    "--schedule cosine --warmup-epochs 0 --weight-decay 5e-4 --device cpu"
)
_ENDINGS = (".json", ".csv", ".pt", ".safetensors")


def _run(folder: Path) -> list[Path]:
    from longtail.cli import main

    assert main([*WORDS.split(), "--out", str(folder / "run")]) == 0
    return [path for path in sorted((folder / "run").rglob("*")) if path.suffix in _ENDINGS]


def _begun(folder: Path) -> list[Path]:
    """A run that was killed after its last epoch, before the tables."""
    files = _run(folder)
    late = ("metrics.json", "model.safetensors", "model_best.safetensors", "per_class.csv", "confusion.csv")
    for name in late:
        (folder / "run" / name).unlink()
    return [path for path in files if path.name not in late]


@reader("a run that goes on", _begun, share=40, writes=True)
def continue_run(folder: Path) -> Any:
    from longtail.cli import _parse
    from longtail.training.config import RunConfig
    from longtail.training.run import train

    command = _parse([*WORDS.split(), "--out", str(folder / "run")])
    fields = {field.name: getattr(command, field.name) for field in dataclasses.fields(RunConfig)}
    return train(RunConfig(**fields), folder / "run")


@reader("a run folder that is continued", _begun, share=200, writes=True)
def read_run_folder(folder: Path) -> Any:
    from longtail.training.folder import RunFolder

    run = RunFolder(folder / "run")
    run.check(run.config())
    run.method()
    state = run.load_checkpoint()
    if state is not None:
        run.best_weights(state["best"]["epoch"])


@reader("a trained run", _run, share=200)
def read_trained(folder: Path) -> Any:
    from longtail.training.apply import load_run

    trained = load_run(folder / "run")
    side = trained.info["image_size"]
    return trained.model(torch.zeros(1, trained.info["channels"], side, side))


@reader("a trained run that predicts", _run, share=40, names=False)
def predict_with(folder: Path) -> Any:
    from PIL import Image

    from longtail.training.apply import evaluate, predict

    picture = folder / "picture.png"
    Image.new("L", (9, 9)).save(picture)
    list(predict(folder / "run", [picture]))
    return evaluate(folder / "run", split="val")


def _boxes_run(folder: Path) -> list[Path]:
    from longtail.cli import main

    _boxes(folder)
    words = (
        f"train coco:{folder} --task detect --method ce --model fasterrcnn_resnet10_fpn --image-size 32 --epochs 1 "
        f"--batch-size 4 --val-fraction 0.3 --device cpu --out {folder / 'run'}"
    )
    assert main(words.split()) == 0
    return [folder / "run" / name for name in ("config.json", "data.json", "metrics.json")]


@reader("a trained detector", _boxes_run, share=15)
def read_detector(folder: Path) -> Any:
    from longtail.training.apply import load_run
    from longtail.training.apply_boxes import find_objects

    list(find_objects(load_run(folder / "run"), sorted(map(str, (folder / "images" / "val").iterdir()))[:1]))


# -- the report and the tables of the paper ----------------------------------------------------------------------------
def _comparison(folder: Path) -> list[Path]:
    from report.fixtures import write_run

    for method in ("ce", "cdb-w"):
        for seed in (0, 1):
            write_run(folder / method / f"seed-{seed}", method=method, seed=seed, classes=3, epochs=3)
    return [path for path in sorted((folder / "cdb-w" / "seed-0").iterdir()) if path.suffix in _ENDINGS]


def _one_bad_of_four(folder: Path) -> tuple[Any, Any]:
    """One bad run folder never stops the report of the others."""
    from longtail.report.find import find_runs

    runs, broken = find_runs(folder)
    assert len(runs) + len(broken) == 4 or len(runs) == 3, (len(runs), broken)
    assert {run.relative for run in runs} >= {"ce/seed-0", "ce/seed-1", "cdb-w/seed-1"}
    return runs, broken


@reader("runs of a report", _comparison, share=300, refuses=False)
def read_runs(folder: Path) -> Any:
    from longtail.report.compared import compare, headline
    from longtail.report.tables import csv_text, difference_table, method_table, paired_rows, result_rows, summary_rows

    runs, _ = _one_bad_of_four(folder)
    for run in runs:
        _ = run.per_class, run.difficulty, run.examples, run.confusion([0]), run.pair_key, run.label_folder
        _ = run.data.order, run.data.imbalance
    comparisons = compare(runs, baseline=None)
    for rows in (result_rows, summary_rows, paired_rows):
        csv_text(rows(comparisons), (), ()).encode()
    for one in comparisons:
        headline(one)
        method_table(one, one.brief)
        difference_table(one, one.brief)


@reader("a whole report", _comparison, share=3, writes=True, refuses=False)
def write_whole_report(folder: Path) -> Any:
    from longtail.report import write_report

    return write_report(folder)


def _tables(folder: Path) -> list[Path]:
    cells = "table,column,row,n,mean,std,paper,hardware,seconds,command"
    cells += "\ntable1,cifar100-lt-200,ce,3,65.1,0.3,65.2,a CPU,12.5,longtail reproduce table1\n"
    runs = "table,column,row,seed,test,val,epoch,last_test,last_val,epochs,seconds,hardware,longtail,run"
    runs += "".join(f"\ntable1,cifar100-lt-200,ce,{seed},65.1,64,3,65,64,5,12.5,a CPU,0.1,runs/x" for seed in range(3))
    for place in ("source", "target"):
        (folder / place).mkdir()
        (folder / place / "paper.csv").write_text(cells)
        name = "runs.csv" if place == "source" else "paper-runs.csv"
        (folder / place / name).write_text(runs + "\n")
    return sorted(folder.glob("*/*.csv"))


@reader("tables of results", _tables, share=100, writes=True)
def merge_tables(folder: Path) -> Any:
    from longtail.paper.results import merge

    return merge(folder / "source", folder / "target")


@reader("runs of a table", _run, share=200)
def read_runs_of_a_table(folder: Path) -> Any:
    from longtail.paper.figure4 import _hard, groups
    from longtail.paper.results import _run_row

    _run_row(0, folder / "run", folder, "error")
    groups(folder / "run")
    return _hard(folder / "run")
