"""Is there a network? Asked before libraries that would try for a minute."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request

__all__ = ["reachable"]


def reachable(url: str, *, seconds: float = 5.0) -> bool:
    """Whether anybody answers at the address, through the proxy that is set; what is answered does not matter."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError as error:
        return isinstance(getattr(error, "reason", error), ssl.SSLError)
