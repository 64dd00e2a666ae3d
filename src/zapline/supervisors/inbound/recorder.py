"""Commits the writes of many units in shared transactions, in order per unit, and isolates poison entries."""

import random
import time
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Collection

import structlog
import trio

from zapline.domain.errors import DatabaseUnavailable, PositionRefused
from zapline.domain.ids import UnitId
from zapline.domain.messages.message_secrets import SecretSealer
from zapline.sql.inbound.contact_identities import RecorderCache
from zapline.sql.inbound.recorder_transaction import record
from zapline.sql.inbound.recorder_types import UnitOutcome
from zapline.sql.inbound.unit_batches import UnitBatch, rejoin_batches
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.database_errors import UNIQUE_VIOLATION, StatementFailed, Verdict
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.pending_writes import (
    LaneState,
    PendingWrite,
    Postponed,
    RecorderStatistics,
    Stopped,
    TimedOut,
    TooLong,
    UnitMissing,
    UnitsRefused,
    narrowed,
    retry_pause,
)
from zapline.supervisors.leadership import WriterStanding

BATCH_ENTRIES = 600
BATCH_BYTES = 16 * 2**20
BATCH_FACTS = 2000
"""Bounds of one transaction: large enough to share the commit, small enough to hold locks for milliseconds."""
PART_FACTS = 250
"""A large write of a unit is stored in parts of so many; others have their turn in between."""
LINGER = 0.06
"""Seconds a lane under load waits for more writes: the cost of a transaction hardly depends on its rows.
The first write after a pause is committed at once."""
LINGER_FOR_ANSWERS = 0.008
"""The same if a sender waits, whose next message leaves only after the commit."""
STOPPED_PAUSE = 10.0
"""Seconds between tries if the schema, a read-only server or missing resources need a person."""
_RACE_TRIES = 3
"""A row that another transaction has inserted at once is there when the batch is tried again."""
_LOCK_TIMEOUT = "55P03"
_TIMEOUT_SQLSTATES = (_LOCK_TIMEOUT, "57014")
"""Lock timeout and statement timeout: without the unit that causes it, the others can be committed."""
_SHORT_LOCK_MS = 100
"""Lock timeout for a unit that has timed out before, so that it delays its lane less."""
_LOG = structlog.get_logger(scope="Recorder")


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
        clock: Callable[[], float] = time.time,
        draw_spread: Callable[[], float] = random.random,
    ) -> None:
        options = (counters, stopped_pause, campaigning, sealer, standing or WriterStanding(), clock, draw_spread)
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
        clock: Callable[[], float],
        draw_spread: Callable[[], float],
    ) -> None:
        self._standing, self._clock, self._draw_spread = standing, clock, draw_spread
        self._campaigning = campaigning
        self._sealer = sealer
        self._connect = connect
        self._may_write = may_write
        self._counters = counters
        self._stopped_pause = stopped_pause
        self._conn: Connection | None = None
        self._pending: deque[PendingWrite] = deque()  # bounded: one write a unit
        self._arrived = trio.Event()
        self.known = RecorderCache()
        self.state = LaneState.IDLE
        self.trouble: str | None = None
        self.commits = self._committing = 0
        self.last_commit_seconds = 0.0
        self._large = False  # what was committed last
        self._linger, self._answer_waiting = LINGER, trio.Event()

    @property
    def waiting(self) -> int:
        return len(self._pending) + self._committing

    async def store(self, write: UnitBatch) -> UnitOutcome:
        pending = PendingWrite(write)
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
                self._committing, self._large = len(batch), any(each.large for each in batch)
                await self._commit(batch)
                self._committing = 0
                self.trouble = next((pending.blocked for pending in self._pending if pending.blocked), None)
                stopped = any(pending.stopped for pending in self._pending)
                self.state = LaneState.STOPPED if stopped else LaneState.RETRYING if self.trouble else LaneState.IDLE
                ended = float("-inf") if self._large else trio.current_time()  # who waited meanwhile has waited enough
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

    def _next_batch(self) -> list[PendingWrite]:
        """The next batch, with at most one write per unit. A large one is alone, and after it come small ones."""
        batch, left, units = list[PendingWrite](), list[PendingWrite](), set[UnitId]()
        entries = size = facts = 0
        now = trio.current_time()
        small = self._large and any(not each.large and each.not_before <= now for each in self._pending)
        while self._pending and (not batch or (entries < BATCH_ENTRIES and size < BATCH_BYTES and facts < BATCH_FACTS)):
            pending = self._pending.popleft()
            if pending.write.unit_id in units or pending.not_before > now or (pending.large and (batch or small)):
                left.append(pending)
            else:
                entries += len(pending.write.entries)
                facts += pending.write.facts
                size += sum(len(entry.body) for entry in pending.write.entries)
                batch.append(pending)
                if pending.large:
                    break
            units.add(pending.write.unit_id)
        self._pending.extendleft(reversed(left))
        return batch

    async def _commit(self, batch: list[PendingWrite]) -> None:
        """Commit a batch; if it contains poison, split it until the poison entry is alone and becomes a dead letter.

        Whatever else the database says, it is not believed of the whole batch before each unit was tried alone.
        """
        if len(batch) == 1 and batch[0].large:
            await self._commit_first_part(batch[0])
            return
        try:
            outcomes = await self._persist([pending.write for pending in batch])
        except TimedOut as timeout:
            await self._commit_one_by_one(batch, timeout)
            return
        except UnitsRefused as refused:
            for pending in batch:
                if pending.write.unit_id in refused.units:
                    self._postpone(pending, refused)
            if rest := [pending for pending in batch if pending.write.unit_id not in refused.units]:
                await self._commit(rest)
            return
        except (StatementFailed, Stopped) as failure:
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._commit(batch[:middle])
                await self._commit(batch[middle:])
                return
            await self._commit_in_parts(batch[0], failure)
            return
        for pending in batch:
            pending.finish(outcomes[pending.write.unit_id])

    async def _commit_first_part(self, pending: PendingWrite) -> None:
        """Commit the first part of a large write; the rest has its turn after all that waits by now."""
        first, *rest = pending.write.chunks(PART_FACTS)
        try:
            outcomes = await self._persist([first])
        except (StatementFailed, Postponed) as failure:
            await self._commit_in_parts(pending, failure)
            return
        pending.add_part(outcomes[first.unit_id])
        pending.write = rejoin_batches(rest)
        if not pending.abandoned:
            self._pending.append(pending)

    async def _commit_one_by_one(self, batch: list[PendingWrite], timeout: TimedOut) -> None:
        """One of these units ran into a timeout: commit each by itself, and that one later or in parts."""
        for pending in batch:
            if isinstance(timeout, TooLong) and len(batch) == 1 and pending.write.divisible:
                await self._commit_in_parts(pending, timeout)
                continue
            try:
                outcomes = await self._persist([pending.write], lock_timeout_ms=_SHORT_LOCK_MS)
            except TooLong as too_long:
                await self._commit_in_parts(pending, too_long)
            except (TimedOut, UnitsRefused):
                self._postpone(pending, timeout)
            except (StatementFailed, Stopped) as failure:
                await self._commit_in_parts(pending, failure)
            else:
                pending.finish(outcomes[pending.write.unit_id])

    def _postpone(self, pending: PendingWrite, why: Postponed) -> None:
        """Try a write again later, unless its actor has ended; meanwhile other units go on, but not its own."""
        if pending.abandoned or pending.write.held.over:
            return
        pending.tries += 1
        pending.blocked, pending.stopped = str(why), why.state is LaneState.STOPPED
        pause = self._stopped_pause if pending.stopped else retry_pause(pending.tries, self._draw_spread())
        pending.not_before = trio.current_time() + pause
        self._pending.appendleft(pending)

    async def _commit_in_parts(self, pending: PendingWrite, failure: StatementFailed | Postponed) -> None:
        """Commit one unit's write in parts, because it was refused.

        A refused entry becomes a dead letter once it stands alone; what is too slow is cut further, down to a fact.
        What cannot be stored for now is postponed, without what was stored of it.
        """
        if isinstance(failure, StatementFailed) and failure.verdict is Verdict.MISSING:
            pending.done.set()
            return
        whole = pending.write
        if isinstance(failure, TooLong) and whole.divisible and whole.facts <= BATCH_FACTS:
            parts = list(whole.halves())
        else:
            parts = whole.chunks(PART_FACTS)
        while parts:
            part = parts.pop(0)
            try:
                outcomes = await self._persist([part], lock_timeout_ms=_SHORT_LOCK_MS)
            except Postponed as postponed:
                if not isinstance(postponed, TooLong | Stopped) or not part.divisible:
                    pending.write = rejoin_batches([part, *parts])
                    self._postpone(pending, postponed)
                    return
                parts[:0] = part.halves()
            except StatementFailed as refused:
                smaller = narrowed(part, refused)
                if refused.verdict is Verdict.MISSING or not smaller:
                    # Even a dead letter is refused: this unit's actor fails, other units do not.
                    pending.failure = None if refused.verdict is Verdict.MISSING else refused
                    pending.done.set()
                    return
                parts[:0] = smaller
            else:
                pending.add_part(outcomes[part.unit_id])
        pending.finish()

    async def _persist(self, writes: list[UnitBatch], lock_timeout_ms: int | None = None) -> dict[UnitId, UnitOutcome]:
        """Run one transaction, and try again until the database takes it.

        Raises StatementFailed for poison or a missing unit, TimedOut at a lock or statement timeout, Stopped where a
        person must act, and UnitsRefused where units are not ours, or not as they were stored.
        """
        tries = races = 0
        while True:
            await self._may_write()
            if over := [write.unit_id for write in writes if write.held.over]:
                raise UnitsRefused("another node has owned the unit meanwhile", over)
            self.state = LaneState.WORKING if tries == 0 else self.state
            began = trio.current_time()
            try:
                if self._conn is None or self._conn.closed:
                    self._conn = await self._connect()
                    self.known.forget()  # the database may have been restored meanwhile
                options = (lock_timeout_ms, self._campaigning(), self._sealer, self._standing.lead, self._clock)
                outcomes = await record(self._conn, writes, self.known, *options)
            except StatementFailed as failure:
                if failure.verdict is Verdict.MISSING and self.known:
                    self.known.forget()  # perhaps only a known contact was deleted
                    continue
                if failure.sqlstate == UNIQUE_VIOLATION and races < _RACE_TRIES:
                    races += 1
                    self._counters.add("recorder_retries", LaneState.RETRYING)
                    continue
                if failure.verdict in (Verdict.POISON, Verdict.MISSING):
                    raise
                if failure.sqlstate in _TIMEOUT_SQLSTATES:
                    self._note_failure(LaneState.RETRYING, str(failure))
                    raise (TimedOut if failure.sqlstate == _LOCK_TIMEOUT else TooLong)(str(failure)) from None
                if failure.verdict is Verdict.STOP:
                    self._note_failure(LaneState.STOPPED, str(failure))
                    raise Stopped(str(failure)) from None
                self._note_failure(LaneState.RETRYING, str(failure))
                pause = retry_pause(tries, self._draw_spread())
            except DatabaseUnavailable as failure:
                self._note_failure(LaneState.RETRYING, str(failure))
                if isinstance(failure, PositionRefused):
                    self.known.forget()
                    self._standing.check_again()
                    raise UnitsRefused(str(failure), failure.units) from None
                pause = retry_pause(tries, self._draw_spread())
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
