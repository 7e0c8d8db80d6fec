"""Cross-fitted difficulty against class counts, on frozen features: class mean, worst tenth, geometric mean.

Each draw takes new images, a new order of the classes and new folds; the principal components of its standardised
training features are fitted with linear layers of different losses. Every loss is judged out of fold on the training
images, which is what may choose between them, and on the test images, which may not. The penalty is chosen once for a
set, by the out-of-fold class mean of balanced softmax on a draw of its own.

    python benchmarks/crossfit.py --features FILE.npz [--mnist DIR] [--draws 10] [--sets cifar100-lt-100 ...]

FILE.npz holds ``x [N, D]``, ``y [N]`` and ``split [N]`` (train, test) of all images of CIFAR-100, as ``longtail embed``
writes them. Rows are added to ``results/crossfit.csv``; those that are there are not computed again.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from longtail.data import long_tail_counts
from longtail.difficulty import ClassDifficulty
from longtail.evenness import evenness
from longtail.features import fit_linear, folds_of, out_of_fold
from longtail.losses import LogitAdjustedLoss, class_weighted
from rows import add_row, read_rows

RESULTS = Path(__file__).resolve().parent.parent / "results" / "crossfit.csv"
MEASURES = ("mean", "worst_tenth", "geometric_mean", "lowest_class")
KEY = ("set", "draw", "loss", "difficulty", "form", "value")
COLUMNS = (*KEY, *MEASURES, *(f"oof_{m}" for m in MEASURES), "images", "l2", "components", "seconds")
PENALTIES = (3e-6, 1e-5, 3e-5, 1e-4, 3e-4)
EXPONENTS = (0.0, 0.5, 0.75, 1.0, 1.15, 1.3, 1.5, 2.0)
FLOOR = 0.05
"""Of the difficulty: cross-fitted weights stay for the whole training."""


@dataclasses.dataclass(frozen=True)
class Set:
    """A long-tailed set that is drawn from a balanced one.

    Args:
        source: ``cifar100`` or ``mnist``.
        max_count: Images of the most frequent class.
        imbalance: Largest count over smallest.
        hard_first: The classes that are hard where all are equally frequent are the frequent ones; else by chance.
        components: Principal components.
    """

    source: str
    max_count: int
    imbalance: float
    hard_first: bool = False
    components: int = 512


SETS = {
    "cifar100-lt-100": Set("cifar100", 500, 100),
    "cifar100-lt-10": Set("cifar100", 125, 10),
    "cifar100-balanced": Set("cifar100", 50, 1),
    "cifar100-hard-frequent": Set("cifar100", 250, 100, hard_first=True),
    "mnist-hard-frequent": Set("mnist", 500, 50, hard_first=True, components=64),
}


@dataclasses.dataclass(frozen=True)
class Loss:
    """One row: cross-entropy with class counts, or with a difficulty on top of that.

    Args:
        exponent: Of the counts in the loss; 0: cross-entropy, 1: balanced softmax.
        difficulty: ``recall`` or ``soft`` (mean probability of the true class); "" for none.
        form: ``weight`` or ``logit``.
        value: tau of the weights, strength of the margin.
    """

    exponent: float
    difficulty: Literal["", "recall", "soft"] = ""
    form: Literal["", "weight", "logit"] = ""
    value: float | None = None

    @property
    def cells(self) -> dict[str, object]:
        return {
            "loss": f"{self.exponent:g}",
            "difficulty": self.difficulty,
            "form": self.form,
            "value": "" if self.value is None else self.value,
        }


VERDICT = {
    *(Loss(exponent) for exponent in (0.0, 1.0, 1.15, 1.3, 1.5)),
    *(Loss(0.0, "recall", "weight", tau) for tau in (0.5, 1.0)),
    *(Loss(0.0, "soft", "weight", tau) for tau in (0.5, 1.0)),
    *(Loss(0.0, "soft", "logit", strength) for strength in (0.5, 1.0)),
    Loss(1.0, "soft", "weight", 1.0),
    Loss(1.0, "soft", "logit", 1.0),
}
"""The rows of ``--brief``."""


def wanted(loss: Loss, spec: Set) -> bool:
    if spec.source == "mnist":  # seconds
        return True
    alone = loss.exponent == 0 and loss.difficulty and loss != Loss(0.0, "recall", "weight", 1.0)
    return loss in VERDICT and not (alone and spec.imbalance > 1)


def losses(imbalance: float) -> Iterator[Loss]:
    """All rows of a set, those first on which others stand."""
    for exponent in (0.0, 1.0) if imbalance > 1 else (0.0,):
        yield Loss(exponent)
        for tau in (0.5, 1.0, 2.0) if exponent == 0 else (0.5, 1.0):
            yield Loss(exponent, "soft", "weight", tau)
            yield Loss(exponent, "recall", "weight", tau)
        for strength in (0.25, 0.5, 1.0, 1.5):
            yield Loss(exponent, "soft", "logit", strength)
    for exponent in EXPONENTS if imbalance > 1 else ():
        if exponent not in (0.0, 1.0):
            yield Loss(exponent)


class Draw:
    """One draw of a set: features, folds, and what was fitted on them."""

    def __init__(self, spec: Set, pool: dict[str, Tensor], order: list[int], seed: int, l2: float) -> None:
        self.l2, rng = l2, np.random.default_rng(seed)
        classes = order if spec.hard_first else rng.permutation(len(order)).tolist()
        counts = long_tail_counts(spec.max_count, len(order), imbalance=spec.imbalance)
        rows = [rng.permutation(np.flatnonzero(pool["y"] == c))[:n] for c, n in zip(classes, counts, strict=True)]
        train = torch.from_numpy(np.concatenate(rows))
        self.y, self.test_y = pool["y"][train], pool["test_y"]
        self.x, self.test_x = components(pool["x"][train], pool["test_x"], spec.components, seed)
        self.counts = torch.bincount(self.y, minlength=len(order))
        self.folds = folds_of(self.y, seed=seed)
        self._layers: dict[Loss, dict[int, tuple[Tensor, Tensor]]] = {}  # by fold; -1: all images
        self._logits: dict[Loss, Tensor] = {}

    def criterion(self, loss: Loss) -> nn.Module:
        plain = LogitAdjustedLoss(self.counts, tau=loss.exponent) if loss.exponent else nn.CrossEntropyLoss()
        if not loss.difficulty:
            return plain
        assert loss.form and loss.value is not None
        margin = loss.form == "logit"
        difficulty = ClassDifficulty(
            len(self.counts),
            class_counts=self.counts,
            normalize="samples",
            measure=loss.difficulty,
            tau=1.0 if margin else loss.value,
            min_difficulty=FLOOR,
        )
        difficulty.update(self.out_of_fold(Loss(loss.exponent)), self.y)
        difficulty.step(trained=True)
        return class_weighted(plain, difficulty, form=loss.form, strength=loss.value if margin else 1.0)

    def out_of_fold(self, loss: Loss) -> Tensor:
        """Logits ``[N, C]`` of the training images."""
        if loss not in self._logits:
            options = {"num_classes": len(self.counts), "folds": self.folds, "l2": self.l2}
            layers = self.start(loss)
            self._logits[loss] = out_of_fold(self.x, self.y, self.criterion(loss), **options, layers=layers)
            self._layers.setdefault(loss, {}).update(layers)
        return self._logits[loss]

    def start(self, loss: Loss) -> dict[int, tuple[Tensor, Tensor]]:
        """Layers that were fitted to a loss near by, each on the same images."""
        near = Loss(loss.exponent) if loss.difficulty else Loss(float(loss.exponent > 0.6))
        return {} if near == loss else dict(self._layers.get(near, {}))

    def row(self, loss: Loss) -> dict[str, object]:
        start, classes = time.process_time(), len(self.counts)
        init = self.start(loss).get(-1)
        W, b = fit_linear(self.x, self.y, self.criterion(loss), num_classes=classes, l2=self.l2, init=init)
        self._layers.setdefault(loss, {})[-1] = W, b
        judged = judge(self.test_x @ W.T + b, self.test_y)
        judged |= {f"oof_{key}": value for key, value in judge(self.out_of_fold(loss), self.y).items()}
        rounded = {key: f"{100 * value:.3f}" for key, value in judged.items()}
        more = {"images": len(self.y), "l2": f"{self.l2:g}", "components": self.x.shape[1]}
        return loss.cells | rounded | more | {"seconds": f"{time.process_time() - start:.1f}"}


def judge(logits: Tensor, y: Tensor) -> dict[str, float]:
    right = torch.bincount(y, weights=(logits.argmax(1) == y).double(), minlength=logits.shape[1])
    accuracy = (right / torch.bincount(y, minlength=logits.shape[1])).tolist()
    return {"mean": float(np.nanmean(accuracy))} | {key: value or 0.0 for key, value in evenness(accuracy).items()}


def components(x: Tensor, test: Tensor, number: int, seed: int) -> tuple[Tensor, Tensor]:
    """The first principal components of standardised features, divided by the root of the number of features."""
    x, test = x.float(), test
    mean, std = x.mean(0), x.std(0)
    scale = 1 / (std.clamp(min=1e-6) * x.shape[1] ** 0.5)
    x = (x - mean) * scale
    torch.manual_seed(seed)
    _, _, V = torch.svd_lowrank(x, q=min(number, *x.shape), niter=2)
    return x @ V, torch.cat([((part.float() - mean) * scale) @ V for part in test.split(2000)])


def hard_first(pool: dict[str, Tensor], spec: Set, number: int = 50) -> list[int]:
    """The classes, those first that are answered worst out of fold where all have ``number`` images."""
    rows = [np.flatnonzero(pool["y"] == c)[-number:] for c in range(int(pool["y"].max()) + 1)]
    train = torch.from_numpy(np.concatenate(rows))
    x, _ = components(pool["x"][train], pool["test_x"][:1], spec.components, 0)
    y = pool["y"][train]
    logits = out_of_fold(x, y, nn.CrossEntropyLoss(), num_classes=len(rows), folds=folds_of(y), l2=3e-5)
    soft = logits.softmax(1).gather(1, y[:, None]).flatten().double()
    return torch.bincount(y, weights=soft).argsort(stable=True).tolist()


def read_cifar(file: Path) -> dict[str, Tensor]:
    stored = np.load(file, mmap_mode="r")
    test = np.asarray(stored["split"]) == "test"
    x, y = torch.from_numpy(stored["x"]), torch.from_numpy(np.asarray(stored["y"], np.int64))
    test = torch.from_numpy(test)
    return {"x": x[~test], "y": y[~test], "test_x": x[test], "test_y": y[test]}


def read_mnist(folder: Path) -> dict[str, Tensor]:
    def raw(name: str, skip: int) -> np.ndarray:
        return np.frombuffer(gzip.decompress((folder / f"{name}.gz").read_bytes()), np.uint8, offset=skip)

    def split(name: str) -> tuple[Tensor, Tensor]:
        x = raw(f"{name}-images-idx3-ubyte", 16).reshape(-1, 784).astype(np.float32)
        return torch.from_numpy(x / 255), torch.from_numpy(raw(f"{name}-labels-idx1-ubyte", 8).astype(np.int64))

    (x, y), (test_x, test_y) = split("train"), split("t10k")
    return {"x": x, "y": y, "test_x": test_x, "test_y": test_y}


def penalty(spec: Set, pool: dict[str, Tensor], order: list[int]) -> float:
    """The penalty with the best out-of-fold class mean of balanced softmax, on a draw that is used for nothing else."""
    draw, scores = Draw(spec, pool, order, 1000, 0.0), []
    for draw.l2 in PENALTIES:
        draw._logits.clear()
        draw._layers.clear()
        scores.append(judge(draw.out_of_fold(Loss(1.0)), draw.y)["mean"])
        print(f"  l2 {draw.l2:g}: {100 * scores[-1]:.2f}", flush=True)
    return PENALTIES[scores.index(max(scores))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, help="CIFAR-100's, an .npz file")
    parser.add_argument("--mnist", type=Path, help="folder of its four files")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--brief", action="store_true", help="only the rows that the verdict needs")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    readers: dict[str, Callable[[], dict[str, Tensor]]] = {}
    if args.features:
        readers["cifar100"] = lambda: read_cifar(args.features)
    if args.mnist:
        readers["mnist"] = lambda: read_mnist(args.mnist)
    pools = {source: read() for source, read in readers.items()}
    done = {tuple(row[key] for key in KEY): row for row in read_rows(args.out)}
    orders: dict[str, list[int]] = {}
    penalties = {row["set"]: float(row["l2"]) for row in done.values()}
    for seed in range(args.draws):
        for name in args.sets:
            spec = SETS[name]
            rows = [loss for loss in losses(spec.imbalance) if not args.brief or wanted(loss, spec)]
            left = [loss for loss in rows if key_of(name, seed, loss) not in done]
            if not left or spec.source not in pools:
                continue
            pool = pools[spec.source]
            if name not in orders:
                classes = int(pool["y"].max()) + 1
                orders[name] = hard_first(pool, spec) if spec.hard_first else list(range(classes))
            if name not in penalties:
                print(f"{name}: choosing the penalty", flush=True)
                penalties[name] = penalty(spec, pool, orders[name])
            draw = Draw(spec, pool, orders[name], seed, penalties[name])
            for loss in left:
                add_row(args.out, COLUMNS, {"set": name, "draw": seed} | draw.row(loss))
            print(f"{name}: draw {seed} done", flush=True)


def key_of(name: str, seed: int, loss: Loss) -> tuple[str, ...]:
    return (name, str(seed), *(str(cell) for cell in loss.cells.values()))


if __name__ == "__main__":
    main()
