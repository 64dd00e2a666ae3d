"""Asks the running daemon to do something, over the database, and waits for its answer."""

from typing import Any
from uuid import uuid4

import trio

from zapline.daemon.invoking_user import operator
from zapline.domain.errors import LocalError
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.units import control_requests
from zapline.sql.units.control_requests import Request
from zapline.supervisors.leadership import CHANNEL, LOCK
from zapline.supervisors.operations.control_requests import REPLIES

HOW_TO_START = (
    "Start it with `systemctl start zapline` (or `zapline run`); `zapline doctor` says what stands in its way."
)
_LOOK_EVERY = 0.5
"""Seconds between looks at the answer: its notification is only a hint."""


class NoDaemon(LocalError):
    """No daemon works on this database."""


async def daemon_leads(conn: Connection) -> bool:
    """Whether a daemon holds this database's lock at this moment."""
    row = await conn.fetch_one(
        "select exists (select from pg_locks where locktype = 'advisory' and granted and objsubid = 1"
        " and classid = %s::bigint::oid and objid = %s::bigint::oid"
        " and database = (select oid from pg_database where datname = current_database())) as held",
        (LOCK >> 32, LOCK & 0xFFFFFFFF),
    )
    return row is not None and bool(row.held)


async def ask_daemon(database_url: str, do: str, arguments: dict[str, Any], timeout: float = 15.0) -> dict[str, Any]:
    """The daemon's result. ``database_url`` must not lead to a pooler; ``timeout`` is in seconds.

    Raises NoDaemon, and LocalError where the daemon refuses or does not answer in time. A request that was
    cancelled or not answered may have been done.
    """
    async with await connect(database_url, application_name="zapline-command") as conn:
        if not await daemon_leads(conn):
            raise NoDaemon(f"no Zapline daemon works on this database. {HOW_TO_START}")
        return await ask_over(conn, do, arguments, timeout)


async def ask_over(conn: Connection, do: str, arguments: dict[str, Any], timeout: float) -> dict[str, Any]:
    """The same over a connection of the caller's, which listens from then on and acts as the engine's role."""
    who, request = operator(), uuid4()
    await conn.listen([REPLIES])
    await conn.execute("set role zapline_engine")
    try:
        await control_requests.ask(conn, Request(request, do, arguments, who.name, who.source))
        await conn.execute("select pg_notify(%s, '')", (CHANNEL,))
        with trio.move_on_after(timeout):
            while True:
                reply = await control_requests.read_answer(conn, request)
                if reply is not None:
                    if reply.error is not None:
                        raise LocalError(reply.error)
                    found: dict[str, Any] = reply.result
                    return found
                with trio.move_on_after(_LOOK_EVERY):
                    await conn.notifications()
    finally:
        with trio.CancelScope(shield=True), trio.move_on_after(_LOOK_EVERY):
            await conn.execute("reset role")
    raise LocalError(f"the daemon did not answer within {timeout:g} s; look at its log, or restart it. {HOW_TO_START}")
