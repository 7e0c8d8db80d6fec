"""What README and documentation show is run: Python as it stands, commands through the command line's own parser."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import longtail
from longtail import cli
from longtail.advice import base
from longtail.training.files import read_csv
from modules import module_at

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

NINE_LINES = """\
difficulty = ClassDifficulty(num_classes=100)
criterion = ClassWeightedLoss(difficulty)                        # CDB-W ...
sampler = ClassWeightedSampler(train.targets, difficulty)        # ... or CDB-S
for epoch in range(epochs):
    sampler.set_epoch(epoch)
    for x, y in DataLoader(train, 128, sampler=sampler): ...
    for x, y in held_out_loader: difficulty.update(model(x), y)
    difficulty.step()
"""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def given(num_classes: int) -> dict:
    """The names that the examples take for granted."""
    generator = torch.Generator().manual_seed(0)
    train = TensorDataset(torch.randn(300, 8, generator=generator), torch.arange(300) % num_classes)
    train.targets = train.tensors[1]
    model = nn.Linear(8, num_classes)
    names = ("ClassDifficulty", "ClassWeightedLoss", "ClassWeightedSampler")
    return {
        "DataLoader": DataLoader,
        "train": train,
        "held_out_loader": DataLoader(train, 50),
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), 0.1),
        "epochs": 2,
        **{name: getattr(longtail, name) for name in names},
    }


def test_the_readme_shows_a_complete_example_first_and_nine_lines_for_an_own_loop() -> None:
    readme = ROOT / "README.md"
    first, second = blocks(readme, "python")
    assert first.startswith("import torch\n")
    assert second == NINE_LINES
    first_screens = readme.read_text(encoding="utf-8").splitlines()[:80]
    for mark in ("winners.png", "pip install .", "longtail compare"):
        assert any(mark in line for line in first_screens), mark


@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/compared.md"])
def test_pages_count_the_methods_that_there_are(page: str) -> None:
    told = re.findall(r"\b(\d+) methods", (ROOT / page).read_text(encoding="utf-8"))
    assert told and {*told} == {str(len(longtail.list_methods()))}


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_python_examples_run(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page's blocks run in order, in one namespace; the README's first one is complete and runs alone."""
    monkeypatch.setattr(base, "CHECKS", dict(base.CHECKS))  # an example adds a check
    parts = blocks(page, "python")
    if page.name == "README.md":
        names: dict = {}
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(parts.pop(0), str(page), "exec"), names)
        assert names["difficulty"].steps >= 1
    source = "\n".join(parts)
    names = given(int(match.group(1)) if (match := re.search(r"num_classes=(\d+)", source)) else 10)
    exec(compile(source, str(page), "exec"), names)
    assert "difficulty" not in source or names["difficulty"].steps >= 1


