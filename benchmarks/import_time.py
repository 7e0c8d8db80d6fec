"""Importing ``longtail`` against importing torch, in fresh processes.

Each process imports the package, then torch, then the names that the README begins with, and notes the time of each.
``import longtail`` alone loads nothing until a name is used; so the honest figure is that of the names, which need
torch and our own modules: all three imports together against the second of them. Both sides come from the same
processes because the import of torch varies more from one process to the next than what we add to it.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator

from common import Row, fresh_process

REPEATS = 15
IMPORTS = (
    "import longtail",
    "import torch",
    "from longtail import ClassDifficulty, ClassWeightedLoss, ClassWeightedSampler",
)


def benchmark() -> Iterator[Row]:
    runs = [fresh_process(__file__) for _ in range(REPEATS + 1)][1:]  # the first fills the disk cache
    package, torch, everything = (
        statistics.median(took) for took in zip(*((a, b, a + b + c) for a, b, c in runs), strict=True)
    )
    yield Row.of("import_s", IMPORTS[2], everything, torch, target=1.05)
    yield Row.of("import_s", IMPORTS[0], package, torch, target=1.05)


def measure() -> list[float]:
    times = []
    for statement in IMPORTS:
        start = time.perf_counter()
        exec(statement)
        times.append(time.perf_counter() - start)
    return times


if __name__ == "__main__":
    print(json.dumps(measure()))
