"""Fixtures that all tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # for `distributed` and `methods.settings`

from distributed import TwoProcesses

torch.set_num_threads(1)  # two cores at most: a second thread costs more than it brings
# No test depends on the time that it takes: a loaded machine draws examples slowly, and that is no fault.
hypothesis.settings.register_profile(
    "longtail",
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("longtail")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of real data sets: ``LONGTAIL_TEST_DATA``, else ``../shared/data`` beside the repository."""
    default = Path(__file__).parents[2] / "shared" / "data"
    path = Path(os.environ.get("LONGTAIL_TEST_DATA", default))
    if not path.is_dir():
        pytest.skip(f"no test data at {path}: set LONGTAIL_TEST_DATA")
    return path


@pytest.fixture(scope="session")
def cifar100(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CIFAR-100 in the published layout of pickles."""
    folder = tmp_path_factory.mktemp("cifar100")
    subprocess.run([sys.executable, test_data / "unpack_cifar100.py", folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def _two_processes():
    pair = TwoProcesses()
    yield pair
    pair.close()


@pytest.fixture
def run_two(_two_processes):
    """``run_two(fn, *args) -> [fn(0, *args), fn(1, *args)]`` in two processes with a gloo group; see distributed.py."""
    return _two_processes.run
