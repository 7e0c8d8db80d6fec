"""``python -m longtail`` is the ``longtail`` command."""

from __future__ import annotations

from longtail.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
