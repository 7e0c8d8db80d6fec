"""One epoch of indices: ``ClassWeightedSampler`` against ``torch.utils.data.WeightedRandomSampler``.

Both draw as many indices as there are samples, with the same class probabilities, from long-tailed labels in random
order, and both are iterated to the end as a ``DataLoader`` does, one Python integer at a time.

Time: both in one process, in turns; once the epoch alone, once with what has to be done when the weights have changed
(torch: a new weight for every sample and a new sampler; ours: nothing).

Memory: a fresh process for each side; what building the sampler and one epoch add to the peak of the process that holds
torch and the labels, and that peak itself. Much of the latter is torch: even a sampler without any memory would have
0.55 of the other's whole peak at 1e7 samples.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from common import Row, alternate, fresh_process, peak_mib, seconds

CLASSES = 1000


def benchmark() -> Iterator[Row]:
    for samples in (10**6, 10**7):
        size = f"{samples:.0e} samples, {CLASSES} classes".replace("e+0", "e")
        times = fresh_process(__file__, "time", samples)
        yield Row.of("sampler_epoch_s", size, *times["epoch"], target=0.25)
        yield Row.of("sampler_new_weights_and_epoch_s", size, *times["new_weights_and_epoch"], target=0.25)
        ours, other = (fresh_process(__file__, side, samples) for side in ("ours", "other"))
        yield Row.of("sampler_peak_mib", size, ours["peak"], other["peak"])
        yield Row.of("sampler_added_mib", size, ours["added"], other["added"], target=0.5)
    size = f"1e8 samples, {CLASSES} classes"
    ours, other = (fresh_process(__file__, side, 10**8) for side in ("ours", "other"))
    yield Row("sampler_epoch_s", size, ours["seconds"], other.get("error") or other["seconds"])
    yield Row("sampler_peak_mib", size, ours["peak"], other.get("error") or other["peak"])


def _labels(samples: int) -> Any:
    import torch

    labels = torch.empty(samples, dtype=torch.int64)
    for part in labels.split(
        2**14
    ):  # small parts: no peak of memory before the measurement; the density falls with the class index: a long tail
        part.copy_(torch.rand(len(part)) ** 3 * CLASSES)
    return labels


def _exhaust(sampler: Any) -> None:
    for _ in sampler:
        pass


def _ours(labels: Any, weight: Any) -> Any:
    from longtail import ClassWeightedSampler

    return ClassWeightedSampler(labels, weight)


def _other(labels: Any, weight: Any) -> Any:
    import torch

    per_sample = (weight / torch.bincount(labels, minlength=CLASSES))[labels]
    return torch.utils.data.WeightedRandomSampler(per_sample, len(labels))


def _times(samples: int) -> dict[str, list[float]]:
    import torch

    labels, weight = _labels(samples), torch.rand(CLASSES) + 0.1
    ours, other = _ours(labels, weight), _other(labels, weight)
    repeats = 5 if samples <= 10**6 else 3
    return {
        "epoch": alternate(lambda: _exhaust(ours), lambda: _exhaust(other), repeats=repeats),
        "new_weights_and_epoch": alternate(
            lambda: _exhaust(ours), lambda: _exhaust(_other(labels, weight)), repeats=repeats
        ),
    }


def _one_side(side: str, samples: int) -> dict[str, float | str]:
    import torch

    labels, weight = _labels(samples), torch.rand(CLASSES) + 0.1
    torch.bincount(labels[:1000])
    before = peak_mib()
    try:
        sampler = (_ours if side == "ours" else _other)(labels, weight)
        took = seconds(lambda: _exhaust(sampler))
    except RuntimeError as error:
        return {"error": f"fails: {str(error).splitlines()[0]}"}
    return {"seconds": took, "peak": peak_mib(), "added": peak_mib() - before}


if __name__ == "__main__":
    what, count = sys.argv[1], int(sys.argv[2])
    print(json.dumps(_times(count) if what == "time" else _one_side(what, count)))
