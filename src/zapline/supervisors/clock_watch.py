"""Compares this machine's clock with the database's, and notices when it jumps in between."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
import trio

TOLERANCE = 60.0
"""Seconds by which two clocks may differ: what depends on the date is not the worse for it."""
_LOG = structlog.get_logger(scope="Clock")


@dataclass(eq=False)
class ClockWatch:
    """One for the process. ``wall`` and ``monotonic`` return seconds; the first is UTC and may jump.

    While the clocks do not agree, nothing is deleted or given up because of its age, no watermark moves, and what is
    scheduled waits: nobody can say which of the two is wrong.
    """

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = trio.current_time
    _base: float | None = None
    """What the database's clock shows when the monotonic one shows 0; None before the first comparison."""
    _agreed: float | None = None
    """What both showed when the monotonic one showed 0, as of the last comparison at which they agreed."""
    _told: bool = True

    def compare(self, database: float, asked: float) -> None:
        """Note what the database's clock has shown; ``asked``: monotonic time at which it was asked."""
        self._base = database - (asked + self.monotonic()) / 2
        agrees = self.agrees()
        if agrees:
            self._agreed = self.wall() - self.monotonic()
        if agrees is not self._told:
            self._told = agrees
            if agrees:
                _LOG.info("The clocks of this machine and of the database agree")
            else:
                text = "The clocks of this machine and of the database differ: nothing is deleted or expires meanwhile"
                _LOG.error(text, seconds=round(self.skew() or 0.0))

    def skew(self) -> float | None:
        """Seconds by which this machine's clock is ahead of the database's by now; None before the first comparison."""
        return None if self._base is None else self.wall() - self._base - self.monotonic()

    def agrees(self) -> bool:
        """Whether both clocks agree, as far as is known: a jump since the last comparison counts at once."""
        skew = self.skew()
        return skew is not None and abs(skew) <= TOLERANCE

    @property
    def was_compared(self) -> bool:
        """Whether it is known what the database's clock shows."""
        return self._base is not None

    def now(self) -> float:
        """UTC seconds by this machine's clock, while the database's agrees.

        While it does not, one of them has jumped, and time goes on from when they last agreed. If they never did since
        the start, the database's counts.
        """
        skew = self.skew()
        wall = self.wall()
        if skew is None or abs(skew) <= TOLERANCE:
            return wall
        return wall - skew if self._agreed is None else self._agreed + self.monotonic()
