"""Whoever waits is told what for: at once while PyTorch loads, later when nothing was said for a while."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import threading

import pytest

from longtail import activity
from longtail.cli import main
from longtail.training.progress import Lines
from training.folders import DIGITS


class Loud(io.StringIO):
    """Tells when something is written."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = threading.Event()

    def write(self, text: str) -> int:
        super().write(text)
        self.heard.set()
        return len(text)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(activity, "FIRST", 0.0)
    monkeypatch.setattr(activity, "AGAIN", 0.0)


def test_silence_is_broken_with_what_goes_on_and_how_far_it_is(impatient):
    stream = Loud()
    with activity.watched("starting", stream):
        assert stream.heard.wait(60)
        activity.now("reading photos")
        for item in activity.counted("abcd"):
            if item == "c":
                stream.heard.clear()
                assert stream.heard.wait(60) and stream.heard.clear() is None and stream.heard.wait(60)
                break
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("starting") and "reading photos: 2 of 4" in lines[-1]


def test_nothing_is_said_where_something_was_or_a_bar_is_drawn():
    stream = io.StringIO()
    with activity.watched("starting", stream):
        activity.spoke()
    assert stream.getvalue() == ""
    assert list(activity.counted([1, 2])) == [1, 2]  # without anybody who waits


def test_a_reader_who_left_does_not_end_the_command(impatient):
    stream = Loud()
    stream.close()
    with activity.watched("starting", stream, at_once=True):
        pass


def test_a_long_epoch_says_where_it_is(impatient, capsys):
    lines = Lines("ce")
    lines.start(epochs=3, done=1)
    for step in range(1, 4):
        lines.step(step, 3)
    assert capsys.readouterr().out.splitlines() == [f"ce: epoch 2/3, step {step}/3" for step in (1, 2, 3)]


def first_words(*words: str, screen: bool) -> str:
    """What a new process says first, on a terminal or into a pipe."""
    ours, theirs = pty.openpty() if screen else os.pipe()
    command = [sys.executable, "-m", "longtail", *words]
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL)
    os.close(theirs)
    text = os.read(ours, 4096)
    process.kill()
    process.wait()
    os.close(ours)
    return text.decode()


@pytest.mark.parametrize("command", ["inspect digits", "train digits", "evaluate run", "export run"])
def test_the_first_word_comes_before_pytorch_is_loaded(command):
    assert first_words(*command.split(), screen=False).startswith("loading PyTorch")


def test_labels_that_a_program_reads_are_not_mixed_with_words_for_the_screen():
    assert first_words("predict", "run", "x.png", screen=True).startswith("loading PyTorch")
    assert first_words("predict", "run", "x.png", screen=False).startswith("error: ")


def test_training_is_as_it_was_under_watch(tmp_path, capsys, impatient):
    assert main([*DIGITS, "--epochs", "1", "--out", str(tmp_path / "run")]) == 0
    assert f"run folder: {tmp_path / 'run'}" in capsys.readouterr().out
