"""Shapes, sizes and names of the networks."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clear import assert_clear
from longtail.errors import LongtailError
from longtail.models import create_model, final_linear, list_models, model_channels, takes_clips
from longtail.models.lenet import LeNet5
from longtail.models.resnet import CifarResNet


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "channels", "size", "classes", "parameters"),
    [
        ("lenet5", 1, 28, 10, 431_080),
        ("lenet5-caffe", 1, 28, 10, 431_080),
        ("lenet5-classic", 1, 28, 10, 44_426),
        ("lenet5-classic", 1, 32, 10, 61_706),  # the original's size
        ("lenet5", 3, 16, 2, 53_072),
        ("resnet20", 3, 32, 10, 269_722),
        ("resnet32", 3, 32, 10, 464_154),
        ("resnet32", 1, 28, 100, 469_716),
        ("resnet56", 3, 32, 10, 853_018),
        ("resnet10", 3, 64, 1000, 5_418_792),
        ("resnet18", 3, 64, 1000, 11_689_512),  # as torchvision's own
    ],
)
def test_parameters_and_shapes(name: str, channels: int, size: int, classes: int, parameters: int) -> None:
    model = create_model(name, num_classes=classes, in_channels=channels, image_size=size)
    assert count(model) == parameters
    images = torch.randn(2, channels, size, size)
    assert model(images).shape == (2, classes)
    parent, attribute, layer = final_linear(model)
    assert layer.out_features == classes and getattr(parent, attribute) is layer
    setattr(parent, attribute, nn.Linear(layer.in_features, 7))
    assert model(images).shape == (2, 7)


def test_pooling_before_relu_is_the_classic_order() -> None:
    model, images = LeNet5(10).double(), torch.randn(4, 1, 28, 28, dtype=torch.double)
    classic = F.max_pool2d(F.relu(model.conv2(F.max_pool2d(F.relu(model.conv1(images)), 2))), 2).flatten(1)
    classic = model.fc(F.relu(model.hidden[0](classic)))
    assert torch.equal(model(images), classic)


def test_shortcuts_of_option_a_have_no_parameters() -> None:
    """At a change of size the shortcut takes every second pixel and puts zeros around the channels."""
    model = CifarResNet(8, 10).eval()
    block = model.blocks[1]
    for layer in (block.bn2,):
        nn.init.zeros_(layer.weight)
    images = torch.rand(2, 16, 8, 8)
    features = block(images)
    assert features.shape == (2, 32, 4, 4)
    assert features[:, 8:24].equal(images[:, :, ::2, ::2])
    assert not features[:, :8].any() and not features[:, 24:].any()


@pytest.mark.parametrize("init", ["kaiming", "xavier"])
def test_initialisation_of_lenet(init: str) -> None:
    model = LeNet5(10, init=init)
    for layer in (model.conv2, model.hidden[0]):
        fan_in = layer.weight[0].numel()
        fan_out = layer.weight.numel() // layer.weight.shape[1]
        std = (2 / fan_in) ** 0.5 if init == "kaiming" else (2 / (fan_in + fan_out)) ** 0.5
        assert layer.weight.std().item() == pytest.approx(std, rel=0.05) and not layer.bias.any()


def test_the_same_seed_gives_the_same_weights() -> None:
    for name in ("lenet5", "resnet20", "resnet10"):
        models = []
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            models.append(create_model(name, num_classes=3, image_size=32).state_dict())
        assert all(models[0][key].equal(models[1][key]) for key in models[0])
        assert not models[0]["conv1.weight"].equal(models[2]["conv1.weight"])


FAMILIES = (
    "alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3 maxvit_t mnasnet0_5 "
    "mobilenet_v2 mobilenet_v3_small regnet_y_400mf resnet50 resnext50_32x4d shufflenet_v2_x0_5 squeezenet1_1 swin_t "
    "swin_v2_t vgg11 vit_b_32 wide_resnet50_2"
).split()


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_of_torchvision_ends_in_a_linear_layer_of_our_size(name: str) -> None:
    """On the meta device: shapes without weights and work."""
    size = 299 if name == "inception_v3" else 224
    model = create_model(name, num_classes=7, image_size=size).to("meta")
    parent, attribute, layer = final_linear(model)
    assert layer.out_features == 7
    images = torch.empty(2, 3, size, size, device="meta")
    assert model.train()(images).shape == (2, 7)
    setattr(parent, attribute, nn.Linear(layer.in_features, 5, device="meta"))
    assert model(images).shape == (2, 5)


def test_all_families_are_covered() -> None:
    def family(name: str) -> str:
        return name.split("_")[0].rstrip("0123456789")

    images = [name for name in list_models() if not takes_clips(name)]
    assert {family(name) for name in images if "lenet5" not in name} == {family(name) for name in FAMILIES} | {"resnet"}


def test_channels_to_feed() -> None:
    assert model_channels("lenet5", 1) == 1 and model_channels("ResNet32", 3) == 3
    assert model_channels("resnet10", 1) == 3 and model_channels("convnext_tiny", 1) == 3


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet33", {}, "unknown model 'resnet33': did you mean resnet3"),
        ("fasterrcnn_resnet50_fpn", {}, "unknown model"),
        ("zzz", {}, "see torchvision's list"),
        ("resnet18", {"in_channels": 1}, "takes images with 3 channels, not 1"),
        ("lenet5", {"num_classes": 0}, "at least 1"),
        ("lenet5", {"image_size": 8}, "at least 16 pixels, not 8"),
        ("alexnet", {"image_size": 32}, "alexnet cannot take images of 32 pixels"),
        ("vit_b_32", {"image_size": 100}, "vit_b_32 cannot be built for images of 100 pixels"),
    ],
)
def test_bad_requests_are_one_clear_line(name: str, options: dict, message: str) -> None:
    with pytest.raises(LongtailError, match=message) as caught:
        create_model(name, **{"num_classes": 5} | options)
    assert_clear(caught.value)


def test_bad_parts_are_one_clear_line() -> None:
    with pytest.raises(LongtailError, match="no linear layer"):
        final_linear(nn.Sequential(nn.Conv2d(1, 1, 1)))
    with pytest.raises(LongtailError, match="depth 6n"):
        CifarResNet(30, 10)
    for options in ({"widths": "wide"}, {"init": "zeros"}):
        with pytest.raises(LongtailError, match="known are"):
            LeNet5(10, **options)


def test_small_networks_load_no_torchvision() -> None:
    code = (
        "import sys; from longtail.models import create_model\n"
        "for name in ('lenet5', 'resnet32'): create_model(name, num_classes=3, image_size=32)\n"
        "assert 'torchvision' not in sys.modules and 'PIL' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
