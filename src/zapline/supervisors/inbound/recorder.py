"""Group commit to PostgreSQL across units: lanes that keep each unit's order, and isolate what is poison."""

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

from zapline.domain.errors import DatabaseUnavailable, RemoteError
from zapline.domain.ids import UnitId
from zapline.sql.inbound.batches import Outcome
from zapline.sql.inbound.message_rows import UnitWrite, prepare
from zapline.sql.inbound.recorder_transaction import Known, record
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.error_classes import StatementFailed, Trouble
from zapline.supervisors.counters import Counters

BATCH_ENTRIES = 600
BATCH_BYTES = 16 * 2**20
"""Bounds of one transaction: large enough to share the commit, small enough to hold locks for milliseconds."""
LINGER = 0.06
"""Seconds a lane under load waits for more writes: a transaction costs its statements, however few rows it has.
The first write after a pause goes at once."""
LINGER_FOR_ANSWERS = 0.008
"""The same where a sender waits, whose next message leaves only after this."""
STOPPED_PAUSE = 10.0
"""Seconds between tries where the schema, a read-only server or missing resources need a person."""
_FIRST_PAUSE, _LAST_PAUSE = 0.05, 2.0
_HELD_UP = ("55P03", "57014")
"""Lock timeout and statement timeout: with one unit out of the way, the others may go on."""
_SHORT_LOCK_MS = 100
"""How long a unit that was held up may hold up its lane at each further try."""
_LOG = structlog.get_logger(scope="Recorder")


class LaneState(StrEnum):
    IDLE = "idle"
    WORKING = "working"
    RETRYING = "retrying"
    """The database is away, slow or deadlocked; the batch is kept."""
    STOPPED = "stopped"
    """Schema, read-only or resources: it goes on only after a person has acted."""


class _HeldUp(Exception):
    """A lock, or the time for one statement, was waited for in vain."""


class UnitMissing(RemoteError):
    """The unit's row is not in the database (set back to an earlier moment, or deleted by hand)."""


class _Pending:
    """One unit's write, and the actor that waits for it."""

    __slots__ = ("abandoned", "blocked", "done", "failure", "not_before", "outcome", "partial", "tries", "write")

    def __init__(self, write: UnitWrite) -> None:
        self.write = write
        self.done = trio.Event()
        self.outcome: Outcome | None = None
        self.failure: RemoteError | None = None
        self.not_before = float("-inf")
        """Monotonic time until which others go before it, because a lock or its size holds it up."""
        self.blocked: str | None = None
        self.tries = 0
        self.abandoned = False
        """Its actor has ended: it is not tried again once it is out of work."""
        self.partial = Outcome()
        """Of the parts that are committed already, where poison made it fall into parts."""

    def finish(self, outcome: Outcome) -> None:
        self.outcome = self.partial
        self.outcome.add(outcome)
        self.done.set()


@dataclass(frozen=True, slots=True)
class RecorderStatistics:
    """``waiting``: writes not committed yet. ``trouble``: what the slowest lane struggles with, or None."""

    waiting: int
    states: tuple[LaneState, ...]
    trouble: str | None
    commits: int
    last_commit_seconds: float


