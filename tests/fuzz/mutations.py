"""What happens to files: bits flip, transfers break off, editors and other programs write what nobody expects."""

from __future__ import annotations

import copy
import gzip
import io
import json
import random
import re
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["mutated"]

_NUMBERS = (
    b"-1", b"0", b"1", b"2", b"0.5", b"1e9", b"100000000", b"2147483648", b"9223372036854775808",
    b"-9223372036854775809", b"1e308", b"1e999", b"-1e999", b"1e-320", b"NaN", b"-Infinity", b"nan", b"inf",
    b"9" * 5000, b"", b"x", b"1_000", b"0x10", b"007", b"1,5", "٣".encode(), "²".encode(),
)  # fmt: skip
_PIECES = (
    b"\xe9", b"\xff\xfe", b"\0", b"\xef\xbb\xbf", b"\r", b"\n", b"\n\n", b"\t", b",", b'"', b"'", b" ", b"[", b"{",
    b"}", b"\xed\xa0\x80", b"\\ud800", b"\x1b[31m", "\u2028".encode(), "é".encode(), b"/", b"../", b"\\", b"=",
    b"x" * 200_000, b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000,
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 7, 0.5, -0.5, 1e9, 1e308, 10**8, 2**31, 2**63, -(2**63) - 1, 10**400, float("nan"),
    float("inf"), -float("inf"), "", "x", "1", "é", "\ud800", "\0", "a\nb", "../x", "/", "x" * 5000, "9" * 5000, [], {},
    [[]], [1], [None], ["x"], [[1, 2], [3, 4]], {"a": 1}, {"": None}, [1e9] * 8, ["nested"],
)  # fmt: skip
_DEEP = '"nested"'  # becomes 100,000 brackets


def mutated(name: str, content: bytes, draw: random.Random) -> bytes:
    """A damaged or strange version of a file.

    Args:
        name: Of the file: its ending tells what can be changed inside of it.
        content: The valid file.
        draw: Decides everything.
    """
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        content = _mutate(name, content, draw)
    return content


def _mutate(name: str, content: bytes, draw: random.Random) -> bytes:
    inside = _inside(name, content)
    if inside is not None and draw.random() < 0.7:
        return inside(draw)
    ways: list[Callable[[bytes, random.Random], bytes]] = [_flip, _flip, _cut, _splice, _field, _piece, _numbers, _all]
    if b"\0" not in content[:1000]:
        ways += [_numbers, _numbers, _line, _line, _piece]
    return draw.choice(ways)(content, draw)


