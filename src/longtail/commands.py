"""The commands: their options, as frozen dataclasses, and what each of them calls and prints."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, Suppress, arg

from longtail import runfolder
from longtail.advice import Finding, as_json, json_of
from longtail.atomic import atomic
from longtail.config import DataOptions, RunConfig
from longtail.data.catalogue import known
from longtail.errors import LongtailError
from longtail.output import is_main, report_on, say, say_metrics, warn

__all__ = ["COMMANDS"]

_DATA = arg(metavar="DATA", help=f"Data set as NAME[:PATH]: {', '.join(known())}.")

Device = Literal["auto", "cpu", "cuda"]
Aim = Literal["mean", "floor"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train(RunConfig):
    """Train one method and fill a run folder.

    Args:
        data: Data set as ``NAME[:PATH]``.
        out: The run folder; default: ``runs/DATA-METHOD-seed``.
        aim: What a method that chooses out of fold, or has a dial, makes large: ``mean``, the mean accuracy of the
            classes, or ``floor``, that of the worst of them. It is the hyperparameter ``aim``.
        config: A run folder's ``config.json``: repeat that run; further options override it.
        resume: Continue an unfinished run in ``out``.

    Examples:
        longtail train folder:photos
        longtail train folder:photos -m balanced-softmax -e 30 -o runs/balanced
        longtail train csv:table.csv --columns file=id label=breed --help      # its defaults
        longtail train --config runs/balanced/config.json --seed 1 -o runs/again
    """

    data: Annotated[Positional[str], _DATA] = ""
    out: Path | None = None
    aim: Aim | None = None
    config: Path | None = None
    resume: bool = True

    def run(self) -> int:
        from longtail.methods.base import find_method
        from longtail.training.progress import for_terminal
        from longtail.training.run import train

        config = _plain(self)
        aimed = () if self.aim is None else (f"aim={self.aim}",)
        kwargs = (*(item for item in config.method_kwargs if not (aimed and item.startswith("aim="))), *aimed)
        config = dataclasses.replace(config, method=find_method(config.method).name, method_kwargs=kwargs)
        out = self.out or Path("runs") / _file_name(f"{config.data}-{config.method}-{config.seed}")
        metrics = train(
            config, out, resume=self.resume, progress=for_terminal(), splits_of=_splits_of(self.config, config)
        )
        if is_main():
            say_metrics(metrics["test"], f"test split, weights of the {metrics['final']} epoch")
            say(f"run folder: {out}")
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compare(RunConfig):
    """Train several methods with several seeds, those that are missing, and write a report.

    Args:
        data: Data set as ``NAME[:PATH]``.
        methods: Methods, each ``NAME`` or ``NAME:key=value,key=value``; ``auto``: those that an expert would try, a
            dozen where a classifier is trained on features and ``ce cdb-w cdb-s`` otherwise; ``all``.
        seeds: Number of seeds of each method, counted from ``seed``; default: 5 on features, otherwise 3.
        data_seed: Seed of the subset and of the splits for all runs; default: each seed cuts its own.
        jobs: Runs at a time, each a process with its share of the cores.
        submit: Let a cluster train the runs: ``slurm``, or ``local`` processes in its place.
        submit_options: Of submitit, as ``key=value``: ``slurm_partition=gpu gpus_per_node=1 timeout_min=600``.
        aim: As of ``train``, for every method that has such a choice.
        out: Folder of the comparison: runs in ``LABEL/seed-<k>``, and the report; default: ``runs/DATA``.
        config: A run folder's ``config.json`` to take the other options from.
        baseline: What the others are compared with; default: ``ce`` if it is there.

    Examples:
        longtail compare folder:photos
        longtail compare coco:boxes -m ce seesaw rfs --seeds 3 -o comparison
        longtail compare digits -m ce cdb-w cdb-w:tau=1.5 --seeds 5 --jobs 2 -o comparison
    """

    data: Annotated[Positional[str], _DATA] = ""
    method: Suppress[str] = "ce"
    methods: tuple[str, ...] = ("auto",)
    seeds: int | None = None
    jobs: int = 1
    submit: Literal["slurm", "local"] | None = None
    submit_options: tuple[str, ...] = ()
    aim: Aim | None = None
    out: Path | None = None
    config: Path | None = None
    baseline: str | None = None

    def run(self) -> int:
        config = _plain(self)
        out = self.out or Path("runs") / _file_name(config.data)
        say(f"comparing methods on {config.data}")  # before long imports
        from longtail.training.jobs import comparison_jobs, run_jobs, unfinished
        from longtail.training.rows import chosen_methods, worth_tuning

        if self.submit_options and self.submit is None:
            raise LongtailError("--submit-options belongs to --submit slurm")
        methods, seeds = chosen_methods(config, self.methods, self.seeds)
        say(f"{len(methods)} methods with {seeds} seeds each: {', '.join(methods)}")
        jobs = comparison_jobs(config, methods, seeds, out, aim=self.aim)
        baseline = _baseline(self.baseline, jobs, out)
        left = unfinished(jobs)
        say(f"{len(jobs)} runs: {len(jobs) - len(left)} finished already, {len(left)} to train")
        for note in _about_jobs(self.jobs, len(left)) if self.submit is None else ():
            say(f"note: {note}")
        last_of_seed, failed = {job.config.seed: job for job in jobs}, []
        if self.submit is None:
            outcomes = run_jobs(jobs, parallel=self.jobs)
        else:
            from longtail.training.cluster import Submission, submitted

            outcomes = submitted(
                jobs, Submission(self.submit, self.submit_options, out / "submitted"), parallel=self.jobs
            )
        for outcome in outcomes:
            if outcome.problem is not None:
                failed.append(outcome)
                say(f"{outcome.job.label} failed, the others go on: {outcome.problem}")
            elif self.jobs == 1 and outcome.job is last_of_seed[outcome.job.config.seed] is not jobs[-1]:
                report_on(out, baseline=baseline, quiet=True)  # a first answer before all seeds are done
        if len(failed) == len(jobs):
            more = f" (and {len(failed) - 1} more runs failed)" if len(failed) > 1 else ""
            raise LongtailError(f"{failed[0].job.label}: {failed[0].problem}{more}")
        report_on(out, baseline=baseline)
        if self.methods == ("auto",) and config.tune is None and (best := worth_tuning(jobs)):
            words = f"longtail compare {config.data} --tune all --methods {' '.join(best)} --seeds 3 --out {out}-tuned"
            say(f"to fine-tune the best of them on held-out samples: {words}")
        for outcome in failed:
            warn(f"{outcome.job.label} failed: {outcome.problem}")
        return 1 if failed else 0


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

    run_folder: Annotated[Positional[Path], arg(name="run", metavar="RUN")]
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
        run = _run_of(self.run_folder, best=self.best, note=say if aloud else _note)

        metrics = evaluate(run, split=self.split, data=self.data, device=self.device, note=_note)
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

    run_folder: Annotated[Positional[Path], arg(name="run", metavar="RUN")]
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
        trained = load_run(_run_of(self.run_folder, best=self.best, note=_note), device=self.device)
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
        for note in notes:
            _note(note)
        for problem in problems:
            sys.stderr.write(f"left out: {problem}\n")
        return 1 if problems else 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inspect(DataOptions):
    """Show a data set: class counts, imbalance, shot groups, splits, what would be hard, and a picture.

    Args:
        data: Data set as ``NAME[:PATH]``.
        verify: Decode every image file or clip and name the broken ones.
        out: The picture.
        checks: Also write what the checks found to this JSON file.

    Examples:
        longtail inspect folder:photos -o photos.png
        longtail inspect folder:photos --verify --checks checks.json
    """

    data: Annotated[Positional[str], _DATA]
    verify: bool = False
    out: Path = Path("inspect.png")
    checks: Path | None = None

    def run(self) -> int:
        from longtail.data.catalogue import find_entry
        from longtail.tasks import task_class
        from longtail.tasks.options import check_options

        if self.checks:
            from longtail.training.files import check_place

            check_place(self.checks, "--checks")
        say(f"reading {self.data}")  # before what may take long
        kind = find_entry(self.data).task
        check_options(self, self.data, kind)
        found: list[Finding] = []
        shown = task_class(kind).inspect(self.data, self, picture=self.out, verify=self.verify, found=found)
        for line in shown:
            say(line)
        if self.checks:
            text = json_of(as_json(found, data=self.data))
            atomic(self.checks, lambda path: path.write_text(text, encoding="utf-8"))
            say(f"checks: {self.checks}")
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

    Examples:
        longtail reproduce table1 --columns mnist-99 -o table1
        longtail reproduce comparison --columns digits --rows ce cdb-w -o digits
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

    Examples:
        longtail report comparison --baseline balanced-softmax
    """

    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    baseline: str | None = None

    def run(self) -> int:
        return report_on(self.folder, baseline=self.baseline)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MethodsCommand:
    """List the methods by what they need, or show the card of one.

    Args:
        name: The method whose card is wanted.

    Examples:
        longtail methods
        longtail methods cdb-w
    """

    name: Annotated[Positional[str | None], arg(metavar="NAME")] = None

    def run(self) -> int:
        from longtail.methods._card import for_terminal
        from longtail.methods._groups import listing
        from longtail.methods.base import find_method, get_method

        if self.name is None:
            for line in listing():
                say(line)
            return 0
        method = find_method(self.name)
        say(f"{for_terminal(get_method(method.name))}\n")
        fields = ", ".join(f"{f.name}={f.default!r}" for f in dataclasses.fields(method))
        say(f"Defaults: {fields or 'no hyperparameters'}")
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class CiteCommand:
    """Print the BibTeX entries of methods.

    Args:
        names: Methods.

    Examples:
        longtail cite cdb-w balanced-softmax
    """

    names: Annotated[Positional[tuple[str, ...]], arg(metavar="NAME...")]

    def run(self) -> int:
        from longtail.methods import cite

        say(cite(*self.names))
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Embed(DataOptions):
    """Write the features that a frozen network gives of images, for features:FILE and for any other program.

    The file holds x [N, D], y, class_names, split, and group and name (the file) where they are known.

    Args:
        data: Data set as ``NAME[:PATH]``.
        out: The file: ``.npz``, ``.safetensors`` or ``.parquet``.
        model: The network; default: the one that photographs start from.
        weights: ``pretrained``, ``none`` or a file, as for ``train``.
        image_size: Side in pixels of the square that the network sees; default: that of its weights.
        features: ``levels``: the output of every stage beside what the network's classifier read; ``last``: that alone.
        feature_cache: Folder of features that were computed before; default: ``runs/features``, where runs look.
        device: Where to compute.

    Examples:
        longtail embed folder:photos -o photos.npz
        longtail embed cifar100 --model resnet18 --features last -o cifar100.parquet
    """

    data: Annotated[Positional[str], _DATA]
    out: Path | None = None
    model: str | None = None
    weights: str | None = None
    image_size: int | None = None
    features: Literal["last", "levels"] = "levels"
    feature_cache: Path = Path("runs") / runfolder.FEATURES
    device: Device = "auto"

    def run(self) -> int:
        if self.out is None:
            raise LongtailError("--out is missing: name the file of the features")
        import torch

        from longtail.tasks.embed import embed
        from longtail.training.files import check_place

        check_place(self.out)
        names = {f.name for f in dataclasses.fields(DataOptions)} | {"data", "model", "weights", "image_size"}
        config = RunConfig(**{name: getattr(self, name) for name in names})  # pyright: ignore[reportArgumentType]
        device = "cuda" if self.device != "cpu" and torch.cuda.is_available() else "cpu"
        for line in embed(config, self.out, features=self.features, cache=self.feature_cache, device=device):
            say(line)
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
        best: RUN is a comparison: take its best run, chosen on validation data.

    Examples:
        longtail export comparison --best
        longtail export runs/balanced --format pt2 --softmax
    """

    run_folder: Annotated[Positional[Path], arg(name="run", metavar="RUN")]
    format: str = "onnx"
    out: Path | None = None
    softmax: bool = False
    best: bool = False

    def run(self) -> int:
        from longtail.training.export import export

        run = _run_of(self.run_folder, best=self.best, note=say)
        path = export(run, format=self.format, out=self.out, softmax=self.softmax)
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
        from longtail.doctor import doctor

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
    "embed": Embed,
    "export": Export,
    "doctor": Doctor,
}


def _plain(options: RunConfig) -> RunConfig:
    """The configuration alone, without what a command adds to it."""
    return RunConfig(**{f.name: getattr(options, f.name) for f in dataclasses.fields(RunConfig)})


def _run_of(folder: Path, *, best: bool, note: Callable[[str], None]) -> Path:
    """The run folder that is meant; says which of a comparison it is."""
    from longtail.training.best import run_of

    def judge(run: Path) -> dict[str, Any]:
        from longtail.training.apply import evaluate  # loads the task

        return evaluate(run, split="select")

    run = run_of(folder, best=best, judge=judge)
    if best:
        note(f"the best run on validation data is {run}")
    return run


def _note(text: str) -> None:
    sys.stderr.write(f"note: {text}\n")


def _splits_of(config: Path | None, options: RunConfig) -> Path | None:
    """The run that ``--config`` names, where its splits are those of ``options`` too."""
    folder = config if config is None or config.is_dir() else config.parent
    if folder is None or not (folder / runfolder.SPLITS).is_file():
        return None
    from longtail.training.configfile import read_config

    its = read_config(folder)
    names = {f.name for f in dataclasses.fields(DataOptions)} - {"download"} | {"data", "task"}
    return folder if all(getattr(its, name) == getattr(options, name) for name in names) else None


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.=+-]+", "_", text).strip("_")


def _baseline(wanted: str | None, jobs: Sequence[Any], out: Path) -> str | None:
    """The baseline as the report will know it, among the runs to come and those that are in ``out`` already."""
    if wanted is None:
        return None
    names = {job.folder.parent.name for job in jobs} | {job.config.method for job in jobs}
    names |= {folder.parent.name for folder in out.glob("*/seed-*")}
    forgiven = wanted.lower().replace("_", "-")
    found = next((name for name in (wanted, wanted.replace(":", "-"), forgiven) if name in names), None)
    if found is None:
        raise LongtailError(f"--baseline {wanted} is none of the methods compared: {', '.join(sorted(names))}")
    return found


def _about_jobs(parallel: int, left: int) -> list[str]:
    """What to say of so many runs at a time."""
    cores, at_once = os.cpu_count() or 1, min(parallel, left)
    if at_once <= cores:
        return []
    return [f"--jobs {parallel}: {at_once} runs at a time share {cores} cores and the memory; --jobs {cores} may do"]
