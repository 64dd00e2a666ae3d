"""Commits the writes of many units in shared transactions, in order per unit, and isolates poison entries."""

import math
import random
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from enum import StrEnum

import msgspec
import structlog
import trio

from zapline.domain.errors import DatabaseUnavailable, PositionRefused, RemoteError
from zapline.domain.ids import UnitId
from zapline.domain.messages.message_secrets import SecretSealer
from zapline.sql.inbound.contact_identities import RecorderCache
from zapline.sql.inbound.recorder_transaction import record
from zapline.sql.inbound.recorder_types import UnitOutcome
from zapline.sql.inbound.unit_batches import UnitBatch, prepare_batch, rejoin
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.database_errors import StatementFailed, Verdict
from zapline.supervisors.counters import Counters
from zapline.supervisors.leadership import WriterStanding

BATCH_ENTRIES = 600
BATCH_BYTES = 16 * 2**20
"""Bounds of one transaction: large enough to share the commit, small enough to hold locks for milliseconds."""
LINGER = 0.06
"""Seconds a lane under load waits for more writes: the cost of a transaction hardly depends on its rows.
The first write after a pause is committed at once."""
LINGER_FOR_ANSWERS = 0.008
"""The same if a sender waits, whose next message leaves only after the commit."""
STOPPED_PAUSE = 10.0
"""Seconds between tries if the schema, a read-only server or missing resources need a person."""
_MIN_PAUSE, _MAX_PAUSE = 0.05, 2.0
_TIMEOUT_SQLSTATES = ("55P03", "57014")
"""Lock timeout and statement timeout: without the unit that causes it, the others can be committed."""
_SHORT_LOCK_MS = 100
"""Lock timeout for a unit that has timed out before, so that it delays its lane less."""
_LOG = structlog.get_logger(scope="Recorder")


class LaneState(StrEnum):
    IDLE = "idle"
    WORKING = "working"
    RETRYING = "retrying"
    """The database is down, slow or deadlocked; the batch is tried again."""
    STOPPED = "stopped"
    """Wrong schema, read-only server or missing resources: a person must act."""


class _TimedOut(Exception):
    """A lock timeout or a statement timeout."""


class UnitMissing(RemoteError):
    """The unit's row is not in the database (set back to an earlier moment, or deleted by hand)."""


class _Pending:
    """One unit's write, which its actor waits for."""

    __slots__ = ("abandoned", "blocked", "done", "failure", "not_before", "outcome", "partial", "tries", "write")

    def __init__(self, write: UnitBatch) -> None:
        self.write = write
        self.done = trio.Event()
        self.outcome: UnitOutcome | None = None
        self.failure: RemoteError | None = None
        self.not_before = float("-inf")
        """Monotonic time before which it is not tried again, after a timeout."""
        self.blocked: str | None = None
        self.tries = 0
        self.abandoned = False
        """Its actor has ended: it is not tried again after the current try."""
        self.partial = UnitOutcome()
        """Outcome of the parts already committed, if it was split because of poison."""

    def finish(self, outcome: UnitOutcome) -> None:
        self.outcome = self.partial
        self.outcome.add(outcome)
        self.done.set()


@dataclass(frozen=True, slots=True)
class RecorderStatistics:
    """``waiting``: writes not committed yet. ``trouble``: error of the first lane that has one, or None."""

    waiting: int
    states: tuple[LaneState, ...]
    trouble: str | None
    commits: int
    last_commit_seconds: float


