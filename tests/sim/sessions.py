"""Real sessions of PostgreSQL that outlive the daemon's connections: to begin one costs ten times what a statement does.

What ends a session of the daemon ends the transaction, the locks, the settings and the prepared statements of the real
one at once, which then waits for the next connection.
"""

from typing import Any

from psycopg import generators, pq

from zapline.sql.postgres.psycopg_on_trio import TrioConnection

_STATUS = pq.TransactionStatus
_OVER = {_STATUS.INTRANS, _STATUS.INERROR}


def _ended() -> Any:
    """What a connection whose session has ended holds in the place of its session."""
    gone = pq.PGconn.connect_start(b"host=/nowhere")
    gone.finish()
    return gone


class Sessions:
    """Those that wait, by what they were opened with."""

    def __init__(self) -> None:
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

    def end(self) -> list[int]:
        """End those that wait; returns the process ids of their backends, which may live for a moment longer."""
        found = [pgconn for waiting in self._waiting.values() for pgconn in waiting]
        ended = [pgconn.backend_pid for pgconn in found]
        for pgconn in found:
            pgconn.finish()
        self._waiting.clear()
        self._opened_with.clear()
        return ended
