"""``--tune head``: the network stays as it was, features are computed once, and the whole model agrees with the run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from commands import Command
from longtail.cli import main
from longtail.config import RunConfig
from longtail.features.frozen import frozen_network
from longtail.features.store import FeatureStore
from longtail.training.apply import evaluate, load_run
from longtail.training.recipes import resolve
from longtail.training.rows import ON_FEATURES, chosen_methods
from longtail.training.run import train

NETWORK = "resnet18"
QUICK = {"model": NETWORK, "weights": "none", "tune": "head", "image_size": 32, "epochs": 3, "device": "cpu"}
WORDS = [word for name, value in QUICK.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def photographs(folder: Path, *, counts: tuple[int, ...] = (12, 8, 5), splits: tuple[str, ...] = ("",)) -> Path:
    """Classes that differ by their colour."""
    draw = torch.Generator().manual_seed(0)
    for split in splits:
        for label, count in enumerate(counts):
            place = folder / split / f"class{label}"
            place.mkdir(parents=True)
            for i in range(count):
                pixels = torch.randint(90, (24, 20, 3), generator=draw, dtype=torch.uint8)
                pixels[..., label] += 120
                Image.fromarray(pixels.numpy()).save(place / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photographs(tmp_path_factory.mktemp("pictures") / "photos")


def config(photos: Path, method: str = "ce", **options: object) -> RunConfig:
    return RunConfig(data=f"folder:{photos}", method=method, **(QUICK | options))  # type: ignore[arg-type]


def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows that stores compute from now on, one number for each call."""
    numbers, rows = list[int](), FeatureStore.rows

    def counted(store: FeatureStore, digests: list[bytes], compute: object) -> torch.Tensor:
        before = store.computed
        found = rows(store, digests, compute)  # type: ignore[arg-type]
        numbers.append(store.computed - before)
        return found

    monkeypatch.setattr(FeatureStore, "rows", counted)
    return numbers


def test_training_leaves_the_network_as_it_was(photos: Path, tmp_path: Path) -> None:
    train(config(photos, "crt"), tmp_path / "run")
    state = load_file(tmp_path / "run" / "frozen.safetensors")
    network = frozen_network(NETWORK, None, 32, "cpu").extract.state_dict()
    own = {name.removeprefix("extract."): value for name, value in state.items() if name.startswith("extract.")}
    assert own.keys() == network.keys()
    assert all(torch.equal(own[name], network[name]) for name in own)
    assert {name.split(".")[0] for name in state} == {"extract", "project"}
    assert set(load_file(tmp_path / "run" / "model.safetensors")) == {"head.weight", "head.bias"}


@pytest.mark.parametrize("method", ["ce", "ncm", "logit-adjust", "ldam-drw", "oltr"])
def test_the_whole_model_judges_images_as_the_run_judged_features(photos: Path, tmp_path: Path, method: str) -> None:
    kwargs = ("post_hoc=True",) if method == "logit-adjust" else ()
    metrics = train(config(photos, method, method_kwargs=kwargs), tmp_path / "run")
    again = evaluate(tmp_path / "run", device="cpu")
    assert again["per_class"] == metrics["test"]["per_class"]


