"""The page says what the CSV files say, stands alone and escapes everything; every figure shows something."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
import statistics
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import scipy.stats
from PIL import Image

from longtail.errors import LongtailError
from longtail.evenness import EVENNESS
from longtail.report import Report, format_table, write_report

from .fixtures import comparison_folder, rewrite_column, write_run

METRICS = ("top1", "top5", "precision", "recall", "f1", "many", "medium", "few")
NASTY = (
    "<script>alert(1)</script>",
    "a & b",
    "$x_1^{2$ cost $",
    "猫 🦊 лиса",
    "\"quoted\" 'too'",
    "new\nline\ttab",
    "\ud800",
)


class Page(HTMLParser):
    """Tables by caption (cells as text), images, and everything that could point outside."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.images: list[dict[str, str | None]] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.text = ""
        self._where: list[str] = []
        self._caption, self._rows = "", []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        values = dict(attrs)
        self.ids += [values["id"]] if values.get("id") else []
        self.links += [v for k, v in values.items() if k in ("src", "href", "action", "data", "srcset") and v]
        if tag == "img":
            self.images.append(values)
        if tag in ("caption", "th", "td"):
            self._where.append(tag)
        if tag == "table":
            self._caption, self._rows = "", []
        if tag == "tr":
            self._rows.append([])
        if tag in ("th", "td"):
            self._rows[-1].append("")

    def handle_endtag(self, tag):
        if tag in ("caption", "th", "td"):
            self._where.pop()
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data):
        self.text += data
        if self._where[-1:] == ["caption"]:
            self._caption += data
        elif self._where:
            self._rows[-1][-1] += data

    def table(self, words: str) -> list[dict[str, str]]:
        """The rows of the one table whose caption contains ``words``, by column."""
        (rows,) = (rows for caption, rows in self.tables.items() if words in caption)
        return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


def images(page: Page) -> list[Image.Image]:
    return [Image.open(io.BytesIO(base64.b64decode(str(i["src"]).partition("base64,")[2]))) for i in page.images]


def shows_something(image: Image.Image) -> bool:
    inner = np.asarray(image.convert("RGB"), dtype=np.int64)[20:-20:3, 20:-20:3]
    colors = np.unique(inner @ (65536, 256, 1))
    return bool((inner < 200).any(axis=2).mean() > 0.005 and len(colors) > 10)


