"""Asks the running daemon to do something, over the database, and waits for its answer."""

from typing import Any
from uuid import uuid4

import msgspec
import trio

from zapline.domain.errors import LocalError
from zapline.sql.driver import Connection, connect
from zapline.supervisors.control import REPLIES, Reply, Request
from zapline.supervisors.leadership import CHANNEL, LOCK

HOW_TO_START = (
    "Start it with `systemctl start zapline` (or `zapline run`); `zapline doctor` says what stands in its way."
)
_LONGEST = 7900
"""Bytes of a request: PostgreSQL takes notifications below 8000."""


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
    """The same over a connection of the caller's, which listens from then on."""
    request = Request(uuid4().hex, do, arguments)
    payload = msgspec.json.encode(request)
    if len(payload) > _LONGEST:
        raise LocalError("the request is too long; give shorter names")
    await conn.listen([REPLIES])
    await conn.execute("select pg_notify(%s, %s)", (CHANNEL, payload.decode()))
    with trio.move_on_after(timeout):
        while True:
            for _, text in await conn.notifications():
                reply = _reply(text)
                if reply is not None and reply.id == request.id:
                    if reply.error is not None:
                        raise LocalError(reply.error)
                    return reply.result
    raise LocalError(f"the daemon did not answer within {timeout:g} s; look at its log, or restart it. {HOW_TO_START}")


def _reply(text: str) -> Reply | None:
    try:
        return msgspec.json.decode(text, type=Reply)
    except msgspec.DecodeError:
        return None  # the channel is open to all who may connect
