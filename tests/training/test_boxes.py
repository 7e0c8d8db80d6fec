"""`train` with boxes: a run folder with average precision, exact continuation, methods that do not fit."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from detection.pictures import write_pictures
from longtail import LongtailError
from longtail.cli import main
from longtail.methods import get_method
from longtail.metrics.detection import detection_ap
from longtail.models.detectors import create_detector
from longtail.report import write_report
from longtail.training.apply import evaluate, load_run
from longtail.training.config import RunConfig
from longtail.training.export import export
from longtail.training.progress import Progress
from longtail.training.run import train
from training.test_processes import train_here


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("coco"))


def config(pictures: Path, **options: Any) -> RunConfig:
    settings: dict[str, Any] = {
        "task": "detect",
        "method": "cdb-w",
        "model": "fasterrcnn_resnet10_fpn",
        "image_size": 32,
        "epochs": 2,
        "batch_size": 4,
        "lr": 0.01,
        "val_fraction": 0.25,
        "device": "cpu",
    }
    return RunConfig(data=f"coco:{pictures}", **settings | options)


class _Killed(Progress):
    """Ends the run after the checkpoint of an epoch."""

    def __init__(self, epoch: int = 1) -> None:
        self.last = epoch

    def epoch(self, row: dict[str, Any]) -> None:
        if row["epoch"] == self.last:
            raise KeyboardInterrupt


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return [{k: v for k, v in row.items() if "seconds" not in k} for row in csv.DictReader(file)]


def test_a_run_with_boxes_fills_its_folder_and_continues_exactly(pictures: Path, tmp_path: Path) -> None:
    metrics = train(config(pictures), tmp_path / "whole")
    assert {"AP", "AP50", "AP75", "APr", "APc", "APf", "per_class", "box_recall"} <= set(metrics["test"])
    assert 0 <= metrics["test"]["AP"] <= 1 and metrics["test"]["APf"] is None
    assert json.loads((tmp_path / "whole" / "metrics.json").read_text()) == metrics
    with Image.open(tmp_path / "whole" / "examples.png") as shown:
        assert shown.size == (2 * 320 + 8, 4 * 256 + 3 * 8)  # four images of 40 x 32, enlarged
    difficulty = rows(tmp_path / "whole" / "difficulty.csv")
    assert [(row["epoch"], row["class"]) for row in difficulty] == [("1", "0"), ("1", "1"), ("2", "0"), ("2", "1")]
    with pytest.raises(KeyboardInterrupt):
        train(config(pictures), tmp_path / "killed", progress=_Killed())
    assert train(config(pictures), tmp_path / "killed") == metrics
    for name in ("history.csv", "difficulty.csv", "per_class.csv", "confusion.csv"):
        assert rows(tmp_path / "killed" / name) == rows(tmp_path / "whole" / name)


def test_the_average_of_a_detector_is_judged_written_and_continued(pictures: Path, tmp_path: Path) -> None:
    own = {"ema": 0.9, "optimizer": "adamw", "patience": 2, "final": "last"}
    metrics = train(config(pictures, **own, lr=1e-3), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(config(pictures, **own, lr=1e-3), tmp_path / "killed", progress=_Killed())
    assert train(config(pictures, **own, lr=1e-3), tmp_path / "killed") == metrics
    one, other = (tmp_path / folder / "model.safetensors" for folder in ("whole", "killed"))
    assert one.read_bytes() == other.read_bytes()
    assert evaluate(tmp_path / "whole") == metrics["test"]


def test_layers_that_published_weights_freeze_stay_frozen(pictures: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    published = create_detector("fasterrcnn_resnet10_fpn", num_classes=90, image_size=32, frozen_norm=True)
    torch.save(published.state_dict(), tmp_path / "coco.pth")
    train(config(pictures, method="ce", epochs=1, weights=str(tmp_path / "coco.pth")), tmp_path / "run")
    before, after = published.state_dict(), load_run(tmp_path / "run").model.state_dict()
    body = {key: torch.equal(before[key], after[key]) for key in before if ".body." in key and "conv" in key}
    frozen = {key for key, same in body.items() if same}
    assert frozen == {key for key in body if "body.conv1" in key or "layer1" in key}


@pytest.mark.parametrize("task", ["segment", "detect"])
def test_a_mask_rcnn_is_judged_by_masks_too(pictures: Path, tmp_path: Path, task: str) -> None:
    options = {"task": task, "method": "ce", "model": "maskrcnn_resnet10_fpn", "epochs": 1}
    metrics = train(config(pictures, **options), tmp_path / "run")
    assert {"AP", "AP50", "APr"} <= set(metrics["test"]["mask"])


@pytest.fixture(scope="module")
def grouped(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose classifier has more outputs than classes, and scores of its own."""
    run = tmp_path_factory.mktemp("runs") / "bags"
    train(config(pictures, method="bags", method_kwargs=("bins=3",), epochs=1, lr=1e-4), run)
    return run


