"""Real sessions of PostgreSQL that outlive the daemon's connections, since to begin one costs much, and their database.

What ends a session of the daemon ends the transaction, the locks, the settings and the prepared statements of the real
one at once, which then waits for the next connection.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import generators, pq

from zapline.sql.postgres.psycopg_on_trio import TrioConnection

_STATUS = pq.TransactionStatus
_OVER = {_STATUS.INTRANS, _STATUS.INERROR}


EMPTY = """
truncate {tables} restart identity;
select setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false) from pg_sequences;
"""


def _ended() -> Any:
    """What a connection whose session has ended holds in the place of its session."""
    gone = pq.PGconn.connect_start(b"host=/nowhere")
    gone.finish()
    return gone


class Sessions:
    """Those that wait, by what they were opened with; and the database, which is emptied for the next seed."""

    def __init__(self) -> None:
        self.replaced = True
        """There is no database that could be emptied: none yet, or another one has taken its place."""
        self._watcher: psycopg.Connection[Any] | None = None
        self._waiting: dict[str, list[Any]] = {}
        self._opened_with: dict[int, str] = {}

    def connect(self, conninfo: str) -> Any:
        """One of psycopg's generators: a connection on a session that waits, or on a new one."""
        waiting = self._waiting.get(conninfo)
        pgconn = waiting.pop() if waiting else (yield from generators.connect(conninfo))
        self._opened_with[pgconn.backend_pid] = conninfo
        return TrioConnection(pgconn)

    def keep(self, connection: TrioConnection) -> bool:
        """Take the session of a connection that ends; False where a statement of it is under way, or it is lost."""
        pgconn = connection.pgconn
        status = pgconn.transaction_status
        if status not in _OVER and status != _STATUS.IDLE:
            return False
        connection.pgconn = _ended()
        pgconn.notice_handler = pgconn.notify_handler = None
        for command in [b"rollback"] * (status in _OVER) + [b"discard all"]:
            if pgconn.exec_(command).status != pq.ExecStatus.COMMAND_OK:
                raise AssertionError(pgconn.error_message)
        while pgconn.notifies() is not None:
            pass
        self._waiting.setdefault(self._opened_with[pgconn.backend_pid], []).append(pgconn)
        return True

    def watcher(self, url: str) -> psycopg.Connection[Any]:
        """The reference's session, opened where it is not open."""
        if self._watcher is None or self._watcher.closed:
            self._watcher = psycopg.connect(url, autocommit=True)
        return self._watcher

    @contextmanager
    def made(self, admin: Any, name: str, template: str, url: str) -> Iterator[None]:
        """The database ``name`` as the template is, copied or emptied, until the block ends."""
        if self.replaced:
            admin.execute(f"create database {name} template {template} strategy file_copy")
            self.replaced = False
        else:
            self._empty(url)
        try:
            yield
        except BaseException:
            self.replaced = True  # nobody knows what it is like
            raise
        finally:
            if self.replaced:
                self.end()
                for each in (name, f"{name}_standby"):
                    admin.execute(f"drop database if exists {each} with (force)")

    def _empty(self, url: str) -> None:
        """Make the database of the last seed as new as the template's copy: no row, and no page of one."""
        conn = self.watcher(url)
        query = (
            "select string_agg(oid::regclass::text, ',') from pg_class where relnamespace = 'zapline'::regnamespace"
            " and relkind = 'r' and relname <> 'schema_migrations'"
        )
        row = conn.execute(query).fetchone()
        assert row is not None
        conn.execute("set lock_timeout = '20s'")
        conn.execute(EMPTY.format(tables=row[0]))

    def end(self) -> None:
        """End all, and wait until their backends have ended."""
        found = [pgconn for waiting in self._waiting.values() for pgconn in waiting]
        found += [self._watcher.pgconn] if self._watcher is not None and not self._watcher.closed else []
        ended = [pgconn.backend_pid for pgconn in found]
        for pgconn in found:
            pgconn.finish()
        self._waiting.clear()
        self._opened_with.clear()
        for pid in ended:
            await_end(pid)


def await_end(pid: int) -> None:
    """Wait until a process of this machine has ended; what it held is free afterwards."""
    while pid and _lives(pid):
        time.sleep(0.0002)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
