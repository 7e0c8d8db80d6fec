"""Films in a folder: found by the features of a frozen network, kept on one side, told, drawn; and nothing twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from longtail.cli import main

PLAIN = "--image-size 32 --device cpu".split()


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of six films; a film is one random texture, moved by a pixel and lit otherwise."""
    root, draw = tmp_path_factory.mktemp("films"), np.random.default_rng(0)
    for c in range(3):
        (root / f"class{c}").mkdir()
        for film in range(6):
            scene = Image.fromarray(draw.integers(0, 256, (4, 4, 3)).astype(np.uint8)).resize((64, 64))
            for k in range(4):
                frame = scene.crop((k, k, k + 60, k + 60)).point(lambda value, k=k: value * (1 - 0.03 * k))
                frame.save(root / f"class{c}" / f"{'abcdef'[film]}{'wxyz'[k]}.png")
    return root


def sides(run: Path) -> dict[str, set[str]]:
    import csv
    import gzip

    held: dict[str, set[str]] = {}
    with gzip.open(run / "splits.csv.gz", "rt", newline="") as file:
        for row in csv.DictReader(file):
            held.setdefault(row["split"], set()).add(row["file"][:-5])  # class0/a
    return held


def codes(run: Path) -> set[str]:
    return {note[:5] for note in json.loads((run / "data.json").read_text())["notes"]}


def test_a_frozen_network_keeps_films_on_one_side_and_a_cut_that_parts_them_is_told(
    films: Path, tmp_path: Path, capsys
) -> None:
    words = ["train", f"folder:{films}", "--tune", "head", "--method", "ce", "--epochs", "2", *PLAIN]
    assert main([*words, "--out", str(tmp_path / "runs" / "kept")]) == 0
    held = sides(tmp_path / "runs" / "kept")
    assert sum(map(len, held.values())) == len(set().union(*held.values())) == 18
    assert {"LT012"} == codes(tmp_path / "runs" / "kept") & {"LT012", "LT013"}
    first = capsys.readouterr().out
    assert "72 of 72 images have near copies, in 18 groups" in first
    assert main([*words, "--group-by", "none", "--out", str(tmp_path / "runs" / "parted")]) == 0
    assert {"LT012", "LT013"} <= codes(tmp_path / "runs" / "parted")
    assert " computed (" not in capsys.readouterr().out  # the features were there
    assert main(["evaluate", str(tmp_path / "runs" / "kept"), "--device", "cpu"]) == 0
    assert main([*words, "--group-by", "auto", "--out", str(tmp_path / "runs" / "asked")]) == 0
    assert sides(tmp_path / "runs" / "asked") == held
    assert main(["evaluate", str(tmp_path / "runs" / "asked"), "--device", "cpu"]) == 0
    drawn = [tmp_path / "runs" / name / "near_copies.png" for name in ("kept", "parted")]
    assert drawn[0].samefile(drawn[1])  # drawn once for all runs
    with Image.open(drawn[0]) as picture:
        assert 700 < picture.width < 1000 and len(picture.convert("RGB").getcolors(1 << 20) or ()) > 500
    (tmp_path / "runs" / "asked" / "near_copies.png").unlink()
    assert main(["report", str(tmp_path / "runs")]) == 0
    assert (tmp_path / "runs" / "figures" / "near-copies.png").read_bytes() == drawn[0].read_bytes()
    page = (tmp_path / "runs" / "report.html").read_text()
    assert page.count("The largest groups of near copies in the data:") == 1


def test_without_features_auto_is_refused_in_one_line(films: Path, tmp_path: Path, capsys) -> None:
    words = ["train", f"folder:{films}", "--model", "resnet10", "--tune", "all", "--group-by", "auto", *PLAIN]
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    assert "add --tune head" in capsys.readouterr().err


def test_inspection_finds_and_draws_the_films(
    films: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checks = ["--checks", str(tmp_path / "checks.json")]
    assert main(["inspect", f"folder:{films}", "--group-by", "auto", "--out", str(tmp_path / "look.png"), *checks]) == 0
    out = capsys.readouterr().out
    assert "images have near copies, in " in out and f"picture of groups: {tmp_path / 'look-groups.png'}" in out
    with Image.open(tmp_path / "look-groups.png") as picture:
        assert picture.width > 500 and len(picture.convert("RGB").getcolors(1 << 20) or ()) > 500
    assert "LT012" in {row["code"] for row in json.loads((tmp_path / "checks.json").read_text())}
    assert main(["inspect", f"folder:{films}", "--out", str(tmp_path / "plain.png")]) == 0
    assert not (tmp_path / "plain-groups.png").exists() and "near copies" not in capsys.readouterr().out
