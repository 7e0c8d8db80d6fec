"""The help, the parser and the page on the command line read one description of the options."""

from __future__ import annotations

import dataclasses
import re
import shlex
import shutil
import subprocess

import pytest

from longtail import cli, options
from longtail.cli import main
from longtail.commands import COMMANDS
from longtail.config import RunConfig
from longtail.data.catalogue import find_entry, known
from longtail.methods import _groups, get_method
from longtail.options import GROUPS, SHORT, examples_of, filled, form_of, options_of

EXAMPLES = [line.partition("   #")[0] for command in COMMANDS.values() for line in examples_of(command)]


def help_of(capsys, *words: str) -> str:
    assert main([*words, "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS.values(), ids=list(COMMANDS))
def test_every_field_is_an_option_with_help_of_its_own(command):
    own = {option.name: option for option in options_of(command)}
    fields = {field.name for field in dataclasses.fields(command)}
    assert fields - own.keys() <= {"method"}  # compare has methods
    assert not [name for name, option in own.items() if not option.help]
    flags = [flag for option in own.values() for flag in option.flags]
    assert len(set(flags)) == len(flags)


def test_every_option_of_a_run_is_in_a_group_and_groups_follow_one_another():
    for command in (COMMANDS["train"], COMMANDS["compare"]):
        groups = list(dict.fromkeys(option.group for option in options_of(command)))
        assert groups == ["positional", *GROUPS]


def test_groups_name_options_that_exist():
    names = {field.name for command in COMMANDS.values() for field in dataclasses.fields(command)}
    assert {*options._MODEL, *options._METHOD, *options._OUTPUT} <= names


def test_short_forms_belong_to_options_that_exist():
    names = {field.name for command in COMMANDS.values() for field in dataclasses.fields(command)}
    assert set(SHORT) <= names


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("digits -m ce -e 3 -b 7 -l 0.5 -o run", {"method": "ce", "epochs": 3, "batch_size": 7, "lr": 0.5}),
        ("digits --milestones 2 3 --download", {"milestones": (2, 3), "download": True}),
        ("digits --method_kwargs a=1 b=2 --no-resume", {"method_kwargs": ("a=1", "b=2"), "resume": False}),
        ("features:x.npz --no-refit", {"refit": False}),
        ("features:x.npz --refit", {"refit": True}),
    ],
)
def test_the_form_fills_the_command(words, expected):
    command = cli._parse(["train", *words.split()])
    assert {name: getattr(command, name) for name in expected} == expected
    others = {f.name for f in dataclasses.fields(RunConfig)} - expected.keys() - {"data"}
    assert all(getattr(command, name) == getattr(RunConfig(), name) for name in others)


def test_a_form_with_defaults_gives_them_back():
    command = COMMANDS["train"](data="digits", epochs=5, milestones=(2,), method_kwargs=("tau=1",))
    form = form_of(COMMANDS["train"], command)
    parts = {f.name: f.type for f in dataclasses.fields(form)}
    made = {name: kind.__origin__() for name, kind in parts.items() if name.startswith("group_")}
    assert filled(COMMANDS["train"], form(**made)) == command


@pytest.mark.parametrize("line", EXAMPLES)
def test_examples_are_understood(line):
    program, command, *words = shlex.split(line)
    assert program == "longtail"
    words = [word for word in words if word != "--help"]
    if "--config" not in words:  # the file is read while parsing
        assert isinstance(cli._parse([command, *words]), COMMANDS[command])


def test_help_shows_the_defaults_of_the_data_set_and_of_the_options_given(capsys):
    flat = " ".join(re.sub("[│╭╮╰╯─]", " ", help_of(capsys, "train", "cifar100", "--epochs", "100")).split())
    assert "defaults below are those of cifar100" in flat
    for option, default in {"--model TEXT": "resnet32", "--milestones INT ...": "80 90", "--lr FLOAT": "0.1"}.items():
        after = flat.partition(option)[2]
        assert re.search(r"\(default: ([^)]*)\)", after)[1] == default  # pyright: ignore[reportOptionalSubscript]


@pytest.mark.parametrize("name", known())
def test_help_is_there_for_every_data_set(name, capsys):
    """Whatever it sets: switches that are unset without it, lists, nothing."""
    data = name.partition("[")[0].partition(":")[0] + (":place" if ":" in name else "")
    task = ["--task", find_entry(data).task] if find_entry(data).task == "detect" else []
    assert f"defaults below are those of {data} " in " ".join(help_of(capsys, "train", data, *task).split())
    if task:
        assert "Not here: " in (out := help_of(capsys, "train", data)) and "use it with --task detect" in out


@pytest.mark.parametrize("words", [["train"], ["compare", "no-such-data"], ["train", "digits", "--method", "none"]])
def test_help_is_there_without_a_data_set(words, capsys):
    out = help_of(capsys, *words)
    assert "DATA --help shows the defaults" in " ".join(out.split()) and "Examples:" in out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_that_names_commands_and_options(shell, capsys):
    assert main(["--completion", shell]) == 0
    script = capsys.readouterr().out
    assert "--batch-size" in script and "compare" in script
    if shutil.which(shell):
        assert subprocess.run([shell, "-n"], input=script, text=True, check=False).returncode == 0


def test_methods_are_grouped_by_what_they_need():
    groups = _groups.groups()
    of = {method.name: need for need, methods in groups.items() for method in methods}
    assert of["cdb-w"] == "A held-out split" and of["bags"] == "Boxes" and of["mw-net"].startswith("Batches")
    for need, methods in groups.items():
        for method in methods:
            if need.startswith("Class counts"):
                assert not method.needs_held_out and not method.needs_weights
    lines = dict(line.split(maxsplit=1) for line in _groups.listing() if line.startswith("  "))
    for name, line in lines.items():
        marks = [mark == "x" for mark in line.split()[-4:]]
        assert marks == [task in get_method(name).tasks for task in ("classify", "video", "detect", "segment")]
