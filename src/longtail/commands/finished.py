"""What is done with a finished run: ``evaluate``, ``predict``, ``export``."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from longtail.commands.shared import Device
from longtail.output import note, say, say_metrics

__all__ = ["Evaluate", "Export", "Predict"]

_RUN = arg(name="run", metavar="RUN")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Judge a finished run on a split of its own data or of other data.

    Args:
        run_folder: The run folder.
        split: Which split.
        data: Another data set with the run's classes, ``NAME[:PATH]``; a folder without splits is judged as a whole.
        device: Where to compute.
        out: Also write the metrics to this JSON file; ``-``: print them as JSON instead.
        best: RUN is a comparison: take its best run, chosen on validation data.

    Examples:
        longtail evaluate comparison --best
        longtail evaluate runs/balanced --data folder:other --out other.json
    """

    run_folder: Annotated[Positional[Path], _RUN]
    split: Literal["test", "val", "train", "select"] = "test"
    data: str | None = None
    device: Device = "auto"
    out: Path | None = None
    best: bool = False

    def run(self) -> int:
        from longtail.training.apply import evaluate
        from longtail.training.files import check_place, json_text, write_json

        aloud = self.out is None or str(self.out) != "-"
        if self.out and aloud:
            check_place(self.out)
        run = _run_of(self.run_folder, best=self.best, tell=say if aloud else note)

        metrics = evaluate(run, split=self.split, data=self.data, device=self.device, note=note)
        if not aloud:
            say(json_text({self.split: metrics}).rstrip())
            return 0
        say_metrics(metrics, f"{self.split} split" + (f" of {self.data}" if self.data else ""))
        if self.out:
            write_json(self.out, {self.split: metrics})
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predict:
    """Label image files or clips; one line a file: the file, then classes with their probabilities, separated by tabs.

    A run with boxes finds objects: one line an object, with the file, the category, its score, and x, y, width, height.

    Args:
        run_folder: The run folder.
        files: Image files, video files or folders of frames, folders of them, or patterns such as ``'new/*.jpg'``.
        top: Number of classes to name for each file.
        threshold: Boxes: smallest score of the objects that are printed and drawn.
        device: Where to compute.
        out: Write a table instead, with the columns file, rank, label, probability: ``.csv``, ``.json``, or ``.jsonl``
            (a line each); ``-``: print as without it. Boxes, ``.json``: COCO's results, all of them, and a folder of
            pictures beside it; a folder: both inside; ``.csv``, ``.jsonl``: the objects that would be printed.
        best: RUN is a comparison: take its best run, chosen on validation data.

    Examples:
        longtail predict runs/balanced new/*.jpg --top 3
        longtail predict comparison new --best -o labels.csv
    """

    run_folder: Annotated[Positional[Path], _RUN]
    files: Annotated[Positional[tuple[Path, ...]], arg(metavar="FILE...")]
    top: int = 1
    threshold: float = 0.5
    device: Device = "auto"
    out: Path | None = None
    best: bool = False

    def run(self) -> int:
        from longtail.training.apply import load_run
        from longtail.training.files import check_table, write_table

        out = None if self.out is None or str(self.out) == "-" else self.out
        trained = load_run(_run_of(self.run_folder, best=self.best, tell=note), device=self.device)
        notes, problems = list[str](), list[str]()
        options = {"top": self.top, "threshold": self.threshold, "notes": notes, "problems": problems}
        found = trained.task.predict(trained, self.files, **options)
        if out and found.save is not None and out.suffix.lower() in found.forms:
            say(found.save(out))
        elif out:
            check_table(out)
            write_table(out, found.columns, found.rows)
            say(f"wrote {out}")
        else:
            for line in found.lines(found.rows):
                say(line)
        for text in notes:
            note(text)
        for problem in problems:
            sys.stderr.write(f"left out: {problem}\n")
        return 1 if problems else 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export:
    """Write a finished run's model in a form that runs without this library.

    Args:
        run_folder: The run folder.
        format: ``onnx``, or ``pt2`` (torch.export).
        out: The file; default: ``RUN/model.FORMAT``. Beside it come ``preprocess.json``, which tells how a file becomes
            what the model takes, and for ONNX ``infer.py``, which does it and labels files.
        softmax: Give probabilities in place of logits.
        best: RUN is a comparison: take its best run, chosen on validation data.

    Examples:
        longtail export comparison --best
        longtail export runs/balanced --format pt2 --softmax
    """

    run_folder: Annotated[Positional[Path], _RUN]
    format: str = "onnx"
    out: Path | None = None
    softmax: bool = False
    best: bool = False

    def run(self) -> int:
        from longtail.training.export import export

        run = _run_of(self.run_folder, best=self.best, tell=say)
        path = export(run, format=self.format, out=self.out, softmax=self.softmax)
        say(f"wrote {path}, outputs checked against the original")
        say(f"wrote {path.parent / 'preprocess.json'}: how a file becomes what the model takes")
        if self.format == "onnx":
            script = path.parent / "infer.py"
            say(f"wrote {script}: python {script} FILE... labels files as predict does")
        return 0


def _run_of(folder: Path, *, best: bool, tell: Callable[[str], None]) -> Path:
    """The run folder that is meant; says which of a comparison it is."""
    from longtail.training.best import run_of

    def judge(run: Path) -> dict[str, Any]:
        from longtail.training.apply import evaluate  # loads the task

        return evaluate(run, split="select")

    run = run_of(folder, best=best, judge=judge)
    if best:
        tell(f"the best run on validation data is {run}")
    return run
