"""Clips in the layouts in which people have them: clips.csv, folders, EGTEA; and what the loader makes of them."""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from clear import assert_clear
from data.videos import write_video
from longtail.data import ImageData, Split, load_data, make_loader, suggest_workers
from longtail.data.egtea import read_egtea_lists
from longtail.errors import LongtailError


def frames_in(folder: Path, count: int = 3, shade: int = 0) -> Path:
    folder.mkdir(parents=True)
    for k in range(count):
        Image.new("RGB", (20, 16), (shade, k, 0)).save(folder / f"{k:06d}.jpg")
    return folder


def clips_csv(folder: Path, lines: list[str], header: str = "file,label") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "clips.csv").write_text("\n".join([header, *lines]) + "\n")
    return folder


def labels_of(split: Split, data: ImageData) -> dict[str, str]:
    return {
        str(Path(path).name): data.class_names[y] for path, y in zip(split.images, split.labels.tolist(), strict=True)
    }


def test_the_labelled_real_clips(test_data: Path) -> None:
    data = load_data(f"clips:{test_data / 'video'}")
    assert list(data.class_names) == ["cartwheel", "soccer_juggling", "wave"] and data.frames == 10
    assert data.train.class_counts(3) == [1, 2, 1] and data.val is not None
    assert data.val.class_counts(3) == data.test.class_counts(3) == [0, 0, 1]
    assert data.notes == [
        "2 classes with fewer than 3 clips are too small to be split and only train (no test or val clip): "
        "cartwheel, soccer_juggling"
    ]
    loader = make_loader(data.train, data, image_size=32, train=True)
    clips, target = next(iter(loader([torch.arange(4)])))
    assert clips.shape == (4, 3, 10, 32, 32) and clips.isfinite().all()
    assert clips.is_contiguous(memory_format=torch.channels_last_3d) and target.tolist() == data.train.labels.tolist()


def test_a_table_of_files_and_folders_with_splits(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 12)
    for name in "bcdef":
        frames_in(tmp_path / "sub" / name)
    outside = frames_in(tmp_path / "elsewhere" / "g")
    lines = ["a.mp4, 10,train", "sub/b,9,train", f"{outside},10,valid", "sub/c,9,val", "sub/d,10,test", "sub/e,9,test"]
    data = load_data(f"clips:{clips_csv(tmp_path, lines, 'File, Label ,split')}")
    assert list(data.class_names) == ["9", "10"]  # numbers in their order
    assert data.val is not None and data.train.frames == data.val.frames == data.test.frames == 10
    assert labels_of(data.train, data) == {"a.mp4": "10", "b": "9"}
    assert labels_of(data.val, data) == {"g": "10", "c": "9"}
    assert labels_of(data.test, data) == {"d": "10", "e": "9"}
    assert load_data(f"clips:{tmp_path}", frames=4).train.frames == 4


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        for name in ("jump", "run"):
            frames_in(tmp_path / split / name / "deep" / "one")
            write_video(tmp_path / split / name / "two.MP4", 4)
            (tmp_path / split / name / "notes.txt").write_text("?")
    data = load_data(f"clips:{tmp_path}")
    assert list(data.class_names) == ["jump", "run"] and data.train.class_counts(2) == [2, 2]
    assert labels_of(data.test, data).keys() == {"one", "two.MP4"}
    assert data.notes == ["6 files are not clips and were ignored (6 .txt)"]
    alone = load_data(f"clips:{tmp_path / 'test'}", whole=True)
    assert alone.test.class_counts(2) == [2, 2]


def test_a_class_with_a_single_clip_trains_and_is_named(tmp_path: Path) -> None:
    for name, count in {"often": 10, "once": 1}.items():
        for k in range(count):
            frames_in(tmp_path / name / str(k))
    data = load_data(f"clips:{tmp_path}")
    assert data.train.class_counts(2)[1] == 1 and data.test.class_counts(2)[1] == 0
    assert any("only train (no test or val clip): once" in note for note in data.notes)


