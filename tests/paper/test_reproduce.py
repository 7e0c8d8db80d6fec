"""``longtail reproduce``: what it trains, what it writes, how it continues, what it refuses."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from clear import assert_clear
from longtail import cli
from longtail.errors import LongtailError
from longtail.paper import reproduce, table1
from longtail.paper.columns import CIFAR100_100
from longtail.paper.merge import main as merge
from longtail.paper.results import CELLS, RUNS, beside_paper

HEADER = "table,column,row,n,mean,std,paper,hardware,seconds,command"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


@pytest.fixture(scope="module")
def place(test_data: Path) -> str:
    if not (test_data / "mnist").is_dir():
        pytest.skip(f"no MNIST in {test_data}")
    return f"mnist-4v9:{test_data / 'mnist'}"


@pytest.fixture(scope="module")
def out(place: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cells of Table 1, one seed each, as the command line makes them."""
    out = tmp_path_factory.mktemp("paper") / "out"
    words = "reproduce table1 --columns mnist-99 --rows ce cdb-w --seeds 1 --scale smoke --device cpu --data".split()
    assert cli.main([*words, place, "--out", str(out)]) == 0
    return out


@pytest.fixture
def copy(out: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(out, tmp_path / "out"))


def again(out: Path, place: str, *what: str, **options: object) -> list[str]:
    options = {"columns": ["mnist-99"], "scale": "smoke", "device": "cpu", "data": [place]} | options
    return list(reproduce(*what, out=out, **options))  # type: ignore[arg-type]


def add_seed(out: Path, label: str, seed: int, top1: float) -> None:
    """A finished run of another seed, with another result."""
    folder = Path(shutil.copytree(out / "mnist-99" / label / "seed-0", out / "mnist-99" / label / f"seed-{seed}"))
    about = json.loads((folder / "config.json").read_text())
    about["config"] |= {"seed": seed, "data_seed": seed}
    (folder / "config.json").write_text(json.dumps(about))
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["test"]["top1"] = top1
    (folder / "metrics.json").write_text(json.dumps(metrics))


def test_runs_and_results_are_where_they_should_be(out: Path) -> None:
    for label in ("ce", "cdb-w"):
        assert (out / "mnist-99" / label / "seed-0" / "metrics.json").is_file()
    assert (out / "mnist-99" / "report.html").stat().st_size > 10_000
    text = (out / "paper.csv").read_text()
    assert text.splitlines()[0] == ",".join(CELLS) == HEADER
    ce, cdb = rows(out / "paper.csv")
    metrics = json.loads((out / "mnist-99" / "ce" / "seed-0" / "metrics.json").read_text())
    assert (ce["table"], ce["column"], ce["row"], ce["n"]) == ("table1-smoke", "mnist-99", "ce", "1")
    assert float(ce["mean"]) == pytest.approx(100 * (1 - metrics["test"]["top1"]), abs=1e-3)
    assert (ce["std"], ce["paper"], cdb["paper"]) == ("", "8.59 ± 0.41", "2.39 ± 0.41")
    assert "cores" in ce["hardware"]
    history = rows(out / "mnist-99" / "ce" / "seed-0" / "history.csv")
    assert float(ce["seconds"]) == pytest.approx(sum(float(row["seconds"]) for row in history), abs=0.06)
    run = rows(out / "runs.csv")[0]
    assert tuple(run) == RUNS
    assert run["run"] == "mnist-99/ce/seed-0"
    assert float(run["last_test"]) == pytest.approx(100 * (1 - metrics["last"]["test"]["top1"]), abs=1e-3)
    assert float(run["val"]) == pytest.approx(100 * (1 - metrics["best"]["val"]["top1"]), abs=1e-3)
    assert (run["epoch"], run["epochs"]) == (str(metrics["best"]["epoch"]), "2")


def test_the_command_of_a_cell_is_one_that_the_command_line_takes(out: Path) -> None:
    for row in rows(out / "paper.csv"):
        words = row["command"].split()
        assert words[0] == "longtail" and str(out) not in row["command"]
        command = cli._parse(words[1:])
        assert (command.what, command.columns, command.rows) == (("table1",), (row["column"],), (row["row"],))
        assert (command.seeds, command.scale) == (int(row["n"]), "smoke")


def test_the_same_call_again_trains_nothing_and_needs_no_data(copy: Path, place: str) -> None:
    before = {p: p.stat().st_mtime_ns for p in (copy / "mnist-99").rglob("seed-0/*")}
    text = (copy / "paper.csv").read_text()
    (copy / "paper.csv").unlink()
    lines = again(copy, place, "table1", rows=["ce", "cdb-w"], seeds=1)
    assert lines[0] == "table1: 2 runs, 0 of them to train"
    assert {p: p.stat().st_mtime_ns for p in (copy / "mnist-99").rglob("seed-0/*")} == before
    assert (copy / "paper.csv").read_text() == text
    assert "Ours - paper" in "\n".join(lines)


def test_the_papers_numbers_stand_only_beside_runs_of_its_protocol() -> None:
    found = {}
    ce = table1.RECIPE.rows[0]
    for column in (table1.RECIPE.columns[0], CIFAR100_100):
        cell = table1.RECIPE.cell(column, ce)
        for scale in ("full", "small", "smoke"):
            [row] = beside_paper("title", [cell], lambda cell: (), scale=scale).rows
            found[column.name, scale] = row[1]
    assert list(found.values()) == ["8.59 ± 0.41", "8.59 ± 0.41", "-", "61.79", "-", "-"]


