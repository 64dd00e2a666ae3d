"""Defines one check of the health report, and how a value becomes a verdict."""

from dataclasses import dataclass
from enum import StrEnum

from zapline.domain.ids import UnitId


class Verdict(StrEnum):
    PASS = "pass"  # noqa: S105 - a verdict
    WARN = "warn"
    FAIL = "fail"


NEVER = float("inf")
"""As a threshold: never exceeded."""
SEVERITY = (Verdict.PASS, Verdict.WARN, Verdict.FAIL)


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One line of the report. ``threshold`` is the expected value, as text.

    ``explanation``: what it means and what to do. ``detail``: what a server said of it, or a state's name.
    """

    name: str
    value: float
    threshold: str
    verdict: Verdict
    explanation: str = ""
    detail: str = ""
    units: tuple[UnitId, ...] = ()
    """Units that cause it, the worst first, as far as is known; for who is signed in, not for the open report."""

    @property
    def text(self) -> str:
        """Both, for whoever reads the report."""
        return ": ".join(part for part in (self.explanation, self.detail) if part)


def grade(value: float, warn: float, fail: float) -> Verdict:
    """Return WARN above ``warn``, FAIL above ``fail``, else PASS."""
    if value <= warn:
        return Verdict.PASS
    return Verdict.FAIL if value > fail else Verdict.WARN


def expect_none(
    name: str,
    count: float,
    explanation: str,
    *,
    fail: float = NEVER,
    detail: str = "",
    units: tuple[UnitId, ...] = (),
) -> HealthCheck:
    """Check a count that should be 0: WARN above it, FAIL above ``fail``."""
    return HealthCheck(name, count, "0", grade(count, 0, fail), explanation, detail, units)


def expect_below(
    name: str,
    value: float,
    limit: float,
    explanation: str,
    *,
    fail: float = NEVER,
    units: tuple[UnitId, ...] = (),
) -> HealthCheck:
    """Check a value that should be below ``limit``: WARN above it, FAIL above ``fail``."""
    return HealthCheck(name, value, f"< {limit:g}", grade(value, limit, fail), explanation, units=units)
