"""psycopg's protocol on trio: the waiting, the cancelling, the dialling, and the types of values.

The only file that touches psycopg's internals (its protocol generators and private connection methods),
hence the narrow pin ``psycopg>=3.3,<3.4``. It raises psycopg's errors; ``driver`` translates them.
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

# A statement that must be given up has this long to be cancelled on the server and drained; after that its
# connection is closed. Long enough for a busy server, short enough for a shutdown.
ABANDON_SECONDS = 2.0

Params: TypeAlias = Mapping[str, object] | Sequence[object] | None
Cursor: TypeAlias = psycopg.AsyncCursor[Any]
T = TypeVar("T")

_STATUS = pq.TransactionStatus
_USABLE = (_STATUS.IDLE, _STATUS.INTRANS, _STATUS.INERROR)


@dataclass(frozen=True, slots=True)
class Json:
    """Encoded JSON, sent as jsonb just as it is."""

    encoded: bytes


class _JsonDumper(Dumper):
    format = pq.Format.BINARY  # has a length of its own, so that a stray NUL byte cannot cut it short
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
    """Wait for what libpq asks.

    "Either" is asked while a large statement is flushed. The server does not talk back before it has read
    the whole of it, so writing is what matters; a lost connection wakes the writer too.
    """
    if want == waiting.WAIT_R:
        await trio.lowlevel.wait_readable(fd)
        return waiting.READY_R
    await trio.lowlevel.wait_writable(fd)
    return waiting.READY_W


async def _converse(gen: Generator[int, int, T], fd: int) -> T:
    """Run one of psycopg's generators on a socket that stays the same. Cancellation leaves it half done."""
    try:
        want = next(gen)
        while True:
            want = gen.send(await _ready(fd, want))
    except StopIteration as done:
        return cast(T, done.value)
    except (OSError, trio.ClosedResourceError) as error:
        raise errors.OperationalError("the socket is closed") from error
    finally:
        gen.close()


async def _converse_roaming(gen: Generator[tuple[int, int], int, T]) -> T:
    """The same for connecting and cancelling, where libpq may change the socket between two waits."""
    try:
        fd, want = next(gen)
        while True:
            fd, want = gen.send(await _ready(fd, want))
    except StopIteration as done:
        return cast(T, done.value)
    except (OSError, trio.ClosedResourceError) as error:
        raise errors.OperationalError("the socket is closed") from error
    finally:
        gen.close()


class Wire(psycopg.AsyncConnection[Any]):
    """psycopg's connection with trio for its event loop. It commits each statement by itself."""

    def __init__(self, pgconn: Any, row_factory: Any = namedtuple_row) -> None:
        super().__init__(pgconn, row_factory)
        self.lock = trio.Lock()  # type: ignore[assignment]
        self._adapters = AdaptersMap(_ADAPTERS)
        self._autocommit = True
        self.heard: deque[tuple[str, str]] = deque()  # bounded by what one read of the socket brings
        self.add_notify_handler(lambda note: self.heard.append((note.channel, note.payload)))

    @property
    def idle(self) -> bool:
        """Open and outside any transaction."""
        return bool(self.pgconn.transaction_status == _STATUS.IDLE)

    @property
    def in_transaction(self) -> bool:
        """Inside a transaction that can still be committed."""
        return bool(self.pgconn.transaction_status == _STATUS.INTRANS)

    async def wait(self, gen: Any, interval: float = 0, timeout: float | None = None) -> Any:
        """Run one of the generators; what it had sent when it was cancelled is cancelled on the server."""
        await trio.lowlevel.checkpoint_if_cancelled()  # before anything is sent
        try:
            return await _converse(gen, self.pgconn.socket)
        except trio.Cancelled:
            await self._abandon()
            raise

    async def run(self, statement: Any, params: Params) -> Cursor:
        cursor = self.cursor()
        await self.wait(cursor._execute_gen(statement, params))
        return cursor

    async def command(self, command: bytes) -> None:
        """One statement without parameters or rows, by the simple protocol."""
        await self.wait(self._exec_command(command))

    async def hear(self) -> None:
        """Wait until the server says something by itself."""
        await self.wait(generators.notifies(self.pgconn))

    def take_in(self) -> None:
        """Read what lies in the socket, without waiting. The second read finds the end behind a farewell."""
        self.pgconn.consume_input()
        self.pgconn.consume_input()

    async def _abandon(self) -> None:
        """Cancel the statement on the server and take its answer, or else close the connection.

        The interrupted generator is not resumed: it might go on to send the next command.
        """
        if self.pgconn.transaction_status == _STATUS.ACTIVE:
            with trio.move_on_after(ABANDON_SECONDS, shield=True):
                try:
                    await _converse_roaming(self._cancel_gen())
                    await _converse(generators.execute(self.pgconn), self.pgconn.socket)
                except errors.Error:
                    self.shut()
        if self.pgconn.transaction_status not in _USABLE:
            self.shut()

    def shut(self) -> None:
        """Close without waiting; a task that still waits on the socket is woken first."""
        if self.pgconn.status == pq.ConnStatus.OK:
            trio.lowlevel.notify_closing(self.pgconn.socket)
        self._closed = True
        self.pgconn.finish()


async def dial(wanted: dict[str, Any]) -> Wire:
    """Try each address in turn; raises the last ``psycopg.OperationalError``. Has no deadline of its own."""
    failure: Exception = errors.OperationalError("the database URL names no host")
    for attempt in split_attempts(wanted):
        host = attempt.get("host")
        places: list[dict[str, Any]] = [dict(attempt)]
        if host and not str(host).startswith("/") and not attempt.get("hostaddr"):
            try:  # libpq would block the loop while it asks DNS
                found = await trio.socket.getaddrinfo(str(host), None, type=trio.socket.SOCK_STREAM)
                places = [{**attempt, "hostaddr": item[4][0]} for item in found]
            except OSError as error:
                failure = errors.OperationalError(f"host {host} cannot be resolved: {error}")
                continue
        for place in places:
            try:
                return await _converse_roaming(cast(Any, Wire._connect_gen(make_conninfo("", **place))))
            except errors.Error as error:
                failure = error
    raise failure
