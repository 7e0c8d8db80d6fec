"""Networks for clips: the layout of the public weights of 3D-ResNeXt-101, and torchvision's by name."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from clear import assert_clear
from longtail.errors import LongtailError
from longtail.models import create_model, final_linear, list_models, model_channels, takes_clips
from longtail.models.video import ResNeXt3D


def public_layout(classes: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes in ``resnext-101-kinetics.pth``, written down stage by stage; without BatchNorm's counter.

    Four stages of 3, 4, 23, 3 blocks; 32 groups; a projection in the first block of each; 64 channels before them.
    """
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 7, 7, 7)}

    def norm(name: str, channels: int) -> None:
        shapes.update({f"{name}.{what}": (channels,) for what in ("weight", "bias", "running_mean", "running_var")})

    norm("bn1", 64)
    inputs = 64
    for stage, (blocks, width) in enumerate([(3, 128), (4, 256), (23, 512), (3, 1024)], 1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            shapes[f"{name}.conv1.weight"] = (width, inputs, 1, 1, 1)
            shapes[f"{name}.conv2.weight"] = (width, width // 32, 3, 3, 3)
            shapes[f"{name}.conv3.weight"] = (2 * width, width, 1, 1, 1)
            for layer, channels in (("bn1", width), ("bn2", width), ("bn3", 2 * width)):
                norm(f"{name}.{layer}", channels)
            if block == 0:
                shapes[f"{name}.downsample.0.weight"] = (2 * width, inputs, 1, 1, 1)
                norm(f"{name}.downsample.1", 2 * width)
            inputs = 2 * width
    return shapes | {"fc.weight": (classes, 2048), "fc.bias": (classes,)}


def checkpoint(file: Path, shapes: dict[str, tuple[int, ...]], *, old: bool = True) -> dict[str, Tensor]:
    """As the public file: from a DataParallel model, beside an optimiser's state, in the old format."""
    state = {name: torch.full(shape, 0.5 + 0.001 * i) for i, (name, shape) in enumerate(shapes.items())}
    content = {
        "epoch": 150,
        "arch": "resnext-101",
        "state_dict": {f"module.{name}": value for name, value in state.items()},
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.001, "momentum": 0.9, "params": [1, 2]}]},
    }
    torch.save(content, file, _use_new_zipfile_serialization=not old)
    return state


def test_resnext_has_the_layers_of_the_public_weights() -> None:
    with torch.device("meta"):
        model = ResNeXt3D(400)
    own = {name: tuple(value.shape) for name, value in model.state_dict().items() if "num_batches" not in name}
    assert own == public_layout(400)
    trained = sum(math.prod(shape) for name, shape in own.items() if "running" not in name)
    assert sum(p.numel() for p in model.parameters()) == trained == 48_340_816


@pytest.mark.parametrize(("frames", "size", "before_pooling"), [(10, 224, (1, 7, 7)), (16, 112, (1, 4, 4))])
def test_resnext_halves_time_and_space_where_the_original_does(frames, size, before_pooling) -> None:
    with torch.device("meta"):
        model = ResNeXt3D(19)
        seen = []
        model.layer4.register_forward_hook(lambda *args: seen.append(args[-1].shape))
        assert model(torch.empty(2, 3, frames, size, size)).shape == (2, 19)
    assert seen == [(2, 2048, *before_pooling)]


def test_public_weights_load_and_the_final_layer_is_replaced(tmp_path: Path) -> None:
    state = checkpoint(tmp_path / "resnext-101-kinetics.pth", public_layout(400))
    model = create_model("resnext3d101", num_classes=19, frames=10, weights=tmp_path / "resnext-101-kinetics.pth")
    own = model.state_dict()
    assert all(own[name].equal(value) for name, value in state.items() if not name.startswith("fc."))
    assert own["fc.weight"].shape == (19, 2048) and own["fc.weight"].std() > 0
    assert model.notes == ["resnext-101-kinetics.pth has another classifier: fc starts from random values"]


def test_weights_of_another_network_are_one_clear_line(tmp_path: Path) -> None:
    shallow = {k: s for k, s in public_layout(400).items() if not k.startswith("layer3.2")}
    checkpoint(tmp_path / "resnext-50.pth", shallow, old=False)
    narrow = {k: (s[0] // 2, *s[1:]) if k.startswith("layer4") else s for k, s in public_layout(400).items()}
    checkpoint(tmp_path / "narrow.pth", narrow, old=False)
    (tmp_path / "empty.pth").touch()
    for file, message in {
        "resnext-50.pth": r"another architecture than ResNeXt3D: it lacks layer3\.2",
        "narrow.pth": r"layer4\.0\.\S+ is \[\d+.*\], not \[",
        "empty.pth": "not a whole torch checkpoint",
    }.items():
        with pytest.raises(LongtailError, match=message) as caught:
            create_model("resnext3d101", num_classes=19, frames=10, weights=tmp_path / file)
        assert_clear(caught.value)


CLIP_FAMILIES = "mc3_18 mvit_v1_b mvit_v2_s r2plus1d_18 r3d_18 s3d swin3d_t".split()


@pytest.mark.parametrize("name", ["small3d", *CLIP_FAMILIES])
def test_every_network_for_clips_ends_in_a_linear_layer_of_our_size(name: str) -> None:
    frames = 16 if name in ("s3d", "mvit_v1_b", "mvit_v2_s") else 10
    size = 28 if name == "small3d" else 224
    model = create_model(name, num_classes=7, frames=frames, image_size=size).to("meta")
    parent, attribute, layer = final_linear(model)
    assert layer.out_features == 7
    clips = torch.empty(2, 3, frames, size, size, device="meta")
    assert model.train()(clips).shape == (2, 7)
    setattr(parent, attribute, nn.Linear(layer.in_features, 5, device="meta"))
    assert model(clips).flatten(1).shape == (2, 5)
    model.to(memory_format=torch.channels_last_3d)  # how tasks hold them


def test_what_takes_clips_is_known_by_name() -> None:
    clips = {name for name in list_models() if takes_clips(name)}
    assert clips == {"small3d", "resnext3d101", "swin3d_s", "swin3d_b", *CLIP_FAMILIES}
    assert model_channels("small3d", 1) == 1 and model_channels("R3D_18", 1) == 3


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("small3d", {}, "small3d is no network for images: use resnet32"),
        ("r3d_18", {}, "no network for images"),
        ("resnet32", {"frames": 10}, "resnet32 is no network for clips: use small3d, resnext3d101 or r3d_18"),
        ("r3d_17", {"frames": 10}, "unknown model 'r3d_17': did you mean r3d_18"),
        ("resnext3d", {"frames": 10}, "did you mean resnext3d101"),
        ("s3d", {"frames": 4, "image_size": 64}, "s3d cannot take clips of 4 frames of 64 pixels"),
    ],
)
def test_bad_requests_are_one_clear_line(name: str, options: dict, message: str) -> None:
    with pytest.raises(LongtailError, match=message) as caught:
        create_model(name, num_classes=5, **options)
    assert_clear(caught.value)


def test_small3d_tells_the_direction_of_time() -> None:
    """The same frames in reverse order are another clip."""
    model = create_model("small3d", num_classes=3, in_channels=1, frames=10, image_size=16).eval()
    clip = torch.rand(1, 1, 10, 16, 16)
    assert not torch.allclose(model(clip), model(clip.flip(2)), atol=1e-4)
