"""The table of ``results/detr.csv``: average precision with and without class weights, seed by seed."""

from __future__ import annotations

import csv
import statistics
from pathlib import Path

__all__ = ["detr_table"]

MEASURES = ("AP", "APr", "APc", "APf")


def detr_table(file: Path) -> str:
    """Rows of seeds that have both trainings: ``without → with`` for each measure; then the mean difference ± its
    standard deviation over the seeds."""
    if not file.is_file():
        return ""
    with open(file, newline="", encoding="utf-8") as rows:
        found = {(row["seed"], row["method"]): row for row in csv.DictReader(rows)}
    seeds = [seed for seed, method in found if method == "ce" and (seed, "cdb-w") in found]
    if not seeds:
        return ""
    pairs = {m: [tuple(float(found[s, method][m]) for method in ("ce", "cdb-w")) for s in seeds] for m in MEASURES}
    lines = [f"| seed | {' | '.join(MEASURES)} |", f"|---|{'---:|' * len(MEASURES)}"]
    for place, seed in enumerate(seeds):
        lines.append(f"| {seed} | {' | '.join('{:.1f} → {:.1f}'.format(*pairs[m][place]) for m in MEASURES)} |")
    gains = {m: [after - before for before, after in pairs[m]] for m in MEASURES}
    spread = {m: f" ± {statistics.stdev(own):.1f}" if len(own) > 1 else "" for m, own in gains.items()}
    lines.append(f"| difference | {' | '.join(f'{statistics.mean(gains[m]):+.1f}{spread[m]}' for m in MEASURES)} |")
    return "".join(f"{line}\n" for line in lines)