def test_tables_share_runs(copy: Path, place: str) -> None:
    lines = again(copy, place, "table2", rows=["default"])
    assert lines[0] == "table2: 1 runs, 0 of them to train"
    found = {(row["table"], row["row"]): row for row in rows(copy / "paper.csv")}
    assert list(found) == [("table1-smoke", "ce"), ("table1-smoke", "cdb-w"), ("table2-smoke", "default")]
    assert found["table2-smoke", "default"]["mean"] == found["table1-smoke", "cdb-w"]["mean"]
    assert found["table2-smoke", "default"]["paper"] == ""


def test_all_finished_seeds_count(copy: Path, place: str) -> None:
    ours = float(rows(copy / "paper.csv")[0]["mean"])
    add_seed(copy, "ce", 1, 1 - (ours - 3) / 100)
    add_seed(copy, "ce", 2, 1 - (ours - 6) / 100)
    again(copy, place, "table1", rows=["ce"], seeds=1)
    ce = rows(copy / "paper.csv")[0]
    assert (ce["n"], ce["command"].split("--seeds ")[1][0]) == ("3", "3")
    assert float(ce["mean"]) == pytest.approx(ours - 3, abs=1e-3)
    assert float(ce["std"]) == pytest.approx(3, abs=1e-3)  # divisor n - 1
    assert [row["seed"] for row in rows(copy / "runs.csv") if row["row"] == "ce"] == ["0", "1", "2"]


def test_runs_of_another_configuration_are_refused_not_counted(copy: Path, place: str) -> None:
    path = copy / "mnist-99" / "ce" / "seed-0" / "config.json"
    about = json.loads(path.read_text())
    about["config"]["lr"] = 0.5
    path.write_text(json.dumps(about))
    with pytest.raises(LongtailError, match=r"another configuration \(lr: 0.5 there, 0.001 here\)"):
        again(copy, place, "table1", rows=["ce"], seeds=1)


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        (["table9"], {}, "unknown table or figure 'table9': known are comparison, figure1, figure2, figure3, figure4"),
        ([], {}, "name at least one table or figure"),
        (["table1"], {"columns": ["mnist-98"]}, "table1 has no column 'mnist-98': it has mnist-99"),
        (["table1"], {"rows": ["cdb"]}, "table1 has no row 'cdb': it has ce, focal"),
        (["table1", "table2"], {"rows": ["ce"]}, "table2 has no row 'ce': it has tau=0.5"),
        (["figure2"], {"columns": ["mnist-99"]}, "figure2 has no columns and rows"),
        (["table1"], {"seeds": 0}, "--seeds is 0: it must be at least 1"),
        (
            ["table1"],
            {"data": ["cifar10:x"]},
            "--data cifar10:x: it must be NAME:PATH, NAME one of mnist-4v9, cifar100",
        ),
        (["table1"], {"data": ["mnist-4v9"]}, "--data mnist-4v9: it must be NAME:PATH"),
        (["table1"], {"data": ["cifar100:a", "cifar100:b"]}, "--data names cifar100 twice"),
        (["table1"], {"columns": ["mnist-99"], "data": ["mnist-4v9:nowhere"]}, "mnist-4v9 was not found"),
        (["table1"], {"data": [f"{n}:nowhere" for n in ("mnist-4v9", "cifar100", "imagenet-lt")]}, "no data for any"),
    ],
)
def test_mistakes_are_one_clear_line(what: list[str], options: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(LongtailError) as caught:
        list(reproduce(*what, **{"out": tmp_path / "out", "scale": "smoke"} | options))
    assert str(caught.value).startswith(message)
    assert_clear(caught.value)
    assert not (tmp_path / "out").exists()


def test_results_are_merged_by_cell(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "results"
    assert merge([str(copy), str(target)]) == 2  # smoke runs are no results
    assert "holds no results" in capsys.readouterr().err and not target.exists()
    for name in ("paper.csv", "runs.csv"):
        path = copy / name
        path.write_text(path.read_text().replace("table1-smoke", "table1"))
    target.mkdir()
    old = ["table1,mnist-99,cdb-w,1,9.9,,2.39 ± 0.41,cpu,1,x", "table1,mnist-199,ce,1,9.9,,14.35 ± 1.10,cpu,1,x"]
    (target / "paper.csv").write_text("\n".join([HEADER, *reversed(old)]) + "\n")
    assert merge([str(copy), str(target)]) == 0
    merged = rows(target / "paper.csv")
    assert [(row["column"], row["row"]) for row in merged] == [
        ("mnist-99", "ce"),
        ("mnist-99", "cdb-w"),
        ("mnist-199", "ce"),
    ]  # the order of the table
    assert merged[:2] == rows(copy / "paper.csv") and merged[2]["mean"] == "9.9"
    assert rows(target / "paper-runs.csv") == rows(copy / "runs.csv")
    assert merge([str(copy)]) == 2
    (target / "paper.csv").write_text("a,b\n1,2\n")
    assert merge([str(copy), str(target)]) == 2
    assert "has other columns" in capsys.readouterr().err
