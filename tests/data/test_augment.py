"""What training does to images is chosen by name; class names that a mirror image belies are told."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from longtail.data import load_data, make_loader
from longtail.data.augment import AUGMENTATIONS, augmented, mirrored_names
from longtail.errors import LongtailError
from longtail.inspection.images import describe_images, mirror_twins
from longtail.training.config import RunConfig
from longtail.training.recipes import resolve


def arrows(root: Path, names: tuple[str, str], *, each: int = 24, noise: int = 60) -> Path:
    """Two classes of pictures, each the mirror image of the other, and one that is its own."""
    rng = np.random.RandomState(0)
    for c, name in enumerate((*names, "ahead")):
        (root / name).mkdir(parents=True)
        for k in range(each):
            picture = np.full((32, 32), 60)
            picture[6:26, 13:19] = 220
            if c < 2:
                picture[6:12, slice(3, 16) if c == 0 else slice(16, 29)] = 220
            noisy = (picture + rng.randint(-noise, noise, picture.shape)).clip(0, 255).astype(np.uint8)
            Image.fromarray(noisy).convert("RGB").save(root / name / f"{k}.png")
    return root


def drawn(data: object, epochs: int = 12) -> torch.Tensor:
    """The first training image in several epochs."""
    loader = make_loader(data.train, data, image_size=32, train=True, seed=3)  # type: ignore[attr-defined]
    return torch.stack([next(iter(loader([torch.zeros(1, dtype=torch.int64)], epoch=e)))[0][0] for e in range(epochs)])


def test_the_names_on_the_command_line_are_those_of_the_table() -> None:
    kinds = typing.get_type_hints(RunConfig)["augment"]
    names = typing.get_args(typing.get_args(kinds)[0])[0]
    assert set(typing.get_args(names)) == set(AUGMENTATIONS)


@pytest.mark.parametrize("name", ["digits", "folder"])
def test_each_augmentation_does_what_it_is_called(tmp_path: Path, name: str) -> None:
    spec = f"folder:{arrows(tmp_path, ('one', 'two'))}" if name == "folder" else name
    views = {}
    for own in AUGMENTATIONS:
        data = load_data(spec, augment=own)
        views[own] = drawn(data)
        loader = make_loader(data.train, data, image_size=32, train=False)
        still = next(iter(loader([torch.zeros(1, dtype=torch.int64)])))[0][0]
        if own == "none":
            assert all(view.equal(still) for view in views[own])
        if own == "flip":
            assert all(view.equal(still) or view.equal(still.flip(-1)) for view in views[own])
            assert len({view.equal(still) for view in views[own]}) == 2
    for own in ("crop", "no-flip", "standard"):
        assert len({view.numpy().tobytes() for view in views[own]}) > 4


def test_no_flip_never_mirrors_and_standard_does(tmp_path: Path) -> None:
    ramp = np.linspace(220, 20, 32).astype(np.uint8)[None].repeat(32, 0)  # brighter on the left in every crop
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for k in range(8):
            Image.fromarray(ramp).convert("RGB").save(tmp_path / name / f"{k}.png")
    brighter = {}
    for name in ("no-flip", "standard", None):
        brighter[name] = {
            bool(view[..., :8].mean() > view[..., -8:].mean())
            for view in drawn(load_data(f"folder:{tmp_path}", augment=name), 40)
        }
    assert brighter == {"no-flip": {True}, "standard": {True, False}, None: {True, False}}


@pytest.mark.parametrize("name", ["digits", "moving-digits"])
def test_unset_is_what_suits_the_data_set(name: str) -> None:
    data, other = load_data(name), load_data(name, augment="standard")
    assert not data.flip and other.flip and data.crop_padding == other.crop_padding > 0


def test_several_are_done_in_the_order_given(tmp_path: Path) -> None:
    spec = f"folder:{arrows(tmp_path, ('one', 'two'))}"
    data = load_data(spec, augment=("none", "randaugment", "mixup"))
    assert (data.crop_scale, data.flip, data.policy, data.mix) == (None, False, "randaugment", ("mixup",))
    own, more = load_data(spec), load_data(spec, augment=("trivialaugment", "cutmix", "mixup"))
    assert (more.crop_scale, more.flip, more.policy) == (own.crop_scale, own.flip, "trivialaugment")
    assert more.mix == ("cutmix", "mixup")
    cut, still = load_data(spec, augment=("crop", "cutmix")), load_data(spec, augment="crop")
    assert dataclasses.replace(cut, mix=None, train=still.train, val=still.val, test=still.test) == still


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("mixup", "randaugment"), "images are cropped first and mixed last: write randaugment mixup"),
        (("cutmix", "flip"), "write flip cutmix"),
        (("randaugment", "crop"), "write crop randaugment"),
        (
            ("randaugment", "trivialaugment"),
            "randaugment and trivialaugment both say what the operations on each image",
        ),
        (("none", "crop"), "none and crop both say what crop and flip are: choose one"),
        (("mixup", "mixup"), "mixup is there twice"),
        ((), "--augment names nothing"),
    ],
)
def test_names_that_mean_nothing_together_are_one_clear_line(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(LongtailError, match=message):
        augmented({}, names, side=8)
    with pytest.raises(LongtailError, match=message):
        resolve(RunConfig(data="digits", augment=names))  # type: ignore[arg-type]


def test_a_single_name_in_the_configuration_of_an_older_run_is_read() -> None:
    for old, new in (("mixup", ("mixup",)), (None, None), (["randaugment", "mixup"], ("randaugment", "mixup"))):
        config = RunConfig.from_dict({"data": "digits", "augment": old})
        assert config.augment == new and RunConfig.from_dict(config.to_dict()) == config


def test_an_unknown_augmentation_is_one_clear_line() -> None:
    with pytest.raises(LongtailError, match="unknown augmentation 'mirror': known are none, crop, flip"):
        augmented({}, "mirror", side=8)


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["turn left", "turn right", "stop"], 1),
        (["TurnLeft", "TurnRight"], 1),
        (["keep_RIGHT_2", "keep_LEFT_2"], 1),
        (["links abbiegen", "rechts abbiegen"], 1),
        (["tourner à gauche", "tourner à droite"], 1),
        (["左转", "右转"], 1),
        (["clockwise", "counterclockwise", "counter"], 1),
        (list("abcdpq"), 2),
        (["keep left", "stop"], 0),  # no class is its mirror image
        (["leftover", "rightover"], 0),
        (["copyright", "copyleft"], 0),
        (list("ABCDPQ"), 0),
        ([str(d) for d in range(10)], 0),
        (["left hand", "right foot"], 0),
    ],
)
def test_names_that_differ_in_a_side_alone_are_told(names: list[str], pairs: int) -> None:
    assert len(mirrored_names(names)) == pairs


def test_inspection_warns_by_names_and_by_pictures_until_nothing_is_mirrored(tmp_path: Path) -> None:
    named = arrows(tmp_path / "named", ("turn left", "turn right"))
    numbered = arrows(tmp_path / "numbered", ("class 1", "class 2"))
    lines = list(describe_images(load_data(f"folder:{named}")))
    assert [line for line in lines if line.startswith("warning LT004") and "turn left / turn right" in line]
    lines = list(describe_images(load_data(f"folder:{numbered}")))
    (warning,) = [line for line in lines if "mirror" in line]
    assert warning.startswith("warning LT004") and "by their names" not in warning
    assert "mirrored class 1 looks like class 2" in warning and "--augment no-flip" in warning
    for name in ("no-flip", "crop", "none"):
        lines = list(describe_images(load_data(f"folder:{named}", augment=name)))
        assert not [line for line in lines if "mirror" in line]


def test_photographs_whose_mirror_images_are_the_same_thing_give_no_warning(photos: Path, cifar100: Path) -> None:
    assert not mirror_twins(load_data(f"folder:{photos}"))
    assert not mirror_twins(load_data(f"cifar100:{cifar100}", imbalance=1))
    assert not mirror_twins(load_data(f"cifar100:{cifar100}"))