@pytest.fixture(scope="module")
def three_seeds(tmp_path_factory) -> Path:
    """Ten classes, four methods, three seeds, one run killed, one seed missing."""
    folder = tmp_path_factory.mktemp("reports") / "ten"
    names = [f"digit {i}" for i in range(10)]
    comparison_folder(folder, methods=("ce", "focal", "cdb-w", "cdb-s"), names=names, notes=["class 9 is tiny"])
    shutil.rmtree(folder / "focal" / "seed-2")
    killed = folder / "cb" / "seed-0"
    write_run(killed, method="cb", names=names)
    (killed / "metrics.json").unlink()
    history = (killed / "history.csv").read_text()
    (killed / "history.csv").write_text(history[: len(history) // 2])
    return folder


@pytest.fixture(scope="module")
def report(three_seeds) -> Report:
    return write_report(three_seeds)


@pytest.fixture(scope="module")
def page(report) -> Page:
    return Page(report.html)


def test_results_hold_every_run_exactly(three_seeds, report):
    found = rows(report.results)
    assert list(found[0])[:11] == ["method", "seed", *METRICS, "error"]
    assert list(found[0])[-1] == "run"
    assert len(found) == 11
    for row in found:
        assert row["run"] == f"{row['method']}/seed-{row['seed']}"
        metrics = json.loads((three_seeds / row["run"] / "metrics.json").read_text())
        assert {key: float(row[key]) for key in METRICS} == {key: metrics["test"][key] for key in METRICS}
        assert float(row["error"]) == 1 - metrics["test"]["top1"]
        assert float(row["val_recall"]) == metrics["val"]["recall"]
        seconds = [float(r["seconds"]) for r in rows(three_seeds / row["run"] / "history.csv")]
        assert float(row["seconds"]) == pytest.approx(sum(seconds), abs=1e-3)


def test_summary_is_mean_and_deviation_of_the_results(report):
    results = rows(report.results)
    summary = rows(report.summary)
    assert [row["method"] for row in summary] == sorted(
        {r["method"] for r in results},
        key=lambda m: statistics.fmean(float(r["error"]) for r in results if r["method"] == m),
    )
    for row in summary:
        for key in (*METRICS, "error"):
            values = [float(r[key]) for r in results if r["method"] == row["method"]]
            assert int(row["n"]) == len(values)
            assert float(row[f"{key}_mean"]) == pytest.approx(statistics.fmean(values))
            assert float(row[f"{key}_std"]) == pytest.approx(statistics.stdev(values))


def test_paired_is_the_paired_t_interval_over_common_seeds(report):
    results = {(r["method"], r["seed"]): r for r in rows(report.results)}
    found = rows(report.paired)
    assert {(r["method"], r["metric"]) for r in found} == {
        (m, k) for m in ("focal", "cdb-w", "cdb-s") for k in (*METRICS, "error", *EVENNESS)
    }
    for row in found:
        if row["metric"] in EVENNESS:  # few classes: the differences are nearly identical, of which scipy warns
            continue
        seeds = [s for m, s in results if m == row["method"]]
        a, b = ([float(results[m, s][row["metric"]]) for s in seeds] for m in (row["method"], "ce"))
        low, high = scipy.stats.ttest_rel(a, b).confidence_interval(0.95)
        assert (row["baseline"], int(row["n"])) == ("ce", len(seeds))
        assert float(row["mean"]) == pytest.approx(statistics.fmean(a) - statistics.fmean(b))
        assert (float(row["low"]), float(row["high"])) == (pytest.approx(low), pytest.approx(high))


def test_the_tables_of_the_page_are_those_of_the_csv_files(report, page):
    titles = {"Error": "error", "Many-shot": "many", "Few-shot": "few", "Macro precision": "precision"}
    summary = {row["method"]: row for row in rows(report.summary)}
    shown = page.table("test split, %")
    assert [row["Method"] for row in shown] == list(summary)
    for row in shown:
        numbers = summary[row["Method"]]
        assert row["Seeds"] == numbers["n"]
        for title, key in titles.items():
            mean, std = (100 * float(numbers[f"{key}_{what}"]) for what in ("mean", "std"))
            assert row[title] == f"{mean:.2f} ± {std:.2f}"
    paired = {(row["method"], row["metric"]): row for row in rows(report.paired)}
    differences = page.table("difference to ce")
    assert {row["Method"] for row in differences} == {method for method, _ in paired}
    for row in differences:
        for title, key in titles.items():
            numbers = paired[row["Method"], key]
            mean, low, high = (f"{100 * float(numbers[k]):+.2f}".replace("-", "−") for k in ("mean", "low", "high"))
            clear = float(numbers["low"]) > 0 or float(numbers["high"]) < 0
            good = (float(numbers["mean"]) < 0) == (key == "error")
            assert row[title] == f"{mean} [{low}, {high}]" + (" better" if good else " worse") * clear


def test_the_headline_tells_the_numbers_of_the_csv_files(report, page):
    best, ce = rows(report.summary)[0], next(r for r in rows(report.summary) if r["method"] == "ce")
    paired = next(r for r in rows(report.paired) if (r["method"], r["metric"]) == (best["method"], "error"))
    assert f"{best['method']} has the lowest test error: {100 * float(best['error_mean']):.2f}" in report.headline[0]
    assert f"against {100 * float(ce['error_mean']):.2f}" in report.headline[0]
    assert f"{-100 * float(paired['mean']):.2f} points lower than ce" in report.headline[1]
    for line in report.headline:
        assert re.sub(r"(?<= )-(?=\d)", "−", line) in page.text


def test_the_best_of_each_column_is_bold(report):
    html = report.html.read_text(encoding="utf-8")
    summary = rows(report.summary)
    best = min(summary, key=lambda r: float(r["error_mean"]))
    cell = f"{100 * float(best['error_mean']):.2f} ± {100 * float(best['error_std']):.2f}"
    assert f'<td class="best">{cell}</td>' in html
    worst = max(summary, key=lambda r: float(r["error_mean"]))
    cell = f"{100 * float(worst['error_mean']):.2f} ± {100 * float(worst['error_std']):.2f}"
    assert f"<td>{cell}</td>" in html


def test_the_terminal_table_has_the_numbers_of_the_page(report, page):
    text = format_table(report.tables[0])
    for row in page.table("test split, %"):
        line = next(line for line in text.splitlines() if line.startswith(row["Method"] + " "))
        assert row["Error"] in line
        assert row["Few-shot"] in line
    assert max(map(len, text.splitlines())) <= 100


def test_unfinished_runs_and_notes_are_named(page, report):
    assert report.problems[0] == ("cb/seed-0", "not finished: 9 of 20 epochs are done")
    assert "cb/seed-0: not finished: 9 of 20 epochs are done" in page.text
    assert "class 9 is tiny" in page.text
    assert "Hardware: a CPU." in page.text


def test_all_parts_are_there_and_linked(page):
    parts = "methods classes shots difficulty learning confusion next setup".split()
    assert [i for i in page.ids if i.startswith("data-1-")] == [f"data-1-{part}" for part in parts]
    assert {link for link in page.links if link.startswith("#")} == {f"#data-1-{part}" for part in parts}


def test_the_page_stands_alone(page, report):
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)
    html = report.html.read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\(|<script|<link", html)


def test_every_figure_shows_something_and_is_described(page, report):
    assert len(page.images) == len(report.figures) == 8
    for tag, image in zip(page.images, images(page), strict=True):
        assert shows_something(image)
        assert len(str(tag["alt"])) > 60
    for path in report.figures:
        with Image.open(path) as image:
            assert shows_something(image)
    assert sorted(p.name for p in report.figures) == sorted(p.name for p in report.figures[0].parent.iterdir())


def test_an_empty_figure_would_be_noticed():
    assert not shows_something(Image.new("RGB", (1600, 900), "white"))


def test_writing_again_gives_the_same_bytes_whatever_the_users_plot_settings(three_seeds, report):
    written = [report.html, report.results, report.summary, report.paired, *report.figures]
    before = {path: path.read_bytes() for path in written}
    listing = sorted(p.name for p in three_seeds.iterdir())
    with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 30}):
        write_report(three_seeds)
        assert matplotlib.rcParams["axes.facecolor"] == "black"
        assert matplotlib.rcParams["font.size"] == 30
    assert {path: path.read_bytes() for path in written} == before
    assert sorted(p.name for p in three_seeds.iterdir()) == listing


