"""Every mistake is one clear line on standard error and exit code 2, without a traceback and with nothing half-written.

One table: a command line, what has to be there for it, and a part of the line that it must give.
"""

from __future__ import annotations

import gzip
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from longtail.cli import main
from training.folders import snapshot

QUICK = "--model lenet5-classic --image-size 16 --epochs 1 --device cpu"


# -- what has to be there ----------------------------------------------------------------------------------------------
def picture(path: Path, side: int = 20, shade: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), (shade, 50, 200)).save(path)


def photos(place: Path) -> None:
    """A folder of photographs in which all is well."""
    for name in ("cat", "dog"):
        for i in range(6):
            picture(place / "photos" / name / f"{i}.png", shade=30 * i)


def class_without_images(place: Path) -> None:
    photos(place)
    (place / "photos" / "eel").mkdir()


def only_texts(place: Path) -> None:
    (place / "photos" / "cat").mkdir(parents=True)
    (place / "photos" / "cat" / "notes.txt").write_text("meow")


def one_class(place: Path) -> None:
    for i in range(6):
        picture(place / "photos" / "cat" / f"{i}.png")


def empty_folder(place: Path) -> None:
    (place / "photos").mkdir()


def damaged(content: Callable[[bytes], bytes], name: str = "3.png") -> Callable[[Path], None]:
    def make(place: Path) -> None:
        photos(place)
        file = place / "photos" / "dog" / "3.png"
        content_now = content(file.read_bytes())
        file.unlink()
        (file.parent / name).write_bytes(content_now)

    return make


def unknown_val_class(place: Path) -> None:
    for split, names in {"train": ("cat", "dog"), "val": ("cat", "emu")}.items():
        for name in names:
            for i in range(3):
                picture(place / "photos" / split / name / f"{i}.png")


def no_train_part(place: Path) -> None:
    for name in ("cat", "dog"):
        picture(place / "photos" / "test" / name / "0.png")


def lists(*lines: str) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        for i in range(6):
            picture(place / "lists" / "images" / f"{i}.png")
        (place / "lists" / "train.txt").write_text("\n".join(lines))

    return make


GOOD_LINES = [f"images/{i}.png {i % 2}" for i in range(6)]


class Malicious:
    def __reduce__(self):
        return (os.system, ("touch escaped",))


def malicious_cifar(place: Path) -> None:
    (place / "cifar-100-python").mkdir()
    for name in ("train", "test", "meta"):
        (place / "cifar-100-python" / name).write_bytes(pickle.dumps(Malicious()))


