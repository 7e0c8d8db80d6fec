"""What a run prints while it goes on."""

from __future__ import annotations

import pytest

from longtail.training.progress import Lines, Whole


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"stage": "train", "train_loss": 1.25}, "epoch 2/2, loss 1.2500, 0 s left"),
        (
            {"stage": "weighted", "train_loss": 0.5, "val_accuracy": 0.75, "tau": 2.0},
            "epoch 2/2, weighted, loss 0.5000, val 75.0 %, tau 2.00, 0 s left",
        ),
    ],
)
def test_a_line_names_the_stage_of_a_method_that_has_several(capsys, row, words):
    lines = Lines("ce, seed 1")
    lines.start(epochs=2, done=0)
    lines.epoch({"epoch": 2} | row)
    assert capsys.readouterr().out == f"ce, seed 1: {words}\n"


def test_the_runs_of_a_series_tell_once_what_they_have_in_common(capsys):
    whole = Whole(2)
    for label, own in (("ce, seed 0", "57 copies"), ("ce, seed 1", "58 copies")):
        lines = Lines(label, whole)
        for note in ("the same weights", own):
            lines.about(note)
    assert capsys.readouterr().out == "ce, seed 0: the same weights\nce, seed 0: 57 copies\nce, seed 1: 58 copies\n"
    alone = Lines("ce, seed 1")
    alone.about("the same weights")
    assert capsys.readouterr().out == "ce, seed 1: the same weights\n"
