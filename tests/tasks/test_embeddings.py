"""Rows of embeddings: trained, continued, judged and labelled as images are; and what means nothing to them refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from longtail.cli import main
from longtail.config import RunConfig
from longtail.data.base import ImageData, Split
from longtail.data.vectors import read_vectors
from longtail.tasks.vectors import VectorTask
from longtail.training.apply import load_run
from longtail.training.recipes import resolve
from longtail.training.rows import ON_FEATURES, chosen_methods


def rows(path: Path, *, n: int = 150, width: int = 6, seed: int = 0, shift: float = 100.0) -> Path:
    """Three classes of unequal size, far from 0 and of unequal scale."""
    draw = np.random.default_rng(seed)
    y = np.minimum(np.arange(n) % 10 // 4, 2)
    centres = np.random.default_rng(7).normal(size=(3, width)) * 3
    x = ((centres[y] + draw.normal(size=(n, width))) * 10.0 ** (np.arange(width) % 6) + shift).astype(np.float32)
    np.savez(path, x=x, y=np.asarray(["oak", "ash", "yew"])[y])
    return path


@pytest.fixture(scope="module", params=["linear", "cosine", "mlp"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    data = rows(folder / "rows.npz")
    words = ["train", f"features:{data}", "--model", request.param, "--method", "cdb-w", "--epochs", "12", "--device"]
    assert main([*words, "cpu", "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_a_run_on_rows_is_judged_and_labels_as_it_was_trained(run: Path, tmp_path: Path, capsys) -> None:
    """The layer that standardises is in the saved model: raw rows are all that judging and prediction take."""
    before = json.loads((run / "metrics.json").read_text())["test"]
    assert before["top1"] > 0.8 and json.loads((run / "config.json").read_text())["config"]["task"] == "vectors"
    assert main(["evaluate", str(run), "--device", "cpu", "--out", str(tmp_path / "again.json")]) == 0
    again = json.loads((tmp_path / "again.json").read_text())["test"]
    assert again == before
    more = rows(tmp_path / "more.npz", seed=3)
    capsys.readouterr()
    assert main(["predict", str(run), str(more), "--top", "2", "--out", str(tmp_path / "labels.csv")]) == 0
    with open(tmp_path / "labels.csv", newline="") as file:
        told = [row for row in csv.DictReader(file) if row["rank"] == "1"]
    own = read_vectors(more)
    assert [row["file"] for row in told] == [f"{more}:{k}" for k in range(len(own.x))]
    right = [row["label"] == y for row, y in zip(told, own.y or (), strict=True)]
    assert main(["evaluate", str(run), "--data", f"features:{more}", "--out", str(tmp_path / "more.json")]) == 0
    assert json.loads((tmp_path / "more.json").read_text())["test"]["top1"] == pytest.approx(sum(right) / len(right))
    trained = load_run(run)
    with torch.inference_mode():
        assert trained.model(own.x).argmax(1).tolist() == [trained.class_names.index(row["label"]) for row in told]


@pytest.mark.parametrize("method", ["ce", "balanced-softmax", "crt", "tau-norm", "ncm", "cdb-s", "ldam-drw", "mw-net"])
def test_methods_that_act_on_the_last_layer_train_on_rows(method: str, tmp_path: Path) -> None:
    data = rows(tmp_path / "rows.npz")
    words = ["train", f"features:{data}", "--method", method, "--epochs", "4", "--device", "cpu"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]["recall"] > 0.5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--image-size", "64"], "--image-size means nothing to features:FILE"),
        (["--weights", "pretrained"], "--weights means nothing to features:FILE"),
        (["--tune", "head"], "--tune means nothing to features:FILE"),
        (["--model", "resnet10"], "--model resnet10 reads no rows of numbers: choose linear, cosine, mlp"),
        (["--bit-depth", "12"], "--bit-depth is for"),
        (["--group-by", "auto"], "give them in group, or none"),
    ],
)
def test_what_means_nothing_to_rows_is_refused(words: list[str], message: str, tmp_path: Path, capsys) -> None:
    data = rows(tmp_path / "rows.npz")
    assert main(["train", f"features:{data}", *words, "--out", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "run" / "metrics.json").exists()


def test_rows_of_another_width_or_without_a_file_are_one_clear_line(run: Path, tmp_path: Path, capsys) -> None:
    other = rows(tmp_path / "other.npz", width=4)
    for words in (["predict", str(run), str(other)], ["evaluate", str(run), "--data", f"features:{other}"]):
        assert main(words) == 2
        assert "4 numbers in a row, the run" in capsys.readouterr().err
    assert main(["predict", str(run), str(other), str(rows(tmp_path / "good.npz"))]) == 1
    out = capsys.readouterr()
    assert "left out: " in out.err and len(out.out.splitlines()) == 150
    assert main(["predict", str(run), str(tmp_path / "none.npz")]) == 2
    assert main(["export", str(run)]) == 2
    assert "export is for classifiers of images and clips" in capsys.readouterr().err


def test_inspection_of_rows_guesses_what_is_hard(tmp_path: Path, capsys) -> None:
    data = rows(tmp_path / "rows.npz")
    assert main(["inspect", f"features:{data}", "--verify", "--out", str(tmp_path / "look.png")]) == 0
    out = capsys.readouterr().out
    assert "3 classes" in out and "nearest class mean of the standardised rows" in out
    assert (tmp_path / "look.png").stat().st_size > 10_000


def test_a_comparison_of_rows_is_the_one_that_runs_on_features(
    tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a frozen network: a dozen methods, five seeds, held-out rows trained on at last, nothing found twice."""
    data = rows(tmp_path / "rows.npz")
    config = RunConfig(data=f"features:{data}")
    assert chosen_methods(config, ("auto",), None) == (ON_FEATURES, 5)
    assert chosen_methods(config, ("ce",), None)[1] == 5
    assert (resolve(config).final, resolve(config).refit, resolve(config).lr) == ("last", True, None)
    mlp = resolve(RunConfig(data=f"features:{data}", model="mlp"))
    assert (mlp.final, mlp.refit, mlp.lr) == ("best", False, 0.05)
    words = ["compare", f"features:{data}", "--epochs", "2", "--seeds", "1", "--device", "cpu"]
    assert main([*words, "--out", str(tmp_path / "first")]) == 0
    out = capsys.readouterr().out
    assert "12 methods with 1 seeds each" in out and "--tune all" not in out
    metrics = {f.parts[-3]: json.loads(f.read_text()) for f in (tmp_path / "first").rglob("metrics.json")}
    assert len(metrics) == 12 and {m for m in metrics if "refit" not in metrics[m]} == {"tau-norm"}  # measures on them
    monkeypatch.setattr("longtail.tasks.vectors.cross_validate", None)  # no weight decay is looked for again
    assert main([*words, "--methods", "ce", "balanced-softmax", "--out", str(tmp_path / "second")]) == 0


