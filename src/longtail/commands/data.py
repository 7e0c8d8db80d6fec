"""What is done with a data set alone: ``inspect``, ``embed``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from longtail import runfolder
from longtail.advice import Finding, as_json, json_of
from longtail.atomic import atomic
from longtail.commands.shared import DATA, Device
from longtail.config import DataOptions, RunConfig
from longtail.errors import LongtailError
from longtail.output import say

__all__ = ["Embed", "Inspect"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inspect(DataOptions):
    """Show a data set: class counts, imbalance, shot groups, splits, what would be hard, and a picture.

    Args:
        data: Data set as ``NAME[:PATH]``.
        verify: Decode every image file or clip and name the broken ones.
        out: The picture.
        checks: Also write what the checks found to this JSON file.

    Examples:
        longtail inspect folder:photos -o photos.png
        longtail inspect folder:photos --verify --checks checks.json
    """

    data: Annotated[Positional[str], DATA]
    verify: bool = False
    out: Path = Path("inspect.png")
    checks: Path | None = None

    def run(self) -> int:
        from longtail.data.catalogue import find_entry
        from longtail.tasks import task_class
        from longtail.tasks.options import check_options

        if self.checks:
            from longtail.training.files import check_place

            check_place(self.checks, "--checks")
        say(f"reading {self.data}")  # before what may take long
        kind = find_entry(self.data).task
        check_options(self, self.data, kind)
        found: list[Finding] = []
        shown = task_class(kind).inspect(self.data, self, picture=self.out, verify=self.verify, found=found)
        for line in shown:
            say(line)
        if self.checks:
            text = json_of(as_json(found, data=self.data))
            atomic(self.checks, lambda path: path.write_text(text, encoding="utf-8"))
            say(f"checks: {self.checks}")
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Embed(DataOptions):
    """Write the features that a frozen network gives of images or clips, for features:FILE and any other program.

    The file holds x [N, D], y, class_names, split, and group and name (the file) where they are known.

    Args:
        data: Data set as ``NAME[:PATH]``.
        out: The file: ``.npz``, ``.safetensors`` or ``.parquet``.
        model: The network; default: the one that photographs start from.
        weights: ``pretrained``, ``none`` or a file, as for ``train``.
        image_size: Side in pixels of the square that the network sees; default: that of its weights.
        features: ``levels``: the output of every stage beside what the network's classifier read; ``last``: that alone.
        feature_cache: Folder of features that were computed before; default: ``runs/features``, where runs look.
        device: Where to compute.

    Examples:
        longtail embed folder:photos -o photos.npz
        longtail embed cifar100 --model resnet18 --features last -o cifar100.parquet
    """

    data: Annotated[Positional[str], DATA]
    out: Path | None = None
    model: str | None = None
    weights: str | None = None
    image_size: int | None = None
    features: Literal["last", "levels"] = "levels"
    feature_cache: Path = Path("runs") / runfolder.FEATURES
    device: Device = "auto"

    def run(self) -> int:
        if self.out is None:
            raise LongtailError("--out is missing: name the file of the features")
        import torch

        from longtail.tasks.embed import embed
        from longtail.training.files import check_place

        check_place(self.out)
        names = {f.name for f in dataclasses.fields(DataOptions)} | {"data", "model", "weights", "image_size"}
        config = RunConfig(**{name: getattr(self, name) for name in names})  # pyright: ignore[reportArgumentType]
        device = "cuda" if self.device != "cpu" and torch.cuda.is_available() else "cpu"
        for line in embed(config, self.out, features=self.features, cache=self.feature_cache, device=device):
            say(line)
        return 0
