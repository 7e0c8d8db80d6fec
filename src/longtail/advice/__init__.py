"""Checks with numbers: what a data set or finished runs show that makes a result worse, or worth less than it looks.

``LT0..`` look at a data set (`longtail.advice.data`), ``LT1..`` at the runs of a report (`longtail.report.advice`).
Needs the standard library only.
"""

from longtail.advice.base import CHECKS, Check, Finding, Seen, as_json, check, findings, json_of, noted, without
from longtail.advice.data import DataFacts

__all__ = [
    "CHECKS",
    "Check",
    "DataFacts",
    "Finding",
    "Seen",
    "as_json",
    "check",
    "findings",
    "json_of",
    "noted",
    "without",
]
