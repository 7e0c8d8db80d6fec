"""What ``history.csv`` holds arrives in wandb and mlflow, where they are installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from longtail.cli import main
from training.folders import DIGITS, history

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Trackers write beside whoever calls them."""
    monkeypatch.chdir(tmp_path)


def train(tracker: str) -> list[float]:
    words = [*DIGITS, "--method", "cdb-w", "--epochs", "2", "--trackers", tracker, "--out", "run"]
    assert main(words) == 0
    return [float(row["train_loss"]) for row in history(Path("run"))]


def test_wandb_gets_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    losses = train("wandb")
    (file,) = Path("wandb").glob("offline-run-*/run-*.wandb")
    written = file.read_bytes()  # numbers are text in it
    assert all(f"{loss!r}".encode() in written for loss in losses) and b"val_accuracy" in written


def test_mlflow_gets_every_epoch_and_what_it_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://store")
    assert main([*DIGITS, "--trackers", "mlflow", "--out", "none"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert "--trackers mlflow: " in line and "nowhere" in line and not Path("none", "history.csv").exists()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:./mlruns")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    losses = train("mlflow")
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("longtail").experiment_id])
    assert [metric.value for metric in client.get_metric_history(run.info.run_id, "train_loss")] == losses
    assert run.data.params["method"] == "cdb-w"
