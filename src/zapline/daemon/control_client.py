"""Sends a control request to the running daemon through the database, and waits for its reply."""

from typing import Any
from uuid import uuid4

import trio

from zapline.daemon.invoking_user import invoking_user
from zapline.domain.errors import LocalError
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.units import control_requests
from zapline.sql.units.control_requests import REPLY_CHANNEL, ControlRequest
from zapline.supervisors.leadership import ADVISORY_LOCK_KEY, CONTROL_CHANNEL

HOW_TO_START = (
    "Start it with `systemctl start zapline` (or `zapline run`); `zapline doctor` says what stands in its way."
)
_POLL_SECONDS = 0.5
"""Seconds between two queries for the reply: its notification is only a hint."""


class DaemonNotRunning(LocalError):
    """No daemon works on this database."""


async def daemon_is_running(conn: Connection) -> bool:
    """Whether a daemon holds this database's lock now."""
    row = await conn.fetch_one(
        "select exists (select from pg_locks where locktype = 'advisory' and granted and objsubid = 1"
        " and classid = %s::bigint::oid and objid = %s::bigint::oid"
        " and database = (select oid from pg_database where datname = current_database())) as held",
        (ADVISORY_LOCK_KEY >> 32, ADVISORY_LOCK_KEY & 0xFFFFFFFF),
    )
    return row is not None and bool(row.held)


async def request_daemon(
    database_url: str, verb: str, arguments: dict[str, Any], timeout: float = 15.0
) -> dict[str, Any]:
    """The daemon's result. ``database_url`` must not lead to a pooler; ``timeout`` is in seconds.

    Raises DaemonNotRunning, and LocalError if the daemon refuses or does not reply in time. A request that was
    cancelled or not answered may have been carried out.
    """
    async with await connect(database_url, application_name="zapline-command") as conn:
        if not await daemon_is_running(conn):
            raise DaemonNotRunning(f"no Zapline daemon works on this database. {HOW_TO_START}")
        return await request_over(conn, verb, arguments, timeout)


async def request_over(conn: Connection, verb: str, arguments: dict[str, Any], timeout: float) -> dict[str, Any]:
    """The same over the caller's own connection, which then listens and acts as the engine's role."""
    user, request = invoking_user(), uuid4()
    await conn.listen([REPLY_CHANNEL])
    await conn.execute("set role zapline_engine")
    try:
        await control_requests.insert_request(conn, ControlRequest(request, verb, arguments, user.name, user.source))
        await conn.execute("select pg_notify(%s, '')", (CONTROL_CHANNEL,))
        with trio.move_on_after(timeout):
            while True:
                reply = await control_requests.read_answer(conn, request)
                if reply is not None:
                    if reply.error is not None:
                        raise LocalError(reply.error)
                    result: dict[str, Any] = reply.result
                    return result
                with trio.move_on_after(_POLL_SECONDS):
                    await conn.notifications()
    finally:
        with trio.CancelScope(shield=True), trio.move_on_after(_POLL_SECONDS):
            await conn.execute("reset role")
    raise LocalError(f"the daemon did not answer within {timeout:g} s; look at its log, or restart it. {HOW_TO_START}")
