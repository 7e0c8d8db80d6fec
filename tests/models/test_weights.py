"""Initial weights from files: whose they are, what they hold, and what is refused."""

from __future__ import annotations

import os
import pickle
import tracemalloc
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from clear import assert_clear
from longtail.errors import LongtailError
from longtail.models import create_model, load_weights


def resnet(classes: int = 5, name: str = "resnet20") -> nn.Module:
    return create_model(name, num_classes=classes, image_size=32)


def equal(model: nn.Module, state: dict[str, torch.Tensor], skip: str = "-") -> bool:
    own = model.state_dict()
    return all(own[key].equal(value) for key, value in state.items() if not key.startswith(skip))


@pytest.mark.parametrize("form", ["safetensors", "plain", "state_dict", "module", "compiled", "lightning", "twice"])
def test_usual_files_are_understood(tmp_path: Path, form: str) -> None:
    state = resnet().state_dict()
    state["bn1.running_mean"] += 1
    file = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    if form == "safetensors":
        save_file(state, file)
    else:
        content = {
            "plain": state,
            "state_dict": {"state_dict": state, "epoch": 3},
            "module": {f"module.{key}": value for key, value in state.items()},
            "compiled": {f"module._orig_mod.{key}": value for key, value in state.items()},
            "lightning": {"model": {"state_dict": state}, "args": [1, "x"]},
            "twice": {"model_state_dict": {f"module.{key}": value for key, value in state.items()}, "best": 0.5},
        }[form]
        torch.save(content, file)
    model = create_model("resnet20", num_classes=5, weights=file)
    assert equal(model, state) and model.notes == []


@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v3_small", "squeezenet1_1"])
def test_a_classifier_of_other_classes_starts_anew(tmp_path: Path, name: str) -> None:
    size = 32 if name == "resnet20" else 224
    source = create_model(name, num_classes=9, image_size=size)
    file = tmp_path / "w.safetensors"
    save_file(source.state_dict(), file)
    model = create_model(name, num_classes=5, image_size=size, weights=file)
    last = "fc" if name == "resnet20" else "classifier.3"
    assert equal(model, source.state_dict(), skip=last)
    assert model.get_submodule(last).out_features == 5
    assert model.notes == [f"w.safetensors has another classifier: {last} starts from random values"]


def test_published_weights_of_torchvision_fit(tmp_path: Path) -> None:
    """Three traps: a convolution as classifier, side branches of Inception, the old names of DenseNet's layers."""
    from torchvision import models

    squeeze = models.squeezenet1_1(num_classes=4)
    torch.save(squeeze.state_dict(), tmp_path / "squeeze.pth")
    model = create_model("squeezenet1_1", num_classes=4, weights=tmp_path / "squeeze.pth")
    assert equal(model, squeeze.state_dict(), skip="classifier") and len(model.notes) == 1

    google = models.googlenet(num_classes=4, aux_logits=True, init_weights=False)
    torch.save(google.state_dict(), tmp_path / "google.pth")
    model = create_model("googlenet", num_classes=4, weights=tmp_path / "google.pth")
    assert equal(model, google.state_dict(), skip="aux")

    dense = models.densenet121(num_classes=4).state_dict()
    old = {
        key.replace("norm1", "norm.1")
        .replace("conv1", "conv.1")
        .replace("norm2", "norm.2")
        .replace("conv2", "conv.2"): value
        for key, value in dense.items()
        if "num_batches_tracked" not in key
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "dense.pth")
    model = create_model("densenet121", num_classes=4, weights=tmp_path / "dense.pth")
    assert equal(model, {key: value for key, value in dense.items() if "num_batches" not in key})


def test_a_length_that_the_old_format_gives_takes_no_memory(tmp_path: Path) -> None:
    torch.save(resnet().state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "old.pth").read_bytes()
    at = content.index(b"X", 300)  # the length of a name in a pickle, 4 bytes
    (tmp_path / "old.pth").write_bytes(content[: at + 1] + b"\xf0\xff\xff\x7f" + content[at + 5 :])
    tracemalloc.start()
    try:
        with pytest.raises(LongtailError, match=r"old\.pth is"):
            load_weights(resnet(), tmp_path / "old.pth")
        assert tracemalloc.get_traced_memory()[1] < 1e8
    finally:
        tracemalloc.stop()


def test_another_architecture_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    torch.save(resnet(name="resnet32").state_dict(), tmp_path / "deeper.pth")
    model = resnet()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(LongtailError, match="another architecture than CifarResNet: it has blocks") as caught:
        load_weights(model, tmp_path / "deeper.pth")
    assert_clear(caught.value)
    assert equal(model, before)
    torch.save(before, tmp_path / "w.pth")
    with pytest.raises(LongtailError, match=r"w\.pth is of another architecture than LeNet5: it lacks conv1\.bias"):
        create_model("lenet5", num_classes=5, weights=tmp_path / "w.pth")


class Malicious:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("canary",)


def test_what_cannot_be_weights_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state = resnet().state_dict()
    torch.save({"state_dict": Malicious()}, "code.pth")
    Path("pickle.pth").write_bytes(pickle.dumps(Malicious()))
    torch.save([1, 2], "list.pth")
    torch.save({"a": 1}, "none.pth")
    torch.save(resnet(), "module.pth")
    torch.save(state, "cut.pth")
    Path("cut.pth").write_bytes(Path("cut.pth").read_bytes()[:5000])
    Path("text.pth").write_text("hello")
    Path("text.safetensors").write_text("hello, I am not tensors")
    save_file(state, "cut.safetensors")
    Path("cut.safetensors").write_bytes(Path("cut.safetensors").read_bytes()[:-100])
    Path("empty.pth").write_bytes(b"")
    for file, message in {
        "code.pth": "more than tensors",
        "pickle.pth": "more than tensors",
        "module.pth": "more than tensors",
        "list.pth": "holds no state dict",
        "none.pth": "holds no state dict",
        "cut.pth": "not a whole torch checkpoint",
        "text.pth": "not a whole torch checkpoint",
        "empty.pth": "not a whole torch checkpoint",
        "text.safetensors": "not a whole safetensors file",
        "cut.safetensors": "not a whole safetensors file",
        "gone.pth": "do not exist",
        ".": "are no file",
    }.items():
        with pytest.raises(LongtailError, match=message) as caught:
            create_model("resnet20", num_classes=5, weights=file)
        assert_clear(caught.value)
    assert not Path("canary").exists()
