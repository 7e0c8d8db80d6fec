"""What lies beside people's photographs is passed over and named; each file counts once, however it is spelled."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from data.pictures import by_class, files, fill
from longtail.data import load_data
from longtail.data.walk import Passed, real_paths, walk
from longtail.errors import LongtailError
from longtail.training.apply import image_files

LITTER = [
    *"@eaDir __MACOSX #recycle $RECYCLE.BIN @Recycle lost+found .ipynb_checkpoints .Trashes".split(),
    "System Volume Information",
]


def litter(folder: Path) -> None:
    """A class folder and its parent as network disks, Macs, Windows and notebooks leave them."""
    for name in LITTER:
        fill(folder.parent / name / "0000.png", {".": 2})
        fill(folder / name, {".": 2, "deeper": 1})
    for name in ("._0000.png", "Thumbs.db", ".DS_Store", "desktop.ini", "SYNOPHOTO_THUMB_M.png", ".hidden.jpg"):
        (folder / name).write_bytes(b"not a photograph")


def test_one_walk_for_training_and_prediction(tmp_path: Path) -> None:
    fill(tmp_path / "photos", {"cat": 5, "cat/deeper": 2, "dog": 6})
    clean = load_data(f"folder:{tmp_path / 'photos'}", whole=True)
    litter(tmp_path / "photos" / "cat")
    data = load_data(f"folder:{tmp_path / 'photos'}", whole=True)
    assert files(data.test) == files(clean.test) and list(data.class_names) == ["cat", "dog"]
    (note,) = data.notes
    assert note.startswith(f"{2 * len(LITTER) + 6} hidden or system files and folders were passed over (2 ")
    notes: list[str] = []
    assert image_files([tmp_path / "photos"], notes=notes) == sorted(files(data.test)) and len(notes) == 1
    for name in ("@eaDir", "__MACOSX", "Thumbs.db", "._*"):
        passed = Passed()
        list(walk(tmp_path / "photos", passed))
        assert any(name in kind for kind in passed._litter.values())


def test_hidden_folders_that_are_given_are_read(tmp_path: Path) -> None:
    fill(tmp_path / "@eaDir", {".": 3})
    assert len(image_files([tmp_path / "@eaDir"])) == 3


def test_links_are_followed_and_loops_and_pipes_do_not_hang(tmp_path: Path) -> None:
    fill(tmp_path, {"far": 3, "photos/cat": 4, "photos/dog": 4})
    (tmp_path / "photos" / "cat" / "more").symlink_to(tmp_path / "far")
    (tmp_path / "photos" / "cat" / "back").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "dog" / "self").symlink_to("self")
    os.mkfifo(tmp_path / "photos" / "dog" / "pipe.png")
    inside = files_of_class = image_files([tmp_path / "photos" / "dog"])
    assert len(inside) == len(files_of_class) == 4
    assert len(image_files([tmp_path / "photos"])) == 11


def test_real_paths_are_told_from_spellings(tmp_path: Path) -> None:
    fill(tmp_path, {"a/b": 2})
    (tmp_path / "c").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "b" / "same.png").symlink_to("0001.png")
    one, other = (os.path.realpath(tmp_path / "a" / "b" / f"000{i}.png") for i in (0, 1))
    spelled = {
        "a/b/0000.png": one, "./a//b/./0000.png": one, "c/b/0000.png": one, "c/../a/b/0000.png": one,
        "a/b/same.png": other, "c/b/same.png": other, "a/b/../b/0001.png": other,
    }  # fmt: skip
    paths = [f"{tmp_path}/{spelling}" for spelling in spelled]
    assert real_paths(paths) == list(spelled.values()) == [os.path.realpath(path) for path in paths]


SPELLINGS = (
    "./cat/0000.png",
    "cat//0000.png",
    "dog/../cat/0000.png",
    "{}/cat/0000.png",
    "link/0000.png",
    "cat\\0000.png",
)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_image_in_two_lists_is_found_however_it_is_spelled(tmp_path: Path, spelling: str) -> None:
    fill(tmp_path, {"cat": 3, "dog": 3})
    (tmp_path / "link").symlink_to("cat")
    again = spelling.format(tmp_path)
    train = [f"{c}/000{i}.png {label}" for label, c in enumerate(("cat", "dog")) for i in range(3)]

    def write(name: str, lines: list[str]) -> None:
        (tmp_path / f"{name}.txt").write_text("\n".join(lines))

    write("train", train)
    write("test", [f"{again} 0"])
    with pytest.raises(LongtailError, match="1 images are in the train and in the test list"):
        load_data(f"lists:{tmp_path}")
    (tmp_path / "test.txt").unlink()
    write("train", [*train, f"{again} 1"])
    with pytest.raises(LongtailError, match=r"two different labels.*, 0 and 1"):
        load_data(f"lists:{tmp_path}")
    write("train", [*train, f"{again} 0"])
    data = load_data(f"lists:{tmp_path}", whole=True)
    assert by_class(data, data.test) == {"cat": 3, "dog": 3}
    assert "train.txt lists 1 images more than once: each is used once" in data.notes


def test_lists_are_known_by_the_usual_spellings(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 3, "dog": 3})
    for name, i in (("Train", 0), ("VALIDATION", 1), ("testing", 2)):
        (tmp_path / f"{name}.txt").write_text(f"cat/000{i}.png 0\ndog/000{i}.png 1\n")
    data = load_data(f"lists:{tmp_path}")
    for i, part in enumerate((data.train, data.val, data.test)):
        assert [Path(path).name for path in files(part)] == [f"000{i}.png"] * 2
    (tmp_path / "test.txt").write_text("cat/0001.png 0\n")
    with pytest.raises(LongtailError, match=r"both test\.txt and testing\.txt: keep one as the test split"):
        load_data(f"lists:{tmp_path}")


def test_links_in_folders_make_no_second_image(tmp_path: Path) -> None:
    fill(tmp_path, {"train/cat": 4, "train/dog": 4, "test/cat": 2, "test/dog": 2})
    link = tmp_path / "train" / "cat" / "again.png"
    link.symlink_to(tmp_path / "train" / "cat" / "0000.png")
    data = load_data(f"folder:{tmp_path}", whole=True)
    assert by_class(data, data.train) == {"cat": 4, "dog": 4}
    assert "train has 1 images more than once: each is used once" in data.notes
    for target, message in (("train/dog", "two different labels"), ("test/cat", "in the train and in the test folder")):
        link.unlink()
        link.symlink_to(tmp_path / target / "0001.png")
        with pytest.raises(LongtailError, match=message):
            load_data(f"folder:{tmp_path}")
