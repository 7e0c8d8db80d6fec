"""Importing ``longtail`` against importing torch, each in fresh processes, in turns.

``import longtail`` alone loads nothing until a name is used; the honest figure is that of the import that the README
begins with, which loads torch and our own modules.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator

from common import Row, fresh_process

REPEATS = 25
IMPORTS = {
    "torch": "import torch",
    "names": "from longtail import ClassDifficulty, ClassWeightedLoss, ClassWeightedSampler",
    "package": "import longtail",
}


def benchmark() -> Iterator[Row]:
    times: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(REPEATS + 1):
        for name in IMPORTS:
            times[name].append(fresh_process(__file__, name))
    median = {name: statistics.median(taken[1:]) for name, taken in times.items()}  # the first fills the disk cache
    for name in ("names", "package"):
        yield Row.of("import_s", IMPORTS[name], median[name], median["torch"], target=1.05)


if __name__ == "__main__":
    statement = compile(IMPORTS[sys.argv[1]], "<import>", "exec")
    start = time.perf_counter()
    exec(statement)
    print(json.dumps(time.perf_counter() - start))
