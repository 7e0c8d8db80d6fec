"""Measure the options of `ClassDifficulty` that have no published value, to choose the library's defaults, and compare
what goes beyond the paper (``--grid options``) with them.

Each configuration is trained with several seeds on small long-tailed tasks and judged on the validation split only, by
the mean class accuracy of the last epoch and its mean over the last quarter of training (which falls when weights
swing from epoch to epoch). The weights of ``cdb-w`` act from the first epoch, unless ``defer`` says otherwise.

    python benchmarks/choose_defaults.py --task digits --seeds 3 --out runs/defaults
    python benchmarks/choose_defaults.py --task cifar100 --data cifar100:DIR --seeds 1 --out runs/defaults
    python benchmarks/choose_defaults.py --grid options --task digits --seeds 3 --out runs/defaults
    python benchmarks/choose_defaults.py --grid options --task cifar100 --data cifar100:DIR --only balanced-softmax
    python benchmarks/choose_defaults.py --grid defer --task digits-steps --seeds 5 --out runs/defaults
    python benchmarks/choose_defaults.py --grid start --task digits-4 --seeds 10 --out runs/defaults

Writes OUT/TASK.csv (OUT/TASK-GRID.csv) with a row a configuration and method; `results/defaults.csv`,
`results/options.csv`, `results/defer.csv` and `results/start.csv` hold the committed ones. ``start=`` of the grid
``start`` is no option of the methods: it names what the smoothing of the performance starts from, see `STARTS`.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from longtail import runfolder
from longtail.difficulty import ClassDifficulty
from longtail.training.config import RunConfig
from longtail.training.files import read_csv
from longtail.training.run import train

TASKS = {
    "digits": RunConfig(data="digits"),
    "mnist-4v9": RunConfig(data="mnist-4v9", imbalance=99),
    # A quarter of the pixels and a smaller network: a hundred classes in a minute a run.
    "cifar100": RunConfig(data="cifar100", imbalance=100, image_size=16, model="resnet20", epochs=30),
    # With a learning rate that drops by steps, after 80 and 90 % of the epochs as with CIFAR.
    "digits-steps": RunConfig(data="digits", schedule="multistep"),
    # Short ones, in which the start matters.
    "digits-4": RunConfig(data="digits", epochs=4),
    "digits-8": RunConfig(data="digits", epochs=8),
    "mnist-4v9-10": RunConfig(data="mnist-4v9", imbalance=99, epochs=10),
    "mnist-4v9-steps": RunConfig(data="mnist-4v9", imbalance=99, schedule="multistep"),
}
BOTH = ("cdb-w", "cdb-s")
RULES = ("sigmoid", "log", "linear", "accv", "code2020", "0.5", "1", "1.5", "2")
PLAIN, SMOOTH = ("momentum=0", "normalize=True"), ("momentum=0.8", "normalize=True")
GRID: list[tuple[str, tuple[str, ...]]] = [("ce", ()), ("class-aware", ())]
GRID += [(m, (f"tau={rule}", *PLAIN)) for m in BOTH for rule in RULES]
GRID += [(m, (f"tau={rule}", *SMOOTH)) for m in BOTH for rule in ("sigmoid", "accv", "1", "2")]
GRID += [(m, ("tau=2", f"momentum={momentum}", "normalize=True")) for m in BOTH for momentum in (0.5, 0.9)]
GRID += [(m, ("tau=2", *SMOOTH, f"min_difficulty={floor}")) for m in BOTH for floor in (0.02, 0.1)]
GRID += [("cdb-w", (f"tau={rule}", "momentum=0.8", "normalize=samples")) for rule in ("accv", "1", "2")]
GRID += [("cdb-w", ("tau=2", "momentum=0.8", "normalize=False"))]
OPTIONS: list[tuple[str, tuple[str, ...]]] = [("ce", ()), ("balanced-softmax", ()), ("cdb-w", ()), ("cdb-s", ())]
OPTIONS += [("cdb-w", (f"tau={rule}", *more)) for rule in ("sigmoid", "accv") for more in ((), ("bias_quantile=0.1",))]
OPTIONS += [("cdb-w", (f"measure={measure}",)) for measure in ("soft", "loss", "ap", "f1", "precision")]
OPTIONS += [("cdb-w", (f"shrinkage={strength}",)) for strength in ("auto", "10")]
OPTIONS += [("cdb-w", ("source=train",)), ("cdb-w", ("source=train", "measure=soft"))]
OPTIONS += [("cdb-s", ("source=train", "min_difficulty=0.05"))]
OPTIONS += [("cdb-w", ("base=balanced-softmax", f"tau={tau}")) for tau in ("0.5", "1", "2")]
OPTIONS += [("cdb-w", ("base=balanced-softmax", "form=logit", "tau=1", f"strength={s}")) for s in ("0.25", "0.5", "1")]
OPTIONS += [("cdb-w", ("base=balanced-softmax", "tau=1", "defer=0.8"))]
OPTIONS += [("cdb-s", ("loss=balanced-softmax", *tau)) for tau in ((), ("tau=0.5",))]
OPTIONS += [("cdb-w", ("defer=0.8",)), ("cdb-w", ("tau=5",)), ("cdb-w", ("tau=5", "defer=0.8"))]
DEFER: list[tuple[str, tuple[str, ...]]] = [("ce", ()), ("cdb-w", ("defer=0",)), ("cdb-w", ("tau=5", "defer=0"))]
DEFER += [("cdb-w", (*tau, "defer=0.8")) for tau in ((), ("tau=3",), ("tau=5",))]
START: list[tuple[str, tuple[str, ...]]] = [("ce", ())]
START += [(m, (f"start={start}",)) for m in BOTH for start in ("measured", "zero", "mean", "floor")]
GRIDS = {"defaults": GRID, "options": OPTIONS, "defer": DEFER, "start": START}


def started(before: Callable[[ClassDifficulty, Tensor], Tensor]) -> Callable[[ClassDifficulty, Tensor, bool], Tensor]:
    """`ClassDifficulty._smoothed` with another start of a class that was never measured."""

    def smoothed(self: ClassDifficulty, measured: Tensor, trained: bool) -> Tensor:
        momentum = self.options.momentum
        known = torch.where(self.performance.isnan(), before(self, measured), self.performance)
        return torch.where(measured.isnan(), self.performance, momentum * known + (1 - momentum) * measured)

    return smoothed


STARTS = {
    "measured": started(lambda self, measured: measured),
    "zero": started(lambda self, measured: torch.zeros_like(measured)),
    "mean": started(lambda self, measured: measured.nanmean().expand_as(measured)),
}
STARTS["floor"] = STARTS["measured"]
_weights = ClassDifficulty._weights


def floored(self: ClassDifficulty, performance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`ClassDifficulty._weights` with a floor of the difficulty that decays with the steps."""
    return _weights(self, performance.clamp(max=1 - self.options.momentum ** float(self.steps + 1)))


