"""Queues messages that are submitted at about the same time in one statement, each with an outcome of its own."""

from collections import deque
from collections.abc import Sequence
from uuid import UUID

import trio

from zapline.domain.errors import RemoteError
from zapline.sql.outbound import outbox
from zapline.sql.outbound.outbox import QueuedMessage
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.database_errors import StatementFailed, lost_race
from zapline.sql.postgres.pool import Pool

_MOST = 100
"""Messages of one statement: enough to share the commit, few enough to hold their locks for milliseconds."""
_TURN = 0.1
"""Seconds after which the next statement no longer waits for the one before: that one may be held up by a lock."""
_AT_ONCE = 3
"""Statements at a time: the pool's other connections are for whoever reads."""
_LOCK_MS = 1000
"""How long many wait for one's lock; then each is queued alone, and only those wait that need it."""
_RACE_TRIES = 3


class _Submission:
    """One message that is to be queued. ``alone``: those it was with were not queued, or nobody knows."""

    __slots__ = ("alone", "done", "encoded", "failure", "id", "present", "queued", "turn")

    def __init__(self, id: UUID, encoded: bytes) -> None:
        self.id = id
        self.encoded = encoded
        self.turn = trio.Event()
        self.alone = self.done = self.present = False
        self.queued: QueuedMessage | None = None
        self.failure: RemoteError | None = None


class SharedInsert:
    """Whoever comes first queues all that wait; what comes meanwhile is queued together by the next of them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting: deque[_Submission] = deque()  # bounded by the requests under way
        self._running = 0

    async def enqueue(self, id: UUID, encoded: bytes) -> tuple[QueuedMessage | None, bool]:
        """Queue one message, as ``outbox.encode_message`` has made it, and return whether it can be read back.

        None: its client id is taken, perhaps by itself, where the database went away during an earlier try. Raises what
        the connection raises. When cancelled, it may have been queued; nobody else's message is lost by that.
        """
        mine = _Submission(id, encoded)
        self._waiting.append(mine)
        try:
            await self._until_done(mine)
        finally:
            if mine in self._waiting:
                self._waiting.remove(mine)
        if mine.alone:
            await self._enqueue_alone(mine)
        if mine.failure is not None:
            raise mine.failure
        return mine.queued, mine.present

    async def _until_done(self, mine: _Submission) -> None:
        overdue = False
        while not (mine.done or mine.alone):
            if not self._running or (overdue and self._running < _AT_ONCE and mine in self._waiting):
                await self._enqueue_waiting()
                continue
            mine.turn = trio.Event()
            with trio.move_on_after(_TURN) as waiting:
                await mine.turn.wait()
            overdue = waiting.cancelled_caught

    async def _enqueue_waiting(self) -> None:
        """Queue what waits, in the order in which it came."""
        batch = [self._waiting.popleft() for _ in range(min(_MOST, len(self._waiting)))]
        self._running += 1
        try:
            async with self._pool.connection() as conn:
                await _insert(conn, batch, _LOCK_MS if len(batch) > 1 else None)
        except StatementFailed:
            pass  # one of them is at fault: each tries alone
        except RemoteError as away:
            for one in batch:
                one.failure, one.done = away, True
        finally:
            self._running -= 1
            for one in batch:
                one.alone = not one.done
                one.turn.set()
            if self._waiting:
                self._waiting[0].turn.set()

    async def _enqueue_alone(self, mine: _Submission) -> None:
        """Queue one message, again where another transaction was in the way: nothing was changed then."""
        async with self._pool.connection() as conn:
            for _ in range(_RACE_TRIES - 1):
                try:
                    await _insert(conn, [mine], None)
                except StatementFailed as failure:
                    if not lost_race(failure.sqlstate):
                        raise
                else:
                    return
            await _insert(conn, [mine], None)


async def _insert(conn: Connection, batch: Sequence[_Submission], lock_timeout_ms: int | None) -> None:
    queued = await outbox.enqueue_encoded(conn, (one.encoded for one in batch), lock_timeout_ms)
    present = await outbox.list_present(conn, list(queued)) if queued else set()
    for one in batch:
        one.queued, one.present, one.done = queued.get(one.id), one.id in present, True