def damaged_mnist(place: Path) -> None:
    (place / "mnist").mkdir()
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (place / "mnist" / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\x03\0\0\xff\xff"))


def mnist(place: Path) -> None:
    (place / "mnist").mkdir()
    for part, count in (("train", 7000), ("t10k", 2000)):
        labels = np.arange(count) % 10
        images = np.zeros((count, 28, 28), np.uint8)
        for kind, values in (("images-idx3", images), ("labels-idx1", labels.astype(np.uint8))):
            head = bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
            (place / "mnist" / f"{part}-{kind}-ubyte").write_bytes(head + values.tobytes())


def weights_of_another_model(place: Path) -> None:
    save_file({"layer.weight": torch.zeros(2, 2)}, place / "weights.safetensors")


def weights_that_run_code(place: Path) -> None:
    (place / "weights.pt").write_bytes(pickle.dumps(Malicious()))


def text_file(name: str, text: str) -> Callable[[Path], None]:
    return lambda place: (place / name).write_text(text) and None


def configuration(**values: object) -> Callable[[Path], None]:
    return text_file("config.json", json.dumps({"config": values}))


def unfinished_run(place: Path) -> None:
    (place / "run").mkdir()
    (place / "run" / "config.json").write_text(json.dumps({"config": {"data": "digits"}}))


def finished(change: Callable[[Path], object] | None = None) -> Callable[[Path], None]:
    """A finished run, and something wrong with it or beside it."""

    def make(place: Path) -> None:
        assert main(f"train digits --method ce {QUICK} --out run".split()) == 0
        if change:
            change(place)

    return make


def comparison(place: Path) -> None:
    (place / "out" / "ce" / "seed-0").mkdir(parents=True)
    (place / "out" / "ce" / "seed-0" / "config.json").write_text("{}")
    picture(place / "a.png")


def finished_cao(place: Path) -> None:
    mnist(place)
    words = f"train mnist:mnist --protocol cao --imbalance 100 --method ce {QUICK} --batch-size 512 --out run"
    assert main(words.split()) == 0


# -- the table: a name, what has to be there, the command line, a part of the message ----------------------------------
TRAIN = f"train digits {QUICK} --out out"
FOLDER = f"train folder:photos {QUICK} --out out"
LISTS = f"train lists:lists {QUICK} --out out"
COMPARE = f"compare digits {QUICK} --seeds 1 --out out"
NOTHING = None

TABLE = [
    # words that are none of ours
    ("unknown command", NOTHING, "trian digits", "did you mean train?"),
    ("unknown first option", NOTHING, "--verbose", "unknown option '--verbose'"),
    ("unknown option", NOTHING, f"{TRAIN} --epohcs 3", "unknown option --epohcs: did you mean --epochs?"),
    ("unexpected word", NOTHING, f"{TRAIN} --no-resume digits", "unexpected word 'digits'"),
    (
        "an option of compare",
        NOTHING,
        f"{TRAIN} --seeds 3",
        "did you mean --seed? longtail compare and",
    ),
    ("an option of predict", NOTHING, f"{TRAIN} --top 3", "unknown option --top: longtail predict has --top"),
    ("another tool's name", NOTHING, f"{TRAIN} --learning-rate 1", "did you mean --lr?"),
    ("a short option", NOTHING, f"{TRAIN} -j 2", "did you mean --workers?"),
    ("one dash", NOTHING, f"{TRAIN} -lr 2", "unknown option -lr: did you mean --lr?"),
    ("another spelling", NOTHING, f"{TRAIN} --img-size 2", "unknown option --img-size: did you mean --image-size?"),
    ("a shell that is unknown", NOTHING, "--completion ksh", "--completion takes one shell: bash, zsh, fish"),
    ("capitals", NOTHING, f"{TRAIN} --Epochs 3", "did you mean --epochs?"),
    ("data as an option", NOTHING, "train --data digits", "the data set stands alone, longtail train NAME[:PATH]"),
    ("a space in the data set", NOTHING, "train folder: photos", "no space after folder:"),
    (
        "two methods at once",
        NOTHING,
        "train digits --method ce,cdb-w",
        "names 2 methods: give one, or use",
    ),
    ("a method nearly spelled", NOTHING, "train digits --method cdbw", "did you mean cdb-w?"),
    ("option without its value", NOTHING, f"{TRAIN} --method", "--method is missing its value"),
    ("no data set", NOTHING, "train --epochs 1", "DATA is missing"),
    ("no run", NOTHING, "evaluate", "RUN is missing"),
    # values
    ("text for a number", NOTHING, f"{TRAIN} --lr fast", "--lr: 'fast' is no number"),
    ("half an epoch", NOTHING, f"{TRAIN} --epochs 2.5", "--epochs: '2.5' is no whole number"),
    ("unknown choice", NOTHING, f"{TRAIN} --schedule linear", "--schedule: 'linear' is unknown"),
    ("no epochs", NOTHING, f"{TRAIN} --epochs 0", "--epochs is 0"),
    ("negative epochs", NOTHING, f"{TRAIN} --epochs -3", "--epochs is -3"),
    ("batch of nothing", NOTHING, f"{TRAIN} --batch-size 0", "--batch-size is 0"),
    ("no learning", NOTHING, f"{TRAIN} --lr 0", "--lr is 0"),
    ("lr nan", NOTHING, f"{TRAIN} --lr nan", "--lr is nan: it must be a finite number"),
    ("lr infinite", NOTHING, f"{TRAIN} --lr inf", "--lr is inf: it must be a finite number"),
    ("lr too large", NOTHING, f"{TRAIN} --lr 1e39", "--lr is 1e+39: it must be a finite number"),
    ("negative momentum", NOTHING, f"{TRAIN} --momentum -0.1", "--momentum is -0.1"),
    ("momentum 1", NOTHING, f"{TRAIN} --momentum 1", "--momentum is 1"),
    ("negative weight decay", NOTHING, f"{TRAIN} --weight-decay -1e-4", "--weight-decay is -0.0001"),
    ("gamma 0", NOTHING, f"{TRAIN} --gamma 0", "--gamma is 0"),
    ("negative seed", NOTHING, f"{TRAIN} --seed -1", "--seed is -1"),
    ("huge seed", NOTHING, f"{TRAIN} --seed 99999999999", "--seed is 99999999999"),
    ("imbalance below 1", NOTHING, f"{TRAIN} --imbalance 0.5", "--imbalance is 0.5"),
    ("imbalance nan", NOTHING, f"{TRAIN} --imbalance nan", "--imbalance is nan"),
    ("val fraction 1", NOTHING, f"{TRAIN} --val-fraction 1", "--val-fraction is 1.0"),
    ("select fraction", NOTHING, f"{TRAIN} --select-fraction 0.7", "--select-fraction is 0.7"),
    ("warm-up without end", NOTHING, f"{TRAIN} --warmup-epochs 5", "--warmup-epochs is 5: it must be below --epochs"),
    ("late milestone", NOTHING, f"{TRAIN} --schedule multistep --milestones 160", "--milestones has 160"),
    ("milestone 0", NOTHING, f"{TRAIN} --schedule multistep --milestones 0", "--milestones"),
    ("unknown tracker", NOTHING, f"{TRAIN} --trackers comet", "--trackers: 'comet' is unknown"),
    (
        "missing tracker",
        NOTHING,
        f"{TRAIN} --trackers mlflow",
        "--trackers mlflow: the package is missing: pip",
    ),
    ("task of other data", NOTHING, f"{TRAIN} --task detect", "digits has no boxes for --task detect"),
    ("image too small", NOTHING, f"{TRAIN} --image-size 8", "--image-size"),
    ("image of nothing", NOTHING, f"{TRAIN} --image-size 0", "--image-size is 0"),
    ("unknown model", NOTHING, f"{TRAIN} --model resnet33", "unknown model 'resnet33': did you mean"),
    # methods
    ("unknown method", NOTHING, f"{TRAIN} --method cdbw2", "unknown method 'cdbw2': did you mean cdb-w? known are"),
    ("unknown hyperparameter", NOTHING, f"{TRAIN} --method cdb-w --method-kwargs tua=1", "hyperparameter 'tua'"),
    ("hyperparameter of none", NOTHING, f"{TRAIN} --method ce --method-kwargs tau=1", "it has none"),
    ("no key=value", NOTHING, f"{TRAIN} --method cdb-w --method-kwargs 1.5", "not of the form key=value"),
    ("key without value", NOTHING, f"{TRAIN} --method cdb-w --method-kwargs tau=", "not of the form key=value"),
    ("a list in two pieces", NOTHING, f"{TRAIN} --method-kwargs tau=1 --method-kwargs eps=1", "is given twice"),
    ("key twice", NOTHING, f"{TRAIN} --method cdb-w --method-kwargs tau=1 tau=2", "given twice"),
    ("unknown rule", NOTHING, f"{TRAIN} --method cdb-w --method-kwargs tau=quick", "tau rule 'quick'"),
    ("value out of range", NOTHING, f"{TRAIN} --method cdb-w --method-kwargs momentum=1", "momentum is 1"),
    ("unknown preset", NOTHING, f"{TRAIN} --method cdb-w --method-kwargs preset=best", "unknown preset 'best'"),
    ("no held-out split", mnist, f"train mnist:mnist --protocol cao --method cdb-w {QUICK} --out out", "held-out"),
    # data sets
    ("unknown data set", NOTHING, f"train cifar {QUICK} --out out", "unknown data set 'cifar'"),
    ("folder without its name", photos, f"train photos {QUICK} --out out", "folder:photos"),
    ("digits take no path", NOTHING, f"train digits:here {QUICK} --out out", "digits"),
    ("folder missing", NOTHING, FOLDER, "photos is not a folder"),
    ("no path", NOTHING, f"train folder {QUICK} --out out", "folder:DIR"),
    ("empty folder", empty_folder, FOLDER, "no class folders"),
    ("class without an image", class_without_images, FOLDER, "a class with no image in photos: eel"),
    ("no image at all", only_texts, FOLDER, "no image"),
    ("a single class", one_class, FOLDER, "one class only, cat"),
    ("val class unknown in train", unknown_val_class, FOLDER, "emu"),
    ("no train part", no_train_part, FOLDER, "no train folder"),
    ("truncated image", damaged(lambda b: b[: len(b) // 2]), FOLDER, os.path.join("photos", "dog", "3.png")),
    ("empty image", damaged(lambda b: b""), FOLDER, os.path.join("photos", "dog", "3.png")),
    ("text as jpg", damaged(lambda b: b"hello", "3.jpg"), FOLDER, os.path.join("photos", "dog", "3.jpg")),
    ("malformed line", lists(*GOOD_LINES, "images/0.png"), LISTS, "train.txt line 7"),
    ("label of text", lists(*GOOD_LINES, "images/0.png cat"), LISTS, "train.txt line 7"),
    ("negative label", lists(*GOOD_LINES, "images/0.png -1"), LISTS, "train.txt line 7"),
    ("label far out of range", lists(*GOOD_LINES, "images/new.png 70"), LISTS, "lists"),
    ("listed image missing", lists(*GOOD_LINES, "images/9.png 1"), LISTS, "images/9.png"),
    ("list missing", photos, f"train lists:photos {QUICK} --out out", "train.txt"),
    ("no cifar100", NOTHING, f"train cifar100:here {QUICK} --out out", "cifar100 was not found"),
    ("malicious pickle", malicious_cifar, f"train cifar100:. {QUICK} --out out", "train"),
    ("damaged idx file", damaged_mnist, f"train mnist:mnist {QUICK} --out out", "train-images-idx3-ubyte.gz"),
    # weights to start from
    ("weights missing", NOTHING, f"{TRAIN} --weights none.pt", "none.pt do not exist"),
    ("weights of another model", weights_of_another_model, f"{TRAIN} --weights weights.safetensors", "architecture"),
    ("no weights file", text_file("w.safetensors", "x"), f"{TRAIN} --weights w.safetensors", "w.safetensors"),
    ("weights that run code", weights_that_run_code, f"{TRAIN} --weights weights.pt", "could run code"),
    # configuration files
    ("configuration missing", NOTHING, "train --config none.json --out out", "none.json does not exist"),
    ("configuration not JSON", text_file("c.json", "{'a': 1}"), "train --config c.json --out out", "not valid JSON"),
    ("configuration a list", text_file("c.json", "[1]"), "train --config c.json --out out", "no run configuration"),
    ("configuration key", configuration(data="digits", epoch=3), "train --config config.json --out out", "'epoch'"),
    ("configuration type", configuration(epochs="3"), "train --config config.json --out out", "--epochs"),
    ("configuration choice", configuration(precision="fp8"), "train --config config.json --out out", "fp32, bf16"),
    # the out folder
    ("out is a file", text_file("out", "x"), TRAIN, "out is a file"),
    ("out holds other things", lambda p: picture(p / "out" / "a.png"), TRAIN, "out is not empty (a.png)"),
    ("another run", finished(), f"train digits --method ce {QUICK} --lr 0.5 --out run", "another configuration (lr:"),
    # comparisons
    ("comparison of unknown", NOTHING, f"{COMPARE} --methods ce cdb-q", "unknown method 'cdb-q'"),
    ("comparison of nothing", NOTHING, f"{COMPARE} --methods", "--methods"),
    ("a method twice", NOTHING, f"{COMPARE} --methods ce ce", "'ce' twice"),
    ("a method's hyperparameter", NOTHING, f"{COMPARE} --methods ce cdb-w:tua=1", "'tua'"),
    ("hyperparameter of nobody", NOTHING, f"{COMPARE} --methods ce cdb-w --method-kwargs tua=1", "tua=1: none of ce"),
    ("no seeds", NOTHING, f"{COMPARE} --seeds 0", "--seeds is 0"),
    ("no jobs", NOTHING, f"{COMPARE} --jobs 0", "--jobs is 0"),
    ("comparison of missing data", NOTHING, f"compare folder:none {QUICK} --out out", "none is not a folder"),
    (
        "parallel runs of it",
        NOTHING,
        f"compare folder:none {QUICK} --methods ce cb --seeds 1 --jobs 2 --out out",
        "none is not a folder",
    ),
    ("unknown baseline", finished(), "report run --baseline focal", "focal"),
    # finished runs
    ("no such run", NOTHING, "evaluate nowhere", "nowhere is no run folder"),
    ("a comparison, not a run", comparison, "predict out a.png", os.path.join("out", "ce", "seed-0")),
    ("run is not finished", unfinished_run, "evaluate run", "not finished: continue it with"),
    ("predict with it", unfinished_run, "predict run run/config.json", "not finished"),
    ("unknown split", NOTHING, "evaluate run --split dev", "--split: 'dev' is unknown"),
    ("split that is not there", finished(), "evaluate run --split select", "no 'select' split"),
    ("val of cao", finished_cao, "evaluate run --split val", "no 'val' split"),
    ("data with other classes", finished(photos), "evaluate run --data folder:photos", "does not know: cat (2 in all)"),
    ("nothing to predict", finished(), "predict run", "no image file is given"),
    ("file to predict missing", finished(), "predict run none.png", "none.png does not exist"),
    ("file to predict damaged", finished(text_file("a.png", "x")), "predict run a.png", "a.png cannot be read"),
    ("folder without images", finished(empty_folder), "predict run photos", "photos holds no image"),
    ("top 0", finished(lambda p: picture(p / "a.png")), "predict run a.png --top 0", "--top is 0"),
    ("top 99", finished(lambda p: picture(p / "a.png")), "predict run a.png --top 99", "--top is 99"),
    ("lost weights", finished(lambda p: (p / "run" / "model_best.safetensors").unlink()), "evaluate run", "model_best"),
    ("damaged weights", finished(text_file("run/model_best.safetensors", "x")), "export run", "is not what it was"),
    ("unknown format", finished(), "export run --format tflite", "unknown format 'tflite'"),
    ("export to nowhere", finished(), "export run --out none/model.onnx", "none does not exist"),
    ("report on nothing", empty_folder, "report photos", "photos"),
    ("report on nowhere", NOTHING, "report nowhere", "nowhere"),
    ("card of unknown", NOTHING, "methods cbd-w", "unknown method 'cbd-w'"),
    ("citation of unknown", NOTHING, "cite smote", "unknown method 'smote'"),
    ("citation of nothing", NOTHING, "cite", "name at least one method"),
    ("table of no paper", NOTHING, "reproduce table9 --out out", "table9"),
    ("inspect unknown", NOTHING, "inspect digitz", "did you mean digits?"),
    ("inspect damaged", damaged(lambda b: b[:50]), "inspect folder:photos --verify", os.path.join("dog", "3.png")),
]


@pytest.mark.parametrize(("prepare", "line", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_bad_input(prepare, line, expected, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    if prepare:
        prepare(tmp_path)
    before, names = snapshot(tmp_path), set(tmp_path.rglob("*"))
    capfd.readouterr()
    assert main(line.split()) == 2
    told = capfd.readouterr().err
    assert told.startswith("error: ") and told.endswith("\n") and told.count("\n") == 1, told
    assert expected in told
    assert snapshot(tmp_path) == before
    assert set(tmp_path.rglob("*")) == names


def test_the_table_is_long_and_has_no_row_twice():
    assert len(TABLE) >= 100
    assert len({row[0] for row in TABLE}) == len(TABLE)
    assert len({(row[1], row[2]) for row in TABLE}) == len(TABLE)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(tmp_path, capsys):
    assert main([*TRAIN.split(), "--device", "cuda", "--out", str(tmp_path / "run")]) == 2
    assert "--device cuda: no CUDA device is available" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "line",
    ["train nonsense", "predict nowhere file.png", "train folder:none --debug"],
)
def test_a_process_of_its_own(line, tmp_path):
    """The same from outside, where only ``--debug`` shows where an error came from."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "longtail", *line.split()]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    if "--debug" in line:
        assert done.returncode == 1 and "Traceback" in done.stderr and "LongtailError" in done.stderr
    else:
        assert done.returncode == 2
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert done.stdout in ("", "loading PyTorch\n")
    assert list(tmp_path.iterdir()) == []
