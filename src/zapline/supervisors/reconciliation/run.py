"""One run of reconciliation over a line: what is left to read, how far it has come, and what it brought."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import trio

from zapline.domain.ids import UnitId
from zapline.domain.reconciliation_windows import Window
from zapline.supervisors.reconciliation.store_reader import Tally


@dataclass(slots=True)
class Run:
    """A run over [since, until] (UTC seconds); the end is fixed when it begins.

    ``settled``: up to here Evolution has surely stored everything, so up to here the watermark may move.
    ``gap_since``: what was sent from here on (and a little before) is missing for a reason that is known.
    """

    unit: UnitId
    since: float
    until: float
    settled: float
    by_hand: bool = False
    gap_since: float | None = None
    begun: bool = False
    todo: deque[Window] = field(default_factory=deque)
    windows: int = 0
    done: int = 0
    reached: float | None = None
    """End of the last window that was read."""
    tally: Tally = field(default_factory=Tally)
    repaired: int = 0
    error: str | None = None
    ended: trio.Event = field(default_factory=trio.Event)

    def begin(self, windows: Iterable[Window]) -> None:
        self.begun = True
        self.todo.extend(windows)
        self.windows = len(self.todo)

    def took(self, window: Window | None) -> None:
        """A window was read; None: the first was cut in two."""
        if window is None:
            self.windows += 1
        else:
            self.done += 1
            self.reached = float(window.until)

    def end(self, error: str | None = None) -> None:
        """The first end counts."""
        if not self.ended.is_set():
            self.error = error
            self.ended.set()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far runs asked for by hand have come, added up. ``failed``: (unit, why) of the first that failed.

    ``reached``: the end of the last window read (UTC seconds), of a single run. ``repaired``: messages that the
    database did not have. ``statuses``: records that told one, known or not.
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


_FAILED_SHOWN = 20


def added_up(runs: Iterable[Run]) -> Progress:
    """The progress of these runs."""
    listed = list(runs)
    failed = [(str(run.unit), run.error) for run in listed if run.error is not None]
    return Progress(
        units=len(listed),
        running=sum(1 for run in listed if not run.ended.is_set()),
        failures=len(failed),
        windows=sum(run.windows for run in listed),
        windows_done=sum(run.done for run in listed),
        pages=sum(run.tally.pages for run in listed),
        records=sum(run.tally.records for run in listed),
        statuses=sum(run.tally.statuses for run in listed),
        repaired=sum(run.repaired for run in listed),
        failed=tuple(failed[:_FAILED_SHOWN]),
        reached=listed[0].reached if len(listed) == 1 else None,
    )