def commands() -> list[str]:
    """Every complete command line of the pages, in blocks and in running text."""
    found = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [line for block in blocks(page, "shell") for line in block.splitlines()]
        lines += re.findall(r"`(longtail [^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
        found |= {line for line in lines if line.startswith("longtail ") and "..." not in line.replace("FILE...", "")}
    return sorted(line for line in found if len(line.split()) > 2 and "COMMAND" not in line)


@pytest.mark.parametrize("line", commands())
def test_commands_are_understood(line: str) -> None:
    words = shlex.split(line.partition(" > ")[0], comments=True)[1:]
    if "--completion" in words or "--help" in words:
        assert cli.main(words) == 0
        return
    if "--config" in words:  # the file would be read
        at = words.index("--config")
        words[at : at + 2] = ["digits"]
    try:
        cli._parse(words)
    except SystemExit as stop:
        raise AssertionError(f"{line!r} is no command line") from stop


def script(name: str) -> ModuleType:
    """A script of the pages as a module."""
    return module_at(ROOT / "docs" / f"{name}.py")


@pytest.fixture
def build_tables() -> ModuleType:
    return script("build_tables")


def test_tables_of_numbers_are_those_of_the_results(build_tables: ModuleType) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        stale = build_tables.main(["--check"])
    assert not stale, f"run python docs/build_tables.py: {out.getvalue().split()} differ from results/*.csv"


def test_a_table_shows_what_the_results_hold(build_tables: ModuleType, tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (results / "paper.csv").write_text(
        "table,column,row,n,mean,std,paper,hardware,seconds,command\n"
        "table1,mnist-99,ce,5,8.4,0.512,8.59 ± 0.41,cpu,10,x\n"
        "table1,mnist-199,ce,1,14,,14.35,cpu,10,x\n"
        "table2,mnist-99,tau=1,3,2.5,0.1,2.49,cpu,10,x\n"
    )
    (results / "benchmarks.csv").write_text(
        "name,size,ours,other,ratio,hardware,command\nsampler,1e6,1 s,5 s,0.2,cpu,x\n"
    )
    (results / "defaults.csv").write_text(
        "task,method,options,n,last,last_std,last_quarter,last_quarter_std\n"
        "digits,ce,,3,90.5,0.25,90.1,0.2\n"
        "digits,cdb-w,tau=1,3,92,0.5,91.5,0.2\n"
        "mnist,cdb-w,tau=1,1,97,,96.5,\n"
    )
    page = (
        "a\n\n<!-- results: table1 mnist-99 mnist-199 --><!-- /results -->\n"
        "b\n\n<!-- benchmarks --><!-- /benchmarks -->\nc\n\n<!-- defaults --><!-- /defaults -->\n"
    )
    filled = build_tables.fill(page, tmp_path)
    assert "| `ce` | 8.40 ± 0.51 (5) | 8.59 ± 0.41 | 14.00 (1) | 14.35 |" in filled
    assert "2.5" not in filled
    assert "| sampler | 1e6 | 1 s | 5 s | 0.2 | cpu |" in filled
    assert "| `ce` | 90.50 ± 0.25 (3) | 90.1 | – | – |" in filled
    assert "| `cdb-w tau=1` | 92.00 ± 0.50 (3) | 91.5 | 97.00 (1) | 96.5 |" in filled
    assert build_tables.fill(filled, tmp_path) == filled
    note = "\n\nNot run yet: `longtail reproduce table1 --columns mnist-99 mnist-199`.\n\n"
    assert build_tables.fill(filled, tmp_path / "none") == page.replace("--><!-- /results", f"-->{note}<!-- /results")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_no_line_begins_with_the_marker_of_a_number(page: Path) -> None:
    """Markdown takes such a line for HTML as a whole."""
    assert not re.search(r"^ *<!-- number", page.read_text(encoding="utf-8"), re.MULTILINE)


def test_single_numbers_and_paired_differences_are_those_of_the_runs(build_tables: ModuleType, tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (results / "paper.csv").write_text(
        "table,column,row,n,mean,std,paper,hardware,seconds,command\n"
        "t,a,ce,3,13.625,1.5,8.59 ± 0.41,cpu,1,x\n"
        "t,a,other,3,10.0,1.5,,cpu,1,x\n"
        "t,b,other,2,12.5,0.5,,cpu,1,x\n"
    )
    runs = {("a", "ce"): (12.0, 13.875, 15.0), ("a", "other"): (9.0, 10.0, 11.0), ("b", "other"): (12.0, 13.0)}
    (results / "defer.csv").write_text("task,method,options,last\ndigits,ce,,93.1\ndigits,cdb-w,defer=0.8,95.15\n")
    lines = [f"t,{c},{r},{k},{v},{v + 1},{k / 2}" for (c, r), values in runs.items() for k, v in enumerate(values)]
    (results / "paper-runs.csv").write_text("\n".join(["table,column,row,seed,test,last_test,val", *lines]) + "\n")

    def told(text: str) -> str:
        page = build_tables.fill(f"so <!-- number: {text} -->old<!-- /number --> points", tmp_path)
        return page.partition("-->")[2].partition("<!--")[0]

    assert told("t a ce") == "13.63"
    assert told("t a ce .0") == "14"
    assert told("t a ce spread .1") == "13.6 ± 1.5"
    assert told("t a ce se") == "0.87"
    assert told("t a ce last .1") == "14.6"
    assert told("t a ce paper") == "8.59"
    assert told("t b other val") == "0.25"
    assert told("defer | digits | cdb-w defer=0.8") == "95.15"
    assert told("defer | digits | cdb-w defer=0.8 | above ce | .1") == told(
        "defer | digits | ce | below cdb-w defer=0.8 | .1"
    )
    assert told("defer | digits | ce | below cdb-w defer=0.8 | .1") == "2.1"
    assert told("t a ce n") == "3"
    assert told("t a ce above paper .1") == "5.0"
    assert told("t a ce times other .1") == "1.4"
    assert told("t a ce above other .1") == "3.6"  # 3, 3.875 and 4: mean 3.625
    assert told("t a other below ce both .1") == "3.6 [2.3, 5.0]"  # 3.625 ± 4.3027 * 0.5449 / sqrt(3)
    assert told("t a ce above other least .1") == told("t a other below ce least .1") == "3.0"
    assert told("t a other above b/other .0") == "-3"
    for unknown in (
        "t a seesaw",
        "t a ce above seesaw",
        "t a ce median",
        "t a ce above other median",
        "defer | mnist | ce",
    ):
        with pytest.raises(SystemExit, match="hold no number"):
            told(unknown)
    page = build_tables.fill("<!-- paired: t a | ce other | other --><!-- /paired -->", tmp_path)
    assert "|  | against `ce` | against `other` |" in page
    assert "| `other` | -3.63 [-4.98, -2.27] (3) | – |" in page


def test_the_picture_of_who_wins_shows_the_results() -> None:
    """Its numbers, derived anew from the means of the table; the picture itself can be drawn."""
    module = script("draw_winners")
    found = module.gains(read_csv(ROOT / "results" / "paper-runs.csv"))
    means = {(r["table"], r["column"], r["row"]): r for r in read_csv(ROOT / "results" / "paper.csv")}
    compared = 0
    for setting, own in found.items():
        sign, _ = module.SETTINGS[setting]
        for method, (gain, half) in own.items():
            row, plain = means[*setting, method], means[*setting, "ce"]
            if row["n"] == plain["n"]:
                assert gain == pytest.approx(sign * (float(row["mean"]) - float(plain["mean"])), abs=1e-3)
                compared += 1
            assert half > 0
    assert compared > 20
    assert len(module.draw(found).axes) == 1
