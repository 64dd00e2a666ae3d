"""Holds where one unit's line stands in its comparison with Evolution's store, and when it has its next turn."""

import time
from dataclasses import dataclass, field

import trio

from zapline.domain.line.reasons import Phase
from zapline.domain.reconciliation_windows import OVERLAP, SETTLES, SPAN
from zapline.domain.retry_policy import Backoff
from zapline.sql.outbound.reconciliation import LineRow
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.reconciliation.repairs import Repairs
from zapline.supervisors.reconciliation.run import Run
from zapline.supervisors.reconciliation.store_reader import MOST_PAGES, PAGE_SIZE

_AND_A_LITTLE = 1.02
"""The two clocks do not go quite alike."""
NEVER, ALWAYS = float("inf"), float("-inf")


@dataclass(frozen=True, slots=True)
class ReconcilePolicy:
    """Seconds, except where it says otherwise."""

    every: float = 900.0
    """Between runs of a line of which nothing special is known; spread by a tenth."""
    at_once: int = 4
    """Lines: a start with thousands must not flood Evolution."""
    settles: float = SETTLES
    overlap: float = OVERLAP
    span: int = SPAN
    page_size: int = PAGE_SIZE
    most_pages: int = MOST_PAGES
    """Of one window."""
    pages_a_turn: int = 100
    """Pages of one line before the others have their turn."""
    look_every: float = 2.0
    """Between looks at the lines: which are open, which have a gap."""
    again: Backoff = field(default_factory=lambda: Backoff(base=5.0, factor=2.0, cap=900.0, jitter=0.3))

    def after_gap(self, line: "ComparedLine") -> float:
        """Monotonic time at which everything up to the end of the line's gap has settled: one run is enough then."""
        return trio.current_time() + max(0.0, line.gap_until - time.time() + self.settles * _AND_A_LITTLE)


@dataclass(frozen=True, slots=True)
class ReconcileStatus:
    """Where a line stands; times in UTC seconds. ``store_kept`` None: not seen yet. ``error``: of the last run."""

    reconciled_until: float | None
    reconciled_at: float | None
    gap_since: float | None
    store_kept: bool | None
    running: bool
    error: str | None


@dataclass(slots=True)
class ComparedLine:
    """One unit's line as the reconciler knows it."""

    unit: Unit
    repairs: Repairs
    row: LineRow | None = None
    """As read or written last."""
    due: float = NEVER
    """Monotonic time of the next run."""
    turn_at: float = NEVER
    """Monotonic time from which the run under way waits for its next turn."""
    seen_open: bool = False
    busy: bool = False
    run: Run | None = None
    asked: Run | None = None
    """The last run asked for by hand."""
    asked_at: float = NEVER
    compared: bool = False
    """A run of this process has come to its end."""
    gap: float | None = None
    gap_until: float = 0.0
    """Known to last until here (UTC seconds): it is over when everything up to here was read after it."""
    gap_unwritten: bool = False
    disconnected: float | None = None
    quarantined: float | None = None
    failures: int = 0
    error: str | None = None

    @property
    def first_connected(self) -> float:
        return (self.row.first_connected if self.row is not None else None) or ALWAYS

    def note_gap(self, since: float) -> None:
        self.gap = since if self.gap is None else min(self.gap, since)
        self.gap_until = max(self.gap_until, time.time())
        self.gap_unwritten = True

    @property
    def due_at(self) -> float:
        """When its next run of our own is due; a line that is not open has nothing new to tell."""
        unit = self.unit
        ready = unit.state is not None and unit.state.stored.phase is Phase.OPEN and unit.quarantined_at is None
        return self.due if ready else NEVER

    def next_at(self) -> float:
        """Monotonic time of its next turn."""
        if self.busy:
            return NEVER
        return self.turn_at if self.run is not None else min(self.asked_at, self.due_at)

    def status(self) -> ReconcileStatus:
        row, running = self.row, self.run is not None
        if row is None:
            return ReconcileStatus(None, None, self.gap, None, running, self.error)
        return ReconcileStatus(row.reconciled_until, row.reconciled_at, self.gap, row.store_kept, running, self.error)
