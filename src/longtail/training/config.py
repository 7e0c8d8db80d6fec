"""What one run is: `longtail.config` holds it, where tasks can read it too."""

from longtail.config import DataOptions, RunConfig

__all__ = ["DataOptions", "RunConfig"]
