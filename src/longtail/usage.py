"""What the command line says about words that it does not understand: one sentence that names the word."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence

__all__ = ["explain"]

# How the parser puts it, and how we do; a text that fits none is shown as it is.
_PHRASES: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (r"Error parsing (--\S+): .*INT.* from \[(.*?)\]\.", lambda m: f"{m[1]}: {m[2] or 'nothing'} is no whole number"),
    (r"Error parsing (--\S+): .*FLOAT.* from \[(.*?)\]\.", lambda m: f"{m[1]}: {m[2] or 'nothing'} is no number"),
    (r"Error parsing \w+: (.*)", lambda m: m[1]),
    (r"Missing value for argument '(\S+)'", lambda m: f"{m[1]} is missing its value"),
    (
        r"invalid choice (.*) for argument '(\S+)'\. Expected one of \((.*?),?\)",
        lambda m: f"{m[2]}: {m[1]} is unknown: choose one of {_choices(m[3])}",
    ),
    (r"Missing from longtail (\w+): (\S+)", lambda m: f"{m[2]} is missing: longtail {m[1]} {m[2]}"),
)


def explain(panel: str, words: Sequence[str], *, commands: Iterable[str], options: Iterable[str]) -> str:
    """The message for a command line that could not be parsed.

    Args:
        panel: The parser's framed error text.
        words: The command line, without the program's name.
        commands: All commands.
        options: Options of the command that ``words`` begins with, with their dashes.
    """
    commands = list(commands)
    if words[0] not in commands:
        what = "option" if words[0].startswith("-") else "command"
        return f"unknown {what} {words[0]!r}: {_hint(words[0], commands)}the commands are {', '.join(commands)}"
    text = _plain(panel)
    unknown = re.match(r"Unrecognized options: (.*)", text)
    if unknown:
        word = next((w for w in unknown[1].split(", ") if w.startswith("-")), unknown[1])
        text = f"unknown option {word}" if word.startswith("-") else f"unexpected word {word!r}"
        hint = _hint(word.partition("=")[0].replace("_", "-"), options)
        text += f": {hint.rstrip(' ?')}?" if hint else ""
    for pattern, phrase in _PHRASES:
        if found := re.match(pattern, text):
            text = phrase(found)
            break
    return f"{text} (longtail {words[0]} --help shows the options)"


def _hint(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]}? " if close else ""


def _choices(text: str) -> str:
    return ", ".join(sorted(word.strip(" '") for word in text.split(",") if word.strip(" '") != "None"))


def _plain(panel: str) -> str:
    """The message inside the frame, as one line."""
    body = []
    for line in panel.splitlines():
        text = line.strip()
        if text.startswith(("╭", "╰")):
            continue
        text = text.strip("│").strip()
        if text and not text.strip("─"):
            break
        body.append(text)
    return " ".join(" ".join(body).split())
