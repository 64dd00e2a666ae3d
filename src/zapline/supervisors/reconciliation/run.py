"""One reconciliation run over a line: the windows left to read, its progress and its result."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import trio

from zapline.domain.ids import UnitId
from zapline.domain.reconciliation_windows import Window
from zapline.supervisors.reconciliation.store_reader import ReadCounts


@dataclass(slots=True)
class ReconciliationRun:
    """A run over [since, until] (UTC seconds); the end is fixed when it begins.

    ``settled``: Evolution has stored everything up to this time, so the watermark may move up to it.
    ``gap_since``: start of the known gap; messages sent since (and a little before) are missing for a known reason.
    """

    unit: UnitId
    since: float
    until: float
    settled: float
    manual: bool = False
    gap_since: float | None = None
    begun: bool = False
    windows_left: deque[Window] = field(default_factory=deque)
    window_count: int = 0
    windows_done: int = 0
    reached: float | None = None
    """End of the last window that was read."""
    counts: ReadCounts = field(default_factory=ReadCounts)
    repaired: int = 0
    error: str | None = None
    ended: trio.Event = field(default_factory=trio.Event)

    def begin(self, windows: Iterable[Window]) -> None:
        self.begun = True
        self.windows_left.extend(windows)
        self.window_count = len(self.windows_left)

    def window_done(self, window: Window | None) -> None:
        """A window was read; None: the first was split in two."""
        if window is None:
            self.window_count += 1
        else:
            self.windows_done += 1
            self.reached = float(window.until)

    def end(self, error: str | None = None) -> None:
        """End the run; a second call does nothing."""
        if not self.ended.is_set():
            self.error = error
            self.ended.set()


@dataclass(frozen=True, slots=True)
class RunProgress:
    """Progress of manual runs, added up. ``failed``: (unit, error) of the first that failed.

    ``reached``: end of the last window read (UTC seconds), for a single run only. ``repaired``: messages that were
    not in the database. ``statuses``: records that contain a status, known or not.
    """

    units: int
    running: int
    failures: int
    windows: int
    windows_done: int
    pages: int
    records: int
    statuses: int
    repaired: int
    failed: tuple[tuple[str, str], ...] = ()
    reached: float | None = None


_MAX_FAILED = 20


def total_progress(runs: Iterable[ReconciliationRun]) -> RunProgress:
    """The progress of several runs, added up."""
    listed = list(runs)
    failed = [(str(run.unit), run.error) for run in listed if run.error is not None]
    return RunProgress(
        units=len(listed),
        running=sum(1 for run in listed if not run.ended.is_set()),
        failures=len(failed),
        windows=sum(run.window_count for run in listed),
        windows_done=sum(run.windows_done for run in listed),
        pages=sum(run.counts.pages for run in listed),
        records=sum(run.counts.records for run in listed),
        statuses=sum(run.counts.statuses for run in listed),
        repaired=sum(run.repaired for run in listed),
        failed=tuple(failed[:_MAX_FAILED]),
        reached=listed[0].reached if len(listed) == 1 else None,
    )