# -- bytes -------------------------------------------------------------------------------------------------------------
def _flip(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8, 64)) if content else 0):
        changed[draw.randrange(min(len(changed), draw.choice((64, 1024, 10**9))))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def _splice(content: bytes, draw: random.Random) -> bytes:
    begin, end = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    end = min(end, begin + draw.choice((1, 4, 64, 10**9)))
    where = draw.randrange(len(content) + 1)
    match draw.randrange(3):
        case 0:
            return content[:begin] + content[end:]
        case 1:
            return content[:where] + content[begin:end] + content[where:]
        case _:
            return content[:begin] + draw.randbytes(end - begin) + content[end:]


def _field(content: bytes, draw: random.Random) -> bytes:
    """Some bytes become the extreme of an integer or of a float."""
    where = draw.randrange(min(len(content), 256) + 1)
    value = draw.choice(
        (b"\0", b"\xff", b"\x7f", b"\x80", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\xff" * 8, b"\0" * 8)
    )
    return content[:where] + value + content[where + len(value) :]


def _piece(content: bytes, draw: random.Random) -> bytes:
    where = draw.randrange(len(content) + 1)
    return content[:where] + draw.choice(_PIECES) + content[where + draw.choice((0, 0, 1)) :]


def _numbers(content: bytes, draw: random.Random) -> bytes:
    found = list(re.finditer(rb"-?\d+(?:\.\d+)?(?:e-?\d+)?", content[:1_000_000]))
    if not found:
        return _piece(content, draw)
    one = draw.choice(found)
    return content[: one.start()] + draw.choice(_NUMBERS) + content[one.end() :]


def _all(content: bytes, draw: random.Random) -> bytes:
    """The whole file is another."""
    match draw.randrange(8):
        case 0:
            return b""
        case 1:
            return b" \n"
        case 2:
            return draw.randbytes(200)
        case 3:
            return content.decode("utf-8", errors="replace").encode("utf-16")
        case 4:
            return content.decode("utf-8", errors="replace").replace("a", "é").encode("latin-1", errors="replace")
        case 5:
            return draw.choice((b"[" * 100_000, b'{"a":' * 100_000, b"null", b"[]", b"{}", b"0", b'"x"', b"9" * 5000))
        case 6:
            return content.replace(b"\n", draw.choice((b"\r\n", b"\r", b"")))
        case _:
            return b"\xef\xbb\xbf" + content


def _line(content: bytes, draw: random.Random) -> bytes:
    lines = content.split(b"\n")
    i, j = draw.randrange(len(lines)), draw.randrange(len(lines))
    separator = b"," if b"," in lines[i] else b" "
    words = lines[i].split(separator)
    k = draw.randrange(len(words))
    match draw.randrange(7):
        case 0:
            del lines[i]
        case 1:
            lines.insert(j, lines[i])
        case 2:
            lines[i], lines[j] = lines[j], lines[i]
        case 3:
            lines[i] = separator.join(words[:k] + words[k + 1 :])
        case 4:
            lines[i] = separator.join([*words[:k], draw.choice((*_NUMBERS, *_PIECES)), *words[k + 1 :]])
        case 5:
            lines[i] = separator.join([*words, *words])
        case _:
            lines[i] = b'"' + lines[i]
    return b"\n".join(lines)


# -- what is inside of a file ------------------------------------------------------------------------------------------
def _inside(name: str, content: bytes) -> Callable[[random.Random], bytes] | None:
    try:
        if name.endswith(".json"):
            value = json.loads(content)
            return lambda draw: _json(value, draw)
        if name.endswith(".gz"):
            plain = gzip.decompress(content)
            return lambda draw: gzip.compress(mutated(name[:-3], plain, draw), 1)
        if name.endswith(".safetensors"):
            size = int.from_bytes(content[:8], "little")
            head, data = json.loads(content[8 : 8 + size]), content[8 + size :]
            return lambda draw: _with_length(_json(head, draw), data)
        if content[:2] == b"PK":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                members = {entry.filename: archive.read(entry) for entry in archive.infolist()}
            return lambda draw: _zip(members, draw)
    except Exception:  # no longer what its name says
        pass
    return None


def _with_length(head: bytes, data: bytes) -> bytes:
    return len(head).to_bytes(8, "little") + head + data


def _zip(members: dict[str, bytes], draw: random.Random) -> bytes:
    """An archive that is whole, checksums included, of members one of which is not."""
    if not members:
        return b"PK"
    changed = draw.choice(sorted(members))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            if name == changed and draw.random() < 0.1:
                continue
            archive.writestr(name, mutated(name, content, draw) if name == changed else content)
    return out.getvalue()


def _json(value: Any, draw: random.Random) -> bytes:
    value = copy.deepcopy(value)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        value = _change(value, draw)
    text = json.dumps(value, ensure_ascii=draw.random() < 0.8)
    if _DEEP in text:
        text = text.replace(_DEEP, "[" * 100_000 + "]" * 100_000, 1)
    return text.encode("utf-8", errors="surrogatepass")


def _change(value: Any, draw: random.Random) -> Any:
    """Another value, key or place somewhere in a JSON value."""
    places = _places(value)
    if not places:
        return copy.deepcopy(draw.choice(_VALUES))
    # A place by its depth first: what stands at the top is rare and matters as much as the many numbers below.
    depth = draw.choice(sorted({len(place) for place in places}))
    *way, last = draw.choice([place for place in places if len(place) == depth])
    parent = value
    for step in way:
        parent = parent[step]
    match draw.randrange(8):
        case 0 if isinstance(parent, dict):
            del parent[last]
        case 0:
            parent.insert(last, copy.deepcopy(parent[last]))
        case 1 if isinstance(parent, dict):
            parent[draw.choice(("x", "é", "", str(last).upper()))] = parent.pop(last)
        case 1:
            del parent[last]
        case 2:
            parent[last] = [parent[last]]
        case 3:
            parent[last] = str(parent[last])
        case 4:
            *others, name = draw.choice(places)
            other = value
            for step in others:
                other = other[step]
            parent[last] = copy.deepcopy(other[name])
        case _:
            parent[last] = copy.deepcopy(draw.choice(_VALUES))
    return value


def _places(value: Any, way: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in inside for place in ((*way, key), *_places(inner, (*way, key)))]
