"""The list of checks: each speaks with its numbers and only then, has its section of the page, and can be added to."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import longtail.report.advice  # noqa: F401  # the checks of runs
from data.pictures import fill
from longtail.advice import CHECKS, DataFacts, base, check, findings, noted, without
from longtail.advice.base import seen_in
from longtail.cli import main
from longtail.errors import LongtailError

ROOT = Path(__file__).parents[2]
NAMES = [f"class {i}" for i in range(10)]


def facts(*, train=None, val=None, test=None, groups=(), notes=(), boxes=False) -> DataFacts:
    """Ten classes, long-tailed, with nothing that a check would tell; then what is changed."""
    counts = {"train": train or [500 - 50 * i for i in range(10)], "val": val or [20] * 10, "test": test or [50] * 10}
    return DataFacts(
        name="data", class_names=NAMES, counts=counts, groups=dict(groups), notes=tuple(notes), boxes=boxes
    )


# code, facts that show it, what must be told of them, facts that nearly do
CASES = [
    ("LT001", facts(notes=[noted("LT001", "3 images are in two")]), "3 images are in two", facts(notes=["3 images"])),
    ("LT002", facts(notes=[noted("LT002", "a is b"), noted("LT002", "c is d")]), "a is b; c is d", facts()),
    ("LT003", facts(notes=[noted("LT003", "2 groups")]), "2 groups", facts(notes=[noted("LT001", "2 groups")])),
    ("LT004", facts(notes=[noted("LT004", "b / d")]), "b / d", facts()),
    ("LT005", facts(notes=[noted("LT005", "4095 of 65535")]), "4095 of 65535", facts()),
    ("LT006", facts(val=[0, 20, 0, *[20] * 7]), "2 of 10 classes: class 0, class 2", facts(val=[0] * 10)),
    ("LT007", facts(val=[2, *[10] * 9]), "1 of 10 classes have fewer than 10 held-out samples (class 0: 2)", facts()),
    ("LT007", facts(val=[2, 4, 8, *[10] * 7]), "one sample is 25 points", facts(val=[0, *[10] * 9])),
    ("LT008", facts(test=[*[50] * 9, 0]), "1 of 10 classes: class 9", facts()),
    ("LT009", facts(train=[199, *[100] * 9]), "1.99 times the samples", facts(train=[200, *[100] * 9])),
    ("LT010", facts(groups={"few-shot": 2, "many-shot": 8}), "few-shot: 2", facts(groups={"a": 3, "b": 7, "c": 0})),
    ("LT011", facts(test=[80, *[50] * 9]), "1.6 times the samples", facts(test=[75, *[50] * 9])),
    ("LT011", facts(test=[80, *[50] * 9]), "1.6 times", facts(test=[80, *[50] * 9], boxes=True)),
    ("LT012", facts(notes=[noted("LT012", "9 images in 3 groups")]), "9 images in 3 groups", facts(notes=["9 images"])),
    ("LT013", facts(notes=[noted("LT013", "2 of 9")]), "2 of 9", facts(notes=[noted("LT012", "2 of 9")])),
    ("LT014", facts(notes=[noted("LT014", "a and b")]), "a and b", facts(notes=[noted("LT002", "a and b")])),
    ("LT015", facts(notes=[noted("LT015", "20 series")]), "20 series", facts()),
]


@pytest.mark.parametrize(("code", "shown", "told", "nearly"), CASES)
def test_a_check_of_data_tells_its_numbers_and_only_then(code, shown, told, nearly) -> None:
    found = {finding.code: finding for finding in findings("data", shown)}
    assert told in found[code].seen
    assert code not in {finding.code for finding in findings("data", nearly)}


def test_sound_data_are_told_nothing_and_every_check_of_data_is_tried() -> None:
    assert findings("data", facts()) == []
    assert {case[0] for case in CASES} | {"LT000"} == {own.code for own in CHECKS.values() if own.of == "data"}


def test_the_worst_comes_first() -> None:
    bad = facts(val=[0, 2, *[20] * 8], notes=[noted("LT003", "1 group")], groups={"few-shot": 1})
    assert [finding.code for finding in findings("data", bad)] == ["LT003", "LT006", "LT007", "LT010"]


@pytest.mark.parametrize("own", CHECKS.values(), ids=CHECKS)
def test_a_check_is_written_in_whole_sentences(own) -> None:
    assert own.title and not own.title.endswith(".") and own.why.endswith(".") and own.todo.endswith(".")
    assert own.page == f"pitfalls.md#{own.code.lower()}"


def test_each_check_has_its_section_and_no_section_is_left_over() -> None:
    page = (ROOT / "docs" / "pitfalls.md").read_text(encoding="utf-8")
    sections = re.findall(r"^\((lt\d{3})\)=\n#+ (LT\d{3}): (.+)$", page, re.MULTILINE)
    assert sorted((code, title) for _, code, title in sections) == [(c, CHECKS[c].title) for c in sorted(CHECKS)]
    assert all(anchor == code.lower() for anchor, code, _ in sections)
    assert len(re.findall(r"^#+ LT|^\(lt", page, re.MULTILINE)) == 2 * len(sections)


def test_no_code_is_named_that_does_not_exist() -> None:
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "docs").glob("*.md"), ROOT / "README.md"]
    named = {code for file in files for code in re.findall(r"LT\d{3}", file.read_text(encoding="utf-8"))}
    assert named == set(CHECKS)


@given(st.sampled_from(sorted(CHECKS)), st.text())
def test_a_note_is_found_again_by_its_code(code: str, seen: str) -> None:
    others = ["a note", noted("LT000", seen)] if code != "LT000" else ["a note"]
    notes = [*others, noted(code, seen)]
    assert seen_in(notes, code) == [seen]
    assert without(notes, [CHECKS[code]]) == others


# -- checks of others --------------------------------------------------------------------------------------------------
@pytest.fixture
def own_checks() -> Iterator[None]:
    before = dict(CHECKS)
    base._load_extensions.cache_clear()
    yield
    CHECKS.clear()
    CHECKS.update(before)
    base._load_extensions.cache_clear()


def test_a_check_of_ones_own_is_asked_with_the_others(own_checks: None) -> None:
    @check("MY001", "Two classes", of="data", severity="error", why="It is few.", todo="Add some.")
    def two(data: DataFacts) -> str | None:
        return "there are ten" if len(data.class_names) == 10 else None

    (found,) = findings("data", facts())
    assert found.line == "error MY001: Two classes: there are ten. Add some." and found.page == ""
    for wrong in ({"code": "my1"}, {"code": "LT001"}, {"severity": "bad"}, {"of": "files"}):
        words = {"code": "MY002", "severity": "note", "of": "data"} | wrong
        with pytest.raises(LongtailError):
            check(words.pop("code"), "t", why="w.", todo="t.", **words)(lambda _: None)


def test_a_check_that_fails_is_told_and_hinders_no_other(own_checks: None) -> None:
    @check("MY001", "Broken", of="data", why="It is.", todo="Mend it.")
    def broken(data: DataFacts) -> str:
        return data.no_such_thing  # type: ignore[attr-defined]

    found = findings("data", facts(test=[*[50] * 9, 0]))
    assert [finding.code for finding in found] == ["LT008", "LT000"]
    assert "MY001 (AttributeError" in found[1].seen


def test_an_installed_package_adds_checks(own_checks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "more_checks.py").write_text(
        "from longtail.advice import check\n"
        "@check('MY001', 'Mine', of='data', why='So.', todo='Do.')\n"
        "def mine(data):\n"
        "    return f'{len(data.class_names)} classes'\n"
    )
    about = tmp_path / "more_checks-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: more-checks\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[longtail.checks]\nmore = more_checks\ngone = no_such_module\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    mine, broken = findings("data", facts())
    assert (mine.code, mine.seen) == ("MY001", "10 classes")
    assert broken.code == "LT000" and "gone = no_such_module (ModuleNotFoundError" in broken.seen


# -- through the command line ------------------------------------------------------------------------------------------
def test_inspection_tells_checks_and_writes_them_whatever_they_find(tmp_path: Path, capsys) -> None:
    counts = {f"{part}/{c}": n for part, n in (("train", 6), ("val", 4), ("test", 3)) for c in ("cat", "dog")}
    fill(tmp_path / "photos", counts)
    shutil.copy(tmp_path / "photos/train/cat/0001.png", tmp_path / "photos/test/cat/copy.png")
    file = tmp_path / "checks.json"
    words = ["inspect", f"folder:{tmp_path / 'photos'}", "--out", str(tmp_path / "look.png"), "--checks", str(file)]
    assert main([*words, "--verify"]) == 0  # an error among the findings as well
    lines, rows = capsys.readouterr().out.splitlines(), json.loads(file.read_text(encoding="utf-8"))
    assert rows[0]["code"] == "LT001" and {"LT007", "LT009"} <= {row["code"] for row in rows}
    assert all(set(row) == {"data", "code", "severity", "title", "seen", "why", "todo", "page"} for row in rows)
    for row in rows:
        assert f"{row['severity']} {row['code']}: {row['title']}: {row['seen']}. {row['todo']}" in lines
    assert main([*words[:-1], str(tmp_path / "none" / "checks.json")]) == 2
    assert "another --checks" in capsys.readouterr().err