def test_wide_rows_are_projected_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = rows(tmp_path / "rows.npz", width=1100)
    words = ["train", f"features:{data}", "--method", "ce", "--epochs", "2", "--device", "cpu", "--out"]
    assert main([*words, str(tmp_path / "first")]) == 0
    monkeypatch.setattr("longtail.tasks.embeddings.projection_of", None)
    assert main([*words, str(tmp_path / "second")]) == 0
    with open(data, "rb+") as file:
        content = dict(np.load(file))
    np.savez(data, **content | {"y": np.roll(content["y"], 1)})
    with pytest.raises(TypeError):
        main([*words, str(tmp_path / "third"), "--debug"])


def test_rows_of_few_groups_train_although_they_make_no_folds(tmp_path: Path) -> None:
    content = dict(np.load(rows(tmp_path / "rows.npz", n=40)))
    group = np.asarray([f"{y}{k % 2}" for k, y in enumerate(content["y"])])
    np.savez(tmp_path / "rows.npz", **content, group=group, split=np.repeat(["train", "test"], 20))
    words = ["train", f"features:{tmp_path / 'rows.npz'}", "--method", "ce", "--epochs", "2", "--device", "cpu"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0


def test_a_cosine_classifier_begins_with_the_class_means_and_begins_anew_with_them() -> None:
    torch.manual_seed(0)
    y = torch.arange(60) % 3
    x = torch.nn.functional.one_hot(y, 5).float() + 0.1 * torch.randn(60, 5)
    split = Split(x, y)
    data = ImageData(name="x", class_names=list("abcd"), train=split, val=None, test=split)  # d has no sample
    options = {"model": "cosine", "image_size": 1, "device": torch.device("cpu")}
    task = VectorTask(data, {"train": x[None], "test": x}, kind="cosine", **options)  # type: ignore[arg-type]
    _, head = task.build()
    means = torch.stack([x[y == c].mean(0) for c in range(3)])
    for _ in range(2):
        torch.testing.assert_close(head.weight[:3], torch.nn.functional.normalize(means))
        assert float(head.weight[3].detach().norm()) == pytest.approx(1)
        torch.nn.init.zeros_(head.weight)
        head.reset_parameters()  # as the second stage of crt does


def test_a_cosine_classifier_has_no_lengths_to_change(tmp_path: Path, capsys) -> None:
    data = rows(tmp_path / "rows.npz")
    words = ["train", f"features:{data}", "--model", "cosine", "--method", "tau-norm", "--device", "cpu"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    assert (
        "a cosine classifier has none: use a linear one" in capsys.readouterr().err and not (tmp_path / "run").exists()
    )
    auto, _ = chosen_methods(RunConfig(data=f"features:{data}", model="cosine"), ("auto",), None)
    assert [name for name in ON_FEATURES if name not in auto] == ["tau-norm"]
