"""What a check is, and the one list of all of them."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypeVar, get_args

from longtail.errors import LongtailError

__all__ = [
    "CHECKS",
    "Check",
    "Finding",
    "Seen",
    "Severity",
    "as_json",
    "check",
    "findings",
    "json_of",
    "noted",
    "seen_in",
    "without",
]

Severity = Literal["error", "warning", "note"]
"""``error``: a number is wrong or measures something else. ``warning``: it would mislead, or training lacks something.
``note``: worth a look. None of them changes an exit code."""

Subject = Literal["data", "runs"]
"""What a check looks at: a `longtail.advice.DataFacts`, or a `longtail.report.compared.Comparison`."""

EXTENSIONS = "longtail.checks"
"""Group of entry points; each names a module that registers checks when it is imported."""

_Look = TypeVar("_Look", bound=Callable[[Any], "str | Seen | None"])
_CODE = re.compile(r"[A-Z]{2,8}\d{3}")


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a check has seen, where what to do follows from it.

    Args:
        text: The numbers, as a clause without a full stop.
        todo: In place of the check's own; whole sentences.
    """

    text: str
    todo: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """One entry of the list.

    Args:
        code: Letters and three digits; it never changes its meaning.
        title: What is wrong, in a few words; the heading of its section in the documentation.
        of: What it looks at.
        severity: How bad that is.
        why: Why it matters; whole sentences.
        todo: What to do; whole sentences.
        look: Takes the subject; returns what is seen, with its numbers, or None.
        page: Section of the documentation; empty: none.
    """

    code: str
    title: str
    of: Subject
    severity: Severity
    why: str
    todo: str
    look: Callable[[Any], str | Seen | None]
    page: str = ""

    def finding(self, seen: str | Seen) -> Finding:
        """What is told of ``seen``."""
        own = Seen(seen, self.todo) if isinstance(seen, str) else seen
        return Finding(self.code, self.severity, self.title, own.text, self.why, own.todo, self.page)

    def __call__(self, subject: Any) -> Finding | None:
        seen = self.look(subject)
        return self.finding(seen) if seen else None


@dataclasses.dataclass(frozen=True)
class Finding:
    """What one check has to say: see `Check`; ``seen`` has the numbers."""

    code: str
    severity: Severity
    title: str
    seen: str
    why: str
    todo: str
    page: str = ""

    @property
    def line(self) -> str:
        """All but the reason, in one line."""
        return f"{self.severity} {self.code}: {self.title}: {self.seen}. {self.todo}"


CHECKS: dict[str, Check] = {}
"""All checks that were registered, by code. Those of runs come with ``longtail.report``."""


def check(
    code: str,
    title: str,
    *,
    of: Subject,
    severity: Severity = "warning",
    why: str,
    todo: str,
    page: str | None = None,
) -> Callable[[_Look], _Look]:
    """Decorator that puts a function into the list of checks::

        @check("MY001", "A class of two samples", of="data", why="It is learnt by heart.", todo="Collect more.")
        def two_samples(data):
            few = [name for name, n in zip(data.class_names, data.counts["train"]) if n <= 2]
            return f"{len(few)} classes, e.g. {few[0]}" if few else None

    The arguments are the fields of `Check`; ``page`` is the code's section in the documentation, for codes of others
    than this library nothing.

    Raises:
        LongtailError: no such code, severity or subject; the code is taken.
    """
    if not _CODE.fullmatch(code):
        raise LongtailError(f"{code!r} is no code of a check: it takes 2 to 8 capital letters and three digits")
    for value, known in ((severity, get_args(Severity)), (of, get_args(Subject))):
        if value not in known:
            raise LongtailError(f"{code}: {value!r} must be one of {', '.join(known)}")

    def register(look: _Look) -> _Look:
        where = (look.__module__, look.__qualname__)
        if code in CHECKS and (CHECKS[code].look.__module__, CHECKS[code].look.__qualname__) != where:
            raise LongtailError(f"{code} is taken by {CHECKS[code].title!r}: give the check another code")
        own = f"pitfalls.md#{code.lower()}" if code.startswith("LT") and page is None else page or ""
        CHECKS[code] = Check(code=code, title=title, of=of, severity=severity, why=why, todo=todo, look=look, page=own)
        return look

    return register


def findings(of: Subject, subject: Any) -> list[Finding]:
    """What all checks of a subject find, the worst first.

    A check that fails, or an extension that cannot be loaded, is a finding itself (of the data) and hinders no other.
    """
    broken = _load_extensions()
    found, failures = [], list(broken) if of == "data" else []
    for own in sorted(CHECKS.values(), key=lambda own: own.code):
        if own.of != of:
            continue
        try:
            if (finding := own(subject)) is not None:
                found.append(finding)
        except Exception as error:  # whatever somebody's check raises
            failures.append(f"{own.code} ({type(error).__name__}: {str(error)[:200]})")
    if failures:
        found.append(CHECKS["LT000"].finding("; ".join(failures)))
    return sorted(found, key=lambda finding: get_args(Severity).index(finding.severity))


@functools.cache
def _load_extensions() -> tuple[str, ...]:
    """Import what installed packages add; returns what failed."""
    failures = []
    for entry in importlib.metadata.entry_points(group=EXTENSIONS):
        try:
            entry.load()
        except Exception as error:  # whatever its module does
            failures.append(f"{entry.name} = {entry.value} ({type(error).__name__}: {str(error)[:200]})")
    return tuple(failures)


@check(
    "LT000",
    "A check does not work",
    of="data",
    severity="note",
    why="What it would have found is not told.",
    todo="Mend the check, or remove the package that brings it.",
)
def _broken(subject: Any) -> None:
    """Told by `findings`."""


def as_json(found: Iterable[Finding], **more: str) -> list[dict[str, str]]:
    """Plain values for a JSON file, ``more`` first."""
    return [more | dataclasses.asdict(finding) for finding in found]


def json_of(rows: Sequence[dict[str, str]]) -> str:
    """The content of ``checks.json``."""
    return json.dumps(rows, indent=1, ensure_ascii=False).encode("utf-8", "replace").decode() + "\n"


def noted(code: str, seen: str) -> str:
    """What a reader of data tells as a note, where that is what a check is about: it finds it there again."""
    return CHECKS[code].finding(seen).line.partition(" ")[2]


def seen_in(notes: Iterable[str], code: str) -> list[str]:
    """Inverse of `noted` for the notes with this code."""
    own = CHECKS[code]
    return [
        note.removeprefix(f"{code}: ").removeprefix(f"{own.title}: ").removesuffix(f". {own.todo}")
        for note in notes
        if note.startswith(f"{code}: ")
    ]


def without(notes: Iterable[str], found: Iterable[Finding | Check]) -> list[str]:
    """The notes that none of these tells already."""
    told = {own.code for own in found}
    return [note for note in notes if note.partition(": ")[0] not in told]
