"""Runs as jobs of a cluster, here of submitit's local one; several launchers on one folder train nothing twice."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from commands import Command
from longtail import cli
from longtail.cli import main
from longtail.commands.compare import Compare
from longtail.errors import LongtailError
from longtail.training.cluster import Submission, _executor, _Run
from longtail.training.config import RunConfig
from longtail.training.files import locked, read_csv
from longtail.training.jobs import Job
from longtail.training.launch import run_jobs
from training.folders import DIGITS, assert_same_run

WORDS = ["compare", *DIGITS[1:], "--methods", "ce", "cdb-w", "--seeds", "1", "--epochs", "1", "--device", "cpu"]


def results(out: Path) -> dict[str, float]:
    found = {run.parent.parent.name: json.loads(run.read_text()) for run in out.glob("*/seed-*/metrics.json")}
    return {name: metrics["test"]["top1"] for name, metrics in found.items()}


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_trains_what_this_process_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("submitit")
    assert (
        main([*WORDS, "--submit", "local", "--submit-options", "timeout_min=30", "--out", str(tmp_path / "far")]) == 0
    )
    assert "submitted 2 runs" in capsys.readouterr().out
    assert main([*WORDS, "--out", str(tmp_path / "here")]) == 0
    assert results(tmp_path / "far") == results(tmp_path / "here") and len(results(tmp_path / "far")) == 2
    assert (tmp_path / "far" / "report.html").is_file()
    assert main([*WORDS, "--submit", "local", "--out", str(tmp_path / "far")]) == 0
    assert "0 to train" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_slurm_trains_what_this_process_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cluster of one node is enough: slurm-wlm and munge of the distribution, no accounting."""
    pytest.importorskip("submitit")
    if shutil.which("sbatch") is None or subprocess.run(["sinfo"], capture_output=True, check=False).returncode:
        pytest.skip("no Slurm answers here: install slurm-wlm and munge, and start munged, slurmctld and slurmd")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # jobs inherit it
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words = [*WORDS[: WORDS.index("--seeds")], "--seeds", "2", *WORDS[WORDS.index("--seeds") + 2 :]]
    options = ["--submit", "slurm", "--submit-options", "timeout_min=30", "--jobs", "2"]
    assert main([*words, *options, "--out", str(tmp_path / "far")]) == 0
    assert "submitted 4 runs" in capsys.readouterr().out
    assert "--array=0-3%2" in next((tmp_path / "far" / "submitted").glob("*.sh")).read_text()
    assert main([*words, "--out", str(tmp_path / "here")]) == 0
    for run in sorted((tmp_path / "here").glob("*/seed-*")):
        assert_same_run(tmp_path / "far" / run.parent.name / run.name, run)
    assert main([*words, *options, "--out", str(tmp_path / "far")]) == 0
    assert "0 to train" in capsys.readouterr().out


def test_two_launchers_share_one_folder(tmp_path: Path) -> None:
    for launcher in [Command([*WORDS, "--out", tmp_path / "out"]) for _ in range(2)]:
        assert launcher.wait() == 0, launcher.errors
    assert len(results(tmp_path / "out")) == 2
    for history in (tmp_path / "out").glob("*/seed-*/history.csv"):
        assert len(read_csv(history)) == 1


def test_a_run_that_another_launcher_trains_is_waited_for_and_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder is held until the others are trained; then it is free, and trained here."""
    from longtail.training import run

    config = RunConfig(data="digits")
    jobs = [Job(config, tmp_path / name) for name in ("a", "b", "c")]
    jobs.append(Job(config, tmp_path / "d", after=tmp_path / "a"))
    order: list[str] = []
    held = locked(tmp_path)

    def train(config: RunConfig, folder: Path, **words: Any) -> None:
        if folder.name == "a":
            if len(order) == 2:
                held.__exit__(None, None, None)
            with locked(tmp_path):
                pass
        order.append(folder.name)

    monkeypatch.setattr(run, "train", train)
    held.__enter__()
    assert [outcome.job.folder.name for outcome in run_jobs(jobs)] == ["b", "c", "a", "d"] == order


def test_what_a_job_says_and_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("x")
    told = _Run()(RunConfig(data="digits", epochs=1).to_dict(), str(tmp_path / "run"), "ce")
    assert told is not None and "choose another --out" in told
    with pytest.raises(LongtailError, match="--submit-options belongs to --submit slurm"):
        Compare(data="digits", out=tmp_path, submit_options=("a=1",)).run()
    pytest.importorskip("submitit")
    with pytest.raises(LongtailError, match="--submit local: "):
        _executor(Submission("local", ("no_such_option=1",), tmp_path / "logs"), 1)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(LongtailError, match=r"pip install 'longtail\[slurm\]'"):
        _executor(Submission("local", (), tmp_path / "logs"), 1)


def test_the_commands_of_the_page_are_understood() -> None:
    page = Path(__file__).parents[2] / "docs" / "trainers" / "clusters.md"
    blocks = re.findall(r"^```shell\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = re.findall(r"^.*?\blongtail (\w.*)$", "\n".join(blocks), re.MULTILINE)
    assert len(lines) == 5
    for line in lines:
        cli._parse(shlex.split(line))  # exits where it is no command line
