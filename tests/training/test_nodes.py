"""Two machines, as two launchers in two working directories that meet over the loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from longtail.cli import main
from longtail.training import peers
from training.folders import DIGITS, history, snapshot
from training.test_processes import SMALL, fail_here

WORDS = [*DIGITS, "--method", "cdb-w", "--epochs", "2", "--device", "cpu"]


def launch(tmp_path: Path, out: str) -> list[tuple[int, str]]:
    """Exit code and standard error of each node; each has a working directory of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    nodes = []
    for rank in range(2):
        (tmp_path / f"node-{rank}").mkdir()
        command = [
            sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--node-rank", str(rank),
            "--nproc-per-node", "1", "--master-addr", "127.0.0.1", "--master-port", str(port), "-m", "longtail",
        ]  # fmt: skip
        nodes.append(
            subprocess.Popen(
                [*command, *WORDS, "--out", out],
                cwd=tmp_path / f"node-{rank}",
                env=environment,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
    ended = [node.communicate(timeout=1200) for node in nodes]
    return [(node.returncode, errors) for node, (_, errors) in zip(nodes, ended, strict=True)]


def test_two_nodes_with_one_folder_train_as_one_process_does(tmp_path: Path) -> None:
    for code, errors in launch(tmp_path, str(tmp_path / "two")):
        assert code == 0, errors
    assert main([*WORDS, "--out", str(tmp_path / "one")]) == 0
    two, one = (json.loads((tmp_path / name / "metrics.json").read_text())["test"]["top1"] for name in ("two", "one"))
    assert two == pytest.approx(one, abs=0.03)
    for a, b in zip(history(tmp_path / "two"), history(tmp_path / "one"), strict=True):
        assert float(a["train_loss"]) == pytest.approx(float(b["train_loss"]), rel=1e-4)
    assert all(snapshot(tmp_path / f"node-{rank}") == {} for rank in range(2))


def train_there(rank: int, folder: str) -> str:
    """Train in a working directory of this process's own; the error."""
    place, patience = os.getcwd(), peers._SEEN
    os.chdir(Path(folder) / f"node-{rank}")
    peers._SEEN = 0.2
    try:
        return fail_here(rank, SMALL | {"method": "cdb-w"}, "run")
    finally:
        peers._SEEN = patience
        os.chdir(place)


def test_a_folder_that_is_not_shared_is_told_before_the_training(run_two: Any, tmp_path: Path) -> None:
    """A relative path is another folder in another working directory; the end of the run would find no weights."""
    for rank in range(2):
        (tmp_path / f"node-{rank}").mkdir()
    for error in run_two(train_there, str(tmp_path)):
        assert "process 1 finds no folder of this run at" in error and "give --out as a whole path" in error
    assert not list((tmp_path / "node-0" / "run").glob("*.tmp")) and not (tmp_path / "node-0/run/history.csv").exists()
