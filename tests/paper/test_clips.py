"""Tables 7 and 8 and Figure 6: several measures of the same runs, EGTEA from its lists, what is missing in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import image
from PIL import Image
from safetensors.torch import save_file

from clear import assert_clear
from longtail import cli
from longtail.errors import LongtailError
from longtail.paper import find_recipe, reproduce
from longtail.paper.merge import main as merge
from longtail.training.files import read_csv, read_json

VERBS = 19
GROUPS = [f"{group}_{measure}" for group in ("head", "tail") for measure in ("precision", "recall")]
TABLE_8 = [measure.replace("_", "-") for measure in GROUPS]


def cells(out: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    return {(row["table"], row["column"], row["row"]): row for row in read_csv(out / "paper.csv")}


@pytest.fixture(scope="module")
def egtea(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """EGTEA in miniature: the official lists' layout, a folder of three frames for each of 4 to 6 clips a verb."""
    folder = tmp_path_factory.mktemp("egtea")
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for verb in range(1, VERBS + 1):
        wearers = {"train": ["P01", "P20"] + ["P02", "P03"] * (verb <= 5), "test": ["P04"]}
        for split, names in wearers.items():
            for wearer in names:
                clip = f"{wearer}-R01-Pizza-{verb}-2-F000001-F000002"
                lists[split].append(f"{clip} 7 {verb} 1")
                (folder / "frames" / clip).mkdir(parents=True)
                for i in range(3):
                    Image.new("RGB", (20, 16), (12 * verb, 80 * i, 90)).save(folder / "frames" / clip / f"{i}.jpg")
    for split, lines in lists.items():
        (folder / f"{split}_split1.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smoke run of one row of both tables as the command line makes it, without EGTEA."""
    out = tmp_path_factory.mktemp("clips") / "out"
    words = "reproduce table7 table8 --rows ce --scale smoke --device cpu --out".split()
    assert cli.main([*words, str(out)]) == 0
    return out


def test_all_measures_come_from_the_same_runs(out: Path) -> None:
    folders = [path.name for path in out.iterdir() if path.is_dir()]
    assert folders == ["moving-digits"] and (out / "moving-digits" / "report.html").is_file()
    test = read_json(out / "moving-digits" / "ce" / "seed-0" / "metrics.json")["test"]
    found = cells(out)
    names = [("table7-smoke", name) for name in ("top1", "top5", "precision", "recall")]
    names += [("table8-smoke", name) for name in TABLE_8]
    assert list(found) == [(table, f"moving-digits-{name}", "ce") for table, name in names]
    for (_, column, _), row in found.items():
        key = column.removeprefix("moving-digits-").replace("-", "_")
        assert float(row["mean"]) == pytest.approx(100 * test[key], abs=1e-3)
        assert (row["n"], row["std"], row["paper"]) == ("1", "", "")
    for run in read_csv(out / "runs.csv"):
        assert run["run"] == "moving-digits/ce/seed-0"
        assert run["test"] == found[run["table"], run["column"], "ce"]["mean"]


def test_the_same_call_again_trains_nothing_and_its_command_is_one(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = cells(out)["table8-smoke", "moving-digits-tail-recall", "ce"]
    words = row["command"].replace("OUT", str(out)).split()
    assert words[0] == "longtail" and cli.main([*words[1:], "--device", "cpu"]) == 0
    lines = capsys.readouterr().out
    assert "table8: 1 runs, 0 of them to train" in lines and "test tail recall (%)" in lines


def test_a_group_of_columns_is_chosen_by_its_name(out: Path) -> None:
    options = {"out": out, "rows": ["ce"], "scale": "smoke", "device": "cpu"}
    lines = list(reproduce("table7", "table8", columns=["moving-digits"], **options))  # type: ignore[arg-type]
    assert [line for line in lines if "runs," in line] == [f"table{n}: 1 runs, 0 of them to train" for n in (7, 8)]
    assert sum("test head precision" in line for line in lines) == 1


def test_results_are_merged_in_the_order_of_the_table(out: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "out", tmp_path / "results"
    source.mkdir()
    for name in ("paper.csv", "runs.csv"):
        (source / name).write_text((out / name).read_text().replace("-smoke", ""))
    target.mkdir()
    old = "table,column,row,seed,test_error,val_error,epoch,last_test_error,last_val_error,epochs,seconds,"
    old += "hardware,longtail,run"
    (target / "paper-runs.csv").write_text(f"{old}\ntable1,mnist-99,ce,0,12.5,12,9,13,14,10,1,cpu,0.1,x\n")
    assert merge([str(source), str(target)]) == 0
    assert read_csv(target / "paper.csv") == read_csv(source / "paper.csv")
    first, *rest = read_csv(target / "paper-runs.csv")  # an older file has other names of its columns
    assert (first["table"], first["test"], first["last_val"]) == ("table1", "12.5", "14")
    assert rest == read_csv(source / "runs.csv")


def test_egtea_in_miniature(egtea: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longtail.tasks.image.suggest_workers", lambda *_: 0)  # they take longer to start
    options = {"out": tmp_path, "scale": "smoke", "device": "cpu", "data": [f"egtea:{egtea}"]}
    list(reproduce("table8", columns=["egtea"], rows=["cdb-w"], **options))  # type: ignore[arg-type]
    about = read_json(tmp_path / "egtea" / "cdb-w" / "seed-0" / "data.json")
    assert about["class_counts"] == {"train": [3] * 5 + [1] * 14, "val": [1] * VERBS, "test": [1] * VERBS}
    test = read_json(tmp_path / "egtea" / "cdb-w" / "seed-0" / "metrics.json")["test"]
    paper = dict(zip(GROUPS, ("78.11", "75.01", "64.69", "63.34"), strict=True))
    for measure, printed in paper.items():
        row = cells(tmp_path)["table8-smoke", f"egtea-{measure.replace('_', '-')}", "cdb-w"]
        assert (float(row["mean"]), row["paper"]) == (pytest.approx(100 * test[measure], abs=1e-3), printed)
    assert row["command"].endswith("--data egtea:DIR --weights resnext3d101:FILE --out OUT")


def test_what_is_missing_is_one_clear_line(egtea: Path, tmp_path: Path) -> None:
    def refused(*what: str, **options: object) -> str:
        with pytest.raises(LongtailError) as caught:
            list(reproduce(*what, out=tmp_path / "out", device="cpu", **options))  # type: ignore[arg-type]
        assert_clear(caught.value)
        return str(caught.value)

    needs = "egtea starts from the public weights of 3D-ResNeXt-101 trained on Kinetics, resnext-101-kinetics.pth: give"
    missing = "--weights resnext3d101:FILE and --data egtea:DIR"
    assert refused("table7", columns=["egtea"]) == f"{needs} {missing}"
    data = {"columns": ["egtea"], "rows": ["ce"], "data": [f"egtea:{egtea}"]}
    assert refused("table7", **data) == f"{needs} --weights resnext3d101:FILE"
    assert refused("table7", weights=["resnext3d101:no"], **data) == "weights no do not exist or are no file"
    assert refused("table7", weights=["resnet32:x"]).endswith("it must be NAME:PATH, NAME one of resnext3d101")
    assert refused("table1", weights=["resnet32:x"]) == "--weights resnet32:x: nothing here takes any"
    assert refused("figure6") == "figure6 is drawn from the lists of egtea: give --data egtea:DIR"
    assert "neither train_split1.txt" in refused("figure6", data=[f"egtea:{tmp_path}"])
    assert refused("table7", scale="smoke", columns=["egtea-top1"]) == "egtea needs a path: egtea:DIR"
    assert refused("table7", scale="small").endswith("no column of the scale 'small': it has full, smoke")
    assert not (tmp_path / "out").exists()
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors")  # the file that is given is what the network reads
    wrong = refused("table7", weights=[f"resnext3d101:{tmp_path / 'x.safetensors'}"], **data)
    assert "x.safetensors is of another architecture" in wrong
    assert wrong.startswith("3 runs failed") and wrong.count("x.safetensors") == 1 and not (tmp_path / "out").exists()


def test_tables_go_on_without_egtea(out: Path) -> None:
    options = {"out": out, "rows": ["ce"], "scale": "smoke", "device": "cpu"}
    lines = list(reproduce("table7", **options))  # type: ignore[arg-type]
    assert lines[:2] == [
        "table7: column egtea is left out: egtea needs a path: egtea:DIR",
        "table7: 1 runs, 0 of them to train",
    ]


def test_figure_6_is_drawn_from_the_lists_alone(test_data: Path, tmp_path: Path) -> None:
    if not (test_data / "egtea").is_dir():
        pytest.skip(f"no EGTEA lists in {test_data}")
    lines = list(reproduce("figure6", out=tmp_path, data=[f"egtea:{test_data / 'egtea'}"]))
    assert lines == [f"figure6: wrote {tmp_path / f'figure6.{kind}'}" for kind in ("png", "csv")]
    picture = image.imread(tmp_path / "figure6.png")[..., :3]
    assert (np.ptp(picture, axis=-1) > 0.5).sum() > 5000
    rows = read_csv(tmp_path / "figure6.csv")
    totals = {split: sum(int(row[split]) for row in rows) for split in ("train", "val", "test")}
    assert totals == {"train": 6372, "val": 1927, "test": 2022} and len(rows) == VERBS
    counts = [int(row["train"]) + int(row["val"]) for row in rows]
    assert counts == sorted(counts, reverse=True) and counts[0] == 1421 + 447
    assert [row["name"] for row in rows[:5]] == ["Take", "Put", "Open", "Cut", "Read"]  # as the caption of Table 8
    assert [row["group"] for row in rows] == ["head"] * 5 + ["tail"] * 14
    assert (np.mean(counts[:5]), np.mean(counts[5:])) == (1216, 158.5)  # Section 4.3.1


def test_smoke_runs_need_neither_weights_nor_egtea() -> None:
    for name in ("table7", "table8"):
        for column in find_recipe(name).columns:
            fields = column.fields("smoke")
            assert fields["model"] == "small3d" and fields["epochs"] == 2
            assert column.pretrained == "" or column.folder == "egtea"
