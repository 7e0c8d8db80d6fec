"""Defaults by kind of network, where weights are published ones or adapters are trained, and nowhere else."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from longtail.config import RunConfig
from longtail.data.catalogue import CATALOGUE
from longtail.errors import Terminated
from longtail.tasks.fine_tuning import fine_tuning_defaults, kind_of
from longtail.training import run as training
from longtail.training.files import load_state
from longtail.training.recipes import resolve
from training.folders import assert_same_run
from training.test_ending import Ends

NEW = ("optimizer", "backbone_lr", "layer_decay", "ema", "label_smoothing", "patience", "adapter", "adapter_rank")


@pytest.mark.parametrize("name", CATALOGUE)
def test_random_weights_and_files_have_the_defaults_that_they_always_had(name: str) -> None:
    entry = CATALOGUE[name]
    vectors = entry.task == "vectors"  # which know neither
    for weights in (None,) if vectors else ("none", "some.safetensors"):
        given = {"model": entry.training["model"], "tune": None if vectors else "all"}
        config = resolve(RunConfig(data=f"{name}:x", task=entry.task, weights=weights, **given))
        assert all(getattr(config, field) is None for field in NEW)
        for field in {"epochs", "batch_size", "lr", "weight_decay", "schedule", "image_size"} & entry.training.keys():
            assert getattr(config, field) == entry.training[field], field


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("timm/vit_small_patch14_dinov2.lvd142m", "vit"),
        ("vit_b_16", "vit"),
        ("timm/deit_tiny_patch16_224", "vit"),
        ("timm/hf-hub:timm/vit_tiny_patch16_224.augreg_in21k", "vit"),
        ("timm/convnext_tiny.fb_in22k", "convnext"),
        ("swin_t", "convnext"),
        ("swin3d_t", "convnext"),
        ("resnet50", "resnet"),
        ("wide_resnet50_2", "resnet"),
        ("resnext50_32x4d", "resnet"),
        ("timm/seresnet50", "resnet"),
        ("r3d_18", "resnet"),
        ("timm/tf_efficientnet_lite0", "other"),
        ("mobilenet_v3_small", "other"),
        ("timm/mobilevit_s", "other"),
        ("efficientnet_b0", "other"),
    ],
)
def test_kinds_by_name(model: str, kind: str) -> None:
    assert kind_of(model) == kind


@pytest.mark.parametrize("model", ["timm/vit_tiny_patch16_224", "vit_b_16", "resnet50", "swin_t", "efficientnet_b0"])
def test_the_classifier_learns_ten_times_as_fast_and_what_is_said_holds(model: str) -> None:
    config = RunConfig(data="folder:x", model=model, tune="all", weights="pretrained")
    defaults = fine_tuning_defaults(config, model)
    assert defaults["backbone_lr"] == pytest.approx(defaults["lr"] / 10)
    assert ("layer_decay" in defaults) == (model.startswith("timm/") and kind_of(model) == "vit")
    own = fine_tuning_defaults(dataclasses.replace(config, lr=0.5), model)
    assert own["backbone_lr"] == pytest.approx(0.05)
    for optimizer in ("sgd", "adamw"):  # each with rates of its own
        other = fine_tuning_defaults(dataclasses.replace(config, optimizer=optimizer), model)
        assert other["optimizer"] == optimizer and (other["lr"] >= 0.03) == (optimizer == "sgd")


def test_photographs_start_from_published_weights_with_them_and_settle_once() -> None:
    config = resolve(RunConfig(data="folder:photos", tune="all"))
    assert (config.weights, config.optimizer) == ("pretrained", "adamw")
    assert config.lr == 0.004 and config.backbone_lr == 0.0004
    assert resolve(config) == config
    mine = resolve(RunConfig(data="folder:photos", tune="all", epochs=3, optimizer="sgd", lr=0.1))
    assert (mine.epochs, mine.optimizer, mine.lr, mine.backbone_lr) == (3, "sgd", 0.1, 0.01)


def test_adamw_from_scratch_has_a_rate_of_its_own() -> None:
    assert resolve(RunConfig(data="cifar100:x", optimizer="adamw")).lr == 1e-3
    assert resolve(RunConfig(data="cifar100:x", optimizer="adamw", lr=0.01)).lr == 0.01
    assert resolve(RunConfig(data="coco:x", task="detect", optimizer="adamw")).lr == 1e-4


def test_a_transformer_is_tuned_by_layers_and_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, file = timm.create_model("test_vit", img_size=32, num_classes=5), tmp_path / "weights.safetensors"
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, file)
    options: dict[str, Any] = {"data": "digits", "model": "timm/test_vit", "image_size": 32, "weights": str(file)}
    options |= {"epochs": 2, "batch_size": 64, "device": "cpu", "method": "crt", "optimizer": "adamw", "lr": 1e-3}
    config = RunConfig(**options, backbone_lr=1e-4, layer_decay=0.75, ema=0.95)
    training.train(config, tmp_path / "whole")
    for after in (1, 8):
        with contextlib.suppress(Terminated):
            training.train(config, tmp_path / str(after), progress=Ends(after))
        training.train(config, tmp_path / str(after))
        assert_same_run(tmp_path / str(after), tmp_path / "whole")
    groups = load_state(tmp_path / "whole" / "checkpoint" / "last.pt")["optimizer"]["param_groups"]
    scales = sorted({group.get("lr_scale", 1.0) for group in groups})
    depth = len(model.blocks)
    assert scales == pytest.approx([0.1 * 0.75**k for k in range(depth + 1, 0, -1)] + [1.0])
    assert {group["weight_decay"] for group in groups} == {0.0, config.weight_decay or 0.05}


def test_clips_keep_the_batches_of_their_data_set() -> None:
    config = resolve(RunConfig(data="clips:x", task="video", model="r3d_18", weights="pretrained"))
    assert (config.batch_size, config.optimizer) == (CATALOGUE["clips"].training["batch_size"], "sgd")
