"""Many runs: which, on whose splits, and that one that fails or is ended leaves the others and no process behind."""

from __future__ import annotations

import json
import os
import signal
import time

import psutil
import pytest

from commands import Command, run
from longtail.errors import LongtailError
from longtail.kwargs import split_methods
from longtail.training.config import RunConfig
from longtail.training.configfile import read_config
from longtail.training.jobs import Job, comparison_jobs
from longtail.training.launch import run_jobs
from longtail.training.progress import Whole
from longtail.training.recipes import resolve
from training.folders import DIGITS

SMALL = {"model": "lenet5-classic", "image_size": 16, "epochs": 1, "device": "cpu"}


def test_each_seed_cuts_its_own_splits_unless_the_data_seed_is_fixed(tmp_path):
    def data_seeds(**options: int) -> list[tuple[int, int | None]]:
        jobs = comparison_jobs(RunConfig(**options), ["ce", "cb"], 3, tmp_path)
        return [(job.config.seed, job.config.data_seed) for job in jobs[::2]]

    assert data_seeds() == [(0, 0), (1, 1), (2, 2)]
    assert data_seeds(seed=4) == [(4, 4), (5, 5), (6, 6)]
    assert data_seeds(seed=4, data_seed=0) == [(4, 0), (5, 0), (6, 0)]


def test_a_run_alone_keeps_the_splits_of_data_seed_0():
    assert resolve(RunConfig(data="digits", seed=3)).data_seed == 0


def test_a_comparison_on_one_split_is_not_mixed_with_one_on_several(tmp_path):
    """A folder of the time when all seeds had the splits of data seed 0."""
    config = resolve(RunConfig(data="digits", method="ce", seed=1, data_seed=0))
    folder = tmp_path / "ce" / "seed-1"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"longtail": "0", "config": config.to_dict()}))
    with pytest.raises(LongtailError, match=r"splits of data seed 0.*--data-seed 0"):
        comparison_jobs(RunConfig(data="digits"), ["ce"], 2, tmp_path)
    jobs = comparison_jobs(RunConfig(data="digits", data_seed=0), ["ce"], 2, tmp_path)
    assert [job.config.data_seed for job in jobs] == [0, 0]


@pytest.mark.parametrize(
    ("texts", "methods"),
    [
        (["ce", "cb"], ["ce", "cb"]),
        (["ce,cb"], ["ce", "cb"]),
        (["ce, cdb-w:tau=1,max_tau=3,cb", "lrw"], ["ce", "cdb-w:tau=1,max_tau=3", "cb", "lrw"]),
        (["cdb-w:base=ldam-drw,tau=1"], ["cdb-w:base=ldam-drw,tau=1"]),
        ([","], []),
    ],
)
def test_commas_separate_methods_but_not_hyperparameters(texts, methods):
    assert split_methods(texts) == methods


def test_a_hyperparameter_without_its_colon_is_named():
    with pytest.raises(LongtailError, match="cdb-w:tau=1"):
        split_methods(["ce,cdb-w,tau=1"])


@pytest.mark.parametrize("spelling", ["CDB_W", "cdb-w", "Cdb-W:tau=1"])
def test_a_method_has_one_folder_however_it_is_spelled(tmp_path, spelling):
    (job,) = comparison_jobs(RunConfig(), [spelling], 1, tmp_path)
    assert job.config.method == "cdb-w" == resolve(RunConfig(method=spelling.partition(":")[0])).method
    assert job.folder.parent.name in ("cdb-w", "cdb-w-tau=1")
    with pytest.raises(LongtailError, match="twice"):
        comparison_jobs(RunConfig(), [spelling, spelling.upper().replace("TAU", "tau")], 1, tmp_path)


