"""A connection to PostgreSQL for trio's tasks: statements, transactions, cancellation and errors."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeAlias, TypedDict, TypeVar, Unpack, cast

import trio
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict

from zapline.domain.errors import ConfigurationError, DatabaseUnavailable, LocalError, RemoteError
from zapline.sql.postgres.database_errors import CommitUnknown, StatementFailed, translate
from zapline.sql.postgres.psycopg_on_trio import Cursor, Params, TrioConnection, open_connection

# A commit waits for the disk; after this its outcome is reported as unknown.
COMMIT_SECONDS = 15.0
ROLLBACK_SECONDS = 5.0
# The server's own statement_timeout ends first; this is for a server that does not answer at all.
ANSWER_MARGIN_SECONDS = 5.0
# Preparing pays from the third use on.
PREPARE_AFTER = 2
# The server notices within some ten seconds that our host is gone, and then lets go of locks and transactions; with its
# own settings that can take two hours. The host of a process that stands still answers keepalives all the same: for
# that there are the timeouts of idle sessions.
SERVER_SETTINGS = """
set tcp_keepalives_idle = 5; set tcp_keepalives_interval = 2; set tcp_keepalives_count = 3;
set tcp_user_timeout = '10s'; set timezone = 'UTC'
"""

Row: TypeAlias = Any
"""A named tuple with one field per column."""
T = TypeVar("T")


class Connection:
    """One session, used by one task at a time (others wait for their turn).

    Outside ``transaction()`` each statement commits by itself. Every method raises ``DatabaseUnavailable``
    when the server is lost or does not answer, and ``StatementFailed`` when it rejects the statement.
    Cancelling a statement cancels it on the server and keeps the connection usable, or closes it; a cancelled
    statement may have taken effect.
    """

    def __init__(self, driver: TrioConnection, answer_seconds: float) -> None:
        self._driver = driver
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
        return self._driver.closed

    @property
    def lost(self) -> bool:
        """Closed because the server ended the connection or stopped answering, not by us."""
        return self._lost

    @property
    def clean(self) -> bool:
        """Open and outside any transaction."""
        return self._driver.idle

    async def execute(self, statement: str, params: Params = None) -> int:
        """Run a statement and return the number of affected rows (-1 where that has no meaning).

        Without ``params`` the text may hold several statements. With ``params`` placeholders read
        ``%(name)s`` or ``%s``, and a percent sign is written twice.
        """
        return int((await self._run(statement, params)).rowcount)

    async def fetch(self, statement: str, params: Params = None) -> list[Row]:
        """All rows (perhaps none) as named tuples: jsonb decoded, ``uuid.UUID``, aware ``datetime`` in UTC."""
        cursor = await self._run(statement, params)
        if cursor.description is None:
            return []
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

    async def is_pooled(self) -> bool:
        """Whether a pooler stands in between: what answers is not the process that the connection was opened to."""
        row = await self.fetch_one("select pg_backend_pid() as pid")
        assert row is not None
        return bool(row.pid != self._driver.info.backend_pid)

    async def try_advisory_lock(self, key: int, *, shared: bool = False) -> bool:
        """Take the session's advisory lock, alone or with others; it is held until this connection ends."""
        kind = "_shared" if shared else ""
        row = await self.fetch_one(f"select pg_try_advisory_lock{kind}(%s::bigint) as taken", (key,))
        assert row is not None
        return bool(row.taken)

    async def listen(self, channels: Sequence[str]) -> None:
        for channel in channels:
            await self._run(sql.SQL("listen {}").format(sql.Identifier(channel)), None)

    async def notifications(self) -> list[tuple[str, str]]:
        """Wait, without a deadline, for at least one notification: (channel, payload) in order."""
        while not self._driver.received:
            await self._exchange(self._driver.wait_for_notification, within=float("inf"))
        received = list(self._driver.received)
        self._driver.received.clear()
        return received

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Commit at the end, roll back after any error or cancellation. Does not nest.

        A cancellation before the commit was sent rolls back; a later one waits for the commit.
        Raises ``CommitUnknown`` when the commit was not answered.
        """
        if not self.closed and not self.clean:
            raise LocalError("transactions do not nest")
        try:
            await self._exchange(self._driver.command, b"begin")
            yield
            await trio.lowlevel.checkpoint_if_cancelled()
        except BaseException:
            await self._roll_back()
            raise
        await self._commit()

    async def close(self) -> None:
        """End the session; an open transaction is rolled back by the server. Cannot be cancelled."""
        self._driver.close_now()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def abort(self) -> None:
        """Close at once and without a checkpoint."""
        self._driver.close_now()

    def is_alive(self) -> bool:
        """Check without a round trip whether the server has ended the idle connection."""
        if self.closed:
            return False
        try:
            self._driver.read_pending()
        except errors.Error:
            self._mark_lost()
        return not self.closed

    async def _run(self, statement: Any, params: Params) -> Cursor:
        return await self._exchange(self._driver.run, statement, params)

    async def _exchange(self, operation: Callable[..., Awaitable[T]], *args: Any, within: float | None = None) -> T:
        """Run one operation on the server under the lock and the deadline, and translate its errors."""
        lock = cast(trio.Lock, self._driver.lock)
        if lock.locked():
            await lock.acquire()
        else:
            lock.acquire_nowait()  # saves one pass of the event loop
        deadline = trio.current_time() + (self._answer_seconds if within is None else within)
        try:
            with trio.CancelScope(deadline=deadline):
                return await operation(*args)
            failure: RemoteError = DatabaseUnavailable("the server did not answer in time")
        except (errors.Error, UnicodeEncodeError) as error:
            failure = self._translate(error)
        finally:
            lock.release()
        raise failure  # outside the handler: psycopg's own error quotes values and must not be chained

    def _translate(self, error: Exception) -> DatabaseUnavailable | StatementFailed:
        failure = translate(error)
        if isinstance(failure, DatabaseUnavailable):
            self._mark_lost()
        return failure

    def _mark_lost(self) -> None:
        self._lost = True
        self._driver.close_now()

    async def _finish(self, command: bytes, within: float) -> RemoteError | None:
        """End the transaction, shielded; an error is returned."""
        with trio.move_on_after(within, shield=True) as scope:
            try:
                await self._driver.command(command)
            except errors.Error as error:
                return self._translate(error)
        if scope.cancelled_caught:
            self._mark_lost()
            return DatabaseUnavailable("no answer in time")
        return None

    async def _roll_back(self) -> None:
        """Leave the transaction in any case, by closing the connection if necessary."""
        if not self.closed and not self.clean:
            await self._finish(b"rollback", ROLLBACK_SECONDS)
            if not self.clean:
                self._driver.close_now()

    async def _commit(self) -> None:
        if self.closed:
            raise DatabaseUnavailable("the connection was lost before the commit")
        if not self._driver.in_transaction:
            await self._roll_back()
            raise StatementFailed("25P02", "a statement had failed: the transaction was rolled back")
        failure = await self._finish(b"commit", COMMIT_SECONDS)
        if isinstance(failure, DatabaseUnavailable):
            raise CommitUnknown(f"no answer to the commit: {failure}")
        if failure is not None:
            await self._roll_back()
            raise failure


class ConnectOptions(TypedDict, total=False):
    """The keyword arguments of ``connect``."""

    role: str | None
    connect_timeout: float
    statement_timeout_ms: int
    lock_timeout_ms: int
    prepare: bool
    application_name: str
    idle_timeout_ms: int
    idle_in_transaction_timeout_ms: int


async def connect(url: str, **options: Unpack[ConnectOptions]) -> Connection:
    """Open a session. The caller closes it.

    ``role`` (None) is set with SET ROLE; ``connect_timeout`` (5 s) covers everything up to the first
    response; ``statement_timeout_ms`` (10000) and ``lock_timeout_ms`` (2000) are enforced by the server, 0 is
    none; ``prepare`` (True) must be off behind a pooler in transaction mode, where prepared statements
    belong to another client. Session settings do not survive such a pooler either. The server ends a session that
    sends nothing for ``idle_timeout_ms`` (0: never), or inside a transaction for ``idle_in_transaction_timeout_ms``
    (60000).

    Raises ``DatabaseUnavailable``, ``StatementFailed`` if the role cannot be set, and
    ``ConfigurationError`` for a URL that cannot be read.
    """
    parameters = _parameters(url, options.get("application_name", "zapline"))
    timeout = options.get("connect_timeout", 5.0)
    failure = DatabaseUnavailable(f"no connection to the database within {timeout:g} s")
    with trio.move_on_after(timeout):
        try:
            driver = await open_connection(parameters)
        except errors.Error as error:
            failure = DatabaseUnavailable(" ".join(str(error).split()))
        else:
            try:
                return await _configure(driver, options)
            except BaseException:
                driver.close_now()
                raise
    raise failure


def _parameters(url: str, application_name: str) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "application_name": application_name,
        "gssencmode": "disable",
        # A peer that vanished without closing is noticed within half a minute, also while we write to it.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 25_000,
    }
    try:
        return defaults | conninfo_to_dict(url)
    except errors.Error:
        pass  # its text quotes the URL with the password
    raise ConfigurationError("the database URL cannot be read; it is postgresql://user:password@host:port/name")


async def _configure(driver: TrioConnection, options: ConnectOptions) -> Connection:
    statement_timeout = options.get("statement_timeout_ms", 10_000)
    role = options.get("role")
    driver.prepare_threshold = PREPARE_AFTER if options.get("prepare", True) else None
    answer_seconds = statement_timeout / 1000 + ANSWER_MARGIN_SECONDS if statement_timeout else float("inf")
    connection = Connection(driver, answer_seconds)
    limits = {
        "statement_timeout": statement_timeout,
        "lock_timeout": options.get("lock_timeout_ms", 2000),
        "idle_session_timeout": options.get("idle_timeout_ms", 0),
        "idle_in_transaction_session_timeout": options.get("idle_in_transaction_timeout_ms", 60_000),
    }
    settings = sql.SQL("").join(
        sql.SQL("set {} = {};").format(sql.Identifier(name), sql.Literal(limit)) for name, limit in limits.items()
    ) + sql.SQL(SERVER_SETTINGS)
    if role is not None:
        settings += sql.SQL("; set role {}").format(sql.Identifier(role))
    try:
        await connection._run(settings, None)
    except StatementFailed as failed:
        # The server reports a missing role as an invalid value (22023), which would mean poison.
        code = "42704" if failed.sqlstate == "22023" else failed.sqlstate
        refused = StatementFailed(code, f"role {role} cannot be taken: {failed.text}")
    else:
        return connection
    raise refused