def test_another_baseline_can_be_chosen(tmp_path):
    comparison_folder(tmp_path, methods=("ce", "cdb-w"), seeds=2, classes=2, epochs=2)
    report = write_report(tmp_path, baseline="cdb-w")
    assert {(row["method"], row["baseline"]) for row in rows(report.paired)} == {("ce", "cdb-w")}
    with pytest.raises(LongtailError, match="no finished run of the baseline 'nothing'"):
        write_report(tmp_path, baseline="nothing")


@pytest.mark.parametrize(
    "options",
    [
        {"classes": 2, "max_count": 5000, "imbalance": 99.0},
        {"classes": 25, "test_per_class": [100 - 4 * i for i in range(25)]},
        {"classes": 120, "seeds": 2},
        {"classes": 1},
    ],
    ids=["2 classes", "25 classes, long-tailed test", "120 classes", "1 class"],
)
def test_data_sets_of_any_size_give_a_page_with_full_figures(tmp_path, options):
    comparison_folder(tmp_path, **{"methods": ("ce", "cdb-w"), "seeds": 1, "epochs": 5} | options)
    page = Page(write_report(tmp_path).html)
    assert len(page.images) >= 6
    assert all(map(shows_something, images(page)))


def test_one_run_is_a_report_too(tmp_path):
    write_run(tmp_path / "run", method="cdb-w", kwargs=["tau=1.5"], epochs=1)
    report = write_report(tmp_path / "run")
    assert report.headline[0].startswith("cdb-w tau=1.5 reaches a test error of")
    assert rows(report.paired) == []
    assert rows(report.summary)[0]["error_std"] == ""
    assert all(map(shows_something, images(Page(report.html))))


def test_names_of_any_kind_are_escaped_and_drawn(tmp_path):
    for method in ("ce", "cdb-w"):
        label = tmp_path / "<b>runs & co" / f"{method} $a_b 猫&<i>"
        write_run(label / "seed-0", method=method, names=NASTY, data="folder:<img src=x onerror=y>", epochs=2)
    report = write_report(tmp_path)
    page = Page(report.html)
    assert not {"script", "i", "onerror"} & page.tags
    assert all(str(image["src"]).startswith("data:") for image in page.images)
    for name in (
        "<script>alert(1)</script>",
        "a & b",
        "$x_1^{2$ cost $",
        "猫 🦊 лиса",
        "new line tab",
        "ce $a_b 猫&<i>",
    ):
        assert name in page.text
    assert all(map(shows_something, images(page)))
    assert all(re.fullmatch(r"[\w.=-]+\.png", path.name, re.ASCII) for path in report.figures)


def test_data_sets_are_sections_with_figures_of_their_own(tmp_path):
    for imbalance in (10.0, 99.0):
        comparison_folder(
            tmp_path / f"{imbalance:.0f}", methods=("ce", "cdb-w"), seeds=1, classes=2, epochs=2, max_count=990,
            imbalance=imbalance, data="mnist-4v9",
        )  # fmt: skip
    report = write_report(tmp_path)
    assert [line.split(":")[0] for line in report.headline[::2]] == [
        "mnist-4v9, imbalance 10",
        "mnist-4v9, imbalance 99",
    ]
    assert {row["data"] for row in rows(report.results)} == {"mnist-4v9, imbalance 10", "mnist-4v9, imbalance 99"}
    assert len({path.name for path in report.figures}) == len(report.figures) == 14
    assert {"data-1", "data-2"} <= set(Page(report.html).ids)