@pytest.mark.parametrize("parallel", [1, 2])
def test_a_run_that_fails_does_not_end_the_others(tmp_path, parallel):
    """CDB-W needs a held-out split; what needs its run fails with it, the others are trained, one after another."""
    configs = {name: RunConfig(data="digits", method=name, protocol="cao", **SMALL) for name in ("cdb-w", "ce", "cb")}
    first = {"cb": tmp_path / "ce" / "seed-0"}
    jobs = [Job(config, tmp_path / name / "seed-0", after=first.get(name)) for name, config in configs.items()]
    jobs.append(Job(configs["cb"], tmp_path / "after" / "seed-0", after=jobs[0].folder))
    told = {outcome.job.folder.parent.name: outcome.problem for outcome in run_jobs(jobs, parallel=parallel)}
    assert told.keys() == {"cdb-w", "ce", "cb", "after"}
    assert "held-out" in (told["cdb-w"] or "") and "failed" in (told["after"] or "")
    assert (told["ce"], told["cb"]) == (None, None) and list(told).index("ce") < list(told).index("cb")
    assert (tmp_path / "cb" / "seed-0" / "metrics.json").is_file()
    assert [o.job.label for o in run_jobs(jobs[1:3], parallel=parallel)] == []  # nothing is trained twice


@pytest.mark.parametrize("jobs", [1, 2])
def test_data_that_cannot_be_used_end_a_comparison_with_one_line(tmp_path, jobs):
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "1.png").write_bytes(b"no image")
    words = ["compare", f"folder:{tmp_path / 'photos'}", "--seeds", "2", "--jobs", jobs, "--out", tmp_path / "out"]
    done = run(words)
    assert done.wait() == 2
    (line,) = done.errors
    assert line.startswith("error: ") and "1.png" in line and "failed" not in line + done.output


def test_the_command_names_what_failed_and_reports_the_rest(tmp_path):
    words = ["compare", *DIGITS[1:], *"--epochs 1 --protocol cao --methods cdb-w ce --seeds 1 --out".split(), tmp_path]
    done = run(words)
    assert done.wait() == 1
    (line,) = done.errors
    assert line.startswith("cdb-w, seed 0 failed") and "held-out" in line
    assert (tmp_path / "report.html").is_file()
    assert read_config(tmp_path / "ce" / "seed-0").data_seed == 0


def test_a_baseline_that_is_not_compared_is_told_before_training(tmp_path):
    words = ["compare", *DIGITS[1:], *"--epochs 1 --methods cb --seeds 1 --baseline ce --out".split(), tmp_path / "out"]
    done = run(words)
    assert done.wait() == 2
    assert "--baseline ce is none of the methods compared: cb" in done.errors[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_no_run_outlives_its_comparison(tmp_path, number):
    """Two runs at a time, both in their epochs."""
    if number != signal.SIGKILL and signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip(f"{number.name} is ignored here, as nohup asks, and so it is by the runs")
    words = ["compare", *DIGITS[1:], *"--methods ce cb --seeds 1 --jobs 2 --epochs 9999 --out".split(), tmp_path]
    comparison = Command(words)
    begun = [tmp_path / method / "seed-0" / "history.csv" for method in ("ce", "cb")]
    while comparison.running and not all(file.exists() for file in begun):
        time.sleep(0.05)
    children = psutil.Process(comparison.process.pid).children(recursive=True)
    assert len(children) == 2
    assert comparison.process.pid is not None
    os.kill(comparison.process.pid, number)
    expected = {signal.SIGINT: 130, signal.SIGKILL: -9}.get(number, 128 + number)
    assert comparison.wait() == expected
    assert psutil.wait_procs(children, timeout=120)[1] == []
    if number in (signal.SIGTERM, signal.SIGHUP):
        (line,) = comparison.errors
        assert number.name in line and "continues" in line


def test_what_is_left_of_all_runs_follows_from_those_before(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    whole = Whole(4)
    whole.start_run(0.5)  # half of it was done by an earlier call
    now[0] = 10.0
    assert whole.text(0.75) == "0 of 4 runs done, about 2 min 10 s left in all"  # 10 s a quarter, 3.25 runs to go
    whole.end_run()
    now[0] = 20.0
    assert whole.text() == "1 of 4 runs done, about 2 min 00 s left in all"
    for _ in range(3):
        whole.end_run()
    assert whole.text() == "4 of 4 runs done"
