"""One entry tells all about a data set: what reads the catalogue, and an entry of one's own."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from longtail import LongtailError
from longtail.config import DataOptions, RunConfig
from longtail.data import ImageData, load_boxes, load_data
from longtail.data.base import Split
from longtail.data.catalogue import CATALOGUE, Entry, imported, known, place_of, register, unknown_data_set

HERE = Path(__file__).parent
DOCS = HERE.parent.parent / "docs"


@pytest.mark.parametrize("name", CATALOGUE)
def test_an_entry_names_what_there_is(name: str) -> None:
    entry = CATALOGUE[name]
    assert callable(imported(entry.reader)) and (not entry.pick or callable(imported(entry.pick)))
    assert entry.options <= {field.name for field in dataclasses.fields(DataOptions)}
    assert entry.training.keys() <= {field.name for field in dataclasses.fields(RunConfig)}
    assert entry.boxes or entry.look.keys() <= {field.name for field in dataclasses.fields(ImageData)}
    assert entry.usage in known() and entry.usage in str(unknown_data_set("no such name"))


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_place_is_asked_for_or_refused_before_anything_is_read(name: str) -> None:
    entry = CATALOGUE[name]
    load = load_boxes if entry.boxes else load_data
    if not entry.place:
        with pytest.raises(LongtailError, match=f"^{name} takes no path: write just {name}$"):
            load(f"{name}:somewhere")
    elif not entry.place.startswith("["):
        with pytest.raises(LongtailError, match=f"^{name} needs a path: {name}:{entry.place}$"):
            load(name)
    else:
        assert place_of(name, entry) is None and place_of(f"{name}:a", entry) == Path("a")


def test_the_catalogue_is_read_without_torch() -> None:
    code = "import sys, longtail.data.catalogue; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_table_of_published_sets_is_the_catalogue() -> None:
    """The numbers held out and the imbalance, row by row; every set with a default long tail has a row."""
    page = (DOCS / "data.md").read_text()
    told = {}
    for line in page[page.index("## Published data sets") :].split("\n\n")[1].splitlines()[2:]:
        names, _, val, test, imbalance = (cell.strip() for cell in line.strip("|").split("|"))
        told |= dict.fromkeys(re.findall(r"`([\w-]+)[:`]", names), (val, test, imbalance))
    for name, entry in CATALOGUE.items():
        if entry.imbalance is not None:
            val, test, imbalance = told[name]
            assert float(imbalance) == entry.imbalance
            if entry.held_out:
                assert int(val) == entry.held_out["val"]
            if "test" in entry.held_out:
                assert int(test) == entry.held_out["test"]
    assert told.keys() <= CATALOGUE.keys()


def test_two_entries_of_one_name_are_refused() -> None:
    with pytest.raises(TypeError, match="two data sets are called 'digits'"):
        register(Entry(name="digits", about="", reader="x:y"))


def test_an_entry_of_ones_own_trains_by_the_command_line(tmp_path: Path) -> None:
    """An installed package names it; no file of the library knows of it."""
    assert len((HERE / "own_set.py").read_text().splitlines()) <= 40
    package = tmp_path / "own_set-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: own-set\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[longtail.data]\nstripes = own_set:STRIPES\n")
    (tmp_path / "own_set.py").write_bytes((HERE / "own_set.py").read_bytes())
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]

    commands = (
        "train stripes --device cpu --method cdb-w --out run",
        "evaluate run --device cpu --out again.json",
        "train stripes --frames 3",
        "train stripez",
    )
    code = "import sys; from longtail.cli import main; print([main(line.split()) for line in sys.argv[1:]])"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *commands], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "[0, 0, 2, 2]", done.stderr
    result = json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
    assert result["top1"] > 0.6  # chance is 0.25
    assert json.loads((tmp_path / "run" / "data.json").read_text())["notes"][0] == "drawn"
    assert json.loads((tmp_path / "again.json").read_text())["test"] == result
    option, name = done.stderr.splitlines()[-2:]
    assert ("means nothing" in option or "is for" in option) and "did you mean stripes?" in name


def test_read_gives_the_pixels_wherever_they_are(tmp_path: Path) -> None:
    """In memory, in a file, in bytes or drawn: one image."""
    from PIL import Image

    pixels = torch.randint(256, (3, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    file = tmp_path / "a.png"
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(file)
    label = torch.zeros(1, dtype=torch.int64)
    for split in (
        Split(pixels.unsqueeze(0), label),
        Split([str(file)], label),
        Split(["k"], label, source={"k": file.read_bytes()}.__getitem__),
        Split(["k"], label, source={"k": file}.__getitem__),
        Split(["k"], label, source={"k": pixels}.__getitem__),
    ):
        assert torch.equal(split.read(0), pixels)
        assert torch.equal(split.subset(torch.tensor([0])).read(0), pixels)
    small = Split([str(file)], label).read(0, shorter=3, channels=1)
    assert small.shape == (1, 3, 4)
    assert torch.equal(small, Split(["k"], label, source={"k": pixels}.__getitem__).read(0, shorter=3, channels=1))
    for source, message in (({}.__getitem__, "^k does not exist$"), ({"k": b"no"}.__getitem__, "^k cannot be read")):
        with pytest.raises(LongtailError, match=message):
            Split(["k"], label, source=source).read(0)
