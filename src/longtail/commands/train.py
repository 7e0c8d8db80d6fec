"""``train``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from longtail import runfolder
from longtail.commands.shared import DATA, Aim, file_name, plain
from longtail.config import DataOptions, RunConfig
from longtail.output import is_main, say, say_metrics

__all__ = ["Train"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train(RunConfig):
    """Train one method and fill a run folder.

    Args:
        data: Data set as ``NAME[:PATH]``.
        out: The run folder; default: ``runs/DATA-METHOD-seed``.
        aim: What a method that chooses out of fold, or has a dial, makes large: ``mean``, the mean accuracy of the
            classes, or ``floor``, that of the worst of them. It is the hyperparameter ``aim``.
        config: A run folder's ``config.json``: repeat that run; further options override it.
        resume: Continue an unfinished run in ``out``.

    Examples:
        longtail train folder:photos
        longtail train folder:photos -m balanced-softmax -e 30 -o runs/balanced
        longtail train csv:table.csv --columns file=id label=breed --help      # its defaults
        longtail train --config runs/balanced/config.json --seed 1 -o runs/again
    """

    data: Annotated[Positional[str], DATA] = ""
    out: Path | None = None
    aim: Aim | None = None
    config: Path | None = None
    resume: bool = True

    def run(self) -> int:
        from longtail.methods.base import find_method
        from longtail.training.progress import for_terminal
        from longtail.training.run import train

        config = plain(self)
        aimed = () if self.aim is None else (f"aim={self.aim}",)
        kwargs = (*(item for item in config.method_kwargs if not (aimed and item.startswith("aim="))), *aimed)
        config = dataclasses.replace(config, method=find_method(config.method).name, method_kwargs=kwargs)
        out = self.out or Path("runs") / file_name(f"{config.data}-{config.method}-{config.seed}")
        metrics = train(
            config, out, resume=self.resume, progress=for_terminal(), splits_of=_splits_of(self.config, config)
        )
        if is_main():
            say_metrics(metrics["test"], f"test split, weights of the {metrics['final']} epoch")
            say(f"run folder: {out}")
        return 0


def _splits_of(config: Path | None, options: RunConfig) -> Path | None:
    """The run that ``--config`` names, where its splits are those of ``options`` too."""
    folder = config if config is None or config.is_dir() else config.parent
    if folder is None or not (folder / runfolder.SPLITS).is_file():
        return None
    from longtail.training.configfile import read_config

    its = read_config(folder)
    names = {f.name for f in dataclasses.fields(DataOptions)} - {"download"} | {"data", "task"}
    return folder if all(getattr(its, name) == getattr(options, name) for name in names) else None
