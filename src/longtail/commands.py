"""The commands: their options, as frozen dataclasses, and what each of them calls and prints."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, Suppress, arg

from longtail.errors import LongtailError
from longtail.output import is_main, report_on, say, say_metrics
from longtail.training.config import DataOptions, RunConfig

__all__ = ["COMMANDS"]

Device = Literal["auto", "cpu", "cuda"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train(RunConfig):
    """Train one method and fill a run folder.

    Args:
        data: Data set as ``NAME[:PATH]``, e.g. ``digits``, ``cifar100:DIR``, ``folder:photos``, ``lists:DIR``.
        out: The run folder; default: ``runs/DATA-METHOD-seed``.
        config: A run folder's ``config.json``: repeat that run; further options override it.
        resume: Continue an unfinished run in ``out``.
    """

    data: Annotated[Positional[str], arg(metavar="DATA")] = ""
    out: Path | None = None
    config: Path | None = None
    resume: bool = True

    def run(self) -> int:
        from longtail.training.progress import for_terminal
        from longtail.training.run import train

        config = _plain(self)
        out = self.out or Path("runs") / _file_name(f"{config.data}-{config.method}-{config.seed}")
        metrics = train(config, out, resume=self.resume, progress=for_terminal())
        if is_main():
            say_metrics(metrics["test"], f"test split, weights of the {metrics['final']} epoch")
            say(f"run folder: {out}")
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compare(RunConfig):
    """Train several methods with several seeds, those that are missing, and write a report.

    Args:
        data: Data set as ``NAME[:PATH]``.
        methods: Methods, each ``NAME`` or ``NAME:key=value,key=value``.
        seeds: Number of seeds of each method, counted from ``seed``.
        jobs: Runs at a time, each a process with its share of the cores.
        out: Folder of the comparison: runs in ``LABEL/seed-<k>``, and the report.
        config: A run folder's ``config.json`` to take the other options from.
        baseline: What the others are compared with; default: ``ce`` if it is there.
    """

    data: Annotated[Positional[str], arg(metavar="DATA")] = ""
    method: Suppress[str] = "ce"
    methods: tuple[str, ...] = ("ce", "cdb-w", "cdb-s")
    seeds: int = 3
    jobs: int = 1
    out: Path | None = None
    config: Path | None = None
    baseline: str | None = None

    def run(self) -> int:
        from longtail.training.compare import comparison_jobs, run_jobs

        out = self.out
        if out is None:
            raise LongtailError("--out is missing: name the folder of the comparison")
        jobs = comparison_jobs(_plain(self), self.methods, self.seeds, out)
        last_of_seed = {job.config.seed: job for job in jobs}

        def after(job: Any) -> None:
            if job is last_of_seed[job.config.seed] and job is not jobs[-1] and self.jobs == 1:
                report_on(out, baseline=self.baseline, quiet=True)  # a first answer before all seeds are done

        run_jobs(jobs, parallel=self.jobs, after=after)
        return report_on(out, baseline=self.baseline)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Judge a finished run on a split of its own data or of other data.

    Args:
        run_folder: The run folder.
        split: Which split.
        data: Another data set with the run's classes, ``NAME[:PATH]``; a folder without splits is judged as a whole.
        device: Where to compute.
        out: Also write the metrics to this JSON file.
    """

    run_folder: Annotated[Positional[Path], arg(name="run", metavar="RUN")]
    split: Literal["test", "val", "train", "select"] = "test"
    data: str | None = None
    device: Device = "auto"
    out: Path | None = None

    def run(self) -> int:
        from longtail.training.apply import evaluate
        from longtail.training.files import write_json

        metrics = evaluate(self.run_folder, split=self.split, data=self.data, device=self.device)
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
        files: Image files, video files or folders of frames, or folders of them.
        top: Number of classes to name for each file.
        threshold: Boxes: smallest score of the objects that are printed and drawn.
        device: Where to compute.
        out: Write a CSV file with the columns file, rank, label, probability instead. Boxes: a JSON file of COCO's
            results, all of them, and a folder of pictures beside it; or a folder for both.
    """

    run_folder: Annotated[Positional[Path], arg(name="run", metavar="RUN")]
    files: Annotated[Positional[tuple[Path, ...]], arg(metavar="FILE...")]
    top: int = 1
    threshold: float = 0.5
    device: Device = "auto"
    out: Path | None = None

    def run(self) -> int:
        from longtail.training.apply import image_files, load_run, predict
        from longtail.training.files import write_csv

        trained = load_run(self.run_folder, device=self.device)
        if trained.boxes:
            return self._boxes(trained, image_files(self.files))
        labelled = predict(trained, self.files, top=self.top)
        if self.out:
            rows = (
                {"file": file, "rank": rank, "label": label, "probability": p}
                for file, classes in labelled
                for rank, (label, p) in enumerate(classes, 1)
            )
            write_csv(self.out, ("file", "rank", "label", "probability"), rows)
            say(f"wrote {self.out}")
            return 0
        for file, classes in labelled:
            say("\t".join([file, *(f"{label}\t{p:.4f}" for label, p in classes)]))
        return 0

    def _boxes(self, trained: Any, files: Sequence[str]) -> int:
        from longtail.training.apply_boxes import find_objects, write_objects

        found = find_objects(trained, files)
        if self.out:
            file, folder, pictures = write_objects(found, self.out, threshold=self.threshold)
            say(f"wrote {file}, and {pictures} pictures in {folder}")
            return 0
        for path, _, detections in found:
            for entry in detections:
                if entry["score"] >= self.threshold:
                    box = "\t".join(f"{value:.1f}" for value in entry["bbox"])
                    say(f"{path}\t{entry['name']}\t{entry['score']:.4f}\t{box}")
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inspect(DataOptions):
    """Show a data set: class counts, imbalance, shot groups, splits, what would be hard, and a picture.

    Args:
        data: Data set as ``NAME[:PATH]``.
        verify: Decode every image file or clip and name the broken ones.
        out: The picture.
    """

    data: Annotated[Positional[str], arg(metavar="DATA")]
    verify: bool = False
    out: Path = Path("inspect.png")

    def run(self) -> int:
        from longtail.data.base import parse_spec
        from longtail.training.options import check_options
        from longtail.training.recipes import BOX_RECIPES

        boxes = parse_spec(self.data)[0] in BOX_RECIPES
        check_options(self, self.data, "detect" if boxes else "classify")
        if boxes:
            return self._boxes()
        from longtail.data import load_data
        from longtail.tasks.inspect import inspect

        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(DataOptions)}
        for line in inspect(load_data(self.data, **options), picture=self.out, verify=self.verify):
            say(line)
        return 0

    def _boxes(self) -> int:
        from longtail.data import load_boxes
        from longtail.tasks.inspect_boxes import inspect_box_data

        options: dict[str, Any] = {"data_seed": self.data_seed, "val_fraction": self.val_fraction}
        data = load_boxes(self.data, broken=self.broken or "refuse", **options)
        for line in inspect_box_data(data, picture=self.out, verify=self.verify):
            say(line)
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Re-run tables and figures of the paper, and print the paper's numbers beside ours.

    Args:
        what: ``table1`` to ``table8``, ``figure1`` to ``figure6``, ``comparison``; several share their runs.
        columns: Columns of the table, e.g. ``mnist-99``, a group of them, e.g. ``egtea``, or a data set, e.g. ``lvis``;
            default: all whose data are there.
        rows: Rows of the table, e.g. ``ce cdb-w``; default: all.
        seeds: Number of seeds of each cell; default: the recipe's.
        scale: ``full`` is the paper's protocol; ``small`` is a reduced one, about ten minutes a run on two cores;
            ``smoke`` only shows that everything runs.
        jobs: Runs at a time, each a process with its share of the cores.
        data: Where a data set is, if not where ``train`` looks: ``NAME:PATH``, e.g. ``mnist-4v9:DIR``.
        weights: Initial weights where the paper starts from some: ``MODEL:FILE``, e.g. ``resnext3d101:FILE``,
            ``fasterrcnn_resnet50_fpn:FILE``.
        device: Where to compute.
        precision: ``fp32``, or ``bf16`` (autocast).
        download: Fetch data sets that are missing with torchvision.
        out: Folder of the runs and of the results.
    """

    what: Annotated[Positional[tuple[str, ...]], arg(metavar="TABLE...")]
    columns: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    seeds: int | None = None
    scale: Literal["smoke", "small", "full"] = "full"
    jobs: int = 1
    data: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    device: Device = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    download: bool = False
    out: Path | None = None

    def run(self) -> int:
        from longtail.paper import reproduce

        if self.out is None:
            raise LongtailError("--out is missing: name the folder of the runs")
        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "what"}
        for line in reproduce(*self.what, **options):
            say(line)
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportCommand:
    """Write report.html, CSV tables and figures from the finished runs in and below a folder.

    Args:
        folder: A run folder, a comparison, or any folder above such folders.
        baseline: What the other methods are compared with; default: ``ce`` if it is there.
    """

    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    baseline: str | None = None

    def run(self) -> int:
        return report_on(self.folder, baseline=self.baseline)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MethodsCommand:
    """List the methods, or show the card of one.

    Args:
        name: The method whose card is wanted.
    """

    name: Annotated[Positional[str | None], arg(metavar="NAME")] = None

    def run(self) -> int:
        from longtail.methods.base import find_method, list_methods

        if self.name is None:
            for name in list_methods():
                say(f"{name:<18} {find_method(name).title}")
            return 0
        method = find_method(self.name)
        say(f"{method.name}\n{'=' * len(method.name)}\n{method.card()}\n")
        fields = ", ".join(f"{f.name}={f.default!r}" for f in dataclasses.fields(method))
        say(f"Defaults: {fields or 'no hyperparameters'}")
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class CiteCommand:
    """Print the BibTeX entries of methods.

    Args:
        names: Methods.
    """

    names: Annotated[Positional[tuple[str, ...]], arg(metavar="NAME...")]

    def run(self) -> int:
        from longtail.methods import cite

        say(cite(*self.names))
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export:
    """Write a finished run's model in a form that runs without this library.

    Args:
        run_folder: The run folder.
        format: ``onnx``, or ``pt2`` (torch.export).
        out: The file; default: ``RUN/model.FORMAT``. Beside it come ``preprocess.json``, which tells how a file becomes
            what the model takes, and for ONNX ``infer.py``, which does it and labels files.
        softmax: Give probabilities in place of logits.
    """

    run_folder: Annotated[Positional[Path], arg(name="run", metavar="RUN")]
    format: str = "onnx"
    out: Path | None = None
    softmax: bool = False

    def run(self) -> int:
        from longtail.training.export import export

        path = export(self.run_folder, format=self.format, out=self.out, softmax=self.softmax)
        say(f"wrote {path}, outputs checked against the original")
        say(f"wrote {path.parent / 'preprocess.json'}: how a file becomes what the model takes")
        if self.format == "onnx":
            script = path.parent / "infer.py"
            say(f"wrote {script}: python {script} FILE... labels files as predict does")
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Doctor:
    """Check the installation and the machine."""

    def run(self) -> int:
        from longtail.training.doctor import doctor

        healthy = True
        for ok, line in doctor():
            healthy &= ok
            say(f"{'ok ' if ok else 'BAD'}  {line}")
        return 0 if healthy else 2


COMMANDS: dict[str, type] = {
    "train": Train,
    "compare": Compare,
    "evaluate": Evaluate,
    "predict": Predict,
    "inspect": Inspect,
    "reproduce": Reproduce,
    "report": ReportCommand,
    "methods": MethodsCommand,
    "cite": CiteCommand,
    "export": Export,
    "doctor": Doctor,
}


def _plain(options: RunConfig) -> RunConfig:
    """The configuration alone, without what a command adds to it."""
    return RunConfig(**{f.name: getattr(options, f.name) for f in dataclasses.fields(RunConfig)})


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.=+-]+", "_", text).strip("_")
