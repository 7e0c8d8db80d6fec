"""LoRA and AdaptFormer in a frozen network: nothing at the start, nothing else moves, and the file holds all of it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from commands import run
from longtail.config import RunConfig
from longtail.errors import LongtailError, Terminated
from longtail.training import run as training
from longtail.training.apply import evaluate, load_run
from longtail.training.export import export
from longtail.training.files import load_tensors
from longtail.training.recipes import resolve
from training.folders import FIRST_CHECKPOINT, assert_same_run
from training.test_ending import Ends
from training.test_processes import train_here

KINDS = ("lora", "adaptformer")


def tiny_vit(classes: int = 7) -> nn.Module:
    torch.manual_seed(1)
    model = timm.create_model("test_vit", img_size=32, num_classes=classes)
    for parameter in model.parameters():  # so that nothing is 0 or 1 by its initialisation
        parameter.data += 0.02 * torch.randn_like(parameter)
    return model


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of a network that was trained for something else."""
    file = tmp_path_factory.mktemp("weights") / "vit.safetensors"
    save_file({k: v.contiguous() for k, v in tiny_vit().state_dict().items()}, file)
    return str(file)


def options(weights: str, kind: str, **own: Any) -> dict[str, Any]:
    small = {"data": "digits", "model": "timm/test_vit", "image_size": 32, "epochs": 2, "batch_size": 64}
    small |= {"device": "cpu", "method": "ce", "weights": weights, "tune": "adapter", "adapter": kind, "lr": 0.05}
    return small | own


class Kept:
    """The loop of a run, and its model as it began."""

    loop: Any
    begin: dict[str, Tensor]


def train(folder: Path, **given: Any) -> Kept:
    kept = Kept()

    class Watched(training._Loop):
        def __init__(self, *args: Any, **keywords: Any) -> None:
            super().__init__(*args, **keywords)
            kept.loop = self
            kept.begin = {k: v.clone() for k, v in self.model.state_dict().items()}

    loop, training._Loop = training._Loop, Watched
    try:
        training.train(RunConfig(**given), folder)
    finally:
        training._Loop = loop
    return kept


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_adapters_and_the_classifier_moves_and_no_buffer(kind: str, weights: str, tmp_path: Path) -> None:
    kept = train(tmp_path / "run", **options(weights, kind))
    now = kept.loop.model.state_dict()
    moved = {k for k, v in now.items() if not torch.equal(v, kept.begin[k])}
    named = {"head.weight"} | {k for k in now if ".lora_" in k or ".adapter." in k}
    assert moved == named  # all of them learn
    own, given = load_tensors(tmp_path / "run" / "model.safetensors"), load_tensors(Path(weights))
    assert not [k for k in own if ".lora_" in k or "base_layer" in k]
    for name, value in given.items():
        where = name.replace(".norm2.", ".mlp.norm.").replace(".mlp.fc", ".mlp.mlp.fc") if kind != "lora" else name
        if not name.startswith("head."):
            changed = kind == "lora" and name.endswith("weight") and any(part in name for part in ("attn.", "mlp."))
            assert torch.equal(own[where], value) != changed, name
    assert own["head.weight"].shape == (10, 64) and not torch.equal(own["head.weight"], kept.begin["head.weight"])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_answers_as_what_was_trained_and_so_does_onnx(kind: str, weights: str, tmp_path: Path) -> None:
    import onnxruntime

    kept = train(tmp_path / "run", **options(weights, kind, final="last"))
    images = torch.randn(5, 3, 32, 32)
    model = kept.loop.model.eval()
    trained = load_run(tmp_path / "run")
    with torch.inference_mode():
        torch.testing.assert_close(trained.model(images), model(images), rtol=1e-4, atol=1e-5)
    assert evaluate(tmp_path / "run") == json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
    path = export(tmp_path / "run")
    pixels = torch.randint(256, (2, 1, 32, 32)).byte()
    (logits,) = onnxruntime.InferenceSession(str(path)).run(None, {"images": pixels.numpy()})
    mean, std = (torch.tensor(trained.info[key]).view(1, -1, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        expected = trained.model(((pixels / 255 - mean) / std).expand(-1, 3, -1, -1))
    torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_at_the_start_the_network_answers_as_it_did(kind: str, weights: str, tmp_path: Path) -> None:
    """With the classifier of the file: ten classes, as the digits."""
    file = tmp_path / "ten.safetensors"
    model = tiny_vit(10).eval()
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, file)
    begun = train(tmp_path / "run", **options(str(file), kind, epochs=1, head="linear"))
    loop = begun.loop
    loop.model.load_state_dict(begun.begin)
    images = torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(loop.model.eval()(images), model(images))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("own", [{}, {"ema": 0.9}, {"method": "crt", "method_kwargs": ("share=0.5",)}])
def test_a_run_that_was_ended_goes_on_to_the_same_bytes(
    kind: str, own: dict[str, Any], weights: str, tmp_path: Path
) -> None:
    """And does not put in its adapters a second time."""
    given = options(weights, kind, **own)
    training.train(RunConfig(**given), tmp_path / "whole")
    for after in (1, 8):
        folder = tmp_path / str(after)
        with contextlib.suppress(Terminated):
            training.train(RunConfig(**given), folder, progress=Ends(after))
        training.train(RunConfig(**given), folder)
        assert_same_run(folder, tmp_path / "whole")


def test_killed_after_a_checkpoint_it_goes_on_to_the_same_bytes(weights: str, tmp_path: Path) -> None:
    words = ["train"]
    for name, value in options(weights, "lora").items():
        words += [value] if name == "data" else [f"--{name.replace('_', '-')}", str(value)]
    assert run([*words, "--out", tmp_path / "whole"]).errors == []
    assert run([*words, "--out", tmp_path / "run"], die_at=FIRST_CHECKPOINT).wait() == -9
    assert run([*words, "--out", tmp_path / "run"]).wait() == 0
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def twice(rank: int, given: dict[str, Any], folder: str) -> list[Any]:
    return train_here(rank, given, folder)


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_do_as_one(kind: str, weights: str, run_two: Any, tmp_path: Path) -> None:
    given = options(weights, kind)
    training.train(RunConfig(**given), tmp_path / "one")
    first, second = run_two(twice, given, str(tmp_path / "two"))
    assert first == second
    one, two = (load_tensors(tmp_path / folder / "model.safetensors") for folder in ("one", "two"))
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-3, atol=1e-4, msg=key)


