"""Methods that are measured, or choose, out of fold: whole runs on rows of features."""

from __future__ import annotations

import numpy as np
import pytest

from longtail.config import RunConfig
from longtail.errors import LongtailError
from longtail.training.apply import evaluate
from longtail.training.files import read_csv, read_json
from longtail.training.run import train


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """Four clouds with 40 to 6 training rows, one of them spread out."""
    draw, path = np.random.default_rng(0), tmp_path_factory.mktemp("features") / "clouds.npz"
    centres, counts = 2 * draw.normal(size=(4, 8)), {"train": (40, 30, 30, 6), "val": (4,) * 4, "test": (15,) * 4}
    rows = [
        (centres[c] + (3.0 if c == 1 else 1.2) * draw.normal(size=8), c, split)
        for split, own in counts.items()
        for c, n in enumerate(own)
        for _ in range(n)
    ]
    x, y, split = (np.array(column) for column in zip(*rows, strict=True))
    np.savez(path, x=x.astype(np.float32), y=y, split=split)
    return path


def config(path, method, *kwargs, **more):
    return RunConfig(data=f"features:{path}", method=method, method_kwargs=kwargs, epochs=2, **more)


def test_a_cross_fitted_run_says_at_every_epoch_what_it_was_weighted_with(features, tmp_path):
    metrics = train(config(features, "cdb-w", "preset=cross-fit"), tmp_path / "run")
    rows = read_csv(tmp_path / "run" / "difficulty.csv")
    assert [row["epoch"] for row in rows] == ["1"] * 4 + ["2"] * 4
    for column in ("performance", "measured", "used_difficulty", "weight", "acting_weight"):
        first, second = ([row[column] for row in rows if row["epoch"] == epoch] for epoch in "12")
        assert first == second and "" not in first  # measured once, before training
    assert [row["weight"] for row in rows] == [row["acting_weight"] for row in rows]
    weights = [float(row["weight"]) for row in rows[:4]]
    assert weights[1] > max(weights[0], weights[2])  # spread out, as frequent as its neighbours
    assert evaluate(tmp_path / "run")["per_class"] == metrics["test"]["per_class"]


@pytest.mark.parametrize("method", [("balanced-softmax", "tau=cv"), ("logit-adjust", "tau=cv", "post_hoc=true")])
def test_what_was_chosen_is_in_the_metrics_and_in_the_saved_model(features, tmp_path, method):
    metrics = train(config(features, *method), tmp_path / "run")
    chosen = metrics["best"]["found"]["tau"]
    assert chosen in (0, 0.5, 0.75, 1, 1.15, 1.3, 1.5, 2) and metrics["last"]["found"] == {"tau": chosen}
    assert evaluate(tmp_path / "run")["per_class"] == metrics["test"]["per_class"]
    fixed = train(config(features, *(k for k in method if k != "tau=cv"), f"tau={chosen}"), tmp_path / "fixed")
    assert fixed["test"]["per_class"] == metrics["test"]["per_class"]


def test_a_run_that_goes_on_measures_the_same_again(features, tmp_path, monkeypatch):
    from longtail.training.folder import RunFolder

    setting = config(features, "cdb-margin", "source=cross-fit")
    whole = train(setting, tmp_path / "whole")
    done = RunFolder.checkpoint

    def die(self, *args, **kwargs):
        done(self, *args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "checkpoint", die)
        with pytest.raises(KeyboardInterrupt):
            train(setting, tmp_path / "killed")
    assert train(setting, tmp_path / "killed") == whole
    for name in ("difficulty.csv", "test_predictions.safetensors", "model.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert read_json(tmp_path / "killed" / "metrics.json") == read_json(tmp_path / "whole" / "metrics.json")


def test_a_network_that_is_trained_has_no_predictions_out_of_fold(tmp_path):
    with pytest.raises(LongtailError, match="use --tune head, or features:FILE"):
        train(
            RunConfig(data="digits", method="balanced-softmax", method_kwargs=("tau=cv",), epochs=1), tmp_path / "run"
        )
    assert not (tmp_path / "run").exists()
