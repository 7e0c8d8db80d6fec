"""Which run of a comparison to use, chosen on the split that chooses epochs, never on the test split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from longtail import runfolder
from longtail.config import RunConfig
from longtail.errors import LongtailError
from longtail.training.files import read_json
from longtail.training.folder import RunFolder

__all__ = ["best_run", "run_of"]


Judge = Callable[[Path], Any]


def run_of(path: str | Path, *, best: bool = False, judge: Judge | None = None) -> Path:
    """The run folder that is meant.

    Args:
        path: A run folder, or with ``best`` a folder that holds some.
        best: Take the best of the finished runs below ``path``.
        judge: As in `best_run`.

    Raises:
        LongtailError: ``path`` is no run folder; where it holds runs, the line names the best one.
    """
    path = Path(path).expanduser()
    if (path / runfolder.CONFIG).is_file():
        return path
    found = _below(path)
    if not found:
        raise LongtailError(f"{path} is no run folder: give the --out folder of longtail train")
    if best:
        return best_run(path, judge=judge)
    try:
        hint = f"name one, or add --best, which takes {best_run(path)}"
    except LongtailError:
        hint = f"name one, e.g. {found[0].path}, or add --best"
    raise LongtailError(f"{path} is no run folder, it holds {len(found)} of them: {hint}")


def _below(path: Path) -> list[RunFolder]:
    """The run folders of a comparison, or of several beside each other."""
    files = (file for pattern in ("*", "*/seed-*", "*/*/seed-*") for file in path.glob(f"{pattern}/{runfolder.CONFIG}"))
    return [RunFolder(file.parent) for file in sorted(files)]


def best_run(path: Path, *, judge: Judge | None = None) -> Path:
    """The finished run of a comparison that is best on the split on which its epochs are chosen.

    That is the selection split, where runs have one of their own, else the difficulty split ``val``. What counts is
    what chooses the epoch: the mean performance over the classes.

    Args:
        path: Folder of the comparison.
        judge: From a run folder to its metrics on a selection split of its own, which no file tells, as
            `longtail.training.apply.evaluate` gives them; None: an error where one is needed.

    Raises:
        LongtailError: no finished run, runs on different data or tasks, or runs without such a split.
    """
    finished = [(folder, folder.config()) for folder in _below(path) if folder.finished]
    if not finished:
        raise LongtailError(f"{path} holds no finished run: continue it with the command that began it")
    kinds = {(config.data, config.task) for _, config in finished}
    if len(kinds) > 1:
        names = ", ".join(sorted({data for data, _ in kinds}))
        raise LongtailError(f"{path} holds runs that cannot be compared ({names}): give the folder of one comparison")
    return max(finished, key=lambda own: _score(*own, judge=judge))[0].path


def _score(folder: RunFolder, config: RunConfig, *, judge: Judge | None) -> float:
    if config.select_fraction:
        if judge is None:
            raise LongtailError(f"{folder.path} is not judged on its selection split")
        metrics: Any = judge(folder.path)
    else:
        metrics = read_json(folder.path / runfolder.METRICS).get("val")
    values = metrics.get("per_class") if isinstance(metrics, dict) else None
    known = [value for value in values or () if value is not None]
    if not known:
        raise LongtailError(f"{folder.path} has no split to select on: name the run that you want")
    return sum(known) / len(known)
