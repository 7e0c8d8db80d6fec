"""``reproduce``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from longtail.commands.shared import Device
from longtail.errors import LongtailError
from longtail.output import say

__all__ = ["Reproduce"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Re-run tables and figures of the paper, and print the paper's numbers beside ours.

    Args:
        what: ``table1`` to ``table8``, ``figure1`` to ``figure6``, ``comparison``; several share their runs.
        columns: Columns of the table, e.g. ``mnist-99``, a group of them, e.g. ``egtea``, or a data set, e.g. ``lvis``;
            default: all whose data are there.
        rows: Rows of the table, e.g. ``ce cdb-w``; default: all.
        seeds: Number of seeds of each cell; default: the recipe's.
        scale: ``full`` is the paper's protocol; ``small`` is a reduced one, about ten minutes a run on two cores;
            ``smoke`` only shows that everything runs.
        jobs: Runs at a time, each a process with its share of the cores.
        data: Where a data set is, if not where ``train`` looks: ``NAME:PATH``, e.g. ``mnist-4v9:DIR``.
        weights: Initial weights where the paper starts from some: ``MODEL:FILE``, e.g. ``resnext3d101:FILE``,
            ``fasterrcnn_resnet50_fpn:FILE``.
        device: Where to compute.
        precision: ``fp32``, or ``bf16`` (autocast).
        download: Fetch data sets that are missing with torchvision.
        out: Folder of the runs and of the results.

    Examples:
        longtail reproduce table1 --columns mnist-99 -o table1
        longtail reproduce comparison --columns digits --rows ce cdb-w -o digits
    """

    what: Annotated[Positional[tuple[str, ...]], arg(metavar="TABLE...")]
    columns: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    seeds: int | None = None
    scale: Literal["smoke", "small", "full"] = "full"
    jobs: int = 1
    data: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    device: Device = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    download: bool = False
    out: Path | None = None

    def run(self) -> int:
        from longtail.paper import reproduce

        if self.out is None:
            raise LongtailError("--out is missing: name the folder of the runs")
        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "what"}
        for line in reproduce(*self.what, **options):
            say(line)
        return 0
