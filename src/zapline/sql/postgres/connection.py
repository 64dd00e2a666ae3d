"""Carries statements to PostgreSQL for trio's tasks: one connection, its transactions, and their errors.

How psycopg waits on trio is in ``wire``, what its errors mean in ``failures``, lending connections out in
``pool``, notifications over reconnects in ``listen``.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeAlias, TypedDict, TypeVar, Unpack, cast

import trio
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict

from zapline.domain.errors import ConfigurationError, DatabaseUnavailable, LocalError, RemoteError
from zapline.sql.postgres.database_errors import CommitUnknown, StatementFailed, Trouble, translate, trouble
from zapline.sql.postgres.psycopg_on_trio import Cursor, Json, Params, Wire, dial

__all__ = [
    "CommitUnknown",
    "ConnectOptions",
    "Connection",
    "Json",
    "Params",
    "Row",
    "StatementFailed",
    "Trouble",
    "connect",
    "trouble",
]

# A commit waits for the disk; past this its outcome is reported as unknown.
COMMIT_SECONDS = 15.0
ROLLBACK_SECONDS = 5.0
# The server's own statement_timeout comes first; this is for a server that no longer answers at all.
ANSWER_MARGIN_SECONDS = 5.0
# Preparing pays from the third use on.
PREPARE_AFTER = 2

Row: TypeAlias = Any
"""A named tuple with one field per column."""
T = TypeVar("T")


class Connection:
    """One session, used by one task at a time (others wait their turn).

    Outside ``transaction()`` each statement commits by itself. Every method raises ``DatabaseUnavailable``
    when the server is lost or does not answer, and ``StatementFailed`` when it refuses. Cancelling a
    statement cancels it on the server and keeps the connection usable, or closes it; a cancelled statement
    may have taken effect.
    """

    def __init__(self, wire: Wire, answer_seconds: float) -> None:
        self._wire = wire
        self._answer_seconds = answer_seconds
        self._lost = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def closed(self) -> bool:
        return self._wire.closed

    @property
    def lost(self) -> bool:
        """Closed because the server went away or fell silent, not by us."""
        return self._lost

    @property
    def clean(self) -> bool:
        """Open, and outside any transaction."""
        return self._wire.idle

    async def execute(self, statement: str, params: Params = None) -> int:
        """Run it and return the number of rows it touched (-1 where that has no meaning).

        Without ``params`` several statements may stand in one text. With ``params`` placeholders read
        ``%(name)s`` or ``%s``, and a percent sign is written twice.
        """
        return int((await self._run(statement, params)).rowcount)

    async def fetch(self, statement: str, params: Params = None) -> list[Row]:
        """All rows as named tuples: jsonb decoded, ``uuid.UUID``, aware ``datetime`` in UTC."""
        cursor = await self._run(statement, params)
        try:
            return await cursor.fetchall()
        except errors.Error as error:
            failure = translate(error)
        raise failure

    async def fetch_one(self, statement: str, params: Params = None) -> Row | None:
        """The first row, or None."""
        rows = await self.fetch(statement, params)
        return rows[0] if rows else None

    async def ping(self) -> None:
        """One round trip."""
        await self.execute("select 1")

    async def try_advisory_lock(self, key: int) -> bool:
        """Take the session's advisory lock; it is held until this connection ends."""
        row = await self.fetch_one("select pg_try_advisory_lock(%s::bigint) as taken", (key,))
        assert row is not None
        return bool(row.taken)

    async def listen(self, channels: Sequence[str]) -> None:
        for channel in channels:
            await self._run(sql.SQL("listen {}").format(sql.Identifier(channel)), None)

    async def notifications(self) -> list[tuple[str, str]]:
        """Wait, without a deadline, for at least one notification: (channel, payload) in order."""
        while not self._wire.heard:
            await self._exchange(self._wire.hear, within=float("inf"))
        heard = list(self._wire.heard)
        self._wire.heard.clear()
        return heard

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Commit at the end, roll back after any error or cancellation. Does not nest.

        A cancellation that comes before the commit was sent rolls back; one that comes later waits for it.
        Raises ``CommitUnknown`` when the commit's answer did not come.
        """
        if not self.closed and not self.clean:
            raise LocalError("transactions do not nest")
        try:
            await self._exchange(self._wire.command, b"begin")
            yield
            await trio.lowlevel.checkpoint_if_cancelled()
        except BaseException:
            await self._roll_back()
            raise
        await self._commit()

    async def close(self) -> None:
        """End the session; an open transaction is rolled back by the server. Cannot be cancelled."""
        self._wire.shut()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def abort(self) -> None:
        """The same, at once and without a checkpoint."""
        self._wire.shut()

    def looks_alive(self) -> bool:
        """Without a round trip: has the server said goodbye while the connection was idle?"""
        if self.closed:
            return False
        try:
            self._wire.take_in()
        except errors.Error:
            self._lose()
        return not self.closed

    async def _run(self, statement: Any, params: Params) -> Cursor:
        return await self._exchange(self._wire.run, statement, params)

    async def _exchange(self, talk: Callable[..., Awaitable[T]], *args: Any, within: float | None = None) -> T:
        """One exchange with the server: in turn, in time, with our errors."""
        lock = cast(trio.Lock, self._wire.lock)
        if lock.locked():
            await lock.acquire()
        else:
            lock.acquire_nowait()  # a trip round the loop less
        deadline = trio.current_time() + (self._answer_seconds if within is None else within)
        try:
            with trio.CancelScope(deadline=deadline):
                return await talk(*args)
            failure: RemoteError = DatabaseUnavailable("the server did not answer in time")
        except (errors.Error, UnicodeEncodeError) as error:
            failure = self._failed(error)
        finally:
            lock.release()
        raise failure  # outside the handler: psycopg's own error quotes values and must not be chained

    def _failed(self, error: Exception) -> DatabaseUnavailable | StatementFailed:
        failure = translate(error)
        if isinstance(failure, DatabaseUnavailable):
            self._lose()
        return failure

    def _lose(self) -> None:
        self._lost = True
        self._wire.shut()

    async def _finish(self, command: bytes, within: float) -> RemoteError | None:
        """End the transaction, shielded; what went wrong is returned."""
        with trio.move_on_after(within, shield=True) as scope:
            try:
                await self._wire.command(command)
            except errors.Error as error:
                return self._failed(error)
        if scope.cancelled_caught:
            self._lose()
            return DatabaseUnavailable("no answer in time")
        return None

    async def _roll_back(self) -> None:
        """Leave the transaction whatever it takes; closing the connection does it too."""
        if not self.closed and not self.clean:
            await self._finish(b"rollback", ROLLBACK_SECONDS)
            if not self.clean:
                self._wire.shut()

    async def _commit(self) -> None:
        if self.closed:
            raise DatabaseUnavailable("the connection was lost before the commit")
        if not self._wire.in_transaction:
            await self._roll_back()
            raise StatementFailed("25P02", "a statement had failed: the transaction was rolled back")
        failure = await self._finish(b"commit", COMMIT_SECONDS)
        if isinstance(failure, DatabaseUnavailable):
            raise CommitUnknown(f"no answer to the commit: {failure}")
        if failure is not None:
            await self._roll_back()
            raise failure


class ConnectOptions(TypedDict, total=False):
    """The keywords of ``connect``, for those who hand them on."""

    role: str | None
    connect_timeout: float
    statement_timeout_ms: int
    lock_timeout_ms: int
    prepare: bool
    application_name: str


async def connect(url: str, **options: Unpack[ConnectOptions]) -> Connection:
    """Open a session. The caller closes it.

    ``role`` (None) is taken with SET ROLE; ``connect_timeout`` (5 s) covers everything up to the first
    answer; ``statement_timeout_ms`` (10000) and ``lock_timeout_ms`` (2000) are enforced by the server, 0 is
    none; ``prepare`` (True) is to be off behind a pooler in transaction mode, where prepared statements
    belong to somebody else. Session settings do not survive such a pooler either.

    Raises ``DatabaseUnavailable``, ``StatementFailed`` if the role may not be taken, and
    ``ConfigurationError`` for a URL that cannot be read.
    """
    wanted = _parameters(url, options.get("application_name", "zapline"))
    timeout = options.get("connect_timeout", 5.0)
    failure = DatabaseUnavailable(f"no connection to the database within {timeout:g} s")
    with trio.move_on_after(timeout):
        try:
            wire = await dial(wanted)
        except errors.Error as error:
            failure = DatabaseUnavailable(" ".join(str(error).split()))
        else:
            try:
                return await _settle(wire, options)
            except BaseException:
                wire.shut()
                raise
    raise failure


def _parameters(url: str, application_name: str) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "application_name": application_name,
        "gssencmode": "disable",
        # A peer that vanished without a word is noticed within a minute.
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
    }
    try:
        return defaults | conninfo_to_dict(url)
    except errors.Error:
        pass  # its text quotes the URL, password and all
    raise ConfigurationError("the database URL cannot be read; it is postgresql://user:password@host:port/name")


async def _settle(wire: Wire, options: ConnectOptions) -> Connection:
    statement_timeout = options.get("statement_timeout_ms", 10_000)
    role = options.get("role")
    wire.prepare_threshold = PREPARE_AFTER if options.get("prepare", True) else None
    answer_seconds = statement_timeout / 1000 + ANSWER_MARGIN_SECONDS if statement_timeout else float("inf")
    connection = Connection(wire, answer_seconds)
    words = sql.SQL("set statement_timeout = {}; set lock_timeout = {}; set timezone = 'UTC'").format(
        sql.Literal(statement_timeout), sql.Literal(options.get("lock_timeout_ms", 2000))
    )
    if role is not None:
        words += sql.SQL("; set role {}").format(sql.Identifier(role))
    try:
        await connection._run(words, None)
    except StatementFailed as failed:
        # The server calls a role that is not there an invalid value (22023), which would read as poison.
        code = "42704" if failed.sqlstate == "22023" else failed.sqlstate
        refused = StatementFailed(code, f"role {role} cannot be taken: {failed.text}")
    else:
        return connection
    raise refused
