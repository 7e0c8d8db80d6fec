"""``python -m longtail.paper.merge OUT results``: put what ``longtail reproduce`` measured into a folder of results."""

from __future__ import annotations

import sys
from pathlib import Path

from longtail.errors import LongtailError
from longtail.paper.results import merge


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print("usage: python -m longtail.paper.merge OUT results", file=sys.stderr)
        return 2
    try:
        for path in merge(Path(arguments[0]), Path(arguments[1])):
            print(f"wrote {path}")
    except LongtailError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
