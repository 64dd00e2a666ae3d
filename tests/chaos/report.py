"""Prints what each phase came to, as a table, and the verdict."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from .inspection import Findings

_HEAD = ("phase", "kills", "posted", "answered", "stored", "lost", "twice", "order", "wrong", "dead", "drain", "p99")


@dataclass(slots=True)
class Row:
    """One phase. ``posted`` and ``answered`` count webhooks, ``stored`` new messages; times in seconds."""

    phase: str
    kills: int
    posted: int
    answered: int
    stored: int
    findings: Findings
    drain: float
    p99: float
    failures: list[str] = field(default_factory=list)
    """What else was promised and not kept: a point not reached, a limit passed."""
    remarks: list[str] = field(default_factory=list)
    """What was measured, in words."""

    @property
    def sound(self) -> bool:
        return self.findings.sound and not self.failures

    def cells(self) -> tuple[str, ...]:
        found = self.findings
        wrong = found.wrong + found.parked + found.journal + found.canaries
        counts = (self.kills, self.posted, self.answered, self.stored, found.lost, found.twice, found.order, wrong)
        times = (f"{self.drain:.2f}s", f"{self.p99 * 1000:.0f}ms")
        return (self.phase, *map(str, counts), str(found.dead), *times)


def say(text: str = "") -> None:
    """One line, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def table(rows: Sequence[Row]) -> str:
    """The phases under each other, with a line for each complaint and a total."""
    cells = [_HEAD, *(row.cells() for row in rows), _total(rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEAD))]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    lines = [_line(line, widths) for line in cells]
    for index in reversed(range(len(rows))):
        row = rows[index]
        below = [*(f"     {text}" for text in row.remarks), *(f"  !! {text}" for text in row.failures)]
        lines[index + 2 : index + 2] = below + [f"  !! {note}" for note in row.findings.notes]
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = cells
    return "  ".join(
        [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
    )


def _total(rows: Sequence[Row]) -> tuple[str, ...]:
    """Counts of what is new add up; findings look at the whole database each time, so the worst counts."""
    sums = [str(sum(getattr(row, name) for row in rows)) for name in ("kills", "posted", "answered", "stored")]
    worst = [str(max((int(row.cells()[column]) for row in rows), default=0)) for column in range(5, 10)]
    slowest = max((row.drain for row in rows), default=0.0)
    return ("all", *sums, *worst, f"{slowest:.2f}s", "")


def verdict(rows: Sequence[Row], seconds: float, seed: int) -> str:
    """The last line."""
    bad = [row.phase for row in rows if not row.sound]
    kills, answered = sum(row.kills for row in rows), sum(row.answered for row in rows)
    if bad:
        return f"FAIL: {', '.join(bad)} (seed {seed}, {seconds:.0f} s)"
    return f"PASS: {kills} kills, {answered} webhooks answered, lost 0, stored twice 0 (seed {seed}, {seconds:.0f} s)"
