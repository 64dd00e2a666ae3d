"""Real PostgreSQL, stepped by the simulation: each statement is one step at a moment that the seed draws.

A statement that waits for another session's lock stays with the server; the world goes on and looks again after each
step of another session. The server's ``now()`` is the world's: the template's schema ``simulated`` stands before
``pg_catalog`` in the search path of every session.
"""

import random
import select
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
import trio
from psycopg import errors, pq, waiting

from zapline.sql.postgres import psycopg_on_trio
from zapline.sql.postgres.connection import connect
from zapline.sql.postgres.migrate import migrate
from zapline.sql.postgres.psycopg_on_trio import Json, TrioConnection

from .sessions import Sessions, await_end
from .world import World

TEMPLATE = "simulation_template"
SEARCH_PATH = "-csearch_path=simulated,pg_catalog,public -cdeadlock_timeout=3600000 -cjit=off"
QUIET_SECONDS = 0.004
"""Real seconds without an answer after which the server is asked whether the session waits for a lock."""
LOCK_SECONDS = 2.0
"""Virtual seconds after which a statement that waits for a lock is cancelled, as ``lock_timeout`` does."""
LOOK_SECONDS = 0.01
STATEMENT_SECONDS = 10.0
"""Virtual seconds after which the server ends a statement, as ``statement_timeout`` does."""
TIMED_OUT = b"do $$ begin raise query_canceled using message = 'canceling statement due to statement timeout'; end $$"
CLOCK_SQL = """
create schema simulated;
create sequence simulated.numbers;
create function simulated.now() returns timestamptz language sql stable parallel safe security definer
  set search_path = pg_catalog as $$ select to_timestamp(pg_read_file('{clock}')::float8) $$;
create function simulated.clock_timestamp() returns timestamptz language sql stable security definer
  as $$ select simulated.now() $$;
create function simulated.gen_random_uuid() returns uuid language sql volatile security definer
  as $$ select md5('simulated' || nextval('simulated.numbers'))::uuid $$;
create function simulated.set_config(name text, value text, local boolean) returns text language sql volatile
  as $$ select case name when 'lock_timeout' then value else pg_catalog.set_config(name, value, local) end $$;
grant usage on schema simulated to public;
"""
STILL_TABLES = """
do $$ declare one record; begin
  for one in select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname = 'zapline' loop
    execute format('alter table %s set (autovacuum_enabled = false)', one.name);
  end loop;
end $$;
"""


def make_template(url: str, clock: Path) -> None:
    """Make the template database with all migrations and the world's clock. ``clock``: a file that the server reads."""
    clock.write_text("0")
    clock.chmod(0o644)
    with closing(psycopg.connect(url, autocommit=True)) as admin:
        if admin.execute("select from pg_database where datname = %s", (TEMPLATE,)).fetchone() is not None:
            return
        admin.execute(f"create database {TEMPLATE}")
    address = database_url(url, TEMPLATE)
    with closing(psycopg.connect(address, autocommit=True)) as conn:
        conn.execute(CLOCK_SQL.replace("{clock}", str(clock)))

    async def apply() -> None:
        async with await connect(address) as conn:
            await migrate(conn, lambda line: None)

    trio.run(apply)
    with closing(psycopg.connect(address, autocommit=True)) as conn:
        conn.execute(STILL_TABLES)


def database_url(server: str, name: str) -> str:
    return f"{server.rpartition('/')[0]}/{name}?options={quote(SEARCH_PATH)}"


@dataclass
class DatabaseFaults:
    """Chances for each statement; ``down``: the server refuses everything."""

    cut_before: float = 0.0
    """The connection is lost before the server has seen the statement."""
    cut_after: float = 0.0
    """The connection is lost after the statement, before its answer: the outcome is unknown."""
    cut_commit: float = 0.0
    """The connection is lost at a commit: in half of the cases before the server has seen it."""
    slow: float = 0.0
    """It takes up to 20 s, longer than anybody waits."""
    down: bool = False
    starting: bool = False
    """It is up again, and recovers."""


