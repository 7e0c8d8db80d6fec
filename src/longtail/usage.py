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
    (r"Error parsing (--\S+): (.*)", lambda m: f"{m[1]}: {m[2]}"),
    (r"Missing value for argument '(\S+)'", lambda m: f"{m[1]} is missing its value"),
    (
        r"invalid choice (.*) for argument '(\S+)'\. Expected one of \((.*?),?\)",
        lambda m: f"{m[2]}: {m[1]} is unknown: choose one of {_choices(m[3])}",
    ),
    (r"Missing from longtail (\w+): (\S+)", lambda m: f"{m[2]} is missing: longtail {m[1]} {m[2]}"),
)


# What other tools call our options.
_SYNONYMS = {
    "--arch": "--model", "--architecture": "--model", "--backbone": "--model", "--net": "--model",
    "--bs": "--batch-size", "-b": "--batch-size", "--batch": "--batch-size",
    "--learning-rate": "--lr", "--rate": "--lr", "--wd": "--weight-decay", "--decay": "--weight-decay",
    "--gpu": "--device", "--gpus": "--device", "--cuda": "--device", "--amp": "--precision", "--fp16": "--precision",
    "--img-size": "--image-size", "--imgsz": "--image-size", "--size": "--image-size", "--resolution": "--image-size",
    "--loss": "--method", "--algorithm": "--method", "-m": "--method", "--num-epochs": "--epochs", "-e": "--epochs",
    "--num-workers": "--workers", "-j": "--workers", "--pretrained": "--weights", "--checkpoint": "--weights",
    "--output": "--out", "--output-dir": "--out", "--save-dir": "--out", "-o": "--out", "--scheduler": "--schedule",
    "--random-seed": "--seed", "--name": "--out", "--topk": "--top", "--top-k": "--top", "--conf": "--threshold",
}  # fmt: skip
_OF_DATA = ("--data", "--dataset", "--data-dir", "--data-path", "--train-dir", "-d")


def explain(
    panel: str, words: Sequence[str], *, commands: Iterable[str], options: Callable[[str], Sequence[str]]
) -> str:
    """The message for a command line that could not be parsed.

    Args:
        panel: The parser's framed error text.
        words: The command line, without the program's name.
        commands: All commands.
        options: Of a command, with their dashes.
    """
    commands = list(commands)
    if words[0] not in commands:
        what = "option" if words[0].startswith("-") else "command"
        return f"unknown {what} {words[0]!r}: {_hint(words[0], commands)}the commands are {', '.join(commands)}"
    text = _plain(panel)
    unknown = re.match(r"Unrecognized (?:or misplaced )?options: (.*)", text)
    if unknown:
        text = _unknown(unknown[1], words, commands=commands, options=options)
    for pattern, phrase in _PHRASES:
        if found := re.match(pattern, text):
            text = phrase(found)
            break
    return f"{text} (longtail {words[0]} --help shows the options)"


def _unknown(
    listed: str, words: Sequence[str], *, commands: Sequence[str], options: Callable[[str], Sequence[str]]
) -> str:
    """What to say of the words that the parser did not expect, as it lists them."""
    listed = re.sub(r" \(applied to [^)]*\)", ",", listed.partition(" Arguments are applied")[0])
    found = [word for word in re.split(r",\s*|,$", listed) if word]
    word = next((w for w in found if re.match(r"--?[A-Za-z]", w)), found[0] if found else listed)
    if not word.startswith("-"):
        where = words.index(word) if word in words else 0
        after = words[where - 1] if where else ""
        hint = f"no space after {after}" if after.endswith(":") else "options need their names, spaces need quotes"
        return f"unexpected word {word!r}: {hint}"
    command, flag = words[0], word.partition("=")[0].replace("_", "-").lower()
    if command in ("train", "compare", "inspect") and flag in _OF_DATA:
        return f"unknown option {word}: the data set stands alone, longtail {command} NAME[:PATH]"
    own = options(command)
    if flag != word.partition("=")[0].replace("_", "-") and flag in own:
        return f"unknown option {word}: did you mean {flag}?"
    synonym = _SYNONYMS.get(flag)
    elsewhere = [f"longtail {other}" for other in commands if other != command and flag in options(other)]
    hint = f"did you mean {synonym}? " if synonym in own else _hint(flag, own, 0.8 if elsewhere else 0.6)
    if elsewhere:
        hint += f"{' and '.join(elsewhere[:3])} {'has' if len(elsewhere) == 1 else 'have'} {flag}"
    return f"unknown option {word}" + (f": {hint.rstrip()}" if hint else "")


def _hint(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return f"did you mean {close[0]}? " if close else ""


def _choices(text: str) -> str:
    return ", ".join(sorted(word.strip(" '") for word in text.split(",") if word.strip(" '") != "None"))


def _plain(panel: str) -> str:
    """The message inside the frame, as one line; without Unicode the frame is a title and lines of dashes."""
    lines = [line.strip().strip("│|").strip() for line in panel.splitlines()]
    rules = [i for i, line in enumerate(lines) if line and not line.strip("─-╭╮╰╯+")]
    if rules and not panel.lstrip().startswith("╭"):
        lines = lines[rules[0] + 1 :]
    body = []
    for line in lines:
        if line.startswith(("╭", "╰")):
            continue
        if line and not line.strip("─-"):
            break
        body.append(line)
    return " ".join(" ".join(body).split())