@pytest.fixture(scope="module")
def plain(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the narrow detector, for methods that start from one."""
    run = tmp_path_factory.mktemp("runs") / "ce"
    train(config(pictures, method="ce", epochs=1), run)
    return run


def test_a_run_is_judged_again(pictures: Path, grouped: Path) -> None:
    metrics = json.loads((grouped / "metrics.json").read_text())
    assert evaluate(grouped, device="cpu") == metrics["test"]
    assert evaluate(grouped, split="val", data=f"coco:{pictures}", device="cpu")["AP"] == metrics["val"]["AP"]
    with pytest.raises(LongtailError, match="export is for classifiers"):
        export(grouped)


def test_objects_are_found_printed_and_drawn(
    pictures: Path, grouped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(pictures / "images" / "val" / f"{n}.png") for n in range(1, 9)]
    assert main(["predict", str(grouped), *files, "--out", str(tmp_path / "found.json"), "--device", "cpu"]) == 0
    assert "8 pictures" in capsys.readouterr().out
    results = json.loads((tmp_path / "found.json").read_text())
    found = detection_ap(pictures / "instances_val.json", results, rules="coco")  # the files are called by their ids
    assert found["AP"] == pytest.approx(json.loads((grouped / "metrics.json").read_text())["test"]["AP"])
    assert sorted(p.name for p in (tmp_path / "found").iterdir()) == [f"{n}.png" for n in range(1, 9)]
    best = max(entry["score"] for entry in results)
    assert 0.001 < best < 1 and {entry["file_name"] for entry in results} == {f"{n}.png" for n in range(1, 9)}
    assert main(["predict", str(grouped), *files, "--threshold", str(best), "--device", "cpu"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    file, name, score, *box = line.split("\t")
    assert file in files and name in ("square", "bar") and float(score) == pytest.approx(best, abs=1e-4)
    assert len(box) == 4


def test_only_the_classifier_is_trained_from_a_given_detector(pictures: Path, grouped: Path, tmp_path: Path) -> None:
    weights = str(grouped / "model.safetensors")
    train(config(pictures, method="cls", method_kwargs=("method=cdb-w",), weights=weights, epochs=1), tmp_path / "run")
    before = load_run(grouped).model.state_dict()
    after = load_run(tmp_path / "run").model.state_dict()
    changed = {key for key in before if before[key].shape != after[key].shape or not before[key].equal(after[key])}
    assert changed <= {key for key in before if key.startswith("roi_heads.box_predictor.")}  # others have other classes


@pytest.mark.parametrize(
    ("method", "layers"), [("simcal", ("0.fc6", "0.fc7", "1")), ("mask-calib", ("0",))], ids=["simcal", "mask-calib"]
)
def test_a_second_classifier_is_trained_beside_the_first(
    pictures: Path, plain: Path, tmp_path: Path, method: str, layers: tuple[str, ...]
) -> None:
    weights = str(plain / "model.safetensors")
    metrics = train(config(pictures, method=method, weights=weights, epochs=1), tmp_path / "run")
    before, run = load_run(plain).model.state_dict(), load_run(tmp_path / "run").model
    after, where = run.state_dict(), "roi_heads.box_predictor."
    moved = {"roi_heads.box_head.": f"{where}box_head.", where: f"{where}predictor."}
    for key, value in before.items():
        start = next((start for start in moved if key.startswith(start)), "")
        assert torch.equal(after[moved.get(start, "") + key.removeprefix(start)], value), key
    second = {f"{where}calibrated.{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    assert second == {key for key in after if key.startswith(f"{where}calibrated.")}
    first = {key: key.replace("calibrated.0.fc", "box_head.fc") for key in second}
    first |= {key: f"{where}predictor.cls_score.{key.rpartition('.')[2]}" for key in second if "fc" not in key}
    assert all(not torch.equal(after[key], after[first[key]]) for key in second)
    assert evaluate(tmp_path / "run", device="cpu") == metrics["test"]


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("eql", ()),
        ("bags", ("bins=3",)),
        ("seesaw", ()),
        ("simcal", ()),
        ("mask-calib", ()),
        ("cls", ("method=bags:bins=3",)),
        ("cdb-w", ("defer=0.5",)),
    ],
    ids=lambda o: o if isinstance(o, str) else "",
)
def test_killed_after_the_last_checkpoint_it_is_judged_as_the_method_has_it(
    pictures: Path, plain: Path, tmp_path: Path, method: str, options: tuple[str, ...]
) -> None:
    """Nothing is trained any more when the run is continued: the scores of the boxes are still the criterion's."""
    weights = str(plain / "model.safetensors") if get_method(method).needs_weights else None
    epochs = 2 if method == "cdb-w" else 1
    settings = config(pictures, method=method, method_kwargs=options, weights=weights, epochs=epochs, lr=1e-3)
    metrics = train(settings, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(settings, tmp_path / "killed", progress=_Killed(epochs))
    assert (tmp_path / "killed" / "checkpoint" / "last.pt").is_file()
    assert not (tmp_path / "killed" / "metrics.json").exists()
    train(settings, tmp_path / "killed")
    for name in ("metrics.json", "per_class.csv", "confusion.csv", "model.safetensors", "examples.png"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert evaluate(tmp_path / "killed", device="cpu") == metrics["test"]


def test_the_report_tells_average_precision_by_image_counts_and_shows_examples(grouped: Path, tmp_path: Path) -> None:
    shutil.copytree(grouped, tmp_path / "bags" / "seed-0")
    page = write_report(tmp_path).html.read_text()
    assert "Classes by training samples: 2 rare (&lt;= 10)" in page and "AP rare" in page
    assert "Examples</h" in page
    assert (tmp_path / "figures" / "examples-bags.png").read_bytes() == (grouped / "examples.png").read_bytes()
    (tmp_path / "bags" / "seed-0" / "examples.png").write_bytes(b"no picture")
    report = write_report(tmp_path)
    assert [reason for _, reason in report.problems] == ["examples.png is no picture, or too large"]
    assert "Examples</h" not in report.html.read_text()


def test_two_processes_train_as_one_does(pictures: Path, run_two: Any, tmp_path: Path) -> None:
    options = dataclasses.asdict(config(pictures, epochs=2, batch_size=2, lr=1e-3))
    first, second = run_two(train_here, options, str(tmp_path / "two"))
    assert first == second and len(first) == 2  # the same weights of the model and of the classes on both
    one = train(RunConfig(**options), tmp_path / "one")
    two = json.loads((tmp_path / "two" / "metrics.json").read_text())
    assert two["test"]["AP"] == pytest.approx(one["test"]["AP"], abs=0.05)
    for a, b in zip(rows(tmp_path / "two" / "history.csv"), rows(tmp_path / "one" / "history.csv"), strict=True):
        assert float(a["train_loss"]) == pytest.approx(float(b["train_loss"]), rel=0.05)  # each draws its proposals
        assert (a["lr"], a["tau"]) == (b["lr"], b["tau"])


def _without(key: str, place: int) -> Any:
    def edit(content: dict[str, Any]) -> None:
        del content["annotations"][place][key]

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.update(categories=[]), "instances_train.json has no categories: give COCO or LVIS JSON"),
        (_without("category_id", 0), "annotation 1 of image 1: .*category"),
        (lambda c: c["annotations"][0].update(segmentation=[[1, 2, 5, 6]]), "annotation 1 of image 1: .*polygon"),
        (lambda c: c["images"][0].update(file_name="gone.png"), "1 of 8 images of .* are missing on disk, the first"),
        (lambda c: c["images"][0].update(file_name="torn.png"), "torn.png cannot be read as an image"),
    ],
    ids=["no categories", "no category", "two points", "missing image", "torn image"],
)
def test_bad_data_is_one_clear_line_of_the_command_and_leaves_nothing(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], edit: Any, message: str
) -> None:
    shutil.copytree(pictures, tmp_path / "data")
    (tmp_path / "data" / "images" / "train" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    file = tmp_path / "data" / "instances_train.json"
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))
    words = f"train coco:{tmp_path / 'data'} --task segment --method ce --epochs 1 --out {tmp_path / 'run'}".split()
    assert main([*words, "--device", "cpu"]) == 2
    captured = capsys.readouterr()
    assert re.fullmatch(f"error: [^\n]*{message}[^\n]*\n", captured.err), captured.err
    assert not (tmp_path / "run").exists()


