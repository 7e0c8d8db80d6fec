"""timm's networks by name: ``timm/NAME``, ``timm/hf-hub:OWNER/NAME``, ``timm/local-dir:FOLDER``."""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from longtail.errors import LongtailError
from longtail.models.pretrained import (
    EMBEDDED,
    EMBEDDED_LICENCE,
    PRETRAINED,
    Preprocess,
    PretrainedWeights,
    embedded_state,
    embedded_weights,
    fetch_url,
    from_hub,
    sha256_of,
)
from longtail.models.weights import read_weights

__all__ = ["PREFIX", "architecture_of", "create_timm", "is_timm", "timm_has_weights", "timm_preprocess"]

PREFIX = "timm/"
_FILES = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")


def is_timm(name: str) -> bool:
    """Whether a network is timm's."""
    return name.lower().startswith(PREFIX)


def _timm() -> Any:
    try:
        import timm
    except ImportError:
        raise LongtailError("this model needs timm: pip install 'longtail[train]'") from None
    return timm


@functools.lru_cache(maxsize=32)
def _config(name: str) -> tuple[str, Any]:
    """What timm is asked for, and what it tells of the network's published weights; nothing is fetched but a JSON file.

    A name of the hub becomes the folder where its files are kept.
    """
    timm, inner = _timm(), name[len(PREFIX) :]
    source, _, place = inner.partition(":")
    if source == "hf-hub":
        folder = from_hub(place, ("config.json",), model=name).parent
        inner = f"local-dir:{folder}"
    elif source == "local-dir":
        folder = Path(place).expanduser()
        if not (folder / "config.json").is_file():
            raise LongtailError(f"{folder} has no config.json, as timm's save_for_hf and the hub write it")
        inner = f"local-dir:{folder}"
    elif not timm.is_model(inner.partition(".")[0]):
        close = difflib.get_close_matches(inner.lower(), timm.list_models(), n=3)
        hint = f"did you mean {' or '.join(PREFIX + c for c in close)}?" if close else "timm.list_models() tells them"
        raise LongtailError(f"unknown model {name!r}: {hint}")
    try:
        with torch.device("meta"):
            return inner, timm.create_model(inner, pretrained=False).pretrained_cfg
    except Exception as error:
        raise LongtailError(f"timm cannot build {name}: {' '.join(str(error).split())}") from None


def timm_has_weights(name: str) -> bool:
    """Whether there are published weights of that name."""
    inner, config = _config(name)
    return inner.startswith("local-dir:") or any(config.get(key) for key in ("url", "hf_hub_id", "file"))


def timm_preprocess(name: str) -> Preprocess:
    """What timm says of the pixels that a network expects."""
    _, config = _config(name)
    return Preprocess(
        image_size=config["input_size"][-1],
        mean=tuple(map(float, config["mean"])),
        std=tuple(map(float, config["std"])),
        interpolation="bilinear" if config.get("interpolation") == "bilinear" else "bicubic",
        crop=float(config.get("crop_pct") or 1.0),
    )


def architecture_of(name: str) -> dict[str, Any] | None:
    """Of a network that a folder or the hub describes, what rebuilds it without them: ``name`` and ``args``."""
    if not name[len(PREFIX) :].startswith(("hf-hub:", "local-dir:")):
        return None
    inner, config = _config(name)
    content = json.loads((Path(inner.partition(":")[2]) / "config.json").read_text(encoding="utf-8"))
    return {"name": PREFIX + config["architecture"], "args": content.get("model_args") or {}}


def create_timm(
    name: str,
    *,
    num_classes: int,
    image_size: int | None = None,
    weights: str | Path | None = None,
    args: Mapping[str, Any] | None = None,
) -> tuple[nn.Module, PretrainedWeights | None, list[str]]:
    """One of timm's networks with ``num_classes`` outputs.

    Args:
        name: ``timm/NAME``, ``timm/hf-hub:...``, ``timm/local-dir:...``.
        num_classes: C; 0: no classifier.
        image_size: Side of the images, for networks that are built for one.
        weights: ``pretrained``, or a file; None: random weights.
        args: Further arguments of its constructor, see `architecture_of`.

    Returns:
        The network, whose classifier is a linear layer; what it starts from; notes.

    Raises:
        LongtailError: an unknown name, weights that cannot be had or do not fit in every layer but the classifier.
    """
    inner, config = _config(name)
    if weights is None:
        model = _build(name, inner, config, image_size, num_classes=num_classes, **args or {})
        return _linear(model, num_classes), None, []
    layer = config.get("classifier") or ""
    if not isinstance(layer, str):
        raise LongtailError(f"{name} has several classifiers ({', '.join(layer)}): take a network with one")
    classes, offset = config.get("num_classes", 1000), config.get("label_offset") or 0
    if weights == PRETRAINED:
        info, given = _published(name, inner, config)
    else:
        info = PretrainedWeights(Path(weights).name, "", "not known", timm_preprocess(name))
        given = _of_conv(read_weights(weights), layer)
        info = PretrainedWeights(info.name, sha256_of(Path(weights)), info.licence, info.preprocess)
        rows = given.get(f"{layer}.weight")
        if rows is not None and len(rows) != classes + offset:
            classes, offset = len(rows), 0
    overlay = {"num_classes": classes, "label_offset": offset, "source": "", "custom_load": False}
    overlay |= {"url": None, "hf_hub_id": None, "file": None}
    try:
        if given is None:
            model = _build(name, inner, config, image_size, num_classes=classes)
            model.load_state_dict(embedded_state(model.state_dict()))
        else:
            overlay |= {"state_dict": given}
            model = _build(
                name, inner, config, image_size, num_classes=classes, pretrained=True, pretrained_cfg_overlay=overlay
            )
            model.pretrained_cfg.pop("state_dict", None)  # pyright: ignore
    except (RuntimeError, KeyError, AssertionError) as error:
        lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
        reason = lines[min(1, len(lines) - 1)][:300] if lines else type(error).__name__
        raise LongtailError(f"{info.name} is of another architecture than {name}: {reason}") from None
    if weights == PRETRAINED:
        model.reset_classifier(num_classes)  # pyright: ignore[reportCallIssue]
        new = "; its classifier starts from random values" if num_classes else ""
        notes = [f"{name} starts from {info.name} ({info.licence}){new}"]
    elif classes != num_classes:
        model.reset_classifier(num_classes)  # pyright: ignore[reportCallIssue]
        notes = [f"{info.name} has another classifier: {layer} starts from random values"] if num_classes else []
    else:
        notes = []
    return _linear(model, num_classes), info, notes


