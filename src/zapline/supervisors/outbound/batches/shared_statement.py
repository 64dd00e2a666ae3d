"""Runs what many tasks ask of the database at about the same time in one statement, each with a result of its own."""

import copy
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import trio

from zapline.domain.errors import DatabaseUnavailable, RemoteError
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.database_errors import StatementFailed
from zapline.sql.postgres.pool import Pool

_MOST = 100
"""Items of one statement: enough to share the commit, few enough to hold their locks for milliseconds."""
_TURN = 0.1
"""Seconds after which the next statement no longer waits for the one before: that one may be held up by a lock."""
_AT_ONCE = 3
"""Statements at a time: the pool's other connections are for whoever reads."""
_LOCK_MS = 1000
"""How long many wait for one's lock; then each is tried alone, and only those wait that need it."""
Item = TypeVar("Item")
Result = TypeVar("Result")
Execute = Callable[[Connection, Sequence[Item], int | None], Awaitable[Sequence[Result]]]


class Interrupted(DatabaseUnavailable):
    """The task that ran the statement for others too was cancelled; it may have been carried out."""


class _Waiting(Generic[Item, Result]):
    """``alone``: the statement that it was part of was refused as a whole, and nothing of it was done."""

    __slots__ = ("alone", "failure", "item", "result", "turn")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.turn = trio.Event()
        self.alone = False
        self.result: list[Result] = []
        self.failure: RemoteError | None = None

    @property
    def settled(self) -> bool:
        return self.alone or bool(self.result) or self.failure is not None


class SharedStatement(Generic[Item, Result]):
    """Whoever comes first runs the statement for all that wait; what comes meanwhile is for the next of them.

    ``execute`` runs one statement for several items, all or none, and returns their results in the same order; its last
    argument is how long (ms) it waits for a lock, None: as long as the connection does.
    """

    def __init__(self, pool: Pool, execute: Execute[Item, Result]) -> None:
        self._pool = pool
        self._execute = execute
        self._waiting: deque[_Waiting[Item, Result]] = deque()  # bounded by the tasks that call
        self._running = 0

    async def run(self, item: Item) -> Result:
        """The result of one item; one that is refused fails alone.

        Raises what the connection raises, and Interrupted. Where that is DatabaseUnavailable, and where the caller is
        cancelled, the statement may have been carried out.
        """
        mine: _Waiting[Item, Result] = _Waiting(item)
        self._waiting.append(mine)
        overdue = False
        try:
            while not mine.settled:
                if mine in self._waiting and self._running < (_AT_ONCE if overdue else 1):
                    await self._run_waiting()
                    continue
                mine.turn = trio.Event()
                with trio.move_on_after(_TURN) as waiting:
                    await mine.turn.wait()
                overdue = waiting.cancelled_caught
        finally:
            if mine in self._waiting:
                self._waiting.remove(mine)
                self._call_next()
        if mine.failure is not None:
            raise mine.failure
        if mine.result:
            return mine.result[0]
        return await self.run_alone(item)

    async def run_alone(self, item: Item) -> Result:
        """The same in a statement of its own, which nobody else can interrupt."""
        async with self._pool.connection() as conn:
            return (await self._execute(conn, [item], None))[0]

    async def _run_waiting(self) -> None:
        """Run the statement for what waits, in the order in which it came."""
        batch = [self._waiting.popleft() for _ in range(min(_MOST, len(self._waiting)))]
        self._running += 1
        try:
            async with self._pool.connection() as conn:
                items = [one.item for one in batch]
                results = await self._execute(conn, items, _LOCK_MS if len(batch) > 1 else None)
            for one, result in zip(batch, results, strict=True):
                one.result.append(result)
        except StatementFailed as refused:
            if len(batch) == 1:
                batch[0].failure = refused
            for one in batch:
                one.alone = True
        except RemoteError as away:
            for one in batch:
                one.failure = copy.copy(away)
        finally:
            self._running -= 1
            for one in batch:
                if not one.settled:
                    one.failure = Interrupted("the task that ran the statement was cancelled")
                one.turn.set()
            self._call_next()

    def _call_next(self) -> None:
        if self._waiting:
            self._waiting[0].turn.set()
