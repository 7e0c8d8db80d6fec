"""Each recipe begins with result, time, hardware and command, filled from the results and not by hand."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest

from longtail import cli
from longtail.paper import recipe_names

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_begins_with_result_time_hardware_and_command(name: str) -> None:
    text = importlib.import_module(f"longtail.paper.{name}").__doc__ or ""
    head = text.split("\n\n")[1]
    assert re.findall(r"^(\w+):", head, re.MULTILINE) == ["Result", "Time", "Hardware", "Command"]
    commands = re.sub(r"\n +(?!longtail )", " ", head.partition("Command:")[2]).split("longtail ")[1:]
    assert commands
    for command in commands:
        assert command.startswith(f"reproduce {name} ")
        cli._parse(shlex.split(command))  # exits where it is no command line


def test_a_head_says_what_the_results_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "docs"), *sys.path])
    heads, measured = (importlib.import_module(name) for name in ("recipe_heads", "measured"))
    (tmp_path / "paper.csv").write_text(
        "table,column,row,n,mean,std,paper,hardware,seconds,command\n"
        'table1,mnist-99,ce,2,8.405,0.515,8.59 ± 0.41,"cpu, bf16",60,x\n'
        "table1,mnist-99,other,2,1,0.1,,gpu,60,x\n"
        'table1-small,mnist-99,ce,1,9,,8.59 ± 0.41,"cpu, bf16",7200,x\n'
    )
    (tmp_path / "paper-runs.csv").write_text(
        "table,column,row,seed,test,seconds,run\n"
        "table1,mnist-99,ce,0,8,50,a\n"
        "table1,mnist-99,ce,1,9,70,b\n"
        "table1,mnist-99,other,0,1,30,c\n"
        "table1-small,mnist-99,ce,0,9,7200,a\n"
    )
    results = measured.Results(tmp_path)
    head = heads.head("table1", results)
    assert head == (
        "Result:\n"
        "    mnist-99: ce 8.41 ± 0.52 (2), paper 8.59 ± 0.41\n"
        "    mnist-99, small scale: ce 9.00 (1)\n"
        "Time:\n"
        "    50 s a run, 2.5 min for the 3 runs one after the other\n"
        "    2.0 h, one run, small scale\n"
        "Hardware: cpu, bf16; gpu\n"
        "Command:\n"
        "    longtail reproduce table1 --columns mnist-99 --precision bf16 --out OUT\n"
        "    longtail reproduce table1 --columns mnist-99 --scale small --precision bf16 --out SMALL\n"
    )
    source = '"""Table 1.\n\nResult: old\nTime:\nCommand:\n    old\n\nMore.\n"""\n'
    assert heads.filled(source, "table1", results) == f'"""Table 1.\n\n{head}\nMore.\n"""\n'
    with pytest.raises(SystemExit, match="does not begin with Result"):
        heads.filled('"""Table 1."""\n', "table1", results)
