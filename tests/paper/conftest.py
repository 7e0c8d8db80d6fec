"""Published data sets in miniature, of real images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from modules import module_at


@pytest.fixture(scope="session")
def cifar(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """CIFAR-100 with 170 + 3 images per class: 50 are held out, and a long tail of imbalance 200 starts at 120."""
    if not (test_data / "cifar100").is_dir():
        pytest.skip(f"no CIFAR-100 in {test_data}")
    unpack = module_at(test_data / "unpack_cifar100.py")
    folder = tmp_path_factory.mktemp("cifar")
    for split, each in (("train", 170), ("test", 3)):
        images, labels, _ = unpack.load(split)
        few = np.concatenate([np.flatnonzero(labels == c)[:each] for c in range(100)])
        np.savez(folder / f"cifar100_{split}.npz", images=images[few], labels=labels[few])
    return f"cifar100:{folder}"