class Recorder:
    """Commits the writes of all units. ``run`` owns the lanes; ``store`` is for the actors.

    ``connect`` opens a connection as the engine role. ``may_write`` returns when this process is the one
    daemon that may write. ``campaigning`` tells of which units a campaign runs.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        may_write: Callable[[], Awaitable[None]],
        counters: Counters,
        lanes: int = 2,
        stopped_pause: float = STOPPED_PAUSE,
        campaigning: Callable[[], Collection[UnitId]] = tuple,
    ) -> None:
        self._lanes = [_Lane(connect, may_write, counters, stopped_pause, campaigning) for _ in range(lanes)]

    async def run(self) -> None:
        """Commit until cancelled."""
        async with trio.open_nursery() as nursery:
            for lane in self._lanes:
                nursery.start_soon(lane.run)

    async def store(self, write: UnitWrite) -> Outcome:
        """Return when the write is committed, however long the database is away.

        Raises UnitMissing, and StatementFailed where even a dead letter is refused. Cancellation takes the
        write back, unless it is in work: then it may still be committed, but never after a later write of its
        unit. Whoever goes on for the cancelled caller must give the same write again, before any other.
        """
        lane = self._lanes[zlib.crc32(write.unit_id.bytes) % len(self._lanes)]
        return await lane.store(write)

    def forget_known(self) -> None:
        """The database may have been set back: write contacts anew."""
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
    """One connection, one batch at a time; the units hashed onto it keep their order."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        may_write: Callable[[], Awaitable[None]],
        counters: Counters,
        stopped_pause: float,
        campaigning: Callable[[], Collection[UnitId]],
    ) -> None:
        self._campaigning = campaigning
        self._connect = connect
        self._may_write = may_write
        self._counters = counters
        self._stopped_pause = stopped_pause
        self._conn: Connection | None = None
        self._pending: deque[_Pending] = deque()  # bounded: one write a unit
        self._arrived = trio.Event()
        self.known = Known()
        self.state = LaneState.IDLE
        self.trouble: str | None = None
        self.commits = 0
        self.last_commit_seconds = 0.0
        self._in_work = 0
        self._linger = LINGER
        self._hurry = trio.Event()

    @property
    def waiting(self) -> int:
        return len(self._pending) + self._in_work

    async def store(self, write: UnitWrite) -> Outcome:
        pending = _Pending(write)
        self._pending.append(pending)
        if write.rows.answers:
            self._linger = LINGER_FOR_ANSWERS
            self._hurry.set()
        self._arrived.set()
        try:
            await pending.done.wait()
        finally:
            if not pending.done.is_set():
                # The actor's next life gives the same write again as its first, and a lane commits a unit's
                # writes in the order given. So it is enough that this one never comes back into the queue:
                # what is in work now is committed before the repetition, or not at all.
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
                await self._something_due()
                await self._gather(ended)
                batch = self._take()
                self._in_work = len(batch)
                await self._commit(batch)
                self._in_work = 0
                self.trouble = next((pending.blocked for pending in self._pending if pending.blocked), None)
                self.state = LaneState.IDLE if self.trouble is None else LaneState.RETRYING
                ended = trio.current_time()
        finally:
            if self._conn is not None:
                self._conn.abort()

    async def _gather(self, ended: float) -> None:
        """Let others come along, for less time where a sender waits."""
        while trio.current_time() < (until := ended + self._linger):
            self._hurry = trio.Event()
            with trio.move_on_at(until):
                await self._hurry.wait()
        self._linger = LINGER

    async def _something_due(self) -> None:
        """Wait until somebody's write may be taken."""
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

    def _take(self) -> list[_Pending]:
        """A batch within its bounds; a unit stands in it once."""
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
        """Commit a batch; cut it at poison until the poison stands alone and is buried."""
        try:
            outcomes = await self._persist([pending.write for pending in batch])
        except _HeldUp as held_up:
            await self._commit_around(batch, held_up)
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

    async def _commit_around(self, batch: list[_Pending], held_up: _HeldUp) -> None:
        """Somebody's lock, or its size, holds up one of these units: commit each by itself, and that one later."""
        for pending in batch:
            try:
                outcomes = await self._persist([pending.write], lock_timeout_ms=_SHORT_LOCK_MS)
            except _HeldUp:
                self._put_back(pending, held_up)
            except StatementFailed as failure:
                await self._commit_poisoned(pending, failure)
            else:
                pending.finish(outcomes[pending.write.unit_id])

    def _put_back(self, pending: _Pending, held_up: _HeldUp) -> None:
        """Try it again a little later; meanwhile others go on, but nothing of its unit."""
        if pending.abandoned:
            return
        pending.tries += 1
        pending.blocked = str(held_up)
        pending.not_before = trio.current_time() + _pause(pending.tries)
        self._pending.appendleft(pending)

    async def _commit_poisoned(self, pending: _Pending, failure: StatementFailed) -> None:
        """One unit's write was refused: find the entry, bury it, store the rest; what is held up waits."""
        if failure.trouble is Trouble.MISSING:
            pending.done.set()
            return
        parts = [pending.write]
        while parts:
            part = parts.pop(0)
            try:
                outcomes = await self._persist([part], lock_timeout_ms=_SHORT_LOCK_MS)
            except _HeldUp as held_up:
                pending.write = _joined([part, *parts])
                self._put_back(pending, held_up)
                return
            except StatementFailed as refused:
                less = _less(part, refused)
                if refused.trouble is Trouble.MISSING or not less:
                    # Not even a dead letter is taken: the unit's actor fails, its neighbours do not.
                    pending.failure = None if refused.trouble is Trouble.MISSING else refused
                    pending.done.set()
                    return
                parts[:0] = less
            else:
                pending.partial.add(outcomes[part.unit_id])
        pending.finish(Outcome())

    async def _persist(self, writes: list[UnitWrite], lock_timeout_ms: int | None = None) -> dict[UnitId, Outcome]:
        """One transaction, tried until the database takes it. Raises StatementFailed for poison only.

        Raises _HeldUp where a lock or the time for a statement was waited for in vain.
        """
        tries = 0
        while True:
            await self._may_write()
            self.state = LaneState.WORKING if tries == 0 else self.state
            started = trio.current_time()
            try:
                if self._conn is None or self._conn.closed:
                    self._conn = await self._connect()
                    self.known.forget()  # the server that is back may have been set back
                outcomes = await record(self._conn, writes, self.known, lock_timeout_ms, self._campaigning())
            except StatementFailed as failure:
                if failure.trouble is Trouble.MISSING and self.known:
                    self.known.forget()  # perhaps only a contact is gone that was there before
                    continue
                if failure.trouble in (Trouble.POISON, Trouble.MISSING):
                    raise
                if failure.sqlstate in _HELD_UP:
                    self._struggle(LaneState.RETRYING, str(failure))
                    raise _HeldUp(str(failure)) from None
                stopped = failure.trouble is Trouble.STOP
                self._struggle(LaneState.STOPPED if stopped else LaneState.RETRYING, str(failure))
                pause = self._stopped_pause if stopped else _pause(tries)
            except DatabaseUnavailable as away:
                self._struggle(LaneState.RETRYING, str(away))
                pause = _pause(tries)
            else:
                self.trouble = None
                self.commits += 1
                self.last_commit_seconds = trio.current_time() - started
                return outcomes
            tries += 1
            await trio.sleep(pause)

    def _struggle(self, state: LaneState, why: str) -> None:
        self._counters.add("recorder_retries", state)
        if self.trouble is None or state is not self.state:
            _LOG.warning("PostgreSQL did not take a batch; it is kept and tried again", state=state, error=why)
        self.state, self.trouble = state, why


