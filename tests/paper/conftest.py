"""Published data sets in miniature, of real images."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def cifar(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """CIFAR-100 with 170 + 3 images per class: 50 are held out, and a long tail of imbalance 200 starts at 120."""
    spec = importlib.util.spec_from_file_location("unpack_cifar100", test_data / "unpack_cifar100.py")
    if spec is None or spec.loader is None or not (test_data / "cifar100").is_dir():
        pytest.skip(f"no CIFAR-100 in {test_data}")
    unpack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(unpack)
    folder = tmp_path_factory.mktemp("cifar")
    for split, each in (("train", 170), ("test", 3)):
        images, labels, _ = unpack.load(split)
        few = np.concatenate([np.flatnonzero(labels == c)[:each] for c in range(100)])
        np.savez(folder / f"cifar100_{split}.npz", images=images[few], labels=labels[few])
    return f"cifar100:{folder}"
