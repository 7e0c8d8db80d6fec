"""Methods with stages, heads or a finish, in real runs: what is trained, continued, judged, exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from longtail.functional import tau_normalized
from longtail.methods.lws import ScaledHead
from longtail.training import run as training
from longtail.training.apply import evaluate, export
from longtail.training.config import RunConfig
from longtail.training.files import load_tensors, read_csv
from training.folders import assert_same_run

SMALL: dict[str, Any] = {
    "data": "digits", "model": "lenet5-classic", "image_size": 16, "imbalance": 10, "epochs": 4, "batch_size": 128,
    "lr": 0.05, "schedule": "cosine", "warmup_epochs": 0, "device": "cpu", "final": "last",
}  # fmt: skip
NORM = {"model": "resnet20", "image_size": 8, "epochs": 2, "batch_size": 256}
METHODS = {
    "eql": ("threshold=.1",),
    "seesaw": ("normalized=true",),
    "ldam-drw": ("defer=.5",),
    "logit-adjust": ("post_hoc=true",),
    "crt": ("stage1=cdb-w", "balance=cdb-s", "share=.5"),
    "lws": ("stage1=ldam-drw", "balance=cdb-w:tau=1", "share=.5"),
    "tau-norm": (),
    "ncm": (),
    "oltr": ("share=.5",),
    "l2rw": ("meta_batch=20",),
    "mw-net": ("meta_batch=30",),
    "difficulty-net": ("momentum=.5", "meta_batch=30"),
    "cdb-w": ("base=ldam-drw:defer=.5", "source=train", "measure=soft", "form=logit", "tau=1"),
    "cdb-s": ("loss=seesaw", "measure=ap", "shrinkage=auto", "bias_quantile=.1", "tau=log"),
}

OPTIONS = {"l2rw": NORM | {"imbalance": 20, "batch_size": 64, "epochs": 4}}  # it learns slowly


def train(folder: Path, method: str, *kwargs: str, **options: Any) -> list[training._Loop]:
    """Train; the loop as it was, without its processes."""
    loops = []

    class Watched(training._Loop):
        before: dict[str, torch.Tensor]
        start: list[float]

        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            loops.append(self)

        def enter(self, stage, **words) -> None:
            self.before = {k: v.clone() for k, v in self.model.state_dict().items()}
            super().enter(stage, **words)
            self.start = [] if self.difficulty is None else self.difficulty.performance.tolist()

        def epoch(self, epoch: int, best: dict[str, Any], inside: Any = None) -> dict[str, Any]:
            best = super().epoch(epoch, best, inside)
            if epoch + 1 == stop_after:
                raise KeyboardInterrupt
            return best

    stop_after = options.pop("stop_after", 0)
    options = OPTIONS.get(method, {}) | options
    loop, training._Loop = training._Loop, Watched
    try:
        training.train(RunConfig(**SMALL | options, method=method, method_kwargs=kwargs), folder)
    except KeyboardInterrupt:
        assert stop_after
    finally:
        training._Loop = loop
    return loops


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """``whole(method)``: the folder of its run that nobody disturbed."""
    folders: dict[str, Path] = {}

    def get(method: str) -> Path:
        if method not in folders:
            folders[method] = tmp_path_factory.mktemp(method) / "run"
            train(folders[method], method, *METHODS.get(method, ()))
        return folders[method]

    return get


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(whole, tmp_path, method, stop_after):
    if stop_after == 2 and method not in ("crt", "lws", "oltr"):  # the boundary of two stages
        return
    train(tmp_path / "run", method, *METHODS[method], stop_after=stop_after)
    assert not (tmp_path / "run" / "metrics.json").exists()
    train(tmp_path / "run", method, *METHODS[method])
    assert_same_run(tmp_path / "run", whole(method))


@pytest.mark.parametrize("method", METHODS)
def test_the_saved_model_is_the_one_that_was_judged(whole, method):
    run = whole(method)
    judged = training.RunFolder(run).metrics["test"]
    assert evaluate(run, device="cpu") == judged
    assert judged["top1"] > 0.1


@pytest.mark.parametrize("method", ["logit-adjust", "lws", "ldam-drw", "ncm", "oltr"])
def test_the_saved_model_can_be_exported(whole, tmp_path, method):
    """`export` compares the outputs itself."""
    assert export(whole(method), format="pt2", out=tmp_path / "model.pt2").is_file()


@pytest.mark.parametrize("bn_mode", ["frozen", "adapt"])
def test_crt_trains_a_new_classifier_and_nothing_else(tmp_path, bn_mode):
    (loop,) = train(tmp_path, "crt", f"bn_mode={bn_mode}", **NORM)
    moved = changed(loop.before, load_tensors(tmp_path / "model.safetensors"))
    statistics = {n for n in moved if n.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    assert moved - statistics == {"fc.weight", "fc.bias"}
    assert bool(statistics) == (bn_mode == "adapt")
    assert [row["stage"] for row in read_csv(tmp_path / "history.csv")] == ["stage1", "stage2"]


def test_lws_trains_one_factor_a_class_and_starts_from_stage_1(tmp_path):
    (loop,) = train(tmp_path, "lws", **NORM)
    assert changed(loop.before, load_tensors(tmp_path / "model.safetensors")) == {"fc.scale"}
    assert loop.before["fc.scale"].tolist() == [1] * 10
    linear, x = nn.Linear(6, 10), torch.randn(3, 6)
    assert torch.equal(ScaledHead(linear)(x), linear(x))


def test_the_learning_rate_starts_anew_in_stage_2(whole):
    rates = [float(row["lr"]) for row in read_csv(whole("crt") / "history.csv")]
    assert rates[:2] == rates[2:] and rates[0] > rates[1]
    rates = [float(row["lr"]) for row in read_csv(whole("ldam-drw") / "history.csv")]
    assert rates == sorted(set(rates), reverse=True)  # deferred re-weighting goes on


def test_a_difficulty_that_is_deferred_for_ever_trains_as_its_base_does(whole, tmp_path):
    train(tmp_path, "cdb-w", "defer=1")
    deferred, plain = (load_tensors(run / "model.safetensors") for run in (tmp_path, whole("ce")))
    assert not changed(plain, deferred)
    assert len(read_csv(tmp_path / "difficulty.csv")) == 4 * 10  # measured all the same


@pytest.mark.parametrize(("schedule", "defer"), [("multistep", "0.75"), ("cosine", "0"), ("constant", "0")])
def test_the_default_is_deferred_to_the_first_step_of_the_learning_rate(tmp_path, schedule, defer):
    options = {"schedule": schedule, "milestones": (3,)} if schedule == "multistep" else {"schedule": schedule}
    train(tmp_path / "default", "cdb-w", **options)
    train(tmp_path / "given", "cdb-w", f"defer={defer}", **options)
    stages = [row["stage"] for row in read_csv(tmp_path / "default/history.csv")]
    assert stages == (["plain"] * 3 + ["weighted"] if defer != "0" else ["train"] * 4)
    ours, theirs = (load_tensors(tmp_path / run / "model.safetensors") for run in ("default", "given"))
    assert not changed(ours, theirs)


def test_the_difficulty_of_stage_2_starts_from_what_stage_1_has_learnt(tmp_path):
    (loop,) = train(tmp_path, "crt", "balance=cdb-s:momentum=0", "share=.25")
    rows = [row for row in read_csv(tmp_path / "difficulty.csv") if row["epoch"] == "3"]
    assert loop.start == pytest.approx([float(row["performance"]) for row in rows])


def test_tau_norm_is_plain_training_until_the_end(whole, tmp_path):
    plain, finished = (load_tensors(whole(method) / "model.safetensors") for method in ("ce", "tau-norm"))
    metrics = training.RunFolder(whole("tau-norm")).metrics
    tau = metrics["last"]["found"]["tau"]
    (weight,) = (name for name in changed(plain, finished) if name.endswith("weight"))
    bias = weight.replace("weight", "bias")
    assert changed(plain, finished) == {weight, bias}
    torch.testing.assert_close(finished[weight], tau_normalized(plain[weight], tau=tau))
    assert not finished[bias].any()
    for epoch in ("last", "best"):
        assert metrics[epoch]["epoch"] in range(1, 5)
        assert 0 <= metrics[epoch]["found"]["tau"] <= 2


def test_ncm_is_plain_training_until_the_end(whole):
    plain, finished = (load_tensors(whole(method) / "model.safetensors") for method in ("ce", "ncm"))
    extra = {"center", "means", "offset", "found"}
    assert {n.rpartition(".")[2] for n in finished.keys() - {k.replace(".linear", "") for k in plain}} >= extra
    finished = {name.replace(".linear", ""): value for name, value in finished.items()}
    assert changed(plain, {name: finished[name] for name in plain}) == set()
    best = load_tensors(whole("ncm") / "model_best.safetensors")
    assert all(bool(value) for name, value in best.items() if name.endswith("found"))


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_fewer_epochs_than_stages(tmp_path, epochs):
    train(tmp_path, "crt", "stage1=ldam-drw", epochs=epochs)
    stages = [row["stage"] for row in read_csv(tmp_path / "history.csv")]
    assert stages == ["stage1-plain", "stage1-reweighted", "stage2"][-epochs:]


def test_the_last_weights_are_not_those_of_the_best_epoch(tmp_path):
    train(tmp_path, "ce", lr=1e-12, epochs=2)  # nothing is learnt: epoch 1 stays the best
    last, best = (load_tensors(tmp_path / name) for name in ("model.safetensors", "model_best.safetensors"))
    assert changed(last, best)
