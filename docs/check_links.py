"""Check the links of the built pages to one another: each page, anchor, picture and file must be there.

Usage: ``python docs/check_links.py docs/_build/html``; names what is missing (exit code 1). Addresses elsewhere are
left alone.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

KEYS = {"a": "href", "img": "src", "link": "href", "script": "src"}


class Page(HTMLParser):
    """The anchors and the links of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.anchors |= {value for key in ("id", "name") if (value := found.get(key))}
        if address := found.get(KEYS.get(tag, "")):
            self.links.append(address)


def missing(folder: Path) -> list[str]:
    """``page: link`` for each link within ``folder`` that leads nowhere."""
    pages = {path.resolve(): Page(path) for path in folder.rglob("*.html")}
    found = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchors = pages[target].anchors if target in pages else None
            wrong = anchors is not None and parts.fragment and unquote(parts.fragment) not in anchors
            if wrong or not target.exists():
                found.append(f"{path.relative_to(folder.resolve())}: {link}")
    return sorted(set(found))


if __name__ == "__main__":
    lines = missing(Path(sys.argv[1]))
    print("\n".join(lines) or "all links within the pages lead somewhere")
    sys.exit(bool(lines))
