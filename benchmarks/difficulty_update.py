"""``ClassDifficulty.update`` against two ``torch.bincount`` of the same batches.

The other side counts what Eq. 1 needs and no more: ``bincount`` of the labels, and of the labels of right answers; from
logits it takes the ``argmax`` first. It adds nothing up and checks nothing. Ours adds up, and looks for labels out of
range and for NaN. One thread.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from common import Row, alternate, fresh_process

SIZES = [(classes, batch) for classes in (1000, 100_000) for batch in (256, 10_000)]
SAMPLES = {"indices": 10**6, "logits": 3 * 10**7}  # logits: divided by the number of classes, at least a batch


def benchmark() -> Iterator[Row]:
    for kind in SAMPLES:
        for classes, batch in SIZES:
            if kind == "logits" and classes * batch > 3 * 10**7:
                continue  # 4 GB of logits say nothing new
            times = fresh_process(__file__, kind, classes, batch)
            yield Row.of("difficulty_update_s", f"{kind}, {classes} classes, batches of {batch}", *times, target=1.2)


def measure(kind: str, classes: int, batch: int) -> list[float]:
    import torch

    from longtail import ClassDifficulty

    torch.set_num_threads(1)
    torch.manual_seed(0)
    samples = SAMPLES[kind] if kind == "indices" else max(batch, SAMPLES[kind] // classes // batch * batch)
    target = torch.randint(classes, (samples,))
    predicted = torch.where(torch.rand(samples) < 0.5, target, torch.randint(classes, (samples,)))
    prediction = predicted if kind == "indices" else torch.randn(samples, classes)
    batches = list(zip(prediction.split(batch), target.split(batch), strict=True))
    difficulty = ClassDifficulty(classes)

    def ours() -> None:
        for p, y in batches:
            difficulty.update(p, y)

    def other() -> None:
        for p, y in batches:
            p = p if kind == "indices" else p.argmax(1)
            torch.bincount(y[p == y], minlength=classes)
            torch.bincount(y, minlength=classes)

    return alternate(ours, other, repeats=11)


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
