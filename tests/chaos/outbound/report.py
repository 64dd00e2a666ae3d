"""Formats the results of the outbound phases as a table, and the verdict."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..output import align
from .inspection import PhaseOutcome

_HEAD = (
    "phase",
    "triggered",
    "kills",
    "posted",
    "sent",
    "settled",
    "uncertain",
    "failed",
    "twice",
    "lost",
    "wrong",
    "took",
)


@dataclass(slots=True)
class PhaseRow:
    """One phase. ``triggered`` counts the faults; ``took`` in seconds."""

    phase: str
    triggered: int
    kills: int
    outcome: PhaseOutcome
    took: float
    failures: list[str] = field(default_factory=list)
    """Requirements that were not met."""
    remarks: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        outcome = self.outcome
        return not (outcome.twice + outcome.lost + outcome.wrong or self.failures)

    def cells(self) -> tuple[str, ...]:
        outcome = self.outcome
        counts = (
            self.triggered,
            self.kills,
            outcome.posted,
            outcome.sent,
            outcome.settled,
            outcome.uncertain,
            outcome.failed,
        )
        return (self.phase, *map(str, (*counts, outcome.twice, outcome.lost, outcome.wrong)), f"{self.took:.1f}s")


def table(rows: Sequence[PhaseRow]) -> str:
    """Format one line for each phase, with its remarks and findings below, and the sums."""
    numbers = [[int(cell) for cell in row.cells()[1:-1]] for row in rows] or [[0] * (len(_HEAD) - 2)]
    took = sum(row.took for row in rows)
    sums = ("all", *(str(sum(column)) for column in zip(*numbers, strict=True)), f"{took:.0f}s")
    cells = [_HEAD, *(row.cells() for row in rows), sums]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEAD))]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    lines = [align(_HEAD, widths), rule]
    for row in rows:
        lines.append(align(row.cells(), widths))
        lines += [f"     {text}" for text in row.remarks]
        lines += [f"  !! {text}" for text in (*row.failures, *row.outcome.notes)]
    return "\n".join([*lines, rule, align(sums, widths)])


def verdict(rows: Sequence[PhaseRow], seconds: float, seed: int) -> str:
    """Return the last line."""
    bad = [row.phase for row in rows if not row.sound]
    if bad:
        return f"FAIL: {', '.join(bad)} (seed {seed}, {seconds:.0f} s)"
    posted, kills = sum(row.outcome.posted for row in rows), sum(row.kills for row in rows)
    uncertain = sum(row.outcome.uncertain for row in rows)
    summary = f"{posted} messages, {kills} kills, {uncertain} uncertain, lost 0, twice 0"
    return f"PASS: {summary} (seed {seed}, {seconds:.0f} s)"