def test_mistakes_are_one_clear_line(tmp_path: Path) -> None:
    frames_in(tmp_path / "csv" / "a")
    frames_in(tmp_path / "csv" / "b")
    for header, lines, message in [
        ("name,label", ["a,x"], r"clips\.csv has no column 'file' \(it has name, label\)"),
        ("file:label", ["a:x"], r"has no column 'file' \(it has file:label\)"),
        ("file,kind", ["a,x"], "has no column 'label'"),
        ("file,label", [], "has no line below"),
        ("file,label", ["a,"], "line 2 has no label"),
        ("file,label", ["a,x", "b"], "line 3 has no label"),
        ("file,label", [",x"], "line 2 has no file"),
        ("file,label", ["a,x", "a,y"], "names a in line 2 and again in line 3"),
        ("file,label", ["a,x", "./b,y", "../csv/a,y"], "names a in line 2 and again in line 4"),
        ("file,label", ["a,x", f"{tmp_path / 'csv' / 'a'},x"], "in line 2 and again in line 3"),
        ("file,label", ["a,x", "gone.mp4,y"], r"1 of the 2 clips in .* neither a file nor .*, first .*gone\.mp4"),
        ("file,label,split", ["a,x,train", "b,y,later"], "the split 'later': it must be train, val or test"),
        ("file,label,split", ["a,x,test", "b,y,test"], "has no training clip"),
        ("file,label,split", ["a,x,train", "b,y,test"], "classes without a training clip: y"),
        ("file,label", ["a,x", "b,x"], "has one class only"),
    ]:
        with pytest.raises(LongtailError, match=message) as caught:
            load_data(f"clips:{clips_csv(tmp_path / 'csv', lines, header)}")
        assert_clear(caught.value)
    (tmp_path / "csv" / "clips.csv").write_bytes(b"file,label\n\xff\xfe,a\n")
    with pytest.raises(LongtailError, match="cannot be read as text"):
        load_data(f"clips:{tmp_path / 'csv'}")
    (tmp_path / "csv" / "clips.csv").write_text("")
    with pytest.raises(LongtailError, match="it is empty"):
        load_data(f"clips:{tmp_path / 'csv'}")
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "photos" / "cat" / "a.jpg")
    for spec, message in {
        f"clips:{tmp_path / 'gone'}": "is not a folder",
        f"clips:{tmp_path / 'photos'}": r"a class with no clip in .*: cat \(not read as clips: 1 \.jpg\)",
        "clips": "clips needs a path: clips:DIR",
        "moving-digits:x": "write just moving-digits",
        "clip:x": "did you mean clips",
    }.items():
        with pytest.raises(LongtailError, match=message):
            load_data(spec)
    for options, message in [({"frames": 0}, "at least 1"), ({"broken": "x"}, "refuse or skip")]:
        with pytest.raises(LongtailError, match=message):
            load_data("moving-digits", **options)