def _pause(tries: int) -> float:
    return min(_FIRST_PAUSE * math.pow(2, min(tries, 10)), _LAST_PAUSE) * random.uniform(0.75, 1.25)  # noqa: S311


def _joined(parts: list[UnitWrite]) -> UnitWrite:
    """The parts of a write that are left, as one again; connection and position are with the last."""
    last = parts[-1]
    entries = [entry for part in parts for entry in part.entries]
    return prepare(last.unit_id, entries, last.connection, last.applied_seq, last.journal_id)


def _less(part: UnitWrite, refused: StatementFailed) -> list[UnitWrite]:
    """Cut a refused write in two; an entry that stands alone becomes a dead letter; empty: nothing helps."""
    if len(part.entries) > 1:
        return list(part.halves())
    if part.entries and part.entries[0].dead_reason is None:
        buried = msgspec.structs.replace(
            part.entries[0],
            facts=(),
            dead_reason="refused_by_database",
            dead_detail=f"SQLSTATE {refused.sqlstate}",
        )
        return [prepare(part.unit_id, [buried], part.connection, part.applied_seq, part.journal_id)]
    if part.connection is not None:
        _LOG.error("The database refuses a unit's connection row", unit=str(part.unit_id), error=str(refused))
        return [prepare(part.unit_id, part.entries, None, part.applied_seq, part.journal_id)]
    return []