def use_start(name: str) -> None:
    """Let every difficulty begin as ``STARTS`` says."""
    ClassDifficulty._smoothed = STARTS[name]  # type: ignore[method-assign]
    ClassDifficulty._weights = floored if name == "floor" else _weights  # type: ignore[method-assign]


def measure(config: RunConfig, out: Path) -> tuple[float, float]:
    """Validation scores of one run: last epoch, mean over the last quarter."""
    train(config, out)
    scores = [float(row["val_balanced_accuracy"]) for row in read_csv(out / runfolder.HISTORY)]
    return scores[-1], statistics.fmean(scores[-max(1, len(scores) // 4) :])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--grid", choices=GRIDS, default="defaults")
    parser.add_argument("--data")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--only", nargs="*", default=(), help="options of a configuration must hold all of these words")
    parser.add_argument("--out", type=Path, default=Path("runs/defaults"))
    args = parser.parse_args()
    path = args.out / (f"{args.task}.csv" if args.grid == "defaults" else f"{args.task}-{args.grid}.csv")
    rows = []
    for method, kwargs in GRIDS[args.grid]:
        if any(word not in " ".join((method, *kwargs)) for word in args.only):
            continue
        use_start(next((option.removeprefix("start=") for option in kwargs if option.startswith("start=")), "mean"))
        scores = []
        for seed in range(args.seeds):
            at_once = ["defer=0"] if method == "cdb-w" and not any("defer" in option for option in kwargs) else []
            own = [option for option in (*kwargs, *at_once) if not option.startswith("start=")]
            values = TASKS[args.task].to_dict() | {"method": method, "method_kwargs": own, "seed": seed}
            values |= {"data": args.data or TASKS[args.task].data, "data_seed": seed, "precision": args.precision}
            folder = args.out / args.task / "-".join((method, *kwargs)) / f"seed-{seed}"
            scores.append(measure(RunConfig.from_dict(values), folder))
        last, quarter = zip(*scores, strict=True)
        row = {"task": args.task, "method": method, "options": " ".join(kwargs), "n": args.seeds}
        for name, scores_ in (("last", last), ("last_quarter", quarter)):
            row[name] = round(100 * statistics.fmean(scores_), 2)
            row[f"{name}_std"] = round(100 * statistics.stdev(scores_), 2) if len(scores_) > 1 else ""
        rows.append(row)
        print(row, flush=True)
        with open(path, "w", newline="") as f:
            writer = csv.DictWriter(f, list(row), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