def _build(name: str, inner: str, config: Any, image_size: int | None, **options: Any) -> nn.Module:
    if image_size and config.get("fixed_input_size") and config["input_size"][-1] != image_size:
        options["img_size"] = image_size
    try:
        return _timm().create_model(inner, **options)
    except (RuntimeError, KeyError) as error:
        if options.get("pretrained"):
            raise  # about the weights
        raise LongtailError(f"timm cannot build {name}: {' '.join(str(error).split())}") from None
    except (ValueError, TypeError, AssertionError) as error:
        size = f" for images of {image_size} pixels" if image_size else ""
        raise LongtailError(f"timm cannot build {name}{size}: {' '.join(str(error).split())}") from None


def _published(name: str, inner: str, config: Any) -> tuple[PretrainedWeights, dict[str, Tensor] | None]:
    """What is known of the published weights, and their tensors; None: those that come with a package."""
    look = timm_preprocess(name)
    licence = config.get("license") or "licence not stated by timm"
    if config.get("architecture") == EMBEDDED and config.get("tag") in (None, "in1k"):
        file, title = embedded_weights()
        return PretrainedWeights(title, sha256_of(file), EMBEDDED_LICENCE, look), None
    if inner.startswith("local-dir:"):
        folder = Path(inner.partition(":")[2])
        if name[len(PREFIX) :].startswith("hf-hub:"):
            file = from_hub(name.partition(":")[2], _FILES, model=name)
        else:
            file = next((folder / f for f in _FILES if (folder / f).is_file()), None)
        if file is None:
            raise LongtailError(f"{folder} holds no {' or '.join(_FILES[:2])}: place the weights there")
    elif config.get("hf_hub_id"):
        names = (config["hf_hub_filename"],) if config.get("hf_hub_filename") else _FILES[:2]
        file = from_hub(config["hf_hub_id"], names, model=name)
    elif config.get("url"):
        file = fetch_url(config["url"], model=name)
    else:
        raise LongtailError(f"timm has no published weights of {name}: give --weights FILE or --weights none")
    if file.suffix == ".npz":
        raise LongtailError(f"the weights of {name} are no torch file: take another of timm's names of this network")
    title = config.get("hf_hub_id") or name[len(PREFIX) :]
    return PretrainedWeights(title, sha256_of(file), licence, look), read_weights(file)


def _of_conv(given: dict[str, Tensor], layer: str) -> dict[str, Tensor]:
    """Weights of one of our runs whose classifier was a convolution, as timm has it."""
    inner = f"{layer}.1."
    renamed = {k.replace(inner, f"{layer}.") if k.startswith(inner) else k: v for k, v in given.items()}
    if renamed.keys() != given.keys():
        renamed[f"{layer}.weight"] = renamed[f"{layer}.weight"][..., None, None]
    return renamed


def _linear(model: nn.Module, num_classes: int) -> nn.Module:
    """The same network, with a linear layer where its classifier is a convolution of one pixel."""
    name = getattr(model, "pretrained_cfg", {}).get("classifier")
    if not isinstance(name, str) or not name:
        return model
    layer = model.get_submodule(name)
    if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
        linear = nn.Linear(layer.in_channels, num_classes)
        with torch.no_grad():
            linear.weight.copy_(layer.weight.flatten(1))
            if layer.bias is not None:
                linear.bias.copy_(layer.bias)
        model.set_submodule(name, nn.Sequential(nn.Flatten(), linear, nn.Unflatten(-1, (num_classes, 1, 1))))
    return model