@dataclass(eq=False)
class SteppedPostgres:
    """The server's sessions as the daemon's ones; ``server`` is the URL of an administrator, ``clock`` the file."""

    world: World
    server: str
    name: str
    clock: Path
    kept: Sessions
    faults: DatabaseFaults = field(default_factory=DatabaseFaults)
    sessions: dict[int, TrioConnection] = field(default_factory=dict)
    """Open sessions by process id of their backend."""
    blocked: dict[TrioConnection, "_Running"] = field(default_factory=dict)
    statements: int = 0
    kilobyte_seconds: float = 0.0
    """Seconds for each kilobyte of a statement's parameters."""
    cut_off: bool = False
    """The daemon is being killed: it reaches the server no more."""

    def __post_init__(self) -> None:
        self._chance: random.Random = self.world.stream("database")
        self._admin = psycopg.connect(self.server, autocommit=True)
        self._clock_file = self.clock.open("r+b", buffering=0)

    @property
    def url(self) -> str:
        return database_url(self.server, self.name)

    def watcher(self) -> psycopg.Connection[Any]:
        """The reference's session."""
        return self.kept.watcher(self.url)

    @contextmanager
    def created(self) -> Iterator[None]:
        """The database of one run, copied from the template or emptied, until the block ends."""
        with self.kept.made(self._admin, self.name, TEMPLATE, self.url):
            try:
                yield
            finally:
                self.close_all()
        self._admin.close()
        self._clock_file.close()

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Have the daemon's connections take their steps here."""
        stepped = self

        async def wait(self: TrioConnection, gen: Any, interval: float = 0, timeout: float | None = None) -> Any:
            return await stepped.statement(self, gen)

        async def run(self: TrioConnection, statement: Any, params: Any) -> Any:
            cursor = self.cursor()
            self.label = statement if isinstance(statement, str) else "settings"  # type: ignore[attr-defined]
            self.size = _size_of(params)  # type: ignore[attr-defined]
            await self.wait(cursor._execute_gen(statement, params))
            if self.label == "settings":  # type: ignore[attr-defined]
                # The server counts in real time; what waits for a lock is ended by the world's.
                for setting in (b"set lock_timeout = 0", b"set statement_timeout = 0"):
                    await self.wait(self._exec_command(setting))
                await self.wait(self._exec_command(b"set idle_session_timeout = 0"))
                await self.wait(self._exec_command(b"set idle_in_transaction_session_timeout = 0"))
            return cursor

        async def command(self: TrioConnection, command: bytes) -> None:
            self.label, self.size = command.decode(), 0  # type: ignore[attr-defined]
            await self.wait(self._exec_command(command))

        async def wait_for_notification(self: TrioConnection) -> None:
            await trio.sleep_forever()

        def close_now(self: TrioConnection) -> None:
            stepped.close(self)

        for method in (wait, run, command, wait_for_notification, close_now):
            patch.setattr(TrioConnection, method.__name__, method)
        patch.setattr(TrioConnection, "read_pending", lambda self: None)
        patch.setattr(psycopg_on_trio, "open_connection", self.open)
        patch.setattr("zapline.sql.postgres.connection.open_connection", self.open)

    def copy(self) -> None:
        """Copy the database as a standby has it; every session is lost meanwhile."""
        self.kept.replaced = True
        self.close_all()
        self.kept.end()
        self._admin.execute(f"drop database if exists {self.name}_standby with (force)")
        self._admin.execute(f"create database {self.name}_standby template {self.name} strategy file_copy")

    def promote(self) -> None:
        """Put the copy in the place of the database: what was committed since is gone."""
        self.close_all()
        self.kept.end()
        self._admin.execute(f"drop database {self.name} with (force)")
        self._admin.execute(f"alter database {self.name}_standby rename to {self.name}")

    def set_clock(self) -> None:
        """Have the server's clock show the world's time, and what it is wrong by."""
        self._clock_file.seek(0)
        self._clock_file.write(b"%.6f" % (self.world.now + self.world.skews["database"]))

    # -- steps -------------------------------------------------------------------------------------------------

    async def open(self, parameters: dict[str, Any]) -> TrioConnection:
        """Open a session, as one step."""
        await trio.sleep(self._chance.uniform(0.001, 0.02))
        if self.faults.down or self.cut_off:
            raise errors.OperationalError("the simulated server is down")
        if self.faults.starting:
            raise errors.OperationalError("FATAL:  the database system is starting up")
        self.set_clock()
        conninfo = psycopg.conninfo.make_conninfo("", **parameters)
        connection = _drive(_Running(self.kept.connect(conninfo)))
        self.sessions[connection.pgconn.backend_pid] = connection
        self.world.step("connect")
        return connection

    async def statement(self, connection: TrioConnection, gen: Any) -> Any:
        """Run one statement as one step, with the faults of this moment."""
        await trio.lowlevel.checkpoint_if_cancelled()
        dice, faults = self._chance.random(), self.faults
        delay = self._chance.uniform(0.0002, 0.006)
        if self._chance.random() < faults.slow:
            self.world.strike("slow statement")
            delay = self._chance.uniform(0.5, 20.0)
        delay += self.kilobyte_seconds * getattr(connection, "size", 0) / 1024
        if delay > STATEMENT_SECONDS and self.kilobyte_seconds:
            self.world.strike("statement timeout")
            gen.close()
            delay, gen = STATEMENT_SECONDS, connection._exec_command(TIMED_OUT)
        await trio.sleep(delay)
        label = " ".join(getattr(connection, "label", "")[:48].split())
        if connection.closed or connection.pgconn.status != pq.ConnStatus.OK:
            gen.close()
            raise errors.OperationalError("the connection is closed")
        before, after = faults.cut_before, faults.cut_after
        if label == "commit":
            before, after = before + faults.cut_commit / 2, after + faults.cut_commit / 2
        if faults.down or self.cut_off or dice < before:
            gen.close()
            self._cut(connection, "before", label)
        self.set_clock()
        self.statements += 1
        running = _Running(gen, connection.pgconn.socket)
        try:
            result = await self._finish(connection, running, label)
        finally:
            self._look_at_blocked()
        if before <= dice < before + after:
            self._cut(connection, "after", label)
        return result

    async def _finish(self, connection: TrioConnection, running: "_Running", label: str) -> Any:
        began = trio.current_time()
        while not running.done(self._is_blocked(connection)):
            self.blocked[connection] = running
            try:
                await trio.sleep(LOOK_SECONDS)
            except trio.Cancelled:
                self._cancel(connection, running)
                raise
            finally:
                self.blocked.pop(connection, None)
            if connection.pgconn.status != pq.ConnStatus.OK:
                raise errors.OperationalError("the connection was closed while it waited for a lock")
            if trio.current_time() - began > LOCK_SECONDS and not running.ready():
                self.world.step("lock timeout", label)
                running.timed_out = True
                self._admin.execute("select pg_cancel_backend(%s)", (connection.pgconn.backend_pid,))
        self.world.step("sql", label, running.outcome())
        return running.value()

    def _cancel(self, connection: TrioConnection, running: "_Running") -> None:
        self._admin.execute("select pg_cancel_backend(%s)", (connection.pgconn.backend_pid,))
        while not running.done(lambda: False):
            pass

    def _cut(self, connection: TrioConnection, when: str, label: str) -> None:
        if not (self.faults.down or self.cut_off):
            self.world.strike(f"connection lost {when}", label)
        connection.close_now()
        raise errors.OperationalError("the simulation cut the connection")

    def close(self, connection: TrioConnection) -> None:
        """Close a session, and wait until the server has noticed: its locks are gone then."""
        pid = connection.pgconn.backend_pid if connection.pgconn.status == pq.ConnStatus.OK else 0
        connection._closed = True
        known = self.sessions.pop(pid, None) is not None
        running = self.blocked.pop(connection, None)
        if not (known and self.kept.keep(connection)):
            connection.pgconn.finish()
            if running is not None:
                self._admin.execute("select pg_cancel_backend(%s)", (pid,))
            await_end(pid)
        self._look_at_blocked()

    def close_all(self) -> None:
        """End all sessions, as when the server or the daemon is killed."""
        for connection in list(self.sessions.values()):
            self.close(connection)

    def _is_blocked(self, connection: TrioConnection) -> Callable[[], bool]:
        return partial(self._waits_for_lock, connection.pgconn.backend_pid)

    def _waits_for_lock(self, pid: int) -> bool:
        row = self._admin.execute("select cardinality(pg_blocking_pids(%s)) > 0", (pid,)).fetchone()
        return bool(row and row[0])

    def _look_at_blocked(self) -> None:
        """Let every session that another one has just let go come to its end, or to its next lock."""
        for connection, running in list(self.blocked.items()):
            running.settle(self._is_blocked(connection), known=True)


