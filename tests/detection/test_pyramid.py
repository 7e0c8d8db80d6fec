"""Detectors on networks of timm, and detectors and networks for clips that start from published weights."""

from __future__ import annotations

import hashlib
import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import Weights

from clear import assert_clear
from detection.pictures import write_pictures
from longtail import runfolder
from longtail.config import RunConfig
from longtail.data import BoxData
from longtail.data.shapes import shapes_lt
from longtail.errors import LongtailError
from longtail.models import create_model, pretrained
from longtail.models.detectors import create_detector
from longtail.models.pretrained import embedded_state
from longtail.tasks.detection import DetectionTask
from longtail.training.apply import evaluate, load_run
from longtail.training.run import train

LITE0 = "fasterrcnn:timm/tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def shapes() -> BoxData:
    return shapes_lt(size=64, largest=4, imbalance=2, held_out=1, tested=1)


def one_step(model: nn.Module) -> dict[str, Tensor]:
    """The gradients of a training step, by parameter."""
    box = {"boxes": torch.tensor([[8.0, 8.0, 50.0, 40.0]]), "labels": torch.tensor([1])}
    if hasattr(model.roi_heads, "mask_predictor") and model.roi_heads.mask_predictor is not None:  # pyright: ignore
        box["masks"] = torch.ones(1, 64, 80, dtype=torch.uint8)
    losses = model.train()([torch.rand(3, 64, 80)] * 2, [box, box])
    torch.stack(list(losses.values())).sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", ["faster", "mask"])
@pytest.mark.parametrize("network", ["test_resnet", "mobilenetv3_small_050", "convnext_atto"])
def test_any_network_with_maps_of_four_strides_carries_a_detector(kind: str, network: str) -> None:
    """Every parameter is used, no statistics of batches are left that small batches would spoil."""
    model = create_detector(f"{kind}rcnn:timm/{network}", num_classes=2, image_size=64)
    gradients = one_step(model)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == gradients.keys()
    assert not [name for name, layer in model.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    maps = model.backbone(torch.zeros(1, 3, 64, 96))  # pyright: ignore[reportCallIssue]
    assert [tuple(m.shape[-2:]) for m in maps.values()] == [(16, 24), (8, 12), (4, 6), (2, 3), (1, 2)]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fasterrcnn:timm/vit_tiny_patch16_224", "timm/vit_tiny_patch16_224 cannot carry a feature pyramid"),
        ("fasterrcnn:resnet18", "unknown detector 'fasterrcnn:resnet18'"),
        ("yolo:timm/resnet18", "unknown detector"),
        ("fasterrcnn:timm/resnet19", "did you mean timm/resnet"),
    ],
)
def test_others_are_refused_in_a_line(name: str, words: str) -> None:
    with pytest.raises(LongtailError) as caught:
        create_detector(name, num_classes=2, image_size=64)
    assert_clear(caught.value)
    assert words in str(caught.value)


def test_a_backbone_starts_from_the_package_and_keeps_its_statistics() -> None:
    model = create_detector(LITE0, num_classes=2, image_size=64, weights="pretrained")
    network = timm.create_model("tf_efficientnet_lite0")
    published = embedded_state(network.state_dict())
    prefix = "backbone.body.network."
    own = {key.removeprefix(prefix): v.clone() for key, v in model.state_dict().items() if key.startswith(prefix)}
    assert own.keys() == {key for key in published if key.startswith(("conv_stem", "bn1", "blocks")) and key in own}
    assert len(own) > 200 and all(torch.equal(value, published[key]) for key, value in own.items())
    assert model.transform.image_mean == [0.5] * 3 and model.transform.image_std == [0.5] * 3  # pyright: ignore
    gradients = one_step(model)
    assert sum(float(g.square().sum()) for g in gradients.values()) < 20**2  # 65 where the maps are not normalised
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.sub_(gradients[name]) if name in gradients else None
    after = {k.removeprefix(prefix): v for k, v in model.state_dict().items() if k.startswith(prefix)}
    moved = {key for key in own if not torch.equal(own[key], after[key])}
    assert moved and all("conv" in key and key >= "blocks.2" for key in moved)  # no norm, nothing up to stride 4


