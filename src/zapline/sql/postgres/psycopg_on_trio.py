"""Runs psycopg's protocol on trio: waiting, cancelling, connecting, and the types of values.

The only file that uses psycopg's internals (its protocol generators and private connection methods),
hence the narrow pin ``psycopg>=3.3,<3.4``. It raises psycopg's errors; ``connection`` translates them.
"""

from collections import deque
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar, cast

import msgspec
import psycopg
import trio
from psycopg import errors, generators, pq, waiting
from psycopg._conninfo_utils import split_attempts
from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap, Dumper, Loader
from psycopg.conninfo import make_conninfo
from psycopg.rows import namedtuple_row

if pq.version() < 170000:  # only libpq 17 can cancel a statement without blocking the loop
    raise ImportError(f"libpq 17 or newer is needed, found {pq.version()}: install psycopg[binary]")

# Time to cancel a statement on the server and read its result; after that the connection is closed.
# Long enough for a busy server, short enough for a shutdown.
CANCEL_SECONDS = 2.0

Params: TypeAlias = Mapping[str, object] | Sequence[object] | None
Cursor: TypeAlias = psycopg.AsyncCursor[Any]
T = TypeVar("T")

_STATUS = pq.TransactionStatus
_USABLE = (_STATUS.IDLE, _STATUS.INTRANS, _STATUS.INERROR)


@dataclass(frozen=True, slots=True)
class Json:
    """Encoded JSON, sent as jsonb without a change."""

    encoded: bytes


class _JsonDumper(Dumper):
    format = pq.Format.BINARY  # carries its length, so that a NUL byte cannot truncate it
    oid = psycopg.adapters.types["jsonb"].oid

    def dump(self, obj: Json) -> Buffer:
        return b"\x01" + obj.encoded


class _JsonLoader(Loader):
    def load(self, data: Buffer) -> Any:
        return msgspec.json.decode(data)


def _adapters() -> AdaptersMap:
    adapters = AdaptersMap(psycopg.adapters)
    adapters.register_dumper(Json, _JsonDumper)
    adapters.register_loader("json", _JsonLoader)
    adapters.register_loader("jsonb", _JsonLoader)
    return adapters


_ADAPTERS = _adapters()


async def _ready(fd: int, want: int) -> int:
    """Wait until the socket is ready for what libpq wants.

    libpq wants "either" while a large statement is flushed. The server does not respond before it has read
    all of it, so only writing matters; a lost connection wakes the writer too.
    """
    if want == waiting.WAIT_R:
        await trio.lowlevel.wait_readable(fd)
        return waiting.READY_R
    await trio.lowlevel.wait_writable(fd)
    return waiting.READY_W


async def _run_generator(gen: Generator[Any, int, T], fd: int | None = None) -> T:
    """Run one of psycopg's generators on one socket. Cancellation leaves it unfinished.

    ``fd`` None: the generator connects or cancels, and names the socket each time, since libpq may change it.
    """
    try:
        step = next(gen)
        while True:
            socket, want = (fd, step) if fd is not None else step
            step = gen.send(await _ready(socket, want))
    except StopIteration as done:
        return cast(T, done.value)
    except (OSError, trio.ClosedResourceError) as error:
        raise errors.OperationalError("the socket is closed") from error
    finally:
        gen.close()


class TrioConnection(psycopg.AsyncConnection[Any]):
    """psycopg's connection on trio's event loop, in autocommit mode."""

    def __init__(self, pgconn: Any, row_factory: Any = namedtuple_row) -> None:
        super().__init__(pgconn, row_factory)
        self.lock = trio.Lock()  # type: ignore[assignment]
        self._adapters = AdaptersMap(_ADAPTERS)
        self._autocommit = True
        self.received: deque[tuple[str, str]] = deque()  # notifications; bounded by one read of the socket
        self.add_notify_handler(lambda note: self.received.append((note.channel, note.payload)))

    @property
    def idle(self) -> bool:
        """Open and outside any transaction."""
        return bool(self.pgconn.transaction_status == _STATUS.IDLE)

    @property
    def in_transaction(self) -> bool:
        """Inside a transaction that can still be committed."""
        return bool(self.pgconn.transaction_status == _STATUS.INTRANS)

    async def wait(self, gen: Any, interval: float = 0, timeout: float | None = None) -> Any:
        """Run one of psycopg's generators; when cancelled, its statement is cancelled on the server."""
        await trio.lowlevel.checkpoint_if_cancelled()  # before anything is sent
        try:
            return await _run_generator(gen, self.pgconn.socket)
        except trio.Cancelled:
            await self._cancel_statement()
            raise

    async def run(self, statement: Any, params: Params) -> Cursor:
        cursor = self.cursor()
        await self.wait(cursor._execute_gen(statement, params))
        return cursor

    async def command(self, command: bytes) -> None:
        """Run a statement without parameters or rows over the simple protocol."""
        await self.wait(self._exec_command(command))

    async def wait_for_notification(self) -> None:
        await self.wait(generators.notifies(self.pgconn))

    def read_pending(self) -> None:
        """Read what has arrived, without waiting. The second read detects a close after a last message."""
        self.pgconn.consume_input()
        self.pgconn.consume_input()

    async def _cancel_statement(self) -> None:
        """Cancel the statement on the server and read its result, or else close the connection.

        The interrupted generator is not resumed, because it might send the next command.
        """
        if self.pgconn.transaction_status == _STATUS.ACTIVE:
            with trio.move_on_after(CANCEL_SECONDS, shield=True):
                try:
                    await _run_generator(self._cancel_gen())
                    await _run_generator(generators.execute(self.pgconn), self.pgconn.socket)
                except errors.Error:
                    self.close_now()
        if self.pgconn.transaction_status not in _USABLE:
            self.close_now()

    def close_now(self) -> None:
        """Close without waiting; a task that waits on the socket is woken first."""
        if self.pgconn.status == pq.ConnStatus.OK:
            trio.lowlevel.notify_closing(self.pgconn.socket)
        self._closed = True
        self.pgconn.finish()


async def open_connection(parameters: dict[str, Any]) -> TrioConnection:
    """Try each address in turn. Raises the last ``psycopg.OperationalError``; has no deadline of its own."""
    failure: Exception = errors.OperationalError("the database URL names no host")
    for attempt in split_attempts(parameters):
        host = attempt.get("host")
        addresses: list[dict[str, Any]] = [dict(attempt)]
        if host and not str(host).startswith("/") and not attempt.get("hostaddr"):
            try:  # libpq would block the event loop during the DNS query
                found = await trio.socket.getaddrinfo(str(host), None, type=trio.socket.SOCK_STREAM)
                addresses = [{**attempt, "hostaddr": item[4][0]} for item in found]
            except OSError as error:
                failure = errors.OperationalError(f"host {host} cannot be resolved: {error}")
                continue
        for address in addresses:
            try:
                return await _run_generator(cast(Any, TrioConnection._connect_gen(make_conninfo("", **address))))
            except errors.Error as error:
                failure = error
    raise failure
