"""Read a run's configuration back."""

from __future__ import annotations

from pathlib import Path

from longtail import runfolder
from longtail.config import RunConfig
from longtail.errors import LongtailError
from longtail.tasks.options import without_idle_defaults
from longtail.textfiles import read_json

__all__ = ["read_config"]


def read_config(path: str | Path) -> RunConfig:
    """The configuration in a ``config.json``: a run folder's, or the plain fields of `RunConfig`.

    Raises:
        LongtailError: no such file, no JSON, or an unknown key or value.
    """
    path = Path(path)
    path = path / runfolder.CONFIG if path.is_dir() else path
    content = read_json(path, mend="give a run folder's config.json")
    values = content.get("config", content) if isinstance(content, dict) else None
    if not isinstance(values, dict):
        raise LongtailError(f"{path} holds no run configuration")
    if values is not content:
        runfolder.check_format(content, path)
        # None: random ones, and nothing that is still to be chosen.
        values = values | {"weights": values.get("weights") or "none", "tune": values.get("tune") or "all"}
    try:
        return RunConfig.from_dict(without_idle_defaults(values))
    except (TypeError, LongtailError) as error:
        raise LongtailError(f"{path}: {error}") from None
