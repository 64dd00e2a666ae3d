"""Formats the results of the inbound phases as a table, and the verdict."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..output import align
from .inspection import Findings

_HEAD = (
    "phase",
    "kills",
    "posted",
    "acknowledged",
    "stored",
    "lost",
    "twice",
    "order",
    "wrong",
    "dead",
    "drain",
    "p99",
)


@dataclass(slots=True)
class PhaseRow:
    """One phase. ``posted`` and ``acknowledged`` count webhooks, ``stored`` new messages; times in seconds."""

    phase: str
    kills: int
    posted: int
    acknowledged: int
    stored: int
    findings: Findings
    drain: float
    p99: float
    failures: list[str] = field(default_factory=list)
    """Requirements that were not met: a fault point not reached, a limit exceeded."""
    remarks: list[str] = field(default_factory=list)
    """Measurements, as text."""

    @property
    def sound(self) -> bool:
        return self.findings.sound and not self.failures

    def cells(self) -> tuple[str, ...]:
        findings = self.findings
        wrong = findings.wrong + findings.parked + findings.journal + findings.canaries
        counts = (
            self.kills,
            self.posted,
            self.acknowledged,
            self.stored,
            findings.lost,
            findings.twice,
            findings.order,
            wrong,
        )
        times = (f"{self.drain:.2f}s", f"{self.p99 * 1000:.0f}ms")
        return (self.phase, *map(str, counts), str(findings.dead), *times)


def table(rows: Sequence[PhaseRow]) -> str:
    """Format one line for each phase, with its remarks and findings below, and a total."""
    cells = [_HEAD, *(row.cells() for row in rows), _total(rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEAD))]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    lines = [align(line, widths) for line in cells]
    for index in reversed(range(len(rows))):
        row = rows[index]
        below = [*(f"     {text}" for text in row.remarks), *(f"  !! {text}" for text in row.failures)]
        lines[index + 2 : index + 2] = below + [f"  !! {note}" for note in row.findings.notes]
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _total(rows: Sequence[PhaseRow]) -> tuple[str, ...]:
    """Counts of new items are summed; findings cover the whole database each time, so their maximum counts."""
    sums = [str(sum(getattr(row, name) for row in rows)) for name in ("kills", "posted", "acknowledged", "stored")]
    worst = [str(max((int(row.cells()[column]) for row in rows), default=0)) for column in range(5, 10)]
    slowest = max((row.drain for row in rows), default=0.0)
    return ("all", *sums, *worst, f"{slowest:.2f}s", "")


def verdict(rows: Sequence[PhaseRow], seconds: float, seed: int) -> str:
    """Return the last line."""
    bad = [row.phase for row in rows if not row.sound]
    kills, acknowledged = sum(row.kills for row in rows), sum(row.acknowledged for row in rows)
    if bad:
        return f"FAIL: {', '.join(bad)} (seed {seed}, {seconds:.0f} s)"
    summary = f"{kills} kills, {acknowledged} webhooks acknowledged, lost 0, stored twice 0"
    return f"PASS: {summary} (seed {seed}, {seconds:.0f} s)"
