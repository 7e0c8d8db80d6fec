"""Class names in pictures: dollars are no mathematics, and letters that no font has are told once."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

import longtail.lettering as lettering
from data.pictures import fill
from longtail.cli import main
from longtail.lettering import drawable, lettering_note

CHINESE, JAPANESE, KOREAN = "\u6469\u6258\u8f66", "\u30d0\u30a4\u30af", "\uc624\ud1a0\ubc14\uc774"


def test_inspect_draws_every_name(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setattr(lettering, "families", lambda: ("DejaVu Sans",))  # as on a machine without further fonts
    lettering.letters.cache_clear()
    fill(tmp_path / "photos", {"$5_$10": 6, "US$1": 6, CHINESE: 6, "a\\$b$c_": 6, "x^{": 6})
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of each letter that it lacks
        assert main(["inspect", f"folder:{tmp_path / 'photos'}", "--out", str(tmp_path / "a.png")]) == 0
    told = capsys.readouterr().out
    assert told.count("no installed font has the letters of") == 1 and CHINESE in told
    lettering.letters.cache_clear()


def test_names_without_letters_give_way_to_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering, "letters", lambda: frozenset(range(32, 127)))
    assert drawable("US$1", "class 0") == r"US\$1"
    for name in (CHINESE, JAPANESE, KOREAN, f"dog {CHINESE}"):
        assert drawable(name, "class 3") == "class 3"
    assert drawable("dog \U0001f415", "class 3") == "dog"
    assert lettering_note(["cat", "dog \U0001f415"]) == []
    (note,) = lettering_note(["cat", CHINESE, JAPANESE])
    assert CHINESE in note and JAPANESE in note and "cat" not in note
