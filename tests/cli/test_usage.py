"""What a line says does not depend on how the parser draws its frames; odd settings get a line of their own."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from torch import nn

from longtail.cli import main
from longtail.training.config import RunConfig
from longtail.training.hints import hints, usable_workers
from training.folders import DIGITS

WRONG = {
    "--seeds 3": "unknown option --seeds: did you mean --seed?",
    "--epochs ten": "--epochs: 'ten' is no whole number",
    "--epochs 0": "--epochs is 0: it must be at least 1",
    "--lr nan": "--lr is nan: it must be a finite number",
    "--task detection": "--task: 'detection' is unknown: choose one of classify, detect",
}


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_the_line_is_the_same_on_any_terminal(encoding):
    """Frames are drawn with other characters where the output is not Unicode."""
    environment = os.environ | {"PYTHONIOENCODING": encoding, "COLUMNS": "80"}
    code = "import sys; from longtail.cli import main; [main(['train', 'digits', *w.split()]) for w in sys.argv[1:]]"
    ended = subprocess.run(
        [sys.executable, "-c", code, *WRONG], env=environment, capture_output=True, text=True, check=False
    )
    for line, expected in zip(ended.stderr.splitlines(), WRONG.values(), strict=True):
        assert line.startswith(f"error: {expected}"), line


def config(**options: object) -> RunConfig:
    return RunConfig.from_dict({"data": "digits", "batch_size": 8} | options)


def test_a_line_for_settings_that_hardly_anybody_means():
    normalised, plain = nn.Sequential(nn.BatchNorm2d(3)), nn.Sequential(nn.Conv2d(3, 3, 1))
    for options, model, samples, world, part in (
        ({}, normalised, 100, 2, None),
        ({"batch_size": 1}, plain, 100, 1, None),
        ({"batch_size": 1}, normalised, 100, 1, "BatchNorm sees one sample"),
        ({"batch_size": 2}, normalised, 100, 2, "BatchNorm sees one sample"),
        ({"batch_size": 128}, normalised, 100, 1, "more than the 100 training samples"),
        ({"workers": 5000}, plain, 100, 1, "--workers 5000 is more than"),
    ):
        told = list(hints(config(**options), model, samples=samples, world=world))
        assert (part is None) == (not told)
        assert part is None or part in told[0]
    assert usable_workers(0) == 0 and usable_workers(3) == 3 and 8 <= usable_workers(10**6) <= 10**4


def test_a_batch_larger_than_the_data_trains(capsys, tmp_path):
    assert main([*DIGITS, "--epochs", "1", "--batch-size", "100000", "--out", str(tmp_path / "run")]) == 0
    assert "an epoch is one step" in capsys.readouterr().out


def test_batches_of_one_that_batch_norm_refuses_are_one_line(capsys, tmp_path):
    for name in "ab":
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(4):
            pixels = np.full((20, 20, 3), 50 * i, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    words = ["train", f"folder:{tmp_path / 'photos'}", "--model", "resnet10", "--image-size", "16", "--epochs", "1"]
    assert main([*words, "--batch-size", "1", "--device", "cpu", "--out", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "BatchNorm cannot train on a batch of one sample" in line