def test_features_are_computed_once_for_all_methods_seeds_and_comparisons(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = computed(monkeypatch)
    words = ["compare", f"folder:{photos}", *WORDS, "--methods", "ce", "cb", "--seeds", "2"]
    assert main([*words, "--out", str(tmp_path / "first")]) == 0
    assert sum(numbers) == 25
    numbers.clear()
    assert main([*words, "--out", str(tmp_path / "second")]) == 0
    assert sum(numbers) == 0
    train(config(photos, image_size=40, group_by="none"), tmp_path / "larger")
    assert sum(numbers) == 25


def test_a_changed_picture_is_computed_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = photographs(tmp_path / "photos")
    train(config(photos), tmp_path / "run")
    Image.new("RGB", (24, 24), (250, 10, 10)).save(photos / "class0" / "3.png")
    numbers = computed(monkeypatch)
    train(config(photos), tmp_path / "other")
    assert sum(numbers) == 1


def test_held_out_pictures_are_trained_on_at_last_unless_they_are_measured_on(photos: Path, tmp_path: Path) -> None:
    plain, held_out = (train(config(photos, m, seed=1), tmp_path / m) for m in ("ce", "cdb-w"))
    assert plain["refit"] and "refit" not in held_out
    without = train(config(photos, "ce", seed=1, refit=False), tmp_path / "without")
    assert without["val"] == plain["val"]
    first, second = (load_file(tmp_path / m / "model.safetensors")["head.weight"] for m in ("ce", "without"))
    assert not torch.equal(first, second)


def test_a_val_split_of_the_data_is_never_trained_on(tmp_path: Path) -> None:
    photos = photographs(tmp_path / "photos", counts=(6, 5), splits=("train", "val", "test"))
    assert "refit" not in train(config(photos), tmp_path / "run")


@pytest.mark.parametrize("moment", [4, 9, 15, 22])
def test_a_run_that_was_killed_ends_as_one_that_was_not(photos: Path, tmp_path: Path, moment: int) -> None:
    words = ["train", f"folder:{photos}", "--method", "cdb-w", "--method-kwargs", "preset=cross-fit", *WORDS, "--out"]
    whole, broken = tmp_path / "a" / "run", tmp_path / "b" / "run"
    Command([*words, whole]).wait()
    Command([*words, broken], die_at=moment).wait()
    assert not (broken / "metrics.json").is_file()
    Command([*words, broken]).wait()
    for name in ("model.safetensors", "frozen.safetensors", "difficulty.csv", "per_class.csv"):
        one, other = (hashlib.sha256((folder / name).read_bytes()).hexdigest() for folder in (whole, broken))
        assert one == other, name


def test_what_was_chosen_is_told_in_the_folder(photos: Path, tmp_path: Path) -> None:
    train(config(photos), tmp_path / "run")
    info = json.loads((tmp_path / "run" / "data.json").read_text())
    scores = info["features_cross_validated"]
    assert info["features"] == max(scores, key=scores.get) and set(scores) == {"last", "levels"}
    assert load_run(tmp_path / "run").model.project.in_features == info["feature_width"]


def test_views_are_drawn_from_the_picture_and_change_the_training_alone(photos: Path, tmp_path: Path) -> None:
    train(config(photos, views=2), tmp_path / "views")
    train(config(photos, views=2), tmp_path / "again")
    train(config(photos), tmp_path / "none")
    views, again, none = (load_file(tmp_path / m / "model.safetensors") for m in ("views", "again", "none"))
    assert torch.equal(views["head.weight"], again["head.weight"])
    assert not torch.equal(views["head.weight"], none["head.weight"])


def test_photographs_start_from_a_frozen_network_and_the_paper_s_data_do_not() -> None:
    photos, digits = resolve(RunConfig(data="folder:photos")), resolve(RunConfig(data="digits"))
    assert (photos.model, photos.weights, photos.tune) == ("timm/tf_efficientnet_lite0", "pretrained", "head")
    assert (photos.image_size, photos.final) == (224, "last")
    assert (digits.weights, digits.tune, digits.final, digits.features) == (None, "all", "best", None)
    assert resolve(RunConfig(data="folder:photos", model="resnet10")).tune == "all"


def test_the_methods_of_a_comparison_follow_from_what_is_trained() -> None:
    assert chosen_methods(RunConfig(data="folder:photos"), ("auto",), None) == (ON_FEATURES, 5)
    assert chosen_methods(RunConfig(data="digits"), ("auto",), None) == (("ce", "cdb-w", "cdb-s"), 3)
    every, _ = chosen_methods(RunConfig(data="digits"), ("all",), 1)
    assert {"ce", "cdb-w", "ldam-drw", "oltr"} <= set(every) and not {"cls", "bags"} & set(every)
    with pytest.raises(ValueError, match="stands alone"):
        chosen_methods(RunConfig(data="digits"), ("auto", "ce"), None)
