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


# What other tools call our options; the first that a command has is meant.
_SYNONYMS = {
    "--model": "--arch --architecture --backbone --net --network --encoder",
    "--batch-size": "--bs --batch --train-batch-size --per-device-train-batch-size --samples-per-gpu",
    "--lr": "-lr --learning-rate --rate --base-lr --lr0 --init-lr", "--weight-decay": "--wd --decay --l2",
    "--optimizer": "--optimiser --optim --opt",
    "--epochs": "--num-epochs --n-epochs --num-train-epochs --max-epochs --epoch",
    "--device": "--gpu --gpus --cuda --accelerator --devices",
    "--precision": "--amp --fp16 --bf16 --half --mixed-precision",
    "--image-size": "--img-size --imgsz --img --size --resolution --input-size --crop-size",
    "--method": "--loss --algorithm --criterion --methods",
    "--methods": "--method --loss --algorithm --criterion --losses",
    "--method-kwargs": "--kwargs --hyperparameters --tau --beta --params",
    "--workers": "--num-workers -j --threads --dataloader-num-workers",
    "--weights": "--pretrained --checkpoint --init --finetune --resume-from --load",
    "--out": "--output --output-dir --save-dir --name --outdir --results "
        "--project --save --dest --folder --logdir --log-dir",
    "--schedule": "--scheduler --sched --lr-scheduler --lr-schedule",
    "--seed": "--random-seed --random-state --manual-seed", "--seeds": "--runs --repeats --trials",
    "--top": "--topk --top-k", "--threshold": "--conf --score --score-threshold --conf-thres",
    "--val-fraction": "--val-split --val-size --validation-split --valid-fraction --val-ratio --val-frac",
    "--augment": "--aug --augmentation --mixup --cutmix --auto-augment --aa --hflip",
    "--trackers": "--wandb --tensorboard --logger --report-to --mlflow --track",
    "--imbalance": "--imbalance-ratio --imb-factor --imbalance-factor --imb",
    "--warmup-epochs": "--warmup --warmup-steps", "--clip-grad-norm": "--clip-grad --grad-clip --max-grad-norm",
    "--group-by": "--groups --group", "--patience": "--early-stopping --early-stop",
    "--ema": "--model-ema --ema-decay", "--label-smoothing": "--smoothing --smooth",
    "--jobs": "--parallel --n-jobs", "--baseline": "--reference", "--views": "--tta --num-views",
    "--head": "--classifier", "--tune": "--freeze --finetune --fine-tune --linear-probe",
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
    text = re.sub(r"(?<![\w-])-\w/(?=--)", "", _plain(panel))  # an option by its long form alone
    if joined := next((word for word in words[1:] if re.fullmatch(r"-[a-z][a-z-]+", word)), None):
        text = f"Unrecognized options: {joined}"
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
    elsewhere = [f"longtail {other}" for other in commands if other != command and flag in options(other)]
    meant = [ours for ours, theirs in _SYNONYMS.items() if flag in theirs.split()]
    if synonym := next((ours for ours in meant if ours in own), None):
        hint = f"did you mean {synonym}? "
    else:
        hint = _hint(flag, own, 0.8 if elsewhere or meant else 0.6)
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
