"""Lends a bounded number of database connections, and drops those that the server has closed."""

import copy
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self, Unpack

import trio

from zapline.domain.errors import DatabaseUnavailable, RemoteError
from zapline.sql.postgres.connection import Connection, ConnectOptions, connect


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """Counts at one moment, and totals since the pool was opened."""

    size: int
    idle: int
    in_use: int
    opening: int
    waiting: int
    opened_total: int
    dropped_total: int
    timeouts_total: int


class _Waiter:
    """A waiting task, which is woken with a connection or an error."""

    __slots__ = ("connection", "error", "woken")

    def __init__(self) -> None:
        self.woken = trio.Event()
        self.connection: Connection | None = None
        self.error: RemoteError | None = None

    def wake(self, *, connection: Connection | None = None, error: RemoteError | None = None) -> None:
        self.connection, self.error = connection, error
        self.woken.set()


class Pool:
    """Created by ``Pool.open``. Connections are opened when they are needed, so the database may be down.

    Session state (locks, settings, listening) stays with the connection, so use ``connect`` for that.
    """

    def __init__(self, nursery: trio.Nursery, url: str, size: int, patience: float, options: ConnectOptions) -> None:
        self._nursery = nursery
        self._url = url
        self._size = size
        self._patience = patience
        self._options = options
        self._idle: list[Connection] = []
        self._waiters: deque[_Waiter] = deque()  # bounded by the calling tasks, each with a timeout
        self._in_use = self._opening = 0
        self._opened = self._dropped = self._timeouts = 0
        self._closing = False

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: str, *, size: int = 8, patience: float = 5.0, **options: Unpack[ConnectOptions]
    ) -> AsyncIterator[Self]:
        """``patience``: seconds that ``connection()`` waits. ``options`` are those of ``connect``.

        At the end idle connections are closed, and borrowed ones when they are returned. Errors of the body
        are raised in an ``ExceptionGroup``, as from any nursery.
        """
        async with trio.open_nursery() as nursery:
            pool = cls(nursery, url, size, patience, options)
            try:
                yield pool
            finally:
                pool._close()
                nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Borrow a connection; waits at most ``patience`` seconds, first come first served.

        Raises ``DatabaseUnavailable`` when none is free in time or the server refuses, and
        ``StatementFailed`` when the role cannot be set.
        """
        connection = self._take_idle() or await self._wait_for_one()
        try:
            yield connection
        finally:
            self._in_use -= 1
            self._put_back(connection)

    @property
    def role(self) -> str | None:
        """The role that its connections were opened with."""
        return self._options.get("role")

    def statistics(self) -> PoolStatistics:
        return PoolStatistics(
            size=self._size,
            idle=len(self._idle),
            in_use=self._in_use,
            opening=self._opening,
            waiting=len(self._waiters),
            opened_total=self._opened,
            dropped_total=self._dropped,
            timeouts_total=self._timeouts,
        )

    def _take_idle(self) -> Connection | None:
        if self._waiters:
            return None  # waiting tasks come first
        while self._idle:
            connection = self._idle.pop()
            if connection.is_alive():
                self._in_use += 1
                return connection
            self._dropped += 1
        return None

    async def _wait_for_one(self) -> Connection:
        waiter = _Waiter()
        self._waiters.append(waiter)
        self._open_if_wanted()
        try:
            with trio.move_on_after(self._patience):
                await waiter.woken.wait()
        except BaseException:
            if waiter.connection is not None:  # handed over after the cancellation, before it was delivered
                self._in_use -= 1
                self._put_back(waiter.connection)
            raise
        finally:
            if not waiter.woken.is_set():
                self._waiters.remove(waiter)
        if waiter.connection is not None:
            return waiter.connection
        if waiter.error is not None:
            raise waiter.error
        self._timeouts += 1
        raise DatabaseUnavailable(f"no database connection came free within {self._patience:g} s")

    def _put_back(self, connection: Connection) -> None:
        if connection.lost:  # the server has gone, so idle connections are closed, too
            self._drop_idle()
        if self._closing or not connection.clean:
            connection.abort()
            self._dropped += 1
            self._open_if_wanted()
        elif self._waiters:
            self._in_use += 1
            self._waiters.popleft().wake(connection=connection)
        else:
            self._idle.append(connection)

    def _open_if_wanted(self) -> None:
        """Open connections in tasks of their own, so that a caller's deadline does not interrupt this."""
        room = self._size - self._in_use - self._opening - len(self._idle)
        missing = len(self._waiters) - self._opening
        if self._closing:
            return
        for _ in range(min(room, missing)):
            self._opening += 1
            self._nursery.start_soon(self._open_one)

    async def _open_one(self) -> None:
        error: RemoteError | None = None
        try:
            connection = await connect(self._url, **self._options)
        except RemoteError as refused:
            error = refused
        finally:
            self._opening -= 1
        if error is None:
            self._opened += 1
            self._put_back(connection)
        elif self._in_use == 0:
            # No connection can be returned to the waiting tasks; otherwise their timeout decides.
            while self._waiters:
                self._waiters.popleft().wake(error=copy.copy(error))

    def _drop_idle(self) -> None:
        for connection in self._idle:
            connection.abort()
        self._dropped += len(self._idle)
        self._idle.clear()

    def _close(self) -> None:
        self._closing = True
        self._drop_idle()
        while self._waiters:
            self._waiters.popleft().wake(error=DatabaseUnavailable("the pool is closed"))
