"""Defines one check of the health report, and how a value becomes a verdict."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    PASS = "pass"  # noqa: S105 - a verdict
    WARN = "warn"
    FAIL = "fail"


NEVER = float("inf")
"""As a threshold: never exceeded."""
SEVERITY = (Verdict.PASS, Verdict.WARN, Verdict.FAIL)


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One line of the report. ``threshold`` is the expected value, as text."""

    name: str
    value: float
    threshold: str
    verdict: Verdict
    explanation: str = ""


def grade(value: float, warn: float, fail: float) -> Verdict:
    """Return WARN above ``warn``, FAIL above ``fail``, else PASS."""
    if value <= warn:
        return Verdict.PASS
    return Verdict.FAIL if value > fail else Verdict.WARN
