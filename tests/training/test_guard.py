"""A script without a main guard is told so in one line, and leaves nothing behind that hangs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from data.pictures import fill

SCRIPT = """
from longtail.training.config import RunConfig
from longtail.training.run import train

config = RunConfig(
    data="folder:photos", method="ce", model="lenet5", epochs=1, image_size=24, batch_size=8, workers=2, device="cpu"
)
train(config, "run")
"""


def test_a_script_without_a_main_guard_is_told_so(tmp_path: Path) -> None:
    fill(tmp_path / "photos", {"cat": 8, "dog": 8})
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1 and "script.py has no main guard" in done.stderr.splitlines()[-1]