class _Running:
    """One of psycopg's generators under way on the real server."""

    def __init__(self, gen: Any, socket: int | None = None) -> None:
        self._gen = gen
        self._socket = socket
        self._value: Any = None
        self._error: BaseException | None = None
        self._ended = False
        self.timed_out = False
        """It was cancelled because it had waited for a lock for too long."""
        self._wants: Any = None
        self._advance(lambda: next(self._gen))

    def _advance(self, step: Callable[[], Any]) -> None:
        try:
            self._wants = step()
        except StopIteration as stop:
            self._value, self._ended = stop.value, True
        except OSError as error:
            self._error, self._ended = errors.OperationalError(str(error)), True
        except BaseException as error:
            self._error, self._ended = error, True

    def ready(self, seconds: float = 0.0) -> bool:
        """Whether the socket can go on; waits for it in real time."""
        if self._ended:
            return True
        fd, want = (self._socket, self._wants) if self._socket is not None else self._wants
        poll = select.poll()
        poll.register(fd, select.POLLIN if want == waiting.WAIT_R else select.POLLOUT)
        return bool(poll.poll(seconds * 1000))

    def done(self, is_blocked: Callable[[], bool]) -> bool:
        """Run on until the end (True), or until the server waits for a lock."""
        while not self._ended:
            if not self.settle(is_blocked):
                return False
            _, want = (self._socket, self._wants) if self._socket is not None else self._wants
            answer = waiting.READY_R if want == waiting.WAIT_R else waiting.READY_W
            self._advance(lambda answer=answer: self._gen.send(answer))  # type: ignore[misc]
        return True

    def settle(self, is_blocked: Callable[[], bool], known: bool = False) -> bool:
        """Wait until the socket can go on (True) or the server waits for a lock. ``known``: it did a moment ago."""
        if known and is_blocked() and not self.ready(0.0):
            return False
        while not self.ready(QUIET_SECONDS):
            if is_blocked() and not self.ready(0.0):
                return False
        return True

    def value(self) -> Any:
        self._gen.close()
        if self.timed_out and isinstance(self._error, errors.QueryCanceled):
            raise errors.LockNotAvailable("canceling statement due to lock timeout")
        if self._error is not None:
            raise self._error
        return self._value

    def outcome(self) -> str:
        """What is traced of the end: the error's class, or the number of rows."""
        if self._error is not None:
            return type(self._error).__name__
        results = self._value if isinstance(self._value, list) else [self._value]
        return ",".join(str(getattr(result, "ntuples", "")) for result in results)


def _size_of(params: Any) -> int:
    """Bytes of the JSON that a statement carries."""
    values = params.values() if isinstance(params, dict) else params or ()
    return sum(len(value.encoded) for value in values if isinstance(value, Json))


def _drive(running: _Running) -> Any:
    while not running.done(lambda: False):
        pass
    return running.value()
