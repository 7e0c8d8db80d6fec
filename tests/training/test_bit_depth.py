"""A run on 12-bit files with ``--bit-depth 12`` is the run on their 8-bit twins, up to the exported model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from longtail.cli import main
from longtail.training.apply import predict
from longtail.training.export import export


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same pictures as 16-bit files of a 12-bit camera, brightest values on both sides of 255, and with 8 bits."""
    deep, flat = tmp_path_factory.mktemp("deep"), tmp_path_factory.mktemp("flat")
    draw = np.random.RandomState(0)
    for name, level in (("cell", 200), ("debris", 240)):
        for i in range(8):
            values = draw.randint(0, level + 15 * i, (24, 24))
            eight = np.floor(values * 255 / 4095 + 0.5).astype(np.uint8)
            for folder, pixels in ((deep, values.astype(np.uint16)), (flat, eight)):
                (folder / name).mkdir(exist_ok=True)
                Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return deep, flat


def test_twelve_bits_are_the_eight_bit_twins(
    twins: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deep, flat = twins
    quick = "--method ce --epochs 1 --model lenet5 --image-size 24 --batch-size 8 --device cpu".split()
    assert main(["train", f"folder:{flat}", *quick, "--out", str(tmp_path / "flat")]) == 0
    assert main(["train", f"folder:{deep}", *quick, "--bit-depth", "12", "--out", str(tmp_path / "deep")]) == 0
    ours, theirs = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("deep", "flat"))
    assert ours == theirs
    config, data = (json.loads((tmp_path / "deep" / f"{name}.json").read_text()) for name in ("config", "data"))
    assert config["config"]["bit_depth"] == data["bit_depth"] == 12
    test = json.loads((tmp_path / "deep" / "metrics.json").read_text())["test"]
    for options in ([], ["--data", f"folder:{deep}", "--split", "test"]):
        assert main(["evaluate", str(tmp_path / "deep"), *options, "--out", str(tmp_path / "e.json")]) == 0
        if not options:
            assert json.loads((tmp_path / "e.json").read_text())["test"] == test
    found, expected = (list(predict(tmp_path / name, [folder])) for name, folder in (("deep", deep), ("flat", flat)))
    assert [labels for _, labels in found] == [labels for _, labels in expected]
    (tmp_path / "model").mkdir()
    export(tmp_path / "deep", out=tmp_path / "model" / "model.onnx")
    assert json.loads((tmp_path / "model" / "preprocess.json").read_text())["bit_depth"] == 12
    script = [sys.executable, str(tmp_path / "model" / "infer.py"), *(file for file, _ in found)]
    told = subprocess.run(script, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split("\t")[1] for line in told] == [labels[0][0] for _, labels in found]
    chances = [float(line.split("\t")[2]) for line in told]
    assert chances == pytest.approx([labels[0][1] for _, labels in found], abs=1e-3)
    capsys.readouterr()
    assert main(["train", f"folder:{deep}", *quick, "--out", str(tmp_path / "deep")]) == 2
    assert "another configuration (bit_depth" in capsys.readouterr().err


def test_what_a_depth_may_be(twins: tuple[Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for words, message in (
        (["train", f"folder:{twins[0]}", "--bit-depth", "17"], "--bit-depth is 17: it must be from 8 to 16"),
        (["train", f"folder:{twins[0]}", "--bit-depth", "8"], "is none of 8 bits: give another --bit-depth"),
        (["train", "digits", "--bit-depth", "12"], "--bit-depth"),
        (["inspect", f"folder:{twins[0]}", "--bit-depth", "0"], "bit_depth is 0: it must be from 8 to 16"),
    ):
        assert main([*words, "--out", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert main(["inspect", f"folder:{twins[0]}", "--out", str(tmp_path / "a.png")]) == 0
    assert "warning LT005: 16-bit images that use little of their range" in capsys.readouterr().out