class Recorder:
    """Commits the writes of all units. ``run`` owns the lanes; ``store`` is for the actors.

    ``connect`` opens a connection as the engine role. ``may_write`` returns once this process is the
    daemon that may write. ``campaigning`` returns the units with a running campaign. ``sealer`` encrypts the secrets of
    messages; without it they are not kept. ``standing``: of this process as the one that leads.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        may_write: Callable[[], Awaitable[None]],
        counters: Counters,
        lanes: int = 2,
        stopped_pause: float = STOPPED_PAUSE,
        campaigning: Callable[[], Collection[UnitId]] = tuple,
        sealer: SecretSealer | None = None,
        standing: WriterStanding | None = None,
    ) -> None:
        options = (counters, stopped_pause, campaigning, sealer, standing or WriterStanding())
        self._lanes = [_Lane(connect, may_write, *options) for _ in range(lanes)]

    async def run(self) -> None:
        """Run the lanes until cancelled."""
        async with trio.open_nursery() as nursery:
            for lane in self._lanes:
                nursery.start_soon(lane.run)

    async def store(self, write: UnitBatch) -> UnitOutcome:
        """Return when the write is committed, however long the database is down.

        Raises UnitMissing, and StatementFailed if even a dead letter is refused. Cancellation withdraws the
        write, unless it is being committed: then it may still be committed, but never after a later write of its
        unit. The next actor of the unit must store the same write again, before any other.
        """
        lane = self._lanes[zlib.crc32(write.unit_id.bytes) % len(self._lanes)]
        return await lane.store(write)

    def forget_contacts(self) -> None:
        """Write all contacts again: the database may have been restored from a backup, or contacts deleted."""
        for lane in self._lanes:
            lane.known.forget()

    def statistics(self) -> RecorderStatistics:
        troubled = [lane.trouble for lane in self._lanes if lane.trouble is not None]
        return RecorderStatistics(
            waiting=sum(lane.waiting for lane in self._lanes),
            states=tuple(lane.state for lane in self._lanes),
            trouble=troubled[0] if troubled else None,
            commits=sum(lane.commits for lane in self._lanes),
            last_commit_seconds=max(lane.last_commit_seconds for lane in self._lanes),
        )


class _Lane:
    """One connection and one batch at a time; units are assigned to lanes by hash, so each keeps its order."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        may_write: Callable[[], Awaitable[None]],
        counters: Counters,
        stopped_pause: float,
        campaigning: Callable[[], Collection[UnitId]],
        sealer: SecretSealer | None,
        standing: WriterStanding,
    ) -> None:
        self._standing = standing
        self._campaigning = campaigning
        self._sealer = sealer
        self._connect = connect
        self._may_write = may_write
        self._counters = counters
        self._stopped_pause = stopped_pause
        self._conn: Connection | None = None
        self._pending: deque[_Pending] = deque()  # bounded: one write a unit
        self._arrived = trio.Event()
        self.known = RecorderCache()
        self.state = LaneState.IDLE
        self.trouble: str | None = None
        self.commits = 0
        self.last_commit_seconds = 0.0
        self._committing = 0
        self._linger, self._answer_waiting = LINGER, trio.Event()

    @property
    def waiting(self) -> int:
        return len(self._pending) + self._committing

    async def store(self, write: UnitBatch) -> UnitOutcome:
        pending = _Pending(write)
        self._pending.append(pending)
        if write.rows.answers:
            self._linger = LINGER_FOR_ANSWERS
            self._answer_waiting.set()
        self._arrived.set()
        try:
            await pending.done.wait()
        finally:
            if not pending.done.is_set():
                # The unit's next actor stores the same write again as its first, and a lane commits a unit's
                # writes in order. So it is enough that this one never returns to the queue: if it is being
                # committed now, that ends before the repetition is committed.
                pending.abandoned = True
                if pending in self._pending:
                    self._pending.remove(pending)
        if pending.outcome is None:
            raise pending.failure or UnitMissing("the unit is not in the database")
        return pending.outcome

    async def run(self) -> None:
        try:
            ended = float("-inf")
            while True:
                await self._wait_until_due()
                await self._wait_for_more(ended)
                batch = self._next_batch()
                self._committing = len(batch)
                await self._commit(batch)
                self._committing = 0
                self.trouble = next((pending.blocked for pending in self._pending if pending.blocked), None)
                self.state = LaneState.IDLE if self.trouble is None else LaneState.RETRYING
                ended = trio.current_time()
        finally:
            if self._conn is not None:
                self._conn.abort()

    async def _wait_for_more(self, ended: float) -> None:
        """Linger so that more writes share the transaction; for less time if a sender waits."""
        while trio.current_time() < (until := ended + self._linger):
            self._answer_waiting = trio.Event()
            with trio.move_on_at(until):
                await self._answer_waiting.wait()
        self._linger = LINGER

    async def _wait_until_due(self) -> None:
        """Wait until a pending write is due."""
        while True:
            if self._pending and self._pending[0].not_before <= trio.current_time():
                return
            first: dict[UnitId, float] = {}
            for pending in self._pending:
                first.setdefault(pending.write.unit_id, pending.not_before)
            due = min(first.values(), default=float("inf"))
            if due <= trio.current_time():
                return
            self._arrived = trio.Event()
            with trio.move_on_at(due):
                await self._arrived.wait()

    def _next_batch(self) -> list[_Pending]:
        """The next batch within its bounds, with at most one write per unit."""
        batch: list[_Pending] = []
        left: list[_Pending] = []
        units: set[UnitId] = set()
        entries = size = 0
        now = trio.current_time()
        while self._pending and (not batch or (entries < BATCH_ENTRIES and size < BATCH_BYTES)):
            pending = self._pending.popleft()
            if pending.write.unit_id in units or pending.not_before > now:
                left.append(pending)
            else:
                entries += len(pending.write.entries)
                size += sum(len(entry.body) for entry in pending.write.entries)
                batch.append(pending)
            units.add(pending.write.unit_id)
        self._pending.extendleft(reversed(left))
        return batch

    async def _commit(self, batch: list[_Pending]) -> None:
        """Commit a batch; if it contains poison, split it until the poison entry is alone and becomes a dead letter."""
        try:
            outcomes = await self._persist([pending.write for pending in batch])
        except _TimedOut as timeout:
            await self._commit_one_by_one(batch, timeout)
            return
        except StatementFailed as failure:
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._commit(batch[:middle])
                await self._commit(batch[middle:])
                return
            await self._commit_poisoned(batch[0], failure)
            return
        for pending in batch:
            pending.finish(outcomes[pending.write.unit_id])

    async def _commit_one_by_one(self, batch: list[_Pending], timeout: _TimedOut) -> None:
        """One of these units ran into a timeout: commit each by itself, and that one later."""
        for pending in batch:
            try:
                outcomes = await self._persist([pending.write], lock_timeout_ms=_SHORT_LOCK_MS)
            except _TimedOut:
                self._postpone(pending, timeout)
            except StatementFailed as failure:
                await self._commit_poisoned(pending, failure)
            else:
                pending.finish(outcomes[pending.write.unit_id])

    def _postpone(self, pending: _Pending, timeout: _TimedOut) -> None:
        """Try a write again a little later; meanwhile other units go on, but not its own."""
        if pending.abandoned:
            return
        pending.tries += 1
        pending.blocked = str(timeout)
        pending.not_before = trio.current_time() + _retry_pause(pending.tries)
        self._pending.appendleft(pending)

    async def _commit_poisoned(self, pending: _Pending, failure: StatementFailed) -> None:
        """One unit's write was refused: find the poison entry, store it as a dead letter, and the rest normally."""
        if failure.verdict is Verdict.MISSING:
            pending.done.set()
            return
        parts = [pending.write]
        while parts:
            part = parts.pop(0)
            try:
                outcomes = await self._persist([part], lock_timeout_ms=_SHORT_LOCK_MS)
            except _TimedOut as timeout:
                pending.write = rejoin([part, *parts])
                self._postpone(pending, timeout)
                return
            except StatementFailed as refused:
                smaller = _narrowed(part, refused)
                if refused.verdict is Verdict.MISSING or not smaller:
                    # Even a dead letter is refused: this unit's actor fails, other units do not.
                    pending.failure = None if refused.verdict is Verdict.MISSING else refused
                    pending.done.set()
                    return
                parts[:0] = smaller
            else:
                pending.partial.add(outcomes[part.unit_id])
        pending.finish(UnitOutcome())

    async def _persist(self, writes: list[UnitBatch], lock_timeout_ms: int | None = None) -> dict[UnitId, UnitOutcome]:
        """Run one transaction, and try again until the database takes it.

        Raises StatementFailed for poison or a missing unit, and _TimedOut at a lock or statement timeout.
        """
        tries = 0
        while True:
            await self._may_write()
            self.state = LaneState.WORKING if tries == 0 else self.state
            began = trio.current_time()
            try:
                if self._conn is None or self._conn.closed:
                    self._conn = await self._connect()
                    self.known.forget()  # the database may have been restored meanwhile
                options = (lock_timeout_ms, self._campaigning(), self._sealer, self._standing.epoch)
                outcomes = await record(self._conn, writes, self.known, *options)
            except StatementFailed as failure:
                if failure.verdict is Verdict.MISSING and self.known:
                    self.known.forget()  # perhaps only a known contact was deleted
                    continue
                if failure.verdict in (Verdict.POISON, Verdict.MISSING):
                    raise
                if failure.sqlstate in _TIMEOUT_SQLSTATES:
                    self._note_failure(LaneState.RETRYING, str(failure))
                    raise _TimedOut(str(failure)) from None
                state = LaneState.STOPPED if failure.verdict is Verdict.STOP else LaneState.RETRYING
                self._note_failure(state, str(failure))
                pause = self._stopped_pause if state is LaneState.STOPPED else _retry_pause(tries)
            except DatabaseUnavailable as failure:
                if isinstance(failure, PositionRefused):
                    self.known.forget()
                    self._standing.check_again()
                self._note_failure(LaneState.RETRYING, str(failure))
                pause = _retry_pause(tries)
            else:
                self.trouble = None
                self.commits += 1
                self.last_commit_seconds = trio.current_time() - began
                return outcomes
            tries += 1
            await trio.sleep(pause)

    def _note_failure(self, state: LaneState, why: str) -> None:
        self._counters.add("recorder_retries", state)
        if self.trouble is None or state is not self.state:
            _LOG.warning("PostgreSQL did not take a batch; it is kept and tried again", state=state, error=why)
        self.state, self.trouble = state, why


def _retry_pause(tries: int) -> float:
    return min(_MIN_PAUSE * math.pow(2, min(tries, 10)), _MAX_PAUSE) * random.uniform(0.75, 1.25)  # noqa: S311


def _narrowed(part: UnitBatch, refused: StatementFailed) -> list[UnitBatch]:
    """Split a refused write in two; a single entry becomes a dead letter. Empty: nothing is left to try."""
    if len(part.entries) > 1:
        return list(part.halves())
    if part.entries and part.entries[0].dead_reason is None:
        buried = msgspec.structs.replace(
            part.entries[0],
            facts=(),
            dead_reason="refused_by_database",
            dead_detail=f"SQLSTATE {refused.sqlstate}",
        )
        return [prepare_batch(part.unit_id, [buried], part.connection, part.applied_seq, part.journal_id, part.stored)]
    if part.connection is not None:
        _LOG.error("The database refuses a unit's connection row", unit=str(part.unit_id), error=str(refused))
        return [prepare_batch(part.unit_id, part.entries, None, part.applied_seq, part.journal_id, part.stored)]
    return []
