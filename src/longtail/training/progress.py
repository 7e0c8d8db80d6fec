"""What a run tells while it goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

from longtail import activity

__all__ = ["Bar", "Lines", "Progress", "Whole", "for_terminal", "timed"]


class Progress:
    """Hears of a run's progress and says nothing; subclasses draw a bar or print lines.

    Args:
        label: What is trained.
        whole: The series that this run belongs to.
    """

    label: str = ""
    whole: Whole | None = None  # of a subclass that begins in a way of its own, too

    def __init__(self, label: str = "", whole: Whole | None = None) -> None:
        self.label, self.whole = label, whole

    def start(self, *, epochs: int, done: int) -> None:
        """The run begins, with ``done`` of ``epochs`` epochs behind it."""

    def step(self, step: int, steps: int) -> None:
        """One optimisation step of the current epoch is done."""

    def epoch(self, row: dict[str, Any]) -> None:
        """An epoch is done; ``row`` is its row of ``history.csv``."""

    def note(self, text: str) -> None:
        """Something that the user should know."""

    def about(self, text: str) -> None:
        """A note on what a run begins with: the runs of a series that have it in common tell it once."""
        told = self.whole.told if self.whole else set[str]()
        if text not in told:
            told.add(text)
            self.note(text)

    def stop(self) -> None:
        """Training is over."""


class Whole:
    """How far a series of runs is, and how long the rest takes if all runs take as long as those before.

    Args:
        runs: Number of runs to train.
    """

    def __init__(self, runs: int) -> None:
        self.runs, self.ended, self.skipped, self.begin = runs, 0, 0.0, time.monotonic()
        self.told: set[str] = set()

    def start_run(self, share: float) -> None:
        """A run begins with this share of it done before."""
        if not self.ended and not self.skipped:
            self.begin = time.monotonic()
        self.skipped += share

    def end_run(self) -> None:
        """A run is over."""
        self.ended += 1

    def text(self, share: float = 0.0) -> str:
        """What is done and left; ``share``: of the running runs, what is done, in runs."""
        seconds, done = time.monotonic() - self.begin, self.ended + share
        told = f"{self.ended} of {self.runs} runs done"
        if self.ended == self.runs or done - self.skipped < 0.01:
            return told
        return f"{told}, about {_duration(seconds / (done - self.skipped) * (self.runs - done))} left in all"


def _summary(row: dict[str, Any]) -> str:
    stage = [] if row["stage"] == "train" else [row["stage"]]  # of methods that have several
    parts = [*stage, f"loss {row['train_loss']:.4f}"]
    if "val_accuracy" in row:
        parts.append(f"val {100 * row['val_accuracy']:.1f} %")
    if "tau" in row:
        parts.append(f"tau {row['tau']:.2f}")
    return ", ".join(parts)


class Lines(Progress):
    """A plain line an epoch, for logs, at most about one a second; the label stands in front."""

    def __init__(self, label: str = "", whole: Whole | None = None) -> None:
        super().__init__(f"{label}: " if label else "", whole)

    def start(self, *, epochs: int, done: int) -> None:
        if self.whole:
            self.whole.start_run(done / epochs)
        self.epochs, self.first, self.begin, self.last = epochs, done, time.monotonic(), 0.0
        self.done, self.spoken = done, self.begin
        activity.now(f"{self.label}measuring")  # a step says more

    def step(self, step: int, steps: int) -> None:
        if time.monotonic() - self.spoken >= activity.AGAIN:  # within a long epoch
            self.note(f"epoch {self.done + 1}/{self.epochs}, step {step}/{steps}")

    def epoch(self, row: dict[str, Any]) -> None:
        now, epoch = time.monotonic(), row["epoch"]
        self.done = epoch
        if now - self.last < 1 and epoch != self.epochs:
            return
        self.last = now
        left = (now - self.begin) / (epoch - self.first) * (self.epochs - epoch)
        in_all = f"; {self.whole.text(epoch / self.epochs)}" if self.whole and self.whole.runs > 1 else ""
        self.note(f"epoch {epoch}/{self.epochs}, {_summary(row)}, {_duration(left)} left{in_all}")

    def note(self, text: str) -> None:
        activity.spoke()
        self.spoken = time.monotonic()
        print(f"{self.label}{text}", flush=True)


class Bar(Progress):
    """A progress bar with the time left, for a terminal."""

    def __init__(self, label: str = "", whole: Whole | None = None) -> None:
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        super().__init__(label or "training", whole)
        self.bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
        )

    def start(self, *, epochs: int, done: int) -> None:
        if self.whole:
            self.whole.start_run(done / epochs)
        self.done, self.epochs = done, epochs
        self.task = self.bar.add_task(self.label, total=epochs, completed=done, epoch=done, epochs=epochs, text="")
        activity.rest()
        self.bar.start()

    def step(self, step: int, steps: int) -> None:
        self.bar.update(self.task, completed=self.done + step / steps)

    def epoch(self, row: dict[str, Any]) -> None:
        self.done = row["epoch"]
        in_all = f"; {self.whole.text(self.done / self.epochs)}" if self.whole and self.whole.runs > 1 else ""
        self.bar.update(self.task, completed=self.done, epoch=self.done, text=_summary(row) + in_all)

    def note(self, text: str) -> None:
        self.bar.console.print(f"{self.label}: {text}", highlight=False, markup=False)

    def stop(self) -> None:
        self.bar.stop()
        activity.rest(False)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def for_terminal(label: str = "", whole: Whole | None = None) -> Progress:
    """A bar on a terminal, plain lines elsewhere; see `Lines`."""
    return Bar(label, whole) if sys.stdout.isatty() else Lines(label, whole)


def timed(batches: Iterator[Any]) -> Iterator[tuple[Any, float]]:
    """Each batch with the seconds that it was waited for."""
    while True:
        start = time.perf_counter()
        try:
            batch = next(batches)
        except StopIteration:
            return
        yield batch, time.perf_counter() - start
