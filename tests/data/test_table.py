"""Images named in a table: what its columns, its files and its labels may look like, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from longtail import LongtailError
from longtail.cli import main
from longtail.data import load_data
from longtail.data.base import ImageData


def image(path: Path, shade: int = 0) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 7), (shade, 255 - shade, 90)).save(path)
    return path.name


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """16 photographs of two breeds below ``images``; ``labels.csv`` names them."""
    lines = [
        f"images/{image(tmp_path / 'images' / f'{k:02}.jpg', 5 * k)},{'pug' if k < 10 else 'corgi'}" for k in range(16)
    ]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label", *lines]) + "\n")
    return tmp_path


def contents(data: ImageData) -> dict[str, list[tuple[str, str]]]:
    splits = {"train": data.train, "val": data.val, "test": data.test}
    return {
        name: sorted(
            (Path(str(f)).name, data.class_names[c]) for f, c in zip(part.images, part.labels.tolist(), strict=True)
        )
        for name, part in splits.items()
        if part is not None
    }


def rewritten(photos: Path, header: str, line: str, *, encoding: str = "utf-8") -> str:
    """The table with another header, and lines in another form of ``{file}``, ``{name}``, ``{id}``, ``{label}``."""
    rows = [row.split(",") for row in (photos / "labels.csv").read_text().splitlines()[1:]]
    lines = [line.format(file=f, name=Path(f).name, id=Path(f).stem, label=c) for f, c in rows]
    (photos / "other.csv").write_bytes("\n".join([header, *lines]).encode(encoding))
    return f"csv:{photos / 'other.csv'}"


def test_a_table_is_the_folder_that_it_describes(photos: Path) -> None:
    """The same files, labels and splits as a folder for each class of the same order."""
    data = load_data(f"csv:{photos / 'labels.csv'}")
    assert data.class_names == ["corgi", "pug"]
    for own in contents(data).values():
        assert all(breed == ("pug" if int(file[:2]) < 10 else "corgi") for file, breed in own)
    for k in range(16):
        breed = "pug" if k < 10 else "corgi"
        image(photos / "folder" / breed / f"{k:02}.jpg", 5 * k)
    folder = load_data(f"folder:{photos / 'folder'}")
    assert contents(folder) == contents(data) and folder.notes == data.notes


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("Path;Class", "images/{name};{label}"),
        ("image_id\tbreed", "{id}\t{label}"),
        ("species|filename", "{label}| {name}"),
        (" File Name , target,mass", '"images/{name}" , {label},"1,5"'),
        ("\nid,category,note", "images\\{id},{label},"),
        ("file,label,class", "{file},{label},other"),
        ("file,class_name,class_id", "{file},{label},{label}-7"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_usual_spellings_are_the_same_table(photos: Path, header: str, line: str, encoding: str) -> None:
    plain = load_data(f"csv:{photos / 'labels.csv'}")
    data = load_data(rewritten(photos, header, line, encoding=encoding))
    assert contents(data) == contents(plain)
    told = [note for note in data.notes if "is the column" in note]
    assert bool(told) == (not header.lower().startswith("file,label"))


def test_columns_with_names_of_their_own(photos: Path) -> None:
    spec = rewritten(photos, "nr,what,class,kind", "{id},{label},x,y")
    data = load_data(spec, columns=("file=nr", "label=what"))
    assert contents(data) == contents(load_data(f"csv:{photos / 'labels.csv'}"))
    for columns, message in {
        ("file=nr", "label=which"): r"has no column 'which' \(it has nr, what, class, kind\)",
        ("file",): "write ROLE=NAME, where ROLE is file, label, split, group",
        ("size=nr",): "write ROLE=NAME",
        ("file=nr", "image=what"): "names file twice",
        ("label=what",): "has no column 'file'",
    }.items():
        with pytest.raises(LongtailError, match=message):
            load_data(spec, columns=columns)


def test_columns_split_and_group_are_followed(photos: Path) -> None:
    lines = [f"{k:02},{'pug' if k < 10 else 'corgi'},{'test' if k % 4 == 0 else 'train'},g{k // 2}" for k in range(16)]
    (photos / "t.csv").write_text("\n".join(["id,label,split,group", *lines]))
    data = load_data(f"csv:{photos / 't.csv'}")
    assert {file for file, _ in contents(data)["test"]} == {f"{k:02}.jpg" for k in range(0, 16, 4)}
    assert data.val is not None and data.train.groups is not None and data.val.groups is not None
    assert not set(data.train.groups) & set(data.val.groups)


@given(numbers=st.lists(st.integers(0, 2000), min_size=2, max_size=5, unique=True))
def test_numbers_are_classes_in_their_order(numbers: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("numbers")
    lines = [f"{image(folder / f'{n}_{k}.png')},{n}" for n in numbers for k in range(4)]
    (folder / "t.csv").write_text("\n".join(["file,label", *lines]))
    assert load_data(f"csv:{folder / 't.csv'}").class_names == [str(n) for n in sorted(numbers)]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["file,label"], "has no line below file,label"),
        ([], "it is empty"),
        (["file,weight", "a.png,1"], r"no column 'label' \(it has file, weight\): .* --columns label=NAME"),
        (["file,label", "a.png,x", "a.png,x"], r"names a\.png in line 2 and again in line 3: remove one"),
        (["file,label", "a.png,x", "./a,y"], "line 2 and again in line 3, once as 'x' and once as 'y'"),
        (["file,label", "a.png,x", "gone,y", "lost,y"], "2 of the 3 images in .* are missing, first 'gone' in line 3"),
        (["file,label", "a.png,x", "b,y"], r"line 3: 'b' may be b\.jpg, b\.png"),
        (["file,label", "a.png,"], "line 2 has no label"),
        (["file,label", "a.png,x,y"], "line 2 has 3 values for 2 columns: .* in quotation marks"),
        (["file,label,split", "a.png,x,later"], "the split 'later'"),
        (["file,label,split", "a.png,x,test"], "has no training image"),
        (["file,label,label", "a.png,x,y"], "the label could be any of label, label"),
        (["file,class,category", "a.png,x,u", "b.png,x,v"], "label could be any of class, category: .* label=NAME"),
        (["file,label", "a.png,x", "b.png,x"], "has one class only, x"),
    ],
)
def test_mistakes_are_one_clear_line(lines: list[str], message: str, tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "b.jpg"):
        image(tmp_path / name)
    (tmp_path / "t.csv").write_text("\n".join(lines))
    with pytest.raises(LongtailError, match=message) as caught:
        load_data(f"csv:{tmp_path / 't.csv'}")
    assert len(str(caught.value)) < 400 + 3 * len(str(tmp_path))


def test_another_encoding_is_one_clear_line(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "t.csv").write_bytes("file,label\nimages/00.jpg,köter\n".encode("latin-1"))
    assert main(["inspect", f"csv:{photos / 't.csv'}"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith("error: ") and "save it in UTF-8" in err


def test_labels_that_differ_in_spelling_are_told(photos: Path) -> None:
    text = (photos / "labels.csv").read_text().replace("05.jpg,pug", "05.jpg,Pug")
    (photos / "labels.csv").write_text(text)
    assert any("Pug / pug" in note for note in load_data(f"csv:{photos / 'labels.csv'}").notes)


def test_a_table_trains_and_is_judged_on_its_own_splits(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines that are added afterwards do not enter the splits of the run."""
    spec = rewritten(photos, "nr,kind", "{id},{label}")
    run = photos / "run"
    small = "--columns file=nr label=kind --epochs 1 --image-size 16 --model lenet5 --device cpu --method ce".split()
    assert main(["train", spec, *small, "--out", str(run)]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(run), "--out", "-"]) == 0
    before = capsys.readouterr().out
    image(photos / "images" / "99.jpg", 200)
    with open(photos / "other.csv", "a") as table:
        table.write("\n99,pug\n")
    assert main(["evaluate", str(run), "--out", "-"]) == 0
    out, err = capsys.readouterr()
    assert out == before and "99.jpg" in err
    assert main(["evaluate", str(run), "--data", spec]) == 0
