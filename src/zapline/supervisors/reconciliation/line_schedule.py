"""Reconciliation schedule of one unit's line: when its next turn is due, its known gap, and its runs."""

from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from zapline.domain.line.reasons import Phase
from zapline.domain.reconciliation_windows import OVERLAP, SETTLE_TIME, WINDOW_SPAN
from zapline.domain.retry_policy import Backoff
from zapline.sql.outbound.reconciliation import ReconciledLine
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.reconciliation.repairs import RepairCounter
from zapline.supervisors.reconciliation.run import ReconciliationRun
from zapline.supervisors.reconciliation.store_reader import MAX_PAGES, PAGE_SIZE

_CLOCK_DRIFT = 1.02
"""Allowance for the drift between the wall clock and the monotonic clock."""
NEVER, ALWAYS = float("inf"), float("-inf")


@dataclass(frozen=True, slots=True)
class ReconcilePolicy:
    """Seconds, unless stated otherwise."""

    interval: float = 900.0
    """Between regular runs of a line, varied by a tenth."""
    max_lines: int = 4
    """Lines read at the same time: a start with thousands must not flood Evolution."""
    settle_delay: float = SETTLE_TIME
    overlap: float = OVERLAP
    window_span: int = WINDOW_SPAN
    page_size: int = PAGE_SIZE
    max_pages: int = MAX_PAGES
    """Pages of one window."""
    follow_up: float = 25.0
    """Between the runs that read a gap which has not settled yet: what arrives late is found within a minute."""
    rest: float = 10.0
    """Between the end of a run and the next one that an ``open`` asks for, so that a line that flaps costs little."""
    pages_per_turn: int = 100
    """Pages of one line before other lines have their turn."""
    check_every: float = 2.0
    """Between checks of which lines are open and which have a gap."""
    backoff: Backoff = field(default_factory=lambda: Backoff(base=5.0, factor=2.0, cap=900.0, jitter=0.3))

    def at_once(self, line: "LineSchedule") -> float:
        """Monotonic time of a run that should not wait."""
        return max(trio.current_time(), line.ended_at + self.rest)

    def after_gap(self, line: "LineSchedule") -> float:
        """Monotonic time at which everything in the line's gap has settled, so that one run is enough."""
        return trio.current_time() + max(0.0, line.gap_until - line.now() + self.settle_delay * _CLOCK_DRIFT)


@dataclass(frozen=True, slots=True)
class ReconcileStatus:
    """Status of a line; times in UTC seconds. ``store_kept`` None: not known yet. ``error``: of the last run."""

    reconciled_until: float | None
    reconciled_at: float | None
    gap_since: float | None
    store_kept: bool | None
    running: bool
    error: str | None


@dataclass(slots=True)
class LineSchedule:
    """Reconciliation schedule and state of one unit's line."""

    unit: Unit
    repairs: RepairCounter
    now: Callable[[], float]
    """UTC seconds, by the compared clock: a gap that ended in the future would stay open until then."""
    row: ReconciledLine | None = None
    """The database row as last read or written."""
    due: float = NEVER
    """Monotonic time of the next automatic run."""
    resume_at: float = NEVER
    """Monotonic time since which the current run waits for its next turn."""
    seen_open: bool = False
    busy: bool = False
    run: ReconciliationRun | None = None
    manual_run: ReconciliationRun | None = None
    """The last run requested by a person."""
    manual_due: float = NEVER
    has_run: bool = False
    """An automatic run of this process has completed."""
    gap: float | None = None
    gap_until: float = 0.0
    """UTC seconds: the gap is closed once everything up to this time has been read."""
    gap_unwritten: bool = False
    gap_stored: bool = False
    """The database has a gap of this line."""
    ended_at: float = ALWAYS
    """Monotonic time at which its last automatic run ended."""
    disconnected: float | None = None
    quarantined: float | None = None
    failures: int = 0
    error: str | None = None

    @property
    def first_connected(self) -> float:
        return (self.row.first_connected if self.row is not None else None) or ALWAYS

    def note_gap(self, since: float, *, store: bool = True) -> None:
        """Webhooks may be missing from ``since`` (UTC seconds) until now; ``store``: the next process must know it."""
        self.gap = since if self.gap is None else min(self.gap, since)
        self.gap_until = max(self.gap_until, self.now())
        self.gap_unwritten = self.gap_unwritten or store

    def close_gap(self) -> None:
        self.gap, self.gap_unwritten = None, self.gap_stored

    @property
    def due_at(self) -> float:
        """When its next automatic run is due; a line that is not open has none."""
        unit = self.unit
        ready = unit.state is not None and unit.state.stored.phase is Phase.OPEN and unit.quarantined_at is None
        return self.due if ready else NEVER

    def next_at(self) -> float:
        """Monotonic time of its next turn."""
        if self.busy:
            return NEVER
        return self.resume_at if self.run is not None else min(self.manual_due, self.due_at)

    def status(self) -> ReconcileStatus:
        row, running = self.row, self.run is not None
        if row is None:
            return ReconcileStatus(None, None, self.gap, None, running, self.error)
        return ReconcileStatus(row.reconciled_until, row.reconciled_at, self.gap, row.store_kept, running, self.error)
