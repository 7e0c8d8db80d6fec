"""Measure the benchmarks and enter them in ``results/benchmarks.csv``: ``python benchmarks/run.py [NAME ...]``.

Both sides of every ratio are measured in the same run, in turns. The numbers mean most on a machine that does nothing
else; each benchmark's file says what exactly it measures.
"""

from __future__ import annotations

import argparse
import os

import cdbw_step
import cifar_epoch
import detection_ap
import difficulty_update
import import_time
import many_classes
import sampler
import video
from common import Row, cores, hardware, save

BENCHMARKS = {
    "sampler": sampler.benchmark,
    "cdbw_step": cdbw_step.benchmark,
    "difficulty_update": difficulty_update.benchmark,
    "import_time": import_time.benchmark,
    "many_classes": many_classes.benchmark,
    "cifar_epoch": cifar_epoch.benchmark,
    "detection_ap": detection_ap.benchmark,
    "video": video.benchmark,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--dry-run", action="store_true", help="print the numbers, do not write them")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"unknown benchmark {', '.join(sorted(unknown))}: known are {', '.join(BENCHMARKS)}")
    print(hardware(), flush=True)
    load = os.getloadavg()[0]
    if load > cores() / 2:
        print(f"other processes are at work (load {load:.1f} on {cores()} cores): the times are rough", flush=True)
    for name in arguments.names or BENCHMARKS:
        rows: list[Row] = []
        for row in BENCHMARKS[name]():
            print(row, flush=True)
            rows.append(row)
        if not arguments.dry_run:
            save(rows, f"python benchmarks/run.py {name}")


if __name__ == "__main__":
    main()
