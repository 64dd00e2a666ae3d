"""Prints what became of the messages of each outbound phase, as a table, and the verdict."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from .outbound_inspection import Outcome

_HEAD = (
    "phase",
    "struck",
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
class OutboundRow:
    """One phase. ``struck``: how often its faults struck. ``took`` in seconds."""

    phase: str
    struck: int
    kills: int
    outcome: Outcome
    took: float
    failures: list[str] = field(default_factory=list)
    """What else was promised and not kept."""
    remarks: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        found = self.outcome
        return not (found.twice + found.lost + found.wrong or self.failures)

    def cells(self) -> tuple[str, ...]:
        found = self.outcome
        counts = (self.struck, self.kills, found.posted, found.sent, found.settled, found.uncertain, found.failed)
        return (self.phase, *map(str, (*counts, found.twice, found.lost, found.wrong)), f"{self.took:.1f}s")


def outbound_table(rows: Sequence[OutboundRow]) -> str:
    """The phases under each other, with a line for each complaint and the sums."""
    numbers = [[int(cell) for cell in row.cells()[1:-1]] for row in rows] or [[0] * (len(_HEAD) - 2)]
    took = sum(row.took for row in rows)
    sums = ("all", *(str(sum(column)) for column in zip(*numbers, strict=True)), f"{took:.0f}s")
    cells = [_HEAD, *(row.cells() for row in rows), sums]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEAD))]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    lines = [_line(_HEAD, widths), rule]
    for row in rows:
        lines.append(_line(row.cells(), widths))
        lines += [f"     {text}" for text in row.remarks]
        lines += [f"  !! {text}" for text in (*row.failures, *row.outcome.notes)]
    return "\n".join([*lines, rule, _line(sums, widths)])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = cells
    return "  ".join(
        [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
    )


def outbound_verdict(rows: Sequence[OutboundRow], seconds: float, seed: int) -> str:
    """The last line."""
    bad = [row.phase for row in rows if not row.sound]
    if bad:
        return f"FAIL: {', '.join(bad)} (seed {seed}, {seconds:.0f} s)"
    posted, kills = sum(row.outcome.posted for row in rows), sum(row.kills for row in rows)
    uncertain = sum(row.outcome.uncertain for row in rows)
    told = f"{posted} messages, {kills} kills, {uncertain} uncertain, lost 0, twice 0"
    return f"PASS: {told} (seed {seed}, {seconds:.0f} s)"
