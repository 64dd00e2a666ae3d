"""What a line of the health report says, and how a value is judged."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    PASS = "pass"  # noqa: S105 - a verdict
    WARN = "warn"
    FAIL = "fail"


ORDER = (Verdict.PASS, Verdict.WARN, Verdict.FAIL)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report. ``threshold`` says in words what is expected."""

    name: str
    value: float
    threshold: str
    verdict: Verdict
    explanation: str = ""


def above(value: float, warn: float, fail: float) -> Verdict:
    """Warn above one threshold, fail above the other."""
    if value <= warn:
        return Verdict.PASS
    return Verdict.FAIL if value > fail else Verdict.WARN