def test_many_methods_stay_distinct(tmp_path):
    from longtail.report.style import looks

    labels = [f"method {i}" for i in range(24)]
    found = looks(labels, "method 3")
    assert len({(look.color, look.dash) for look in found.values()}) == 24
    for i in range(9):
        write_run(tmp_path / f"m{i}" / "seed-0", method="ce", kwargs=[f"k={i}"], classes=3, epochs=2)
    assert all(map(shows_something, images(Page(write_report(tmp_path).html))))


def test_stages_and_unmeasured_classes_are_drawn(tmp_path):
    folder = comparison_folder(tmp_path, methods=("cdb-w",), seeds=2, classes=15, epochs=6)
    for path in folder.glob("*/*"):
        rewrite_column(path / "history.csv", "stage", lambda i: "features" if i < 4 else "classifier")
        for column in ("performance", "difficulty", "measured"):
            rewrite_column(path / "difficulty.csv", column, lambda i: "" if i % 15 == 3 else 0.5)
    page = Page(write_report(folder).html)
    assert "Grey: not measurable." in page.text
    assert page.text.count("Dashed lines: a stage begins (cdb-w: features, classifier).") == 2
    assert all(map(shows_something, images(page)))
    assert "a stage begins" not in Page(write_report(comparison_folder(tmp_path / "single")).html).text


def test_a_failed_write_leaves_the_old_report_whole(tmp_path):
    write_run(tmp_path / "run", classes=2, epochs=2)
    report = write_report(tmp_path)
    written = [report.html, report.results, report.summary, report.paired, *report.figures]
    before = {path: path.read_bytes() for path in written}
    listing = sorted(tmp_path.rglob("*"))
    (tmp_path / "run" / "metrics.json").write_text('{"test": {"top1": 0.125}}')
    code = f"""
import resource
from longtail.report import write_report
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # the figures fit, the page does not
write_report({str(tmp_path)!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert last == f"longtail.errors.LongtailError: cannot write the report into {tmp_path}: File too large"
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(tmp_path.rglob("*")) == listing


def test_a_report_needs_neither_torch_nor_training_and_no_plotting_to_import(tmp_path):
    write_run(tmp_path / "run", classes=2, epochs=2)
    code = f"""
import sys
import longtail.report
assert not {{"matplotlib", "jinja2"}} & set(sys.modules), "loaded too early"
longtail.report.write_report({str(tmp_path)!r})
assert "matplotlib.pyplot" not in sys.modules
print(sorted({{"torch", "torchvision", "longtail.training", "longtail.methods"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("width", [1200, 500])
def test_a_real_browser_shows_the_page(report, tmp_path, width):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if browser is None:
        pytest.skip("no chromium or chrome is installed")
    shot = tmp_path / "shot.png"
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --hide-scrollbars"
    )
    size = f"--window-size={width},6000"
    command = [browser, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={shot}", size]
    subprocess.run([*command, report.html.as_uri()], check=True, capture_output=True, timeout=1200)
    with Image.open(shot) as image:
        assert image.size == (width, 6000)
        pixels = np.asarray(image.convert("L"))
    drawn = [bool((band < 128).any()) for band in np.array_split(pixels[:5000], 25)]
    assert sum(drawn) >= 23


def test_checks_are_told_alike_on_the_page_and_for_programs(tmp_path):
    """Class names come from folders: what a check says of them is escaped, though some words are kept whole."""
    names = ["<b>bold</b>", "a & b", "cdb-w", *(f"class {i}" for i in range(7))]
    for method in ("ce", "cb"):
        write_run(tmp_path / method / "seed-0", method=method, names=names, val_per_class=[0, 0, 0, *[20] * 7])
    report = write_report(tmp_path)
    rows = json.loads((tmp_path / "checks.json").read_text(encoding="utf-8"))
    assert report.checks == tmp_path / "checks.json"
    assert [row["code"] for row in rows] == [finding.code for finding in report.findings]
    assert {"LT006", "LT101", "LT103"} <= {row["code"] for row in rows}
    page = Page(report.html)
    assert "b" not in page.tags
    text = " ".join(page.text.replace("\N{MINUS SIGN}", "-").split())
    for row in rows:
        told = f"{row['severity']} {row['code']} {row['title']}: {row['seen']}. {row['todo']} Why: {row['why']}"
        assert told in text and row["page"] in text