def test_a_frozen_network_stays_in_eval_with_its_buffers(tmp_path: Path) -> None:
    """One with BatchNorm and linear layers."""
    model = timm.create_model("test_vit", img_size=32, num_classes=7, norm_layer=nn.LayerNorm, drop_path_rate=0.5)
    assert model.training
    torch.manual_seed(0)
    from longtail.methods import ClassStats, get_method
    from longtail.models.adapters import add_adapters, freeze
    from longtail.training.stage import Stages

    whole = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Dropout(0.5), model)
    freeze(whole)
    head = model.head
    for parameter in head.parameters():
        parameter.requires_grad_(True)
    add_adapters(whole, head, kind="lora", rank=2, images=torch.randn(2, 3, 32, 32))
    parts = get_method("ce").parts(ClassStats(class_counts=[3, 2]))
    stages = Stages(
        whole, head, parts, epochs=1, still=True, schedule=lambda progress, span: 0.1,
        optimizer=lambda parameters: torch.optim.SGD(parameters, 0.1, weight_decay=0.1),
    )  # fmt: skip
    ((stage, first, _),) = stages.bounds
    stages.enter(stage, first=first)
    stages.train_mode()
    before = {k: v.clone() for k, v in whole.state_dict().items()}
    in_training = {name for name, module in whole.named_modules() if module.training and list(module.parameters())}
    assert in_training and all("lora_" in name or name == "3.head" for name in in_training)
    assert not [m for m in whole.modules() if isinstance(m, nn.Dropout | nn.BatchNorm2d) and m.training]
    for _ in range(2):
        whole(torch.randn(4, 3, 32, 32)).logsumexp(1).mean().backward()
        stages.optimizer.step()  # pyright: ignore
    moved = {k for k, v in whole.state_dict().items() if not torch.equal(v, before[k])}
    assert moved and all("lora_" in name or name.startswith("3.head.") for name in moved)


def test_a_cosine_classifier_of_scale_25_is_what_adapters_begin_with(weights: str, tmp_path: Path) -> None:
    assert resolve(RunConfig(**options(weights, "lora"))).head == "cosine"
    kept = train(tmp_path / "run", **options(weights, "lora", epochs=1))
    assert kept.loop.head.scale == 25
    assert "head.bias" not in load_tensors(tmp_path / "run" / "model.safetensors")
    evaluate(tmp_path / "run")


@pytest.mark.parametrize(
    ("own", "line"),
    [
        ({"weights": "none"}, "--tune adapter is for a network that is trained already"),
        ({"tune": "all"}, "--adapter is for --tune adapter"),
        ({"tune": "all", "adapter": None, "adapter_rank": 4}, "--adapter-rank is for --tune adapter"),
        ({"backbone_lr": 0.1}, "--backbone-lr is for --tune all"),
        ({"adapter_rank": 0}, "--adapter-rank is 0: it must be at least 1"),
        ({"head": "cosine", "method": "ldam-drw"}, "--head cosine: ldam-drw has a classifier of its own"),
        ({"head": "cosine", "method": "tau-norm"}, "--head cosine: tau-norm changes its classifier after training"),
        ({"data": "shapes-lt", "task": "detect", "model": None}, "--tune adapter means nothing to --task detect"),
        ({"tune": "head"}, "--adapter is for --tune adapter"),
        ({"tune": "head", "adapter": None, "optimizer": "adamw"}, "--optimizer is for --tune all, not for --tune head"),
        ({"tune": "head", "adapter": None, "augment": "mixup"}, "--augment mixup is for --tune all or adapter"),
    ],
)
def test_what_means_nothing_is_refused(own: dict[str, Any], line: str, weights: str) -> None:
    with pytest.raises(LongtailError, match=f"^{line}"):
        resolve(RunConfig(**options(weights, "lora") | own))


def test_a_network_without_a_place_for_adapters_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    save_file(timm.create_model("test_efficientnet", num_classes=3).state_dict(), file)
    for kind in KINDS:
        given = options(str(file), kind, model="timm/test_efficientnet")
        with pytest.raises(LongtailError, match=rf"^--adapter {kind} is for ") as caught:
            training.train(RunConfig(**given), tmp_path / "run")
        assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()
