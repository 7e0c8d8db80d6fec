"""Groups, such as clips of one recording, that no cut may part."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clear import assert_clear
from longtail.data import ImageData, Split, load_data
from longtail.data.copies import Near, NearCopies
from longtail.data.record import record_splits
from longtail.data.splits import cut_groups, cut_rows
from longtail.errors import LongtailError

cuts = st.dictionaries(
    st.sampled_from(["test", "val", "select"]), st.one_of(st.integers(1, 9), st.floats(0.01, 0.4)), min_size=1
)
samples = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 25)), min_size=1, max_size=150)


def image(path: Path, colour: tuple[int, int, int] = (9, 9, 9)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), colour, np.uint8)).save(path)


def recordings(root: Path, *, classes: int = 2, each: int = 6, clips: int = 4) -> Path:
    for c in range(classes):
        for g in range(each):
            for k in range(clips):
                for frame in range(2):
                    image(root / f"class{c}" / f"v_{c}_g{g:02}_c{k}" / f"{frame}.png", (40 * c, 9 * g, 9 * k))
    return root


def sides(data: ImageData, pattern: str = "_c") -> dict[str, set[str]]:
    parts = {"train": data.train, "val": data.val, "test": data.test}
    return {
        name: {Path(str(path)).name.partition(pattern)[0] for path in part.images}
        for name, part in parts.items()
        if part
    }


@given(samples, cuts, st.integers(0, 1000), st.booleans())
def test_a_group_is_on_one_side_and_nothing_is_lost(own: list, amounts: dict, seed: int, pure: bool) -> None:
    labels = torch.tensor([c for c, _ in own])
    groups = torch.tensor([g * 5 + c if pure else g for c, g in own])
    rows, whole = cut_groups(labels, groups, 5, amounts, seed)
    assert torch.cat(list(rows.values())).sort().values.tolist() == list(range(len(labels)))
    held = {name: set(groups[part].tolist()) for name, part in rows.items()}
    assert sum(map(len, held.values())) == len(set(groups.tolist()))
    again, _ = cut_groups(labels, groups, 5, amounts, seed)
    assert all(rows[name].equal(again[name]) for name in rows)
    for c in range(5):
        each = len(set(groups[labels == c].tolist()))
        have = {name: int((labels[part] == c).sum()) for name, part in rows.items()}
        if each:
            assert have["train"] > 0
            assert (c in whole) == (each <= len(amounts))
        if c in whole:
            assert have["train"] == int((labels == c).sum())
        elif each and pure:  # groups of several classes cannot always serve all of them
            assert min(have.values()) > 0


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), cuts, st.integers(0, 1000))
def test_groups_of_one_are_cut_into_the_counts_of_no_groups(counts: list[int], amounts: dict, seed: int) -> None:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    one, whole = cut_groups(labels, torch.arange(len(labels)), len(counts), amounts, seed)
    other, also = cut_rows(labels, len(counts), amounts, seed)
    assert whole == also
    for name in other:
        assert torch.bincount(labels[one[name]]).tolist() == torch.bincount(labels[other[name]]).tolist()


def test_shares_are_as_asked_for_where_groups_are_small_and_the_seed_picks_them() -> None:
    labels = torch.arange(4).repeat_interleave(200)
    groups = torch.arange(800) // 5
    rows, _ = cut_groups(labels, groups, 4, {"test": 0.2, "val": 0.15}, 0)
    assert torch.bincount(labels[rows["test"]]).tolist() == [40] * 4
    assert torch.bincount(labels[rows["val"]]).tolist() == [30] * 4
    assert not rows["test"].equal(cut_groups(labels, groups, 4, {"test": 0.2, "val": 0.15}, 1)[0]["test"])


def test_a_group_of_several_classes_is_balanced_over_all_of_them() -> None:
    """Ten patients with both findings each: stratified, though no cut is free."""
    labels = torch.tensor([0, 0, 0, 1] * 40)
    rows, whole = cut_groups(labels, torch.arange(160) // 16, 2, {"test": 0.2, "val": 0.2}, 0)
    assert not whole and all(torch.bincount(labels[rows[s]]).tolist() == [24, 8] for s in ("test", "val"))


@pytest.mark.parametrize("seed", range(5))
def test_clips_of_one_recording_are_in_one_split(tmp_path: Path, seed: int) -> None:
    recordings(tmp_path)
    data = load_data(f"clips:{tmp_path}", group_by=r"v_\d+_g\d+", data_seed=seed)
    held = sides(data)
    assert sum(map(len, held.values())) == len(set.union(*held.values())) == 12
    assert all(len(own) >= 2 for own in held.values())
    assert "12 groups of clips stay together where splits are cut" in data.notes
    apart = sides(load_data(f"clips:{tmp_path}", data_seed=seed))
    assert apart["train"] & apart["test"]  # what this is for


def test_parentheses_say_which_part_of_a_match_is_the_group(tmp_path: Path) -> None:
    for c in range(2):
        for patient in range(5):
            for k in range(2):
                image(tmp_path / f"class{c}" / f"patient{patient}_{k}.png")
    one, other = (load_data(f"folder:{tmp_path}", group_by=p) for p in (r"(patient\d)_\d", r"(class\d)/(patient\d)"))
    assert "5 groups" in one.notes[0] and "10 groups" in other.notes[0]
    held = sides(one, "_")
    assert sum(map(len, held.values())) == 5


def test_a_column_says_the_groups_and_none_passes_over_it(tmp_path: Path) -> None:
    recordings(tmp_path)
    lines = ["file,label,group"]
    for clip in sorted(tmp_path.glob("class*/*")):
        group = clip.name.partition("_c")[0] if "_g05" not in clip.name else ""
        lines.append(f"{clip.relative_to(tmp_path)},{clip.parent.name},{group}")
    (tmp_path / "clips.csv").write_text("\n".join(lines))
    data = load_data(f"clips:{tmp_path}")
    assert "10 groups of clips stay together where splits are cut (8 of 48 clips are in none)" in data.notes
    held = {name: {g for g in own if "_g05" not in g} for name, own in sides(data).items()}
    assert sum(map(len, held.values())) == len(set.union(*held.values())) == 10
    plain = load_data(f"clips:{tmp_path}", group_by="none")
    assert not [note for note in plain.notes if "groups" in note] and sides(plain)["train"] & sides(plain)["test"]


def test_a_third_word_of_a_list_is_the_group(tmp_path: Path) -> None:
    lines = []
    for c in range(2):
        for animal in range(6):
            for k in range(3):
                name = f"images/class {c}/animal {animal} {k}.png"
                image(tmp_path / name)
                lines.append(f"{name}\t{c}\t{animal}" if c else f"{name} {c} animal{animal}")
    (tmp_path / "train.txt").write_text("\n".join(lines))
    data = load_data(f"lists:{tmp_path}")
    assert (
        data.notes[0].startswith("12 groups of images") and len(data.train) + len(data.test) + len(data.val or ()) == 36
    )
    for part in (data.train, data.val, data.test):
        assert part is not None and part.groups is not None
        for group in set(part.groups):
            assert list(part.groups).count(group) == 3


def test_a_group_in_two_given_splits_is_named(tmp_path: Path) -> None:
    for split, animals in (("train", range(6)), ("test", range(5, 9))):
        for c in range(2):
            for animal in animals:
                image(tmp_path / split / f"class{c}" / f"animal{animal}_{split}.png", (animal, c, len(split)))
    data = load_data(f"folder:{tmp_path}", group_by=r"animal\d")
    (told,) = [n for n in data.notes if n.startswith("LT003")]
    assert "1 groups lie in the given train and test splits (animal5)" in told


def test_a_group_larger_than_the_cut_is_taken_where_there_is_no_other_and_named(tmp_path: Path) -> None:
    recordings(tmp_path, each=3)
    data = load_data(f"clips:{tmp_path}", group_by=r"v_\d+_g\d+")
    assert [len(part) for part in (data.train, data.val or (), data.test)] == [8, 8, 8]
    assert "test has 8 of 24 clips (33% in place of 20%): groups stay together" in data.notes


def test_a_class_with_too_few_groups_trains_as_a_whole(tmp_path: Path) -> None:
    recordings(tmp_path)
    for k in range(9):
        image(tmp_path / "rare" / f"v_9_g0{k % 2}_c{k}" / "0.png")
    data = load_data(f"clips:{tmp_path}", group_by=r"v_\d+_g\d+")
    assert data.train.class_counts(3)[2] == 9
    assert [
        n for n in data.notes if "1 classes with fewer than 3 groups are too small to be split" in n and "rare" in n
    ]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("auto", "auto looks for near copies by the features of a frozen network: add --tune head"),
        ("(", "is no regular expression"),
        ("zebra", "matches no file below .*, e.g. class1/v_1_g05_c3"),
        ("class", "no class has the 3 groups that it takes"),
    ],
)
def test_a_pattern_that_groups_nothing_is_one_clear_line(tmp_path: Path, pattern: str, message: str) -> None:
    recordings(tmp_path)
    with pytest.raises(LongtailError, match=message) as caught:
        load_data(f"clips:{tmp_path}", group_by=pattern)
    assert_clear(caught.value)


# -- near copies -------------------------------------------------------------------------------------------------------
def films(root: Path, *, splits: tuple[str, ...] = ("",)) -> Path:
    """Two classes with 8 films of 4 frames; with several splits the first frames of a film are in the first one."""
    for c in range(2):
        for film in range(8):
            for k in range(4):
                part = splits[k * len(splits) // 4]
                image(root / part / f"class{c}" / f"{film}{'abcd'[k]}.png", (20 * film, 90 * c, 5 * k))
    return root


def by_film(splits: Mapping[str, Split]) -> NearCopies:
    """As features would tell: frames of one film are alike, the first two of film 7 hardly differ."""
    groups, sure = {}, []
    for part in splits.values():
        for path in map(str, part.images):
            groups[path] = f"{Path(path).parent.name}-{Path(path).name[0]}"
    known = {Path(path).name: path for path in groups if "class1" in path}
    if len(splits) > 1:
        sure = [(known["7b.png"], known["7c.png"])]
    return NearCopies(groups, sure)


@pytest.mark.parametrize("asked", [None, "auto"])
def test_near_copies_are_on_one_side_of_a_cut_and_counted(tmp_path: Path, asked: str | None) -> None:
    data = load_data(f"folder:{films(tmp_path)}", group_by=asked, near=by_film)
    sides = {name: by_film({name: part}).groups.values() for name, part in parts_of(data).items()}
    assert sum(len(set(own)) for own in sides.values()) == 16
    (told,) = [note for note in data.notes if note.startswith("LT01")]
    assert told.startswith("LT012") and "64 of 64 images have near copies, in 16 groups; the largest has 4" in told
    assert "no cut parts a group" in told


def test_a_cut_that_parts_near_copies_is_told(tmp_path: Path) -> None:
    """Neither a held-out split nor a test split that was cut at random passes without a word."""
    films(tmp_path)
    for asked in ("none", r"(.)\.png"):
        data = load_data(f"folder:{tmp_path}", group_by=asked, near=by_film)
        told = [note for note in data.notes if note.startswith("LT013")]
        test = set(by_film({"train": data.train}).groups.values())
        parted = sum(group in test for group in by_film({"test": data.test}).groups.values())
        assert any(f"{parted} of {len(data.test)} test images have near copies in train" in note for note in told)


def test_near_copies_in_given_splits_are_told_with_an_example(tmp_path: Path) -> None:
    data = load_data(f"folder:{films(tmp_path, splits=('train', 'test'))}", near=by_film)
    told = " ".join(note for note in data.notes if note.startswith("LT013") and "in train" in note)
    held = len(set(by_film({"train": data.train}).groups.values()))  # the other films are in val
    assert f"{2 * held} of 32 test images have near copies in train" in told and held >= 12
    assert "1 hardly differ, e.g. " in told and "7b.png and " in told and "7c.png" in told


def test_near_copies_under_two_classes_are_told(tmp_path: Path) -> None:
    films(tmp_path)
    one, other = str(tmp_path / "class0" / "1a.png"), str(tmp_path / "class1" / "1a.png")
    data = load_data(f"folder:{tmp_path}", near=lambda _: NearCopies({}, (), [(one, other)]))
    (told,) = [note for note in data.notes if note.startswith("LT014")]
    assert f"2 images, e.g. {one} (class0) and {other} (class1)" in told
    assert not [note for note in data.notes if note.startswith(("LT012", "LT013"))]


def test_a_column_says_the_groups_also_where_near_copies_are_known(tmp_path: Path) -> None:
    films(tmp_path)
    lines = ["file,label,group"]
    for path in sorted(tmp_path.glob("class*/*.png")):
        lines.append(f"{path.relative_to(tmp_path)},{path.parent.name},{path.stem}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    data = load_data(f"csv:{tmp_path / 'table.csv'}", near=by_film)
    assert data.train.groups is not None and set(data.train.groups) <= {Path(line.split(",")[0]).stem for line in lines}
    assert [note for note in data.notes if note.startswith("LT013")]  # it parts films


@pytest.mark.parametrize("near", [by_film, None])
def test_a_continued_run_has_the_groups_that_it_began_with(tmp_path: Path, near: Near | None) -> None:
    name = f"folder:{films(tmp_path)}"
    options: dict = {"near": near, "group_by": None if near else r"(\d)[a-d]"}
    before = load_data(name, **options)
    record = record_splits(before, "run")
    image(tmp_path / "class0" / "9z.png")  # a file that came later
    after = load_data(name, record=record, **options)
    for one, other in zip(parts_of(before).values(), parts_of(after).values(), strict=True):
        assert list(map(str, one.images)) == list(map(str, other.images)) and one.groups == other.groups
    assert [n for n in before.notes if n.startswith("LT012")] == [n for n in after.notes if n.startswith("LT012")]


# -- series ------------------------------------------------------------------------------------------------------------
def test_names_that_look_like_series_are_told_unless_it_is_said_what_they_are(tmp_path: Path) -> None:
    recordings(tmp_path)
    (told,) = [note for note in load_data(f"clips:{tmp_path}").notes if note.startswith("LT015")]
    assert "48 of 48 clips are in 12 series, e.g. 4 called v_0_g00..." in told
    pattern = re.search(r"e\.g\. '(.*)', or say", told)
    assert pattern is not None
    for asked in (pattern[1], "none"):
        data = load_data(f"clips:{tmp_path}", group_by=asked)
        assert not [note for note in data.notes if note.startswith("LT015")]
        assert ("12 groups of clips" in " ".join(data.notes)) == (asked != "none")


@pytest.mark.parametrize(
    "name",
    ["IMG_{k:04}.png", "n0144076{c}_{k}.png", "{k:03}_class{c}_{x}.png", "2024{k:04}.png", "cam{c}-{k}-{x}.png"],
    ids=["camera", "class", "own", "date", "both"],
)
def test_other_numbers_in_names_are_no_series(tmp_path: Path, name: str) -> None:
    for c in range(2):
        for k in range(20):
            image(tmp_path / f"class{c}" / name.format(k=k, c=c, x=7 * k % 20))
    assert not [note for note in load_data(f"folder:{tmp_path}").notes if note.startswith("LT015")]


def parts_of(data: ImageData) -> dict[str, Split]:
    return {name: part for name in ("train", "val", "test") if (part := getattr(data, name)) is not None}