def test_broken_clips_are_refused_or_left_out_by_choice(tmp_path: Path) -> None:
    for name in ("jump", "run"):
        for k in range(4):
            frames_in(tmp_path / name / str(k))
    (tmp_path / "jump" / "text.mp4").write_text("no video")
    (tmp_path / "run" / "empty.avi").touch()
    with pytest.raises(LongtailError, match=r"text\.mp4 cannot be read .*\(and 1 more such files\); or leave .* skip"):
        load_data(f"clips:{tmp_path}")
    data = load_data(f"clips:{tmp_path}", broken="skip")
    assert sum(len(split) for split in (data.train, data.val, data.test) if split) == 8
    assert sum("left out:" in note for note in data.notes) == 2
    faulty = tmp_path / "run" / "2" / "000001.jpg"  # not the first frame
    whole = faulty.read_bytes()
    for content in (b"", whole[: len(whole) // 2]):
        faulty.write_bytes(content)
        data = load_data(f"clips:{tmp_path}", broken="skip")
        assert sum("left out:" in note for note in data.notes) == 3
        assert sum(str(faulty) in note for note in data.notes) == 1
    faulty.write_bytes(whole)
    (tmp_path / "sit").mkdir()
    (tmp_path / "sit" / "text.mp4").write_text("no video")
    with pytest.raises(LongtailError, match="without a training clip that can be read: sit"):
        load_data(f"clips:{tmp_path}", broken="skip")


def test_without_pyav_video_files_are_no_broken_clips(tmp_path: Path, monkeypatch) -> None:
    """Folders of frames need no decoder."""
    for name in ("jump", "run"):
        for k in range(4):
            frames_in(tmp_path / name / str(k))
    monkeypatch.setitem(sys.modules, "av", None)
    assert load_data(f"clips:{tmp_path}").train.frames == 10
    (tmp_path / "run" / "a.mp4").touch()
    for broken in ("refuse", "skip"):
        with pytest.raises(LongtailError, match=r"^reading video files needs PyAV: pip install 'longtail\[video\]'$"):
            load_data(f"clips:{tmp_path}", broken=broken)


def test_a_frame_cache_that_cannot_be_is_refused_before_training(tmp_path: Path) -> None:
    for name in ("jump", "run"):
        for k in range(4):
            frames_in(tmp_path / "clips" / name / str(k))
    assert load_data(f"clips:{tmp_path / 'clips'}", frame_cache=tmp_path / "new" / "cache").frame_cache
    assert (tmp_path / "new" / "cache").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(LongtailError, match=r"frame cache .*file cannot be made \(File exists\)"):
        load_data(f"clips:{tmp_path / 'clips'}", frame_cache=tmp_path / "file")
    for name in ("digits", "moving-digits"):
        with pytest.raises(LongtailError, match=f"for video files, and {name} has none"):
            load_data(name, frame_cache=tmp_path / "cache")


# -- EGTEA -------------------------------------------------------------------------------------------------------------
TRAIN = [429, 779, 1421, 822, 129, 1335, 130, 308, 223, 249, 54, 54, 139, 42, 78, 117, 26, 15, 22]


def test_counts_of_egtea_are_those_of_the_paper(test_data: Path) -> None:
    lists, names = read_egtea_lists(test_data / "egtea")
    assert {split: len(lines) for split, lines in lists.items()} == {"train": 6372, "val": 1927, "test": 2022}
    assert len(names) == 19 and [names[c] for c in (2, 5, 1, 3, 0)] == ["Take", "Put", "Open", "Cut", "Read"]
    counts = {split: [sum(v == c for _, v in lines) for c in range(19)] for split, lines in lists.items()}
    assert counts["train"] == TRAIN
    both = [a + b for a, b in zip(counts["train"], counts["val"], strict=True)]
    assert sum(sorted(both)[-5:]) / 5 == 1216 and sum(sorted(both)[:-5]) / 14 == pytest.approx(158.5, abs=0.1)


def test_the_official_list_is_cut_as_the_authors_did(test_data: Path, tmp_path: Path) -> None:
    authors, _ = read_egtea_lists(test_data / "egtea")
    source = test_data / "egtea"
    lines = [
        *(source / "train_split.txt").read_text().splitlines(),
        *(source / "val_split.txt").read_text().splitlines(),
    ]
    random.Random(0).shuffle(lines)
    (tmp_path / "action_annotation").mkdir()
    (tmp_path / "action_annotation" / "train_split1.txt").write_text("\n".join(lines))
    (tmp_path / "action_annotation" / "test_split1.txt").write_text((source / "test_split.txt").read_text())
    (tmp_path / "verb_idx.txt").write_text("Inspect/Read 1\nMove Around 9\n")
    official, names = read_egtea_lists(tmp_path)
    assert {split: set(lines) for split, lines in official.items()} == {s: set(v) for s, v in authors.items()}
    assert names[0] == "Inspect/Read" and names[8] == "Move Around" and names[2] == "Take"


@pytest.mark.parametrize(
    "layout", ["cropped_clips/{recording}/{clip}", "{recording}/{clip}", "frames/{clip}", "{clip}"]
)
def test_clips_of_egtea_are_found_in_the_usual_layouts(tmp_path: Path, layout: str) -> None:
    for split, wearers in {"train_split1": ("OP01", "P05", "P20", "P26"), "test_split1": ("P01", "OP02")}.items():
        lines = []
        for verb, wearer in enumerate(wearers, 1):
            clip = f"{wearer}-R01-Pizza-{verb}-2-F000001-F000002"
            lines.append(f"{clip} 7 {verb % 2 + 1} 1 2")
            frames_in(tmp_path / layout.format(recording=f"{wearer}-R01-Pizza", clip=clip))
        (tmp_path / f"{split}.txt").write_text("\n".join(lines))
    if layout == "{clip}":
        clip = "P05-R01-Pizza-2-2-F000001-F000002"
        shutil.rmtree(tmp_path / clip)
        write_video(tmp_path / f"{clip}.mp4", 5)
    with pytest.raises(LongtailError, match="classes without a training clip"):
        load_data(f"egtea:{tmp_path}")  # 2 of 19 verbs


def test_egtea_without_lists_or_clips_is_one_clear_line(tmp_path: Path, test_data: Path) -> None:
    with pytest.raises(LongtailError, match=r"neither train_split1\.txt and test_split1\.txt"):
        load_data(f"egtea:{tmp_path}")
    with pytest.raises(LongtailError, match=r"10321 of the 10321 clips of EGTEA's lists are missing below"):
        load_data(f"egtea:{test_data / 'egtea'}")
    for name in ("train", "val", "test"):
        (tmp_path / f"{name}_split.txt").write_text("clip 1 20 1\n")
    with pytest.raises(LongtailError, match=r"line 1 is 'clip 1 20 1': it must be .* verb from 1 to 19"):
        load_data(f"egtea:{tmp_path}")


# -- the loader --------------------------------------------------------------------------------------------------------
@pytest.fixture
def clips(tmp_path: Path) -> ImageData:
    for name in ("jump", "run"):
        for k in range(5):
            frames_in(tmp_path / name / str(k), count=12, shade=40 * k)
    return load_data(f"clips:{tmp_path}")


def same(one: list, other: list) -> bool:
    return all(a.equal(b) and s.equal(t) for (a, s), (b, t) in zip(one, other, strict=True))


def test_only_seed_epoch_and_position_decide_whoever_reads(clips: ImageData) -> None:
    order = [torch.tensor([0, 1, 2]), torch.tensor([2, 3])]

    def run(epoch: int = 0, workers: int = 0, seed: int = 0, share: tuple[int, int] = (0, 1)) -> list:
        loader = make_loader(clips.train, clips, image_size=12, train=True, seed=seed, workers=workers)
        batches = list(loader(order, epoch=epoch, rank=share[0], world=share[1]))
        loader.close()
        return batches

    first = run()
    assert same(first, run()) and same(first, run(workers=1))
    assert not same(first, run(epoch=1)) and not same(first, run(seed=1))
    for rank in (0, 1):
        part = run(share=(rank, 2))
        assert same(part, [(images[rank::2], target[rank::2]) for images, target in first])


def test_all_frames_of_a_clip_are_augmented_alike(tmp_path: Path) -> None:
    """A clip that stands still does so after crop, rotation and flip; two clips of the same frames differ."""
    picture = torch.randint(256, (40, 60, 3), dtype=torch.uint8)
    for name in ("a/x", "b/x"):
        (tmp_path / name).mkdir(parents=True)
        for k in range(12):
            Image.fromarray(picture.numpy()).save(tmp_path / name / f"{k}.png")
    split = Split([str(tmp_path / "a/x"), str(tmp_path / "b/x")], torch.tensor([0, 1]), 10)
    look = {"rotation": 10.0, "flip": True, "crop_scale": (0.5, 1.0)}
    data = ImageData(name="x", class_names=["a", "b"], train=split, val=split, test=split, **look)  # type: ignore[arg-type]
    batch, _ = next(iter(make_loader(split, data, image_size=24, train=True)([torch.arange(2)])))
    assert (batch == batch[:, :, :1]).all() and not batch[0].equal(batch[1])


@pytest.mark.parametrize(("padding", "flip"), [(2, True), (0, True), (2, False)])
def test_clips_in_memory_are_augmented_as_one_picture(padding: int, flip: bool) -> None:
    images = torch.randint(256, (6, 1, 3, 8, 8), dtype=torch.uint8).expand(6, 5, 3, 8, 8).contiguous()
    split = Split(images, torch.arange(6) % 2)
    data = ImageData(
        name="x", class_names="ab", train=split, val=split, test=split, crop_padding=padding, flip=flip
    )  # fmt: skip
    batch, _ = next(iter(make_loader(split, data, image_size=None, train=True)([torch.arange(6)])))
    assert batch.shape == (6, 3, 5, 8, 8) and (batch == batch[:, :, :1]).all()
    frames = Split(images[:, 0].contiguous(), split.labels)
    still = ImageData(
        name="x", class_names="ab", train=frames, val=frames, test=frames, crop_padding=padding, flip=flip
    )  # fmt: skip
    alone, _ = next(iter(make_loader(frames, still, image_size=None, train=True)([torch.arange(6)])))
    assert batch[:, :, 0].equal(alone)  # the same draw as for images
    resized, _ = next(iter(make_loader(split, data, image_size=16, train=False)([torch.arange(6)])))
    assert resized.shape == (6, 3, 5, 16, 16)


def test_evaluation_keeps_its_frames_and_training_needs_workers(clips: ImageData, monkeypatch) -> None:
    loader = make_loader(clips.test, clips, image_size=12, train=False)
    first = list(loader([torch.arange(2)]))
    assert same(first, list(loader([torch.arange(2)])))
    assert len(loader.loader.dataset.cache) == 2  # type: ignore[attr-defined]
    monkeypatch.setattr("longtail.data.loader.CACHE_BYTES", 0)
    assert same(first, list(make_loader(clips.test, clips, image_size=12, train=False)([torch.arange(2)])))
    assert suggest_workers(clips.train, 12, cpus=2) == 2
    loader = make_loader(clips.train, clips, image_size=12, train=True)
    list(loader([torch.arange(2)]))
    assert not loader.loader.dataset.cache  # type: ignore[attr-defined]


def test_a_clip_that_breaks_while_training_is_named(clips: ImageData, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_text("no video")
    split = Split([*clips.train.images[:1], str(tmp_path / "bad.mp4")], torch.tensor([0, 1]), 10)
    with pytest.raises(LongtailError, match=r"bad\.mp4 cannot be read as a video"):
        list(make_loader(split, clips, image_size=12, train=True)([torch.arange(2)]))
