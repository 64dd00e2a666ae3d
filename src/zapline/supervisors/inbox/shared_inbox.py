"""Puts webhooks into the inbox, many in one transaction, and wakes the nodes that own their units."""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog
import trio

from zapline.domain.errors import RemoteError
from zapline.domain.ids import UnitId
from zapline.sql.cluster import inbox
from zapline.sql.cluster.membership import inbox_channel, notify
from zapline.sql.journal.schema import Arrival
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool

PUT_WITHIN = 1.0
"""Seconds for which a webhook's answer waits for the inbox, once the journal has it."""
_MOST_ENTRIES, _MOST_BYTES = 256, 2 * 2**20
"""Of one transaction; one larger webhook goes alone."""
_WAKE_EVERY = 0.02
"""Seconds between two wake-ups of the same nodes: commits that notify wait for each other."""
_RETRY_PAUSE = 0.25
_LOG = structlog.get_logger(scope="Inbox")


@dataclass(slots=True, eq=False)
class _Waiting:
    arrivals: Sequence[Arrival]
    replayed: bool
    done: trio.Event = field(default_factory=trio.Event)
    abandoned: bool = False


class SharedInbox:
    """One for the process. ``run`` puts in what ``put`` is given.

    ``connect`` opens a connection as the engine. ``on_own``: called when something was put in for units of ``node``,
    which is this process's own.
    """

    def __init__(
        self, pool: Pool, connect: Callable[[], Awaitable[Connection]], node: Callable[[], UUID | None]
    ) -> None:
        self._pool = pool
        self._connect = connect
        self._node = node
        self.on_own: Callable[[], None] = lambda: None
        self._queue: deque[_Waiting] = deque()  # bounded by the requests in flight
        self._arrived, self._to_wake = trio.Event(), trio.Event()
        self._owners: set[UUID] = set()
        self.is_away = False
        """The last transaction failed: nobody waits for the next one but who has nothing else to do."""

    async def put(self, arrivals: Sequence[Arrival], within: float = PUT_WITHIN, *, replayed: bool = False) -> bool:
        """Put webhooks in; False if that is not known to have happened within so many seconds.

        With ``within`` infinite it returns once they are in, however long the database is away. A cancellation
        withdraws them, unless they are being stored.
        """
        waiting = _Waiting(arrivals, replayed)
        if self.is_away and within <= PUT_WITHIN:
            return False
        self._queue.append(waiting)
        self._arrived.set()
        try:
            with trio.move_on_after(within):
                await waiting.done.wait()
        finally:
            if not waiting.done.is_set():
                waiting.abandoned = True
                if waiting in self._queue:
                    self._queue.remove(waiting)
        return waiting.done.is_set()

    async def has_waiting(self, unit: UnitId, until: float) -> bool:
        """Whether something waits that was put in for a unit before ``until`` (UTC seconds).

        Raises DatabaseUnavailable, StatementFailed.
        """
        async with self._pool.connection() as conn:
            return await inbox.has_waiting(conn, unit, until)

    async def run(self) -> None:
        """Put in what is given, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wake_owners)
            await self._put_all()

    async def _put_all(self) -> None:
        connection: Connection | None = None
        try:
            while True:
                await self._arrived.wait()
                batch = self._next_batch()
                if not batch:
                    self._arrived = trio.Event()
                    continue
                try:
                    if connection is None or connection.closed:
                        connection = await self._connect()
                    arrivals = [arrival for each in batch for arrival in each.arrivals]
                    again = [each.replayed for each in batch for _ in each.arrivals]
                    owners = await inbox.put(connection, arrivals, [place for place, old in enumerate(again) if old])
                except RemoteError as failure:
                    if not self.is_away:
                        _LOG.warning("Webhooks have one copy only: the inbox takes none", error=str(failure))
                    self.is_away = True
                    self._queue.extendleft(each for each in reversed(batch) if not each.abandoned)
                    await trio.sleep(_RETRY_PAUSE)
                    continue
                if self.is_away:
                    _LOG.info("The inbox takes webhooks again")
                self.is_away = False
                for each in batch:
                    each.done.set()
                self._owners |= owners
                self._to_wake.set()
        finally:
            if connection is not None:
                connection.abort()

    def _next_batch(self) -> list[_Waiting]:
        batch, entries, size = list[_Waiting](), 0, 0
        while self._queue and (not batch or (entries < _MOST_ENTRIES and size < _MOST_BYTES)):
            batch.append(waiting := self._queue.popleft())
            entries += len(waiting.arrivals)
            size += sum(len(arrival.body) for arrival in waiting.arrivals)
        return batch

    async def _wake_owners(self) -> None:
        """Wake the owners of what was put in. They look by themselves four times a second, too."""
        while True:
            await self._to_wake.wait()
            self._to_wake, owners, self._owners = trio.Event(), self._owners, set()
            if (own := self._node()) in owners:
                owners.discard(own)
                self.on_own()
            if owners:
                try:
                    async with self._pool.connection() as conn:
                        await notify(conn, [inbox_channel(owner) for owner in owners])
                except RemoteError as failure:
                    _LOG.debug("Nodes are not woken", error=str(failure))
            await trio.sleep(_WAKE_EVERY)
