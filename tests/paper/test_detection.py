"""Tables 5 and 6 on photographs in the format of COCO: rows that start from other rows, boxes and masks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from clear import assert_clear
from detection.pictures import write_pictures
from longtail.errors import LongtailError
from longtail.paper import reproduce
from longtail.training.files import read_csv, read_json

COLUMN = "coco-masks"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"coco:{write_pictures(tmp_path_factory.mktemp('coco'))}"


@pytest.fixture(scope="module")
def out(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rows that start from the row ``ce``, which nobody asked for."""
    out = tmp_path_factory.mktemp("boxes") / "out"
    options = {"columns": [COLUMN], "rows": ["simcal", "bags-cls"], "scale": "smoke", "device": "cpu"}
    for missing in (3, 0):
        first, *_ = reproduce("table6", out=out, data=[data], **options)  # type: ignore[arg-type]
        assert first == f"table6: 3 runs, {missing} of them to train"
    return out


def test_rows_start_from_the_row_that_they_name_with_the_same_seed(out: Path) -> None:
    start = out / COLUMN / "ce" / "seed-0" / "model.safetensors"
    first = load_file(start)
    for label in ("simcal-from-ce", "cls-method=bags-from-ce"):
        run = out / COLUMN / label / "seed-0"
        assert read_json(run / "config.json")["config"]["weights"] == str(start.resolve())
        own = load_file(run / "model.safetensors")
        kept = [key for key in first if key.startswith(("backbone.", "rpn.", "roi_heads.mask"))]
        assert kept and all(torch.equal(first[key], own[key]) for key in kept)


def test_a_line_for_each_measure_of_boxes_and_masks(out: Path) -> None:
    found = {(row["column"], row["row"]): row for row in read_csv(out / "paper.csv")}
    test = read_json(out / COLUMN / "simcal-from-ce" / "seed-0" / "metrics.json")["test"]
    assert float(found[f"{COLUMN}-AP", "simcal"]["mean"]) == pytest.approx(100 * test["AP"], abs=1e-3)
    assert float(found[f"{COLUMN}-mask-APr", "simcal"]["mean"]) == pytest.approx(100 * test["mask"]["APr"], abs=1e-3)
    assert (f"{COLUMN}-APf", "simcal") not in found  # no category is frequent here
    assert {(row["table"], row["row"]) for row in found.values()} == {
        ("table6-smoke", "simcal"),
        ("table6-smoke", "bags-cls"),
    }
    assert "Mask APr" in (out / COLUMN / "report.html").read_text()


def test_both_tables_are_asked_for_by_the_name_of_the_data(out: Path, data: str) -> None:
    options = {"columns": ["coco"], "rows": ["bags-cls"], "scale": "smoke", "device": "cpu"}
    lines = list(reproduce("table5", "table6", out=out, data=[data], **options))  # type: ignore[arg-type]
    told = ["table5: 2 runs, 2 of them to train", "table6: 2 runs, 0 of them to train"]
    assert [line for line in lines if " runs, " in line] == told


def test_what_is_missing_is_one_clear_line(data: str, tmp_path: Path) -> None:
    def refused(**options: object) -> str:
        with pytest.raises(LongtailError) as caught:
            list(reproduce("table5", out=tmp_path / "out", device="cpu", **options))  # type: ignore[arg-type]
        assert_clear(caught.value)
        return str(caught.value)

    assert refused(columns=["lvis"], scale="smoke") == "lvis needs a path: lvis:DIR"
    needs = "lvis starts from a detector trained on COCO, such as torchvision's fasterrcnn_resnet50_fpn_coco: give "
    assert refused(columns=["lvis"]) == f"{needs}--weights fasterrcnn_resnet50_fpn:FILE and --data lvis:DIR"
    assert "fasterrcnn_resnet50_fpn:FILE" in refused(columns=["coco"], rows=["cdb-w-cls"], data=[data])
    assert refused(columns=["shapes"]).startswith("table5 has no column 'shapes': it has lvis, coco, shapes-lt")
    assert not (tmp_path / "out").exists()