def test_a_category_without_an_object_is_named_and_does_no_harm(pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(pictures, tmp_path / "data")
    for split in ("train", "val"):
        file = tmp_path / "data" / f"instances_{split}.json"
        content = json.loads(file.read_text())
        content["categories"].append({"id": 7, "name": "unicorn"})
        file.write_text(json.dumps(content))
    metrics = train(config(tmp_path / "data", epochs=1), tmp_path / "run")
    about = json.loads((tmp_path / "run" / "data.json").read_text())
    assert "1 categories without a training image: unicorn" in about["notes"]
    assert metrics["test"]["per_class"][2] is None and metrics["test"]["AP"] is not None


def test_inspect_counts_images_and_objects(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "counts.png"
    assert main(["inspect", f"coco:{pictures}", "--out", str(picture), "--verify"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(f"coco:{pictures}: 2 categories") and "rules of coco" in line for line in lines)
    assert any("8 images (0 show nothing), 12 objects" in line for line in lines)
    assert any(line.startswith("all 16 images decode") for line in lines)
    assert picture.stat().st_size > 5000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "oltr"}, "oltr is made for --task classify and video, not detect"),
        ({"method": "cls"}, "cls starts from a trained model: give its file with --weights"),
        ({"method_kwargs": ("base=balanced-softmax",)}, "balanced-softmax is made for --task classify"),
        ({"method_kwargs": ("measure=soft",)}, "use measure=recall, precision or f1"),
        ({"task": "segment"}, "fasterrcnn_resnet10_fpn finds no masks"),
        ({"data": "digits"}, "digits has no boxes for --task detect: known are coco:DIR, lvis:DIR, yolo"),
        ({"data": "shapes-lt", "task": "classify"}, "no data set of labelled images: use it with --task detect"),
        ({"model": "resnet32"}, "unknown detector 'resnet32'"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(
    pictures: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    data = options.pop("data", None)
    wrong = config(pictures, **options)
    if data:
        wrong = dataclasses.replace(wrong, data=data)
    with pytest.raises(LongtailError, match=message):
        train(wrong, tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


def _renamed(pictures: Path, place: Path, name: str) -> Path:
    """The same data, whose bars are called by another name."""
    shutil.copytree(pictures, place)
    for split in ("train", "val"):
        file = place / f"instances_{split}.json"
        content = json.loads(file.read_text())
        content["categories"][1]["name"] = name
        file.write_text(json.dumps(content))
    return place


def test_two_categories_of_one_name_stay_two(pictures: Path, grouped: Path, tmp_path: Path) -> None:
    data, run = _renamed(pictures, tmp_path / "data", "square"), tmp_path / "run"
    shutil.copytree(grouped, run)
    (run / "digests.json").unlink()  # older versions wrote none
    for name in ("config.json", "data.json"):  # the names are all that differs
        text = (run / name).read_text().replace(str(pictures), str(data)).replace('"bar"', '"square"')
        (run / name).write_text(text)
    metrics = json.loads((run / "metrics.json").read_text())
    assert json.loads((run / "data.json").read_text())["class_names"] == ["square", "square"]  # as older versions did
    assert evaluate(run, device="cpu") == metrics["test"]
    assert load_run(run).class_names == ["square (category 1)", "square (category 2)"]
    train(config(data, method="ce", epochs=1), tmp_path / "new")
    names = [row["name"] for row in rows(tmp_path / "new" / "per_class.csv") if row["split"] == "test"]
    assert names == load_run(run).class_names == json.loads((tmp_path / "new" / "data.json").read_text())["class_names"]
    with pytest.raises(LongtailError, match="'square' is the name of several classes"):
        evaluate(run, data=f"coco:{pictures}", device="cpu")


def test_inspect_counts_lists_alone_and_says_what_is_missing(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(pictures, tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "images")
    assert main(["inspect", f"lvis:{tmp_path / 'data'}", "--verify", "--out", str(tmp_path / "counts.png")]) == 2
    captured = capsys.readouterr()
    assert "8 images (0 show nothing), 12 objects, 12 with a mask" in captured.out
    assert re.fullmatch(r"error: 8 of 8 images of instances_train.json are missing on disk, [^\n]*\n", captured.err)
    assert (tmp_path / "counts.png").is_file()
