"""What waits for the recorder: one unit's write, why it waits, and how a refused one is narrowed down."""

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from uuid import UUID

import msgspec
import structlog
import trio

from zapline.domain.errors import RemoteError
from zapline.sql.inbound.recorder_types import UnitOutcome
from zapline.sql.inbound.unit_batches import UnitBatch
from zapline.sql.postgres.database_errors import StatementFailed

_MIN_PAUSE, _MAX_PAUSE = 0.05, 2.0
_LOG = structlog.get_logger(scope="Recorder")


class LaneState(StrEnum):
    IDLE = "idle"
    WORKING = "working"
    RETRYING = "retrying"
    """The database is down, slow or deadlocked; the batch is tried again."""
    STOPPED = "stopped"
    """Wrong schema, read-only server or missing resources: a person must act."""


@dataclass(frozen=True, slots=True)
class RecorderStatistics:
    """``waiting``: writes not committed yet. ``trouble``: error of the first lane that has one, or None."""

    waiting: int
    states: tuple[LaneState, ...]
    trouble: str | None
    commits: int
    last_commit_seconds: float


class Postponed(Exception):
    """The database did not take a write for now; ``state`` says what is wrong."""

    state = LaneState.RETRYING


class TimedOut(Postponed):
    """A lock timeout."""


class TooLong(TimedOut):
    """A statement timeout: less at once may be in time."""


class Stopped(Postponed):
    """Schema, rights or resources are not as they should be, at least for this write."""

    state = LaneState.STOPPED


class UnitsRefused(Postponed):
    """The database was set back, or these units are another node's; the others of the batch can be stored."""

    def __init__(self, text: str, units: Collection[UUID]) -> None:
        super().__init__(text)
        self.units = units


class UnitMissing(RemoteError):
    """The unit's row is not in the database (set back to an earlier moment, or deleted by hand)."""


LARGE_FACTS = 600
"""More than a full turn of messages has."""


class PendingWrite:
    """One unit's write, which its actor waits for."""

    __slots__ = (
        "_partial",
        "abandoned",
        "blocked",
        "done",
        "failure",
        "not_before",
        "outcome",
        "stopped",
        "tries",
        "write",
    )

    def __init__(self, write: UnitBatch) -> None:
        self.write = write
        self.done = trio.Event()
        self.outcome: UnitOutcome | None = None
        self.failure: RemoteError | None = None
        self.not_before = float("-inf")
        """Monotonic time before which it is not tried again, after a timeout."""
        self.blocked: str | None = None
        self.stopped = False
        self.tries = 0
        self.abandoned = False
        """Its actor has ended: it is not tried again after the current try."""
        self._partial: UnitOutcome | None = None
        """Outcome of the parts already committed, if it was split."""

    @property
    def large(self) -> bool:
        """It is stored by itself, in parts."""
        return self.write.facts > LARGE_FACTS

    def add_part(self, outcome: UnitOutcome) -> None:
        """Note the outcome of a part that is committed."""
        if self._partial is None:
            self._partial = outcome
        else:
            self._partial.add(outcome)

    def finish(self, outcome: UnitOutcome | None = None) -> None:
        """All is committed; ``outcome``: of the last part, or of the whole."""
        if outcome is not None:
            self.add_part(outcome)
        self.outcome = self._partial or UnitOutcome()
        self.done.set()


def retry_pause(tries: int, spread: float) -> float:
    """Seconds until the next try; ``spread`` from 0 to 1 is drawn by the caller."""
    return min(_MIN_PAUSE * math.pow(2, min(tries, 10)), _MAX_PAUSE) * (0.75 + spread / 2)


def narrowed(part: UnitBatch, refused: StatementFailed) -> list[UnitBatch]:
    """Split a refused write between entries; a single entry becomes a dead letter. Empty: nothing is left to try."""
    if len(part.entries) > 1:
        return list(part.halves())
    if part.entries and part.entries[0].dead_reason is None:
        buried = msgspec.structs.replace(
            part.entries[0],
            facts=(),
            dead_reason="refused_by_database",
            dead_detail=f"SQLSTATE {refused.sqlstate}",
        )
        return [replace(part, entries=(buried,), _rows=[])]
    if part.connection is not None:
        _LOG.error("The database refuses a unit's connection row", unit=str(part.unit_id), error=str(refused))
        return [replace(part, connection=None, changes=())]
    return []
