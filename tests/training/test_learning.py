"""How a given network is trained on: rates of parts, the average of the weights, smoothed labels, stopping early."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from longtail.config import RunConfig
from longtail.errors import LongtailError, Terminated
from longtail.models import layer_depths
from longtail.training import run as training
from longtail.training.apply import evaluate
from longtail.training.average import Average
from longtail.training.files import load_tensors
from longtail.training.optimizers import make_optimizer, rate_scales
from longtail.training.recipes import resolve
from training.folders import assert_same_run, history
from training.test_ending import Ends
from training.test_processes import train_here

SMALL: dict[str, Any] = {
    "data": "digits", "model": "lenet5-classic", "image_size": 16, "epochs": 4, "lr": 0.02, "schedule": "cosine",
    "warmup_epochs": 0, "batch_size": 64, "device": "cpu", "method": "ce",
}  # fmt: skip
OPTIONS: dict[str, dict[str, Any]] = {
    "ema": {"ema": 0.9, "method": "cdb-w"},
    "ema and stages": {"ema": 0.9, "method": "crt", "method_kwargs": ("balance=cdb-s",)},
    "ema and a memory": {"ema": 0.9, "method": "oltr", "epochs": 3},
    "ema and BatchNorm": {"ema": 0.9, "model": "resnet20", "image_size": 8, "epochs": 2},
    "adamw": {"optimizer": "adamw", "lr": 0.001},
    "smoothing": {"label_smoothing": 0.1, "method": "balanced-softmax"},
    "patience": {"patience": 2, "lr": 1e-9, "epochs": 6},
    "randaugment and both mixtures": {"augment": ("randaugment", "mixup", "cutmix"), "epochs": 2},
    "mixup": {"augment": "mixup", "epochs": 2, "method": "cdb-w", "method_kwargs": ("source=train",)},
    "cutmix": {"augment": "cutmix", "epochs": 2, "label_smoothing": 0.1},
}
"""What a run must continue exactly, and what two processes must do as one."""


def train(folder: Path, **options: Any) -> Path:
    training.train(RunConfig(**SMALL | options), folder)
    return folder


# -- rates ---------------------------------------------------------------------------------------------------------
def tiny_vit() -> nn.Module:
    return timm.create_model("vit_tiny_patch16_224", img_size=32, depth=3, embed_dim=12, num_heads=2, num_classes=5)


def config(**options: Any) -> RunConfig:
    return resolve(RunConfig(**SMALL | {"weights": "some.safetensors"} | options))


def test_rates_fall_from_the_head_to_the_input() -> None:
    model = tiny_vit()
    scales = rate_scales(config(backbone_lr=0.002, layer_decay=0.5), model, model.head, layer_depths(model))
    layers = {"cls_token": 0, "pos_embed": 0, "patch_embed.proj.weight": 0, "norm.bias": 3}
    layers |= {f"blocks.{i}.mlp.fc1.weight": i + 1 for i in range(3)}
    for name, layer in layers.items():
        assert scales[model.get_parameter(name)] == pytest.approx(0.1 * 0.5 ** (4 - layer)), name
    assert not set(scales) & set(model.head.parameters())
    assert len(scales) == len(list(model.parameters())) - 2
    assert rate_scales(config(), model, model.head, layer_depths(model)) == {}


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0", "convnext_atto", "swin_s3_tiny_224"])
def test_every_parameter_of_a_network_of_timm_has_a_layer_and_the_classifier_the_last(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=5)
    depths = layer_depths(model)
    assert depths is not None and depths.keys() == {name for name, _ in model.named_parameters()}
    head = {id(p) for p in model.get_classifier().parameters()}  # pyright: ignore
    last = max(depths.values())
    assert all(depths[name] == last for name, p in model.named_parameters() if id(p) in head)


def test_a_network_that_tells_no_layers_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    train(tmp_path / "first", epochs=1)
    weights = str(tmp_path / "first" / "model.safetensors")
    with pytest.raises(LongtailError, match=r"^--layer-decay: lenet5-classic does not tell its layers"):
        train(tmp_path / "second", weights=weights, layer_decay=0.7)
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_one_step_moves_each_parameter_at_its_own_rate(optimizer: Any) -> None:
    """Against an optimiser for each parameter."""
    model, its = config(backbone_lr=0.002, layer_decay=0.5, optimizer=optimizer, weight_decay=0.3), tiny_vit()
    other = tiny_vit()
    other.load_state_dict(its.state_dict())
    scales = rate_scales(model, its, its.head, layer_depths(its))
    undecayed = [its.pos_embed, its.cls_token]
    together = make_optimizer(model, list(its.parameters()), scales, undecayed=undecayed)  # pyright: ignore
    kind = torch.optim.AdamW if optimizer == "adamw" else torch.optim.SGD
    apart = []
    for (name, mine), (_, theirs) in zip(its.named_parameters(), other.named_parameters(), strict=True):
        spared = optimizer == "adamw" and (mine.ndim == 1 or name in ("pos_embed", "cls_token"))
        options = {"lr": 0.02 * scales.get(mine, 1.0), "weight_decay": 0.0 if spared else 0.3}
        apart.append(kind([theirs], **options, **({} if optimizer == "adamw" else {"momentum": 0.9})))
    for step in range(3):
        for group in together.param_groups:  # as the stages do
            group["lr"] = 0.02 * group.get("lr_scale", 1.0)
        images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(step))
        for network in (its, other):
            network.zero_grad()
            network(images).logsumexp(1).sum().backward()
        for each in (together, *apart):
            each.step()
    for (name, mine), theirs in zip(its.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, msg=name)


def test_a_run_of_one_rate_has_one_group_as_ever() -> None:
    model = tiny_vit()
    optimizer = make_optimizer(config(), list(model.parameters()), {})
    (group,) = optimizer.param_groups
    assert "lr_scale" not in group and len(group["params"]) == len(list(model.parameters()))


# -- the average ---------------------------------------------------------------------------------------------------
def test_what_is_written_and_judged_is_the_average_of_the_weights_after_each_step(tmp_path: Path) -> None:
    kept: list[dict[str, Tensor]] = []

    class Watched(training._Loop):
        def _optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
            optimizer = super()._optimizer(parameters)
            step = optimizer.step

            def watched(*args: Any) -> Any:
                result = step(*args)
                kept.append({k: v.detach().clone().double() for k, v in self.model.state_dict().items()})
                return result

            optimizer.step = watched  # pyright: ignore
            return optimizer

    loop, training._Loop = training._Loop, Watched
    try:
        train(tmp_path / "run", ema=0.9, epochs=2, final="last", model="resnet20", image_size=8)
    finally:
        training._Loop = loop
    mean = kept[0]
    for step, now in enumerate(kept[1:], 1):
        decay = min(0.9, (1 + step) / (10 + step))
        mean = {k: decay * old + (1 - decay) * now[k] if "batches" not in k else now[k] for k, old in mean.items()}
    written = load_tensors(tmp_path / "run" / "model.safetensors")
    assert written.keys() == mean.keys()
    for name, value in written.items():
        torch.testing.assert_close(value.double(), mean[name], rtol=1e-4, atol=1e-6, msg=name)
    assert evaluate(tmp_path / "run") == json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]


def test_what_is_frozen_is_its_own_average_bit_for_bit() -> None:
    model = nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    average = Average(model, 0.99)
    for _ in range(20):
        with torch.no_grad():
            model[2].weight.mul_(1.1)  # pyright: ignore
        average.update_parameters(model)
    with average.in_place_of(model):
        moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
        assert moved == {"2.weight"}
        assert bool((model[2].weight.detach() / before["2.weight"] < 1.1**20).all())  # pyright: ignore
    torch.testing.assert_close(model[2].weight.detach(), before["2.weight"] * 1.1**20)  # pyright: ignore


# -- labels --------------------------------------------------------------------------------------------------------
def test_smoothing_is_torchs(tmp_path: Path) -> None:
    """The first loss of a run, from the model that it begins with."""
    losses = []

    class Watched(training._Loop):
        def _loss(self, batch: Any, held_out: Any) -> dict[str, Tensor]:
            output = super()._loss(batch, held_out)
            losses.append((output["loss"].detach(), output["logits"].detach(), batch[1]))
            return output

    loop, training._Loop = training._Loop, Watched
    try:
        train(tmp_path / "run", label_smoothing=0.2, epochs=1)
    finally:
        training._Loop = loop
    for loss, logits, target in losses:
        torch.testing.assert_close(loss, nn.functional.cross_entropy(logits, target, label_smoothing=0.2))


def test_a_step_of_ones_own_takes_no_mixed_images(tmp_path: Path) -> None:
    with pytest.raises(LongtailError, match=r"^--augment mixup: mw-net trains by a step of its own"):
        train(tmp_path / "run", augment="mixup", method="mw-net")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", ["seesaw", "eql", "mw-net", "oltr"])
def test_what_cannot_smooth_labels_says_so_before_anything_is_written(method: str, tmp_path: Path) -> None:
    with pytest.raises(LongtailError, match="--label-smoothing") as caught:
        train(tmp_path / "run", label_smoothing=0.1, method=method)
    assert "\n" not in str(caught.value) and method in str(caught.value)
    assert not (tmp_path / "run").exists()


# -- stopping ------------------------------------------------------------------------------------------------------
def test_a_run_stops_where_its_own_full_length_was_not_better_for_so_long(tmp_path: Path) -> None:
    options = {"epochs": 12, "lr": 0.05, "data": "digits", "imbalance": 50.0}
    whole = train(tmp_path / "whole", **options)
    scores = [float(row["val_balanced_accuracy"]) for row in history(whole)]
    lengths = []
    for patience in (1, 2):
        stopped = train(tmp_path / str(patience), patience=patience, **options)
        expected, best = len(scores), 0
        for epoch, score in enumerate(scores):
            best = epoch if score > max(scores[:epoch], default=-1) else best
            if epoch - best >= patience:
                expected = epoch + 1
                break
        assert history(stopped) == history(whole)[:expected]
        assert int(history(stopped)[-1]["since_best"]) == expected - 1 - best
        metrics = json.loads((stopped / "metrics.json").read_text())
        assert metrics["epochs"] == 12 and metrics.get("stopped", 12) == metrics["last"]["epoch"] == expected
        assert metrics["best"]["epoch"] == best + 1
        lengths.append(expected)
    assert min(lengths) < 12


def test_patience_counts_within_the_last_stage(tmp_path: Path) -> None:
    """Else a method of several stages would end before its last one began."""
    run = train(tmp_path / "run", method="crt", method_kwargs=("share=0.5",), epochs=8, lr=1e-9, patience=1)
    stages = [row["stage"] for row in history(run)]
    assert stages == ["stage1"] * 4 + ["stage2"] * (len(stages) - 4) and 5 <= len(stages) < 8


def test_patience_needs_something_to_choose_by(tmp_path: Path) -> None:
    with pytest.raises(LongtailError, match=r"^--patience: there is no held-out split"):
        train(tmp_path / "run", protocol="merged", patience=2)
    assert not (tmp_path / "run").exists()


# -- laws of all of them -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", OPTIONS)
def test_a_run_that_was_ended_goes_on_to_the_same_bytes(name: str, tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", **OPTIONS[name])
    settings = RunConfig(**SMALL | OPTIONS[name])
    for after in (1, 9, 17):
        folder = tmp_path / str(after)
        with contextlib.suppress(Terminated):
            training.train(settings, folder, progress=Ends(after))
        training.train(settings, folder)
        assert_same_run(folder, whole)


def twice(rank: int, options: dict[str, Any], folder: str) -> list[Any]:
    return train_here(rank, options, folder)


@pytest.mark.parametrize("name", [name for name in OPTIONS if "Batch" not in name])
def test_two_processes_do_as_one(name: str, run_two: Any, tmp_path: Path) -> None:
    options = SMALL | OPTIONS[name]
    train(tmp_path / "one", **OPTIONS[name])
    first, second = run_two(twice, options, str(tmp_path / "two"))
    assert first == second
    one, two = (load_tensors(tmp_path / folder / "model.safetensors") for folder in ("one", "two"))
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-3, atol=1e-4, msg=key)
    assert len(history(tmp_path / "one")) == len(history(tmp_path / "two"))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"backbone_lr": 0.1}, "--backbone-lr is for a network that is trained already: add --weights"),
        ({"layer_decay": 0.7}, "--layer-decay is for a network that is trained already: add --weights"),
        ({"data": "shapes-lt", "task": "detect", "label_smoothing": 0.1}, "--label-smoothing means nothing to --task"),
        ({"data": "shapes-lt", "task": "detect", "backbone_lr": 0.1}, "--backbone-lr means nothing to --task detect"),
        ({"ema": 1.0}, "--ema is 1.0: it must be between 0 and 1"),
        ({"layer_decay": 0.0}, "--layer-decay is 0.0: it must be in"),
        ({"label_smoothing": 1.0}, "--label-smoothing is 1.0: it must be in"),
        ({"patience": 0}, "--patience is 0: it must be at least 1"),
        ({"backbone_lr": 0.0}, "--backbone-lr is 0.0: it must be above 0"),
    ],
)
def test_an_option_that_means_nothing_is_refused(options: dict[str, Any], line: str) -> None:
    given = {k: v for k, v in SMALL.items() if k != "model"} | {"model": None} | options
    with pytest.raises(LongtailError, match=f"^{line}"):
        resolve(RunConfig(**given))
