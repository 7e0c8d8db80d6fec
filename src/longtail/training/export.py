"""Write a finished run's model in a form that runs without this library, with what must be known to use it."""

from __future__ import annotations

import importlib.resources
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from longtail import activity
from longtail.data import Split, make_loader
from longtail.errors import LongtailError
from longtail.prediction.labels import as_data
from longtail.training.files import atomic, check_place, write_json
from longtail.training.trained import Trained

__all__ = ["Exported", "export"]

_VERSION = 1
"""Of ``preprocess.json``: ``infer.py`` refuses any other."""


class Exported(nn.Module):
    """A classifier of pixels as files hold them: the run's model, and the normalisation before it.

    Args:
        trained: The run.
        softmax: Give probabilities in place of logits.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, trained: Trained, *, softmax: bool) -> None:
        super().__init__()
        shape = (1, -1, 1, 1, 1) if trained.info.get("frames") else (1, -1, 1, 1)
        mean, std = (torch.tensor(trained.info[key]).view(shape) for key in ("mean", "std"))
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", -mean / std)
        self.model, self.channels, self.softmax = trained.model, trained.info["channels"], softmax

    def forward(self, images: Tensor) -> Tensor:
        """uint8 ``[B, C, S, S]``, or clips ``[B, C, T, S, S]``, to float32 ``[B, num_classes]``."""
        pixels = images.float() * self.scale + self.shift
        if pixels.shape[1] != self.channels:  # grey images for a model made for colour
            pixels = pixels.expand(-1, self.channels, *pixels.shape[2:])
        logits = self.model(pixels).float()
        return logits.softmax(1) if self.softmax else logits


def export(
    run: str | Path | Trained, *, format: str = "onnx", out: str | Path | None = None, softmax: bool = False
) -> Path:
    """Write the model in a form that runs without this library, and check it against the original.

    The input is ``images``, uint8 ``[B, C, S, S]``, or clips ``[B, C, T, S, S]``: pixels from 0 to 255, C of them 3 for
    red, green, blue or 1 for grey; the model normalises them itself. The output is ``logits``, or ``probabilities``,
    float32 ``[B, num_classes]``; B is free. How a file becomes such an image is told by ``preprocess.json`` beside the
    model, by the model's own metadata (ONNX), and done by ``infer.py`` (ONNX), which needs onnxruntime, numpy and
    Pillow alone and labels as `predict` does.

    Args:
        run: The run folder, or the run as `load_run` gives it.
        format: ``onnx``, or ``pt2`` (`torch.export`).
        out: The file; default: ``RUN/model.onnx`` or ``RUN/model.pt2``.
        softmax: Give probabilities in place of logits.

    Raises:
        LongtailError: an unknown format, a missing package, a folder that holds another exported model, or outputs that
            differ by more than 1e-3. Nothing is written then.
    """
    if format not in ("onnx", "pt2"):
        raise LongtailError(f"unknown format {format!r}: known are onnx, pt2")
    trained = run if isinstance(run, Trained) else Trained(run)
    if not trained.task.exports:
        raise LongtailError(
            "export is for classifiers of images and clips: use other runs with longtail.training.apply.load_run"
        )
    path = Path(out) if out else trained.folder.path / f"model.{format}"
    check_place(path)
    settings = _settings(trained, path.name, softmax=softmax)
    beside = path.parent / "preprocess.json"
    _check_beside(beside, path.name)
    source = importlib.resources.files("longtail.training").joinpath("infer.py").read_text(encoding="utf-8")
    script = path.parent / "infer.py"
    if format == "onnx" and script.exists() and script.read_bytes()[:60] != source.encode()[:60]:
        raise LongtailError(f"{script} is none of ours: choose a folder of its own for the model")
    activity.now(f"exporting {trained.folder.path}")
    images, expected = _example(trained, softmax=softmax)
    module = Exported(trained, softmax=softmax).eval()
    write = _write_onnx if format == "onnx" else _write_pt2

    def checked(temporary: Path) -> None:
        worst = float((write(module, images, temporary, settings) - expected).abs().max())
        if not worst <= 1e-3 * max(1.0, float(expected.abs().max())):
            raise LongtailError(f"the exported model differs from the original by {worst:.2g}: not written")

    atomic(path, checked)
    write_json(beside, settings)
    if format == "onnx":
        atomic(script, lambda p: p.write_text(source, encoding="utf-8"))
    return path


def _settings(trained: Trained, name: str, *, softmax: bool) -> dict[str, Any]:
    """The content of ``preprocess.json``."""
    info, frames = trained.info, trained.info.get("frames", 0)
    size, crop, channels = info["image_size"], info["center_crop"], info["data_channels"]
    return {
        "version": _VERSION,
        "model": name,
        "input": "images",
        "dtype": "uint8",
        "layout": "NCTHW" if frames else "NCHW",
        "shape": ["batch", channels, *([frames] if frames else []), size, size],
        "color": "RGB" if channels == 3 else "L",
        "bit_depth": info.get("bit_depth"),  # in use in files of 16 bits a channel; null: all 16
        "exif_orientation": "applied",
        "alpha": "dropped",
        "shorter": max(1, round(size / crop)) if frames else 4 * size,
        "crop": crop,
        "image_size": size,
        "interpolation": info.get("interpolation", "bilinear"),
        "antialias": True,
        "frames": frames,
        "normalization": "inside the model",
        "mean": list(info["mean"]),
        "std": list(info["std"]),
        "output": "probabilities" if softmax else "logits",
        "class_names": list(trained.class_names),
        "network": info["model"],
        "weights": info.get("weights"),  # whose the training started from, with their licence; null: random ones
    }


def _check_beside(beside: Path, name: str) -> None:
    """Refuse a folder where another exported model would lose the file that tells how to use it."""
    try:
        other = json.loads(beside.read_text(encoding="utf-8"))["model"]
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError):
        raise LongtailError(f"{beside} is none of ours: choose a folder of its own for the model") from None
    if other != name and (beside.parent / str(other)).exists():
        raise LongtailError(f"{beside} belongs to {other}: choose a folder of its own for {name}")


def _example(trained: Trained, *, softmax: bool) -> tuple[Tensor, Tensor]:
    """Some pixels, and what the run's model answers to them on its own way in."""
    shape = _settings(trained, "", softmax=softmax)["shape"]
    images = torch.randint(256, (3, *shape[1:]), generator=torch.Generator().manual_seed(0)).byte()
    frames_first = images.transpose(1, 2) if images.ndim == 5 else images
    split = Split(frames_first, torch.zeros(3, dtype=torch.int64))
    info = trained.info
    loader = make_loader(
        split, as_data(split, trained.info), image_size=shape[-1], train=False, channels=info["channels"]
    )
    with torch.inference_mode():
        ((pixels, _),) = loader([torch.arange(3)])
        logits = trained.model(pixels).float()
    return images, logits.softmax(1) if softmax else logits


def _write_onnx(module: nn.Module, images: Tensor, path: Path, settings: dict[str, Any]) -> Tensor:
    try:
        import onnx
        import onnxruntime
    except ImportError:
        raise LongtailError(
            "export to ONNX needs onnx, onnxscript and onnxruntime: pip install 'longtail[train]'"
        ) from None
    program = torch.onnx.export(
        module,
        (images,),
        input_names=[settings["input"]],
        output_names=[settings["output"]],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    for key, value in {**settings, "preprocess": settings}.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    onnx.save(model, str(path))
    onnx.checker.check_model(str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    one_by_one = [session.run(None, {settings["input"]: image.numpy()})[0] for image in images.split(1)]
    together = session.run([settings["output"]], {settings["input"]: images.numpy()})[0]
    return torch.stack([torch.from_numpy(together), torch.cat([torch.from_numpy(one) for one in one_by_one])])


def _write_pt2(module: nn.Module, images: Tensor, path: Path, settings: dict[str, Any]) -> Tensor:
    program = torch.export.export(module, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    with open(path, "wb") as f:
        torch.export.save(program, f, extra_files={"preprocess.json": json.dumps(settings)})
    with open(path, "rb") as f, torch.inference_mode():
        return torch.export.load(f).module()(images)