def test_a_run_on_a_described_backbone_needs_its_folder_no_more(tmp_path: Path) -> None:
    """Its pixels are normalised as the weights expect, in training and when it is used."""
    tiny, look = tmp_path / "tiny", {"input_size": [3, 64, 64], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    tiny.mkdir()
    config = {"num_classes": 5, "classifier": "fc", "license": "mit", **look}
    content = {"architecture": "test_resnet", "num_classes": 5, "pretrained_cfg": config}
    (tiny / "config.json").write_text(json.dumps(content | {"model_args": {"stem_width": 8}}))
    network = timm.create_model("test_resnet", num_classes=5, stem_width=8)
    save_file(network.state_dict(), tiny / "model.safetensors")
    pictures = write_pictures(tmp_path / "pictures")
    options: dict[str, Any] = {"task": "detect", "method": "ce", "image_size": 32, "epochs": 1, "batch_size": 2}
    options |= {"lr": 1e-3, "device": "cpu", "model": f"fasterrcnn:timm/local-dir:{tiny}", "weights": "pretrained"}
    metrics = train(RunConfig(data=f"coco:{pictures}", **options), tmp_path / "run")
    shutil.rmtree(tiny)
    about = json.loads((tmp_path / "run" / runfolder.DATA).read_text())
    assert about["image_mean"] == [0.1, 0.2, 0.3] and about["weights"]["licence"] == "mit"
    model: Any = load_run(tmp_path / "run").model
    assert model.transform.image_std == [0.4, 0.5, 0.6]
    assert evaluate(tmp_path / "run")["AP"] == metrics["test"]["AP"]


def test_a_detector_of_a_finished_run_starts_another(tmp_path: Path, shapes: BoxData) -> None:
    task = DetectionTask(shapes, model="fasterrcnn:timm/test_resnet", image_size=64, device=torch.device("cpu"))
    model = task.build_model()
    torch.save(model.state_dict(), tmp_path / "own.pth")
    again = task.build_model(weights=str(tmp_path / "own.pth")).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in model.state_dict().items())
    wrong = {key: value for key, value in model.state_dict().items() if "layer2.0.conv1" not in key}
    torch.save(wrong, tmp_path / "wrong.pth")
    with pytest.raises(LongtailError, match="another architecture"):
        task.build_model(weights=str(tmp_path / "wrong.pth"))


# -- torchvision's, by name --------------------------------------------------------------------------------------------
@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a state dict where torch hub keeps the file of some published weights, under the name of its hash."""
    monkeypatch.setattr(pretrained, "reachable", lambda url: False)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "torch"))

    def place(weights: Any, network: nn.Module, *users: str) -> str:
        folder = tmp_path / "torch" / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(network.state_dict(), folder / "file.pth")
        digest = hashlib.sha256((folder / "file.pth").read_bytes()).hexdigest()
        name = f"{weights.url.rsplit('/', 1)[-1].rpartition('-')[0]}-{digest[:8]}.pth"
        (folder / "file.pth").rename(folder / name)
        found = Weights(f"https://download.pytorch.org/models/{name}", weights.transforms, weights.meta)
        for user in users:
            monkeypatch.setattr(user, lambda asked: found)
        return name

    return place


def test_clips_start_from_the_weights_for_kinetics(hub: Any) -> None:
    published = torchvision.models.video.R3D_18_Weights.DEFAULT
    network = torchvision.models.video.r3d_18(num_classes=400)
    name = hub(published, network, "longtail.models.create.torchvision_weights")
    model = create_model("r3d_18", num_classes=5, frames=4, image_size=112, weights="pretrained")
    own, given = model.state_dict(), network.state_dict()
    assert {key for key in own if not torch.equal(own[key], given[key])} == {"fc.weight", "fc.bias"}
    info: Any = model.weights_info
    assert info.name == name and info.preprocess.image_size == 112 and info.preprocess.crop == 112 / 128
    assert info.preprocess.mean == pytest.approx((0.43216, 0.394666, 0.37645))


def test_detectors_start_from_the_weights_for_coco(hub: Any) -> None:
    published = torchvision.models.detection.FasterRCNN_ResNet50_FPN_Weights.DEFAULT
    network = torchvision.models.detection.fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, norm_layer=torchvision.ops.FrozenBatchNorm2d
    )
    name = hub(published, network, "longtail.models.detectors.torchvision_weights")
    model = create_detector("fasterrcnn_resnet50_fpn", num_classes=3, image_size=64, weights="pretrained")
    own, given = model.state_dict(), network.state_dict()
    moved = {key for key in own if not torch.equal(own[key], given[key])}
    assert moved and all(key.startswith("roi_heads.box_predictor.") for key in moved)
    notes: Any = model.notes
    assert notes[0].startswith(f"fasterrcnn_resnet50_fpn starts from {name}") and "other classes" in notes[1]
    assert model.frozen_norm


def test_without_a_network_the_place_of_the_file_is_told(hub: Any, tmp_path: Path) -> None:
    builders: dict[str, Any] = {"r3d_18": partial(create_model, frames=4), "maskrcnn_resnet50_fpn": create_detector}
    for name, build in builders.items():
        with pytest.raises(LongtailError) as caught:
            build(name, num_classes=3, weights="pretrained")
        assert_clear(caught.value)
        assert f"place the file at {tmp_path}/torch/checkpoints/{name}" in str(caught.value)
